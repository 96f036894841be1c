//! The deterministic executor: runs workflow code over its history, on a thread with no tokio runtime entered.
//!
//! A run in memory is an instance: the boxed future of its code and the [`RunState`](crate::state::RunState) that they
//! share. Events are delivered one at a time in the order of history, and the future is polled after each until it has
//! nothing to do, so which of several awaited things comes first follows from history alone. An activation from the
//! start replays: the tasks of the history are run one after the other, and what the code asks for in each is compared
//! with what the history says it asked for; the last task, which has no outcome yet, is run live.
//!
//! Deliberately absent: threads, clocks, I/O. A task that does not come back is the runtime's to notice.

pub(crate) mod failure;
mod instance;
mod mismatch;
mod panics;
mod quiet;
mod replay;
mod verify;
mod wake;

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use dacapo_core::{Event, EventKind, RunKey, WorkflowType, event::WorkflowTaskFailedCause};
use dacapo_runtime::{Activated, Activation, Executor, ExecutorFactory};

pub(crate) use self::verify::{Prefixes, Verified, verify};
use self::{failure::TaskFailure, instance::Instance};
use crate::define::{WorkflowDefinition, WorkflowTable};

/// Makes executors for the workflows of a table.
#[derive(Clone, Debug)]
pub struct WorkflowExecutors(Arc<WorkflowTable>);

impl WorkflowExecutors {
    /// Makes the factory.
    pub fn new(workflows: WorkflowTable) -> Self {
        Self(Arc::new(workflows))
    }
}

impl ExecutorFactory for WorkflowExecutors {
    fn make(&self) -> Box<dyn Executor> {
        panics::install();
        quiet::install();
        Box::new(WorkflowExecutor { workflows: Arc::clone(&self.0), instances: HashMap::default() })
    }

    fn workflow_types(&self) -> Vec<WorkflowType> {
        self.0.iter().map(|definition| WorkflowType::new(definition.name())).collect()
    }
}

/// The runs that one thread has in memory.
#[derive(Debug)]
struct WorkflowExecutor {
    workflows: Arc<WorkflowTable>,
    instances: HashMap<RunKey, Instance, BuildHasherDefault<RunHasher>>,
}

impl Executor for WorkflowExecutor {
    fn activate(&mut self, activation: Activation<'_>) -> Activated {
        let instance = self.instances.remove(&activation.run);
        let outcome = if activation.from_start {
            drop(instance);
            self.begin(&activation).and_then(|mut instance| {
                let live = instance.replay(activation.events)?;
                instance.run_live(live).map(|done| (instance, done))
            })
        } else {
            // A gap means that the last task's commands are not all that history got since: only a replay is right then.
            let next = activation.events.first().map(|event| event.event_id);
            let Some(mut instance) = instance.filter(|instance| Some(instance.next_event_id()) == next) else {
                return Activated::NeedsHistory;
            };
            instance.run_live(activation.events).map(|done| (instance, done))
        };
        match outcome {
            Ok((instance, done)) => {
                if !done.closed {
                    self.instances.insert(activation.run, instance);
                }
                Activated::Completed { commands: done.commands, published: done.published }
            }
            Err(failure) => Activated::Failed { cause: failure.cause, failure: failure.into_failure() },
        }
    }

    fn evict(&mut self, run: RunKey) {
        self.instances.remove(&run);
    }
}

impl WorkflowExecutor {
    fn begin(&self, activation: &Activation<'_>) -> Result<Instance, TaskFailure> {
        let definition = definition(&self.workflows, activation.started.workflow_type.as_str())?;
        Ok(Instance::new(definition.clone(), activation))
    }
}

fn definition<'a>(workflows: &'a WorkflowTable, workflow_type: &str) -> Result<&'a WorkflowDefinition, TaskFailure> {
    workflows.get(workflow_type).ok_or_else(|| {
        let known: Vec<_> = workflows.iter().map(|known| format!("`{}`", known.name())).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        TaskFailure::new(
            WorkflowTaskFailedCause::NotRegistered,
            format!(
                "this worker does not know workflow `{workflow_type}`; it has {known}: register it with \
                 `.workflow(…)`, or start the run on a queue whose workers have it"
            ),
        )
    })
}

/// Says which activity or timer an event ends.
fn outcome_of(event: &Event) -> Option<u64> {
    match &event.event {
        EventKind::ActivityTaskCompleted(outcome) => Some(outcome.activity_id),
        EventKind::ActivityTaskFailed(outcome) => Some(outcome.activity_id),
        EventKind::ActivityTaskTimedOut(outcome) => Some(outcome.activity_id),
        EventKind::ActivityTaskCanceled(outcome) => Some(outcome.activity_id),
        EventKind::TimerFired(fired) => Some(fired.timer_id),
        EventKind::WorkflowExecutionStarted(_)
        | EventKind::WorkflowExecutionSignaled(_)
        | EventKind::WorkflowExecutionCancelRequested(_)
        | EventKind::WorkflowTaskScheduled(_)
        | EventKind::WorkflowTaskStarted(_)
        | EventKind::WorkflowTaskCompleted(_)
        | EventKind::WorkflowTaskFailed(_)
        | EventKind::WorkflowTaskTimedOut(_)
        | EventKind::ActivityTaskScheduled(_)
        | EventKind::ActivityTaskStarted(_)
        | EventKind::ActivityTaskCancelRequested(_)
        | EventKind::TimerStarted(_)
        | EventKind::TimerCanceled(_)
        | EventKind::WorkflowExecutionCompleted(_)
        | EventKind::WorkflowExecutionFailed(_)
        | EventKind::WorkflowExecutionTimedOut(_)
        | EventKind::WorkflowExecutionCanceled(_)
        | EventKind::WorkflowExecutionTerminated(_)
        // No call of this SDK makes or awaits these.
        | EventKind::StartChildWorkflowExecutionInitiated(_)
        | EventKind::StartChildWorkflowExecutionFailed(_)
        | EventKind::ChildWorkflowExecutionStarted(_)
        | EventKind::ChildWorkflowExecutionCompleted(_)
        | EventKind::ChildWorkflowExecutionFailed(_)
        | EventKind::ChildWorkflowExecutionCanceled(_)
        | EventKind::ChildWorkflowExecutionTimedOut(_)
        | EventKind::ChildWorkflowExecutionTerminated(_)
        | EventKind::SignalExternalWorkflowExecutionInitiated(_)
        | EventKind::SignalExternalWorkflowExecutionFailed(_)
        | EventKind::ExternalWorkflowExecutionSignaled(_)
        | EventKind::RequestCancelExternalWorkflowExecutionInitiated(_)
        | EventKind::RequestCancelExternalWorkflowExecutionFailed(_)
        | EventKind::ExternalWorkflowExecutionCancelRequested(_)
        | EventKind::WorkflowExecutionUpdateAccepted(_)
        | EventKind::WorkflowExecutionUpdateCompleted(_)
        | EventKind::MarkerRecorded(_)
        | EventKind::UpsertWorkflowSearchAttributes(_)
        | EventKind::WorkflowPropertiesModified(_)
        | EventKind::WorkflowExecutionPaused(_)
        | EventKind::WorkflowExecutionUnpaused(_)
        | EventKind::WorkflowExecutionContinuedAsNew(_) => None,
    }
}

/// Hashes run keys: their uuids differ in random bits already, so that mixing the words is enough.
#[derive(Debug, Default)]
struct RunHasher(u64);

impl Hasher for RunHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // An odd constant near 2^64 / the golden ratio spreads what the rotation leaves in the low bits.
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
