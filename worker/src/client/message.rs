//! Messages to a workflow that want no answer: signals, and requests to cancel.

use std::{fmt, future::IntoFuture};

use dacapo_core::{Payload, payload::PayloadError};
use dacapo_runtime::{ClientError, WorkflowExecution};
use futures_util::future::BoxFuture;

/// A signal that is being sent; awaiting it sends it. When it is answered, the run has it or will get it, exactly once.
#[must_use = "a signal is not sent unless it is awaited"]
pub struct SignalCall {
    client: dacapo_runtime::Client,
    execution: WorkflowExecution,
    name: &'static str,
    input: Result<Payload, PayloadError>,
}

impl SignalCall {
    pub(super) fn new(
        client: dacapo_runtime::Client,
        execution: WorkflowExecution,
        name: &'static str,
        input: Result<Payload, PayloadError>,
    ) -> Self {
        Self { client, execution, name, input }
    }

    /// Takes it apart, for those who send it in another way: the client, the workflow, name and input of the signal.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] when the value could not be stored.
    pub fn into_parts(self) -> Result<(dacapo_runtime::Client, WorkflowExecution, &'static str, Payload), ClientError> {
        Ok((self.client, self.execution, self.name, self.input?))
    }
}

impl IntoFuture for SignalCall {
    type Output = Result<(), ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.client.signal(&self.execution, self.name, self.input?).await })
    }
}

impl fmt::Debug for SignalCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalCall")
            .field("execution", &self.execution)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A request to cancel that is being sent; awaiting it sends it.
#[must_use = "a request to cancel is not sent unless it is awaited"]
pub struct CancelCall {
    client: dacapo_runtime::Client,
    execution: WorkflowExecution,
    reason: String,
}

impl CancelCall {
    pub(super) fn new(client: dacapo_runtime::Client, execution: WorkflowExecution, reason: String) -> Self {
        Self { client, execution, reason }
    }

    /// Takes it apart, for those who send it in another way: the client, the workflow and the reason.
    pub fn into_parts(self) -> (dacapo_runtime::Client, WorkflowExecution, String) {
        (self.client, self.execution, self.reason)
    }
}

impl IntoFuture for CancelCall {
    type Output = Result<(), ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.client.cancel(&self.execution, &self.reason).await })
    }
}

impl fmt::Debug for CancelCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelCall").field("execution", &self.execution).finish_non_exhaustive()
    }
}
