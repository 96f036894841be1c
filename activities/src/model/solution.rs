//! A5: what a specialist finds.

use serde::{Deserialize, Serialize};

use super::agent::AgentType;
use super::analysis::Requirement;
use super::decimal::Share;
use super::plan::Subtask;
use super::review::RevisionRequest;
use super::task::Task;
use super::usage::Usage;

/// The input of `specialist_execute`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteSubtask {
    /// The task the subtask is of.
    pub task: Task,
    /// The work.
    pub subtask: Subtask,
    /// The requirements it answers.
    pub requirements: Vec<Requirement>,
    /// Who does it.
    pub specialist: AgentType,
    /// Which execution this is: 0, then one more per revision cycle.
    pub cycle: u32,
    /// What the subtasks before it found.
    #[serde(default)]
    pub inputs: Vec<DependencyInput>,
    /// What the reviewer said of the solution before.
    #[serde(default)]
    pub feedback: Option<Feedback>,
    /// The solution before, by the same specialist.
    #[serde(default)]
    pub previous: Option<Solution>,
}

/// What a dependency found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DependencyInput {
    /// The subtask.
    pub subtask_id: String,
    /// Its findings.
    pub findings: Vec<Finding>,
}

/// A reviewer's wishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// In words.
    pub text: String,
    /// One by one.
    pub revision_requests: Vec<RevisionRequest>,
}

/// The output of `specialist_execute`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Solution {
    /// Subtask, cycle and specialist: unique in a run.
    pub solution_id: String,
    /// The subtask it solves.
    pub subtask_id: String,
    /// Who found it.
    pub specialist: String,
    /// The findings as Markdown.
    pub content: String,
    /// The findings.
    pub findings: Vec<Finding>,
    /// The words of the requirements that no finding has.
    pub not_found: Vec<String>,
    /// How much of the requirements is covered.
    pub confidence: Share,
    /// The documents cited.
    pub sources: Vec<String>,
    /// What was taken for granted or left out.
    pub assumptions: Vec<String>,
    /// What it took.
    pub usage: Usage,
}

/// One statement with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `f1`, `f2`, unique in a solution.
    pub id: String,
    /// The statement: the first quote on one line, or a figure in words.
    pub text: String,
    /// What it answers.
    pub requirement_id: String,
    /// How it came about.
    pub kind: FindingKind,
    /// The evidence, the most important first.
    pub citations: Vec<Citation>,
    /// How well it fits, in thousandths.
    pub score: i64,
    /// What was noticed: a date, a norm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Tells how a statement came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingKind {
    /// Word for word from a document.
    Quote,
    /// Computed from everything that it cites.
    Figure,
}

/// A span of a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Citation {
    /// The file name.
    pub doc: String,
    /// Byte offset of the first byte.
    pub start: usize,
    /// Byte offset after the last byte.
    pub end: usize,
    /// The digest of the text the offsets index: the file as given; for HTML its extracted text.
    pub sha256: String,
    /// The bytes of the span.
    pub quote: String,
}
