//! What nearly every workflow file needs: `use dacapo::prelude::*;`.

pub use std::time::Duration;

pub use dacapo_core::RetryPolicy;
pub use dacapo_runtime::Engine;
pub use dacapo_store::{PgStore, PgStoreOptions};
pub use dacapo_worker::{
    ActivityContext, ActivityError, ActivityFailure, Client, Registry, Worker, WorkflowContext, WorkflowError,
    activities,
    define::{Activity, Query, Signal, Update, Workflow},
    join, select, try_join, workflow,
};
