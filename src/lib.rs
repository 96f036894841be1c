//! Durable workflows as ordinary async Rust, on nothing but Postgres.
//!
//! A workflow is an `async fn` whose progress survives the death of every process: its history is its only state. A
//! library user needs this crate and a Postgres; the features add
//!
//! - `dev`: a private Postgres for development and examples;
//! - `cli`: the command line as a library (`dacapo::cli`), with private Postgres, metrics and health; it includes
//!   `server`;
//! - `server`: metrics and health over HTTP, for processes with a `main` of their own;
//! - `builtin`: the built-in agent workflows and their activities;
//! - `full`: everything, as the `dacapo` binary has it.
//!
//! The engine is in crates of its own, which this one only brings together; `docs/architecture.md` says how.

extern crate self as dacapo;

#[cfg(feature = "cli")]
mod bench;
#[cfg(feature = "builtin")]
pub mod builtin;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "dev")]
pub mod dev;
#[cfg(feature = "cli")]
pub mod logging;
pub mod prelude;
pub mod transactions;

#[cfg(feature = "cli")]
pub use cli::{cli, cli_with};
pub use dacapo_core as core;
pub use dacapo_runtime::{
    self as runtime, ClientError, Engine, WorkerError, WorkerOptions, WorkerProcess, WorkerState, WorkflowExecution,
};
#[cfg(feature = "server")]
pub use dacapo_server as server;
pub use dacapo_store::{PgStore, PgStoreOptions};
#[doc(hidden)]
pub use dacapo_worker::__private;
pub use dacapo_worker::*;
#[cfg(feature = "builtin")]
pub use dacapo_workflows as workflows;
/// The sqlx whose transactions [`transactions`] takes.
pub use sqlx;

/// The code of the README, compiled.
#[cfg(all(doctest, feature = "dev"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the code of the pages for users, and runs it.
#[cfg(doctest)]
mod pages {
    macro_rules! pages {
        ($($name:ident: $page:literal),+ $(,)?) => { $(#[doc = include_str!($page)] struct $name;)+ };
    }
    pages! {
        Branches: "../docs/guide-branches.md",
        Cancellation: "../docs/guide-cancellation.md",
        Composition: "../docs/guide-composition.md",
        DeadLetters: "../docs/dead-letters.md",
        Determinism: "../docs/determinism.md",
        Errors: "../docs/guide-errors.md",
        ListFilters: "../docs/list-filters.md",
        Messages: "../docs/guide-messages.md",
        Operating: "../docs/guide-operating.md",
        Testing: "../docs/testing.md",
        Transactions: "../docs/transactions.md",
        Versioning: "../docs/guide-versioning.md",
        Workflows: "../docs/guide-workflows.md",
    }
}
