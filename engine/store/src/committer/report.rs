//! Reports of claimed attempts: the outcome goes into the run's inbox, the claim is over.

use std::collections::VecDeque;

use dacapo_core::{
    Event, EventKind, MessageBody, MessageId, batch,
    limits::FLUSH_ITEMS_MAX,
    store::{ActivityReport, ReportOutcome, StoreError, StoreResult},
};
use sqlx::{PgConnection, Row};

use super::{
    lane::{Entry, Flush},
    rows::json,
    send::{distinct_runs, wake},
};
use crate::hints::Hints;

const REPORT: &str = "SELECT taken, owners, queues FROM dacapo.report_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// A claim that is over because of this very report.
const REPORTED: &str =
    "SELECT EXISTS (SELECT FROM dacapo.activities WHERE shard = $1 AND run_id = $2 AND activity_id = $3
    AND attempt = $4 AND claim_token = $5 AND reported) AS reported";

const HISTORY: &str =
    "SELECT first_event_id, events FROM dacapo.transitions WHERE shard = $1 AND run_id = $2 ORDER BY first_event_id";

/// A report with its JSON.
#[derive(Debug)]
pub(super) struct EncodedReport {
    report: ActivityReport,
    id: MessageId,
    body: Vec<u8>,
    /// Whether an earlier try of the committer's own may have gone through.
    uncertain: bool,
}

impl EncodedReport {
    /// Writes the JSON of a report, on the caller's thread.
    pub(super) fn new(report: ActivityReport) -> Self {
        let claim = report.claim;
        let id = report.outcome.message_id(claim.run.run_id);
        let body = json(&MessageBody::ActivityOutcome(Box::new(report.outcome.clone())));
        Self { report, id, body, uncertain: false }
    }
}

/// The lane of reports.
#[derive(Debug)]
pub(super) struct Report {
    hints: Hints,
}

impl Report {
    pub(super) fn new(hints: Hints) -> Self {
        Self { hints }
    }
}

impl Flush for Report {
    type Work = EncodedReport;
    type Answer = ReportOutcome;
    type Outcome = StoreResult<ReportOutcome>;
    const LANE: &'static str = "report";
    const MAY_BE_OVERTAKEN: bool = false;

    fn take(&self, queue: &mut VecDeque<Entry<Self>>) -> Vec<Entry<Self>> {
        let count = queue.len().min(FLUSH_ITEMS_MAX);
        queue.drain(..count).collect()
    }

    async fn flush(
        &self,
        connection: &mut PgConnection,
        items: &[&EncodedReport],
    ) -> Result<Vec<ReportOutcome>, sqlx::Error> {
        let (runs, places) = distinct_runs(items.iter().map(|item| item.report.claim.run));
        let claims = || items.iter().map(|item| &item.report.claim);
        let row = sqlx::query(REPORT)
            .bind(runs.iter().map(|run| run.shard.0).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| run.run_id.0).collect::<Vec<_>>())
            .bind(&places)
            .bind(items.iter().map(|item| item.id.0).collect::<Vec<_>>())
            .bind(items.iter().map(|item| item.body.as_slice()).collect::<Vec<_>>())
            .bind(claims().map(|claim| claim.activity_id as i64).collect::<Vec<_>>())
            .bind(claims().map(|claim| i32::try_from(claim.attempt).unwrap_or(i32::MAX)).collect::<Vec<_>>())
            .bind(claims().map(|claim| claim.token).collect::<Vec<_>>())
            .bind(items.iter().map(|item| item.report.worker.0).collect::<Vec<_>>())
            .bind(items.iter().map(|item| item.report.outcome.last_heartbeat.is_none()).collect::<Vec<_>>())
            .fetch_one(&mut *connection)
            .await?;
        let mut outcomes = vec![ReportOutcome::Stale; items.len()];
        let taken: Vec<i32> = row.try_get("taken")?;
        for place in &taken {
            outcomes[*place as usize - 1] = ReportOutcome::Accepted;
        }
        if !taken.is_empty() {
            wake(&runs, row.try_get("owners")?, row.try_get("queues")?).hint(&self.hints);
        }
        for (item, outcome) in items.iter().zip(&mut outcomes).filter(|(_, outcome)| **outcome == ReportOutcome::Stale)
        {
            if was_accepted(connection, item).await? {
                *outcome = ReportOutcome::Accepted;
            }
        }
        Ok(outcomes)
    }

    fn answer(&self, answered: Vec<(Entry<Self>, ReportOutcome)>) {
        answered.into_iter().for_each(|(entry, outcome)| entry.answer(Ok(outcome)));
    }

    fn refusal(&self, error: StoreError) -> StoreResult<ReportOutcome> {
        Err(error)
    }

    fn lost(&self, work: &mut EncodedReport) -> Option<StoreResult<ReportOutcome>> {
        work.uncertain = true;
        None
    }
}

/// Says whether an earlier sending of a report went through: its outcome waits in the inbox, or (asked only where an
/// answer was lost) the history names the attempt with its worker.
async fn was_accepted(connection: &mut PgConnection, item: &EncodedReport) -> Result<bool, sqlx::Error> {
    let claim = &item.report.claim;
    let query = sqlx::query(REPORTED)
        .bind(claim.run.shard.0)
        .bind(claim.run.run_id.0)
        .bind(claim.activity_id as i64)
        .bind(i32::try_from(claim.attempt).unwrap_or(i32::MAX))
        .bind(claim.token);
    if query.fetch_one(&mut *connection).await?.try_get("reported")? {
        return Ok(true);
    }
    if !item.uncertain {
        return Ok(false);
    }
    let rows = sqlx::query(HISTORY).bind(claim.run.shard.0).bind(claim.run.run_id.0).fetch_all(connection).await?;
    for row in rows {
        let events = batch::decode(claim.run.run_id, row.try_get("first_event_id")?, row.try_get("events")?)
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let names_it = |event: &Event| {
            matches!(&event.event, EventKind::ActivityTaskStarted(started)
                if started.activity_id == claim.activity_id
                    && started.attempt == claim.attempt
                    && started.identity == item.report.outcome.identity)
        };
        if events.iter().any(names_it) {
            return Ok(true);
        }
    }
    Ok(false)
}
