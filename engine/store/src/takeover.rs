//! Take-over of what a dead worker owned and had claimed, in bounded batches.
//!
//! The worker is marked dead under a lock that no claim or owned start of its passes, so that nothing is added to what
//! there is to take. An attempt that it had claimed may have begun, so it counts: its run is told that it was lost, and
//! the retry policy decides. A run that is taken over again and again, without a single event in between and shortly after it
//! was taken, is parked: it may be what kills its workers.

use std::time::Duration;

use dacapo_core::{
    ActivityOutcome, ActivityResult, Failure, Message, MessageBody, MessageId, RunKey, WorkerId,
    limits::{TAKEOVER_COUNTS_WITHIN, TAKEOVERS_WITHOUT_PROGRESS_MAX},
    store::StoreResult,
};
use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::{
    PgStore,
    committer::{Delivery, deliver},
    error::store_error,
    fleet::REMOVE_WORKER,
    ownership::key,
    results::payload,
    time::PgTime,
};

const LOCK_WORKER: &str = "SELECT dead, lease_until < clock_timestamp() AS lapsed, identity FROM dacapo.workers
    WHERE worker = $1 FOR UPDATE";

/// Nobody chooses it any more for starts, each of which holds its row for a moment; many of them could go on for as long.
const CHOOSE_NO_MORE: &str = "UPDATE dacapo.workers SET takes_until = NULL
    WHERE worker = $1 AND takes_until IS NOT NULL AND ($2 OR lease_until < clock_timestamp())";

const MARK_DEAD: &str = "UPDATE dacapo.workers SET dead = true WHERE worker = $1";

const TAKE_RUNS: &str = "SELECT shard, run_id, task_queue, parked FROM dacapo.take_over_v2($1, $2, $3, $4)";

/// The runs are locked before what belongs to them; those that somebody closes or releases right now come next time.
const LOCK_CLAIMED: &str = "
SELECT a.shard, a.run_id, a.activity_id, a.attempt, a.claimed_at, a.last_heartbeat
  FROM dacapo.activities a, LATERAL (SELECT FROM dacapo.runs_open r
         WHERE r.shard = a.shard AND r.run_id = a.run_id FOR KEY SHARE SKIP LOCKED) r
 WHERE a.claimed_by = $1 LIMIT $2 FOR UPDATE OF a SKIP LOCKED";

/// Marks attempts whose outcome goes into the inbox; the new token fences out whoever still runs one.
pub(crate) const MARK_REPORTED: &str = "
UPDATE dacapo.activities SET reported = true, claimed_by = NULL, deadline = NULL, claim_token = claim_token + 1
 WHERE ctid = ANY (ARRAY(
       SELECT l.tid FROM unnest($1::int2[], $2::uuid[], $3::int8[]) k (shard, run_id, id),
              LATERAL (SELECT a.ctid AS tid FROM dacapo.activities a
                        WHERE a.shard = k.shard AND a.run_id = k.run_id AND a.activity_id = k.id OFFSET 0) l))";

impl PgStore {
    /// Takes over one batch. 0: nothing is left.
    pub(crate) async fn take_over_batch(&self, dead: WorkerId, limit: i64) -> StoreResult<u64> {
        let vanished = self.has_vanished(dead).await?;
        sqlx::query(CHOOSE_NO_MORE).bind(dead.0).bind(vanished).execute(&self.hot).await.map_err(store_error)?;
        let mut transaction = self.hot.begin().await.map_err(store_error)?;
        let row = sqlx::query(LOCK_WORKER).bind(dead.0).fetch_optional(&mut *transaction).await.map_err(store_error)?;
        let Some(row) = row else { return Ok(0) };
        let marked: bool = row.get("dead");
        if !(marked || vanished || row.get::<bool, _>("lapsed")) {
            // It has renewed its lease in the meantime.
            return Ok(0);
        }
        let identity: String = row.get("identity");
        if !marked {
            sqlx::query(MARK_DEAD).bind(dead.0).execute(&mut *transaction).await.map_err(store_error)?;
            tracing::warn!(worker = %dead, identity, vanished, "a worker is gone; its runs are taken over");
        }
        transaction.commit().await.map_err(store_error)?;
        // It has not seen these: they are no proof against their workflows. So none is left when the others are taken.
        let untaken = self.give_back_untaken(Some(dead), Duration::ZERO).await?;
        if untaken > 0 {
            return Ok(untaken);
        }
        let runs = self.take_runs(dead, limit).await?;
        let activities = self.take_activities(dead, &identity, limit - runs as i64).await?;
        if runs + activities == 0 {
            sqlx::query(REMOVE_WORKER).bind(dead.0).execute(&self.read).await.map_err(store_error)?;
        }
        metrics::counter!("dacapo_taken_over_runs_total").increment(runs);
        metrics::counter!("dacapo_taken_over_activities_total").increment(activities);
        Ok(runs + activities)
    }

    async fn take_runs(&self, dead: WorkerId, limit: i64) -> StoreResult<u64> {
        let rows = sqlx::query(TAKE_RUNS)
            .bind(dead.0)
            .bind(limit)
            .bind(TAKEOVERS_WITHOUT_PROGRESS_MAX)
            .bind(TAKEOVER_COUNTS_WITHIN.as_millis() as i64)
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        for row in &rows {
            if row.get("parked") {
                let run = key(row).run_id;
                tracing::error!(%run, "the run is parked: {TAKEOVERS_WITHOUT_PROGRESS_MAX} workers in a row died with it");
                metrics::counter!("dacapo_parked_runs_total").increment(1);
            } else {
                self.hints.runs_ready(&row.get::<String, _>("task_queue").into(), self.hints.now());
            }
        }
        self.hints.send();
        Ok(rows.len() as u64)
    }

    async fn take_activities(&self, dead: WorkerId, identity: &str, limit: i64) -> StoreResult<u64> {
        let mut transaction = self.hot.begin().await.map_err(store_error)?;
        let query = sqlx::query(LOCK_CLAIMED).bind(dead.0).bind(limit);
        let rows = query.fetch_all(&mut *transaction).await.map_err(store_error)?;
        let outcomes: Vec<(RunKey, ActivityOutcome)> =
            rows.iter().map(|row| Ok((key(row), lost(row, identity)?))).collect::<StoreResult<_>>()?;
        let delivery = settle(&mut transaction, &outcomes).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        delivery.hint(&self.hints);
        Ok(outcomes.len() as u64)
    }
}

/// The outcome of an attempt whose worker is gone.
fn lost(row: &PgRow, identity: &str) -> StoreResult<ActivityOutcome> {
    let attempt = row.get::<i32, _>("attempt") as u32;
    Ok(ActivityOutcome {
        activity_id: row.get::<i64, _>("activity_id") as u64,
        attempt,
        started_at: row.get::<Option<PgTime>, _>("claimed_at").map(|time| time.0),
        identity: identity.into(),
        last_heartbeat: row.get::<Option<&[u8]>, _>("last_heartbeat").map(payload).transpose()?,
        result: ActivityResult::Failed(Failure::lost_attempt(attempt)),
    })
}

/// Ends attempts whose rows, and the rows of their runs, the caller has locked: each run gets the outcome as a message.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    outcomes: &[(RunKey, ActivityOutcome)],
) -> Result<Delivery, sqlx::Error> {
    if outcomes.is_empty() {
        return Ok(Delivery::default());
    }
    sqlx::query(MARK_REPORTED)
        .bind(outcomes.iter().map(|(run, _)| run.shard.0).collect::<Vec<_>>())
        .bind(outcomes.iter().map(|(run, _)| run.run_id.0).collect::<Vec<_>>())
        .bind(outcomes.iter().map(|(_, outcome)| outcome.activity_id as i64).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    let messages: Vec<(RunKey, Message)> = outcomes
        .iter()
        .map(|(run, outcome)| {
            let id = MessageId::activity_outcome(run.run_id, outcome.activity_id, outcome.attempt);
            (*run, Message { id, body: MessageBody::ActivityOutcome(Box::new(outcome.clone())) })
        })
        .collect();
    let letters: Vec<(RunKey, &Message)> = messages.iter().map(|(run, message)| (*run, message)).collect();
    deliver(connection, &letters).await
}
