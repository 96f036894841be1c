//! The main job as a whole: the orchestration with the local provider, over real documents, without an engine.

mod paths;
mod properties;
mod support;
mod tasks;
