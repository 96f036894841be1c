//! `waiting`: many open runs that wait, far more than workers keep in memory, and one of them woken at a time.

use std::time::Instant;

use dacapo_core::Payload;
use serde_json::json;

use super::{
    progress::Lasts,
    report::{Figures, Latency},
    stage::Stage,
    tally::Tally,
    workers::Until,
};

/// Steps from one run to the next that is woken, by the number of runs: neighbours are as likely in memory as others.
const STRIDE: u64 = 7_919;

/// Measures it.
pub(super) async fn measure(stage: &Stage<'_>) -> anyhow::Result<Figures> {
    stage.start_workers(Until::TakingStarts).await?;
    let runs = stage.plan.size();
    let mut waiters = stage.waiters(runs).await?;
    let text = format!("waking one of {runs} at a time, for {} s", stage.plan.duration.as_secs_f64());
    stage.phase(&text, Lasts::Time(stage.plan.duration));
    let body = Payload::encode("signal", &stage.body())?;
    let woken = Tally::counting();
    let before = stage.spent();
    let one_by_one = async {
        while before.at.elapsed() < stage.plan.duration && !waiters.is_empty() {
            let next = (woken.done() + 1).wrapping_mul(STRIDE) % waiters.len() as u64;
            let (run, execution) = waiters.swap_remove(next as usize);
            let began = Instant::now();
            stage.signal(&execution, &body).await?;
            stage.result(run).await?;
            woken.take(Instant::now(), began.elapsed());
            stage.progress.complete(1);
        }
        anyhow::Ok(())
    };
    stage.guarded(one_by_one).await?;
    let after = stage.spent();
    let mut figures = Figures::new(woken.done(), after.since(&before), after.at - before.at);
    figures.peak_memory = stage.peak_memory();
    figures.latency = Latency::of(&woken.window());
    figures.all_workflows = runs;
    figures.own = Some(json!({"runs": runs, "woken": woken.done(), "wake_ms": Latency::of(&woken.window())}));
    stage.release(&waiters).await?;
    Ok(figures)
}
