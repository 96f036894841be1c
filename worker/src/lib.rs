//! Dacapo's SDK: contexts, durable futures, deterministic executor, replay, activity runner.

mod activities;
mod activity_context;
mod context;
pub mod define;
pub mod errors;
mod executor;
mod futures;
mod state;

#[doc(hidden)]
pub use define::private as __private;

pub use activities::Activities;
pub use activity_context::ActivityContext;
pub use context::{WorkflowContext, WorkflowInfo};
pub use dacapo_macros::{activities, data, join, select, try_join, workflow};
pub use errors::{ActivityError, ActivityFailure, WorkflowError};
pub use executor::WorkflowExecutors;
pub use futures::{ActivityCall, Cancelled, Receive, Shielded, Sleep};
