//! `history`: one long run, and whether its last events cost more than its first.

use std::time::Duration;

use anyhow::{Context, bail};
use dacapo_core::{Payload, RunKey};
use serde_json::json;

use super::{
    postgres::HistoryRow,
    progress::Lasts,
    report::{Figures, rounded},
    stage::Stage,
    workers::Until,
    workflows::Steps,
};

/// Activities of the runs by which it is found out how many events each makes.
const PROBES: [u64; 2] = [10, 20];

/// How often the growing history is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Measures it.
pub(super) async fn measure(stage: &Stage<'_>) -> anyhow::Result<Figures> {
    stage.start_workers(Until::TakingStarts).await?;
    stage.phase("two short runs to see how many events an activity makes", Lasts::Sometime);
    let [short, long] = [probe(stage, PROBES[0]).await?, probe(stage, PROBES[1]).await?];
    let each = (long - short) / (PROBES[1] - PROBES[0]);
    let rest = short.saturating_sub(each * PROBES[0]);
    if each == 0 {
        bail!("activities leave no events: {short} events with {}, {long} with {}", PROBES[0], PROBES[1]);
    }
    let activities = stage.plan.size().saturating_sub(rest) / each;
    stage.phase(&format!("one run of {activities} activities"), Lasts::Completions(activities * each));
    let before = stage.spent();
    let input = Payload::encode("input", &Steps { steps: activities, body: stage.body() })?;
    let (run, execution) = stage.start("bench.sequence", input).await?;
    let ended = async {
        tokio::select! {
            ended = stage.result(run) => ended.map(drop),
            failed = watch(stage, &execution) => failed,
        }
    };
    stage.guarded(ended).await?;
    let after = stage.spent();
    let rows = stage.observer.history(run).await?;
    let events = events_of(stage, run).await?;
    let mut figures = Figures::new(1, after.since(&before), after.at - before.at);
    figures.activities = activities;
    figures.all_workflows = 1 + PROBES.len() as u64;
    figures.peak_memory = stage.peak_memory();
    let (first, last) = tenths(&rows, events).context("the history is too short to compare its tenths")?;
    figures.own = Some(json!({
        "events": events,
        "events_per_s": rounded(events as f64 / (after.at - before.at).as_secs_f64(), 10.0),
        "bytes": rows.iter().map(|row| row.bytes).sum::<i64>(),
        "first_tenth_us_per_event": first,
        "last_tenth_us_per_event": last,
    }));
    Ok(figures)
}

/// Runs a short sequence and counts its events.
async fn probe(stage: &Stage<'_>, activities: u64) -> anyhow::Result<u64> {
    let input = Payload::encode("input", &Steps { steps: activities, body: stage.body() })?;
    let (run, _) = stage.start("bench.sequence", input).await?;
    stage
        .guarded(async {
            stage.result(run).await?;
            stage.progress.complete(1);
            Ok(())
        })
        .await?;
    events_of(stage, run).await
}

async fn events_of(stage: &Stage<'_>, run: RunKey) -> anyhow::Result<u64> {
    let described = stage.engine.store().describe(run).await?.context("a run that has just ended is gone")?;
    Ok(described.info.events.unsigned_abs())
}

/// Counts new events as completed.
async fn watch(stage: &Stage<'_>, execution: &dacapo_runtime::WorkflowExecution) -> anyhow::Result<()> {
    let mut seen = 0;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let events = stage.client().resolve(execution).await?.events.unsigned_abs();
        stage.progress.complete(events.saturating_sub(seen));
        seen = seen.max(events);
    }
}

/// The time per event while the first and the last tenth of a history was written.
fn tenths(rows: &[HistoryRow], events: u64) -> Option<(f64, f64)> {
    let tenth = i64::try_from(events).ok()? / 10;
    let per_event = |from: &HistoryRow, to: &HistoryRow| {
        let events = (to.first_event_id - from.first_event_id).max(1);
        rounded((to.written_us - from.written_us) as f64 / events as f64, 10.0)
    };
    // The rows that end the first tenth and begin the last.
    let first = rows.iter().rfind(|row| row.first_event_id <= tenth)?;
    let last = rows.iter().find(|row| row.first_event_id >= tenth * 9)?;
    Some((per_event(rows.first()?, first), per_event(last, rows.last()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_are_compared_by_time_per_event() {
        let row = |first_event_id, written_us| HistoryRow { first_event_id, written_us, bytes: 1 };
        let rows =
            [row(1, 0), row(6, 50), row(11, 100), row(50, 1_000), row(91, 5_000), row(96, 5_100), row(101, 5_300)];
        assert_eq!(tenths(&rows, 100), Some((10.0, 30.0)));
        assert_eq!(tenths(&[], 100), None);
    }
}
