//! What the orchestration needs of the world: the team's activities, a place to publish, and word of cancellation.

use dacapo_activities::model::{
    Aggregate, Aggregated, Analysis, AnalyzeTask, Decompose, DocumentRef, ExecuteSubtask, FinalAnswer, FinalReview,
    Plan, Review, ReviewFinal, ReviewSolution, SelectSpecialists, Selection, Solution, Synthesize,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::board::TeamState;

/// An activity that failed for good: its retries are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{error_type}: {message}")]
pub struct ActivityFailure {
    /// The kind of failure, as retry policies know it.
    pub error_type: String,
    /// What happened.
    pub message: String,
}

/// The activities of a team.
///
/// Each method is one call; retries, timeouts and providers are the implementation's. The futures need not be `Send`: a workflow
/// runs on one thread.
#[expect(async_fn_in_trait, reason = "the futures are polled where they are made and need no Send bound")]
pub trait TeamActivities {
    /// Calls `load_task`: brings the documents, so that one that is missing is found before the work begins.
    async fn load_task(&self, documents: Vec<DocumentRef>) -> Result<(), ActivityFailure>;
    /// Calls `manager_analyze_task`.
    async fn manager_analyze_task(&self, input: AnalyzeTask) -> Result<Analysis, ActivityFailure>;
    /// Calls `manager_select_specialists`.
    async fn manager_select_specialists(&self, input: SelectSpecialists) -> Result<Selection, ActivityFailure>;
    /// Calls `manager_decompose_task`.
    async fn manager_decompose_task(&self, input: Decompose) -> Result<Plan, ActivityFailure>;
    /// Calls `specialist_execute`; called for several subtasks at once.
    async fn specialist_execute(&self, input: ExecuteSubtask) -> Result<Solution, ActivityFailure>;
    /// Calls `manager_review_solution`; called for several subtasks at once.
    async fn manager_review_solution(&self, input: ReviewSolution) -> Result<Review, ActivityFailure>;
    /// Calls `coordinator_aggregate`.
    async fn coordinator_aggregate(&self, input: Aggregate) -> Result<Aggregated, ActivityFailure>;
    /// Calls `analyst_synthesize`.
    async fn analyst_synthesize(&self, input: Synthesize) -> Result<FinalAnswer, ActivityFailure>;
    /// Calls `manager_review_final`.
    async fn manager_review_final(&self, input: ReviewFinal) -> Result<FinalReview, ActivityFailure>;

    /// Makes the state readable for whoever asks.
    fn publish(&self, state: &TeamState);

    /// Waits until the task is called off; gives the reason.
    async fn cancelled(&self) -> String;
}
