//! `manager_decompose_task`: one subtask per requirement, so that what cannot be answered drags nothing else down.

use std::collections::{BTreeMap, BTreeSet};

use super::LABEL;
use super::requirements::{builds_on_others, weighs_others};
use crate::model::{
    Complexity, Decompose, ExecutionPhase, Plan, Priority, Requirement, RequirementKind, Subtask, Usage,
};

/// Characters of a requirement that a title shows.
const TITLE_CHARS_MAX: usize = 80;

pub(crate) fn decompose(input: &Decompose) -> Plan {
    let asked: Vec<&Requirement> =
        input.requirements.iter().filter(|r| r.kind != RequirementKind::Constraint).collect();
    let mut subtasks: Vec<Subtask> = Vec::new();
    for requirement in &asked {
        // The first specialist that was given the requirement; the workflow's check names what is given to nobody.
        if let Some(specialist) = input.specialists.iter().find(|s| s.requirement_ids.contains(&requirement.id)) {
            let id = format!("s{}", subtasks.len() + 1);
            subtasks.push(subtask(id, requirement, &specialist.agent_type, specialist.priority));
        }
    }
    let by_requirement: BTreeMap<&str, &Requirement> = asked.iter().map(|r| (r.id.as_str(), *r)).collect();
    let edges: Vec<Vec<String>> = subtasks.iter().map(|s| dependencies(s, &subtasks, &by_requirement)).collect();
    for (subtask, dependencies) in subtasks.iter_mut().zip(edges) {
        if !dependencies.is_empty() {
            subtask.complexity = Complexity::Complex;
        }
        subtask.dependencies = dependencies;
    }
    let execution_phases = phases(&subtasks);
    Plan { subtasks, execution_phases, usage: Usage::computed(LABEL, input) }
}

fn subtask(subtask_id: String, requirement: &Requirement, specialist: &str, priority: Priority) -> Subtask {
    let deliverable = match requirement.kind {
        RequirementKind::Question => "Statements from the documents that answer the question, each with its place",
        RequirementKind::Deliverable | RequirementKind::Constraint => {
            "Statements from the documents for the request, each with its place"
        }
    };
    Subtask {
        subtask_id,
        title: title(&requirement.text),
        description: requirement.text.clone(),
        assigned_specialist: specialist.to_owned(),
        deliverable: deliverable.to_owned(),
        dependencies: Vec::new(),
        priority,
        complexity: if requirement.terms.len() > 6 { Complexity::Moderate } else { Complexity::Simple },
        requirement_ids: vec![requirement.id.clone()],
        success_criteria: vec![
            "at least half of what is asked, by rarity of its words, stands in the findings".to_owned(),
            "every citation can be found at its place".to_owned(),
        ],
    }
}

fn title(text: &str) -> String {
    if text.chars().count() <= TITLE_CHARS_MAX {
        return text.to_owned();
    }
    let cut: String = text.chars().take(TITLE_CHARS_MAX - 1).collect();
    let whole = cut.rsplit_once(' ').map_or(cut.as_str(), |(head, _)| head);
    format!("{whole}…")
}

/// Gives the subtasks whose findings a subtask builds on: those it shares words with, if it weighs or names what others find.
///
/// One that weighs others never waits for another that does, so there is no circle.
fn dependencies(subtask: &Subtask, all: &[Subtask], by_requirement: &BTreeMap<&str, &Requirement>) -> Vec<String> {
    let of = |s: &Subtask| {
        s.requirement_ids.iter().filter_map(|id| by_requirement.get(id.as_str())).copied().collect::<Vec<_>>()
    };
    let waits = |s: &Subtask| of(s).iter().any(|r| weighs_others(r) || builds_on_others(r));
    if !waits(subtask) {
        return Vec::new();
    }
    let terms = |s: &Subtask| of(s).iter().flat_map(|r| r.terms.iter().cloned()).collect::<BTreeSet<String>>();
    let own = terms(subtask);
    let shares = |s: &&Subtask| !terms(s).is_disjoint(&own);
    all.iter()
        .filter(|s| s.subtask_id != subtask.subtask_id && !waits(s))
        .filter(shares)
        .map(|s| s.subtask_id.clone())
        .collect()
}

/// Describes the order: what waits for nothing, then what waits.
fn phases(subtasks: &[Subtask]) -> Vec<ExecutionPhase> {
    let (first, second): (Vec<&Subtask>, Vec<&Subtask>) = subtasks.iter().partition(|s| s.dependencies.is_empty());
    [(first, "read the documents"), (second, "weigh what was found")]
        .into_iter()
        .filter(|(subtasks, _)| !subtasks.is_empty())
        .zip(1..)
        .map(|((subtasks, what), phase)| ExecutionPhase {
            phase,
            subtasks: subtasks.iter().map(|s| s.subtask_id.clone()).collect(),
            description: what.to_owned(),
        })
        .collect()
}
