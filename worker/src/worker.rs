//! A worker: one process of the fleet, or a part of a process that does other things too.

use std::time::Duration;

use dacapo_core::{Namespace, TaskQueue};
use dacapo_runtime::{Engine, WorkerError, WorkerOptions, WorkerProcess, WorkerState};

use crate::{
    define::{ActivitiesHost, WorkflowFn},
    registry::Registry,
};

/// The queue of workers and starts that name none.
pub const DEFAULT_TASK_QUEUE: &str = "default";

/// Sets up a worker.
///
/// ```no_run
/// # use dacapo_worker::{Worker, WorkflowContext, WorkflowError, workflow};
/// # extern crate dacapo_worker as dacapo;
/// #[workflow]
/// async fn hello(_ctx: WorkflowContext, name: String) -> Result<String, WorkflowError> {
///     Ok(format!("hello {name}"))
/// }
///
/// # async fn example(engine: dacapo_runtime::Engine) -> Result<(), dacapo_runtime::WorkerError> {
/// Worker::new(&engine).task_queue("greetings").workflow(hello).run(tokio::signal::ctrl_c()).await
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a worker does nothing until it is run or started"]
pub struct Worker {
    engine: Engine,
    registry: Registry,
    options: WorkerOptions,
}

impl Worker {
    /// Begins to set up a worker on an engine.
    pub fn new(engine: &Engine) -> Self {
        Self { engine: engine.clone(), registry: Registry::new(), options: WorkerOptions::default() }
    }

    /// Serves a task queue; may be said several times. Without any, the queue is [`DEFAULT_TASK_QUEUE`].
    pub fn task_queue(mut self, queue: impl Into<TaskQueue>) -> Self {
        self.options.queues.push(queue.into());
        self
    }

    /// Serves a workflow: a function with `#[workflow]`.
    pub fn workflow<Marker, W: WorkflowFn<Marker>>(mut self, workflow: W) -> Self {
        self.registry = self.registry.workflow(workflow);
        self
    }

    /// Serves all activities of a host: a value of a type with `#[activities]`.
    pub fn activities(mut self, host: impl ActivitiesHost) -> Self {
        self.registry = self.registry.activities(host);
        self
    }

    /// Serves what a registry holds, in place of what was said before.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Serves another namespace than `default`.
    pub fn namespace(mut self, namespace: impl Into<Namespace>) -> Self {
        self.options.namespace = namespace.into();
        self
    }

    /// Sets the name of the process, for people; host and process id when not said.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.options.identity = identity.into();
        self
    }

    /// Sets the build of the code, which histories show.
    pub fn build_id(mut self, build_id: impl Into<String>) -> Self {
        self.options.build_id = Some(build_id.into());
        self
    }

    /// Sets how many activities run at once.
    pub fn concurrent_activities(mut self, activities: usize) -> Self {
        self.options.concurrent_activities = activities;
        self
    }

    /// Sets how many runs are kept in memory.
    pub fn cached_runs(mut self, runs: usize) -> Self {
        self.options.cached_runs = runs;
        self
    }

    /// Sets how many threads run workflow code.
    pub fn workflow_threads(mut self, threads: usize) -> Self {
        self.options.workflow_threads = threads;
        self
    }

    /// Sets how long running activities may go on after the worker was told to stop; they hear of it at once.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.options.drain_timeout = timeout;
        self
    }

    /// Changes options that have no setter of their own.
    pub fn configure(mut self, change: impl FnOnce(&mut WorkerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Starts the worker beside whatever the process does; it runs until it is stopped.
    ///
    /// # Errors
    /// [`WorkerError::Invalid`] for impossible options, a name that is registered twice, or nothing to serve.
    pub fn start(mut self) -> Result<WorkerProcess, WorkerError> {
        if self.options.queues.is_empty() {
            self.options.queues.push(TaskQueue::new(DEFAULT_TASK_QUEUE));
        }
        if self.registry.is_empty() {
            let problem = "nothing is registered: add `.workflow(…)` or `.activities(…)`".to_owned();
            return Err(WorkerError::Invalid { problem });
        }
        let parts = self.registry.parts().map_err(|error| WorkerError::Invalid { problem: error.to_string() })?;
        WorkerProcess::start(&self.engine, self.options, parts.0, parts.1)
    }

    /// Runs the worker until `shutdown` completes, and then until everything is handed back.
    ///
    /// # Errors
    /// As [`Worker::start`], and [`WorkerError`] when it stops by itself.
    ///
    /// # Cancel safety
    /// When the future is dropped the worker is told to stop, and hands everything back in the background.
    pub async fn run(self, shutdown: impl Future) -> Result<(), WorkerError> {
        let mut running = StopOnDrop(Some(self.start()?));
        if let Some(process) = &running.0 {
            let mut state = process.state();
            tokio::select! {
                _ = shutdown => {}
                // Whatever the answer, the process has ended, and says below why.
                _ = state.wait_for(|state| *state == WorkerState::Stopped) => {}
            }
            process.stop();
        }
        match running.0.take() {
            Some(process) => process.stopped().await,
            None => Ok(()),
        }
    }
}

/// A worker that does not outlive whoever waits for it.
struct StopOnDrop(Option<WorkerProcess>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            process.stop();
        }
    }
}
