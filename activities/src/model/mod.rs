//! What the activities of a team take and give: the provider-neutral interface.
//!
//! A provider that asks a language model fills the same structs as the local one. Numbers that decide something are integers inside
//! ([`Decimal`]); JSON shows them as people write them. Maps are ordered, so equal values are equal bytes.

mod agent;
mod analysis;
mod answer;
mod decimal;
mod plan;
mod review;
mod solution;
mod task;
mod usage;

pub use agent::{AgentType, Method};
pub use analysis::{Analysis, AnalyzeTask, Complexity, Requirement, RequirementKind};
pub use answer::{
    Accepted, Aggregate, AggregateMetadata, Aggregated, AnswerMetadata, CrossReference, Evidence, FinalAnswer,
    FinalReview, KeyPoint, Relationship, ReviewFinal, Statement, Synthesize, Topic, Unresolved,
};
pub use decimal::{Decimal, MICRO, Points, Share, Tenths};
pub use plan::{
    Decompose, ExecutionPhase, Plan, RequirementScores, SelectSpecialists, Selection, Specialist, Subtask, TypeScore,
};
pub use review::{
    ACCEPT_TOTAL, REVISE_TOTAL, Recommendation, Review, ReviewSolution, RevisionRequest, SCORE_TENTHS_MAX, Scores,
    WEIGHT_ACCURACY, WEIGHT_COMPLETENESS, WEIGHT_QUALITY, WEIGHT_RELEVANCE,
};
pub use solution::{Citation, DependencyInput, ExecuteSubtask, Feedback, Finding, FindingKind, Solution};
pub use task::{DocumentRef, Priority, Task, TaskContext};
pub use usage::Usage;
