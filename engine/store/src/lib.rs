//! Dacapo's store on Postgres: the only SQL.
//!
//! [`PgStore`] implements [`dacapo_core::Store`]. What is hot (writes of owned runs, starts, messages, reports of
//! activities) goes through the `committer`, which makes one statement of what many runs want; `docs/write-path.md` says
//! how, and `docs/ownership-protocol.md` which rules every statement keeps. Each other file is one noun with its SQL
//! beside its functions. Nothing here decides what happens to a run: that is `dacapo-core`'s part.

mod activities;
mod blobs;
mod branch;
mod claim;
mod committer;
mod connection;
mod dead_letters;
mod error;
mod filter;
mod fleet;
mod handed;
mod hints;
mod lists;
mod load;
mod outbox;
mod ownership;
mod questions;
mod results;
mod schema;
mod store;
mod sweep;
mod takeover;
mod terminate;
mod time;
mod timers;
mod transactions;
mod updates;
mod vacuum;
mod verify;

pub use connection::PgStoreOptions;
pub use schema::{SchemaStatus, migrate, schema_status};
pub use store::PgStore;
pub use transactions::{EnlistError, ReportError};
pub use verify::Violation;
