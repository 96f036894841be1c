//! The client with types: starts workflows by value, and gives handles that know the type of the result.

mod attempt;
mod branch;
mod handle;
mod message;
mod start;
mod update;

use dacapo_core::{ActivityToken, Namespace, Payload, RunId, StartWorkflow, TaskQueue, WorkflowId, WorkflowType};
use dacapo_runtime::{Engine, WorkflowExecution};

pub use self::{
    attempt::ActivityAttempt,
    branch::{ForkCall, ResetCall},
    handle::{ResultError, WorkflowHandle},
    message::{CancelCall, SignalCall},
    start::{Start, StartParts, StartWithUpdate},
    update::{UpdateCall, UpdateError, UpdateHandle},
};
use crate::{define::NamedWorkflow, worker::DEFAULT_TASK_QUEUE};

/// Starts workflows and finds those that were started. Cloning gives another handle on the same client.
#[derive(Clone, Debug)]
pub struct Client {
    inner: dacapo_runtime::Client,
    task_queue: TaskQueue,
}

impl Client {
    /// Makes a client of an engine, in the namespace `default`.
    pub fn new(engine: &Engine) -> Self {
        engine.client().into()
    }

    /// Gives a client of another namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<Namespace>) -> Self {
        self.inner = self.inner.with_namespace(namespace.into());
        self
    }

    /// Gives a client whose starts go to a task queue unless they name another; [`DEFAULT_TASK_QUEUE`] when not said.
    #[must_use]
    pub fn task_queue(mut self, queue: impl Into<TaskQueue>) -> Self {
        self.task_queue = queue.into();
        self
    }

    /// Gives the client without types, which also lists, counts and reads histories.
    pub fn untyped(&self) -> &dacapo_runtime::Client {
        &self.inner
    }

    /// Names an attempt of an activity that is completed from outside, by the token that it gave away.
    pub fn activity(&self, token: ActivityToken) -> ActivityAttempt {
        ActivityAttempt::new(self.inner.clone(), token)
    }

    /// Starts a workflow: a function with `#[workflow]`, or a [`Workflow`](crate::define::Workflow) of another binary.
    ///
    /// Options follow as calls; awaiting it sends the start and gives the handle. Without an id, the workflow gets a
    /// fresh one.
    pub fn start<Marker, W: NamedWorkflow<Marker>>(&self, workflow: W, input: W::Input) -> Start<W::Output> {
        let name = workflow.name();
        let input = Payload::encode(&format!("input of workflow `{name}`"), &input);
        let run_id = dacapo_runtime::Client::new_run_id();
        let request = StartWorkflow::new(
            run_id,
            WorkflowId::new(run_id.to_string()),
            WorkflowType::new(name),
            self.task_queue.clone(),
            Payload::null(),
        );
        Start::new(self.inner.clone(), request, input)
    }

    /// Gives a handle on the newest run of a workflow id, whoever started it. Nothing is asked of the database.
    pub fn handle<Marker, W: NamedWorkflow<Marker>>(
        &self,
        workflow: W,
        workflow_id: impl Into<WorkflowId>,
    ) -> WorkflowHandle<W::Output> {
        WorkflowHandle::new(self.inner.clone(), WorkflowExecution::newest(workflow_id), workflow.name())
    }

    /// Gives a handle on one run.
    pub fn handle_of_run<Marker, W: NamedWorkflow<Marker>>(
        &self,
        workflow: W,
        workflow_id: impl Into<WorkflowId>,
        run_id: RunId,
    ) -> WorkflowHandle<W::Output> {
        WorkflowHandle::new(self.inner.clone(), WorkflowExecution::run(workflow_id, run_id), workflow.name())
    }
}

impl From<dacapo_runtime::Client> for Client {
    fn from(inner: dacapo_runtime::Client) -> Self {
        Self { inner, task_queue: TaskQueue::new(DEFAULT_TASK_QUEUE) }
    }
}
