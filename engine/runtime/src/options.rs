//! What a worker process is told when it starts.

use std::{num::NonZeroUsize, time::Duration};

use dacapo_core::{Namespace, TaskQueue, limits};

/// The options of a worker process. Every default is right for a first fleet.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The namespace it serves.
    pub namespace: Namespace,
    /// The queues it serves.
    pub queues: Vec<TaskQueue>,
    /// For people: host and process when empty.
    pub identity: String,
    /// The build of the code.
    pub build_id: Option<String>,
    /// How long the process is believed to live without renewing its lease.
    pub lease: Duration,
    /// The time between renewals.
    pub lease_renewal: Duration,
    /// Runs kept with their workflow state in memory.
    pub cached_runs: usize,
    /// Activities run at once.
    pub concurrent_activities: usize,
    /// Threads that run workflow code.
    pub workflow_threads: usize,
    /// How long running activities may go on after the process was told to stop; they hear of it at once.
    pub drain_timeout: Duration,
    /// The longest a workflow task may run.
    pub workflow_task_timeout: Duration,
}

/// The time for activities to notice that the process stops; with it, runs move on within half a second of SIGTERM.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(150);

/// Threads for workflow code: half of the cores, up to this many. One carries what the database of several cores can write, and each
/// more takes processor time from Postgres and activities (`docs/performance-history.md`).
const WORKFLOW_THREADS_MAX: usize = 4;

impl Default for WorkerOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            namespace: Namespace::default_namespace(),
            queues: Vec::new(),
            identity: String::new(),
            build_id: None,
            lease: limits::LEASE,
            lease_renewal: limits::LEASE_RENEWAL,
            cached_runs: limits::CACHED_RUNS,
            concurrent_activities: limits::CONCURRENT_ACTIVITIES,
            workflow_threads: (cores / 2).clamp(1, WORKFLOW_THREADS_MAX),
            drain_timeout: DRAIN_TIMEOUT,
            workflow_task_timeout: limits::WORKFLOW_TASK_TIMEOUT,
        }
    }
}
