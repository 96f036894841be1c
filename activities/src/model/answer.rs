//! A7 to A9: what the team's findings come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::analysis::Requirement;
use super::decimal::{Points, Share};
use super::review::Scores;
use super::solution::{Citation, Finding, FindingKind};
use super::task::Task;
use super::usage::Usage;

/// The input of `coordinator_aggregate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// The task.
    pub task: Task,
    /// What is asked.
    pub requirements: Vec<Requirement>,
    /// What was accepted, by subtask id.
    pub accepted: Vec<Accepted>,
}

/// An accepted solution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The subtask.
    pub subtask_id: String,
    /// Who found it.
    pub specialist: String,
    /// The requirements it answers.
    pub requirement_ids: Vec<String>,
    /// How it was judged.
    pub scores: Scores,
    /// The findings.
    pub findings: Vec<Finding>,
    /// The words of the requirements that no finding has.
    pub not_found: Vec<String>,
    /// How much of the requirements is covered.
    pub confidence: Share,
}

/// The output of `coordinator_aggregate`. The coordinator orders and links; it does not write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregated {
    /// The findings by topic.
    pub structured_findings: BTreeMap<String, Topic>,
    /// How findings of different origin relate.
    pub cross_references: Vec<CrossReference>,
    /// What was asked and not found.
    pub identified_gaps: Vec<String>,
    /// What may contradict, both sides quoted.
    pub inconsistencies: Vec<String>,
    /// Whom it is from.
    pub metadata: AggregateMetadata,
    /// What it took.
    pub usage: Usage,
}

/// Findings about one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// The findings, best first.
    pub key_points: Vec<KeyPoint>,
    /// The documents they cite.
    pub sources: Vec<String>,
    /// The mean confidence of the solutions they are from.
    pub confidence: Share,
    /// What else is known of the topic, as counts.
    pub supporting_data: BTreeMap<String, u64>,
}

/// A finding, and who contributed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPoint {
    /// Subtask and finding, `s1.f2`: unique in a run.
    pub finding_id: String,
    /// Who found it.
    pub specialist: String,
    /// What it answers.
    pub requirement_id: String,
    /// The statement.
    pub text: String,
    /// How it came about.
    pub kind: FindingKind,
    /// The evidence.
    pub citations: Vec<Citation>,
    /// How well it fits, in thousandths.
    pub score: i64,
}

/// How two findings relate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CrossReference {
    /// One finding.
    pub finding_a: String,
    /// Another.
    pub finding_b: String,
    /// What the one is to the other.
    pub relationship: Relationship,
    /// Whether that is only possible and a person should look.
    pub possible: bool,
}

/// Tells what one finding is to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relationship {
    /// They say much the same.
    Supports,
    /// They may say opposite things.
    Contradicts,
    /// They speak of the same thing and say different things of it.
    Complements,
}

/// Whom the findings are from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateMetadata {
    /// How many specialists.
    pub total_specialists: usize,
    /// Which.
    pub specialist_types: Vec<String>,
    /// The lowest and the highest confidence.
    pub confidence_range: [Share; 2],
}

/// The input of `analyst_synthesize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synthesize {
    /// The task.
    pub task: Task,
    /// What is asked.
    pub requirements: Vec<Requirement>,
    /// What was found.
    pub aggregated: Aggregated,
    /// The scores of the accepted subtasks, by subtask id.
    pub scores: BTreeMap<String, Scores>,
    /// What was not accepted.
    pub unresolved: Vec<Unresolved>,
    /// What else limits the answer.
    pub limitations: Vec<String>,
    /// What the final review said of the answer before.
    #[serde(default)]
    pub feedback: Option<FinalReview>,
}

/// A subtask without an accepted solution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresolved {
    /// The subtask.
    pub subtask_id: String,
    /// The requirements that stay unanswered.
    pub requirement_ids: Vec<String>,
    /// Why.
    pub reason: String,
    /// The words that were not found.
    pub missing: Vec<String>,
}

/// The output of `analyst_synthesize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalAnswer {
    /// The best statements as paragraphs; each is one of `summary_statements`, word for word.
    pub executive_summary: String,
    /// The statements of the summary, with their evidence.
    pub summary_statements: Vec<Statement>,
    /// The statements by section; one section per answered requirement, numbered so that the order of names is the order of reading.
    pub main_content: BTreeMap<String, Vec<Statement>>,
    /// What several documents say.
    pub key_insights: Vec<Statement>,
    /// What the documents advise.
    pub recommendations: Vec<Statement>,
    /// The evidence, by requirement.
    pub supporting_evidence: BTreeMap<String, Evidence>,
    /// What the answer does not say, and why.
    pub limitations: Vec<String>,
    /// How much of the task is answered.
    pub overall_confidence: Share,
    /// The size of the answer.
    pub metadata: AnswerMetadata,
    /// What it took; absent where no provider was asked.
    #[serde(default)]
    pub usage: Option<Usage>,
}

impl FinalAnswer {
    /// Gives every statement of the answer, in reading order.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.summary_statements
            .iter()
            .chain(self.main_content.values().flatten())
            .chain(&self.key_insights)
            .chain(&self.recommendations)
    }
}

/// One statement of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The statement.
    pub text: String,
    /// How it came about.
    pub kind: FindingKind,
    /// What it answers.
    pub requirement_id: String,
    /// The finding it is.
    pub finding_id: String,
    /// Who found it.
    pub specialist: String,
    /// The evidence.
    pub citations: Vec<Citation>,
}

impl From<&KeyPoint> for Statement {
    fn from(point: &KeyPoint) -> Self {
        Self {
            text: point.text.clone(),
            kind: point.kind,
            requirement_id: point.requirement_id.clone(),
            finding_id: point.finding_id.clone(),
            specialist: point.specialist.clone(),
            citations: point.citations.clone(),
        }
    }
}

/// What supports the answer to a requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The requirement in the words of the task.
    pub content: String,
    /// Who found the evidence.
    pub source_specialists: Vec<String>,
    /// The documents it is from.
    pub documents: Vec<String>,
    /// How much of the requirement is covered.
    pub confidence: Share,
}

/// The size of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerMetadata {
    /// Words in all statements.
    pub word_count: usize,
    /// Sections of the main content.
    pub sections: usize,
    /// Specialists whose findings are in it.
    pub specialists_synthesized: usize,
}

/// The input of `manager_review_final`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewFinal {
    /// The task.
    pub task: Task,
    /// What is asked.
    pub requirements: Vec<Requirement>,
    /// The answer.
    pub final_answer: FinalAnswer,
    /// What is known to be unanswered.
    pub unresolved: Vec<Unresolved>,
}

/// The output of `manager_review_final`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalReview {
    /// Whether the answer can be given out.
    pub approved: bool,
    /// The four scores over the whole answer.
    pub scores: Scores,
    /// Their weighted mean.
    pub score: Points,
    /// The requirements neither answered nor named as unanswered.
    pub missing_requirements: Vec<String>,
    /// The judgement in words.
    pub feedback: String,
    /// What it took.
    pub usage: Usage,
}
