//! A model of Dacapo's ownership protocol, explored exhaustively.
//!
//! The protocol lives on what Postgres promises under READ COMMITTED: a statement has one snapshot, waits for row locks, and looks again
//! only at rows that were *changed*. The model has that at exactly this level (`execution`, `session`), the tables of the protocol
//! (`tables`), its statements (`statement`), the actors that issue them (`actor`), and the promises that must hold in every reachable state
//! (`property`). [stateright](https://docs.rs/stateright) explores every interleaving of small [`Scenario`]s, lost answers, crashes,
//! lapsed leases and all.
//!
//! Each rule of the protocol can be left out ([`Removal`]); the tests show that every promise holds with all the rules, and that each
//! removal breaks one. Four parts of rules turn out to be second lines of defence, which no promise needs (`tests/second_line.rs`).
//!
//! What is deliberately absent: time beyond "a lease has lapsed", bounded batches, hints (they only save time: an owner polls its inbox
//! anyway), the repetition of a flush after error 40P01 (no circle of waits is reachable), the queue in which Postgres serves the waiters of
//! one row, sharding, and the sweeper of rule 17, which has nothing to do as long as the promises hold. `docs/ownership-protocol.md` tells
//! the protocol in words.

mod actor;
mod execution;
mod explore;
mod memory;
mod model;
mod property;
mod rule;
mod scenario;
pub mod scenarios;
mod session;
mod statement;
mod tables;

pub use explore::{Breach, Verdict, explore, explore_without, removal_breaks};
pub use rule::Removal;
pub use scenario::Scenario;
