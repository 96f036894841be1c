//! Activities of the built-in workflows: reading documents, and the work of a team of agents over them.
//!
//! - [`documents`] turns bytes into text with sentences, sections and table cells whose byte offsets are kept.
//! - [`model`] is what a team's activities take and give, the same for every provider.
//! - [`provider`] is the trait that a provider implements; [`local`] is the one that needs no key and no network.
//!
//! - [`team`] makes durable activities of a provider.
//!
//! All but `team` are functions of their arguments: no clock, no randomness, no environment, no network.

pub mod documents;
pub mod local;
pub mod model;
pub mod provider;
pub mod team;
