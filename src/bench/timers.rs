//! `timers`: durable timers of many runs; up to 50,000 of them due within one second, and how late each of those fires. The
//! others are there meanwhile, and fire afterwards, all at one moment.
//!
//! The runs tell: each gives the time that its history shows for its waking less the time that was asked for. Both are
//! of the database's clock, so that clocks of machines do not matter.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dacapo_core::{Payload, Timestamp};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::{
    progress::Lasts,
    report::{Figures, Latency, rounded},
    stage::{ASK_SHARE, CALLS, LOOK_INTERVAL, Stage},
    tally::{histogram, record},
    workers::Until,
};

/// The runs whose timers are measured.
const WAVE_TYPE: &str = "bench.timer";

/// The runs whose timers only are there meanwhile.
const LATER_TYPE: &str = "bench.later_timer";

/// Runs by which it is found out how long all of them will take to start.
const PROBES: u64 = 1_000;

/// How much longer than by the probes the starts may take, and what they may take in any case.
const LEAD_FACTOR: u32 = 2;
const LEAD_LEAST: Duration = Duration::from_secs(3);

/// The timers that are measured, at most, and the time over which they are spread.
const WAVE: u64 = 50_000;
const WAVE_TIME: Duration = Duration::from_secs(1);

/// The time from the last timer of the wave to those behind it: enough for a wave that takes long.
const PAUSE: Duration = Duration::from_secs(15);

/// Measures them.
pub(super) async fn measure(stage: &Stage<'_>) -> anyhow::Result<Figures> {
    stage.start_workers(Until::TakingStarts).await?;
    let timers = stage.plan.size();
    let (wave, later) = (timers.min(WAVE), timers.saturating_sub(WAVE));
    let lead = time_to_start(stage, timers).await?;
    let (now, _) = stage.engine.store().clock().await?;
    let (due, due_here) = (now.plus(lead), Instant::now() + lead);
    stage.phase(&format!("{timers} timers, due in {:.1} s", lead.as_secs_f64()), Lasts::Completions(timers));
    let after_wave = due.plus(WAVE_TIME + PAUSE);
    stage.guarded(start_all(stage, LATER_TYPE, later, |_| after_wave)).await?;
    let spread = |number| due.plus(WAVE_TIME.mul_f64(number as f64 / wave as f64));
    stage.guarded(start_all(stage, WAVE_TYPE, wave, spread)).await?;
    let start_margin = due_here.saturating_duration_since(Instant::now());
    // Nothing completes until the timers are due, which is no stall.
    tokio::time::sleep(start_margin).await;
    let before = stage.spent();
    stage.phase("firing", Lasts::Completions(wave));
    let mut figures = stage.guarded(fired(stage, wave, due)).await?;
    figures.spent = stage.spent().since(&before);
    figures.peak_memory = stage.peak_memory();
    figures.all_workflows = timers + PROBES.min(timers);
    if let Some(own) = &mut figures.own {
        own["timers"] = json!(timers);
        own["started_before_due_s"] = json!(rounded(start_margin.as_secs_f64(), 100.0));
    }
    if later > 0 {
        stage.phase(&format!("the other {later}"), Lasts::Completions(later));
        let until = (due_here + WAVE_TIME + PAUSE).saturating_duration_since(Instant::now());
        tokio::time::sleep(until).await;
        let (began, closed_before) = (Instant::now(), stage.observer.closed_so_far().await?);
        stage.guarded(stage.all_closed(closed_before, later)).await?;
        if let Some(own) = &mut figures.own {
            own["others_closed_after_s"] = json!(rounded(began.elapsed().as_secs_f64(), 10.0));
        }
    }
    Ok(figures)
}

/// Starts a few runs whose timers are long due, to see how long all of them will take.
async fn time_to_start(stage: &Stage<'_>, timers: u64) -> anyhow::Result<Duration> {
    let probes = PROBES.min(timers);
    let closed_before = stage.observer.closed_so_far().await?;
    stage.phase(&format!("{probes} runs to see how fast they start"), Lasts::Completions(probes));
    let began = Instant::now();
    let probed = async {
        start_all(stage, LATER_TYPE, probes, |_| Timestamp(0)).await?;
        stage.all_closed(closed_before, probes).await
    };
    stage.guarded(probed).await?;
    Ok((began.elapsed() * LEAD_FACTOR).mul_f64(timers as f64 / probes as f64).max(LEAD_LEAST))
}

async fn start_all(
    stage: &Stage<'_>,
    workflow_type: &str,
    runs: u64,
    due: impl Fn(u64) -> Timestamp,
) -> anyhow::Result<()> {
    let starts = stream::iter(0..runs).map(Ok).try_for_each_concurrent(CALLS, |number| {
        let input = Payload::encode("due", &due(number).0);
        async move {
            stage.start(workflow_type, input?).await?;
            stage.progress.complete(1);
            anyhow::Ok(())
        }
    });
    starts.await
}

/// Waits until the wave has fired, and reads what its runs said.
async fn fired(stage: &Stage<'_>, wave: u64, due: Timestamp) -> anyhow::Result<Figures> {
    let closed_before = stage.observer.closed_so_far().await?;
    let (mut seen, mut ask_at) = (0, Instant::now());
    let said = loop {
        let closed = stage.observer.closed_so_far().await? - closed_before;
        // To read what the runs said takes as long as many have closed, so it is not done all the time.
        if closed >= wave || Instant::now() >= ask_at {
            let asked = Instant::now();
            let said = stage.observer.results(&stage.queue, WAVE_TYPE).await?;
            stage.progress.complete(said.len() as u64 - seen);
            seen = said.len() as u64;
            if seen >= wave {
                break said;
            }
            ask_at = Instant::now() + asked.elapsed() * ASK_SHARE;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    };
    let ends = stage.observer.ends(&stage.queue).await?.context("no run of the queue has ended")?;
    if ends.failed > 0 {
        bail!("{} runs with a timer did not complete", ends.failed);
    }
    let mut late = histogram();
    said.into_iter().for_each(|late_us| record(&mut late, Duration::from_micros(late_us)));
    let took = Duration::from_micros(u64::try_from(ends.last_us - due.0).unwrap_or(0));
    let mut figures = Figures::new(wave, stage.spent(), took);
    figures.own = Some(json!({
        "due_in_one_second": wave,
        "lateness_ms": Latency::of(&late),
        "last_closed_after_s": rounded(took.as_secs_f64(), 1_000.0),
    }));
    Ok(figures)
}
