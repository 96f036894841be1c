//! A3 and A4: who works, and on what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::agent::AgentType;
use super::analysis::{Analysis, Complexity, Requirement};
use super::task::{Priority, Task};
use super::usage::Usage;

/// The input of `manager_select_specialists`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectSpecialists {
    /// The task.
    pub task: Task,
    /// What was found to be asked.
    pub analysis: Analysis,
    /// The types to choose from.
    pub agent_types: Vec<AgentType>,
    /// How many subtasks each type is working on now, where known.
    #[serde(default)]
    pub load: BTreeMap<String, u32>,
}

/// The output of `manager_select_specialists`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The team, best first.
    pub specialists: Vec<Specialist>,
    /// The requirements that no type is good at.
    pub gaps: Vec<String>,
    /// How every type was scored for every requirement, best first: why the team is as it is, and who is next.
    pub scores: Vec<RequirementScores>,
    /// What it took.
    pub usage: Usage,
}

/// A member of the team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specialist {
    /// Its agent type.
    #[serde(rename = "type")]
    pub agent_type: String,
    /// How well it fits, in thousandths, over its requirements.
    pub score: i64,
    /// Why it was chosen.
    pub rationale: String,
    /// How much depends on it.
    pub priority: Priority,
    /// What it looks at.
    pub focus_areas: Vec<String>,
    /// The requirements given to it.
    pub requirement_ids: Vec<String>,
}

/// How the types were scored for one requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequirementScores {
    /// The requirement.
    pub requirement_id: String,
    /// The types with a score above 0, best first.
    pub types: Vec<TypeScore>,
}

/// A type's score for a requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeScore {
    /// The agent type.
    #[serde(rename = "type")]
    pub agent_type: String,
    /// In thousandths.
    pub score: i64,
}

/// The input of `manager_decompose_task`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decompose {
    /// The task.
    pub task: Task,
    /// What is asked.
    pub requirements: Vec<Requirement>,
    /// The team.
    pub specialists: Vec<Specialist>,
    /// What was wrong with the plan before, where there was one.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// The output of `manager_decompose_task`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The work.
    pub subtasks: Vec<Subtask>,
    /// The order, as described by the planner; execution follows the dependencies.
    pub execution_phases: Vec<ExecutionPhase>,
    /// What it took.
    pub usage: Usage,
}

/// A piece of work for one specialist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subtask {
    /// `s1`, `s2`, unique in a plan.
    pub subtask_id: String,
    /// One line.
    pub title: String,
    /// What to do.
    pub description: String,
    /// The agent type that does it.
    pub assigned_specialist: String,
    /// What to hand over.
    pub deliverable: String,
    /// The subtasks whose solutions it needs.
    #[serde(default)]
    pub dependencies: Vec<String>,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
    /// How large it is.
    pub complexity: Complexity,
    /// The requirements it answers.
    pub requirement_ids: Vec<String>,
    /// How the reviewer will tell that it is done.
    #[serde(default)]
    pub success_criteria: Vec<String>,
}

/// Subtasks that can run at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionPhase {
    /// From 1.
    pub phase: u32,
    /// Their ids.
    pub subtasks: Vec<String>,
    /// What happens.
    pub description: String,
}
