//! What nearly every workflow file needs: `use dacapo::prelude::*;`.

pub use std::time::Duration;

pub use dacapo_core::{ParentClosePolicy, RetryPolicy};
pub use dacapo_runtime::Engine;
pub use dacapo_store::{PgStore, PgStoreOptions};
pub use dacapo_worker::{
    ActivityContext, ActivityError, ActivityFailure, ChildFailure, Client, ExternalFailure, Registry, Saga, Worker,
    WorkflowContext, WorkflowError, activities,
    define::{Activity, Query, SearchAttribute, Signal, Update, Workflow},
    join, select, try_join, workflow,
};

pub use crate::transactions::{InTransaction, Transactional};
