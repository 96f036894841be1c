//! `signals`: a thousand to each of many runs, acknowledged and heard.

use std::time::{Duration, Instant};

use anyhow::bail;
use dacapo_core::Payload;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::{
    progress::Lasts,
    report::{Figures, Latency, rounded},
    stage::Stage,
    tally::Tally,
    workers::Until,
};

/// Signals to each run.
pub(super) const SIGNALS: u64 = 1_000;

/// Signals to one run that are under way at once.
const UNDER_WAY: usize = 100;

/// Measures them.
pub(super) async fn measure(stage: &Stage<'_>) -> anyhow::Result<Figures> {
    stage.start_workers(Until::TakingStarts).await?;
    let runs = stage.plan.size();
    stage.phase(&format!("{runs} runs of {SIGNALS} signals"), Lasts::Completions(runs * SIGNALS));
    let body = Payload::encode("signal", &stage.body())?;
    let (acknowledged, ended) = (Tally::counting(), Tally::counting());
    let before = stage.spent();
    let last_acknowledged = std::sync::Mutex::new(before.at);
    let all = stream::iter(0..runs).map(Ok).try_for_each_concurrent(stage.plan.in_flight, async |_| {
        let began = Instant::now();
        let at = one(stage, &body, &acknowledged).await?;
        ended.take(Instant::now(), began.elapsed());
        let mut last = last_acknowledged.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *last = at.max(*last);
        anyhow::Ok(())
    });
    stage.guarded(all).await?;
    let after = stage.spent();
    let last = last_acknowledged.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let signals = runs * SIGNALS;
    let per_s = |time: Duration| rounded(signals as f64 / time.as_secs_f64(), 10.0);
    let elapsed = after.at - before.at;
    let mut figures = Figures::new(runs, after.since(&before), elapsed);
    figures.latency = Latency::of(&ended.window());
    figures.peak_memory = stage.peak_memory();
    figures.own = Some(json!({
        "per_run": SIGNALS,
        "acknowledged_per_s": per_s(last - before.at),
        "received_per_s": per_s(elapsed),
        "acknowledgement_ms": Latency::of(&acknowledged.window()),
    }));
    Ok(figures)
}

/// Sends one run its signals and waits until it has heard them; gives when the last was acknowledged.
async fn one(stage: &Stage<'_>, body: &Payload, acknowledged: &Tally) -> anyhow::Result<Instant> {
    let (run, execution) = stage.start_waiter(SIGNALS).await?;
    let signals = stream::iter(0..SIGNALS).map(Ok).try_for_each_concurrent(UNDER_WAY, async |_| {
        let began = Instant::now();
        stage.signal(&execution, body).await?;
        acknowledged.take(Instant::now(), began.elapsed());
        stage.progress.complete(1);
        anyhow::Ok(())
    });
    signals.await?;
    let last = Instant::now();
    let heard = stage.result(run).await?.result.map(|result| result.decode::<u64>("signals heard")).transpose()?;
    if heard != Some(SIGNALS) {
        bail!("a run was sent {SIGNALS} signals and heard {heard:?}");
    }
    Ok(last)
}
