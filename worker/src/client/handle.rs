//! A workflow that was started: messages to it, values from it, its end.

use std::{fmt, marker::PhantomData, sync::Arc};

use dacapo_core::{
    Event, EventKind, Failure, Payload, RunId, RunKey, RunStatus, WorkflowId, branch::ResetPoint,
    payload::PayloadError, store::RunResult,
};
use dacapo_runtime::{ClientError, Description, QUERY_TIMEOUT, WorkflowExecution};

use super::{CancelCall, ForkCall, ResetCall, SignalCall, UpdateCall};
use crate::define::{Data, Query, Signal, Update};

/// A workflow whose result is an `R`. Cloning gives another handle on the same one.
///
/// The handle of a start means the run that was started and those that go on for it: after continue-as-new, for a retry,
/// after a reset of an open run. Messages and queries go to the last of them; the history, a reset and a fork are those of
/// the run itself. A handle of [`Client::handle_of_run`](crate::Client::handle_of_run) means that one run and no other,
/// and one of [`Client::handle`](crate::Client::handle) the newest run of its workflow id, whoever started it. All of them
/// wait for the result of the last run.
pub struct WorkflowHandle<R> {
    client: dacapo_runtime::Client,
    execution: WorkflowExecution,
    workflow_type: Arc<str>,
    run: Option<RunKey>,
    new: bool,
    result: PhantomData<fn() -> R>,
}

/// Why a workflow gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// It failed.
    #[error("workflow `{workflow_id}` failed: {}: {}", .failure.error_type, .failure.message)]
    Failed {
        /// The workflow.
        workflow_id: WorkflowId,
        /// How.
        failure: Box<Failure>,
    },
    /// It ended itself after a request to cancel.
    #[error("workflow `{workflow_id}` was cancelled")]
    Cancelled {
        /// The workflow.
        workflow_id: WorkflowId,
    },
    /// It was ended from outside.
    #[error("workflow `{workflow_id}` was terminated: {reason}")]
    Terminated {
        /// The workflow.
        workflow_id: WorkflowId,
        /// Why.
        reason: String,
    },
    /// It took longer than allowed.
    #[error("workflow `{workflow_id}` passed its timeout")]
    TimedOut {
        /// The workflow.
        workflow_id: WorkflowId,
    },
    /// Its result is of another type.
    #[error(transparent)]
    Undecodable(#[from] PayloadError),
    /// It could not be found or asked.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl<R> WorkflowHandle<R> {
    pub(super) fn new(client: dacapo_runtime::Client, execution: WorkflowExecution, workflow_type: &str) -> Self {
        let workflow_type = workflow_type.into();
        Self { client, execution, workflow_type, run: None, new: false, result: PhantomData }
    }

    pub(super) fn started(
        client: dacapo_runtime::Client,
        execution: WorkflowExecution,
        workflow_type: &str,
        run: RunKey,
        new: bool,
    ) -> Self {
        Self { run: Some(run), new, ..Self::new(client, execution, workflow_type) }
    }

    /// Makes the handle on what was asked for in another way than by awaiting a start. `new`: whether that is to make the
    /// run.
    pub fn asked_for(
        client: dacapo_runtime::Client,
        execution: WorkflowExecution,
        workflow_type: &str,
        new: bool,
    ) -> Self {
        Self { new, ..Self::new(client, execution, workflow_type) }
    }

    /// Gives what messages to it need.
    pub(crate) fn address(&self) -> (&dacapo_runtime::Client, &WorkflowExecution) {
        (&self.client, &self.execution)
    }

    /// Gives the workflow id.
    pub fn workflow_id(&self) -> &WorkflowId {
        &self.execution.workflow_id
    }

    /// Gives the run, where the handle names one.
    pub fn run_id(&self) -> Option<RunId> {
        self.execution.run_id
    }

    /// Tells whether the start that gave this handle made the run; else it was there already.
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// Sends a signal, once it is awaited; when it is answered, the run has it or will get it, exactly once. The
    /// [`ClientError`] of an answer says whether the workflow is not there, is closed, or cannot be reached.
    pub fn signal<T: Data>(&self, signal: &Signal<T>, value: T) -> SignalCall {
        let input = Payload::encode(&format!("input of signal `{}`", signal.name()), &value);
        SignalCall::new(self.client.clone(), self.execution.clone(), signal.name(), input)
    }

    /// Reads the value that the workflow published last; also after it closed.
    ///
    /// # Errors
    /// [`ClientError::NotPublished`] names what is published; [`ClientError::Invalid`] when it is no `T`.
    pub async fn query<T: Data>(&self, query: &Query<T>) -> Result<T, ClientError> {
        let value = self.client.query(&self.execution, query.name()).await?;
        Ok(value.decode(&format!("value of query `{}`", query.name()))?)
    }

    /// Lets the workflow's code answer a query from its state, in whatever process it runs; for open runs.
    ///
    /// # Errors
    /// [`ClientError::QueryUnknown`] names the queries that the code answers; [`ClientError::QueryFailed`],
    /// [`ClientError::QueryTimedOut`]; [`ClientError::Invalid`] when the answer is no `T`.
    pub async fn query_with<T: Data, A: Data>(&self, query: &Query<T, A>, argument: A) -> Result<T, ClientError> {
        let name = query.name();
        let input = Payload::encode(&format!("argument of query `{name}`"), &argument)?;
        let value = self.client.ask(&self.execution, name, input, QUERY_TIMEOUT).await?;
        Ok(value.decode(&format!("answer of query `{name}`"))?)
    }

    /// Sends the workflow an update; awaiting it gives the reply, and [`UpdateCall::accepted`] a handle as soon as the
    /// workflow has taken it on.
    pub fn update<A: Data, U: Data>(&self, update: &Update<A, U>, argument: A) -> UpdateCall<U> {
        UpdateCall::new(self.client.clone(), self.execution.clone(), update, &argument)
    }

    /// Asks the workflow to cancel itself, once it is awaited; answered as [`WorkflowHandle::signal`].
    pub fn cancel(&self, reason: &str) -> CancelCall {
        CancelCall::new(self.client.clone(), self.execution.clone(), reason.to_owned())
    }

    /// Ends the workflow at once, without asking its code.
    ///
    /// # Errors
    /// As [`WorkflowHandle::signal`].
    pub async fn terminate(&self, reason: &str) -> Result<(), ClientError> {
        self.client.terminate(&self.execution, reason).await
    }

    /// Lets the workflow go on from an earlier point of its history as another run; what was recorded up to there is not run
    /// again. Options follow as calls; awaiting it makes the reset and gives a handle on the new run. Whoever waits for the
    /// result of the old one, if it was open, waits for the new one.
    ///
    /// # Errors
    /// [`ClientError::Branch`] and [`ClientError::MovedOn`] say what is in the way, and the way out.
    pub fn reset(&self, point: ResetPoint) -> ResetCall<R> {
        ResetCall::new(self.client.clone(), self.this_run(), Arc::clone(&self.workflow_type), point)
    }

    /// Begins another workflow with a part of this one's history, with another input or other results of activities; this
    /// one is left alone. Options follow as calls; awaiting it makes the fork and gives a handle on the new run.
    ///
    /// # Errors
    /// [`ClientError::Branch`] says what is in the way, and the way out; [`ClientError::AlreadyOpen`].
    pub fn fork(&self) -> ForkCall<R> {
        ForkCall::new(self.client.clone(), self.this_run(), Arc::clone(&self.workflow_type))
    }

    /// Says what the workflow waits for and why it does not move.
    ///
    /// # Errors
    /// [`ClientError`] when it is not there or cannot be reached.
    pub async fn describe(&self) -> Result<Description, ClientError> {
        self.client.describe(&self.execution).await
    }

    /// Reads the history of the run.
    ///
    /// # Errors
    /// [`ClientError`] when it is not there or cannot be reached.
    pub async fn history(&self) -> Result<Vec<Event>, ClientError> {
        let run = match self.run {
            Some(run) => run,
            None => self.client.resolve(&self.this_run()).await?.key,
        };
        self.client.history(run, 1).await
    }
}

impl<R: Data> WorkflowHandle<R> {
    /// Waits for the end and gives the result.
    ///
    /// # Errors
    /// [`ResultError`] says how else it ended.
    ///
    /// # Cancel safety
    /// Dropping it gives the wait up and changes nothing.
    pub async fn result(&self) -> Result<R, ResultError> {
        let RunResult { status, result, failure, .. } = match self.run {
            Some(run) => self.client.result_of(run).await?,
            None => self.client.result(&self.execution).await?,
        };
        let workflow_id = self.execution.workflow_id.clone();
        let failure = failure.unwrap_or_default();
        match status {
            RunStatus::Completed | RunStatus::Running => {
                let what = format!("result of workflow `{}`", self.workflow_type);
                Ok(result.unwrap_or_else(Payload::null).decode(&what)?)
            }
            RunStatus::Failed => Err(ResultError::Failed { workflow_id, failure: Box::new(failure) }),
            RunStatus::Canceled => Err(ResultError::Cancelled { workflow_id }),
            RunStatus::Terminated => {
                let reason = self.reason().await.unwrap_or_default();
                Err(ResultError::Terminated { workflow_id, reason })
            }
            RunStatus::TimedOut => Err(ResultError::TimedOut { workflow_id }),
            RunStatus::ContinuedAsNew => {
                let problem = "the run continued as new: ask for the result by workflow id".to_owned();
                let failure = Box::new(Failure::application("ContinuedAsNew", problem));
                Err(ResultError::Failed { workflow_id, failure })
            }
        }
    }
}

impl<R> WorkflowHandle<R> {
    /// The run that the handle names, whatever goes on for it: points of a history belong to one run.
    fn this_run(&self) -> WorkflowExecution {
        WorkflowExecution { follows: false, ..self.execution.clone() }
    }

    /// Reads why the run was terminated, which only its last event says.
    async fn reason(&self) -> Result<String, ClientError> {
        let info = self.client.resolve(&self.execution).await?;
        let last = self.client.history(info.key, info.events).await?.pop();
        Ok(match last.map(|event| event.event) {
            Some(EventKind::WorkflowExecutionTerminated(terminated)) => terminated.reason,
            _ => String::new(),
        })
    }
}

impl<R> Clone for WorkflowHandle<R> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            execution: self.execution.clone(),
            workflow_type: Arc::clone(&self.workflow_type),
            run: self.run,
            new: self.new,
            result: PhantomData,
        }
    }
}

impl<R> fmt::Debug for WorkflowHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowHandle").field("execution", &self.execution).finish_non_exhaustive()
    }
}
