//! `manager_analyze_task`: what is asked, and how large it is.

use std::collections::BTreeMap;

use super::desk::Desk;
use super::requirements::{terms, weighs_others};
use super::select::type_scores;
use super::{LABEL, agent_types};
use crate::documents::{Corpus, stem, words};
use crate::model::{Analysis, AnalyzeTask, Complexity, RequirementKind, Usage};
use crate::provider::ProviderError;

/// Keywords given: as many as fit on a line.
const KEYWORDS_MAX: usize = 12;

/// More requirements than this are refused: their findings would not fit into one answer.
const REQUIREMENTS_MAX: usize = 40;

pub(crate) fn analyze(corpus: &Corpus, desk: &Desk, input: &AnalyzeTask) -> Result<Analysis, ProviderError> {
    let requirements = desk.requirements.clone();
    let asked: Vec<_> = requirements.iter().filter(|r| r.kind != RequirementKind::Constraint).collect();
    let refuse = |reason: String| Err(ProviderError::BadRequest { reason });
    if asked.is_empty() {
        return refuse("the description names nothing to find out: ask a question or list what is wanted".to_owned());
    }
    if asked.len() > REQUIREMENTS_MAX {
        return refuse(format!(
            "the description asks for {} things, at most {REQUIREMENTS_MAX} fit into one task: split it",
            asked.len()
        ));
    }
    let complexity = match asked.len() {
        _ if asked.iter().any(|r| weighs_others(r)) => Complexity::Complex,
        0..=2 => Complexity::Simple,
        3..=5 => Complexity::Moderate,
        _ => Complexity::Complex,
    };
    let types = agent_types();
    let best: Vec<_> =
        asked.iter().filter_map(|r| type_scores(&desk.index, r, &types, &BTreeMap::new()).into_iter().next()).collect();
    let mut capabilities: Vec<String> = best
        .iter()
        .filter_map(|b| types.iter().find(|t| t.agent_type == b.agent_type))
        .flat_map(|t| t.capabilities.iter().cloned())
        .collect();
    capabilities.sort();
    capabilities.dedup();
    let constraints = requirements
        .iter()
        .filter(|r| r.kind == RequirementKind::Constraint)
        .map(|r| r.text.clone())
        .chain(input.task.context.constraints.iter().cloned())
        .collect();
    let keywords = keywords(desk, input);
    let domain = input
        .task
        .context
        .domain
        .clone()
        .unwrap_or_else(|| keywords.first().cloned().unwrap_or_else(|| "general".to_owned()));
    Ok(Analysis {
        keywords,
        domain,
        capabilities,
        requirements,
        complexity,
        constraints,
        unreadable: corpus.unreadable().to_vec(),
        usage: Usage::computed(LABEL, input),
    })
}

/// Gives the words of the task that say most: frequent in the task, rare in the documents, known to them.
fn keywords(desk: &Desk, input: &AnalyzeTask) -> Vec<String> {
    let text = format!("{}\n{}", input.task.title, input.task.description);
    let about = terms(&text);
    let asked = desk.requirements.iter().flat_map(|r| r.terms.iter().cloned());
    let mut counts: BTreeMap<String, (i64, String)> = BTreeMap::new();
    for (_, word) in words(&text) {
        if let Some(term) = stem(word) {
            counts.entry(term).or_insert_with(|| (0, word.to_lowercase())).0 += 1;
        }
    }
    let mut scored: Vec<(i64, String)> = Vec::new();
    for term in about.into_iter().chain(asked) {
        if let Some((count, word)) = counts.remove(&term) {
            // A word that no document has cannot help to find anything.
            let known = if desk.index.term(&term).is_some() { 1 } else { 0 };
            scored.push((known * count * desk.index.idf_of(&term), word));
        }
    }
    scored.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.into_iter().take(KEYWORDS_MAX).map(|(_, word)| word).collect()
}
