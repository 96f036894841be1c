//! Messages to runs that want no answer, and how each message finds its run.

use dacapo_core::{
    Message, MessageBody, MessageId, Payload, RunKey,
    ids::validate,
    store::{SendMessage, SendOutcome},
};
use uuid::Uuid;

use super::{Client, ClientError, WorkflowExecution, no_answer, reply};
use crate::virtual_time::VirtualTime;

impl Client {
    /// Sends a signal.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::NotOpen`], [`ClientError::TooManySignals`], [`ClientError::Invalid`],
    /// [`ClientError::Unavailable`].
    pub async fn signal(&self, to: &WorkflowExecution, name: &str, input: Payload) -> Result<(), ClientError> {
        validate("signal name", name).map_err(|error| ClientError::Invalid { problem: error.to_string() })?;
        let identity = self.identity.to_string();
        self.send(to, MessageBody::Signal { name: name.to_owned(), input, identity }).await
    }

    /// Asks a run to cancel itself.
    ///
    /// # Errors
    /// As [`Client::signal`].
    pub async fn cancel(&self, to: &WorkflowExecution, reason: &str) -> Result<(), ClientError> {
        let identity = self.identity.to_string();
        self.send(to, MessageBody::Cancel { reason: reason.to_owned(), identity }).await
    }

    /// Ends a run at once, without asking its code; its owner does it, or, when nobody owns it, this call.
    ///
    /// # Errors
    /// As [`Client::signal`].
    pub async fn terminate(&self, to: &WorkflowExecution, reason: &str) -> Result<(), ClientError> {
        let identity = self.identity.to_string();
        self.send(to, MessageBody::Terminate { reason: reason.to_owned(), identity }).await
    }

    /// Sends a message to a run. Unless `to` names one run and no other, the message follows to the run that goes on for one
    /// that has closed meanwhile; where only the workflow id is given, also to a run that was started after it.
    pub(super) async fn send(&self, to: &WorkflowExecution, body: MessageBody) -> Result<(), ClientError> {
        self.send_message(to, self.message(body)).await.map(|_| ())
    }

    /// As [`Client::send`]; gives the run that has the message.
    pub(super) async fn send_message(&self, to: &WorkflowExecution, message: Message) -> Result<RunKey, ClientError> {
        let _call = self.shared.clock.virtual_time().map(VirtualTime::call);
        self.catch_up_with_own(&to.workflow_id).await?;
        let (mut again, mut steps) = (false, 0);
        // By its id a closed run may know an update, so none is left out on the way.
        let update_id = chosen_update_id(&message).filter(|_| to.follows);
        let mut run = match to.run_id {
            Some(run_id) if to.follows && update_id.is_none() => self.key(to, self.shared.chains.last(run_id)),
            Some(run_id) => self.key(to, run_id),
            None => self.open_run(to).await?,
        };
        loop {
            match self.deliver(run, &message).await? {
                SendOutcome::Accepted => return Ok(run),
                SendOutcome::TooManySignals => {
                    return Err(ClientError::TooManySignals { workflow_id: to.workflow_id.clone() });
                }
                SendOutcome::NotOpen => {}
            }
            // A closed run has said whether it had the message, so that nothing arrives twice on the way.
            if let Some(update_id) = update_id {
                let known = self.persist(|| self.shared.store.update_stage(run, update_id, message.id)).await?;
                if known.is_some() {
                    return Ok(run);
                }
            }
            if (to.follows || to.run_id.is_none())
                && let Some(next) = self.further(&to.workflow_id, run, steps).await?
            {
                if update_id.is_none() {
                    steps += 1;
                    if let Some(first) = to.run_id {
                        self.shared.chains.note(first, next.run_id);
                    }
                }
                run = next;
                continue;
            }
            let open = self.open_run(to).await?;
            if open == run && again {
                return Err(self.not_open(to, run.run_id));
            }
            // It is open: the look itself may have delivered its start.
            again = open == run;
            run = open;
        }
    }

    pub(super) async fn deliver(&self, run: RunKey, message: &Message) -> Result<SendOutcome, ClientError> {
        let store = &self.shared.store;
        if matches!(message.body, MessageBody::Terminate { .. }) {
            return self.persist(|| store.terminate(run, message.clone())).await;
        }
        self.persist(|| async {
            let (reply, answer) = reply();
            store.send(SendMessage { run, message: message.clone() }, reply);
            answer.await.unwrap_or_else(|_| Err(no_answer()))
        })
        .await
    }

    pub(super) fn message(&self, body: MessageBody) -> Message {
        Message { id: MessageId(Uuid::now_v7()), body }
    }
}

/// The id that the sender chose for an update, by which it may have come before; otherwise it is that of the message.
fn chosen_update_id(message: &Message) -> Option<&str> {
    match &message.body {
        MessageBody::Update(update) if update.update_id != message.id.0.to_string() => Some(&update.update_id),
        _ => None,
    }
}
