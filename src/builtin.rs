//! The built-in workflows with their activities, ready for a worker.

use std::sync::Arc;

use dacapo_activities::{local::LocalExtractive, team::Team};
use dacapo_runtime::Engine;
use dacapo_worker::Registry;
use dacapo_workflows::multi_agent_task::multi_agent_task;

/// Makes the registry of the `dacapo` binary: the main job with the provider that needs no key and no network, over
/// documents in the engine's store.
pub fn registry(engine: &Engine) -> Registry {
    let team = Team::new(Arc::new(LocalExtractive::default()), Arc::clone(engine.store()));
    Registry::new().workflow(multi_agent_task).activities(team)
}
