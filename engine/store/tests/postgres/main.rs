//! The store against a real Postgres, a database for each test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, also in a function beside it")]

mod activities;
mod claims;
mod common;
mod fleet;
mod handed;
mod hints;
mod lists;
mod lock_order;
mod lone;
mod lost_answers;
mod restart;
mod schema;
mod starts;
mod steps;
mod stress;
mod timers;
mod verify;
mod writes;
