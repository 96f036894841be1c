//! Starting a workflow.

use std::{fmt, future::IntoFuture, marker::PhantomData, time::Duration};

use dacapo_core::{
    IdConflictPolicy, IdReusePolicy, Payload, RetryPolicy, StartWorkflow, TaskQueue, WorkflowId, payload::PayloadError,
};
use dacapo_runtime::{ClientError, Started, WorkflowExecution};
use futures_util::future::BoxFuture;
use serde::Serialize;

use super::{UpdateHandle, WorkflowHandle, update::request};
use crate::define::{Data, Signal, Update};

/// A start that is being set up; awaiting it sends it.
///
/// Every start carries ids that are made with it, so sending it again after a lost answer makes no second run.
#[must_use = "a workflow is not started unless the start is awaited"]
pub struct Start<R> {
    client: dacapo_runtime::Client,
    request: StartWorkflow,
    signal: Option<(&'static str, Payload)>,
    /// The first value that could not be stored.
    error: Option<PayloadError>,
    result: PhantomData<fn() -> R>,
}

impl<R> Start<R> {
    pub(super) fn new(
        client: dacapo_runtime::Client,
        request: StartWorkflow,
        input: Result<Payload, PayloadError>,
    ) -> Self {
        let mut start = Self { client, request, signal: None, error: None, result: PhantomData };
        if let Some(input) = start.stored(input) {
            start.request.input = input;
        }
        start
    }

    /// Names the work; at most one open run has the id.
    pub fn id(mut self, workflow_id: impl Into<WorkflowId>) -> Self {
        self.request.workflow_id = workflow_id.into();
        self
    }

    /// Runs it on another task queue than the client's.
    pub fn task_queue(mut self, queue: impl Into<TaskQueue>) -> Self {
        self.request.task_queue = queue.into();
        self
    }

    /// Names the request: the same one always leads to the same run.
    pub fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request.request_id = Some(request_id.into());
        self
    }

    /// Says whether the id of a closed run may be used again.
    pub fn reuse_policy(mut self, policy: IdReusePolicy) -> Self {
        self.request.reuse_policy = policy;
        self
    }

    /// Says what happens when a run with the id is open.
    pub fn conflict_policy(mut self, policy: IdConflictPolicy) -> Self {
        self.request.conflict_policy = policy;
        self
    }

    /// Delivers a signal with the start, or to the run that is open already; both or neither.
    pub fn signal<T: Data>(mut self, signal: &Signal<T>, value: T) -> Self {
        let input = Payload::encode(&format!("input of signal `{}`", signal.name()), &value);
        self.signal = self.stored(input).map(|input| (signal.name(), input));
        self
    }

    /// Delivers an update with the start, or to the run that is open already; both or neither.
    pub fn update<A: Data, U: Data>(self, update: &Update<A, U>, argument: A) -> StartWithUpdate<R, U> {
        StartWithUpdate { start: self, request: request(update, &argument), reply: PhantomData }
    }

    /// Sets how often and how soon a failed run is repeated; never when not said.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.request.retry_policy = Some(Box::new(policy));
        self
    }

    /// Waits before the first workflow task.
    pub fn start_delay(mut self, delay: Duration) -> Self {
        self.request.start_delay_ms = Some(millis(delay));
        self
    }

    /// Sets the longest time of the whole chain of runs.
    pub fn execution_timeout(mut self, timeout: Duration) -> Self {
        self.request.execution_timeout_ms = Some(millis(timeout));
        self
    }

    /// Sets the longest time of this run.
    pub fn run_timeout(mut self, timeout: Duration) -> Self {
        self.request.run_timeout_ms = Some(millis(timeout));
        self
    }

    /// Sets the longest time of one workflow task.
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.request.task_timeout_ms = Some(millis(timeout));
        self
    }

    /// Attaches notes: a value whose JSON is an object.
    pub fn memo<T: Serialize + ?Sized>(mut self, memo: &T) -> Self {
        let memo = Payload::encode("memo", memo);
        self.request.memo = self.stored(memo);
        self
    }

    /// Attaches what lists filter by: a value whose JSON is an object of scalars.
    pub fn search_attributes<T: Serialize + ?Sized>(mut self, attributes: &T) -> Self {
        let attributes = Payload::encode("search attributes", attributes);
        self.request.search_attributes = self.stored(attributes);
        self
    }

    /// Sets the priority within the queue: 1 (first) to 5 (last).
    pub fn priority(mut self, priority: u8) -> Self {
        self.request.priority = priority;
        self
    }

    /// Ties the run, and everything that it causes, to an outer request; the run's id when not said.
    pub fn correlation_id(mut self, correlation_id: impl Into<String>) -> Self {
        self.request.correlation_id = correlation_id.into();
        self
    }

    /// Takes it apart, for those who send it in another way.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] when a value could not be stored.
    pub fn into_parts(self) -> Result<StartParts, ClientError> {
        match self.error {
            Some(error) => Err(error.into()),
            None => Ok(StartParts { client: self.client, request: self.request, signal: self.signal }),
        }
    }

    fn stored(&mut self, value: Result<Payload, PayloadError>) -> Option<Payload> {
        value.map_err(|error| self.error.get_or_insert(error)).ok()
    }

    async fn send(self) -> Result<WorkflowHandle<R>, ClientError> {
        let StartParts { client, request, signal } = self.into_parts()?;
        let (workflow_id, workflow_type) = (request.workflow_id.clone(), request.workflow_type.clone());
        let Started { run, new } = match signal {
            Some((name, input)) => client.signal_with_start(request, name, input).await?,
            None => client.start(request).await?,
        };
        let execution = WorkflowExecution::chain(workflow_id, run.run_id);
        Ok(WorkflowHandle::started(client, execution, workflow_type.as_str(), run, new))
    }
}

/// What a [`Start`] would send.
#[derive(Debug)]
pub struct StartParts {
    /// The client that sends it.
    pub client: dacapo_runtime::Client,
    /// The request.
    pub request: StartWorkflow,
    /// Name and input of the signal that goes with it.
    pub signal: Option<(&'static str, Payload)>,
}

impl<R: 'static> IntoFuture for Start<R> {
    type Output = Result<WorkflowHandle<R>, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<R> fmt::Debug for Start<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("request", &self.request).finish_non_exhaustive()
    }
}

/// A start with an update that is being set up; awaiting it sends both, and gives handles on both.
#[must_use = "nothing is started unless the start is awaited"]
pub struct StartWithUpdate<R, U> {
    start: Start<R>,
    request: Result<dacapo_runtime::Update, PayloadError>,
    reply: PhantomData<fn() -> U>,
}

impl<R, U> StartWithUpdate<R, U> {
    /// Names the update: over the life of the run, the same id always leads to the same update and its reply.
    pub fn update_id(mut self, update_id: impl Into<String>) -> Self {
        if let Ok(request) = &mut self.request {
            request.update_id = Some(update_id.into());
        }
        self
    }

    async fn send(self) -> Result<(WorkflowHandle<R>, UpdateHandle<U>), ClientError> {
        let (Start { client, request, error, .. }, update) = (self.start, self.request?);
        if let Some(error) = error {
            return Err(error.into());
        }
        let (workflow_id, workflow_type) = (request.workflow_id.clone(), request.workflow_type.clone());
        let (Started { run, new }, sent) = client.update_with_start(request, update).await?;
        let execution = WorkflowExecution::chain(workflow_id, run.run_id);
        let handle = WorkflowHandle::started(client.clone(), execution, workflow_type.as_str(), run, new);
        Ok((handle, UpdateHandle::new(client, sent)))
    }
}

impl<R: 'static, U: 'static> IntoFuture for StartWithUpdate<R, U> {
    type Output = Result<(WorkflowHandle<R>, UpdateHandle<U>), ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<R, U> fmt::Debug for StartWithUpdate<R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartWithUpdate").field("start", &self.start).finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
