//! `backlog`: workflows that gathered while nobody worked, and how fast they go away.

use std::time::Duration;

use anyhow::{Context, bail};
use dacapo_core::Payload;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::{
    postgres::{Claims, Ends},
    progress::Lasts,
    report::{Figures, rounded},
    stage::Stage,
    workers::Until,
};

/// How often the claims are looked at.
const CLAIMS_INTERVAL: Duration = Duration::from_millis(500);

/// Claims so far, when so many runs had been closed.
#[derive(Debug, Clone, Copy)]
struct ClaimsAt {
    closed: u64,
    claims: Claims,
}

/// Measures it.
pub(super) async fn measure(stage: &Stage<'_>) -> anyhow::Result<Figures> {
    let runs = stage.plan.size();
    let body = Payload::encode("input", &stage.body())?;
    stage.phase(&format!("enqueueing {runs} workflows"), Lasts::Completions(runs));
    let before_starts = stage.spent();
    let starts = stream::iter(0..runs).map(Ok).try_for_each_concurrent(stage.plan.in_flight, async |_| {
        stage.start("bench.noop", body.clone()).await?;
        stage.progress.complete(1);
        anyhow::Ok(())
    });
    stage.guarded(starts).await?;
    let after_starts = stage.spent();
    let starting = after_starts.since(&before_starts);
    let enqueued_in = after_starts.at - before_starts.at;

    let closed_before = stage.observer.closed_so_far().await?;
    stage.start_workers(Until::Serving).await?;
    stage.phase(&format!("draining {runs} workflows"), Lasts::Completions(runs));
    let before = stage.spent();
    let mut claims = Vec::new();
    let drained = async {
        tokio::select! {
            drained = stage.all_closed(closed_before, runs) => drained,
            failed = watch_claims(stage, closed_before, &mut claims) => failed,
        }
    };
    stage.guarded(drained).await?;
    let after = stage.spent();
    let ends = stage.observer.ends(&stage.queue).await?.context("no run of the queue has ended")?;
    if ends.closed != runs || ends.failed > 0 {
        bail!("{runs} workflows were enqueued, {} ended, {} of them badly", ends.closed, ends.failed);
    }
    // From the first end on: what comes before is the start of the workers.
    let mut figures = Figures::new(runs, after.since(&before), between(ends.first_us, ends.last_us));
    figures.activities = runs;
    figures.peak_memory = stage.peak_memory();
    figures.own = Some(json!({
        "enqueue_per_s": rounded(runs as f64 / enqueued_in.as_secs_f64(), 10.0),
        "enqueue_client_cpu_us": rounded(starting.client as f64 / runs as f64, 10.0),
        "enqueue_postgres_cpu_us": starting.postgres.map(|spent| rounded(spent as f64 / runs as f64, 10.0)),
        "drain_per_s": figures.workflows_per_s(),
        "drain_first_tenth_per_s": tenth(&ends, ends.first_us, ends.tenth_us),
        "drain_last_tenth_per_s": tenth(&ends, ends.nine_tenths_us, ends.last_us),
        "claim_ms": claim_times(&claims, runs),
    }));
    Ok(figures)
}

fn between(from_us: i64, to_us: i64) -> Duration {
    Duration::from_micros(u64::try_from(to_us - from_us).unwrap_or(0).max(1))
}

fn tenth(ends: &Ends, from_us: i64, to_us: i64) -> f64 {
    rounded(ends.closed as f64 / 10.0 / between(from_us, to_us).as_secs_f64(), 10.0)
}

async fn watch_claims(stage: &Stage<'_>, closed_before: u64, seen: &mut Vec<ClaimsAt>) -> anyhow::Result<()> {
    loop {
        if let Some(claims) = stage.observer.claims().await? {
            let closed = stage.observer.closed_so_far().await?.saturating_sub(closed_before);
            seen.push(ClaimsAt { closed, claims });
        }
        tokio::time::sleep(CLAIMS_INTERVAL).await;
    }
}

/// The mean time of a claim: over all, while the first tenth went, and while the last did. Nothing where Postgres does
/// not time its functions for us.
fn claim_times(seen: &[ClaimsAt], runs: u64) -> Value {
    let mean = |from: u64, to: u64| {
        let within: Vec<&ClaimsAt> = seen.iter().filter(|at| (from..=to).contains(&at.closed)).collect();
        let (first, last) = (within.first()?, within.last()?);
        let calls = last.claims.calls - first.claims.calls;
        (calls > 0).then(|| rounded((last.claims.total_ms - first.claims.total_ms) / calls as f64, 1_000.0))
    };
    json!({
        "mean": mean(0, u64::MAX),
        "first_tenth": mean(0, runs / 10),
        "last_tenth": mean(runs - runs / 10, u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_timed_where_the_backlog_was_long_and_where_it_was_short() {
        let at = |closed, calls, total_ms| ClaimsAt { closed, claims: Claims { calls, total_ms } };
        let seen = [at(0, 10, 5.0), at(50, 20, 25.0), at(500, 30, 40.0), at(950, 40, 50.0), at(1_000, 50, 55.0)];
        assert_eq!(claim_times(&seen, 1_000), json!({"mean": 1.25, "first_tenth": 2.0, "last_tenth": 0.5}));
        assert_eq!(claim_times(&[], 1_000), json!({"mean": null, "first_tenth": null, "last_tenth": null}));
    }
}
