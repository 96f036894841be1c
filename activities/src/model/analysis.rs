//! A2: what a task asks for.

use serde::{Deserialize, Serialize};

use super::task::Task;
use super::usage::Usage;
use crate::documents::Unreadable;

/// The input of `manager_analyze_task`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnalyzeTask {
    /// The task.
    pub task: Task,
}

/// The output of `manager_analyze_task`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// The words that say most about the task.
    pub keywords: Vec<String>,
    /// The field of the task.
    pub domain: String,
    /// What a team for it must be able to do.
    pub capabilities: Vec<String>,
    /// What is asked, one by one.
    pub requirements: Vec<Requirement>,
    /// How large the team should be.
    pub complexity: Complexity,
    /// What the answer must respect.
    pub constraints: Vec<String>,
    /// The documents that could not be read.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
    /// What it took.
    pub usage: Usage,
}

/// One thing that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// `r1`, `r2`, in the order of the description.
    pub id: String,
    /// In the words of the task.
    pub text: String,
    /// What it asks for.
    pub kind: RequirementKind,
    /// The stems an answer should speak of, in the order of the text.
    pub terms: Vec<String>,
}

/// Tells what a requirement asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequirementKind {
    /// An answer.
    Question,
    /// A limit to the answer; nobody is assigned to it.
    Constraint,
    /// Something to hand over: a list, a comparison, a summary.
    Deliverable,
}

/// Tells how large a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Complexity {
    /// Up to two requirements.
    Simple,
    /// Three to five.
    Moderate,
    /// More, or one that weighs others.
    Complex,
}

impl Complexity {
    /// Gives how many specialists a task of this size gets.
    #[must_use]
    pub fn specialists_max(self) -> usize {
        match self {
            Self::Simple => 2,
            Self::Moderate => 3,
            Self::Complex => 5,
        }
    }
}
