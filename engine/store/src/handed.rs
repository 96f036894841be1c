//! Starts that were handed to a worker at once: taken by it, or given back to everybody (`docs/ownership-protocol.md`).

use std::{sync::LazyLock, time::Duration};

use dacapo_core::{
    WorkerId,
    store::{HandedId, HandedStarts, StoreResult, TakenStarts},
};
use sqlx::Row;

use crate::{PgStore, error::store_error, load::read_loaded, vacuum::Queue};

/// The flushes of starts, of one run or up to 200, that are given back in one statement.
const GIVE_BACK_FLUSHES: i64 = 50;

const TAKE_STARTS: &str = "UPDATE dacapo.workers SET takes_until = clock_timestamp() + $2 * interval '1 ms'
    WHERE worker = $1 AND NOT dead";

/// One snapshot shows what was handed and the runs, which are the worker's since it was: nobody else writes to them unless
/// they were given back, and that removes the row which this statement would. A run whose epoch has risen was found and
/// written to in another way: it is known. The wait for the disk is spared, as in a claim;
/// what is lost in a crash of the server is there again, and the worker knows its runs.
fn take(which: &str) -> String {
    format!(
        "WITH quick AS MATERIALIZED (
             SELECT set_config('synchronous_commit', 'off', true)
         ), taken AS (
             DELETE FROM dacapo.handed h WHERE h.worker = $1 {which} RETURNING h.handed_at, h.shards, h.runs
         )
         SELECT r.shard, r.run_id, r.owner, r.owner_epoch, r.next_event_id,
                ARRAY(SELECT h.events FROM dacapo.history h WHERE h.shard = r.shard AND h.run_id = r.run_id
                       ORDER BY h.first_event_id) AS events,
                b.messages, b.bodies, NULL::int8[] AS ids,
                (1000 * extract(epoch FROM clock_timestamp() - t.handed_at))::int8 AS waited_ms
           FROM quick, taken t, LATERAL unnest(t.shards, t.runs) k (shard, run_id),
                LATERAL (SELECT * FROM dacapo.runs_open o
                          WHERE o.shard = k.shard AND o.run_id = k.run_id AND o.owner = $1 AND o.owner_epoch = 1 OFFSET 0) r,
                LATERAL (SELECT array_agg(b.message ORDER BY b.message) AS messages,
                                array_agg(b.body ORDER BY b.message) AS bodies
                           FROM dacapo.inbox b WHERE b.shard = k.shard AND b.run_id = k.run_id) b"
    )
}

static TAKE_SOME: LazyLock<String> = LazyLock::new(|| take("AND h.handed_id = ANY ($2)"));
static TAKE_OLDEST: LazyLock<String> = LazyLock::new(|| {
    take(
        "AND h.handed_id = ANY (ARRAY(
             SELECT o.handed_id FROM dacapo.handed o WHERE o.worker = $1 ORDER BY o.handed_id LIMIT $2))",
    )
});

/// What hints have brought is here without a look. As in a take, the wait for the disk is spared.
const TOOK: &str = "
WITH quick AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true)
), taken AS (
    DELETE FROM dacapo.handed h WHERE h.worker = $1 AND h.handed_id = ANY ($2) RETURNING h.handed_at
)
SELECT count(*) AS taken, (1000 * extract(epoch FROM clock_timestamp() - min(t.handed_at)))::int8 AS ago_ms
  FROM quick, taken t";

const GIVE_BACK: &str = "SELECT flushes, task_queue, runs FROM dacapo.give_back_v1($1, $2, $3)";

impl PgStore {
    /// Lets starts be handed to a worker, or not any more.
    pub(crate) async fn set_takes_starts(&self, worker: WorkerId, for_so_long: Option<Duration>) -> StoreResult<()> {
        let query = sqlx::query(TAKE_STARTS).bind(worker.0).bind(for_so_long.map(|time| time.as_millis() as i64));
        query.execute(&self.hot).await.map_err(store_error).map(drop)
    }

    /// Takes what was handed to a worker. A run that cannot be read is reported and left out; it is the worker's all the
    /// same, and the comparison of the worker's memory with the table comes back to it.
    pub(crate) async fn take_handed_starts(&self, worker: WorkerId, which: &HandedStarts) -> StoreResult<TakenStarts> {
        let (rows, removed) = match which {
            HandedStarts::Oldest(limit) => {
                let statement: &'static str = &TAKE_OLDEST;
                (sqlx::query(statement).bind(worker.0).bind(*limit as i64).fetch_all(&self.hot).await, 1)
            }
            HandedStarts::Some(ids) => {
                let statement: &'static str = &TAKE_SOME;
                (sqlx::query(statement).bind(worker.0).bind(ids).fetch_all(&self.hot).await, ids.len())
            }
        };
        let rows = rows.map_err(store_error)?;
        self.removed.note(Queue::Handed, removed);
        let mut taken = TakenStarts::default();
        for row in &rows {
            let waited = Duration::from_millis(row.get::<i64, _>("waited_ms").max(0).unsigned_abs());
            taken.waited = taken.waited.max(waited);
            match read_loaded(row) {
                Ok(run) => taken.runs.push(run),
                Err(error) => tracing::error!(%error, "a run that was handed over cannot be loaded"),
            }
        }
        Ok(taken)
    }

    /// Removes the rows of flushes that a worker has. Gives the age of the oldest, if all were there.
    pub(crate) async fn note_brought(&self, worker: WorkerId, handed: &[HandedId]) -> StoreResult<Option<Duration>> {
        let row = sqlx::query(TOOK).bind(worker.0).bind(handed).fetch_one(&self.hot).await.map_err(store_error)?;
        self.removed.note(Queue::Handed, handed.len());
        let all = row.get::<i64, _>("taken") == handed.len() as i64;
        let ago = row.get::<Option<i64>, _>("ago_ms").filter(|_| all);
        Ok(ago.map(|ago| Duration::from_millis(ago.max(0).unsigned_abs())))
    }

    /// Makes ready for everybody what was handed to a worker, or to anybody, and not taken: some flushes of it. Gives how
    /// many; 0: none is left.
    pub(crate) async fn give_back_untaken(&self, worker: Option<WorkerId>, age: Duration) -> StoreResult<u64> {
        let rows = sqlx::query(GIVE_BACK)
            .bind(worker.map(|worker| worker.0))
            .bind(age.as_millis() as i64)
            .bind(GIVE_BACK_FLUSHES)
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        let (mut flushes, mut runs) = (0, 0);
        for row in &rows {
            flushes = row.get::<i64, _>("flushes").unsigned_abs();
            if let Some(queue) = row.get::<Option<String>, _>("task_queue") {
                runs += row.get::<i64, _>("runs").unsigned_abs();
                self.hints.runs_ready(&queue.into(), self.hints.now());
            }
        }
        self.hints.send();
        metrics::counter!("dacapo_handed_back_runs_total").increment(runs);
        Ok(flushes)
    }
}
