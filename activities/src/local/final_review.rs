//! `manager_review_final`: the whole answer, every citation checked again.

use std::collections::BTreeSet;

use super::LABEL;
use super::desk::Desk;
use super::evidence::verifies;
use super::review::{completeness, judge};
use crate::documents::Corpus;
use crate::model::{
    ACCEPT_TOTAL, FinalReview, Finding, MICRO, Points, RequirementKind, ReviewFinal, SCORE_TENTHS_MAX, Statement,
    Tenths, Usage,
};

/// A requirement counts as answered from half of it, by rarity of its words: the floor that subtasks have too.
const ANSWERED_MIN: i64 = MICRO / 2;

pub(crate) fn review_final(corpus: &Corpus, desk: &Desk, input: &ReviewFinal) -> FinalReview {
    let answer = &input.final_answer;
    let findings: Vec<Finding> = answer.main_content.values().flatten().map(finding).collect();
    let open: BTreeSet<&str> =
        input.unresolved.iter().flat_map(|u| u.requirement_ids.iter().map(String::as_str)).collect();
    let asked: Vec<_> = input.requirements.iter().filter(|r| r.kind != RequirementKind::Constraint).cloned().collect();
    let answered: Vec<_> = asked.iter().filter(|r| !open.contains(r.id.as_str())).cloned().collect();
    let missing_requirements: Vec<String> = asked
        .iter()
        .filter(|r| {
            if open.contains(r.id.as_str()) {
                !answer.limitations.iter().any(|l| l.contains(&r.text))
            } else {
                completeness(&desk.index, r, &findings) < ANSWERED_MIN
            }
        })
        .map(|r| r.id.clone())
        .collect();
    let mut scores = judge(corpus, desk, &answered, &findings).scores;
    let wrong = answer.statements().flat_map(|s| &s.citations).filter(|c| !verifies(corpus, c)).count();
    let uncited = answer.statements().filter(|s| s.citations.is_empty()).count();
    // Contradictions of the sources are named in the limitations; only what is not in the sources makes the answer inaccurate.
    scores.accuracy = Tenths::new(if wrong + uncited == 0 { SCORE_TENTHS_MAX } else { 0 });
    if answered.is_empty() {
        scores.completeness = Tenths::new(0);
    }
    let total = scores.total();
    let approved = missing_requirements.is_empty() && wrong + uncited == 0 && total >= ACCEPT_TOTAL;
    let feedback = feedback(approved, &missing_requirements, wrong, uncited, total);
    FinalReview {
        approved,
        scores,
        score: Points::new(total),
        missing_requirements,
        feedback,
        usage: Usage::computed(LABEL, input),
    }
}

fn finding(statement: &Statement) -> Finding {
    Finding {
        id: statement.finding_id.clone(),
        text: statement.text.clone(),
        requirement_id: statement.requirement_id.clone(),
        kind: statement.kind,
        citations: statement.citations.clone(),
        score: 0,
        tags: Vec::new(),
    }
}

fn feedback(approved: bool, missing: &[String], wrong: usize, uncited: usize, total: i64) -> String {
    if approved {
        return "every requirement is answered or named as unanswered, and every citation stands in the documents"
            .to_owned();
    }
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("neither answered nor named as unanswered: {}", missing.join(", ")));
    }
    if wrong > 0 {
        parts.push(format!("{wrong} citations do not stand in the documents as quoted"));
    }
    if uncited > 0 {
        parts.push(format!("{uncited} statements have no citation"));
    }
    if total < ACCEPT_TOTAL {
        parts.push(format!("the score is {total} of 10000, below {ACCEPT_TOTAL}"));
    }
    parts.join("; ")
}
