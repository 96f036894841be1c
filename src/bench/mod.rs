//! `dacapo bench`: what an engine carries, measured as its users will meet it.
//!
//! Client and workers are separate processes unless told otherwise; the load is closed: so many workflows in flight, each
//! followed by the next, and what completes in the window after the warm-up counts. Figures of processes come from the
//! operating system, so that whatever the machine spends is seen.

mod cpu;
mod load;
mod report;
mod workers;
mod workflows;

use std::{sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use dacapo_core::Store;
use dacapo_runtime::Engine;

pub(crate) use report::Report;
pub(crate) use workers::start_inside;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Workflows of one activity
    Noop,
    /// Workflows of ten activities, one after the other
    Sequence,
    /// Workflows of a hundred activities at once, joined
    Fanout,
    /// One workflow of one activity at a time, from start to result
    Latency,
}

impl Scenario {
    /// Every scenario, in the order of `all`.
    const ALL: [Self; 4] = [Self::Noop, Self::Sequence, Self::Fanout, Self::Latency];

    fn name(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Sequence => "sequence",
            Self::Fanout => "fanout",
            Self::Latency => "latency",
        }
    }

    fn workflow_type(self) -> &'static str {
        match self {
            Self::Noop | Self::Latency => "bench.noop",
            Self::Sequence => "bench.sequence",
            Self::Fanout => "bench.fanout",
        }
    }

    fn activities(self) -> u64 {
        match self {
            Self::Noop | Self::Latency => 1,
            Self::Sequence => workflows::SEQUENCE,
            Self::Fanout => workflows::FANOUT,
        }
    }

    /// Workflows in flight when none are given: enough for full flushes, few enough for the result to come soon.
    fn in_flight(self) -> usize {
        match self {
            Self::Noop => 2_000,
            Self::Sequence => 1_000,
            Self::Fanout => 50,
            Self::Latency => 1,
        }
    }
}

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchOptions {
    /// What to measure; all of it without a name
    #[arg(value_enum)]
    pub(crate) scenarios: Vec<Scenario>,
    /// Run the workers inside the client's process
    #[arg(long)]
    pub(crate) in_process: bool,
    /// Worker processes
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) workers: usize,
    /// Threads for workflow code in each worker process
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) workflow_threads: usize,
    /// Workflows in flight
    #[arg(long, value_name = "N")]
    pub(crate) in_flight: Option<usize>,
    /// Bytes of each input, activity input and result
    #[arg(long, default_value_t = 200, value_name = "BYTES")]
    pub(crate) payload: usize,
    /// Seconds that count
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    pub(crate) duration: f64,
    /// Seconds before that
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub(crate) warm_up: f64,
}

impl BenchOptions {
    fn scenarios(&self) -> &[Scenario] {
        if self.scenarios.is_empty() { &Scenario::ALL } else { &self.scenarios }
    }
}

/// Where to measure.
pub(crate) struct Database {
    /// The store of this process.
    pub(crate) store: Arc<dyn Store>,
    /// The URL that worker processes are given.
    pub(crate) url: String,
    /// The server's process, when it is on this machine and known.
    pub(crate) server_pid: Option<u32>,
}

/// Measures every scenario asked for, one after the other; `tell` hears of progress.
pub(crate) async fn run(
    database: &Database,
    options: &BenchOptions,
    tell: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Vec<Report>> {
    let mut reports = Vec::new();
    for scenario in options.scenarios() {
        tell(&format!("{}: starting workers", scenario.name()));
        let engine = Engine::new(Arc::clone(&database.store)).await?;
        let queue = format!("bench-{}-{}", scenario.name(), uuid::Uuid::now_v7().simple());
        let workers = workers::Workers::start(database, options, &engine, &queue).await?;
        tell(&format!("{}: {} s of warm-up, then {} s that count", scenario.name(), options.warm_up, options.duration));
        let measured = load::apply(database, options, *scenario, &engine, &workers, &queue).await;
        let stopped = workers.stop().await;
        reports.push(Report::new(*scenario, options, measured?));
        stopped?;
    }
    Ok(reports)
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
