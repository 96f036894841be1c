//! Activities of the built-in workflows: reading documents, and the work of a team of agents over them.
//!
//! - [`documents`] turns bytes into text with sentences, sections and table cells whose byte offsets are kept.
//! - [`model`] is what a team's activities take and give, the same for every provider.
//! - [`provider`] is the trait that a provider implements; [`local`] is the one that needs no key and no network.
//!
//! Everything here is a function of its arguments: no clock, no randomness, no environment, no network. The wrappers that make
//! durable activities of these functions live with the worker that registers them.

pub mod documents;
pub mod local;
pub mod model;
pub mod provider;
