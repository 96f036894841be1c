//! The deterministic executor: runs workflow code over its history, on a thread with no tokio runtime entered.
//!
//! A run in memory is an instance: the boxed future of its code and the [`RunState`](crate::state::RunState) that they
//! share. Events are delivered one at a time in the order of history, and the future is polled after each until it has
//! nothing to do, so which of several awaited things comes first follows from history alone. An activation from the
//! start replays: the tasks of the history are run one after the other, and what the code asks for in each is compared
//! with what the history says it asked for; the last task, which has no outcome yet, is run live.
//!
//! Deliberately absent: threads, clocks, I/O. A task that does not come back is the runtime's to notice.

mod deliver;
mod difference;
pub(crate) mod failure;
mod instance;
mod mismatch;
mod panics;
mod query;
mod quiet;
mod replay;
mod verify;
mod wake;
mod words;

use std::{collections::HashMap, sync::Arc};

use dacapo_core::{RunKey, WorkflowType, event::WorkflowTaskFailedCause, run_hash::BuildRunHasher};
use dacapo_runtime::{Activated, Activation, Executor, ExecutorFactory, Queried, QueryActivation};

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
    instances: HashMap<RunKey, Box<Instance>, BuildRunHasher>,
}

impl Executor for WorkflowExecutor {
    fn activate(&mut self, activation: Activation<'_>) -> Activated {
        let instance = self.instances.remove(&activation.run);
        let outcome = if activation.from_start {
            drop(instance);
            self.begin(&activation).and_then(|mut instance| {
                let live = instance.replay(activation.events)?;
                instance.run_live(live, &activation).map(|done| (instance, done))
            })
        } else {
            // A gap means that the last task's commands are not all that history got since: only a replay is right then.
            let next = activation.events.first().map(|event| event.event_id);
            let Some(mut instance) = instance.filter(|instance| next.is_some_and(|next| instance.goes_on_at(next)))
            else {
                return Activated::NeedsHistory;
            };
            instance.run_live(activation.events, &activation).map(|done| (instance, done))
        };
        match outcome {
            Ok((instance, done)) => {
                if !done.closed {
                    self.instances.insert(activation.run, instance);
                }
                Activated::Completed { commands: done.commands, published: done.published, local: done.local }
            }
            Err(failure) => Activated::Failed { cause: failure.cause, failure: failure.into_failure() },
        }
    }

    fn query(&mut self, query: QueryActivation<'_>) -> Queried {
        if let Some(instance) = self.instances.get(&query.run) {
            return instance.answer(query.name, query.input);
        }
        if query.events.is_empty() {
            return Queried::NeedsHistory;
        }
        let QueryActivation { run, started, events, name, input } = query;
        let activation = Activation { run, started, events, from_start: true, updates: &[], ended: &[] };
        let replayed = self.begin(&activation).and_then(|mut instance| instance.replay(events).map(|_| instance));
        match replayed {
            Ok(instance) => instance.answer(name, input),
            Err(failure) => Queried::Failed(Box::new(failure.into_failure())),
        }
    }

    fn evict(&mut self, run: RunKey) {
        self.instances.remove(&run);
    }
}

impl WorkflowExecutor {
    fn begin(&self, activation: &Activation<'_>) -> Result<Box<Instance>, TaskFailure> {
        let definition = definition(&self.workflows, activation.started.workflow_type.as_str())?;
        Ok(Box::new(Instance::new(definition.clone(), activation)))
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
