//! Dacapo's runtime: owns runs, from claim to commit, and the in-memory store.

mod activities;
mod client;
mod clock;
pub mod describe;
mod engine;
pub mod executor;
pub mod memory;
mod options;
mod owner;
mod roles;
mod virtual_time;
mod worker_process;

pub use client::{
    Branched, Client, ClientError, ForkOptions, LocalStarter, PATIENCE, QUERY_TIMEOUT, ResetOptions, Retried,
    SentUpdate, Started, Update, UpdateWait, WorkflowExecution,
};
pub use describe::Description;
pub use engine::{Engine, process_identity};
pub use executor::{
    Activated, Activation, ActivityControl, ActivityFuture, ActivityRunner, ClaimedAttempt, Executor, ExecutorFactory,
    Heartbeat, LocalActivities, LocalActivityEnded, LocalActivityTask, Queried, QueryActivation,
};
pub use memory::MemoryStore;
pub use options::WorkerOptions;
pub use virtual_time::VirtualTime;
pub use worker_process::{WorkerError, WorkerProcess, WorkerState};
