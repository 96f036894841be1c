//! Dacapo's SDK: contexts, durable futures, deterministic executor, replay, activity runner.

mod activity_context;
mod context;
pub mod define;
pub mod errors;

#[doc(hidden)]
pub use define::private as __private;

pub use activity_context::ActivityContext;
pub use context::WorkflowContext;
pub use dacapo_macros::{activities, data, join, select, try_join, workflow};
pub use errors::{ActivityError, ActivityFailure, WorkflowError};
