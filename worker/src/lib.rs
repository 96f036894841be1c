//! Dacapo's SDK: contexts, durable futures, deterministic executor, replay, activity runner.

mod activities;
mod activity_context;
mod client;
mod context;
mod continue_as_new;
pub mod define;
pub mod errors;
mod executor;
mod futures;
mod info;
mod random;
mod registry;
mod replayer;
mod saga;
mod state;
pub mod testing;
mod worker;

#[doc(hidden)]
pub use define::private as __private;

pub use activities::Activities;
pub use activity_context::ActivityContext;
pub use client::{
    ActivityAttempt, CancelCall, Client, ForkCall, ResetCall, ResultError, SignalCall, Start, StartParts,
    StartWithUpdate, UpdateCall, UpdateError, UpdateHandle, WorkflowHandle,
};
pub use context::WorkflowContext;
pub use continue_as_new::ContinueAsNew;
pub use dacapo_core::branch::ResetPoint;
pub use dacapo_macros::{activities, data, join, select, try_join, workflow};
pub use errors::{ActivityError, ActivityFailure, ChildFailure, ExternalFailure, WorkflowError};
pub use executor::WorkflowExecutors;
pub use futures::{
    ActivityCall, CancellationToken, Cancelled, ChildCall, ChildHandle, ChildResult, ChildStart, ExternalCall,
    ExternalWorkflow, JoinHandle, LocalActivityCall, Receive, Requests, Scoped, Shielded, Sleep, UpdateRequest,
};
pub use info::WorkflowInfo;
pub use random::Random;
pub use registry::{Parts, Registry};
pub use replayer::{Divergence, ReplayError, Replayed, ReplayedRun, Replayer, history_to_json};
pub use saga::Saga;
pub use worker::{DEFAULT_TASK_QUEUE, Worker};
