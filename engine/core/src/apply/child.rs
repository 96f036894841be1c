//! Children: their starts and cancellations go out by the outbox, what became of them comes back as messages.

use super::Turn;
use crate::{
    child::{ChildClosed, ChildOutcome, ParentClosePolicy, ParentRun},
    command::Command,
    event::{
        ChildWorkflowExecutionCanceled, ChildWorkflowExecutionCompleted, ChildWorkflowExecutionFailed,
        ChildWorkflowExecutionStarted, ChildWorkflowExecutionTerminated, ChildWorkflowExecutionTimedOut, EventKind,
        RequestCancelExternalWorkflowExecutionInitiated, StartChildWorkflowExecutionFailed,
        StartChildWorkflowExecutionInitiated,
    },
    ids::{ChildId, RunId},
    lineage::Lineage,
    message::MessageBody,
    outbox::{Asker, ExternalTarget, OutboxBody, StartChildWorkflowExecutionFailedCause, TargetRun},
    run::Run,
    start::StartWorkflow,
    time::Timestamp,
};

/// The start that a command for a child asks for, as the run's next event.
pub(super) fn start_of(run: &Run, command: &Command, now: Timestamp) -> Option<StartWorkflow> {
    let Command::StartChildWorkflowExecution { child_id, workflow_id, workflow_type, input, options } = command else {
        return None;
    };
    let started = &run.started;
    let run_id = RunId::derived(run.key.run_id, run.next_event_id, now);
    let queue = options.task_queue.clone().unwrap_or_else(|| started.task_queue.clone());
    let start = StartWorkflow::new(run_id, workflow_id.clone(), workflow_type.clone(), queue, input.clone());
    let parent = ParentRun {
        namespace: started.namespace.clone(),
        workflow_id: started.workflow_id.clone(),
        run_id: run.key.run_id,
        child_id: *child_id,
        initiated_event_id: run.next_event_id,
    };
    Some(StartWorkflow {
        namespace: started.namespace.clone(),
        reuse_policy: options.reuse_policy,
        execution_timeout_ms: options.execution_timeout_ms,
        run_timeout_ms: options.run_timeout_ms,
        task_timeout_ms: options.task_timeout_ms,
        memo: options.memo.clone(),
        search_attributes: options.search_attributes.clone(),
        priority: options.priority.unwrap_or(started.priority),
        identity: format!("workflow {}", started.workflow_id),
        correlation_id: started.correlation_id.clone(),
        retry_policy: options.retry_policy.clone().map(Box::new),
        lineage: Some(Box::new(Lineage { parent: Some(parent), ..Lineage::default() })),
        ..start
    })
}

impl Turn<'_> {
    pub(super) fn start_child(&mut self, command: &Command) {
        let Some(start) = start_of(self.run, command, self.now) else { return };
        let Command::StartChildWorkflowExecution { child_id, options, .. } = command else { return };
        let initiated = StartChildWorkflowExecutionInitiated {
            child_id: *child_id,
            workflow_id: start.workflow_id.clone(),
            run_id: start.run_id,
            workflow_type: start.workflow_type.clone(),
            input: start.input.clone(),
            options: (**options).clone(),
        };
        let event_id = self.push(EventKind::StartChildWorkflowExecutionInitiated(Box::new(initiated)));
        let (namespace, workflow_id) = (start.namespace.clone(), start.workflow_id.clone());
        let target = ExternalTarget { namespace, workflow_id, run: TargetRun::Run(start.run_id) };
        self.send_out(event_id, target, OutboxBody::Start(Box::new(start)), Asker::Child(*child_id));
    }

    /// Asks a child to cancel itself. One that has ended already, unseen by the code, is not asked and makes no event.
    pub(super) fn cancel_child(&mut self, child_id: ChildId, reason: String) {
        let Some(target) = self.child_target(child_id) else { return };
        let requested = RequestCancelExternalWorkflowExecutionInitiated {
            cancel_id: child_id,
            target: target.clone(),
            child: true,
            reason: reason.clone(),
        };
        let event_id = self.push(EventKind::RequestCancelExternalWorkflowExecutionInitiated(Box::new(requested)));
        let body = OutboxBody::Message(MessageBody::Cancel { reason, identity: self.own_identity() });
        self.send_out(event_id, target, body, Asker::Cancel(child_id));
    }

    /// Takes the news that a child runs.
    pub(super) fn child_started(&mut self, child_id: ChildId, initiated_event_id: i64) {
        let child = self.run.child(child_id).filter(|child| child.initiated_event_id == initiated_event_id);
        let Some(child) = child.filter(|child| child.started_event_id.is_none()) else { return };
        let run_id = child.initiated.run_id;
        let started = ChildWorkflowExecutionStarted { child_id, initiated_event_id, run_id };
        self.push(EventKind::ChildWorkflowExecutionStarted(started));
    }

    /// Takes the news that a child could not be started.
    pub(super) fn start_child_failed(
        &mut self,
        child_id: ChildId,
        initiated_event_id: i64,
        cause: StartChildWorkflowExecutionFailedCause,
    ) {
        let child = self.run.child(child_id).filter(|child| child.initiated_event_id == initiated_event_id);
        if child.is_some_and(|child| child.started_event_id.is_none()) {
            let failed = StartChildWorkflowExecutionFailed { child_id, initiated_event_id, cause };
            self.push(EventKind::StartChildWorkflowExecutionFailed(failed));
        }
    }

    /// Takes the news that a child has closed; it may come before the news that it runs.
    pub(super) fn child_closed(&mut self, closed: ChildClosed) {
        let ChildClosed { child_id, initiated_event_id, run_id, outcome } = closed;
        let child = self.run.child(child_id).filter(|child| child.initiated_event_id == initiated_event_id);
        if child.is_none() {
            return;
        }
        self.child_started(child_id, initiated_event_id);
        self.push(match outcome {
            ChildOutcome::Completed(result) => {
                let completed = ChildWorkflowExecutionCompleted { child_id, initiated_event_id, run_id, result };
                EventKind::ChildWorkflowExecutionCompleted(completed)
            }
            ChildOutcome::Failed { failure, retry_state } => {
                let failed =
                    ChildWorkflowExecutionFailed { child_id, initiated_event_id, run_id, failure, retry_state };
                EventKind::ChildWorkflowExecutionFailed(Box::new(failed))
            }
            ChildOutcome::Canceled(details) => {
                let canceled = ChildWorkflowExecutionCanceled { child_id, initiated_event_id, run_id, details };
                EventKind::ChildWorkflowExecutionCanceled(canceled)
            }
            ChildOutcome::TimedOut { retry_state } => {
                let timed_out = ChildWorkflowExecutionTimedOut { child_id, initiated_event_id, run_id, retry_state };
                EventKind::ChildWorkflowExecutionTimedOut(timed_out)
            }
            ChildOutcome::Terminated { reason } => {
                let terminated = ChildWorkflowExecutionTerminated { child_id, initiated_event_id, run_id, reason };
                EventKind::ChildWorkflowExecutionTerminated(terminated)
            }
        });
    }

    /// What the end of the run means to its children, and to its parent unless a successor has inherited it.
    pub(super) fn tell_relatives(&mut self, event_id: i64, closing: &EventKind, inherited: bool) {
        let policies: Vec<_> = self.run.rare.iter().flat_map(|rare| &rare.children).collect();
        let policies: Vec<_> =
            policies.into_iter().map(|(id, child)| (*id, child.initiated.options.parent_close_policy)).collect();
        for (child_id, policy) in policies {
            let reason = format!("the parent closed: {}", self.run.status.as_str());
            let identity = self.own_identity();
            let order = match policy {
                ParentClosePolicy::Terminate => MessageBody::Terminate { reason, identity },
                ParentClosePolicy::RequestCancel => MessageBody::Cancel { reason, identity },
                ParentClosePolicy::Abandon => continue,
            };
            let Some(target) = self.child_target(child_id) else { continue };
            self.send_out(event_id, target, OutboxBody::Message(order), Asker::Nobody);
        }
        let Some(parent) = self.run.started.lineage.as_ref().and_then(|lineage| lineage.parent.clone()) else { return };
        let Some(outcome) = ChildOutcome::of(closing).filter(|_| !inherited) else { return };
        let ParentRun { namespace, workflow_id, run_id, child_id, initiated_event_id } = parent;
        let target = ExternalTarget { namespace, workflow_id, run: TargetRun::Run(run_id) };
        let closed = ChildClosed { child_id, initiated_event_id, run_id: self.run.key.run_id, outcome };
        self.send_out(event_id, target, OutboxBody::Message(MessageBody::ChildClosed(Box::new(closed))), Asker::Nobody);
    }

    /// The chain of a child's runs, which no stranger under the same workflow id belongs to.
    fn child_target(&self, child_id: ChildId) -> Option<ExternalTarget> {
        let child = self.run.child(child_id)?;
        let (namespace, workflow_id) = (self.run.started.namespace.clone(), child.initiated.workflow_id.clone());
        Some(ExternalTarget { namespace, workflow_id, run: TargetRun::Chain(child.initiated.run_id) })
    }

    pub(super) fn own_identity(&self) -> String {
        format!("workflow {}", self.run.started.workflow_id)
    }
}
