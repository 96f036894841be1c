//! Claims of runs: unowned runs with something to do become a worker's.

use dacapo_core::{
    RunId, RunKey, Shard, TaskQueue, WorkerId,
    store::{ClaimedRun, ClaimedRuns, RunClaim, StoreError, StoreResult},
};
use sqlx::Row;
use uuid::Uuid;

use crate::{PgStore, error::store_error};

/// Decides on the owner that the lock returned, never on the one of the statement's snapshot. What is ready although it
/// has an owner is stale: its row goes, its owner gets a hint.
const CLAIM: &str = "
WITH me AS MATERIALIZED (
    SELECT w.worker FROM dacapo.workers w
     WHERE w.worker = $1 AND NOT w.dead AND w.lease_until > clock_timestamp() FOR KEY SHARE
), c AS MATERIALIZED (
    SELECT y.ctid AS ready_tid, y.shard, y.run_id, r.owner, r.tid
      FROM me, dacapo.ready y,
           LATERAL (SELECT o.owner, o.ctid AS tid FROM dacapo.runs_open o
                     WHERE o.shard = y.shard AND o.run_id = y.run_id FOR NO KEY UPDATE SKIP LOCKED) r
     WHERE y.namespace = $2 AND y.task_queue = $3 AND y.visible_at <= clock_timestamp() AND y.workflow_type = ANY ($4)
     ORDER BY y.namespace, y.task_queue, y.priority, y.visible_at LIMIT $5
       FOR UPDATE OF y SKIP LOCKED
), u AS (
    UPDATE dacapo.runs_open r SET owner = $1, owner_epoch = r.owner_epoch + 1, parked = false FROM c
     WHERE r.ctid = c.tid AND c.owner IS NULL
    RETURNING r.shard, r.run_id, r.owner_epoch, r.next_event_id
), d AS (
    DELETE FROM dacapo.ready WHERE ctid = ANY (ARRAY(SELECT c.ready_tid FROM c))
)
SELECT u.shard, u.run_id, NULL::uuid AS stale_owner, u.owner_epoch, u.next_event_id FROM u
UNION ALL
SELECT c.shard, c.run_id, c.owner, NULL, NULL FROM c WHERE c.owner IS NOT NULL
UNION ALL
SELECT NULL, NULL, me.worker, NULL, NULL FROM me";

impl PgStore {
    /// Takes runs from the queues in turn, each in order of priority and age.
    pub(crate) async fn claim_ready(&self, worker: WorkerId, claim: &RunClaim) -> StoreResult<ClaimedRuns> {
        let mut claimed = ClaimedRuns::default();
        let types: Vec<&str> = claim.workflow_types.iter().map(|name| name.as_str()).collect();
        for queue in &claim.queues {
            let room = claim.limit.saturating_sub(claimed.runs.len());
            if room == 0 {
                break;
            }
            self.claim_queue(worker, claim, queue, &types, room as i64, &mut claimed).await?;
        }
        for (run, owner) in &claimed.stale {
            self.hints.inbox(*owner, *run);
        }
        if !claimed.stale.is_empty() {
            self.hints.send();
        }
        Ok(claimed)
    }

    async fn claim_queue(
        &self,
        worker: WorkerId,
        claim: &RunClaim,
        queue: &TaskQueue,
        types: &[&str],
        limit: i64,
        claimed: &mut ClaimedRuns,
    ) -> StoreResult<()> {
        let rows = sqlx::query(CLAIM)
            .bind(worker.0)
            .bind(claim.namespace.as_str())
            .bind(queue.as_str())
            .bind(types)
            .bind(limit)
            .fetch_all(&self.hot)
            .await
            .map_err(store_error)?;
        let mut lives = false;
        for row in rows {
            let Some(shard) = row.get::<Option<i16>, _>("shard") else {
                lives = true;
                continue;
            };
            let key = RunKey { shard: Shard(shard), run_id: RunId(row.get("run_id")) };
            match row.get::<Option<Uuid>, _>("stale_owner") {
                Some(owner) => claimed.stale.push((key, WorkerId(owner))),
                None => claimed.runs.push(ClaimedRun {
                    key,
                    owner_epoch: row.get("owner_epoch"),
                    next_event_id: row.get("next_event_id"),
                }),
            }
        }
        if lives { Ok(()) } else { Err(StoreError::LeaseLost { worker }) }
    }
}
