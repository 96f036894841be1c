//! Workflows that ship with Dacapo: teams of agents.
//!
//! What decides is plain functions over plain data, tested without an engine; the orchestrating functions are generic over the
//! activities they call, and are made durable by the worker that instantiates them. No clock, no randomness, no unordered map: what
//! runs here is replayed.

pub mod multi_agent_task;

use std::sync::Arc;

use dacapo_activities::{local::LocalExtractive, team::Team};
use dacapo_runtime::Engine;
use dacapo_worker::Registry;

/// The built-in workflows with their activities, over the documents in the engine's store.
pub fn registry(engine: &Engine) -> Registry {
    let team = Team::new(Arc::new(LocalExtractive::default()), Arc::clone(engine.store()));
    Registry::new().workflow(multi_agent_task::multi_agent_task).activities(team)
}
