//! `manager_review_solution`: scores computed from the evidence, and wishes that name what is missing.

use std::collections::BTreeSet;

use super::LABEL;
use super::arithmetic::{Vector, cosine, count, share};
use super::desk::Desk;
use super::evidence::{covered, covered_by, covered_share, holds, may_contradict, relevant_min, stems};
use super::index::Index;
use super::requirements::surface;
use crate::documents::{Corpus, words};
use crate::model::{
    Finding, FindingKind, MICRO, Points, Recommendation, Requirement, Review, ReviewSolution, RevisionRequest,
    SCORE_TENTHS_MAX, Scores, Tenths, Usage,
};

/// What an unresolved possible contradiction costs accuracy, in tenths.
const CONTRADICTION_COST: i64 = 20;

/// Words of a statement that reads as one.
const WORDS_READABLE: std::ops::RangeInclusive<usize> = 5..=60;

pub(crate) fn review(corpus: &Corpus, desk: &Desk, input: &ReviewSolution) -> Review {
    let index = &desk.index;
    let findings = &input.solution.findings;
    let judged = judge(corpus, desk, &input.requirements, findings);
    let scores = judged.scores;
    let total = scores.total();
    let mut strengths = Vec::new();
    let mut weaknesses = Vec::new();
    let documents: BTreeSet<&str> = findings.iter().flat_map(|f| f.citations.iter().map(|c| c.doc.as_str())).collect();
    if judged.unverified.is_empty() && !findings.is_empty() {
        strengths.push(format!("all {} findings stand in the documents as quoted", findings.len()));
    }
    if documents.len() > 1 {
        strengths.push(format!("{} documents are cited", documents.len()));
    }
    for id in &judged.unverified {
        weaknesses.push(format!("{id} does not stand in the documents as quoted"));
    }
    for (a, b) in &judged.contradictions {
        weaknesses.push(format!("{a} and {b} may contradict each other"));
    }
    if findings.is_empty() {
        weaknesses.push("no passage has two words of what is asked together".to_owned());
    }
    let revision_requests: Vec<RevisionRequest> =
        input.requirements.iter().flat_map(|r| wishes(index, r, findings)).collect();
    weaknesses.extend(revision_requests.iter().map(|r| r.text.clone()));
    let recommendation = Recommendation::of(total);
    let feedback = if revision_requests.is_empty() {
        "everything asked for is found".to_owned()
    } else {
        revision_requests.iter().map(|r| r.text.as_str()).collect::<Vec<_>>().join("; ")
    };
    Review {
        scores,
        overall_score: Points::new(total),
        strengths,
        weaknesses,
        recommendation,
        feedback,
        revision_requests,
        usage: Usage::computed(LABEL, input),
    }
}

/// Scores and what they come from.
pub(crate) struct Judged {
    /// The four scores.
    pub(crate) scores: Scores,
    /// The findings that do not hold.
    pub(crate) unverified: Vec<String>,
    /// The pairs that may contradict.
    pub(crate) contradictions: Vec<(String, String)>,
}

/// Judges findings against the requirements they are for.
pub(crate) fn judge(corpus: &Corpus, desk: &Desk, requirements: &[Requirement], findings: &[Finding]) -> Judged {
    let index = &desk.index;
    let of = |f: &Finding| requirements.iter().find(|r| r.id == f.requirement_id);
    let unverified: Vec<String> = findings.iter().filter(|f| !holds(corpus, desk, f)).map(|f| f.id.clone()).collect();
    let contradictions = contradictions(index, findings);
    let all = count(findings.len());
    let relevant = findings.iter().filter(|f| of(f).is_some_and(|r| is_relevant(r, f))).count();
    let completeness = requirements.iter().map(|r| completeness(index, r, findings)).min().unwrap_or(0);
    let accuracy = share(all - count(unverified.len()), all) * SCORE_TENTHS_MAX / MICRO
        - CONTRADICTION_COST * count(contradictions.len());
    let scores = Scores {
        completeness: Tenths::new(completeness * SCORE_TENTHS_MAX / MICRO),
        accuracy: Tenths::new(accuracy.max(0)),
        relevance: Tenths::new(share(count(relevant), all) * SCORE_TENTHS_MAX / MICRO),
        quality: Tenths::new(quality(index, findings)),
    };
    Judged { scores, unverified, contradictions }
}

/// Gives the covered share of a requirement in micro-units.
pub(crate) fn completeness(index: &Index, requirement: &Requirement, findings: &[Finding]) -> i64 {
    covered_share(index, requirement, &covered_terms(requirement, findings))
}

fn covered_terms(requirement: &Requirement, findings: &[Finding]) -> BTreeSet<usize> {
    let own: Vec<BTreeSet<String>> = findings
        .iter()
        .filter(|f| f.requirement_id == requirement.id)
        .map(|f| stems(f.kind, &f.text, &f.citations))
        .collect();
    covered_by(requirement, &own)
}

fn is_relevant(requirement: &Requirement, finding: &Finding) -> bool {
    covered(requirement, &stems(finding.kind, &finding.text, &finding.citations)).len() >= relevant_min(requirement)
}

fn contradictions(index: &Index, findings: &[Finding]) -> Vec<(String, String)> {
    let quotes: Vec<(&Finding, Vector)> =
        findings.iter().filter(|f| f.kind == FindingKind::Quote).map(|f| (f, index.vector(&f.text))).collect();
    let mut found = Vec::new();
    for (n, (a, va)) in quotes.iter().enumerate() {
        for (b, vb) in &quotes[n + 1..] {
            if may_contradict(index, (&a.text, va), (&b.text, vb)) {
                found.push((a.id.clone(), b.id.clone()));
            }
        }
    }
    found
}

/// Scores how findings read, in tenths: 0.4 × readable length + 0.3 × unlike each other + 0.3 × from several documents.
fn quality(index: &Index, findings: &[Finding]) -> i64 {
    if findings.is_empty() {
        return 0;
    }
    let all = count(findings.len());
    let readable = |f: &&Finding| f.kind == FindingKind::Figure || WORDS_READABLE.contains(&words(&f.text).count());
    let readable = share(count(findings.iter().filter(readable).count()), all);
    let vectors: Vec<Vector> = findings.iter().map(|f| index.vector(&f.text)).collect();
    let (mut sum, mut pairs) = (0, 0);
    for (n, a) in vectors.iter().enumerate() {
        for b in &vectors[n + 1..] {
            sum += cosine(a, b, &index.idf);
            pairs += 1;
        }
    }
    let unlike = MICRO - if pairs == 0 { 0 } else { sum / pairs };
    let documents: BTreeSet<&str> = findings.iter().flat_map(|f| f.citations.iter().map(|c| c.doc.as_str())).collect();
    // As many as there are to cite, but no more than findings.
    let possible = all.min(count(index.entries.len())).max(1);
    let diverse = share(count(documents.len()), possible).min(MICRO);
    (40 * readable + 30 * unlike + 30 * diverse) / MICRO
}

/// Names every term of a requirement that the findings do not cover, and where to look.
fn wishes(index: &Index, requirement: &Requirement, findings: &[Finding]) -> Vec<RevisionRequest> {
    let covered = covered_terms(requirement, findings);
    let missing = (0..requirement.terms.len()).filter(|n| !covered.contains(n)).map(|n| &requirement.terms[n]);
    missing
        .map(|term| {
            let word = surface(requirement, term);
            let absent = index.term(term).is_none();
            let place = nearest_section(index, term).map(|s| format!(", see {s}")).unwrap_or_default();
            let text = if absent {
                format!("\"{word}\" stands in none of the documents")
            } else {
                format!("\"{word}\" is not spoken of together with what else is asked{place}")
            };
            RevisionRequest {
                requirement_id: requirement.id.clone(),
                text,
                terms: vec![term.clone()],
                words: vec![word],
                absent,
            }
        })
        .collect()
}

/// Gives the section that speaks most of a term, with its document.
fn nearest_section(index: &Index, term: &str) -> Option<String> {
    let term = index.term(term)?;
    let mut counts: Vec<((usize, usize), u32)> = Vec::new();
    for id in index.with_term(term) {
        let passage = &index.passages[*id as usize];
        let Some(section) = index.sentence(passage).section else { continue };
        let key = (passage.entry, section);
        match counts.last_mut() {
            // Passages come in document order, so a section's are together.
            Some((last, n)) if *last == key => *n += 1,
            _ => counts.push((key, 1)),
        }
    }
    let ((entry, section), _) = counts.into_iter().rev().max_by_key(|(_, n)| *n)?;
    let entry = &index.entries[entry];
    Some(format!("section \"{}\" of {}", entry.document.sections[section].title, entry.doc))
}
