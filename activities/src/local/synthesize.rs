//! `analyst_synthesize`: the answer, made of statements that each carry their evidence.

use std::collections::{BTreeMap, BTreeSet};

use super::LABEL;
use super::arithmetic::{Vector, count};
use super::desk::Desk;
use super::evidence::{covered, covered_by, covered_share, stems};
use super::marks::advises;
use super::rank::{combined, page_rank};
use crate::documents::words;
use crate::model::{
    AnswerMetadata, Evidence, FinalAnswer, FindingKind, KeyPoint, Relationship, Requirement, RequirementKind, Share,
    Statement, Synthesize, Usage,
};

/// Statements in the summary.
const SUMMARY_MAX: usize = 8;

/// Statements in a paragraph of the summary: eight make three paragraphs.
const PARAGRAPH_MAX: usize = 3;

/// Statements in a section, unless the final review wants more.
const SECTION_MAX: usize = 5;

/// Insights and recommendations: more are a list, not a choice.
const HIGHLIGHTS_MAX: usize = 8;

/// A finding with its rank.
struct Ranked<'a> {
    point: &'a KeyPoint,
    rank: i64,
    supported_by: Vec<&'a KeyPoint>,
}

pub(crate) fn synthesize(desk: &Desk, input: &Synthesize) -> FinalAnswer {
    let ranked = rank(desk, input);
    let asked: Vec<&Requirement> =
        input.requirements.iter().filter(|r| r.kind != RequirementKind::Constraint).collect();
    let wanted_whole: BTreeSet<&str> =
        input.feedback.iter().flat_map(|f| f.missing_requirements.iter().map(String::as_str)).collect();
    let mut main_content = BTreeMap::new();
    let mut supporting_evidence = BTreeMap::new();
    let mut summary_statements = Vec::new();
    let width = asked.len().to_string().len();
    for (n, requirement) in asked.iter().enumerate() {
        let own: Vec<&Ranked<'_>> = ranked.iter().filter(|r| r.point.requirement_id == requirement.id).collect();
        let Some(best) = own.first() else { continue };
        let limit = if wanted_whole.contains(requirement.id.as_str()) { own.len() } else { SECTION_MAX };
        let statements: Vec<Statement> = own.iter().take(limit).map(|r| Statement::from(r.point)).collect();
        if summary_statements.len() < SUMMARY_MAX
            && !summary_statements.iter().any(|s: &Statement| s.text == best.point.text)
        {
            summary_statements.push(Statement::from(best.point));
        }
        supporting_evidence.insert(requirement.id.clone(), evidence(desk, requirement, &own));
        main_content.insert(format!("{:0width$}. {}", n + 1, requirement.text), statements);
    }
    let specialists: BTreeSet<&str> = ranked.iter().map(|r| r.point.specialist.as_str()).collect();
    let mut answer = FinalAnswer {
        executive_summary: paragraphs(&summary_statements),
        summary_statements,
        key_insights: insights(&ranked),
        recommendations: recommendations(&ranked),
        supporting_evidence,
        limitations: limitations(input),
        overall_confidence: overall_confidence(input),
        metadata: AnswerMetadata {
            sections: main_content.len(),
            specialists_synthesized: specialists.len(),
            word_count: 0,
        },
        main_content,
        usage: Some(Usage::computed(LABEL, input)),
    };
    answer.metadata.word_count = answer.statements().map(|s| words(&s.text).count()).sum();
    answer
}

/// Ranks every finding, best first; of equals by id.
fn rank<'a>(desk: &Desk, input: &'a Synthesize) -> Vec<Ranked<'a>> {
    let points: Vec<&KeyPoint> = input.aggregated.structured_findings.values().flat_map(|t| &t.key_points).collect();
    let by_id: BTreeMap<&str, &KeyPoint> = points.iter().map(|p| (p.finding_id.as_str(), *p)).collect();
    let vectors: Vec<Vector> = points.iter().map(|p| desk.index.vector(&p.text)).collect();
    let centrality = page_rank(&desk.index, &vectors);
    let mut supports: BTreeMap<&str, Vec<&KeyPoint>> = BTreeMap::new();
    for reference in &input.aggregated.cross_references {
        if reference.relationship == Relationship::Supports {
            for (a, b) in [(&reference.finding_a, &reference.finding_b), (&reference.finding_b, &reference.finding_a)] {
                if let Some(other) = by_id.get(b.as_str()) {
                    supports.entry(a.as_str()).or_default().push(other);
                }
            }
        }
    }
    let top = supports.values().map(Vec::len).max().unwrap_or(0);
    let mut ranked: Vec<Ranked<'a>> = points
        .iter()
        .zip(centrality)
        .map(|(point, centrality)| {
            let supported_by = supports.remove(point.finding_id.as_str()).unwrap_or_default();
            let relevance = relevance(desk, input, point);
            Ranked { point, rank: combined(relevance, centrality, supported_by.len(), top), supported_by }
        })
        .collect();
    ranked.sort_by(|a, b| b.rank.cmp(&a.rank).then_with(|| a.point.finding_id.cmp(&b.point.finding_id)));
    ranked
}

/// Gives the share of its requirement that a finding covers alone.
fn relevance(desk: &Desk, input: &Synthesize, point: &KeyPoint) -> i64 {
    input.requirements.iter().find(|r| r.id == point.requirement_id).map_or(0, |requirement| {
        let has = stems(point.kind, &point.text, &point.citations);
        covered_share(&desk.index, requirement, &covered(requirement, &has))
    })
}

fn evidence(desk: &Desk, requirement: &Requirement, own: &[&Ranked<'_>]) -> Evidence {
    let has: Vec<BTreeSet<String>> =
        own.iter().map(|r| stems(r.point.kind, &r.point.text, &r.point.citations)).collect();
    let specialists: BTreeSet<String> = own.iter().map(|r| r.point.specialist.clone()).collect();
    let documents: BTreeSet<String> =
        own.iter().flat_map(|r| r.point.citations.iter().map(|c| c.doc.clone())).collect();
    Evidence {
        content: requirement.text.clone(),
        source_specialists: specialists.into_iter().collect(),
        documents: documents.into_iter().collect(),
        confidence: Share::new(covered_share(&desk.index, requirement, &covered_by(requirement, &has))),
    }
}

fn paragraphs(statements: &[Statement]) -> String {
    let paragraph = |group: &[Statement]| group.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join(" ");
    statements.chunks(PARAGRAPH_MAX).map(paragraph).collect::<Vec<_>>().join("\n\n")
}

/// Gives the findings that another document supports, with the evidence of both.
fn insights(ranked: &[Ranked<'_>]) -> Vec<Statement> {
    let doc = |p: &KeyPoint| p.citations.first().map(|c| c.doc.clone());
    let mut insights: Vec<Statement> = Vec::new();
    for r in ranked {
        let Some(other) = r.supported_by.iter().find(|o| doc(o) != doc(r.point)) else { continue };
        let known = insights.iter().any(|s| s.citations.iter().any(|c| r.point.citations.contains(c)));
        if !known && insights.len() < HIGHLIGHTS_MAX {
            let mut statement = Statement::from(r.point);
            statement.citations.extend(other.citations.iter().cloned());
            insights.push(statement);
        }
    }
    insights
}

/// Gives the quotes that say what must or should be done.
fn recommendations(ranked: &[Ranked<'_>]) -> Vec<Statement> {
    let mut found: Vec<Statement> = Vec::new();
    for r in ranked.iter().filter(|r| r.point.kind == FindingKind::Quote && advises(&r.point.text)) {
        if found.len() < HIGHLIGHTS_MAX && !found.iter().any(|s| s.text == r.point.text) {
            found.push(Statement::from(r.point));
        }
    }
    found
}

/// Names every requirement that is not answered, then what is answered in part, what may contradict, and what else limits.
fn limitations(input: &Synthesize) -> Vec<String> {
    let mut found = Vec::new();
    for open in &input.unresolved {
        for requirement in input.requirements.iter().filter(|r| open.requirement_ids.contains(&r.id)) {
            let missing = if open.missing.is_empty() { open.reason.clone() } else { open.missing.join(", ") };
            found.push(format!("Not answered: \"{}\". Not found in the sources: {missing}", requirement.text));
        }
    }
    found.extend(input.aggregated.identified_gaps.iter().cloned());
    found.extend(input.aggregated.inconsistencies.iter().cloned());
    let described = input.requirements.iter().filter(|r| r.kind == RequirementKind::Constraint).map(|r| &r.text);
    for constraint in described.chain(&input.task.context.constraints) {
        found.push(format!("Given to the team and not checked by a program: \"{constraint}\""));
    }
    found.extend(input.limitations.iter().cloned());
    found
}

/// Gives the mean completeness of what was accepted times the share that was accepted.
fn overall_confidence(input: &Synthesize) -> Share {
    let all = count(input.scores.len() + input.unresolved.len()).max(1);
    let tenths: i64 = input.scores.values().map(|s| s.completeness.0).sum();
    // Tenths of ten to micro-units of one.
    Share::new(tenths * 10_000 / all)
}
