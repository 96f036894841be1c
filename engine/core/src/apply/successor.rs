//! Runs that follow a run: continue-as-new, retries. The end and the start are one transition.

use super::Turn;
use crate::{
    command::ContinueAsNew,
    event::{
        EventKind, WorkflowExecutionContinuedAsNew, WorkflowExecutionFailed, WorkflowExecutionSignaled,
        WorkflowExecutionTimedOut,
    },
    failure::{Failure, RetryState},
    ids::{MessageId, RunId},
    lineage::{ContinueAsNewInitiator, ContinuedFrom, Lineage},
    message::{Message, MessageBody},
    retry::RetryDecision,
    run::Run,
    start::StartWorkflow,
    time::Timestamp,
    transition::{Successor, Transition},
};

/// The start of the run that follows `run` when its next event closes it.
fn following(run: &Run, initiator: ContinueAsNewInitiator, failure: Option<Failure>, now: Timestamp) -> StartWorkflow {
    let started = &run.started;
    let retries = initiator == ContinueAsNewInitiator::Retry;
    let lineage = Lineage {
        parent: started.lineage.as_ref().and_then(|lineage| lineage.parent.clone()),
        first_run_id: Some(run.first_run_id()),
        continued_from: Some(ContinuedFrom { run_id: run.key.run_id, initiator, failure }),
        attempt: if retries { run.attempt() + 1 } else { 1 },
        execution_deadline: run.execution_deadline(),
        branched_from: None,
    };
    StartWorkflow {
        run_id: RunId::derived(run.key.run_id, run.next_event_id, now),
        lineage: Some(Box::new(lineage)),
        ..StartWorkflow::of(run)
    }
}

/// The start of the run that a run continues as.
pub(super) fn continued(run: &Run, asked: &ContinueAsNew, now: Timestamp) -> StartWorkflow {
    let same = following(run, ContinueAsNewInitiator::Workflow, None, now);
    StartWorkflow {
        workflow_type: asked.workflow_type.clone().unwrap_or(same.workflow_type),
        task_queue: asked.task_queue.clone().unwrap_or(same.task_queue),
        input: asked.input.clone(),
        run_timeout_ms: asked.run_timeout_ms.or(same.run_timeout_ms),
        task_timeout_ms: asked.task_timeout_ms.or(same.task_timeout_ms),
        retry_policy: asked.retry_policy.clone().map(Box::new).or(same.retry_policy),
        memo: asked.memo.clone().or(same.memo),
        search_attributes: asked.search_attributes.clone().or(same.search_attributes),
        ..same
    }
}

fn carried(signals: Vec<WorkflowExecutionSignaled>) -> Vec<Message> {
    let message = |signal: WorkflowExecutionSignaled| {
        let WorkflowExecutionSignaled { message_id, signal_name, input, identity } = signal;
        let id: MessageId = message_id;
        Message { id, body: MessageBody::Signal { name: signal_name, input, identity } }
    };
    signals.into_iter().map(message).collect()
}

impl Successor {
    /// Makes the successor that a start asks for, with messages that it finds in its first rows.
    pub(crate) fn new(request: StartWorkflow, messages: &[Message], now: Timestamp) -> Box<Self> {
        let transition = Transition::start(request.started(), messages, now);
        let ready_at = now.plus_ms(request.start_delay_ms.filter(|_| transition.signals == 0).unwrap_or(0));
        Box::new(Self { request, transition, ready_at, owned: false })
    }
}

impl Turn<'_> {
    pub(super) fn continue_as_new(&mut self, mut asked: ContinueAsNew) {
        let signals = carried(std::mem::take(&mut asked.signals));
        let request = continued(self.run, &asked, self.now);
        let event = WorkflowExecutionContinuedAsNew {
            new_run_id: request.run_id,
            workflow_type: request.workflow_type.clone(),
            task_queue: request.task_queue.clone(),
            input: request.input.clone(),
        };
        let successor = Successor::new(request, &signals, self.now);
        self.close(EventKind::WorkflowExecutionContinuedAsNew(Box::new(event)), Some(successor));
    }

    /// Ends the run with a failure, or with its next attempt.
    pub(super) fn fail_run(&mut self, failure: Failure) {
        let (retry_state, successor) = self.retry_run(&failure);
        let new_run_id = successor.as_ref().map(|successor| successor.request.run_id);
        let failed = WorkflowExecutionFailed { failure, retry_state, new_run_id };
        self.close(EventKind::WorkflowExecutionFailed(failed), successor);
    }

    /// Ends the run by its timeout, or with its next attempt.
    pub(super) fn time_out_run(&mut self) {
        let timeout_ms = self.run.started.timeout_ms().unwrap_or_default();
        let (retry_state, successor) = self.retry_run(&Failure::run_timeout(timeout_ms));
        let new_run_id = successor.as_ref().map(|successor| successor.request.run_id);
        let timed_out = WorkflowExecutionTimedOut { timeout_ms, retry_state, new_run_id };
        self.close(EventKind::WorkflowExecutionTimedOut(timed_out), successor);
    }

    /// Decides whether another attempt follows the run. Gives the reason why none does, if there is a policy at all.
    fn retry_run(&self, failure: &Failure) -> (Option<RetryState>, Option<Box<Successor>>) {
        let Some(policy) = &self.run.started.retry_policy else { return (None, None) };
        let deadline = self.run.execution_deadline();
        if self.run.cancel_requested {
            return (Some(RetryState::CancelRequested), None);
        }
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            return (Some(RetryState::Timeout), None);
        }
        match policy.decide(self.run.attempt(), failure, self.now, deadline) {
            RetryDecision::GiveUp(state) => (Some(state), None),
            RetryDecision::RetryAt(at) => {
                let initiator = ContinueAsNewInitiator::Retry;
                let mut request = following(self.run, initiator, Some(failure.clone()), self.now);
                let wait_ms = u64::try_from(at.since(self.now).as_millis()).unwrap_or(u64::MAX);
                request.start_delay_ms = Some(wait_ms).filter(|ms| *ms > 0);
                (None, Some(Successor::new(request, &[], self.now)))
            }
        }
    }
}
