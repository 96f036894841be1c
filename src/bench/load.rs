//! The load: so many workflows in flight, each followed by the next.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::bail;
use dacapo_core::{Payload, RunStatus, StartWorkflow};
use dacapo_runtime::{Client, Engine};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::{BenchOptions, Database, Scenario, cpu, seconds, workers::Workers};

/// What was measured in the window.
pub(super) struct Measured {
    pub(super) workflows: u64,
    pub(super) elapsed: Duration,
    pub(super) latency_us: Histogram<u64>,
    pub(super) client_cpu_us: u64,
    pub(super) workers_cpu_us: u64,
    pub(super) postgres_cpu_us: u64,
    pub(super) peak_memory_bytes: u64,
}

/// The longest latency that the histogram tells from a longer one, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;

struct Lane {
    client: Client,
    scenario: Scenario,
    queue: String,
    body: Payload,
    counting: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

pub(super) async fn apply(
    database: &Database,
    options: &BenchOptions,
    scenario: Scenario,
    engine: &Engine,
    workers: &Workers,
    queue: &str,
) -> anyhow::Result<Measured> {
    let (counting, stop, done) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let body = Payload::encode("input", &"x".repeat(options.payload))?;
    let mut lanes = JoinSet::new();
    for _ in 0..options.in_flight.unwrap_or_else(|| scenario.in_flight()).max(1) {
        let lane = Lane {
            client: engine.client(),
            scenario,
            queue: queue.to_owned(),
            body: body.clone(),
            counting: Arc::clone(&counting),
            stop: Arc::clone(&stop),
            done: Arc::clone(&done),
        };
        lanes.spawn(lane.run());
    }
    tokio::time::sleep(seconds(options.warm_up)).await;
    let before = Spent::now(database, workers);
    let began = Instant::now();
    counting.store(true, Ordering::Relaxed);
    let counted_from = done.load(Ordering::Relaxed);
    tokio::time::sleep(seconds(options.duration)).await;
    counting.store(false, Ordering::Relaxed);
    let workflows = done.load(Ordering::Relaxed) - counted_from;
    let elapsed = began.elapsed();
    let after = Spent::now(database, workers);
    stop.store(true, Ordering::Relaxed);
    let mut latency_us = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?;
    while let Some(lane) = lanes.join_next().await {
        latency_us.add(lane??)?;
    }
    let pids: Vec<u32> = workers.pids().chain([std::process::id()]).collect();
    Ok(Measured {
        workflows,
        elapsed,
        latency_us,
        client_cpu_us: after.client - before.client,
        workers_cpu_us: after.workers - before.workers,
        postgres_cpu_us: after.postgres.saturating_sub(before.postgres),
        peak_memory_bytes: pids.into_iter().map(cpu::peak_memory).max().unwrap_or(0),
    })
}

/// Processor time spent so far.
struct Spent {
    client: u64,
    workers: u64,
    postgres: u64,
}

impl Spent {
    fn now(database: &Database, workers: &Workers) -> Self {
        Self {
            client: cpu::micros(&BTreeSet::from([std::process::id()])),
            workers: cpu::micros(&workers.pids().collect()),
            postgres: database.server_pid.map_or(0, |pid| cpu::micros(&cpu::family(pid))),
        }
    }
}

impl Lane {
    async fn run(self) -> anyhow::Result<Histogram<u64>> {
        let mut latency_us = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?;
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let run_id = Client::new_run_id();
            let request = StartWorkflow::new(
                run_id,
                run_id.to_string().into(),
                self.scenario.workflow_type().into(),
                self.queue.as_str().into(),
                self.body.clone(),
            );
            let started = self.client.start(request).await?;
            let result = self.client.result_of(started.run).await?;
            if result.status != RunStatus::Completed {
                bail!("a workflow of the benchmark ended as {}: {:?}", result.status.as_str(), result.failure);
            }
            self.done.fetch_add(1, Ordering::Relaxed);
            if self.counting.load(Ordering::Relaxed) {
                latency_us.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
        }
        Ok(latency_us)
    }
}
