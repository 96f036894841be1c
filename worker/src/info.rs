//! What a run knows of itself.

use std::sync::Arc;

use dacapo_core::{
    Namespace, Payload, RunId, TaskQueue, WorkflowId, WorkflowType,
    child::ParentRun,
    event::WorkflowExecutionStarted,
    lineage::{BranchedFrom, ContinuedFrom},
};

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
    /// [`WorkflowContext::memo`](crate::WorkflowContext::memo) has what became of them.
    pub fn memo(&self) -> Option<&Payload> {
        self.0.memo.as_ref()
    }

    /// Gives what lists filter by, as the run was started: a JSON object of scalars.
    /// [`WorkflowContext::search_attributes`](crate::WorkflowContext::search_attributes) has what became of them.
    pub fn search_attributes(&self) -> Option<&Payload> {
        self.0.search_attributes.as_ref()
    }

    /// Gives the attempt of the workflow's retry policy that this run is, from 1.
    pub fn attempt(&self) -> u32 {
        self.0.lineage.as_ref().map_or(1, |lineage| lineage.attempt)
    }

    /// Gives the run that started this one as its child.
    pub fn parent(&self) -> Option<&ParentRun> {
        self.0.lineage.as_ref()?.parent.as_ref()
    }

    /// Gives the first run of the chain of retries and continuations that this run belongs to.
    pub fn first_run_id(&self) -> RunId {
        self.0.lineage.as_ref().and_then(|lineage| lineage.first_run_id).unwrap_or(self.0.run_id)
    }

    /// Gives the run that this one follows, and why it does.
    pub fn continued_from(&self) -> Option<&ContinuedFrom> {
        self.0.lineage.as_ref()?.continued_from.as_ref()
    }

    /// Gives the run whose history this one begins with, after a reset or a fork.
    pub fn branched_from(&self) -> Option<&BranchedFrom> {
        self.0.lineage.as_ref()?.branched_from.as_ref()
    }

    /// The run whose random numbers the copied part of the history was computed with.
    pub(crate) fn original_run_id(&self) -> RunId {
        self.branched_from().map_or(self.0.run_id, BranchedFrom::original_run_id)
    }

    /// Gives the priority within the queue: 1 (first) to 5 (last).
    pub fn priority(&self) -> u8 {
        self.0.priority
    }
}
