//! A private Postgres for development and tests, from the binaries installed on the machine.
//!
//! [`Cluster::start`] creates a database cluster in a folder of its own on first use, starts its server on a unix socket
//! that only its owner can reach, and gives URLs for it. Every process that starts the same folder uses the same
//! server; the last one to leave stops it. `fsync` is always on, statements are counted where `pg_stat_statements` is
//! installed, and everything else is at PostgreSQL's default, so what is measured or crashed here behaves like a real
//! installation.
//!
//! Invariants: a server is started or stopped only under the exclusive lock on `lock`; every user holds a shared lock on
//! `users` from before it looks for the server until it leaves; whoever stops the server holds `users` exclusively. The
//! kernel drops the locks of a killed process, so no count can go wrong.
//!
//! Deliberately absent: SQL (databases are created by whoever connects), a TCP port, and Windows. All calls block; async
//! callers use `spawn_blocking`.

mod account;
mod binaries;
mod child;
mod cluster;
mod error;
mod layout;
mod locks;
mod postmaster;
mod watcher;

pub use binaries::Binaries;
pub use cluster::{Cluster, ClusterOptions, StopOutcome};
pub use error::DevPostgresError;
