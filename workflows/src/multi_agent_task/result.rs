//! The result of a task.

use std::collections::{BTreeMap, BTreeSet};

use dacapo_activities::model::{FinalAnswer, Share, Usage};
use serde::{Deserialize, Serialize};

use super::board::SubtaskStatus;
use super::state::Status;

/// The result of `multi_agent_task`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The caller's id of the task.
    pub task_id: String,
    /// `completed`: whatever else happens is a failure of the workflow.
    pub status: Status,
    /// Whether something asked for is not answered, or somebody of the team was missing.
    pub partial_completion: bool,
    /// The answer in parts, every statement with its evidence.
    pub final_answer: FinalAnswer,
    /// The answer to read.
    pub result: TaskOutcome,
    /// The work.
    pub subtasks: Vec<SubtaskResult>,
    /// The work that is not in the answer, and how to try it again.
    pub failed_parts: Vec<FailedPart>,
    /// How often something was revised.
    pub revision_cycles: u32,
    /// What it took.
    pub usage: UsageTotals,
}

/// The answer to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOutcome {
    /// The answer as Markdown with numbered sources.
    pub final_answer: String,
    /// The topics found, with counts of findings, documents and specialists.
    pub supporting_data: BTreeMap<String, BTreeMap<String, u64>>,
    /// How much of the task is answered.
    pub confidence: Share,
    /// Every place that is cited, once.
    pub sources: Vec<Source>,
}

/// A place that is cited.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// The file name.
    pub doc: String,
    /// Byte offset of the first byte.
    pub start: usize,
    /// Byte offset after the last byte.
    pub end: usize,
    /// The digest of the text that the offsets index.
    pub sha256: String,
}

/// What became of a subtask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskResult {
    /// Its id.
    pub subtask_id: String,
    /// One line.
    pub title: String,
    /// Whose solution is in the answer; where none is, who had it last.
    pub agent: String,
    /// How it stands.
    pub status: SubtaskStatus,
    /// Its total, of 10,000.
    pub score: i64,
    /// How often it was executed: 1 without revision.
    pub cycles: u32,
}

/// A part of the work that is not in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedPart {
    /// The subtask.
    pub subtask_id: String,
    /// What stays unanswered, in the words of the task.
    pub requirements: Vec<String>,
    /// Why.
    pub reason: String,
    /// The words that were not found.
    pub missing: Vec<String>,
    /// What to ask for to try it again.
    pub retry_with: Retry,
}

/// A request to try a part again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How much to do again.
    pub scope: RetryScope,
    /// Which subtasks, by title.
    pub specific_areas: Vec<String>,
}

/// Tells how much is done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryScope {
    /// The named subtasks.
    SpecificSubtasks,
}

/// What the whole task took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageTotals {
    /// Calls of a provider.
    pub calls: u32,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// The price in US dollars.
    pub cost_usd: String,
    /// Who was asked.
    pub providers: BTreeSet<String>,
}

/// Sums usage records.
#[derive(Debug, Default)]
pub(crate) struct UsageSum {
    totals: UsageTotals,
    cost_micro: i64,
}

impl UsageSum {
    pub(crate) fn add(&mut self, usage: &Usage) {
        self.totals.calls += 1;
        self.totals.input_tokens += usage.input_tokens;
        self.totals.output_tokens += usage.output_tokens;
        self.totals.providers.insert(usage.provider.clone());
        self.cost_micro += micro_dollars(&usage.cost_usd);
    }

    pub(crate) fn totals(&self) -> UsageTotals {
        let cents_shown = format!("{:06}", self.cost_micro % 1_000_000);
        // Cents always, fractions of a cent only where there are any.
        let fraction = match cents_shown.trim_end_matches('0') {
            short if short.len() <= 2 => &cents_shown[..2],
            long => long,
        };
        UsageTotals { cost_usd: format!("{}.{fraction}", self.cost_micro / 1_000_000), ..self.totals.clone() }
    }
}

/// Reads a decimal price; what is not one costs nothing, because a price is never guessed.
fn micro_dollars(cost: &str) -> i64 {
    let (whole, fraction) = cost.split_once('.').unwrap_or((cost, ""));
    let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
    match (whole.parse::<i64>(), fraction.parse::<i64>()) {
        (Ok(whole), Ok(fraction)) => whole.saturating_mul(1_000_000).saturating_add(fraction),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_summed_exactly() {
        let sum = |costs: &[&str]| {
            let mut sum = UsageSum::default();
            for cost in costs {
                sum.add(&Usage { cost_usd: (*cost).to_owned(), ..Usage::computed("p", &()) });
            }
            sum.totals()
        };
        assert_eq!(sum(&["0.1", "0.2"]).cost_usd, "0.30");
        assert_eq!(sum(&["0.000125", "2"]).cost_usd, "2.000125");
        assert_eq!(sum(&[]).cost_usd, "0.00");
        assert_eq!(sum(&["x", "0.00"]).calls, 2);
    }
}
