//! Ownership of runs: fencing, giving back, and what an owner reads of its own.

use std::collections::HashMap;

use dacapo_core::{
    Message, RunId, RunKey, Shard, WorkerId,
    store::{ReleaseOutcome, ReleaseRun, RunsPart, StoreResult},
};
use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::{PgStore, error::store_error, load::read_message, time::PgTime};

/// Here and below, an owner is compared in a way that no index can answer: a plan that is made on a small table, where
/// every index costs as little as the key, is kept.
const FENCE: &str = "UPDATE dacapo.runs_open SET owner_epoch = owner_epoch + 1
    WHERE shard = $1 AND run_id = $2 AND owner IS NOT DISTINCT FROM $3 AND owner_epoch = $4 RETURNING owner_epoch";

/// Keeps senders away until the transaction ends; what they sent before, the next statement sees.
const LOCK: &str = "
SELECT k.place FROM unnest($2::int2[], $3::uuid[], $4::int4[], $5::int8[]) WITH ORDINALITY
       k (shard, run_id, epoch, next, place),
       LATERAL (SELECT FROM dacapo.runs_open r WHERE r.shard = k.shard AND r.run_id = k.run_id
                   AND r.owner IS NOT DISTINCT FROM $1 AND r.owner_epoch = k.epoch AND r.next_event_id <= k.next FOR UPDATE SKIP LOCKED) l";

/// Of runs that the lock left out, those that are the worker's all the same: a sender held them.
const HELD: &str = "
SELECT k.place FROM unnest($2::int2[], $3::uuid[], $4::int4[], $5::int8[]) WITH ORDINALITY
       k (shard, run_id, epoch, next, place),
       LATERAL (SELECT FROM dacapo.runs_open r WHERE r.shard = k.shard AND r.run_id = k.run_id
                   AND r.owner IS NOT DISTINCT FROM $1 AND r.owner_epoch = k.epoch AND r.next_event_id <= k.next OFFSET 0) l";

/// Sees what was written before the locks. How far the run is, only its history says: its owner's steps do not change the row.
const RELEASE: &str = "
WITH seen AS MATERIALIZED (
    SELECT k.place, k.shard, k.run_id, k.next, k.ready_at,
           EXISTS (SELECT FROM dacapo.history h
                    WHERE h.shard = k.shard AND h.run_id = k.run_id AND h.first_event_id >= k.next OFFSET 0) AS moved
      FROM unnest($1::int2[], $2::uuid[], $3::int8[], $4::timestamptz[]) WITH ORDINALITY
           k (shard, run_id, next, ready_at, place)
), given AS (
    UPDATE dacapo.runs_open r SET owner = NULL, next_event_id = k.next
      FROM (SELECT k.place, k.next, k.ready_at, l.tid FROM seen k,
                   LATERAL (SELECT o.ctid AS tid FROM dacapo.runs_open o
                             WHERE o.shard = k.shard AND o.run_id = k.run_id OFFSET 0) l
             WHERE NOT k.moved
               AND NOT EXISTS (SELECT FROM dacapo.inbox b WHERE b.shard = k.shard AND b.run_id = k.run_id OFFSET 0)) k
     WHERE r.ctid = k.tid
    RETURNING k.place, k.ready_at, r.shard, r.run_id, r.namespace, r.task_queue, r.workflow_type, r.priority
), marked AS (
    INSERT INTO dacapo.ready AS y (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
    SELECT g.shard, g.run_id, g.namespace, g.task_queue, g.workflow_type, g.priority, g.ready_at FROM given g
     WHERE g.ready_at IS NOT NULL ORDER BY g.run_id, g.shard
    ON CONFLICT (shard, run_id) DO UPDATE SET visible_at = LEAST(y.visible_at, excluded.visible_at)
)
SELECT place, task_queue FROM given UNION ALL SELECT place, NULL FROM seen WHERE moved";

/// Reads the pages of one part of the table: an index by owner would cost every claim more than this costs a look.
const OWNED: &str = "
SELECT shard, run_id, owner_epoch FROM dacapo.runs_open
 WHERE owner = $1
   AND ctid >= (SELECT format('(%s,0)', pages * $2 / $3)::tid FROM
                (SELECT pg_relation_size('dacapo.runs_open') / current_setting('block_size')::int8 AS pages) p)
   AND ctid < (SELECT format('(%s,0)', pages * ($2 + 1) / $3)::tid FROM
               (SELECT pg_relation_size('dacapo.runs_open') / current_setting('block_size')::int8 AS pages) p)";

const INBOX: &str = "
SELECT b.shard, b.run_id, b.message, b.body
  FROM (SELECT DISTINCT k.shard, k.run_id FROM unnest($2::int2[], $3::uuid[]) k (shard, run_id)
         WHERE EXISTS (SELECT FROM dacapo.inbox b WHERE b.shard = k.shard AND b.run_id = k.run_id OFFSET 0)) k,
       LATERAL (SELECT r.owner FROM dacapo.runs_open r WHERE r.shard = k.shard AND r.run_id = k.run_id OFFSET 0) r,
       LATERAL (SELECT b.* FROM dacapo.inbox b
                 WHERE b.shard = k.shard AND b.run_id = k.run_id ORDER BY b.message LIMIT $4) b
 WHERE r.owner = $1
 ORDER BY b.run_id, b.shard, b.message LIMIT $4";

impl PgStore {
    /// Raises the epoch of a run, so that whatever is still on its way under the old one is fenced out.
    pub(crate) async fn raise_epoch(&self, worker: WorkerId, run: RunKey, epoch: i32) -> StoreResult<Option<i32>> {
        let raised = sqlx::query(FENCE)
            .bind(run.shard.0)
            .bind(run.run_id.0)
            .bind(worker.0)
            .bind(epoch)
            .fetch_optional(&self.hot)
            .await
            .map_err(store_error)?;
        Ok(raised.map(|row| row.get("owner_epoch")))
    }

    /// Gives runs back: locks first, looks at the inboxes in the next statement.
    pub(crate) async fn release_runs(
        &self,
        worker: WorkerId,
        mut runs: Vec<ReleaseRun>,
    ) -> StoreResult<Vec<(RunKey, ReleaseOutcome)>> {
        runs.sort_unstable_by_key(|run| run.key);
        let mut transaction = self.hot.begin().await.map_err(store_error)?;
        let locked = fenced_places(&mut transaction, LOCK, worker, &runs).await.map_err(store_error)?;
        let mut outcomes = HashMap::new();
        if locked.len() < runs.len() {
            let held = fenced_places(&mut transaction, HELD, worker, &runs).await.map_err(store_error)?;
            outcomes.extend(held.into_iter().map(|place| (place, ReleaseOutcome::Busy)));
        }
        outcomes.extend(locked.iter().map(|place| (*place, ReleaseOutcome::InboxNotEmpty)));
        let ready_at = |place: &usize| runs[*place].ready_at.map(PgTime);
        let given = sqlx::query(RELEASE)
            .bind(locked.iter().map(|place| runs[*place].key.shard.0).collect::<Vec<_>>())
            .bind(locked.iter().map(|place| runs[*place].key.run_id.0).collect::<Vec<_>>())
            .bind(locked.iter().map(|place| runs[*place].next_event_id).collect::<Vec<_>>())
            .bind(locked.iter().map(ready_at).collect::<Vec<_>>())
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        for row in given {
            let place = locked[row.get::<i64, _>("place") as usize - 1];
            let Some(queue) = row.get::<Option<String>, _>("task_queue") else {
                outcomes.insert(place, ReleaseOutcome::Fenced);
                continue;
            };
            outcomes.insert(place, ReleaseOutcome::Released);
            if let Some(at) = runs[place].ready_at {
                self.hints.runs_ready(&queue.into(), at);
            }
        }
        self.hints.send();
        let outcome = |place| outcomes.get(&place).copied().unwrap_or(ReleaseOutcome::Fenced);
        Ok(runs.iter().enumerate().map(|(place, run)| (run.key, outcome(place))).collect())
    }

    /// Lists what names a worker as owner in one part of the table.
    pub(crate) async fn read_owned(&self, worker: WorkerId, part: RunsPart) -> StoreResult<Vec<(RunKey, i32)>> {
        let query = sqlx::query(OWNED).bind(worker.0).bind(i64::from(part.index)).bind(i64::from(part.of));
        let rows = query.fetch_all(&self.read).await.map_err(store_error)?;
        Ok(rows.iter().map(|row| (key(row), row.get("owner_epoch"))).collect())
    }

    /// Reads messages to runs that the worker owns.
    pub(crate) async fn read_inbox(
        &self,
        worker: WorkerId,
        runs: &[RunKey],
        limit: i64,
    ) -> StoreResult<Vec<(RunKey, Message)>> {
        let rows = sqlx::query(INBOX)
            .bind(worker.0)
            .bind(runs.iter().map(|run| run.shard.0).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| run.run_id.0).collect::<Vec<_>>())
            .bind(limit)
            .fetch_all(&self.hot)
            .await
            .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                let run = key(row);
                Ok((run, read_message(run, row.get("message"), row.get("body"))?))
            })
            .collect()
    }
}

/// The places, from 0, of the runs whose fence a statement finds as the worker says.
async fn fenced_places(
    connection: &mut PgConnection,
    statement: &'static str,
    worker: WorkerId,
    runs: &[ReleaseRun],
) -> Result<Vec<usize>, sqlx::Error> {
    let rows = sqlx::query(statement)
        .bind(worker.0)
        .bind(runs.iter().map(|run| run.key.shard.0).collect::<Vec<_>>())
        .bind(runs.iter().map(|run| run.key.run_id.0).collect::<Vec<_>>())
        .bind(runs.iter().map(|run| run.owner_epoch).collect::<Vec<_>>())
        .bind(runs.iter().map(|run| run.next_event_id).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    Ok(rows.iter().map(|row| row.get::<i64, _>("place") as usize - 1).collect())
}

/// Reads the address of a run.
pub(crate) fn key(row: &PgRow) -> RunKey {
    RunKey { shard: Shard(row.get("shard")), run_id: RunId(row.get("run_id")) }
}
