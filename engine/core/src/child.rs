//! What a workflow asks of a child workflow, and what became of it.

use serde::{Deserialize, Serialize};

use crate::{
    event::EventKind,
    failure::{Failure, FailureKind, RetryState, TimeoutType},
    ids::{ChildId, Namespace, RunId, TaskQueue, WorkflowId},
    payload::Payload,
    retry::RetryPolicy,
    start::IdReusePolicy,
};

/// What happens to a child when its parent closes, in whatever way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum ParentClosePolicy {
    /// It is terminated.
    #[default]
    Terminate,
    /// It is asked to cancel itself.
    RequestCancel,
    /// It goes on.
    Abandon,
}

impl ParentClosePolicy {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a workflow sees when it cancels a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum ChildCancellationType {
    /// Asks the child to cancel itself and waits for what it comes to.
    #[default]
    WaitCancellationCompleted,
    /// Asks the child to cancel itself and goes on at once as if it had.
    TryCancel,
    /// Goes on at once and lets the child run.
    Abandon,
    /// Asks the child to cancel itself and waits until the request has reached it.
    WaitCancellationRequested,
}

/// The options of one child; times in milliseconds, absent means the default of `semantics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ChildWorkflowOptions {
    /// Where the child runs; the parent's own queue when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_queue: Option<TaskQueue>,
    /// The whole chain of the child's runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_timeout_ms: Option<u64>,
    /// One run of the child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_timeout_ms: Option<u64>,
    /// One workflow task of the child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_timeout_ms: Option<u64>,
    /// How often and how soon a failed run of the child is repeated; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// Whether a closed run's id may be used again.
    #[serde(default, skip_serializing_if = "IdReusePolicy::is_default")]
    pub reuse_policy: IdReusePolicy,
    /// What happens to it when its parent closes.
    #[serde(default, skip_serializing_if = "ParentClosePolicy::is_default")]
    pub parent_close_policy: ParentClosePolicy,
    /// Notes: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<Payload>,
    /// What lists filter by: a JSON object of scalars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_attributes: Option<Payload>,
    /// 1 (first) to 5 (last) within the queue; the parent's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
}

/// The run that started a child, as the child knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentRun {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its workflow id.
    pub workflow_id: WorkflowId,
    /// The very run that waits for the outcome.
    pub run_id: RunId,
    /// Its number for the child.
    pub child_id: ChildId,
    /// Its event that asked for the child.
    pub initiated_event_id: i64,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildOutcome {
    /// With a value.
    Completed(Payload),
    /// With a failure.
    Failed {
        /// The child's own failure.
        failure: Failure,
        /// Why no other run follows.
        retry_state: RetryState,
    },
    /// By itself, after a request to cancel.
    Canceled(Option<Payload>),
    /// By its timeout.
    TimedOut {
        /// Why no other run follows.
        retry_state: RetryState,
    },
    /// From outside.
    Terminated {
        /// Why.
        reason: String,
    },
}

/// The news that a child has closed, for its parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildClosed {
    /// The parent's number for the child.
    pub child_id: ChildId,
    /// The parent's event that asked for it.
    pub initiated_event_id: i64,
    /// The last run of the child.
    pub run_id: RunId,
    /// How it ended.
    pub outcome: ChildOutcome,
}

impl ChildOutcome {
    /// Reads the outcome from an event that closes a chain of runs; `None` for any other, and for one with a successor.
    pub fn of(closing: &EventKind) -> Option<Self> {
        let without_policy = |state: Option<RetryState>| state.unwrap_or(RetryState::RetryPolicyNotSet);
        match closing {
            EventKind::WorkflowExecutionCompleted(it) => Some(Self::Completed(it.result.clone())),
            EventKind::WorkflowExecutionFailed(it) if it.new_run_id.is_none() => {
                Some(Self::Failed { failure: it.failure.clone(), retry_state: without_policy(it.retry_state) })
            }
            EventKind::WorkflowExecutionTimedOut(it) if it.new_run_id.is_none() => {
                Some(Self::TimedOut { retry_state: without_policy(it.retry_state) })
            }
            EventKind::WorkflowExecutionCanceled(it) => Some(Self::Canceled(it.details.clone())),
            EventKind::WorkflowExecutionTerminated(it) => Some(Self::Terminated { reason: it.reason.clone() }),
            _ => None,
        }
    }
}

impl Failure {
    /// Makes the failure that a parent sees of its child: of a kind of its own, with the child's failure as its cause.
    pub fn child_workflow(workflow_type: &str, workflow_id: &WorkflowId, cause: Self) -> Self {
        Self {
            message: format!("child workflow `{workflow_type}` ({workflow_id}) did not complete: {}", cause.message),
            error_type: "ChildWorkflowFailed".to_owned(),
            kind: FailureKind::ChildWorkflow,
            non_retryable: cause.non_retryable,
            cause: Some(Box::new(cause)),
            ..Self::default()
        }
    }

    /// Makes the failure of a run that passed its timeout.
    pub fn run_timeout(timeout_ms: u64) -> Self {
        Self::timeout(TimeoutType::StartToClose, format!("the run did not close within {timeout_ms} ms"))
    }

    /// Makes the failure of a run that was ended from outside.
    pub fn terminated(reason: &str) -> Self {
        Self {
            message: if reason.is_empty() { "the run was terminated".to_owned() } else { reason.to_owned() },
            error_type: "Terminated".to_owned(),
            kind: FailureKind::Terminated,
            ..Self::default()
        }
    }
}
