//! What the executor brings in: the beginning of a task, outcomes, signals, requests, cancellation.

use std::task::Waker;

use dacapo_core::{
    Command, Marker, RunId, Timestamp, event::WorkflowExecutionSignaled, ids::Sequence, marker::LocalActivityOutcome,
};

use super::{Made, RunState, Settled, TaskRecord, operation::Kind, wake};

impl RunState {
    /// Begins a task: `now` is its start by the history, `record` what the history knows of its end.
    pub(crate) fn begin_task(
        &self,
        now: Timestamp,
        replaying: bool,
        continue_as_new_suggested: bool,
        record: Option<TaskRecord>,
    ) {
        let mut inner = self.inner.borrow_mut();
        inner.now = now;
        inner.replaying = replaying;
        inner.continue_as_new_suggested = continue_as_new_suggested;
        inner.cancelled_calls = 0;
        inner.record = record;
    }

    /// Notes that an operation's outcome comes later in this task, so that giving it up needs no command.
    pub(crate) fn announce(&self, sequence: Sequence) {
        if let Some(operation) = self.inner.borrow_mut().operations.get_mut(&sequence) {
            operation.announced = true;
        }
    }

    /// Brings an outcome in and wakes who waits for it. Outcomes of what the code gave up are dropped.
    pub(crate) fn settle(&self, sequence: Sequence, outcome: impl FnOnce() -> Settled) {
        let waker = self.inner.borrow_mut().operations.get_mut(&sequence).and_then(|it| it.settle(outcome));
        wake(waker);
    }

    /// Brings in that a child runs.
    pub(crate) fn child_started(&self, sequence: Sequence, run_id: RunId) {
        let waker = self.inner.borrow_mut().operations.get_mut(&sequence).and_then(|it| it.child_started(run_id));
        wake(waker);
    }

    /// Brings in what became of a request to cancel, of a child or of another run.
    pub(crate) fn cancel_answered(&self, sequence: Sequence, outcome: Settled) {
        let waker = self.inner.borrow_mut().operations.get_mut(&sequence).and_then(|it| it.cancel_answered(outcome));
        wake(waker);
    }

    /// Brings in how a local activity ended, and records it. One that nobody waits for leaves nothing.
    pub(crate) fn end_local(&self, sequence: Sequence, attempts: u32, outcome: LocalActivityOutcome) {
        let waker = {
            let mut inner = self.inner.borrow_mut();
            let inner = &mut *inner;
            let Some(operation) = inner.operations.get_mut(&sequence).filter(|it| !it.is_settled()) else { return };
            let Kind::Local(activity_type) = &operation.kind else { return };
            inner.out.local.remove(&sequence);
            let activity_type = activity_type.clone();
            let marker = Marker::LocalActivity { activity_type, attempts, outcome: outcome.clone() };
            let command = Command::RecordMarker { marker_id: sequence, marker };
            inner.out.command(sequence, Made::new(command, operation.at));
            operation.settle(|| match outcome {
                LocalActivityOutcome::Completed(result) => Settled::Completed(result),
                LocalActivityOutcome::Failed(failure) => Settled::Failed { failure, retry_state: None },
            })
        };
        wake(waker);
    }

    /// Brings a signal in and wakes all who wait for one of its name.
    pub(crate) fn signal(&self, signal: WorkflowExecutionSignaled) {
        let wakers = self.inner.borrow_mut().signals.push(signal);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Brings a request to cancel the run in.
    pub(crate) fn request_cancel(&self) {
        self.cancel_scope(&self.root);
    }
}
