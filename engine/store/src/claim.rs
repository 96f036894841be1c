//! Claims of runs: unowned runs with something to do become a worker's.

use dacapo_core::{
    RunId, RunKey, Shard, TaskQueue, WorkerId,
    store::{ClaimedRun, ClaimedRuns, RunClaim, StoreError, StoreResult},
};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{PgStore, error::store_error};

const CLAIM: &str = "
SELECT lives, shards, runs, epochs, nexts, stale_shards, stale_runs, stale_owners
  FROM dacapo.claim_v1($1, $2, $3, $4, $5)";

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
        let row = sqlx::query(CLAIM)
            .bind(worker.0)
            .bind(claim.namespace.as_str())
            .bind(queue.as_str())
            .bind(types)
            .bind(limit)
            .fetch_one(&self.hot)
            .await
            .map_err(store_error)?;
        if !row.get::<bool, _>("lives") {
            return Err(StoreError::LeaseLost { worker });
        }
        let epochs: Vec<i32> = row.get::<Option<_>, _>("epochs").unwrap_or_default();
        let nexts: Vec<i64> = row.get::<Option<_>, _>("nexts").unwrap_or_default();
        let fences = epochs.into_iter().zip(nexts);
        for (key, (owner_epoch, next_event_id)) in keys(&row, "shards", "runs").zip(fences) {
            claimed.runs.push(ClaimedRun { key, owner_epoch, next_event_id });
        }
        let owners: Vec<Uuid> = row.get::<Option<_>, _>("stale_owners").unwrap_or_default();
        let stale = keys(&row, "stale_shards", "stale_runs").zip(owners);
        claimed.stale.extend(stale.map(|(key, owner)| (key, WorkerId(owner))));
        Ok(())
    }
}

fn keys(row: &PgRow, shards: &str, runs: &str) -> impl Iterator<Item = RunKey> + use<> {
    let shards: Vec<i16> = row.get::<Option<_>, _>(shards).unwrap_or_default();
    let runs: Vec<Uuid> = row.get::<Option<_>, _>(runs).unwrap_or_default();
    shards.into_iter().zip(runs).map(|(shard, run_id)| RunKey { shard: Shard(shard), run_id: RunId(run_id) })
}
