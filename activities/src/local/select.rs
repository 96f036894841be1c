//! `manager_select_specialists`: every type is scored for every requirement, and the scores are in the output.

use std::collections::{BTreeMap, BTreeSet};

use super::agents::GENERALIST;
use super::arithmetic::{Vector, cosine};
use super::counts::counts;
use super::desk::Desk;
use super::evidence::{covered, relevant_min, stems};
use super::figures::figures;
use super::index::{Index, Wanted, ranked};
use super::{LABEL, requirements};
use crate::documents::{stem, words};
use crate::model::{
    AgentType, FindingKind, Method, Priority, Requirement, RequirementKind, RequirementScores, SelectSpecialists,
    Selection, Specialist, TypeScore, Usage,
};

/// A type scored lower, in thousandths, is not good at a requirement.
const FIT_MIN: i64 = 50;

/// Passages read to learn the words around a requirement.
const EXPANSION_PASSAGES: usize = 10;

/// What a cue in a requirement adds, and how many count.
const CUE_SCORE: i64 = 250;
const CUES_COUNTED_MAX: i64 = 2;

/// What it adds that a type's method has something to say: figures to compute, places to count.
const METHOD_SCORE: i64 = 200;

pub(crate) fn select(desk: &Desk, input: &SelectSpecialists) -> Selection {
    let asked: Vec<&Requirement> =
        input.analysis.requirements.iter().filter(|r| r.kind != RequirementKind::Constraint).collect();
    let scores: Vec<RequirementScores> = asked
        .iter()
        .map(|r| RequirementScores {
            requirement_id: r.id.clone(),
            types: type_scores(&desk.index, r, &input.agent_types, &input.load),
        })
        .collect();
    let score = |requirement: &RequirementScores, name: &str| {
        requirement.types.iter().find(|t| t.agent_type == name).map_or(0, |t| t.score)
    };
    let mut chosen: Vec<String> = Vec::new();
    while chosen.len() < input.analysis.complexity.specialists_max() {
        // What a type adds over the team so far: two types good at the same requirements are not both needed.
        let gain = |name: &str| -> i64 {
            scores.iter().map(|r| (score(r, name) - chosen.iter().map(|c| score(r, c)).max().unwrap_or(0)).max(0)).sum()
        };
        let candidates =
            input.agent_types.iter().map(|t| t.agent_type.as_str()).filter(|n| !chosen.iter().any(|c| c == n));
        let best = candidates.map(|n| (gain(n), n)).max_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.cmp(a.1)));
        match best {
            Some((gain, name)) if gain > 0 => chosen.push(name.to_owned()),
            _ => break,
        }
    }
    let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut gaps = Vec::new();
    for requirement in &scores {
        let best =
            chosen.iter().map(|c| (score(requirement, c), c)).max_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.cmp(a.1)));
        match best {
            Some((fit, name)) if fit >= FIT_MIN => {
                given.entry(name.clone()).or_default().push(requirement.requirement_id.clone())
            }
            _ => gaps.push(requirement.requirement_id.clone()),
        }
    }
    if !gaps.is_empty() {
        given.entry(GENERALIST.to_owned()).or_default().extend(gaps.iter().cloned());
    }
    let mut specialists: Vec<Specialist> = given
        .into_iter()
        .map(|(name, ids)| {
            let fit =
                scores.iter().filter(|r| ids.contains(&r.requirement_id)).map(|r| score(r, &name)).max().unwrap_or(0);
            specialist(name, fit, ids, &asked)
        })
        .collect();
    specialists.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.agent_type.cmp(&b.agent_type)));
    Selection { specialists, gaps, scores, usage: Usage::computed(LABEL, input) }
}

fn specialist(name: String, score: i64, requirement_ids: Vec<String>, asked: &[&Requirement]) -> Specialist {
    let own = asked.iter().filter(|r| requirement_ids.contains(&r.id));
    let focus: BTreeSet<String> = own.flat_map(|r| r.terms.iter().map(|t| requirements::surface(r, t))).collect();
    let rationale = if name == GENERALIST {
        format!("takes {}, for which no type scores {FIT_MIN} of 1000", requirement_ids.join(", "))
    } else {
        format!("best of the team for {}, with up to {score} of 1000", requirement_ids.join(", "))
    };
    let priority = match score {
        500.. => Priority::High,
        200.. => Priority::Medium,
        _ => Priority::Low,
    };
    Specialist {
        agent_type: name,
        score,
        rationale,
        priority,
        focus_areas: focus.into_iter().collect(),
        requirement_ids,
    }
}

/// Scores the types for a requirement, in thousandths, best first; types with nothing in common are left out.
pub(crate) fn type_scores(
    index: &Index,
    requirement: &Requirement,
    types: &[AgentType],
    load: &BTreeMap<String, u32>,
) -> Vec<TypeScore> {
    let about = expanded(index, requirement);
    let text = padded(&requirement.text);
    let mut scores: Vec<TypeScore> = types
        .iter()
        .map(|t| {
            let lens = lens(index, t);
            let cues = t.cues.iter().filter(|c| text.contains(&padded(c))).count();
            let cues = i64::try_from(cues).unwrap_or(0).min(CUES_COUNTED_MAX) * CUE_SCORE;
            let method = if has_something_to_say(index, requirement, t.method) { METHOD_SCORE } else { 0 };
            let fit = (cosine(&about, &lens, &index.idf) / 1_000 + cues + method).min(1_000);
            let busy = i64::from(load.get(&t.agent_type).copied().unwrap_or(0));
            TypeScore { agent_type: t.agent_type.clone(), score: fit * 10 / (10 + busy) }
        })
        .filter(|t| t.score > 0)
        .collect();
    scores.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.agent_type.cmp(&b.agent_type)));
    scores
}

/// Gives a requirement's terms, ten-fold, with those of the passages it finds.
fn expanded(index: &Index, requirement: &Requirement) -> Vector {
    let wanted: Vec<Wanted> =
        requirement.terms.iter().filter_map(|t| index.term(t)).map(|term| Wanted { term, weight: 1_000 }).collect();
    let mut counts: BTreeMap<u32, u32> = wanted.iter().map(|w| (w.term, 10)).collect();
    for (passage, _) in ranked(index.search(&wanted), EXPANSION_PASSAGES) {
        for (term, _) in &index.passages[passage as usize].terms {
            *counts.entry(*term).or_insert(0) += 1;
        }
    }
    counts.into_iter().collect()
}

/// Gives the words that draw a type's eye, as far as the documents have them.
pub(crate) fn lens(index: &Index, agent_type: &AgentType) -> Vector {
    let all = agent_type.lens_terms.iter().chain(&agent_type.cues).flat_map(|phrase| words(phrase).map(|(_, w)| w));
    let terms: BTreeSet<u32> = all.filter_map(stem).filter_map(|s| index.term(&s)).collect();
    terms.into_iter().map(|t| (t, 1)).collect()
}

fn has_something_to_say(index: &Index, requirement: &Requirement, method: Method) -> bool {
    let found = match method {
        Method::Figures => figures(index, requirement).0,
        Method::Code => counts(index).0,
        Method::Passages | Method::Timeline | Method::Norms => return false,
    };
    found.iter().any(|f| {
        let stems = stems(FindingKind::Figure, &f.text, &f.citations);
        covered(requirement, &stems).len() >= relevant_min(requirement)
    })
}

/// Brings a text to lower case words between spaces, so that whole phrases can be looked for.
fn padded(text: &str) -> String {
    let words: Vec<String> = words(text).map(|(_, w)| w.to_lowercase()).collect();
    format!(" {} ", words.join(" "))
}
