//! The actors: everyone who sends statements, what they remember, and what they conclude from answers and from their loss.

mod keeper;
mod process;
mod recovery;
mod sender;
mod specialist;
mod starter;
mod terminator;
mod workflow;

pub(crate) use keeper::Keeper;
pub(crate) use process::{Process, ProcessMove};
pub(crate) use sender::{Courier, Sender};
pub(crate) use specialist::{Specialist, SpecialistMove};
pub(crate) use starter::{Returner, Starter};
pub(crate) use terminator::Terminator;
