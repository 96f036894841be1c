//! Workflows that ship with Dacapo: teams of agents.
//!
//! What decides is plain functions over plain data, tested without an engine; the orchestrating functions are generic over the
//! activities they call, and are made durable by the worker that instantiates them. No clock, no randomness, no unordered map: what
//! runs here is replayed.

pub mod multi_agent_task;
