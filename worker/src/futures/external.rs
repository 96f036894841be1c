//! Signals and requests to cancel that a workflow sends to other runs.

use std::{
    fmt,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use dacapo_core::{
    Namespace, Payload, RunId, WorkflowId,
    outbox::{ExternalTarget, ExternalWorkflowExecutionFailedCause, TargetRun},
};

use super::{Handle, stored};
use crate::{
    define::{Data, Signal},
    errors::ExternalFailure,
    state::{Request, RunState, Settled},
};

/// Another run, as a workflow names it: by its workflow id, and by its run id where a certain run is meant.
#[derive(Clone)]
pub struct ExternalWorkflow {
    state: Rc<RunState>,
    target: ExternalTarget,
}

impl ExternalWorkflow {
    pub(crate) fn new(state: &Rc<RunState>, workflow_id: WorkflowId) -> Self {
        let namespace = state.info().namespace().clone();
        let target = ExternalTarget { namespace, workflow_id, run: TargetRun::Open };
        Self { state: Rc::clone(state), target }
    }

    /// Means this run and no other; without it, the one that is open.
    #[must_use]
    pub fn run(mut self, run_id: RunId) -> Self {
        self.target.run = TargetRun::Run(run_id);
        self
    }

    /// Means a run of another namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<Namespace>) -> Self {
        self.target.namespace = namespace.into();
        self
    }

    /// Sends a signal; completes when it has arrived, exactly once.
    #[track_caller]
    pub fn signal<T: Data>(&self, signal: &Signal<T>, value: T) -> ExternalCall {
        ExternalCall::signal(&self.state, Location::caller(), self.target.clone(), signal, &value)
    }

    /// Asks the run to cancel itself; completes when the request has arrived.
    #[track_caller]
    pub fn cancel(&self, reason: &str) -> ExternalCall {
        let request = Request::Cancel { target: self.target.clone(), reason: reason.to_owned() };
        ExternalCall::new(&self.state, Location::caller(), &self.target, request)
    }
}

impl fmt::Debug for ExternalWorkflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalWorkflow").field("target", &self.target).finish_non_exhaustive()
    }
}

/// A signal or a request to cancel on its way to another run.
///
/// Once it is in history it cannot be taken back: dropping it, or cancelling the code around it, then changes nothing.
#[must_use = "nothing is sent unless this is awaited"]
pub struct ExternalCall {
    handle: Handle,
    workflow_id: WorkflowId,
}

impl ExternalCall {
    fn new(state: &Rc<RunState>, at: &'static Location<'static>, target: &ExternalTarget, request: Request) -> Self {
        Self { handle: Handle::new(state, at, request), workflow_id: target.workflow_id.clone() }
    }

    pub(super) fn signal<T: Data>(
        state: &Rc<RunState>,
        at: &'static Location<'static>,
        target: ExternalTarget,
        signal: &Signal<T>,
        value: &T,
    ) -> Self {
        let input = Payload::encode(&format!("input of signal `{}`", signal.name()), value);
        let input = stored(state, at, input);
        let signal_name = signal.name().to_owned();
        Self::new(state, at, &target.clone(), Request::Signal { target, signal_name, input })
    }
}

impl Future for ExternalCall {
    type Output = Result<(), ExternalFailure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(settled) = self.handle.poll(context) else { return Poll::Pending };
        let workflow_id = self.workflow_id.clone();
        Poll::Ready(match settled {
            Settled::Done => Ok(()),
            Settled::Undelivered(ExternalWorkflowExecutionFailedCause::ExternalWorkflowExecutionNotFound) => {
                Err(ExternalFailure::NotFound { workflow_id })
            }
            Settled::Undelivered(ExternalWorkflowExecutionFailedCause::SignalCountLimitExceeded) => {
                Err(ExternalFailure::TooManySignals { workflow_id })
            }
            Settled::Cancelled | Settled::Completed(_) | Settled::Failed { .. } | Settled::NotStarted => {
                Err(ExternalFailure::Cancelled { workflow_id })
            }
        })
    }
}

impl fmt::Debug for ExternalCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalCall({} to {} at {})", self.handle.sequence, self.workflow_id, self.handle.at)
    }
}
