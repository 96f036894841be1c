//! The workflow itself: the orchestration over durable activities.

use dacapo_activities::model::{
    Aggregate, Aggregated, Analysis, AnalyzeTask, Decompose, ExecuteSubtask, FinalAnswer, FinalReview, Plan, Review,
    ReviewFinal, ReviewSolution, SelectSpecialists, Selection, Solution, Synthesize,
};
use dacapo_activities::team::Team;
use dacapo_worker::{
    ActivityFailure as DurableFailure, WorkflowContext, WorkflowError,
    define::{Query, Signal},
};
use futures_util::future::{Either, select};
use serde::{Deserialize, Serialize};
use std::pin::pin;

use super::board::TeamState;
use super::input::TaskInput;
use super::orchestrate::{TeamError, orchestrate};
use super::result::TaskResult;
use super::team::{ActivityFailure, TeamActivities};

/// What can be seen of a task while it runs and afterwards.
pub const STATE: Query<TeamState> = Query::new("state");

/// Calls a task off.
pub const CANCEL: Signal<Cancel> = Signal::new("cancel");

/// The value of [`CANCEL`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Lets a team of agents solve a task over the caller's documents.
#[dacapo_worker::workflow(crate = "dacapo_worker")]
pub async fn multi_agent_task(ctx: WorkflowContext, input: TaskInput) -> Result<TaskResult, WorkflowError> {
    let team = DurableTeam { ctx };
    match orchestrate(&team, &input).await {
        Ok(result) => Ok(result),
        Err(TeamError::Cancelled { .. }) => Err(WorkflowError::Cancelled),
        Err(TeamError::Invalid(invalid)) => Err(WorkflowError::failed("ValidationError", invalid.to_string())),
        Err(TeamError::Failed { error_type, message }) => Err(WorkflowError::failed(error_type, message)),
    }
}

/// Every call is shielded from a request to cancel: the orchestration decides, and drops the calls when it stops.
struct DurableTeam {
    ctx: WorkflowContext,
}

/// Calls an activity of the team and translates its failure.
macro_rules! call {
    ($team:expr, $activity:expr, $input:expr) => {
        $team.ctx.shielded($team.ctx.activity($activity, $input)).await.map_err(translated)
    };
}

fn translated(failure: DurableFailure) -> ActivityFailure {
    ActivityFailure { error_type: failure.error_type().to_owned(), message: failure.message().to_owned() }
}

impl TeamActivities for DurableTeam {
    async fn load_task(&self, documents: Vec<dacapo_activities::model::DocumentRef>) -> Result<(), ActivityFailure> {
        call!(self, Team::load_task, documents).map(drop)
    }

    async fn manager_analyze_task(&self, input: AnalyzeTask) -> Result<Analysis, ActivityFailure> {
        call!(self, Team::manager_analyze_task, input)
    }

    async fn manager_select_specialists(&self, input: SelectSpecialists) -> Result<Selection, ActivityFailure> {
        call!(self, Team::manager_select_specialists, input)
    }

    async fn manager_decompose_task(&self, input: Decompose) -> Result<Plan, ActivityFailure> {
        call!(self, Team::manager_decompose_task, input)
    }

    async fn specialist_execute(&self, input: ExecuteSubtask) -> Result<Solution, ActivityFailure> {
        call!(self, Team::specialist_execute, input)
    }

    async fn manager_review_solution(&self, input: ReviewSolution) -> Result<Review, ActivityFailure> {
        call!(self, Team::manager_review_solution, input)
    }

    async fn coordinator_aggregate(&self, input: Aggregate) -> Result<Aggregated, ActivityFailure> {
        call!(self, Team::coordinator_aggregate, input)
    }

    async fn analyst_synthesize(&self, input: Synthesize) -> Result<FinalAnswer, ActivityFailure> {
        call!(self, Team::analyst_synthesize, input)
    }

    async fn manager_review_final(&self, input: ReviewFinal) -> Result<FinalReview, ActivityFailure> {
        call!(self, Team::manager_review_final, input)
    }

    fn publish(&self, state: &TeamState) {
        self.ctx.publish(&STATE, state);
    }

    async fn cancelled(&self) -> String {
        let signal = self.ctx.shielded(self.ctx.receive(&CANCEL));
        match select(pin!(self.ctx.cancelled()), pin!(signal)).await {
            Either::Left(_) => "cancellation was requested".to_owned(),
            Either::Right((cancel, _)) => {
                cancel.map_or_else(|_| "cancellation was requested".to_owned(), |cancel| cancel.reason)
            }
        }
    }
}
