//! `idle`: what a fleet and its waiting runs cost while nothing happens.

use std::time::Duration;

use serde_json::json;

use super::{
    progress::Lasts,
    report::{Figures, rounded},
    stage::Stage,
    workers::Until,
};

/// The time after the last start in which what is left over from it ends: claims, vacuum, and what connections of Postgres
/// tell of their last statements, which they do up to 10 s after they have fallen silent.
const CALM: Duration = Duration::from_secs(11);

/// Measures it.
pub(super) async fn measure(stage: &Stage<'_>) -> anyhow::Result<Figures> {
    stage.start_workers(Until::TakingStarts).await?;
    let runs = stage.plan.size();
    let waiters = stage.waiters(runs).await?;
    stage.phase(&format!("{} s of nothing", stage.plan.duration.as_secs_f64()), Lasts::Sometime);
    tokio::time::sleep(CALM).await;
    let counted = stage.observer.counters().await?;
    let before = stage.spent();
    tokio::time::sleep(stage.plan.duration).await;
    let after = stage.spent();
    let counted = stage.observer.counters().await?.since(counted);
    let spent = after.since(&before);
    let micros = (after.at - before.at).as_micros() as f64;
    let share = |spent: u64| rounded(spent as f64 / micros, 10_000.0);
    let processes = spent.workers.len().max(1);
    let all: u64 = spent.workers.iter().sum();
    let each_second = |count: u64| rounded(count as f64 * 1_000_000.0 / micros / processes as f64, 1_000.0);
    let mut figures = Figures::new(0, spent.clone(), after.at - before.at);
    figures.peak_memory = stage.peak_memory();
    figures.all_workflows = runs;
    figures.own = Some(json!({
        "runs": runs,
        "workers": processes,
        "queries_per_s_per_process": counted.statements.map(each_second),
        "transactions_per_s_per_process": each_second(counted.transactions),
        "share_of_a_core": {
            "client": share(spent.client),
            "worker_mean": rounded(all as f64 / spent.workers.len().max(1) as f64 / micros, 10_000.0),
            "worker_most": spent.workers.iter().copied().max().map(share),
            "postgres": spent.postgres.map(share),
        },
    }));
    stage.release(&waiters).await?;
    Ok(figures)
}
