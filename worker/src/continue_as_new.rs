//! Continue-as-new: how a run that would grow without end goes on as another.

use std::{fmt, panic::Location, rc::Rc, time::Duration};

use dacapo_core::{Payload, RetryPolicy, TaskQueue, WorkflowType, command, payload::PayloadError};
use serde::Serialize;

use crate::{errors::WorkflowError, executor::failure::TaskFailure, state::RunState};

/// The end of a run that goes on as another, under the same workflow id: to be returned by the workflow.
///
/// ```
/// # use dacapo_worker::{WorkflowContext, WorkflowError, workflow, define::Signal};
/// # extern crate dacapo_worker as dacapo;
/// # const TICK: Signal<u32> = Signal::new("tick");
/// #[workflow]
/// async fn counts(ctx: WorkflowContext, mut sum: u32) -> Result<(), WorkflowError> {
///     for _ in 0..1_000 {
///         sum += ctx.receive(&TICK).await?;
///     }
///     ctx.continue_as_new(sum).into()
/// }
/// ```
///
/// `return Err(ctx.continue_as_new(sum))?` does the same in workflows with an error type of their own. Signals that the
/// code has not received go on to the new run. What is not said stays as it is.
#[must_use = "a run only continues as new when its workflow returns this"]
#[derive(Clone, PartialEq, Eq)]
pub struct ContinueAsNew(Box<command::ContinueAsNew>);

impl ContinueAsNew {
    pub(crate) fn new(
        state: &Rc<RunState>,
        at: &'static Location<'static>,
        workflow_type: Option<WorkflowType>,
        input: Result<Payload, PayloadError>,
    ) -> Self {
        state.called_at(at);
        let input = input.unwrap_or_else(|error| {
            state.fail(TaskFailure::payload(&error).at(at));
            Payload::null()
        });
        Self(Box::new(command::ContinueAsNew { workflow_type, ..command::ContinueAsNew::new(input) }))
    }

    /// Goes on, on another task queue.
    pub fn task_queue(mut self, queue: impl Into<TaskQueue>) -> Self {
        self.0.task_queue = Some(queue.into());
        self
    }

    /// Sets the longest time of the next run.
    pub fn run_timeout(mut self, timeout: Duration) -> Self {
        self.0.run_timeout_ms = Some(millis(timeout));
        self
    }

    /// Sets the longest time of one workflow task of the next run.
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.0.task_timeout_ms = Some(millis(timeout));
        self
    }

    /// Sets how often and how soon the next run is repeated when it fails.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.0.retry_policy = Some(policy);
        self
    }

    /// Replaces the notes: a value whose JSON is an object.
    ///
    /// # Errors
    /// When the value cannot be stored; `?` works on it in a workflow.
    pub fn memo<T: Serialize + ?Sized>(mut self, memo: &T) -> Result<Self, PayloadError> {
        self.0.memo = Some(Payload::encode("memo", memo)?);
        Ok(self)
    }

    /// Replaces what lists filter by: a value whose JSON is an object of scalars.
    ///
    /// # Errors
    /// When the value cannot be stored; `?` works on it in a workflow.
    pub fn search_attributes<T: Serialize + ?Sized>(mut self, attributes: &T) -> Result<Self, PayloadError> {
        self.0.search_attributes = Some(Payload::encode("search attributes", attributes)?);
        Ok(self)
    }

    pub(crate) fn into_command(self) -> Box<command::ContinueAsNew> {
        self.0
    }
}

impl<T> From<ContinueAsNew> for Result<T, WorkflowError> {
    fn from(next: ContinueAsNew) -> Self {
        Err(next.into())
    }
}

impl fmt::Display for ContinueAsNew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the workflow continues as new")
    }
}

impl fmt::Debug for ContinueAsNew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ContinueAsNew").field(&self.0).finish()
    }
}

impl std::error::Error for ContinueAsNew {}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
