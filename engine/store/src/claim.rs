//! Claims of runs: unowned runs with something to do become a worker's, and come with all that belongs to them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use dacapo_core::{
    Namespace, TaskQueue, Timestamp, WorkerId,
    store::{ClaimedRuns, RunClaim, StoreError, StoreResult},
};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{PgStore, error::store_error, load::read_loaded, ownership::key, time::PgTime, vacuum::Queue};

const CLAIM: &str = "
SELECT lives, shard, run_id, owner, owner_epoch, next_event_id, events, messages, bodies, ids, attempts, visible, claimers,
       tasks, failures, details, ready_priority, ready_visible
  FROM dacapo.claim_v4($1, $2, $3, $4, $5, $6, COALESCE($7, '-infinity'))";

/// The time for which claims of a long queue go on where the last one ended. What came to lie before that place, such as
/// runs of a higher priority, waits so much longer.
const GO_ON_FOR: Duration = Duration::from_millis(250);

/// A place in a queue: a priority, and a time within it.
type Place = (i16, Timestamp);

/// A queue's name.
type QueueName = (Namespace, TaskQueue);

/// Where the next claim of each queue goes on. Claimed rows lie dead in the queue's index until a vacuum; whoever begins
/// at its beginning walks over all of them, which in a long queue soon is most of a claim.
#[derive(Debug, Default)]
pub(crate) struct Places {
    queues: Mutex<HashMap<QueueName, (Place, Instant)>>,
}

impl Places {
    fn of(&self, queue: &QueueName) -> Option<Place> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.get(queue).filter(|(_, since)| since.elapsed() < GO_ON_FOR).map(|(place, _)| *place)
    }

    /// Notes how far a claim came (`None`: to the end), and whether it went on where another had ended.
    fn note(&self, queue: QueueName, went_on: bool, reached: Option<Place>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        match (reached, queues.get_mut(&queue)) {
            (None, _) => drop(queues.remove(&queue)),
            (Some(reached), Some((place, _))) if went_on => *place = reached,
            (Some(reached), _) => drop(queues.insert(queue, (reached, Instant::now()))),
        }
    }
}

impl PgStore {
    /// Takes runs from the queues in turn, each in order of priority and age.
    pub(crate) async fn claim_ready(&self, worker: WorkerId, claim: &RunClaim) -> StoreResult<ClaimedRuns> {
        let mut claimed = ClaimedRuns::default();
        let types: Vec<&str> = claim.workflow_types.iter().map(|name| name.as_str()).collect();
        for queue in &claim.queues {
            let room = claim.limit.saturating_sub(claimed.runs.len() + claimed.skipped);
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

    /// Claims where the last claim ended, and from the beginning where that leaves room.
    async fn claim_queue(
        &self,
        worker: WorkerId,
        claim: &RunClaim,
        queue: &TaskQueue,
        types: &[&str],
        room: i64,
        claimed: &mut ClaimedRuns,
    ) -> StoreResult<()> {
        let name = (claim.namespace.clone(), queue.clone());
        let query = |room: i64, from: Option<Place>| {
            sqlx::query(CLAIM)
                .bind(worker.0)
                .bind(name.0.as_str())
                .bind(name.1.as_str())
                .bind(types)
                .bind(room)
                .bind(from.map_or(i16::MIN, |(priority, _)| priority))
                .bind(from.map(|(_, visible_at)| PgTime(visible_at)))
        };
        let from = self.places.of(&name);
        let mut rows = query(room, from).fetch_all(&self.hot).await.map_err(store_error)?;
        let went_on = rows.len() as i64 == room && from.is_some();
        self.removed.note(Queue::Ready, rows.len());
        take_in(worker, &rows, claimed)?;
        let left = room - rows.len() as i64;
        if from.is_some() && left > 0 {
            rows = query(left, None).fetch_all(&self.hot).await.map_err(store_error)?;
            self.removed.note(Queue::Ready, rows.len());
            take_in(worker, &rows, claimed)?;
        }
        let reached = rows.iter().map(|row| (row.get("ready_priority"), row.get::<PgTime, _>("ready_visible").0)).max();
        let full = if from.is_some() && !went_on { left } else { room };
        self.places.note(name, went_on, reached.filter(|_| rows.len() as i64 == full));
        Ok(())
    }
}

/// Reads the rows of a claim. A run that cannot be read is reported and left out; it is the worker's all the same, and the
/// comparison of the worker's memory with the table comes back to it.
fn take_in(worker: WorkerId, rows: &[PgRow], claimed: &mut ClaimedRuns) -> StoreResult<()> {
    for row in rows {
        if !row.get::<bool, _>("lives") {
            return Err(StoreError::LeaseLost { worker });
        }
        if row.get::<Option<i32>, _>("owner_epoch").is_none() {
            claimed.skipped += 1;
            continue;
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
