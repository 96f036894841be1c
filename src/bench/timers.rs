//! `timers`: durable timers of many runs, all due at the same moment, and how late each fires.
//!
//! The runs tell: each gives the time that its history shows for its waking less the time that was asked for. Both are
//! of the database's clock, so that clocks of machines do not matter.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dacapo_core::{Payload, Timestamp};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::{
    report::{Figures, Latency, rounded},
    stage::{CALLS, Stage},
    tally::{histogram, record},
};

const WORKFLOW_TYPE: &str = "bench.timer";

/// Runs by which it is found out how long all of them will take to start.
const PROBES: u64 = 1_000;

/// How much longer than by the probes the starts may take, and what they may take in any case.
const LEAD_FACTOR: u32 = 2;
const LEAD_LEAST: Duration = Duration::from_secs(3);

/// Measures them.
pub(super) async fn measure(stage: &Stage<'_>) -> anyhow::Result<Figures> {
    stage.start_workers().await?;
    let timers = stage.plan.size();
    let closed_before = stage.observer.closed_so_far().await?;
    let probes = PROBES.min(timers);
    stage.phase(&format!("{probes} runs to see how fast they start"), Some(probes));
    let began = Instant::now();
    let probed = async {
        start_all(stage, probes, Timestamp(0)).await?;
        stage.all_closed(closed_before, probes).await
    };
    stage.guarded(probed).await?;
    let lead = (began.elapsed() * LEAD_FACTOR).mul_f64(timers as f64 / probes as f64).max(LEAD_LEAST);
    let (now, _) = stage.engine.store().clock().await?;
    let (due, due_here) = (now.plus(lead), Instant::now() + lead);
    stage.phase(&format!("{timers} timers, due in {:.1} s", lead.as_secs_f64()), Some(timers));
    stage.guarded(start_all(stage, timers, due)).await?;
    let start_margin = due_here.saturating_duration_since(Instant::now());
    // Nothing completes until the timers are due, which is no stall.
    tokio::time::sleep(start_margin).await;
    let before = stage.spent();
    stage.phase("firing", Some(timers));
    let closed_before = stage.observer.closed_so_far().await?;
    stage.guarded(stage.all_closed(closed_before, timers)).await?;
    let after = stage.spent();
    let mut figures = lateness(stage, timers, due).await?;
    figures.spent = after.since(&before);
    figures.all_workflows = timers + probes;
    if let Some(own) = &mut figures.own {
        own["started_before_due_s"] = json!(rounded(start_margin.as_secs_f64(), 100.0));
    }
    figures.peak_memory = stage.peak_memory();
    Ok(figures)
}

async fn start_all(stage: &Stage<'_>, runs: u64, due: Timestamp) -> anyhow::Result<()> {
    let input = Payload::encode("due", &due.0)?;
    let starts = stream::iter(0..runs).map(Ok).try_for_each_concurrent(CALLS, async |_| {
        stage.start(WORKFLOW_TYPE, input.clone()).await?;
        stage.progress.complete(1);
        anyhow::Ok(())
    });
    starts.await
}

/// Reads what the runs said.
async fn lateness(stage: &Stage<'_>, timers: u64, due: Timestamp) -> anyhow::Result<Figures> {
    let ends = stage.observer.ends(&stage.queue).await?.context("no run of the queue has ended")?;
    if ends.failed > 0 {
        bail!("{} runs with a timer did not complete", ends.failed);
    }
    let mut late = histogram();
    let said = stage.observer.results(&stage.queue, WORKFLOW_TYPE).await?;
    // The probes were due in 1970, and are later than everything else by decades.
    let said: Vec<u64> = said.into_iter().filter(|late_us| *late_us < due.0.unsigned_abs() / 2).collect();
    if said.len() as u64 != timers {
        bail!("{timers} timers were set and {} fired", said.len());
    }
    said.into_iter().for_each(|late_us| record(&mut late, Duration::from_micros(late_us)));
    let took = Duration::from_micros(u64::try_from(ends.last_us - due.0).unwrap_or(0));
    let mut figures = Figures::new(timers, stage.spent(), took);
    figures.own = Some(json!({
        "timers": timers,
        "lateness_ms": Latency::of(&late),
        "last_closed_after_s": rounded(took.as_secs_f64(), 1_000.0),
    }));
    Ok(figures)
}
