//! The built-in agent types. A type is data: what it can do, what draws its eye, what calls for it, how it works.

use crate::model::{AgentType, Method};

/// The type that takes what no other is good at.
pub const GENERALIST: &str = "generalist";

type Row =
    (&'static str, &'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str], Method);

const TABLE: &[Row] = &[
    (
        "business_analyst",
        "Reads for goals, processes and who is affected.",
        &["process analysis", "requirements"],
        &[
            "process",
            "business",
            "goal",
            "stakeholder",
            "requirement",
            "workflow",
            "decision",
            "scope",
            "benefit",
            "risk",
            "policy",
            "approval",
        ],
        &["process", "business case", "stakeholder", "requirement"],
        Method::Passages,
    ),
    (
        "code_reviewer",
        "Counts functions, tests and risks in programs, and reads their comments.",
        &["code review", "test coverage"],
        &["code", "function", "test", "panic", "unwrap", "error", "module", "review", "bug", "lint", "comment", "todo"],
        &["code quality", "source code", "functions", "tests", "todo", "unwrap", "lint"],
        Method::Code,
    ),
    (
        "data_analyst",
        "Computes figures from tables and cites every cell.",
        &["statistics", "tables"],
        &[
            "value",
            "mean",
            "average",
            "count",
            "minimum",
            "maximum",
            "percent",
            "measure",
            "throughput",
            "latency",
            "figure",
            "benchmark",
            "second",
            "table",
        ],
        &[
            "average",
            "mean",
            "maximum",
            "minimum",
            "highest",
            "lowest",
            "how many",
            "how much",
            "measured",
            "benchmark",
            "per second",
            "percent",
            "figures",
            "values",
        ],
        Method::Figures,
    ),
    (
        "data_researcher",
        "Collects facts and where they stand.",
        &["research", "fact finding"],
        &[
            "source",
            "evidence",
            "report",
            "study",
            "fact",
            "definition",
            "example",
            "reference",
            "describe",
            "documentation",
        ],
        &["define", "definition", "collect", "evidence", "research"],
        Method::Passages,
    ),
    (
        "data_scientist",
        "Computes figures from tables and looks at how they change.",
        &["statistics", "experiments"],
        &[
            "model",
            "data",
            "experiment",
            "distribution",
            "trend",
            "sample",
            "correlation",
            "variance",
            "prediction",
            "measure",
        ],
        &["trend", "correlation", "experiment", "distribution", "sample"],
        Method::Figures,
    ),
    (
        "developer",
        "Reads for interfaces, behaviour and what an implementation must do.",
        &["software design", "interfaces"],
        &[
            "function",
            "interface",
            "api",
            "code",
            "call",
            "method",
            "parameter",
            "type",
            "implementation",
            "library",
            "command",
            "option",
            "client",
            "server",
        ],
        &["implement", "api", "interface", "command", "function", "option", "parameter", "program"],
        Method::Norms,
    ),
    (
        "financial_analyst",
        "Computes figures of money from tables.",
        &["finance", "budgets"],
        &[
            "cost",
            "price",
            "revenue",
            "budget",
            "profit",
            "margin",
            "dollar",
            "euro",
            "finance",
            "investment",
            "payment",
            "expense",
            "tax",
        ],
        &["cost", "price", "budget", "revenue", "profit", "financial", "spend"],
        Method::Figures,
    ),
    (GENERALIST, "Reads for whatever is asked.", &["reading"], &[], &[], Method::Passages),
    (
        "market_expert",
        "Reads for markets, competitors and demand.",
        &["markets"],
        &["market", "competitor", "demand", "customer", "segment", "product", "industry", "growth", "share"],
        &["market", "competitor", "demand", "industry"],
        Method::Passages,
    ),
    (
        "market_researcher",
        "Collects figures and statements about customers.",
        &["surveys", "markets"],
        &["survey", "customer", "respondent", "preference", "market", "interview", "user", "need"],
        &["survey", "customers", "respondents", "preference"],
        Method::Figures,
    ),
    (
        "marketing_specialist",
        "Reads for messages, channels and audiences.",
        &["marketing"],
        &["campaign", "brand", "audience", "channel", "message", "advertising", "content", "launch"],
        &["campaign", "brand", "audience", "advertising", "launch"],
        Method::Passages,
    ),
    (
        "protocol_analyst",
        "Reads for messages, states and the order of things.",
        &["protocols", "state machines"],
        &[
            "message",
            "protocol",
            "request",
            "response",
            "state",
            "transition",
            "header",
            "field",
            "order",
            "sequence",
            "version",
            "connection",
            "send",
            "receive",
            "claim",
            "fence",
            "owner",
        ],
        &["protocol", "message", "request", "response", "header", "sequence", "ownership"],
        Method::Norms,
    ),
    (
        "reliability_engineer",
        "Reads for failures, retries, limits and recovery.",
        &["reliability", "operations"],
        &[
            "retry",
            "timeout",
            "failure",
            "error",
            "recover",
            "crash",
            "lease",
            "heartbeat",
            "deadline",
            "backoff",
            "limit",
            "restart",
            "shutdown",
            "durable",
            "kill",
            "lost",
            "attempt",
        ],
        &[
            "retry",
            "retries",
            "timeout",
            "failure",
            "crash",
            "crashes",
            "recover",
            "recovery",
            "killed",
            "dies",
            "shutdown",
            "lease",
            "heartbeat",
            "reliable",
        ],
        Method::Norms,
    ),
    (
        "security_specialist",
        "Reads for threats, permissions and secrets.",
        &["security"],
        &[
            "security",
            "authentication",
            "authorization",
            "token",
            "key",
            "encrypt",
            "permission",
            "attack",
            "trust",
            "secret",
            "access",
            "certificate",
            "user",
            "credential",
            "password",
        ],
        &["security", "secure", "authentication", "authorization", "permission", "attack", "encrypt", "credential"],
        Method::Norms,
    ),
    (
        "timeline_analyst",
        "Looks for dates and puts events in order.",
        &["chronology"],
        &["date", "year", "month", "day", "release", "schedule", "milestone", "anniversary"],
        &["when", "timeline", "date", "dates", "year", "chronology", "released", "schedule", "history of"],
        Method::Timeline,
    ),
];

/// Gives the built-in types, sorted by name.
#[must_use]
pub fn agent_types() -> Vec<AgentType> {
    TABLE.iter().map(agent_type).collect()
}

fn agent_type((name, description, capabilities, lens_terms, cues, method): &Row) -> AgentType {
    let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    AgentType {
        agent_type: (*name).to_owned(),
        description: (*description).to_owned(),
        capabilities: owned(capabilities),
        lens_terms: owned(lens_terms),
        cues: owned(cues),
        method: *method,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_sorted_and_complete() {
        let types = agent_types();
        assert!(types.windows(2).all(|w| w[0].agent_type < w[1].agent_type));
        let bare: Vec<_> =
            types.iter().filter(|t| t.lens_terms.is_empty() || t.cues.is_empty()).map(|t| &t.agent_type).collect();
        assert_eq!(bare, [GENERALIST]);
    }
}
