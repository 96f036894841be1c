//! Claims of runs: unowned runs with something to do become a worker's, and come with all that belongs to them.

use dacapo_core::{
    TaskQueue, WorkerId,
    store::{ClaimedRuns, RunClaim, StoreError, StoreResult},
};
use sqlx::Row;
use uuid::Uuid;

use crate::{PgStore, error::store_error, load::read_loaded, ownership::key};

const CLAIM: &str = "
SELECT lives, shard, run_id, owner, owner_epoch, next_event_id, events, messages, bodies, ids, attempts, visible, claimers,
       tasks, failures, details
  FROM dacapo.claim_v2($1, $2, $3, $4, $5)";

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

    /// A run that cannot be read is reported and left out; it is the worker's all the same, and the comparison of the
    /// worker's memory with the table comes back to it.
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
        for row in &rows {
            if !row.get::<bool, _>("lives") {
                return Err(StoreError::LeaseLost { worker });
            }
            if row.get::<Option<Vec<Vec<u8>>>, _>("events").is_none() {
                claimed.stale.push((key(row), WorkerId(row.get::<Uuid, _>("owner"))));
                continue;
            }
            match read_loaded(row) {
                Ok(run) => claimed.runs.push(run),
                Err(error) => tracing::error!(%error, "a claimed run cannot be loaded"),
            }
        }
        Ok(())
    }
}
