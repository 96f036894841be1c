//! What a measurement says, for programs and for people.

use serde::Serialize;

use super::{BenchOptions, Scenario, load::Measured};

/// The figures of one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    scenario: &'static str,
    workflows_per_s: f64,
    activities_per_s: f64,
    latency_ms: Latency,
    cpu_us_per_workflow: Cpu,
    peak_memory_bytes: u64,
    config: Config,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Cpu {
    client: f64,
    workers: f64,
    postgres: f64,
}

#[derive(Debug, Serialize)]
struct Config {
    in_process: bool,
    workers: usize,
    workflow_threads: usize,
    in_flight: usize,
    payload_bytes: usize,
    duration_s: f64,
    warm_up_s: f64,
}

impl Report {
    pub(super) fn new(scenario: Scenario, options: &BenchOptions, measured: Measured) -> Self {
        let rate = measured.workflows as f64 / measured.elapsed.as_secs_f64();
        let each = |micros: u64| rounded(micros as f64 / measured.workflows.max(1) as f64, 10.0);
        let percentile = |p: f64| rounded(measured.latency_us.value_at_quantile(p) as f64 / 1_000.0, 1_000.0);
        Self {
            scenario: scenario.name(),
            workflows_per_s: rounded(rate, 10.0),
            activities_per_s: rounded(rate * scenario.activities() as f64, 10.0),
            latency_ms: Latency {
                p50: percentile(0.5),
                p90: percentile(0.9),
                p99: percentile(0.99),
                max: rounded(measured.latency_us.max() as f64 / 1_000.0, 1_000.0),
            },
            cpu_us_per_workflow: Cpu {
                client: each(measured.client_cpu_us),
                workers: each(measured.workers_cpu_us),
                postgres: each(measured.postgres_cpu_us),
            },
            peak_memory_bytes: measured.peak_memory_bytes,
            config: Config {
                in_process: options.in_process,
                workers: if options.in_process { 1 } else { options.workers.max(1) },
                workflow_threads: options.workflow_threads,
                in_flight: options.in_flight.unwrap_or_else(|| scenario.in_flight()),
                payload_bytes: options.payload,
                duration_s: options.duration,
                warm_up_s: options.warm_up,
            },
        }
    }

    /// The heads of the columns of [`Report::row`].
    pub(crate) const HEADS: [&'static str; 8] =
        ["SCENARIO", "WORKFLOWS/S", "ACTIVITIES/S", "P50 MS", "P99 MS", "CLIENT µS", "WORKERS µS", "POSTGRES µS"];

    /// The figures as a row; processor time is for each workflow.
    pub(crate) fn row(&self) -> [String; 8] {
        [
            self.scenario.to_owned(),
            format!("{:.0}", self.workflows_per_s),
            format!("{:.0}", self.activities_per_s),
            format!("{:.2}", self.latency_ms.p50),
            format!("{:.2}", self.latency_ms.p99),
            format!("{:.1}", self.cpu_us_per_workflow.client),
            format!("{:.1}", self.cpu_us_per_workflow.workers),
            format!("{:.1}", self.cpu_us_per_workflow.postgres),
        ]
    }
}

fn rounded(value: f64, to: f64) -> f64 {
    (value * to).round() / to
}
