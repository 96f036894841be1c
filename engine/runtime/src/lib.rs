//! Dacapo's runtime: owns runs, from claim to commit, and the in-memory store.
