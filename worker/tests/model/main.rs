//! The workflow model as code meets it: other runs, successors, notes, scopes, updates and queries. Every run here is
//! replayed at every prefix.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

#[path = "../harness/mod.rs"]
mod harness;

mod branches;
mod children;
mod differences;
mod externals;
mod notes;
mod queries;
mod scopes;
mod spawning;
mod successors;
mod updates;
