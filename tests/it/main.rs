//! Integration tests of the whole: one binary, so that everything is linked once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, with the place")]

mod allocator;
mod bad_input;
mod behaviour;
mod bench;
mod chains;
mod contract;
mod database;
mod figures;
mod fleet;
mod histories;
mod links;
mod main_job;
mod programs;
mod reference;
mod replay_gate;
mod take_over;
mod test_env;
mod transactions;
mod tutorial;
mod verbs;
mod write_path;
