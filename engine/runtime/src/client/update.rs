//! Updates: requests that a workflow's code validates, accepts and completes; whoever asks waits for it through the store,
//! whoever owns the run.

use std::time::Duration;

use dacapo_core::{
    IdConflictPolicy, Message, MessageBody, MessageId, Payload, RunKey, StartWorkflow, UpdateOutcome, UpdateRequest,
    WorkflowId, ids::validate, store::Hint, update::UpdateStage,
};
use uuid::Uuid;

use super::{Client, ClientError, Started, WorkflowExecution};
use crate::virtual_time::Awaited;

/// The first wait between two looks at an update that another process answers; doubles up to [`LOOK_MAX`].
const LOOK: Duration = Duration::from_millis(10);

/// The longest wait between two looks: what a lost hint costs.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// A request for an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Which update.
    pub name: String,
    /// Its input.
    pub input: Payload,
    /// The caller's id for it, over the life of the run: a second request with it gets the answer of the first. A fresh
    /// one when absent.
    pub update_id: Option<String>,
}

/// How far to wait for an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateWait {
    /// Until the code has accepted it: it is in the history then.
    Accepted,
    /// Until it has ended.
    Completed,
}

/// An update that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentUpdate {
    /// The workflow id.
    pub workflow_id: WorkflowId,
    /// The run that has it.
    pub run: RunKey,
    /// The update's id.
    pub update_id: String,
    /// The request's own id.
    pub message_id: MessageId,
}

impl Client {
    /// Sends an update to the open run of a workflow id, or to a given run. It waits in its inbox from then on.
    ///
    /// # Errors
    /// As [`Client::signal`].
    pub async fn send_update(&self, to: &WorkflowExecution, update: Update) -> Result<SentUpdate, ClientError> {
        let (message, update_id) = self.update_message(update)?;
        let message_id = message.id;
        let run = self.send_message(to, message).await?;
        Ok(SentUpdate { workflow_id: to.workflow_id.clone(), run, update_id, message_id })
    }

    /// Sends an update to the open run of a workflow id, or starts one and delivers the update with it; both or neither.
    ///
    /// # Errors
    /// As [`Client::start`] and [`Client::signal`].
    pub async fn update_with_start(
        &self,
        mut request: StartWorkflow,
        update: Update,
    ) -> Result<(Started, SentUpdate), ClientError> {
        if request.conflict_policy == IdConflictPolicy::Fail {
            request.conflict_policy = IdConflictPolicy::UseExisting;
        }
        let (message, update_id) = self.update_message(update)?;
        let (message_id, workflow_id) = (message.id, request.workflow_id.clone());
        request.signal = Some(message);
        let started = self.start(request).await?;
        let sent = SentUpdate { workflow_id, run: started.run, update_id, message_id };
        Ok((started, sent))
    }

    /// Waits for an update, for as long as it takes. Gives its stage: accepted or, in any case if that is asked for, ended
    /// with a value or a failure of its own.
    ///
    /// # Errors
    /// [`ClientError::UpdateRejected`] when the code refused it, [`ClientError::UpdateAborted`] when the run closed first,
    /// [`ClientError::Unavailable`].
    ///
    /// # Cancel safety
    /// Dropping the future gives the wait up; the update goes on.
    pub async fn await_update(&self, sent: &SentUpdate, wait: UpdateWait) -> Result<UpdateStage, ClientError> {
        let Some(time) = self.shared.clock.virtual_time() else { return self.stage_of_update(sent, wait).await };
        let (_waiting, given_up) = time.wait_for(Awaited::Update { sent: sent.clone(), wait });
        tokio::select! {
            stage = self.stage_of_update(sent, wait) => stage,
            Ok(problem) = given_up => Err(ClientError::Stuck { problem }),
        }
    }

    async fn stage_of_update(&self, sent: &SentUpdate, wait: UpdateWait) -> Result<UpdateStage, ClientError> {
        let store = &self.shared.store;
        let mut hints = store.hints();
        let mut pause = LOOK;
        loop {
            let stage = self.persist(|| store.update_stage(sent.run, &sent.update_id, sent.message_id)).await?;
            match stage {
                Some(UpdateStage::Rejected { failure }) => {
                    let (workflow_id, update_id) = (sent.workflow_id.clone(), sent.update_id.clone());
                    return Err(ClientError::UpdateRejected { workflow_id, update_id, failure });
                }
                Some(UpdateStage::Aborted { failure }) => {
                    let (workflow_id, update_id) = (sent.workflow_id.clone(), sent.update_id.clone());
                    return Err(ClientError::UpdateAborted { workflow_id, update_id, failure });
                }
                Some(stage) if stage.is_final() || wait == UpdateWait::Accepted => return Ok(stage),
                Some(_) | None => {}
            }
            let moved = async {
                loop {
                    match hints.next().await {
                        Hint::Updated(runs) if runs.contains(&sent.run) => return,
                        Hint::Everything => return,
                        _ => {}
                    }
                }
            };
            let _ = tokio::time::timeout(pause, moved).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    /// Sends an update and waits until it has ended.
    ///
    /// # Errors
    /// As [`Client::send_update`] and [`Client::await_update`].
    pub async fn update(&self, to: &WorkflowExecution, update: Update) -> Result<UpdateOutcome, ClientError> {
        let sent = self.send_update(to, update).await?;
        loop {
            if let UpdateStage::Completed { outcome, .. } = self.await_update(&sent, UpdateWait::Completed).await? {
                return Ok(outcome);
            }
        }
    }

    fn update_message(&self, update: Update) -> Result<(Message, String), ClientError> {
        let id = Uuid::now_v7();
        let update_id = update.update_id.unwrap_or_else(|| id.to_string());
        for (what, value) in [("update name", &update.name), ("update id", &update_id)] {
            validate(what, value).map_err(|error| ClientError::Invalid { problem: error.to_string() })?;
        }
        let identity = self.identity.to_string();
        let request = UpdateRequest { update_id: update_id.clone(), name: update.name, input: update.input, identity };
        Ok((Message { id: MessageId(id), body: MessageBody::Update(Box::new(request)) }, update_id))
    }
}
