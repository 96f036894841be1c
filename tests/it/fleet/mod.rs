//! Fleets of real worker processes on a real Postgres: what is killed, stopped, cut off or slow, and what must not be lost.
//!
//! Each test has a database of its own and starts workers by running this very binary again (`worker`). Whatever was
//! acknowledged to a client must end with the right result; what activities really did is in a table of the test's own
//! (`database`), compared with the histories; and every test ends with a clean `verify`.

mod branches;
mod cache;
mod code;
mod database;
mod effect_and_record;
mod handed;
pub(crate) mod harness;
mod in_transaction;
mod kill;
mod local;
mod messages;
mod money;
mod moving_on;
mod postgres;
mod process;
mod remote;
mod stuck;
mod transfers;
mod worker;
mod zombie;
