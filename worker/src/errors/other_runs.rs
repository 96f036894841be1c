//! What goes wrong with other runs, as a workflow sees it: [`ChildFailure`], [`ExternalFailure`].

use std::{error::Error as StdError, fmt};

use dacapo_core::{Failure, FailureKind, Payload, RetryState, WorkflowId, payload::PayloadError};
use serde::de::DeserializeOwned;

/// The error type of a child that could not be started.
const ALREADY_EXISTS: &str = "WorkflowAlreadyExists";

/// A child workflow that ended without a result, as its parent sees it: after all retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildFailure(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    workflow_type: &'static str,
    workflow_id: WorkflowId,
    failure: Failure,
    retry_state: Option<RetryState>,
    already_exists: bool,
}

impl ChildFailure {
    pub(crate) fn failed(
        workflow_type: &'static str,
        workflow_id: &WorkflowId,
        failure: Failure,
        retry_state: Option<RetryState>,
    ) -> Self {
        let workflow_id = workflow_id.clone();
        Self(Box::new(Inner { workflow_type, workflow_id, failure, retry_state, already_exists: false }))
    }

    pub(crate) fn already_exists(workflow_type: &'static str, workflow_id: &WorkflowId) -> Self {
        let message = "an open run has this workflow id, or its reuse is refused";
        let mut failed = Self::failed(workflow_type, workflow_id, Failure::application(ALREADY_EXISTS, message), None);
        failed.0.already_exists = true;
        failed
    }

    pub(crate) fn cancelled_call(workflow_type: &'static str, workflow_id: &WorkflowId) -> Self {
        let failure = Failure::canceled("the call was cancelled with its parent");
        Self::failed(workflow_type, workflow_id, failure, None)
    }

    /// Gives the name of the child's workflow.
    pub fn workflow_type(&self) -> &str {
        self.0.workflow_type
    }

    /// Gives the child's workflow id.
    pub fn workflow_id(&self) -> &WorkflowId {
        &self.0.workflow_id
    }

    /// Gives the error type of the child's own failure, as in `WorkflowError::failed("Expired", …)`.
    pub fn error_type(&self) -> &str {
        &self.0.failure.error_type
    }

    /// Gives the message of the child's own failure.
    pub fn message(&self) -> &str {
        &self.0.failure.message
    }

    /// Gives the child's own failure with everything that is stored of it.
    pub fn failure(&self) -> &Failure {
        &self.0.failure
    }

    /// Tells why no other run of the child followed, where a retry was considered.
    pub fn retry_state(&self) -> Option<RetryState> {
        self.0.retry_state
    }

    /// Tells whether the child, or the call of it, was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.failure.kind == FailureKind::Canceled
    }

    /// Tells whether the child was ended from outside.
    pub fn is_terminated(&self) -> bool {
        self.0.failure.kind == FailureKind::Terminated
    }

    /// Tells whether the child took longer than allowed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.failure.kind, FailureKind::Timeout(_))
    }

    /// Tells whether the child was never started, because another run has its workflow id.
    pub fn is_already_exists(&self) -> bool {
        self.0.already_exists
    }

    /// Reads the data that the child attached to its failure; `None` when it attached none.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn details<T: DeserializeOwned>(&self) -> Result<Option<T>, PayloadError> {
        let what = || format!("details of child workflow `{}`", self.workflow_type());
        self.0.failure.details.as_ref().map(|details: &Payload| details.decode(&what())).transpose()
    }
}

impl fmt::Display for ChildFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { workflow_type, workflow_id, failure, retry_state, .. } = &*self.0;
        write!(
            f,
            "child workflow `{workflow_type}` ({workflow_id}) failed: {}: {}",
            failure.error_type, failure.message
        )?;
        match retry_state {
            Some(RetryState::RetryPolicyNotSet) | None => Ok(()),
            Some(state) => write!(f, " ({state})"),
        }
    }
}

impl StdError for ChildFailure {}

impl From<ChildFailure> for Failure {
    fn from(failed: ChildFailure) -> Self {
        let Inner { workflow_type, workflow_id, failure, .. } = *failed.0;
        Self::child_workflow(workflow_type, &workflow_id, failure)
    }
}

/// Why a signal or a request to cancel did not reach another run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExternalFailure {
    /// There is no such open run.
    #[error("workflow `{workflow_id}` has no open run that could be reached")]
    NotFound {
        /// The workflow.
        workflow_id: WorkflowId,
    },
    /// It has received as many signals as a run may.
    #[error("workflow `{workflow_id}` has received as many signals as a run may: let it continue as new")]
    TooManySignals {
        /// The workflow.
        workflow_id: WorkflowId,
    },
    /// The code was cancelled before anything was sent.
    #[error("the call to workflow `{workflow_id}` was cancelled before it was made")]
    Cancelled {
        /// The workflow.
        workflow_id: WorkflowId,
    },
}

impl ExternalFailure {
    /// The name that callers and retry policies look at.
    pub(super) fn error_type(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "ExternalWorkflowNotFound",
            Self::TooManySignals { .. } => "SignalCountLimitExceeded",
            Self::Cancelled { .. } => "Canceled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_child_says_what_and_why_and_is_stored_with_its_cause() {
        let id = WorkflowId::new("order-7");
        let cause = Failure::application("Expired", "nobody approved");
        let failed = ChildFailure::failed("approve", &id, cause.clone(), Some(RetryState::MaximumAttemptsReached));
        assert_eq!(
            failed.to_string(),
            "child workflow `approve` (order-7) failed: Expired: nobody approved (all attempts are used up)"
        );
        let stored = Failure::from(failed);
        assert_eq!((stored.kind, stored.cause.as_deref()), (FailureKind::ChildWorkflow, Some(&cause)));
        let exists = ChildFailure::already_exists("approve", &id);
        assert!(exists.is_already_exists() && !exists.is_cancelled(), "{exists}");
        assert!(ChildFailure::cancelled_call("approve", &id).is_cancelled());
    }
}
