//! Child workflows.

use std::{
    fmt,
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use dacapo_core::{
    ChildCancellationType, ChildWorkflowOptions, IdReusePolicy, ParentClosePolicy, Payload, RetryPolicy, RunId,
    TaskQueue, WorkflowId, WorkflowType,
    outbox::{ExternalTarget, TargetRun},
    payload::PayloadError,
};
use serde::Serialize;

use super::{ExternalCall, Handle, millis, stored};
use crate::{
    define::{Data, Signal},
    errors::ChildFailure,
    state::{Request, RunState, Settled, default_child_id},
};

/// A child workflow, to be awaited for its result, or to be started with [`ChildCall::start`] for a handle on it.
///
/// Dropped before it has ended, it cancels the child as its cancellation type says.
#[must_use = "a child is not started unless the call is awaited or started"]
pub struct ChildCall<O> {
    handle: Handle,
    name: &'static str,
    output: PhantomData<fn() -> O>,
}

impl<O> ChildCall<O> {
    pub(crate) fn new(
        state: &Rc<RunState>,
        at: &'static Location<'static>,
        name: &'static str,
        input: Result<Payload, PayloadError>,
    ) -> Self {
        let request = Request::Child {
            workflow_id: None,
            workflow_type: WorkflowType::new(name),
            input: stored(state, at, input),
            options: Box::default(),
            cancellation: ChildCancellationType::default(),
        };
        Self { handle: Handle::new(state, at, request), name, output: PhantomData }
    }

    /// Names the work; at most one open run has the id. Without one, it is made of the parent's run id and a number.
    pub fn id(mut self, id: impl Into<WorkflowId>) -> Self {
        if let Some(Request::Child { workflow_id, .. }) = &mut self.handle.request {
            *workflow_id = Some(id.into());
        }
        self
    }

    /// Runs the child on another task queue than its parent's.
    pub fn task_queue(self, queue: impl Into<TaskQueue>) -> Self {
        self.set(|options| options.task_queue = Some(queue.into()))
    }

    /// Sets the longest time of the whole chain of the child's runs.
    pub fn execution_timeout(self, timeout: Duration) -> Self {
        self.set(|options| options.execution_timeout_ms = Some(millis(timeout)))
    }

    /// Sets the longest time of one run of the child.
    pub fn run_timeout(self, timeout: Duration) -> Self {
        self.set(|options| options.run_timeout_ms = Some(millis(timeout)))
    }

    /// Sets the longest time of one workflow task of the child.
    pub fn task_timeout(self, timeout: Duration) -> Self {
        self.set(|options| options.task_timeout_ms = Some(millis(timeout)))
    }

    /// Sets how often and how soon a failed run of the child is repeated; never when not said.
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.set(|options| options.retry_policy = Some(policy))
    }

    /// Says whether the id of a closed run may be used again.
    pub fn reuse_policy(self, policy: IdReusePolicy) -> Self {
        self.set(|options| options.reuse_policy = policy)
    }

    /// Says what happens to the child when its parent closes; it is terminated when not said.
    pub fn parent_close_policy(self, policy: ParentClosePolicy) -> Self {
        self.set(|options| options.parent_close_policy = policy)
    }

    /// Attaches notes: a value whose JSON is an object.
    pub fn memo<T: Serialize + ?Sized>(self, memo: &T) -> Self {
        let memo = stored(&self.handle.state, self.handle.at, Payload::encode("memo", memo));
        self.set(|options| options.memo = Some(memo))
    }

    /// Attaches what lists filter by: a value whose JSON is an object of scalars.
    pub fn search_attributes<T: Serialize + ?Sized>(self, attributes: &T) -> Self {
        let attributes = Payload::encode("search attributes", attributes);
        let attributes = stored(&self.handle.state, self.handle.at, attributes);
        self.set(|options| options.search_attributes = Some(attributes))
    }

    /// Sets the priority within the queue: 1 (first) to 5 (last); the parent's when not said.
    pub fn priority(self, priority: u8) -> Self {
        self.set(|options| options.priority = Some(priority.clamp(1, 5)))
    }

    /// Sets what the parent sees when the call is cancelled.
    pub fn cancellation(mut self, cancellation_type: ChildCancellationType) -> Self {
        if let Some(Request::Child { cancellation, .. }) = &mut self.handle.request {
            *cancellation = cancellation_type;
        }
        self
    }

    /// Starts the child and waits until it runs, for a handle on it.
    pub fn start(self) -> ChildStart<O> {
        let workflow_id = self.own_id();
        ChildStart { handle: Some(self.handle), name: self.name, workflow_id, output: PhantomData }
    }

    fn set(mut self, set: impl FnOnce(&mut ChildWorkflowOptions)) -> Self {
        if let Some(Request::Child { options, .. }) = &mut self.handle.request {
            set(options);
        }
        self
    }

    /// The workflow id as far as it is known before the child is in history.
    fn own_id(&self) -> WorkflowId {
        match &self.handle.request {
            Some(Request::Child { workflow_id: Some(id), .. }) => id.clone(),
            _ => default_child_id(self.handle.state.info().run_id(), self.handle.sequence),
        }
    }
}

impl<O: Data> Future for ChildCall<O> {
    type Output = Result<O, ChildFailure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let asked = match &this.handle.request {
            Some(_) => this.own_id(),
            None => WorkflowId::new(""),
        };
        let state = Rc::clone(&this.handle.state);
        let known = || state.child_workflow_id(this.handle.sequence);
        let workflow_id = known().unwrap_or(asked);
        let Poll::Ready(settled) = this.handle.poll(context) else { return Poll::Pending };
        this.handle.child_result(this.name, &workflow_id, settled)
    }
}

impl Handle {
    /// Makes of the end of a child what its parent gets.
    fn child_result<O: Data>(
        &self,
        name: &'static str,
        workflow_id: &WorkflowId,
        settled: Settled,
    ) -> Poll<Result<O, ChildFailure>> {
        let failure = match settled {
            Settled::Completed(result) => {
                let what = || format!("result of child workflow `{name}` ({workflow_id})");
                return self.decode(what, &result).map(Ok);
            }
            Settled::Failed { failure, retry_state } => ChildFailure::failed(name, workflow_id, *failure, retry_state),
            Settled::NotStarted => ChildFailure::already_exists(name, workflow_id),
            Settled::Cancelled | Settled::Done | Settled::Undelivered(_) => {
                ChildFailure::cancelled_call(name, workflow_id)
            }
        };
        Poll::Ready(Err(failure))
    }
}

impl<O> fmt::Debug for ChildCall<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildCall({} `{}` at {})", self.handle.sequence, self.name, self.handle.at)
    }
}

/// The start of a child, to be awaited for a handle on it. Dropped before that, it cancels the child.
#[must_use = "a child is not started unless this is awaited"]
pub struct ChildStart<O> {
    /// Absent once it was given away.
    handle: Option<Handle>,
    name: &'static str,
    workflow_id: WorkflowId,
    output: PhantomData<fn() -> O>,
}

impl<O> Future for ChildStart<O> {
    type Output = Result<ChildHandle<O>, ChildFailure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(handle) = &mut this.handle else { return Poll::Pending };
        let (state, sequence, at) = (&handle.state, handle.sequence, handle.at);
        let Poll::Ready(started) = state.poll_child_started(sequence, at, context, &mut handle.request) else {
            return Poll::Pending;
        };
        let name = this.name;
        Poll::Ready(match started {
            Ok((workflow_id, run_id)) => {
                let Some(mut handle) = this.handle.take() else { return Poll::Pending };
                handle.detached = true;
                Ok(ChildHandle { handle, name, workflow_id, run_id, end: None, output: PhantomData })
            }
            Err(Settled::NotStarted) => Err(ChildFailure::already_exists(name, &this.workflow_id)),
            Err(Settled::Failed { failure, retry_state }) => {
                Err(ChildFailure::failed(name, &this.workflow_id, *failure, retry_state))
            }
            Err(Settled::Cancelled | Settled::Done | Settled::Undelivered(_) | Settled::Completed(_)) => {
                Err(ChildFailure::cancelled_call(name, &this.workflow_id))
            }
        })
    }
}

impl<O> fmt::Debug for ChildStart<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildStart(`{}` {})", self.name, self.workflow_id)
    }
}

/// A child that runs, or has run. Dropping it lets the child go on; what happens to it when its parent closes is said by
/// its parent-close policy.
pub struct ChildHandle<O> {
    handle: Handle,
    name: &'static str,
    workflow_id: WorkflowId,
    run_id: RunId,
    /// How the child ended, once that was asked for.
    end: Option<Settled>,
    output: PhantomData<fn() -> O>,
}

impl<O> ChildHandle<O> {
    /// Gives the child's workflow id.
    pub fn workflow_id(&self) -> &WorkflowId {
        &self.workflow_id
    }

    /// Gives the child's first run.
    pub fn run_id(&self) -> RunId {
        self.run_id
    }

    /// Waits for the result of the child. Dropping the wait changes nothing.
    pub fn result(&mut self) -> ChildResult<'_, O> {
        ChildResult(self)
    }

    /// Sends the child a signal; completes when it has arrived.
    #[track_caller]
    pub fn signal<T: Data>(&self, signal: &Signal<T>, value: T) -> ExternalCall {
        ExternalCall::signal(&self.handle.state, Location::caller(), self.target(), signal, &value)
    }

    /// Asks the child to cancel itself; [`ChildHandle::result`] gives what it comes to.
    #[track_caller]
    pub fn cancel(&self, reason: &str) {
        self.handle.state.ask_child(self.handle.sequence, reason.to_owned(), Location::caller());
    }

    /// The run of the child that is open, after retries and continue-as-new, and no stranger under the same id.
    fn target(&self) -> ExternalTarget {
        let namespace = self.handle.state.info().namespace().clone();
        ExternalTarget { namespace, workflow_id: self.workflow_id.clone(), run: TargetRun::Chain(self.run_id) }
    }
}

impl<O> fmt::Debug for ChildHandle<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildHandle(`{}` {} {})", self.name, self.workflow_id, self.run_id)
    }
}

/// The end of a child, to be awaited.
#[must_use = "nothing is waited for unless this is awaited"]
#[derive(Debug)]
pub struct ChildResult<'a, O>(&'a mut ChildHandle<O>);

impl<O: Data> Future for ChildResult<'_, O> {
    type Output = Result<O, ChildFailure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let child = &mut *self.0;
        if child.end.is_none() {
            let Poll::Ready(settled) = child.handle.poll(context) else { return Poll::Pending };
            child.end = Some(settled);
        }
        let Some(settled) = child.end.clone() else { return Poll::Pending };
        child.handle.child_result(child.name, &child.workflow_id, settled)
    }
}
