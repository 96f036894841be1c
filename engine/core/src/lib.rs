//! The rules of Dacapo, pure.
//!
//! A run is the fold of its history ([`Run`]); a decision takes a run, an input and the time, and returns the events,
//! rows and effects to make true ([`Transition`]). Nothing here reads a clock, draws a random number, logs or does I/O:
//! `now` and ids come in as arguments. The one asynchronous thing is the [`store::Store`] trait, which says what the
//! rest of the engine may ask of a store; it has a file of its own and no implementation here.

pub mod activity;
pub mod apply;
pub mod batch;
pub mod branch;
pub mod child;
pub mod command;
pub mod event;
pub mod failure;
pub mod filter;
pub mod ids;
pub mod limits;
pub mod lineage;
pub mod marker;
pub mod message;
pub mod outbox;
pub mod payload;
pub mod query;
pub mod retry;
pub mod run;
pub mod run_hash;
pub mod start;
pub mod store;
pub mod time;
pub mod transition;
pub mod update;

pub use activity::{ActivityOptions, ActivityOutcome, ActivityResult, ActivityToken, CancellationType};
pub use child::{ChildCancellationType, ChildWorkflowOptions, ParentClosePolicy};
pub use command::Command;
pub use event::{Event, EventKind};
pub use failure::{Failure, FailureKind, RetryState, TimeoutType};
pub use ids::{
    ActivityId, ActivityType, MessageId, Namespace, RunId, RunKey, Shard, TaskQueue, TimerId, WorkerId, WorkflowId,
    WorkflowType,
};
pub use lineage::Lineage;
pub use marker::Marker;
pub use message::{Message, MessageBody};
pub use outbox::OutboxRow;
pub use payload::Payload;
pub use retry::RetryPolicy;
pub use run::{Run, RunStatus};
pub use start::{IdConflictPolicy, IdReusePolicy, StartWorkflow};
pub use store::Store;
pub use time::Timestamp;
pub use transition::Transition;
pub use update::{UpdateOutcome, UpdateRequest};
