//! Testing workflows: the engine in one process, time that moves by itself, fakes for activities and children, and a replay of
//! everything that ran.
//!
//! ```
//! # extern crate dacapo_worker as dacapo;
//! use std::time::Duration;
//!
//! use dacapo::{WorkflowContext, WorkflowError, testing::TestEnv, workflow};
//!
//! #[workflow]
//! async fn reminder(ctx: WorkflowContext) -> Result<String, WorkflowError> {
//!     ctx.sleep(Duration::from_secs(30 * 24 * 3600)).await?;
//!     Ok("a month later".to_owned())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let env = TestEnv::in_memory().workflow(reminder).start().await;
//! let run = env.start(reminder, ()).await.unwrap();
//! assert_eq!(run.result().await.unwrap(), "a month later");
//! env.finish().await;
//! # }
//! ```
//!
//! The engine is the one that runs in production; only its store is in memory and its clock a virtual one. Time stands
//! still while anything can happen: while workflow code runs, while an activity runs that does not wait for the
//! engine's clock, while a message is on its way. It moves on to the next moment at which something is due as soon as
//! the test waits for something ([`WorkflowHandle::result`](crate::WorkflowHandle::result), [`TestEnv::sleep`],
//! [`TestEnv::until`]) and nothing else can happen. What the engine has to do at a moment comes before what the test
//! does at it.
//!
//! When a test is over every history is replayed, from scratch and at every prefix, and a difference fails the test.

mod activities;
mod checks;
mod children;
mod driver;
mod env;
mod schedule;
mod setup;

pub use self::{
    checks::Checked,
    children::FakeChild,
    env::{At, TestEnv},
    setup::TestSetup,
};
