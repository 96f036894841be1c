//! Dead letters: what waits for somebody is listed, and retried by hand.

use dacapo_core::{
    MessageBody,
    branch::ResetPoint,
    store::{DeadLetter, DeadLetterFilter, DeadLetterKind},
};

use super::{Branched, Client, ClientError, ResetOptions, WorkflowExecution};

/// What a retry of a dead letter did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    /// The run's workflow task is tried at once.
    Woken,
    /// The run goes on from right before the failure, as another run.
    Reset(Branched),
}

impl Client {
    /// Lists dead letters of this client's namespace: open runs whose workflow task fails or that are parked, and
    /// activities that have used up their attempts, of runs that are open or have failed. They go by run, oldest start
    /// first; the next page begins after the [`DeadLetter::place`] of the last one.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`].
    pub async fn dead_letters(&self, filter: DeadLetterFilter, limit: i64) -> Result<Vec<DeadLetter>, ClientError> {
        let filter = DeadLetterFilter { namespace: Some(self.namespace.clone()), ..filter };
        self.persist(|| self.shared.store.dead_letters(&filter, limit)).await
    }

    /// Retries a dead letter by hand: a failing workflow task is tried at once, a parked run gets another worker, and the
    /// run of an activity is reset to right before its failure, so that it gets all its attempts once more.
    ///
    /// # Errors
    /// [`ClientError::NotOpen`] when the run has closed meanwhile; for an activity as [`Client::reset`].
    pub async fn retry_dead_letter(&self, letter: &DeadLetter, reason: &str) -> Result<Retried, ClientError> {
        let run = WorkflowExecution::run(letter.workflow_id.clone(), letter.run_id);
        match (letter.kind, letter.activity_id) {
            (DeadLetterKind::Activity, Some(activity_id)) => {
                let point = ResetPoint::BeforeFailure(activity_id);
                Ok(Retried::Reset(self.reset(&run, point, reason, ResetOptions::default()).await?))
            }
            _ => self.retry_workflow_task(&run).await.map(|()| Retried::Woken),
        }
    }

    /// Tries the failing workflow task of an open run at once, or brings a parked run to another worker.
    ///
    /// # Errors
    /// As [`Client::signal`].
    pub async fn retry_workflow_task(&self, of: &WorkflowExecution) -> Result<(), ClientError> {
        self.send(of, MessageBody::RetryWorkflowTask).await
    }
}
