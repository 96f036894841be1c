//! The context of a workflow: the only way of its code to the world.

use std::{
    panic::Location,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dacapo_core::{
    Namespace, Payload, RunId, TaskQueue, WorkflowId, WorkflowType, activity::MIDDLE_PRIORITY,
    event::WorkflowExecutionStarted, limits,
};
use uuid::Uuid;

use crate::{
    define::{Data, NamedActivity, Query, Signal},
    executor::failure::TaskFailure,
    futures::{ActivityCall, Cancelled, Receive, Shielded, Sleep},
    state::RunState,
};

/// What workflow code has in its hands; cloning it is a counter.
///
/// Everything that it gives is the same at every replay. What must not be used in its place: clocks, random numbers,
/// threads, tasks, timers and sockets of tokio, `select!` and `join!` of other crates.
#[derive(Clone, Debug)]
pub struct WorkflowContext {
    state: Rc<RunState>,
}

impl WorkflowContext {
    pub(crate) fn new(state: &Rc<RunState>) -> Self {
        Self { state: Rc::clone(state) }
    }

    /// Gives what the run was started with.
    pub fn info(&self) -> &WorkflowInfo {
        self.state.info()
    }

    /// Gives the time at which this step of the run began, by the history; it stands still between two awaits.
    pub fn now(&self) -> SystemTime {
        let micros = u64::try_from(self.state.now().0).unwrap_or(0);
        UNIX_EPOCH + Duration::from_micros(micros)
    }

    /// Waits for a time.
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(&self.state, Location::caller(), duration)
    }

    /// Waits until a point in time; one that has passed completes as soon as the timer is recorded.
    #[track_caller]
    pub fn sleep_until(&self, deadline: SystemTime) -> Sleep {
        let after = deadline.duration_since(self.now()).unwrap_or(Duration::ZERO);
        Sleep::new(&self.state, Location::caller(), after)
    }

    /// Calls an activity: a method with `#[activity]`, or an [`Activity`](crate::define::Activity) of another binary.
    ///
    /// What the activity gives, or how it failed after all attempts, is what the call ends with. An input that cannot
    /// be stored fails the workflow task.
    #[track_caller]
    pub fn activity<Marker, A: NamedActivity<Marker>>(
        &self,
        activity: A,
        input: A::Input,
    ) -> ActivityCall<A::Output, A::Timeout> {
        let meta = activity.meta();
        let input = Payload::encode(&format!("input of activity `{}`", meta.name), &input);
        ActivityCall::new(&self.state, Location::caller(), meta, input)
    }

    /// Receives the next signal of a name.
    #[track_caller]
    pub fn receive<T: Data>(&self, signal: &Signal<T>) -> Receive<T> {
        Receive::new(&self.state, Location::caller(), signal)
    }

    /// Iterates over the signals of a name, those that wait first; ends when the run is asked to cancel.
    #[track_caller]
    pub fn stream<T: Data>(&self, signal: &Signal<T>) -> Receive<T> {
        Receive::new(&self.state, Location::caller(), signal)
    }

    /// Publishes a value that anyone can read at any time, also after the run has closed; it replaces the one before.
    ///
    /// A value that cannot be stored fails the workflow task.
    #[track_caller]
    pub fn publish<T: Data>(&self, query: &Query<T>, value: &T) {
        let at = Location::caller();
        self.state.called_at(at);
        self.state.publish(query.name(), || {
            let encoded = Payload::encode(&format!("value of query `{}`", query.name()), value);
            encoded.map_err(|error| self.state.fail(TaskFailure::payload(&error).at(at))).ok()
        });
    }

    /// Waits until the run is asked to cancel.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled::new(&self.state)
    }

    /// Tells whether the run was asked to cancel.
    pub fn is_cancel_requested(&self) -> bool {
        self.state.cancel_requested()
    }

    /// Runs a future that a request to cancel the run does not reach, for clean-up that must happen.
    pub fn shielded<F: IntoFuture>(&self, future: F) -> Shielded<F::IntoFuture> {
        Shielded::new(&self.state, future.into_future())
    }

    /// Draws a random number, the same at every replay. Not for secrets: it follows from the run's id.
    pub fn random(&self) -> u64 {
        self.state.draw()
    }

    /// Makes a version 4 uuid, the same at every replay. Not for secrets: it follows from the run's id.
    pub fn uuid(&self) -> Uuid {
        let (high, low) = (self.state.draw(), self.state.draw());
        uuid::Builder::from_random_bytes(Uuid::from_u64_pair(high, low).into_bytes()).into_uuid()
    }
}

impl Default for WorkflowContext {
    /// Makes the context of no run: durable calls in it never end. Enough to build the future of a workflow.
    fn default() -> Self {
        let started = WorkflowExecutionStarted {
            namespace: Namespace::default_namespace(),
            workflow_id: WorkflowId::new("detached"),
            run_id: RunId(Uuid::nil()),
            workflow_type: WorkflowType::new("detached"),
            task_queue: TaskQueue::new("detached"),
            input: Payload::null(),
            workflow_execution_timeout_ms: None,
            workflow_run_timeout_ms: None,
            workflow_task_timeout_ms: None,
            first_workflow_task_backoff_ms: None,
            memo: None,
            search_attributes: None,
            identity: String::new(),
            correlation_id: String::new(),
            request_id: None,
            priority: MIDDLE_PRIORITY,
            retry_policy: None,
            lineage: None,
            semantics_version: limits::SEMANTICS_VERSION,
        };
        Self { state: RunState::new(Arc::new(started)) }
    }
}

/// What a run was started with.
#[derive(Clone, Debug)]
pub struct WorkflowInfo(Arc<WorkflowExecutionStarted>);

impl WorkflowInfo {
    pub(crate) fn new(started: Arc<WorkflowExecutionStarted>) -> Self {
        Self(started)
    }

    /// Gives the namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// Gives the caller's name for the work.
    pub fn workflow_id(&self) -> &WorkflowId {
        &self.0.workflow_id
    }

    /// Gives the id of this execution.
    pub fn run_id(&self) -> RunId {
        self.0.run_id
    }

    /// Gives the stored name of the workflow.
    pub fn workflow_type(&self) -> &WorkflowType {
        &self.0.workflow_type
    }

    /// Gives the queue of its workflow tasks and, unless a call says otherwise, of its activities.
    pub fn task_queue(&self) -> &TaskQueue {
        &self.0.task_queue
    }

    /// Gives what ties together everything that one outer request caused.
    pub fn correlation_id(&self) -> &str {
        &self.0.correlation_id
    }

    /// Gives the notes of whoever started the run: a JSON object.
    pub fn memo(&self) -> Option<&Payload> {
        self.0.memo.as_ref()
    }

    /// Gives what lists filter by: a JSON object of scalars.
    pub fn search_attributes(&self) -> Option<&Payload> {
        self.0.search_attributes.as_ref()
    }

    /// Gives the priority within the queue: 1 (first) to 5 (last).
    pub fn priority(&self) -> u8 {
        self.0.priority
    }
}
