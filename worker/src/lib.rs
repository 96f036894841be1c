//! Dacapo's SDK: contexts, durable futures, deterministic executor, replay, activity runner.
