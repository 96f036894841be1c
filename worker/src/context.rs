//! The context of a workflow: the only way of its code to the world.

use std::{
    collections::BTreeMap,
    panic::Location,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dacapo_core::{
    Command, Namespace, Payload, RunId, TaskQueue, WorkflowId, WorkflowType, activity::MIDDLE_PRIORITY,
    event::WorkflowExecutionStarted, limits,
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    continue_as_new::ContinueAsNew,
    define::{AttributeValue, Data, NamedActivity, NamedWorkflow, Query, SearchAttribute, Signal, Update},
    executor::failure::TaskFailure,
    futures::{
        ActivityCall, CancellationToken, Cancelled, ChildCall, ExternalWorkflow, JoinHandle, LocalActivityCall,
        Receive, Requests, Scoped, Shielded, Sleep,
    },
    info::WorkflowInfo,
    random::Random,
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
    pub fn publish<T: Data, A>(&self, query: &Query<T, A>, value: &T) {
        let at = Location::caller();
        self.state.called_at(at);
        self.state.publish(query.name(), || {
            let encoded = Payload::encode(&format!("value of query `{}`", query.name()), value);
            encoded.map_err(|error| self.state.fail(TaskFailure::payload(&error).at(at))).ok()
        });
    }

    /// Answers a query from the workflow's state, whenever somebody asks; replaces what answered it before.
    ///
    /// `answer` may look at what the workflow shares with it, through an `Rc<RefCell<…>>`, and must not change it: what it
    /// does leaves no trace, and no replay repeats it. Durable calls in it fail the query.
    #[track_caller]
    pub fn on_query<T: Data, A: Data>(&self, query: &Query<T, A>, answer: impl Fn(A) -> T + 'static) {
        self.state.called_at(Location::caller());
        let name = query.name();
        self.state.on_query(
            name,
            Rc::new(move |argument| {
                let argument = argument.decode(&format!("argument of query `{name}`"))?;
                Payload::encode(&format!("answer of query `{name}`"), &answer(argument))
            }),
        );
    }

    /// Takes on the requests of an update, as a stream.
    #[track_caller]
    pub fn requests<A: Data, R: Data>(&self, update: &Update<A, R>) -> Requests<A, R> {
        Requests::new(&self.state, Location::caller(), update)
    }

    /// Calls a child workflow: a function with `#[workflow]`, or a [`Workflow`](crate::define::Workflow) of another
    /// binary.
    ///
    /// Options follow as calls. Awaiting it gives the child's result; [`ChildCall::start`] a handle.
    #[track_caller]
    pub fn child<Marker, W: NamedWorkflow<Marker>>(&self, workflow: W, input: W::Input) -> ChildCall<W::Output> {
        let name = workflow.name();
        let input = Payload::encode(&format!("input of child workflow `{name}`"), &input);
        ChildCall::new(&self.state, Location::caller(), name, input)
    }

    /// Names another run, to signal or to cancel it.
    pub fn external(&self, workflow_id: impl Into<WorkflowId>) -> ExternalWorkflow {
        ExternalWorkflow::new(&self.state, workflow_id.into())
    }

    /// Calls an activity that this very process runs, beside the workflow's code: for short work that needs neither a
    /// queue nor a heartbeat.
    ///
    /// It is one event, at its end. Until then nothing is stored, so it is made again from its first attempt when the
    /// process dies, and the run stays in memory while it waits between attempts: work that is slow, or waits long after
    /// a failure, is [`WorkflowContext::activity`]'s. Every worker that has the workflow has to have its code.
    #[track_caller]
    pub fn local_activity<Marker, A: NamedActivity<Marker>>(
        &self,
        activity: A,
        input: A::Input,
    ) -> LocalActivityCall<A::Output, A::Timeout> {
        let meta = activity.meta();
        let input = Payload::encode(&format!("input of activity `{}`", meta.name), &input);
        LocalActivityCall::new(&self.state, Location::caller(), meta, input)
    }

    /// Ends the run and lets another go on under its workflow id, with a history of its own; to be returned.
    #[track_caller]
    pub fn continue_as_new<I: Data>(&self, input: I) -> ContinueAsNew {
        let input = Payload::encode("input of the next run", &input);
        ContinueAsNew::new(&self.state, Location::caller(), None, input)
    }

    /// Ends the run and lets a run of a given workflow go on under its workflow id; to be returned.
    #[track_caller]
    pub fn continue_as<Marker, W: NamedWorkflow<Marker>>(&self, workflow: W, input: W::Input) -> ContinueAsNew {
        let name = workflow.name();
        let input = Payload::encode(&format!("input of workflow `{name}`"), &input);
        ContinueAsNew::new(&self.state, Location::caller(), Some(WorkflowType::new(name)), input)
    }

    /// Tells whether the history has grown so long that the workflow should continue as new soon.
    pub fn continue_as_new_suggested(&self) -> bool {
        self.state.continue_as_new_suggested()
    }

    /// Computes a value once, and gives the same at every replay: for what is read from outside of the workflow and
    /// neither blocks nor fails. Everything else is an activity.
    #[track_caller]
    pub fn side_effect<T: Data>(&self, compute: impl FnOnce() -> T) -> T {
        let at = Location::caller();
        let what = "value of a side effect";
        let value = self.state.side_effect(at, || {
            let encoded = Payload::encode(what, &compute());
            encoded.unwrap_or_else(|error| self.state.fail_and_stop(TaskFailure::payload(&error).at(at)))
        });
        value.decode(what).unwrap_or_else(|error| self.state.fail_and_stop(TaskFailure::payload(&error).at(at)))
    }

    /// Tells whether this run takes the new branch of a change to the code: runs that are past this place without having
    /// taken it do not, all others do, each for its whole life.
    ///
    /// Once no run is open that takes the old branch, delete it and put [`WorkflowContext::deprecate_patch`] in the
    /// place of this call.
    #[track_caller]
    pub fn patched(&self, patch_id: &'static str) -> bool {
        self.state.patched(patch_id, false, Location::caller())
    }

    /// Keeps the place of a change whose old branch is gone. Once no run is open that was started before it, delete it.
    #[track_caller]
    pub fn deprecate_patch(&self, patch_id: &'static str) {
        self.state.patched(patch_id, true, Location::caller());
    }

    /// Changes what lists filter by; `None` removes.
    #[track_caller]
    pub fn upsert<T: AttributeValue>(&self, attribute: &SearchAttribute<T>, value: impl Into<Option<T>>) {
        let what = || format!("search attribute `{}`", attribute.name());
        let change = BTreeMap::from([(attribute.name(), value.into())]);
        if let Some(search_attributes) = self.encoded(Location::caller(), what, &change) {
            self.state.note(Command::UpsertWorkflowSearchAttributes { search_attributes }, Location::caller());
        }
    }

    /// Sets one of the notes on the run, which lists and `describe` show; a value that is `null` removes it.
    #[track_caller]
    pub fn set_memo<T: Serialize + ?Sized>(&self, name: &str, value: &T) {
        let change = BTreeMap::from([(name, value)]);
        if let Some(upserted_memo) = self.encoded(Location::caller(), || format!("memo `{name}`"), &change) {
            self.state.note(Command::ModifyWorkflowProperties { upserted_memo }, Location::caller());
        }
    }

    /// Gives the notes on the run as they are now: those that it was started with, and what the code has changed since. A
    /// JSON object.
    pub fn memo(&self) -> Option<Payload> {
        self.state.memo()
    }

    /// Reads one of the notes on the run as it is now; `None` when there is none of that name. One that is not a `T` fails
    /// the workflow task.
    #[track_caller]
    pub fn memo_value<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.field(Location::caller(), self.state.memo(), name, || format!("memo `{name}`"))
    }

    /// Gives what lists filter by as it is now: what the run was started with, and what the code has changed since. A JSON
    /// object of scalars.
    pub fn search_attributes(&self) -> Option<Payload> {
        self.state.search_attributes()
    }

    /// Reads a search attribute as it is now; `None` when it is not set. One that is not a `T` fails the workflow task.
    #[track_caller]
    pub fn search_attribute<T: AttributeValue>(&self, attribute: &SearchAttribute<T>) -> Option<T> {
        let name = attribute.name();
        let what = || format!("search attribute `{name}`");
        self.field(Location::caller(), self.state.search_attributes(), name, what)
    }

    /// Begins a future now, which goes on beside the code that follows. It ends with the workflow's code at the latest.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: IntoFuture,
        F::IntoFuture: 'static,
        F::Output: 'static,
    {
        JoinHandle::new(&self.state, future.into_future())
    }

    /// Waits until the run is asked to cancel.
    #[track_caller]
    pub fn cancelled(&self) -> Cancelled {
        Cancelled::new(&self.state, Location::caller(), None)
    }

    /// Tells whether the run was asked to cancel.
    pub fn is_cancel_requested(&self) -> bool {
        self.state.cancel_requested()
    }

    /// Makes a scope of cancellation inside of the one that the code is in: what [`CancellationToken::run`] runs in it is
    /// cancelled together.
    pub fn cancellation(&self) -> CancellationToken {
        CancellationToken::new(&self.state)
    }

    /// Runs code in a scope of cancellation, which its token cancels.
    pub fn scope<F: IntoFuture>(&self, code: impl FnOnce(CancellationToken) -> F) -> Scoped<F::IntoFuture> {
        let token = self.cancellation();
        token.run(code(token.clone()))
    }

    /// Runs a future that a request to cancel the run does not reach, nor the cancellation of a scope around it: for
    /// clean-up that must happen.
    pub fn shielded<F: IntoFuture>(&self, future: F) -> Shielded<F::IntoFuture> {
        Shielded::new(&self.state, future.into_future())
    }

    /// Gives random numbers, the same at every replay. Not for secrets: they follow from the run's id.
    pub fn random(&self) -> Random {
        Random::new(&self.state)
    }

    /// Makes a version 4 uuid, the same at every replay. Not for secrets: it follows from the run's id.
    pub fn uuid(&self) -> Uuid {
        let (high, low) = (self.state.draw(), self.state.draw());
        uuid::Builder::from_random_bytes(Uuid::from_u64_pair(high, low).into_bytes()).into_uuid()
    }

    /// Reads a field of an object; one that cannot be read fails the task.
    fn field<T: DeserializeOwned>(
        &self,
        at: &'static Location<'static>,
        object: Option<Payload>,
        name: &str,
        what: impl Fn() -> String,
    ) -> Option<T> {
        let read = |object: &Payload| {
            let fields: BTreeMap<String, Payload> = object.decode(&what())?;
            fields.get(name).map(|value| value.decode(&what())).transpose()
        };
        let read = object.as_ref().map(read).transpose();
        let read = read.unwrap_or_else(|error| self.state.fail_and_stop(TaskFailure::payload(&error).at(at)));
        read.flatten()
    }

    /// Encodes a change; one that cannot be stored fails the task.
    fn encoded<T: Serialize>(
        &self,
        at: &'static Location<'static>,
        what: impl FnOnce() -> String,
        change: &T,
    ) -> Option<Payload> {
        self.state.called_at(at);
        let encoded = Payload::encode(&what(), change);
        encoded.map_err(|error| self.state.fail(TaskFailure::payload(&error).at(at))).ok()
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
