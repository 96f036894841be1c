//! Samples over time, for runs of hours: whether anything grows that should not.

use std::{collections::BTreeMap, time::Instant};

use serde::Serialize;

use super::{
    cpu,
    postgres::TableSize,
    report::{Latency, rounded},
    stage::Stage,
    tally::Tally,
};

/// What was seen at one moment, rates and latencies since the moment before.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sample {
    at_s: f64,
    workflows_per_s: f64,
    /// Nothing where no workflow completed.
    latency_ms: Option<Latency>,
    table_bytes: i64,
    index_bytes: i64,
    dead_rows: i64,
    memory_bytes: Memory,
    tables: BTreeMap<String, Sizes>,
}

/// What a table takes.
#[derive(Debug, Clone, Copy, Serialize)]
struct Sizes {
    bytes: i64,
    index_bytes: i64,
    dead_rows: i64,
}

/// Memory of the client and of each worker process.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Memory {
    pub(super) client: u64,
    pub(super) workers: Vec<u64>,
}

impl Memory {
    /// The most of a process, in words.
    pub(super) fn most(&self) -> u64 {
        self.workers.iter().copied().chain([self.client]).max().unwrap_or(0)
    }
}

/// Takes samples at the interval of the options.
#[derive(Debug)]
pub(super) struct Sampler {
    began: Instant,
    last: Instant,
    done: u64,
    /// What has been taken.
    pub(super) samples: Vec<Sample>,
}

impl Sampler {
    /// Begins now, when so many workflows have been done.
    pub(super) fn new(stage: &Stage<'_>, done: u64) -> Self {
        let samples = Vec::with_capacity(
            stage
                .plan
                .sample
                .map_or(0, |interval| (stage.plan.duration.as_secs_f64() / interval.as_secs_f64()) as usize),
        );
        let now = Instant::now();
        Self { began: now, last: now, done, samples }
    }

    /// Takes samples until it is dropped; without an interval it waits.
    pub(super) async fn run(&mut self, stage: &Stage<'_>, tally: &Tally) -> anyhow::Result<()> {
        let Some(interval) = stage.plan.sample else { return std::future::pending().await };
        let mut ticks = tokio::time::interval_at((self.began + interval).into(), interval);
        loop {
            ticks.tick().await;
            let tables = stage.observer.tables().await?;
            let sample = self.take(stage, tally, tables);
            stage.progress.line(&sample.line());
            self.samples.push(sample);
        }
    }

    fn take(&mut self, stage: &Stage<'_>, tally: &Tally, tables: Vec<TableSize>) -> Sample {
        let (now, done) = (Instant::now(), tally.done());
        let workflows_per_s = (done - self.done) as f64 / (now - self.last).as_secs_f64();
        (self.last, self.done) = (now, done);
        let pids = stage.worker_pids();
        Sample {
            at_s: rounded((now - self.began).as_secs_f64(), 10.0),
            workflows_per_s: rounded(workflows_per_s, 10.0),
            latency_ms: Latency::of(&tally.take_sample()),
            table_bytes: tables.iter().map(|table| table.bytes).sum(),
            index_bytes: tables.iter().map(|table| table.index_bytes).sum(),
            dead_rows: tables.iter().map(|table| table.dead_rows).sum(),
            memory_bytes: Memory {
                client: cpu::memory(std::process::id()),
                workers: pids.into_iter().map(cpu::memory).collect(),
            },
            tables: tables
                .into_iter()
                .map(|TableSize { name, bytes, index_bytes, dead_rows }| {
                    (name, Sizes { bytes, index_bytes, dead_rows })
                })
                .collect(),
        }
    }
}

impl Sample {
    fn line(&self) -> String {
        format!(
            "{:>8.0} s  {:>8.0} workflows/s  p99 {:>8} ms  tables {:>7.1} MB  indexes {:>7.1} MB  dead rows {:>8}  \
             memory {:>6.1} MB",
            self.at_s,
            self.workflows_per_s,
            self.latency_ms.map_or_else(|| "-".to_owned(), |latency| format!("{:.2}", latency.p99)),
            megabytes(self.table_bytes),
            megabytes(self.index_bytes),
            self.dead_rows,
            megabytes(i64::try_from(self.memory_bytes.most()).unwrap_or(i64::MAX)),
        )
    }
}

fn megabytes(bytes: i64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
