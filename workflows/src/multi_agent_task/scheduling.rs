//! The graph of subtasks: what is wrong with a plan, which level a subtask has, and what can start now.
//!
//! Nodes are in the order of the plan and edges are inserted in sorted order, because petgraph's neighbour order is that of insertion.

use std::collections::BTreeSet;

use dacapo_activities::model::{
    Complexity, ExecutionPhase, Plan, Priority, Requirement, RequirementKind, Specialist, Subtask, Task, Usage,
};
use petgraph::Direction::{Incoming, Outgoing};
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use thiserror::Error;

/// The provider of what the workflow computes by itself.
pub(crate) const WORKFLOW: &str = "workflow";

/// Says what is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// There is nothing to do.
    #[error("the plan has no subtask: give every requirement one")]
    Empty,
    /// Two subtasks have one id.
    #[error("subtask id {subtask_id} is given twice: ids must be unique")]
    DuplicateId {
        /// The id.
        subtask_id: String,
    },
    /// A dependency does not exist.
    #[error("subtask {subtask_id} depends on {dependency}, which is not in the plan")]
    UnknownDependency {
        /// The subtask that depends.
        subtask_id: String,
        /// What it depends on.
        dependency: String,
    },
    /// Subtasks wait for each other.
    #[error("subtask {subtask_id} waits for itself through its dependencies: break the circle")]
    Cycle {
        /// One of the circle.
        subtask_id: String,
    },
    /// A subtask is given to a type that is not on the team.
    #[error("subtask {subtask_id} is given to {specialist}, who is not on the team")]
    UnknownSpecialist {
        /// The subtask.
        subtask_id: String,
        /// Whom it is given to.
        specialist: String,
    },
    /// A subtask answers a requirement that is not asked.
    #[error("subtask {subtask_id} answers {requirement_id}, which is not asked")]
    UnknownRequirement {
        /// The subtask.
        subtask_id: String,
        /// What it answers.
        requirement_id: String,
    },
    /// Nobody answers a requirement.
    #[error("requirement {requirement_id} is answered by no subtask")]
    Uncovered {
        /// The requirement.
        requirement_id: String,
    },
}

/// The dependencies of a valid plan; a node's index is that of its subtask.
#[derive(Debug, Clone)]
pub struct Graph {
    graph: DiGraph<(), ()>,
    levels: Vec<u32>,
}

/// Checks a plan against the team and the requirements.
///
/// # Errors
/// Everything that is wrong; of the circles only one, as one is enough to make the plan useless.
pub fn validate(
    plan: &Plan,
    requirements: &[Requirement],
    specialists: &[Specialist],
) -> Result<Graph, Vec<PlanError>> {
    let mut errors = Vec::new();
    let subtasks = &plan.subtasks;
    if subtasks.is_empty() {
        errors.push(PlanError::Empty);
    }
    let mut ids = BTreeSet::new();
    for subtask in subtasks {
        let subtask_id = subtask.subtask_id.clone();
        if !ids.insert(subtask.subtask_id.as_str()) {
            errors.push(PlanError::DuplicateId { subtask_id: subtask_id.clone() });
        }
        if !specialists.iter().any(|s| s.agent_type == subtask.assigned_specialist) {
            let specialist = subtask.assigned_specialist.clone();
            errors.push(PlanError::UnknownSpecialist { subtask_id: subtask_id.clone(), specialist });
        }
        for requirement_id in subtask.requirement_ids.iter().filter(|id| !requirements.iter().any(|r| r.id == **id)) {
            errors.push(PlanError::UnknownRequirement {
                subtask_id: subtask_id.clone(),
                requirement_id: requirement_id.clone(),
            });
        }
    }
    for requirement in requirements.iter().filter(|r| r.kind != RequirementKind::Constraint) {
        if !subtasks.iter().any(|s| s.requirement_ids.contains(&requirement.id)) {
            errors.push(PlanError::Uncovered { requirement_id: requirement.id.clone() });
        }
    }
    let mut graph = DiGraph::new();
    let nodes: Vec<NodeIndex> = subtasks.iter().map(|_| graph.add_node(())).collect();
    let mut edges = BTreeSet::new();
    for (n, subtask) in subtasks.iter().enumerate() {
        for dependency in &subtask.dependencies {
            match subtasks.iter().position(|s| s.subtask_id == *dependency) {
                Some(d) => drop(edges.insert((d, n))),
                None => errors.push(PlanError::UnknownDependency {
                    subtask_id: subtask.subtask_id.clone(),
                    dependency: dependency.clone(),
                }),
            }
        }
    }
    for (from, to) in edges {
        graph.add_edge(nodes[from], nodes[to], ());
    }
    match toposort(&graph, None) {
        Ok(order) if errors.is_empty() => Ok(Graph { levels: levels(&graph, &order), graph }),
        Ok(_) => Err(errors),
        Err(cycle) => {
            errors.push(PlanError::Cycle { subtask_id: subtasks[cycle.node_id().index()].subtask_id.clone() });
            Err(errors)
        }
    }
}

/// Gives each node one more than the highest level before it.
fn levels(graph: &DiGraph<(), ()>, order: &[NodeIndex]) -> Vec<u32> {
    let mut levels = vec![1; graph.node_count()];
    for node in order {
        for next in graph.neighbors_directed(*node, Outgoing) {
            levels[next.index()] = levels[next.index()].max(levels[node.index()] + 1);
        }
    }
    levels
}

impl Graph {
    /// Gives the subtasks a subtask waits for, in plan order.
    #[must_use]
    pub fn dependencies(&self, subtask: usize) -> BTreeSet<usize> {
        self.graph.neighbors_directed(NodeIndex::new(subtask), Incoming).map(NodeIndex::index).collect()
    }

    /// Gives the subtasks that wait for any of `subtasks`, directly or through others.
    #[must_use]
    pub fn all_dependents(&self, subtasks: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open: Vec<usize> = subtasks.iter().copied().collect();
        while let Some(subtask) = open.pop() {
            for next in self.graph.neighbors_directed(NodeIndex::new(subtask), Outgoing) {
                if found.insert(next.index()) {
                    open.push(next.index());
                }
            }
        }
        found
    }

    /// Gives the subtasks by level: those of one level wait for none of it.
    #[must_use]
    pub fn phases(&self) -> Vec<Vec<usize>> {
        let top = self.levels.iter().copied().max().unwrap_or(0);
        (1..=top).map(|level| (0..self.levels.len()).filter(|n| self.levels[*n] == level).collect()).collect()
    }
}

/// What can start now, of the subtasks to be done.
#[derive(Debug)]
pub struct ReadySet<'a> {
    graph: &'a Graph,
    waiting: BTreeSet<usize>,
    open: BTreeSet<usize>,
}

impl<'a> ReadySet<'a> {
    /// Begins with the subtasks in `todo`; whatever else the graph has counts as done.
    #[must_use]
    pub fn new(graph: &'a Graph, todo: BTreeSet<usize>) -> Self {
        Self { graph, open: todo.clone(), waiting: todo }
    }

    /// Takes the first subtask, in plan order, whose dependencies are done.
    pub fn take(&mut self) -> Option<usize> {
        let ready = self.waiting.iter().copied().find(|n| self.graph.dependencies(*n).is_disjoint(&self.open))?;
        self.waiting.remove(&ready);
        Some(ready)
    }

    /// Says that a subtask that was taken is done, well or not.
    pub fn finish(&mut self, subtask: usize) {
        self.open.remove(&subtask);
    }
}

/// Makes the plan that needs no planner: one subtask per specialist, nobody waits.
#[must_use]
pub fn fallback_plan(task: &Task, requirements: &[Requirement], specialists: &[Specialist]) -> Plan {
    let mut subtasks = Vec::new();
    for specialist in specialists {
        let own: Vec<&Requirement> =
            requirements.iter().filter(|r| specialist.requirement_ids.contains(&r.id)).collect();
        if own.is_empty() {
            continue;
        }
        subtasks.push(Subtask {
            subtask_id: format!("s{}", subtasks.len() + 1),
            title: format!("{} for {}", task.title, specialist.agent_type),
            description: own.iter().map(|r| r.text.as_str()).collect::<Vec<_>>().join("\n"),
            assigned_specialist: specialist.agent_type.clone(),
            deliverable: "Statements that answer the requirements, each with its place".to_owned(),
            dependencies: Vec::new(),
            priority: Priority::Medium,
            complexity: Complexity::Moderate,
            requirement_ids: own.iter().map(|r| r.id.clone()).collect(),
            success_criteria: Vec::new(),
        });
    }
    let ids = subtasks.iter().map(|s| s.subtask_id.clone()).collect();
    let execution_phases =
        vec![ExecutionPhase { phase: 1, subtasks: ids, description: "every specialist at once".to_owned() }];
    Plan { subtasks, execution_phases, usage: Usage::computed(WORKFLOW, task) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(edges: &[(&str, &[&str])]) -> Plan {
        let subtask = |(id, dependencies): &(&str, &[&str])| Subtask {
            subtask_id: (*id).to_owned(),
            title: String::new(),
            description: String::new(),
            assigned_specialist: "developer".to_owned(),
            deliverable: String::new(),
            dependencies: dependencies.iter().map(|d| (*d).to_owned()).collect(),
            priority: Priority::Medium,
            complexity: Complexity::Simple,
            requirement_ids: vec!["r1".to_owned()],
            success_criteria: Vec::new(),
        };
        let subtasks = edges.iter().map(subtask).collect();
        Plan { subtasks, execution_phases: Vec::new(), usage: Usage::computed(WORKFLOW, &()) }
    }

    fn requirement(id: &str, kind: RequirementKind) -> Requirement {
        Requirement { id: id.to_owned(), text: id.to_owned(), kind, terms: Vec::new() }
    }

    fn team() -> Vec<Specialist> {
        vec![Specialist {
            agent_type: "developer".to_owned(),
            score: 1,
            rationale: String::new(),
            priority: Priority::Medium,
            focus_areas: Vec::new(),
            requirement_ids: vec!["r1".to_owned()],
        }]
    }

    fn check(edges: &[(&str, &[&str])]) -> Result<Graph, Vec<PlanError>> {
        validate(
            &plan(edges),
            &[requirement("r1", RequirementKind::Question), requirement("r2", RequirementKind::Constraint)],
            &team(),
        )
    }

    #[test]
    fn levels_are_the_longest_ways() {
        let graph = check(&[("1", &[]), ("2", &[]), ("3", &[]), ("4", &["1", "2", "3"]), ("5", &["4", "1"])]).unwrap();
        assert_eq!(graph.phases(), [vec![0, 1, 2], vec![3], vec![4]]);
        assert_eq!(graph.all_dependents(&BTreeSet::from([1])), BTreeSet::from([3, 4]));
    }

    #[test]
    fn what_is_wrong_names_its_subtask() {
        let cycle = check(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]).unwrap_err();
        assert!(
            matches!(&cycle[..], [PlanError::Cycle { subtask_id }] if subtask_id == "b" || subtask_id == "c"),
            "{cycle:?}"
        );
        assert_eq!(check(&[("a", &["a"])]).unwrap_err(), [PlanError::Cycle { subtask_id: "a".into() }]);
        let unknown = PlanError::UnknownDependency { subtask_id: "a".into(), dependency: "x".into() };
        assert_eq!(check(&[("a", &["x"])]).unwrap_err(), [unknown]);
        assert_eq!(check(&[("a", &[]), ("a", &[])]).unwrap_err(), [PlanError::DuplicateId { subtask_id: "a".into() }]);
        assert_eq!(check(&[]).unwrap_err(), [PlanError::Empty, PlanError::Uncovered { requirement_id: "r1".into() }]);
        let mut other = plan(&[("a", &[])]);
        other.subtasks[0].assigned_specialist = "plumber".into();
        other.subtasks[0].requirement_ids = vec!["r9".into()];
        assert_eq!(validate(&other, &[requirement("r1", RequirementKind::Question)], &team()).unwrap_err().len(), 3);
    }

    #[test]
    fn the_fallback_plan_is_valid() {
        let requirements = [requirement("r1", RequirementKind::Question)];
        let task: Task = serde_json::from_str(r#"{"task_id":"t","title":"x","description":"y"}"#).unwrap();
        let plan = fallback_plan(&task, &requirements, &team());
        assert!(validate(&plan, &requirements, &team()).is_ok());
    }

    proptest! {
        #[test]
        fn a_ready_set_starts_everything_once_and_nothing_early(pairs in prop::collection::vec((0_usize..12, 0_usize..12), 0..40), choice in any::<u64>()) {
            let names: Vec<String> = (0..12).map(|n| n.to_string()).collect();
            let edges: Vec<(&str, Vec<&str>)> = (0..12)
                .map(|n| (names[n].as_str(), pairs.iter().filter(|(a, b)| a.max(b) == &n && a != b).map(|(a, b)| names[*a.min(b)].as_str()).collect()))
                .collect();
            let edges: Vec<(&str, &[&str])> = edges.iter().map(|(n, d)| (*n, d.as_slice())).collect();
            let graph = check(&edges).unwrap();
            let mut ready = ReadySet::new(&graph, (0..12).collect());
            let (mut running, mut done, mut choice) = (Vec::new(), BTreeSet::new(), choice);
            loop {
                while let Some(n) = ready.take() {
                    prop_assert!(graph.dependencies(n).is_subset(&done));
                    running.push(n);
                }
                if running.is_empty() {
                    break;
                }
                // Any order of finishing.
                let finished = running.remove(usize::try_from(choice % running.len() as u64).unwrap());
                choice = choice.rotate_left(7).wrapping_mul(31);
                ready.finish(finished);
                prop_assert!(done.insert(finished));
            }
            prop_assert_eq!(done.len(), 12);
        }
    }
}
