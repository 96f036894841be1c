//! Updates from outside: sent, accepted, ended.

use std::{fmt, future::IntoFuture, marker::PhantomData};

use dacapo_core::{Failure, Payload, RunId, UpdateOutcome, WorkflowId, payload::PayloadError, update::UpdateStage};
use dacapo_runtime::{ClientError, SentUpdate, UpdateWait, WorkflowExecution};
use futures_util::future::BoxFuture;

use crate::define::{Data, Update};

/// Why an update gave no reply.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The workflow's validator refused it; it is in no history.
    #[error("update `{update_id}` was refused: {}: {}", .failure.error_type, .failure.message)]
    Rejected {
        /// The update.
        update_id: String,
        /// Why.
        failure: Box<Failure>,
    },
    /// The workflow accepted it, and it failed.
    #[error("update `{update_id}` failed: {}: {}", .failure.error_type, .failure.message)]
    Failed {
        /// The update.
        update_id: String,
        /// How.
        failure: Box<Failure>,
    },
    /// The run closed before the update ended.
    #[error("update `{update_id}` was not answered: {}", .failure.message)]
    Aborted {
        /// The update.
        update_id: String,
        /// In words.
        failure: Box<Failure>,
    },
    /// Its reply is of another type.
    #[error(transparent)]
    Undecodable(#[from] PayloadError),
    /// It could not be sent or waited for.
    #[error(transparent)]
    Client(ClientError),
}

impl From<ClientError> for UpdateError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::UpdateRejected { update_id, failure, .. } => Self::Rejected { update_id, failure },
            ClientError::UpdateAborted { update_id, failure, .. } => Self::Aborted { update_id, failure },
            error => Self::Client(error),
        }
    }
}

/// An update that is being set up; awaiting it sends it and waits for the reply.
#[must_use = "an update is not sent unless the call is awaited or started"]
pub struct UpdateCall<U> {
    client: dacapo_runtime::Client,
    execution: WorkflowExecution,
    request: Result<dacapo_runtime::Update, PayloadError>,
    reply: PhantomData<fn() -> U>,
}

impl<U> UpdateCall<U> {
    pub(super) fn new<A: Data>(
        client: dacapo_runtime::Client,
        execution: WorkflowExecution,
        update: &Update<A, U>,
        argument: &A,
    ) -> Self {
        Self { client, execution, request: request(update, argument), reply: PhantomData }
    }

    /// Names the update: over the life of the run, the same id always leads to the same update and its reply.
    pub fn id(mut self, update_id: impl Into<String>) -> Self {
        if let Ok(request) = &mut self.request {
            request.update_id = Some(update_id.into());
        }
        self
    }

    /// Sends the update and waits until the workflow has accepted it.
    ///
    /// # Errors
    /// [`UpdateError::Rejected`] when the workflow refused it; [`UpdateError::Aborted`], [`UpdateError::Client`].
    ///
    /// # Cancel safety
    /// When the future is dropped the update may have been sent; the same id again leads to it.
    pub async fn accepted(self) -> Result<UpdateHandle<U>, UpdateError> {
        let sent = self.client.send_update(&self.execution, self.request?).await?;
        let handle = UpdateHandle::new(self.client, sent);
        handle.client.await_update(&handle.sent, UpdateWait::Accepted).await?;
        Ok(handle)
    }
}

/// Makes the request without types.
pub(super) fn request<A: Data, U>(update: &Update<A, U>, argument: &A) -> Result<dacapo_runtime::Update, PayloadError> {
    let name = update.name().to_owned();
    let input = Payload::encode(&format!("argument of update `{name}`"), argument)?;
    Ok(dacapo_runtime::Update { name, input, update_id: None })
}

impl<U: Data> IntoFuture for UpdateCall<U> {
    type Output = Result<U, UpdateError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let sent = self.client.send_update(&self.execution, self.request?).await?;
            UpdateHandle::new(self.client, sent).result().await
        })
    }
}

impl<U> fmt::Debug for UpdateCall<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateCall").field("request", &self.request).finish_non_exhaustive()
    }
}

/// An update that was sent.
pub struct UpdateHandle<U> {
    client: dacapo_runtime::Client,
    sent: SentUpdate,
    reply: PhantomData<fn() -> U>,
}

impl<U> UpdateHandle<U> {
    pub(super) fn new(client: dacapo_runtime::Client, sent: SentUpdate) -> Self {
        Self { client, sent, reply: PhantomData }
    }

    /// Gives the update's id.
    pub fn id(&self) -> &str {
        &self.sent.update_id
    }

    /// Gives the workflow that has it.
    pub fn workflow_id(&self) -> &WorkflowId {
        &self.sent.workflow_id
    }

    /// Gives the run that has it.
    pub fn run_id(&self) -> RunId {
        self.sent.run.run_id
    }
}

impl<U: Data> UpdateHandle<U> {
    /// Waits for the reply.
    ///
    /// # Errors
    /// [`UpdateError`] says why there is none.
    ///
    /// # Cancel safety
    /// Dropping it gives the wait up; the update goes on.
    pub async fn result(&self) -> Result<U, UpdateError> {
        loop {
            let stage = self.client.await_update(&self.sent, UpdateWait::Completed).await?;
            let UpdateStage::Completed { outcome, .. } = stage else { continue };
            return match outcome {
                UpdateOutcome::Completed(value) => Ok(value.decode(&format!("reply of update `{}`", self.id()))?),
                UpdateOutcome::Failed(failure) => {
                    Err(UpdateError::Failed { update_id: self.sent.update_id.clone(), failure })
                }
            };
        }
    }
}

impl<U> fmt::Debug for UpdateHandle<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateHandle").field("sent", &self.sent).finish_non_exhaustive()
    }
}
