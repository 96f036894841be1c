//! Why a call of the client did not do what it was asked.

use std::time::Duration;

use dacapo_core::{
    Failure, RunId, TaskQueue, WorkflowId, branch::InvalidBranch, filter::FilterError, payload::PayloadError,
    start::InvalidStart, store::StoreError,
};

/// Why a call of the client did not do what it was asked; each says what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The request can never work.
    #[error("{problem}")]
    Invalid {
        /// What is wrong, and the way out.
        problem: String,
    },
    /// There is no such run.
    #[error(
        "no workflow `{workflow_id}`{} in namespace `{namespace}`: list what is there with `dacapo ls`",
        of_run(*run_id)
    )]
    NotFound {
        /// The namespace that was searched.
        namespace: String,
        /// The workflow id that was asked for.
        workflow_id: WorkflowId,
        /// The run that was asked for, if one was.
        run_id: Option<RunId>,
    },
    /// A run with the workflow id is open.
    #[error(
        "workflow `{workflow_id}` is open already, as run {run_id}: choose another id, wait for it, or set the \
         conflict policy to use or to terminate the open run"
    )]
    AlreadyOpen {
        /// The workflow id.
        workflow_id: WorkflowId,
        /// The open run.
        run_id: RunId,
    },
    /// The reuse policy of the start forbids the workflow id after its last run.
    #[error(
        "workflow id `{workflow_id}` was used by run {run_id} and the reuse policy forbids another run: choose another \
         id or policy"
    )]
    ReuseRefused {
        /// The workflow id.
        workflow_id: WorkflowId,
        /// The closed run.
        run_id: RunId,
    },
    /// The run is closed, so that it takes no messages.
    #[error("workflow `{workflow_id}` is closed (run {run_id}): nothing was sent; start it again to go on")]
    NotOpen {
        /// The workflow id.
        workflow_id: WorkflowId,
        /// The closed run.
        run_id: RunId,
    },
    /// A run's history cannot be branched as asked.
    #[error("run {run_id} of workflow `{workflow_id}` cannot be branched: {problem}")]
    Branch {
        /// The workflow id.
        workflow_id: WorkflowId,
        /// The run.
        run_id: RunId,
        /// What is in the way, and the way out.
        problem: Box<InvalidBranch>,
    },
    /// A run was to be reset, and another run of its workflow id is open.
    #[error(
        "workflow `{workflow_id}` has moved on from run {run_id}: run {open_run_id} is open; reset that one, or terminate \
         it first"
    )]
    MovedOn {
        /// The workflow id.
        workflow_id: WorkflowId,
        /// The run that was to be reset.
        run_id: RunId,
        /// The open run.
        open_run_id: RunId,
    },
    /// The run has received as many signals as a run may.
    #[error(
        "workflow `{workflow_id}` has received {} signals, the most that a run takes: carry the rest in fewer, larger \
         signals, or begin a new run",
        dacapo_core::limits::SIGNALS_MAX
    )]
    TooManySignals {
        /// The workflow id.
        workflow_id: WorkflowId,
    },
    /// The workflow has not published a value of that name.
    #[error("workflow `{workflow_id}` has published no value `{name}`; {}", names(published))]
    NotPublished {
        /// The workflow id.
        workflow_id: WorkflowId,
        /// The value that was asked for.
        name: String,
        /// The values that it has published.
        published: Vec<String>,
    },
    /// The workflow's code refused an update.
    #[error("workflow `{workflow_id}` refused update `{update_id}`: {}", failure.message)]
    UpdateRejected {
        /// The workflow id.
        workflow_id: WorkflowId,
        /// The update.
        update_id: String,
        /// Why.
        failure: Box<Failure>,
    },
    /// The run closed before an update ended.
    #[error("workflow `{workflow_id}` did not end update `{update_id}`: {}", failure.message)]
    UpdateAborted {
        /// The workflow id.
        workflow_id: WorkflowId,
        /// The update.
        update_id: String,
        /// How far it had come.
        failure: Box<Failure>,
    },
    /// The workflow's code has no such query at this point of its life.
    #[error("workflow `{workflow_id}` has no query `{name}`; {}", queries(known))]
    QueryUnknown {
        /// The workflow id.
        workflow_id: WorkflowId,
        /// The query.
        name: String,
        /// The queries that it has.
        known: Vec<String>,
    },
    /// The workflow's code could not answer.
    #[error("workflow `{workflow_id}` could not answer query `{name}`: {}", failure.message)]
    QueryFailed {
        /// The workflow id.
        workflow_id: WorkflowId,
        /// The query.
        name: String,
        /// Why.
        failure: Box<Failure>,
    },
    /// Nobody answered in time.
    #[error(
        "nobody answered query `{name}` of workflow `{workflow_id}` within {} ms: see whether a live worker serves the queue \
         `{task_queue}` (`dacapo workers`) and what the workflow waits for (`dacapo describe {workflow_id}`)",
        waited_for.as_millis()
    )]
    QueryTimedOut {
        /// The workflow id.
        workflow_id: WorkflowId,
        /// The query.
        name: String,
        /// The queue of the run.
        task_queue: TaskQueue,
        /// How long the caller waited.
        waited_for: Duration,
    },
    /// The database did not answer for the whole time that the client tries.
    #[error(
        "the database has not answered for {} s: {problem}; whether the call took effect is not known, repeating it \
         with the same ids is safe",
        tried_for.as_secs()
    )]
    Unavailable {
        /// What it said last.
        problem: String,
        /// How long the client tried.
        tried_for: Duration,
    },
    /// In a test with virtual time: nothing that can still happen would end the wait.
    #[error("{problem}")]
    Stuck {
        /// What the run waits for, and what would help.
        problem: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<InvalidStart> for ClientError {
    fn from(error: InvalidStart) -> Self {
        Self::Invalid { problem: error.to_string() }
    }
}

impl From<FilterError> for ClientError {
    fn from(error: FilterError) -> Self {
        Self::Invalid { problem: error.to_string() }
    }
}

impl From<PayloadError> for ClientError {
    fn from(error: PayloadError) -> Self {
        Self::Invalid { problem: error.to_string() }
    }
}

fn of_run(run_id: Option<RunId>) -> String {
    run_id.map(|run_id| format!(" with run {run_id}")).unwrap_or_default()
}

fn queries(known: &[String]) -> String {
    if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) }
}

fn names(published: &[String]) -> String {
    if published.is_empty() { "it has published none".to_owned() } else { format!("it has {}", published.join(", ")) }
}
