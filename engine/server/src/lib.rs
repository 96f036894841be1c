//! Dacapo over HTTP: metrics and health of a process.
//!
//! [`Recorder`] takes what every crate counts through the `metrics` facade and writes it in Prometheus' text format;
//! [`METRICS`] names all of it, with units and bounded labels, never ids. [`Server`] answers `/metrics`, `/livez` (the
//! process runs) and `/readyz` (it can do its work: the database answers, its lease holds, it is not draining).
//!
//! Deliberately absent: anything that changes a run.

mod http;
mod metrics;

pub use http::{Probe, Server, ServerError};
pub use metrics::{Kind, METRICS, Metric, Recorder, RecorderError};
