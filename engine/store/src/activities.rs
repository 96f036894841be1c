//! Attempts of activities that run in other processes than their run's owner: claims, heartbeats, giving back, timeouts.

use dacapo_core::{
    ActivityOutcome, ActivityResult, RunKey, TaskQueue, Timestamp, WorkerId,
    store::{
        ActivityClaim, ActivityClaimRef, ActivityHeartbeat, ClaimedActivity, HeartbeatAnswer, StoreError, StoreResult,
    },
};
use sqlx::{Row, postgres::PgRow};

use crate::{
    PgStore, error::store_error, load::read_task, ownership::key, results::payload, takeover::settle, time::PgTime,
    vacuum::Queue,
};

/// A token is the time of the claim or one more than the last, whichever is larger, so that a row that was removed and
/// written again never gives a token twice.
const CLAIM: &str = "
WITH me AS MATERIALIZED (
    SELECT w.worker FROM dacapo.workers w
     WHERE w.worker = $1 AND NOT w.dead AND w.lease_until > clock_timestamp() FOR KEY SHARE
), c AS MATERIALIZED (
    SELECT a.ctid AS tid FROM dacapo.activities a
     WHERE (SELECT count(*) FROM me) > 0
       AND a.namespace = $2 AND a.task_queue = $3 AND a.visible_at <= statement_timestamp()
       AND a.claimed_by IS NULL AND NOT a.reported
     ORDER BY a.namespace, a.task_queue, a.priority, a.visible_at LIMIT $4 FOR UPDATE OF a SKIP LOCKED
), u AS (
    UPDATE dacapo.activities a
       SET claimed_by = $1, claimed_at = clock_timestamp(), heard_at = clock_timestamp(),
           claim_token = GREATEST(a.claim_token + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::int8),
           deadline = LEAST(clock_timestamp() + a.start_to_close_ms * interval '1 ms',
                            clock_timestamp() + a.heartbeat_ms * interval '1 ms', a.schedule_to_close_at)
      FROM c WHERE a.ctid = c.tid
    RETURNING a.shard, a.run_id, a.activity_id, a.attempt, a.claim_token, a.cancel_requested, a.task, a.last_heartbeat
)
SELECT shard, run_id, activity_id, attempt, claim_token, cancel_requested, task, last_heartbeat FROM u
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM me";

/// Locked in one order, because flushes and other heartbeats take many of these rows at once.
const LOCK_CLAIMS: &str = "
SELECT k.place FROM unnest($2::int2[], $3::uuid[], $4::int8[], $5::int4[], $6::int8[]) WITH ORDINALITY
       k (shard, run_id, id, attempt, token, place),
       LATERAL (SELECT FROM dacapo.activities a WHERE a.shard = k.shard AND a.run_id = k.run_id AND a.activity_id = k.id
                   AND a.attempt = k.attempt AND a.claim_token = k.token
                   AND a.claimed_by IS NOT DISTINCT FROM $1 FOR UPDATE) l";

const HEARTBEAT: &str = "
UPDATE dacapo.activities a
   SET heard_at = clock_timestamp(), last_heartbeat = COALESCE(k.details, a.last_heartbeat),
       deadline = LEAST(a.claimed_at + a.start_to_close_ms * interval '1 ms',
                        clock_timestamp() + a.heartbeat_ms * interval '1 ms', a.schedule_to_close_at)
  FROM (SELECT k.place, k.details, l.tid
          FROM unnest($1::int2[], $2::uuid[], $3::int8[], $4::bytea[]) WITH ORDINALITY k (shard, run_id, id, details, place),
               LATERAL (SELECT x.ctid AS tid FROM dacapo.activities x
                         WHERE x.shard = k.shard AND x.run_id = k.run_id AND x.activity_id = k.id OFFSET 0) l) k
 WHERE a.ctid = k.tid
RETURNING k.place, a.cancel_requested";

/// An attempt that did not begin is not spent: the same one becomes visible again, under a new token.
const RETURN: &str = "
UPDATE dacapo.activities a
   SET claimed_by = NULL, claimed_at = NULL, heard_at = NULL, claim_token = a.claim_token + 1,
       visible_at = clock_timestamp(), deadline = a.schedule_to_close_at
  FROM (SELECT l.tid FROM unnest($1::int2[], $2::uuid[], $3::int8[]) k (shard, run_id, id),
               LATERAL (SELECT x.ctid AS tid FROM dacapo.activities x
                         WHERE x.shard = k.shard AND x.run_id = k.run_id AND x.activity_id = k.id OFFSET 0) l) k
 WHERE a.ctid = k.tid
RETURNING a.task_queue";

/// Rows first, then their runs, and both without waiting, as timers.
const LOCK_OVERDUE: &str = "
SELECT a.shard, a.run_id, a.activity_id, a.attempt, a.task, a.claimed_at, a.heard_at, a.last_heartbeat,
       clock_timestamp() AS now, coalesce(w.identity, '') AS identity
  FROM dacapo.activities a
       CROSS JOIN LATERAL (SELECT FROM dacapo.runs_open r
         WHERE r.shard = a.shard AND r.run_id = a.run_id FOR KEY SHARE SKIP LOCKED) r
       LEFT JOIN LATERAL (SELECT w.identity FROM dacapo.workers w WHERE w.worker = a.claimed_by OFFSET 0) w ON true
 WHERE a.deadline <= statement_timestamp()
 ORDER BY a.deadline LIMIT $1 FOR UPDATE OF a SKIP LOCKED";

impl PgStore {
    /// Takes attempts from the queues in turn, each in order of priority and age.
    pub(crate) async fn claim_attempts(
        &self,
        worker: WorkerId,
        claim: &ActivityClaim,
    ) -> StoreResult<Vec<ClaimedActivity>> {
        let mut claimed = Vec::new();
        for queue in &claim.queues {
            let room = claim.limit.saturating_sub(claimed.len());
            if room == 0 {
                break;
            }
            let rows = sqlx::query(CLAIM)
                .bind(worker.0)
                .bind(claim.namespace.as_str())
                .bind(queue.as_str())
                .bind(room as i64)
                .fetch_all(&self.hot)
                .await
                .map_err(store_error)?;
            // One row says that the claimer lives.
            self.removed.note(Queue::Activities, rows.len().saturating_sub(1));
            let mut lives = false;
            for row in &rows {
                if row.get::<Option<i16>, _>("shard").is_some() {
                    claimed.push(read_claimed(row)?);
                } else {
                    lives = true;
                }
            }
            if !lives {
                return Err(StoreError::LeaseLost { worker });
            }
        }
        Ok(claimed)
    }

    /// Records signs of life. Those that are not the caller's any more are missing in the answer.
    pub(crate) async fn record_heartbeats(
        &self,
        worker: WorkerId,
        mut beats: Vec<ActivityHeartbeat>,
    ) -> StoreResult<Vec<HeartbeatAnswer>> {
        beats.sort_unstable_by_key(|beat| (beat.claim.run, beat.claim.activity_id));
        let claims: Vec<ActivityClaimRef> = beats.iter().map(|beat| beat.claim).collect();
        let mut transaction = self.hot.begin().await.map_err(store_error)?;
        let held = lock_claims(&mut transaction, worker, &claims).await.map_err(store_error)?;
        let rows = sqlx::query(HEARTBEAT)
            .bind(held.iter().map(|at| claims[*at].run.shard.0).collect::<Vec<_>>())
            .bind(held.iter().map(|at| claims[*at].run.run_id.0).collect::<Vec<_>>())
            .bind(held.iter().map(|at| claims[*at].activity_id as i64).collect::<Vec<_>>())
            .bind(
                held.iter()
                    .map(|at| beats[*at].details.as_ref().map(|details| details.as_json().as_bytes()))
                    .collect::<Vec<_>>(),
            )
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(rows
            .iter()
            .map(|row| HeartbeatAnswer {
                claim: claims[held[row.get::<i64, _>("place") as usize - 1]],
                cancel_requested: row.get("cancel_requested"),
            })
            .collect())
    }

    /// Gives attempts back that did not begin.
    pub(crate) async fn return_attempts(&self, worker: WorkerId, mut claims: Vec<ActivityClaimRef>) -> StoreResult<()> {
        claims.sort_unstable_by_key(|claim| (claim.run, claim.activity_id));
        let mut transaction = self.hot.begin().await.map_err(store_error)?;
        let held = lock_claims(&mut transaction, worker, &claims).await.map_err(store_error)?;
        let rows = sqlx::query(RETURN)
            .bind(held.iter().map(|at| claims[*at].run.shard.0).collect::<Vec<_>>())
            .bind(held.iter().map(|at| claims[*at].run.run_id.0).collect::<Vec<_>>())
            .bind(held.iter().map(|at| claims[*at].activity_id as i64).collect::<Vec<_>>())
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        for row in rows {
            let queue: TaskQueue = row.get::<String, _>("task_queue").into();
            self.hints.activities_ready(&queue, self.hints.now());
        }
        self.hints.send();
        Ok(())
    }

    /// Turns attempts whose time has passed into outcomes for their runs. Gives how many.
    pub(crate) async fn expire_attempts(&self, limit: i64) -> StoreResult<u64> {
        let mut transaction = self.hot.begin().await.map_err(store_error)?;
        let rows = sqlx::query(LOCK_OVERDUE).bind(limit).fetch_all(&mut *transaction).await.map_err(store_error)?;
        let outcomes: Vec<(RunKey, ActivityOutcome)> =
            rows.iter().map(|row| Ok((key(row), timed_out(row)?))).collect::<StoreResult<_>>()?;
        let delivery = settle(&mut transaction, &outcomes).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        delivery.hint(&self.hints);
        metrics::counter!("dacapo_activities_expired_total").increment(outcomes.len() as u64);
        Ok(outcomes.len() as u64)
    }
}

async fn lock_claims(
    connection: &mut sqlx::PgConnection,
    worker: WorkerId,
    claims: &[ActivityClaimRef],
) -> Result<Vec<usize>, sqlx::Error> {
    let rows = sqlx::query(LOCK_CLAIMS)
        .bind(worker.0)
        .bind(claims.iter().map(|claim| claim.run.shard.0).collect::<Vec<_>>())
        .bind(claims.iter().map(|claim| claim.run.run_id.0).collect::<Vec<_>>())
        .bind(claims.iter().map(|claim| claim.activity_id as i64).collect::<Vec<_>>())
        .bind(claims.iter().map(|claim| i32::try_from(claim.attempt).unwrap_or(i32::MAX)).collect::<Vec<_>>())
        .bind(claims.iter().map(|claim| claim.token).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    Ok(rows.iter().map(|row| row.get::<i64, _>("place") as usize - 1).collect())
}

fn read_claimed(row: &PgRow) -> StoreResult<ClaimedActivity> {
    let run = key(row);
    let attempt = row.get::<i32, _>("attempt") as u32;
    let mut task = read_task(run, row.get("task"))?;
    if let Some(details) = row.get::<Option<&[u8]>, _>("last_heartbeat") {
        task.last_heartbeat = Some(payload(details)?);
    }
    let activity_id = row.get::<i64, _>("activity_id") as u64;
    let claim = ActivityClaimRef { run, activity_id, attempt, token: row.get("claim_token") };
    Ok(ClaimedActivity { claim, task, cancel_requested: row.get("cancel_requested") })
}

/// The outcome of an attempt whose deadline has passed: which timeout it was, the task knows.
fn timed_out(row: &PgRow) -> StoreResult<ActivityOutcome> {
    let run = key(row);
    let task = read_task(run, row.get("task"))?;
    let time = |column: &str| row.get::<Option<PgTime>, _>(column).map(|time| time.0);
    let started_at: Option<Timestamp> = time("claimed_at");
    let deadline = match started_at {
        Some(started) => task.running_deadline(started, time("heard_at").unwrap_or(started)),
        None => task.waiting_deadline(),
    };
    let Some((_, timeout)) = deadline else {
        let problem = format!("activity {} of run {} has a deadline and no timeout", task.activity_id, run.run_id);
        return Err(StoreError::Corrupt { problem });
    };
    let last_heartbeat = row.get::<Option<&[u8]>, _>("last_heartbeat").map(payload).transpose()?;
    Ok(ActivityOutcome {
        activity_id: row.get::<i64, _>("activity_id") as u64,
        attempt: row.get::<i32, _>("attempt") as u32,
        started_at,
        identity: row.get("identity"),
        result: ActivityResult::TimedOut { timeout },
        last_heartbeat,
    })
}
