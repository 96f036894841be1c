//! What a measurement says, for programs and for people.

use std::{collections::BTreeMap, time::Duration};

use dacapo_store::Violation;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;

use super::{
    floor::Floor,
    options::{BenchOptions, Plan},
    postgres::Counters,
    samples::{Memory, Sample},
    scenario::Scenario,
    stage::Spent,
};

/// What a scenario measured itself.
#[derive(Debug)]
pub(super) struct Figures {
    /// Workflows that completed in the window.
    pub(super) workflows: u64,
    /// Their activities.
    pub(super) activities: u64,
    /// The length of the window.
    pub(super) elapsed: Duration,
    pub(super) spent: Spent,
    pub(super) latency: Option<Latency>,
    /// Workflows of the whole scenario, whose counts Postgres knows.
    pub(super) all_workflows: u64,
    pub(super) peak_memory: Memory,
    pub(super) samples: Vec<Sample>,
    /// What only this scenario has.
    pub(super) own: Option<Value>,
}

impl Figures {
    /// Begins with what every scenario has.
    pub(super) fn new(workflows: u64, spent: Spent, elapsed: Duration) -> Self {
        Self {
            workflows,
            activities: 0,
            elapsed,
            spent,
            latency: None,
            all_workflows: workflows,
            peak_memory: Memory::default(),
            samples: Vec::new(),
            own: None,
        }
    }

    /// Workflows a second.
    pub(super) fn workflows_per_s(&self) -> f64 {
        rounded(self.workflows as f64 / self.elapsed.as_secs_f64(), 10.0)
    }
}

/// What Postgres and the checks say of a scenario.
#[derive(Debug)]
pub(super) struct Afterwards {
    pub(super) counters: Counters,
    pub(super) floor: Option<Floor>,
    pub(super) verify: Verify,
    /// Settings of the server, by their names.
    pub(super) server: BTreeMap<String, String>,
}

/// What `db verify` found after the scenario.
#[derive(Debug, Serialize)]
pub(super) struct Verify {
    pub(super) seconds: f64,
    pub(super) violations: Vec<String>,
}

impl Verify {
    /// Takes what was found, and how long it took.
    pub(super) fn new(found: &[Violation], took: Duration) -> Self {
        let line =
            |Violation { invariant, name, detail }: &Violation| format!("invariant {invariant}, {name}: {detail}");
        Self { seconds: rounded(took.as_secs_f64(), 1_000.0), violations: found.iter().map(line).collect() }
    }
}

/// The figures of one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    scenario: &'static str,
    workflows_per_s: f64,
    activities_per_s: f64,
    latency_ms: Option<Latency>,
    cpu_us_per_workflow: Cpu,
    commits_per_workflow: f64,
    /// Nothing where the server does not count them.
    statements_per_workflow: Option<f64>,
    wal_bytes_per_workflow: f64,
    rows_per_workflow: f64,
    history_rows_per_workflow: f64,
    queued_per_workflow: f64,
    queued_activities_per_workflow: f64,
    peak_memory_bytes: Memory,
    floor: Option<Floor>,
    share_of_floor: Option<f64>,
    #[serde(flatten)]
    own: Own,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    samples: Vec<Sample>,
    workflows: u64,
    window_s: f64,
    verify: Verify,
    config: Config,
}

/// What only one scenario has, under its name.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
struct Own(serde_json::Map<String, Value>);

/// Percentiles of latencies in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Latency {
    p50: f64,
    p90: f64,
    pub(super) p99: f64,
    p999: f64,
    max: f64,
}

impl Latency {
    /// Reads them from a histogram of microseconds; nothing from an empty one.
    pub(super) fn of(micros: &Histogram<u64>) -> Option<Self> {
        let ms = |us: u64| rounded(us as f64 / 1_000.0, 1_000.0);
        let percentile = |p: f64| ms(micros.value_at_quantile(p));
        (!micros.is_empty()).then(|| Self {
            p50: percentile(0.5),
            p90: percentile(0.9),
            p99: percentile(0.99),
            p999: percentile(0.999),
            max: ms(micros.max()),
        })
    }
}

/// Processor time of the window for each workflow; nothing where none completed in it.
#[derive(Debug, Serialize)]
struct Cpu {
    client: Option<f64>,
    workers: Option<f64>,
    /// Nothing, too, where the server is elsewhere.
    postgres: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Config {
    version: &'static str,
    in_process: bool,
    apart: bool,
    workers: usize,
    workflow_threads: usize,
    in_flight: Option<usize>,
    rate: Option<f64>,
    count: Option<u64>,
    payload_bytes: Option<usize>,
    duration_s: Option<f64>,
    warm_up_s: f64,
    sample_s: Option<f64>,
    cores: usize,
    postgres: BTreeMap<String, String>,
}

impl Report {
    /// Brings together what was measured.
    pub(super) fn new(plan: &Plan, options: &BenchOptions, figures: Figures, after: Afterwards) -> Self {
        let completed = figures.workflows as f64;
        let each = |micros: u64| (figures.workflows > 0).then(|| rounded(micros as f64 / completed, 10.0));
        let counted = |count: u64| rounded(count as f64 / figures.all_workflows.max(1) as f64, 1_000.0);
        let workflows_per_s = figures.workflows_per_s();
        let serial = plan.in_flight == 1 && options.rate.is_none();
        // Elsewhere the histories were written before the window, or by something other than workflows from start to end.
        let share_of_floor = after.floor.as_ref().filter(|_| plan.scenario.flows()).map(|floor| {
            let share = match &figures.latency {
                // One at a time waits for the disk, and not for rows.
                Some(latency) if serial => floor.latency_ms() / latency.p50,
                _ => workflows_per_s / floor.workflows_per_s(),
            };
            rounded(share, 1_000.0)
        });
        let mut own = Own::default();
        own.0.extend(figures.own.map(|own| (plan.scenario.name().to_owned(), own)));
        Self {
            scenario: plan.scenario.name(),
            workflows_per_s,
            activities_per_s: rounded(figures.activities as f64 / figures.elapsed.as_secs_f64(), 10.0),
            latency_ms: figures.latency,
            cpu_us_per_workflow: Cpu {
                client: each(figures.spent.client),
                workers: each(figures.spent.workers.iter().sum()),
                postgres: figures.spent.postgres.and_then(each),
            },
            commits_per_workflow: counted(after.counters.commits),
            statements_per_workflow: after.counters.statements.map(counted),
            wal_bytes_per_workflow: counted(after.counters.wal_bytes),
            rows_per_workflow: counted(after.counters.rows),
            history_rows_per_workflow: counted(after.counters.history_rows),
            queued_per_workflow: counted(after.counters.queued),
            queued_activities_per_workflow: counted(after.counters.queued_activities),
            peak_memory_bytes: figures.peak_memory,
            floor: after.floor,
            share_of_floor,
            own,
            samples: figures.samples,
            workflows: figures.all_workflows,
            window_s: rounded(figures.elapsed.as_secs_f64(), 1_000.0),
            verify: after.verify,
            config: config(plan, options, after.server),
        }
    }

    /// What `db verify` found, a line each.
    pub(crate) fn violations(&self) -> &[String] {
        &self.verify.violations
    }

    /// The heads of the columns of [`Report::row`].
    pub(crate) const HEADS: [&'static str; 13] = [
        "SCENARIO",
        "WORKFLOWS/S",
        "ACTIVITIES/S",
        "P50 MS",
        "P99 MS",
        "P99.9 MS",
        "CLIENT µS",
        "WORKERS µS",
        "POSTGRES µS",
        "COMMITS",
        "ROWS",
        "WAL BYTES",
        "OF FLOOR",
    ];

    /// The figures as a row; processor time, commits, rows and WAL are for each workflow.
    pub(crate) fn row(&self) -> [String; 13] {
        let latency = |of: fn(&Latency) -> f64| {
            self.latency_ms.as_ref().map_or_else(|| "-".to_owned(), |latency| format!("{:.2}", of(latency)))
        };
        let cpu = |micros: Option<f64>| micros.map_or_else(|| "-".to_owned(), |micros| format!("{micros:.1}"));
        let Cpu { client, workers, postgres } = self.cpu_us_per_workflow;
        [
            self.scenario.to_owned(),
            format!("{:.0}", self.workflows_per_s),
            format!("{:.0}", self.activities_per_s),
            latency(|latency| latency.p50),
            latency(|latency| latency.p99),
            latency(|latency| latency.p999),
            cpu(client),
            cpu(workers),
            cpu(postgres),
            format!("{:.3}", self.commits_per_workflow),
            format!("{:.2}", self.rows_per_workflow),
            format!("{:.0}", self.wal_bytes_per_workflow),
            self.share_of_floor.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0)),
        ]
    }

    /// What does not fit in a row: the floor, memory, and what only this scenario has, as names and values.
    pub(crate) fn details(&self) -> Vec<[String; 3]> {
        let mut lines = Vec::new();
        if let Some(floor) = &self.floor {
            lines.push(("floor.rows_per_s".to_owned(), floor.rows_per_s.to_string()));
            lines.push(("floor.commits_per_s".to_owned(), floor.commits_per_s.to_string()));
            lines.push(("floor.fsync_ms".to_owned(), floor.fsync_ms.to_string()));
        }
        lines.push(("peak_memory_mb".to_owned(), format!("{:.1}", self.peak_memory_bytes.most() as f64 / 1_048_576.0)));
        for (name, value) in &self.own.0 {
            flatten(name, value, &mut lines);
        }
        lines.into_iter().map(|(name, value)| [self.scenario.to_owned(), name, value]).collect()
    }
}

fn config(plan: &Plan, options: &BenchOptions, postgres: BTreeMap<String, String>) -> Config {
    Config {
        version: env!("CARGO_PKG_VERSION"),
        in_process: options.in_process,
        apart: options.apart,
        workers: plan.workers,
        workflow_threads: options.workflow_threads(),
        in_flight: (options.rate.is_none() && plan.scenario.takes_in_flight()).then_some(plan.in_flight),
        rate: options.rate,
        count: plan.count,
        payload_bytes: plan.scenario.takes_payload().then_some(options.payload()),
        duration_s: plan.takes_time().then_some(plan.duration.as_secs_f64()),
        warm_up_s: if plan.count.is_none() && plan.scenario != Scenario::Idle {
            plan.warm_up.as_secs_f64()
        } else {
            0.0
        },
        sample_s: plan.sample.map(|sample| sample.as_secs_f64()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        postgres,
    }
}

/// Writes nested values as lines of dotted names.
fn flatten(name: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| flatten(&format!("{name}.{key}"), value, lines)),
        Value::Null => lines.push((name.to_owned(), "-".to_owned())),
        value => lines.push((name.to_owned(), value.to_string())),
    }
}

/// Rounds to parts of one: 10 for a digit after the point.
pub(super) fn rounded(value: f64, to: f64) -> f64 {
    (value * to).round() / to
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_figures_become_lines() {
        let mut lines = Vec::new();
        flatten("timers", &json!({"timers": 3, "lateness_ms": {"p50": 0.5}, "claim": null}), &mut lines);
        lines.sort();
        let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [line("timers.claim", "-"), line("timers.lateness_ms.p50", "0.5"), line("timers.timers", "3")];
        assert_eq!(lines, expected);
    }
}
