//! Workflows that ship with Dacapo: teams of agents.
