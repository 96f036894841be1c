//! What runs leave behind: ends, histories, published values.

use dacapo_core::{
    EventKind, Failure, Payload, RunId, RunKey, RunStatus,
    store::{RunResult, StoreError, StoreResult, StoredTransition},
};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    PgStore,
    error::{corrupt, store_error},
    load::read_events,
    ownership::key,
    time::PgTime,
};

/// How runs ended, with their last transitions; those of runs that closed before migration 12 are rows of history.
const RESULTS: &str = "
SELECT c.shard, c.run_id, c.status, c.closed_at, c.successor, COALESCE(c.final_event_id, h.first_event_id) AS first_event_id,
       COALESCE(c.final_events, h.events) AS last_events
  FROM unnest($1::int2[], $2::uuid[]) k (shard, run_id),
       LATERAL (SELECT * FROM dacapo.runs_closed c WHERE c.shard = k.shard AND c.run_id = k.run_id OFFSET 0) c
  LEFT JOIN LATERAL (SELECT h.first_event_id, h.events FROM dacapo.history h
                      WHERE h.shard = c.shard AND h.run_id = c.run_id AND c.final_events IS NULL
                      ORDER BY h.first_event_id DESC LIMIT 1) h ON true";

const HISTORY: &str = "
SELECT h.first_event_id, h.owner_epoch, h.written_at, h.events FROM dacapo.transitions h
 WHERE h.shard = $1 AND h.run_id = $2
   AND h.first_event_id >= (SELECT coalesce(max(p.first_event_id), 1) FROM dacapo.transitions p
                             WHERE p.shard = $1 AND p.run_id = $2 AND p.first_event_id <= $3)
 ORDER BY h.first_event_id LIMIT $4";

const PUBLISHED: &str = "SELECT value FROM dacapo.published WHERE shard = $1 AND run_id = $2 AND name = $3";

const PUBLISHED_NAMES: &str = "SELECT name FROM dacapo.published WHERE shard = $1 AND run_id = $2 ORDER BY name";

impl PgStore {
    /// Gives the ends of those of the runs that are closed.
    pub(crate) async fn read_results(&self, runs: &[RunKey]) -> StoreResult<Vec<(RunKey, RunResult)>> {
        let rows = sqlx::query(RESULTS)
            .bind(runs.iter().map(|run| run.shard.0).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| run.run_id.0).collect::<Vec<_>>())
            .fetch_all(&self.hot)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| Ok((key(row), read_result(row)?))).collect()
    }

    /// Reads whole transitions, beginning with the one that holds the event.
    pub(crate) async fn read_history(
        &self,
        run: RunKey,
        from_event_id: i64,
        limit: i64,
    ) -> StoreResult<Vec<StoredTransition>> {
        let rows = sqlx::query(HISTORY)
            .bind(run.shard.0)
            .bind(run.run_id.0)
            .bind(from_event_id)
            .bind(limit)
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        let mut transitions = Vec::with_capacity(rows.len());
        for row in rows {
            let events = read_events(run, row.get("first_event_id"), row.get("events"))?;
            // The event asked for may lie behind the last row.
            if events.last().is_some_and(|event| event.event_id >= from_event_id) {
                let written_at = row.get::<PgTime, _>("written_at").0;
                transitions.push(StoredTransition { owner_epoch: row.get("owner_epoch"), written_at, events });
            }
        }
        Ok(transitions)
    }

    /// Reads a published value.
    pub(crate) async fn read_published(&self, run: RunKey, name: &str) -> StoreResult<Option<Payload>> {
        let query = sqlx::query(PUBLISHED).bind(run.shard.0).bind(run.run_id.0).bind(name);
        let row = query.fetch_optional(&self.hot).await.map_err(store_error)?;
        row.map(|row| payload(row.get("value"))).transpose()
    }

    /// Names the published values.
    pub(crate) async fn read_published_names(&self, run: RunKey) -> StoreResult<Vec<String>> {
        let query = sqlx::query(PUBLISHED_NAMES).bind(run.shard.0).bind(run.run_id.0);
        let rows = query.fetch_all(&self.read).await.map_err(store_error)?;
        Ok(rows.iter().map(|row| row.get("name")).collect())
    }
}

/// Reads a row of [`RESULTS`].
pub(crate) fn read_result(row: &PgRow) -> StoreResult<RunResult> {
    let run = key(row);
    let status = read_status(row.get("status"))?;
    let (result, failure) = match row.get::<Option<&[u8]>, _>("last_events") {
        Some(bytes) => read_end(run, row.get("first_event_id"), bytes)?,
        None => return Err(StoreError::Corrupt { problem: format!("closed run {} has no last event", run.run_id) }),
    };
    let successor = row.get::<Option<Uuid>, _>("successor").map(RunId);
    Ok(RunResult { status, result, failure, closed_at: row.get::<PgTime, _>("closed_at").0, successor })
}

fn read_end(run: RunKey, first_event_id: i64, bytes: &[u8]) -> StoreResult<(Option<Payload>, Option<Failure>)> {
    Ok(match read_events(run, first_event_id, bytes)?.pop().map(|event| event.event) {
        Some(EventKind::WorkflowExecutionCompleted(completed)) => (Some(completed.result), None),
        Some(EventKind::WorkflowExecutionCanceled(canceled)) => (canceled.details, None),
        Some(EventKind::WorkflowExecutionFailed(failed)) => (None, Some(failed.failure)),
        _ => (None, None),
    })
}

/// Reads a stored status.
pub(crate) fn read_status(text: &str) -> StoreResult<RunStatus> {
    RunStatus::parse(text).ok_or_else(|| StoreError::Corrupt { problem: format!("`{text}` is no status of a run") })
}

/// Reads stored JSON of a user's.
pub(crate) fn payload(bytes: &[u8]) -> StoreResult<Payload> {
    serde_json::from_slice(bytes).map_err(|error| corrupt("a stored value", &error))
}
