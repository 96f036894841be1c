//! Dacapo's SDK: contexts, durable futures, deterministic executor, replay, activity runner.

mod activities;
mod activity_context;
mod client;
mod context;
pub mod define;
pub mod errors;
mod executor;
mod futures;
mod registry;
mod replayer;
mod state;
pub mod testing;
mod worker;

#[doc(hidden)]
pub use define::private as __private;

pub use activities::Activities;
pub use activity_context::ActivityContext;
pub use client::{Client, ResultError, Start, WorkflowHandle};
pub use context::{WorkflowContext, WorkflowInfo};
pub use dacapo_macros::{activities, data, join, select, try_join, workflow};
pub use errors::{ActivityError, ActivityFailure, WorkflowError};
pub use executor::WorkflowExecutors;
pub use futures::{ActivityCall, Cancelled, Receive, Shielded, Sleep};
pub use registry::{Parts, Registry};
pub use replayer::{Divergence, ReplayError, Replayed, ReplayedRun, Replayer, history_to_json};
pub use worker::{DEFAULT_TASK_QUEUE, Worker};
