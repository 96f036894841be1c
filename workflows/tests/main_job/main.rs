//! The main job as a whole: the orchestration with the local provider, over real documents, without an engine.

#![expect(clippy::unwrap_used, reason = "a panic is how a test says that something is not as it should be")]

mod paths;
mod properties;
mod support;
mod tasks;
