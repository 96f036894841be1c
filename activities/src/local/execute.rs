//! `specialist_execute`: the passages and figures that together say most of what a requirement asks.
//!
//! Greedy selection: 0.4 × BM25 over the best + 0.6 × newly covered share − 0.2 × likeness to what is chosen, and a little for
//! what the specialist has an eye for. Without the reward for new words, a requirement of many parts never passes review. A
//! revision adds to the findings before it; replacing them lowers the score.

use std::collections::{BTreeMap, BTreeSet};

use super::LABEL;
use super::arithmetic::{Vector, cosine, share};
use super::counts::counts;
use super::desk::Desk;
use super::evidence::{covered, covered_by, covered_share, relevant_min, stems};
use super::figures::{Figure, cite_span, figures};
use super::index::{Index, Passage, Wanted, ranked};
use super::marks::{dates, norm};
use super::requirements::surface;
use super::select::lens;
use crate::documents::{SentenceKind, collapse};
use crate::model::{ExecuteSubtask, Finding, FindingKind, MICRO, Method, Requirement, Share, Solution, Usage};

/// Passages weighed per requirement.
const CANDIDATES_MAX: usize = 60;

/// Findings per requirement at first, and how many more each revision may add.
const FINDINGS_FIRST: usize = 3;
const FINDINGS_PER_REVISION: usize = 2;

/// Weights of search terms in thousandths: the requirement's own, those a reviewer missed, the specialist's.
const WEIGHT_OWN: i64 = 1_000;
const WEIGHT_MISSED: i64 = 2_500;
const WEIGHT_LENS: i64 = 150;

/// What it adds, in micro-units, that a passage is of the kind the specialist looks for: enough among equals, not more.
const KIND_BONUS: i64 = 50_000;

/// What it adds that a figure was computed.
const FIGURE_BONUS: i64 = 150_000;

/// What it takes that a sentence is too short or too long to read as a statement.
const FORM_COST: i64 = 300_000;

/// A further finding that covers nothing new must be at least half as good a match as the best.
const REPEAT_BM25_MIN: i64 = MICRO / 2;

pub(crate) fn execute(desk: &Desk, input: &ExecuteSubtask) -> Solution {
    let mut findings = Vec::new();
    let mut not_found = Vec::new();
    let mut assumptions = Vec::new();
    let mut shares = Vec::new();
    for requirement in &input.requirements {
        let mut search = Search::new(&desk.index, requirement, input);
        search.gather(&mut assumptions);
        search.choose();
        let have: Vec<BTreeSet<String>> = search.chosen.iter().map(|c| c.stems.clone()).collect();
        let covered = covered_by(requirement, &have);
        shares.push(covered_share(&desk.index, requirement, &covered));
        not_found.extend(
            (0..requirement.terms.len())
                .filter(|n| !covered.contains(n))
                .map(|n| surface(requirement, &requirement.terms[n])),
        );
        findings.extend(search.chosen.into_iter().map(|c| c.finding));
    }
    if input.specialist.method == Method::Timeline {
        findings.sort_by_key(|f| {
            f.tags
                .iter()
                .find(|t| t.starts_with(|c: char| c.is_ascii_digit()))
                .cloned()
                .unwrap_or_else(|| "~".to_owned())
        });
    }
    for (n, finding) in findings.iter_mut().enumerate() {
        finding.id = format!("f{}", n + 1);
    }
    not_found.sort();
    not_found.dedup();
    let sources: BTreeSet<String> = findings.iter().flat_map(|f| f.citations.iter().map(|c| c.doc.clone())).collect();
    // The weakest requirement speaks for the subtask: an unanswered one must not hide behind its neighbours.
    let confidence = Share::new(shares.into_iter().min().unwrap_or(0));
    Solution {
        solution_id: format!("{}/{}/{}", input.subtask.subtask_id, input.cycle, input.specialist.agent_type),
        subtask_id: input.subtask.subtask_id.clone(),
        specialist: input.specialist.agent_type.clone(),
        content: content(&findings, &not_found),
        findings,
        not_found,
        confidence,
        sources: sources.into_iter().collect(),
        assumptions,
        usage: Usage::computed(LABEL, input),
    }
}

fn content(findings: &[Finding], not_found: &[String]) -> String {
    let mut text = String::new();
    for finding in findings {
        let source = finding
            .citations
            .first()
            .map(|c| format!(" (Source: {}, bytes {} to {})", c.doc, c.start, c.end))
            .unwrap_or_default();
        text.push_str(&format!("- {}{source}\n", finding.text));
    }
    if !not_found.is_empty() {
        text.push_str(&format!("\nNot found in the sources: {}\n", not_found.join(", ")));
    }
    text
}

/// Something that could become a finding.
#[derive(Debug, Clone)]
struct Candidate {
    finding: Finding,
    stems: BTreeSet<String>,
    vector: Vector,
    /// How well it matches, over the best match, in micro-units.
    bm25: i64,
    bonus: i64,
    /// Whether it is a record of a table.
    is_row: bool,
}

struct Search<'a> {
    index: &'a Index,
    requirement: &'a Requirement,
    input: &'a ExecuteSubtask,
    candidates: Vec<Candidate>,
    chosen: Vec<Candidate>,
}

impl<'a> Search<'a> {
    /// Begins with the findings of the solution before, if there is one.
    fn new(index: &'a Index, requirement: &'a Requirement, input: &'a ExecuteSubtask) -> Self {
        let before = input.previous.iter().flat_map(|s| &s.findings).filter(|f| f.requirement_id == requirement.id);
        let chosen = before.map(|f| given(index, f.clone())).collect();
        Self { index, requirement, input, candidates: Vec::new(), chosen }
    }

    /// Gathers passages, figures of the specialist's method, and what the subtasks before found.
    fn gather(&mut self, assumptions: &mut Vec<String>) {
        let wanted = self.wanted();
        let own: BTreeSet<u32> = self.requirement.terms.iter().filter_map(|t| self.index.term(t)).collect();
        let mut scores = self.index.search(&wanted);
        scores.retain(|id, _| {
            let passage = &self.index.passages[*id as usize];
            self.index.sentence(passage).citable && passage.terms.iter().any(|(t, _)| own.contains(t))
        });
        let best = ranked(scores, CANDIDATES_MAX);
        let top = best.first().map_or(1, |(_, score)| *score).max(1);
        for (id, score) in best {
            let candidate = self.passage(&self.index.passages[id as usize], share(score, top));
            self.candidates.push(candidate);
        }
        let (computed, left_out) = match self.input.specialist.method {
            Method::Figures => figures(self.index, self.requirement),
            Method::Code => counts(self.index),
            Method::Passages | Method::Timeline | Method::Norms => (Vec::new(), Vec::new()),
        };
        assumptions.extend(left_out);
        // A figure says of its table what a record would, in words.
        let figured: BTreeSet<&str> =
            computed.iter().flat_map(|f| f.citations.iter().map(|c| c.doc.as_str())).collect();
        self.candidates.retain(|c| !c.is_row || !c.finding.citations.iter().any(|s| figured.contains(s.doc.as_str())));
        let computed: Vec<Candidate> = computed.into_iter().map(|f| self.figure(f)).collect();
        self.candidates.extend(computed);
        for finding in self.input.inputs.iter().flat_map(|i| &i.findings) {
            let finding = Finding { requirement_id: self.requirement.id.clone(), ..finding.clone() };
            self.candidates.push(given(self.index, finding));
        }
    }

    fn wanted(&self) -> Vec<Wanted> {
        let missed: BTreeSet<&str> = self
            .input
            .feedback
            .iter()
            .flat_map(|f| &f.revision_requests)
            .filter(|r| r.requirement_id == self.requirement.id)
            .flat_map(|r| r.terms.iter().map(String::as_str))
            .collect();
        let own = self.requirement.terms.iter().filter_map(|t| {
            let weight = if missed.contains(t.as_str()) { WEIGHT_MISSED } else { WEIGHT_OWN };
            self.index.term(t).map(|term| (term, weight))
        });
        let lens = lens(self.index, &self.input.specialist).into_iter().map(|(term, _)| (term, WEIGHT_LENS));
        let mut weights: BTreeMap<u32, i64> = lens.collect();
        weights.extend(own);
        weights.into_iter().map(|(term, weight)| Wanted { term, weight }).collect()
    }

    /// Makes a candidate of a passage; the heading above it is cited too where it says what the sentence leaves out.
    fn passage(&self, passage: &Passage, bm25: i64) -> Candidate {
        let entry = &self.index.entries[passage.entry];
        let sentence = self.index.sentence(passage);
        let mut citations = vec![cite_span(&entry.doc, &entry.document, sentence.start, sentence.end)];
        let text = collapse(&citations[0].quote);
        let mut has = stems(FindingKind::Quote, &text, &citations);
        if let Some(section) = self.index.section(passage) {
            let heading = cite_span(&entry.doc, &entry.document, section.start, section.end);
            let with: BTreeSet<String> =
                stems(FindingKind::Quote, "", std::slice::from_ref(&heading)).union(&has).cloned().collect();
            if covered(self.requirement, &with).len() > covered(self.requirement, &has).len() {
                citations.push(heading);
                has = with;
            }
        }
        let mut tags: Vec<String> = Vec::new();
        match self.input.specialist.method {
            Method::Timeline => tags.extend(dates(&text)),
            Method::Norms => tags.extend(norm(&text).map(str::to_owned)),
            Method::Passages | Method::Figures | Method::Code => {}
        }
        let bonus = if tags.is_empty() { 0 } else { KIND_BONUS };
        // A statement that is hard to read as one is a weaker one.
        let bonus = if (5..=60).contains(&sentence.words) { bonus } else { bonus - FORM_COST };
        let requirement_id = self.requirement.id.clone();
        let finding =
            Finding { id: String::new(), text, requirement_id, kind: FindingKind::Quote, citations, score: 0, tags };
        let is_row = sentence.kind == SentenceKind::Row;
        Candidate { finding, stems: has, vector: passage.terms.clone(), bm25, bonus, is_row }
    }

    fn figure(&self, figure: Figure) -> Candidate {
        let finding = Finding {
            id: String::new(),
            text: figure.text,
            requirement_id: self.requirement.id.clone(),
            kind: FindingKind::Figure,
            citations: figure.citations,
            score: 0,
            tags: vec!["computed".to_owned()],
        };
        Candidate { bonus: FIGURE_BONUS, ..given(self.index, finding) }
    }

    /// Takes the best candidates until the budget is used or nothing is worth taking.
    fn choose(&mut self) {
        let cycle = usize::try_from(self.input.cycle).unwrap_or(0);
        let budget = FINDINGS_FIRST + FINDINGS_PER_REVISION * cycle;
        let revises = !self.chosen.is_empty();
        let least = relevant_min(self.requirement);
        self.candidates.retain(|c| covered(self.requirement, &c.stems).len() >= least);
        // Of equals the first is taken, so the order settles ties.
        self.candidates.sort_by(|a, b| order(&a.finding).cmp(&order(&b.finding)));
        while self.chosen.len() < budget {
            let have: Vec<BTreeSet<String>> = self.chosen.iter().map(|c| c.stems.clone()).collect();
            let already = covered_by(self.requirement, &have);
            let already_share = covered_share(self.index, self.requirement, &already);
            let mut best: Option<(i64, i64, usize)> = None;
            for (n, candidate) in self.candidates.iter().enumerate() {
                let (score, gain) = self.score(candidate, &already, already_share);
                if best.is_none_or(|(top, _, _)| score > top) {
                    best = Some((score, gain, n));
                }
            }
            let Some((score, gain, n)) = best else { return };
            let candidate = &self.candidates[n];
            let repeats = gain == 0 && (revises || (!self.chosen.is_empty() && candidate.bm25 < REPEAT_BM25_MIN));
            if score <= 0 || repeats {
                return;
            }
            let mut candidate = self.candidates.remove(n);
            candidate.finding.score = score / 1_000;
            self.candidates.retain(|c| {
                c.finding.citations != candidate.finding.citations && c.finding.text != candidate.finding.text
            });
            self.chosen.push(candidate);
        }
    }

    /// Gives a candidate's score and the share it would newly cover, in micro-units.
    fn score(&self, candidate: &Candidate, already: &BTreeSet<usize>, already_share: i64) -> (i64, i64) {
        let with: BTreeSet<usize> = covered(self.requirement, &candidate.stems).union(already).copied().collect();
        let gain = covered_share(self.index, self.requirement, &with) - already_share;
        let alike =
            self.chosen.iter().map(|c| cosine(&c.vector, &candidate.vector, &self.index.idf)).max().unwrap_or(0);
        ((4 * candidate.bm25 + 6 * gain - 2 * alike) / 10 + candidate.bonus, gain)
    }
}

/// Orders findings that score the same: by document and place.
fn order(finding: &Finding) -> (&str, usize, &str) {
    let place = finding.citations.first().map_or(("", 0), |c| (c.doc.as_str(), c.start));
    (place.0, place.1, finding.text.as_str())
}

/// Makes a candidate of a finding that exists already; it matches as well as the best, having passed a choice before.
fn given(index: &Index, finding: Finding) -> Candidate {
    let stems = stems(finding.kind, &finding.text, &finding.citations);
    let vector = index.vector(&finding.text);
    Candidate { stems, vector, bm25: MICRO, bonus: 0, is_row: false, finding }
}
