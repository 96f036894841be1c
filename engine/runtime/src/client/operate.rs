//! What operators do to open runs and their activities, and the completion of activities from outside.

use std::sync::Arc;

use dacapo_core::{
    ActivityId, ActivityOutcome, ActivityResult, ActivityToken, Message, MessageBody, Payload, WorkflowId,
    store::SendOutcome,
};

use super::{Client, ClientError, WorkflowExecution};

impl Client {
    /// Holds a run: no workflow task starts until it is let go. Messages are recorded, timers fire, activities go on; the
    /// code sees all of it afterwards.
    ///
    /// # Errors
    /// As [`Client::signal`].
    pub async fn pause(&self, to: &WorkflowExecution, reason: &str) -> Result<(), ClientError> {
        let identity = self.identity.to_string();
        self.send(to, MessageBody::Pause { reason: reason.to_owned(), identity }).await
    }

    /// Lets a run go on.
    ///
    /// # Errors
    /// As [`Client::signal`].
    pub async fn unpause(&self, to: &WorkflowExecution, reason: &str) -> Result<(), ClientError> {
        let identity = self.identity.to_string();
        self.send(to, MessageBody::Unpause { reason: reason.to_owned(), identity }).await
    }

    /// Holds the next attempt of an activity; one that runs goes on.
    ///
    /// # Errors
    /// As [`Client::signal`].
    pub async fn pause_activity(&self, of: &WorkflowExecution, activity_id: ActivityId) -> Result<(), ClientError> {
        self.send(of, MessageBody::PauseActivity { activity_id }).await
    }

    /// Lets attempts of an activity begin again, a waiting one at once.
    ///
    /// # Errors
    /// As [`Client::signal`].
    pub async fn unpause_activity(&self, of: &WorkflowExecution, activity_id: ActivityId) -> Result<(), ClientError> {
        self.send(of, MessageBody::UnpauseActivity { activity_id }).await
    }

    /// Makes a waiting attempt of an activity begin at once, and its retry policy count from there.
    ///
    /// # Errors
    /// As [`Client::signal`].
    pub async fn retry_activity(&self, of: &WorkflowExecution, activity_id: ActivityId) -> Result<(), ClientError> {
        self.send(of, MessageBody::ResetActivity { activity_id }).await
    }

    /// Ends an attempt of an activity that is completed from outside. The first end counts: a second one, or one for an
    /// attempt that is over, changes nothing.
    ///
    /// # Errors
    /// [`ClientError::NotOpen`] when the run is closed, [`ClientError::Invalid`] for a result that ends nothing,
    /// [`ClientError::Unavailable`].
    pub async fn complete_activity(&self, token: ActivityToken, result: ActivityResult) -> Result<(), ClientError> {
        if result == ActivityResult::CompletesAsynchronously {
            let problem = "that the activity completes later is no end: give a value, a failure or a cancellation";
            return Err(ClientError::Invalid { problem: problem.to_owned() });
        }
        let outcome = ActivityOutcome {
            activity_id: token.activity_id,
            attempt: token.attempt,
            started_at: None,
            identity: Arc::clone(&self.identity),
            last_heartbeat: None,
            result,
        };
        let id = outcome.message_id(token.run.run_id);
        self.tell(token, Message { id, body: MessageBody::ActivityOutcome(Box::new(outcome)) }).await
    }

    /// Says that an attempt is alive that is completed from outside, and what the next one should know.
    ///
    /// # Errors
    /// As [`Client::complete_activity`].
    pub async fn heartbeat_activity(&self, token: ActivityToken, details: Option<Payload>) -> Result<(), ClientError> {
        let ActivityToken { activity_id, attempt, .. } = token;
        let body = MessageBody::ActivityHeartbeat { activity_id, attempt, details };
        self.tell(token, self.message(body)).await
    }

    async fn tell(&self, token: ActivityToken, message: Message) -> Result<(), ClientError> {
        match self.deliver(token.run, &message).await? {
            SendOutcome::Accepted | SendOutcome::TooManySignals => Ok(()),
            SendOutcome::NotOpen => {
                let workflow_id = WorkflowId::from(format!("of activity token {token}"));
                Err(ClientError::NotOpen { workflow_id, run_id: token.run.run_id })
            }
        }
    }
}
