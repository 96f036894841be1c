//! Dacapo's runtime: owns runs, from claim to commit, and the in-memory store.

pub mod executor;

pub use executor::{
    Activated, Activation, ActivityControl, ActivityFuture, ActivityRunner, Executor, ExecutorFactory, Heartbeat,
};
