//! Dacapo over HTTP: metrics and health.
