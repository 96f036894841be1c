//! The fleet: registrations, leases, presence, and what a process hears when it renews.

use std::time::{Duration, Instant};

use dacapo_core::{
    Namespace, TaskQueue, Timestamp, WorkerId,
    limits::HANDED_GRACE,
    store::{Beat, BeatInterest, StoreError, StoreResult, WorkerInfo, WorkerRegistration},
};
use sqlx::{Row, postgres::PgRow};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    PgStore,
    error::store_error,
    hints::listen::{Ask, presence_key},
    time::PgTime,
};

const REGISTER: &str = "
INSERT INTO dacapo.workers (worker, identity, build_id, namespace, queues, workflow_types, activity_types, lease_until, slots,
       heard_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8 * interval '1 ms', $9, clock_timestamp())
RETURNING clock_timestamp() AS now";

const DEREGISTER: &str = "UPDATE dacapo.workers SET dead = true WHERE worker = $1";

const LOCK_WORKER: &str = "SELECT FROM dacapo.workers WHERE worker = $1 FOR UPDATE";

/// A worker that owns nothing and has claimed nothing need not be mourned. Reads the open runs from end to end.
pub(crate) const REMOVE_WORKER: &str = "
DELETE FROM dacapo.workers w WHERE w.worker = $1 AND w.dead
   AND NOT EXISTS (SELECT FROM dacapo.runs_open r WHERE r.owner = w.worker)
   AND NOT EXISTS (SELECT FROM dacapo.activities a WHERE a.claimed_by = w.worker)";

/// How long a start that was handed over may be on its way to its worker, or that worker's word that it has it.
const ON_ITS_WAY: Duration = Duration::from_millis(250);

/// Renews the lease and looks around, in one statement. Work that is due within the horizon ($5) is named by its time, so
/// that whoever waits need not ask before; what lies beyond, a later renewal names. Of a long inbox only the beginning is
/// looked at: whose the rest is, the owners find out by the runs that they know. A peer whose presence lock nobody holds is
/// missing ($9: whether this process may say so); the key of the lock is the random half of its id.
const BEAT: &str = "
WITH me AS (
    UPDATE dacapo.workers SET lease_until = clock_timestamp() + $2 * interval '1 ms', busy = $6, owned = $7,
           takes_until = clock_timestamp() + $10 * interval '1 ms', heard_at = clock_timestamp()
     WHERE worker = $1 AND NOT dead AND lease_until > clock_timestamp() RETURNING worker
)
SELECT clock_timestamp() AS now, EXISTS (SELECT FROM me) AS lives,
       ARRAY(SELECT w.worker FROM dacapo.workers w
              WHERE w.worker <> $1 AND (w.dead OR w.lease_until < clock_timestamp())) AS lapsed,
       ARRAY(SELECT w.worker FROM dacapo.workers w
              WHERE $9 AND w.worker <> $1 AND w.presence AND NOT w.dead
                AND ('x' || encode(substr(uuid_send(w.worker), 9), 'hex'))::bit(64)::int8 NOT IN (
                    SELECT (l.classid::int8 << 32) | l.objid::int8 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                     WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 1)
             ) AS missing,
       EXISTS (SELECT FROM dacapo.ready y
                WHERE y.namespace = $3 AND y.task_queue = ANY ($4) AND y.visible_at <= statement_timestamp()) AS runs_ready,
       EXISTS (SELECT FROM dacapo.activities a WHERE a.namespace = $3 AND a.task_queue = ANY ($4)
                  AND a.claimed_by IS NULL AND NOT a.reported AND a.visible_at <= statement_timestamp()) AS activities_ready,
       (SELECT COALESCE(bool_or(r.owner = $1), false) OR count(*) >= 1000
          FROM (SELECT b.shard, b.run_id FROM dacapo.inbox b LIMIT 1000) b
          LEFT JOIN LATERAL (SELECT o.owner FROM dacapo.runs_open o
                              WHERE o.shard = b.shard AND o.run_id = b.run_id OFFSET 0) r ON true) AS inbox_waiting,
       EXISTS (SELECT FROM dacapo.activities a WHERE a.deadline <= statement_timestamp()) AS overdue,
       EXISTS (SELECT FROM dacapo.handed h
                WHERE h.worker = $1 AND h.handed_at <= statement_timestamp() - $12 * interval '1 ms') AS handed,
       EXISTS (SELECT FROM dacapo.handed h WHERE h.handed_at <= statement_timestamp() - $11 * interval '1 ms') AS untaken,
       EXISTS (SELECT FROM dacapo.outbox o WHERE o.due_at <= statement_timestamp() - $8 * interval '1 ms') AS outbox_waiting,
       LEAST((SELECT min(CASE WHEN r.owner IS NULL THEN t.fire_at ELSE t.fire_at + interval '1 s' END)
                FROM (SELECT * FROM dacapo.timers t WHERE t.fire_at <= statement_timestamp() + $5 * interval '1 ms'
                       ORDER BY t.fire_at LIMIT 1000) t
                JOIN dacapo.runs_open r ON r.shard = t.shard AND r.run_id = t.run_id),
             (SELECT min(y.visible_at) FROM dacapo.ready y WHERE y.namespace = $3 AND y.task_queue = ANY ($4)
                 AND y.visible_at > statement_timestamp()),
             (SELECT min(a.visible_at) FROM dacapo.activities a WHERE a.namespace = $3 AND a.task_queue = ANY ($4)
                 AND a.claimed_by IS NULL AND NOT a.reported AND a.visible_at > statement_timestamp()),
             (SELECT min(a.deadline) FROM dacapo.activities a
               WHERE a.deadline <= statement_timestamp() + $5 * interval '1 ms')) AS next_due_at";

/// Of workers that say they hold a presence lock, those that do not.
const VANISHED: &str = "
SELECT k.worker FROM unnest($1::uuid[], $2::int8[]) k (worker, key)
 WHERE NOT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                    WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                      AND l.classid::int8 = ((k.key >> 32) & 4294967295) AND l.objid::int8 = (k.key & 4294967295))
   AND EXISTS (SELECT FROM dacapo.workers w WHERE w.worker = k.worker AND w.presence AND NOT w.dead)";

const WORKERS: &str = "
SELECT worker, identity, build_id, queues, workflow_types, activity_types, lease_until, started_at, slots, busy, owned,
       COALESCE(takes_until > clock_timestamp(), false) AS takes_starts
  FROM dacapo.workers WHERE NOT dead AND lease_until > clock_timestamp() ORDER BY started_at, worker";

const SERVING: &str = "
SELECT worker, identity, build_id, queues, workflow_types, activity_types, lease_until, started_at, slots, busy, owned,
       COALESCE(takes_until > clock_timestamp(), false) AS takes_starts
  FROM dacapo.workers WHERE NOT dead AND lease_until > clock_timestamp() AND namespace = $1 AND $2 = ANY (queues)
 ORDER BY started_at, worker";

const CLOCK: &str = "SELECT clock_timestamp() AS now";

/// The wait between two looks at a peer whose presence is missing: a connection that was lost is back by then.
const PRESENCE_GRACE: Duration = Duration::from_millis(400);

/// The time after this process's own connection came (back) in which nobody's presence is missed: a server that has just
/// started again holds nobody's, and all connect anew at the same time.
const PRESENCE_AFTER_RECONNECT: Duration = Duration::from_secs(2);

/// The time that the process which wrote rows of the outbox has for delivering them itself.
const OUTBOX_GRACE: Duration = Duration::from_secs(2);

/// The wait for the presence lock of a new worker; it joins without one after that.
const PRESENCE_WAIT: Duration = Duration::from_secs(3);

impl PgStore {
    /// Joins the fleet. Gives the database's clock.
    pub(crate) async fn join_fleet(&self, worker: &WorkerRegistration) -> StoreResult<Timestamp> {
        let row = sqlx::query(REGISTER)
            .bind(worker.worker.0)
            .bind(&worker.identity)
            .bind(&worker.build_id)
            .bind(worker.namespace.as_str())
            .bind(worker.queues.iter().map(TaskQueue::as_str).collect::<Vec<_>>())
            .bind(worker.workflow_types.iter().map(|name| name.as_str()).collect::<Vec<_>>())
            .bind(&worker.activity_types)
            .bind(worker.lease.as_millis() as i64)
            .bind(i64::try_from(worker.slots).unwrap_or(i64::MAX))
            .fetch_one(&self.hot)
            .await
            .map_err(|error| match error.as_database_error() {
                Some(taken) if taken.is_unique_violation() => StoreError::Rejected {
                    problem: format!("worker {} is registered already: take a fresh id", worker.worker),
                },
                _ => store_error(error),
            })?;
        self.hints.add_worker(worker.worker);
        let (tried, answer) = oneshot::channel();
        self.ask(Ask::Join(worker.worker, tried));
        if tokio::time::timeout(PRESENCE_WAIT, answer).await.is_err() {
            tracing::warn!(worker = %worker.worker, "no presence lock yet; until then the lease alone tells that it lives");
        }
        let now = row.get::<PgTime, _>("now").0;
        self.hints.set_clock(now);
        Ok(now)
    }

    /// Renews the lease and looks around.
    pub(crate) async fn renew_lease(&self, worker: WorkerId, interest: &BeatInterest) -> StoreResult<Beat> {
        let row = sqlx::query(BEAT)
            .bind(worker.0)
            .bind(interest.lease.as_millis() as i64)
            .bind(interest.namespace.as_str())
            .bind(interest.queues.iter().map(TaskQueue::as_str).collect::<Vec<_>>())
            .bind(interest.lease.as_millis() as i64)
            .bind(i64::try_from(interest.busy).unwrap_or(i64::MAX))
            .bind(i64::try_from(interest.owned).unwrap_or(i64::MAX))
            .bind(OUTBOX_GRACE.as_millis() as i64)
            .bind(self.hints.listens_for(PRESENCE_AFTER_RECONNECT))
            .bind(interest.takes_starts.map(|time| time.as_millis() as i64))
            .bind(HANDED_GRACE.as_millis() as i64)
            .bind(ON_ITS_WAY.as_millis() as i64)
            .fetch_one(&self.read)
            .await
            .map_err(store_error)?;
        if !row.get::<bool, _>("lives") {
            self.forget(worker);
            return Err(StoreError::LeaseLost { worker });
        }
        let mut lapsed: Vec<WorkerId> = row.get::<Vec<Uuid>, _>("lapsed").into_iter().map(WorkerId).collect();
        let missing: Vec<WorkerId> = row.get::<Vec<Uuid>, _>("missing").into_iter().map(WorkerId).collect();
        lapsed.extend(
            self.vanished(&missing).await?.into_iter().filter(|peer| !lapsed.contains(peer)).collect::<Vec<_>>(),
        );
        let now = row.get::<PgTime, _>("now").0;
        self.hints.set_clock(now);
        Ok(Beat {
            now,
            lapsed,
            runs_ready: row.get("runs_ready"),
            activities_ready: row.get("activities_ready"),
            inbox_waiting: row.get("inbox_waiting"),
            activities_overdue: row.get("overdue"),
            starts_handed: row.get("handed"),
            starts_untaken: row.get("untaken"),
            outbox_waiting: row.get("outbox_waiting"),
            next_due_at: row.get::<Option<PgTime>, _>("next_due_at").map(|time| time.0),
        })
    }

    /// Looks a second time at workers whose process seems gone although their lease runs on.
    async fn vanished(&self, missing: &[WorkerId]) -> StoreResult<Vec<WorkerId>> {
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        tokio::time::sleep(PRESENCE_GRACE).await;
        self.missing(missing).await
    }

    async fn missing(&self, present: &[WorkerId]) -> StoreResult<Vec<WorkerId>> {
        if present.is_empty() || !self.hints.listens_for(PRESENCE_AFTER_RECONNECT) {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(VANISHED)
            .bind(present.iter().map(|worker| worker.0).collect::<Vec<_>>())
            .bind(present.iter().map(|worker| presence_key(*worker)).collect::<Vec<_>>())
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        Ok(rows.iter().map(|row| WorkerId(row.get("worker"))).collect())
    }

    /// Says whether a worker's process is gone although its lease runs on.
    pub(crate) async fn has_vanished(&self, worker: WorkerId) -> StoreResult<bool> {
        Ok(!self.missing(&[worker]).await?.is_empty())
    }

    /// Leaves the fleet: no claim of this worker's is on its way any more once its row was locked.
    pub(crate) async fn leave_fleet(&self, worker: WorkerId) -> StoreResult<()> {
        let mut transaction = self.read.begin().await.map_err(store_error)?;
        sqlx::query(LOCK_WORKER).bind(worker.0).execute(&mut *transaction).await.map_err(store_error)?;
        sqlx::query(DEREGISTER).bind(worker.0).execute(&mut *transaction).await.map_err(store_error)?;
        sqlx::query(REMOVE_WORKER).bind(worker.0).execute(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        self.forget(worker);
        // What was handed to it in the last moment; nothing is any more.
        while self.give_back_untaken(Some(worker), Duration::ZERO).await? > 0 {}
        self.hints.worker_gone();
        self.hints.send();
        Ok(())
    }

    fn forget(&self, worker: WorkerId) {
        self.hints.remove_worker(worker);
        self.ask(Ask::Leave(worker));
    }

    /// Lists workers that live.
    pub(crate) async fn list_workers(&self) -> StoreResult<Vec<WorkerInfo>> {
        let rows = sqlx::query(WORKERS).fetch_all(&self.read).await.map_err(store_error)?;
        Ok(rows.iter().map(read_worker).collect())
    }

    /// Lists workers that live and serve a queue.
    pub(crate) async fn list_serving(&self, namespace: &Namespace, queue: &TaskQueue) -> StoreResult<Vec<WorkerInfo>> {
        let query = sqlx::query(SERVING).bind(namespace.as_str()).bind(queue.as_str());
        let rows = query.fetch_all(&self.read).await.map_err(store_error)?;
        Ok(rows.iter().map(read_worker).collect())
    }

    /// Reads the database's clock, and takes the time of the exchange.
    pub(crate) async fn read_clock(&self) -> StoreResult<(Timestamp, Duration)> {
        // The first use of a connection is no measure.
        let mut connection = self.hot.acquire().await.map_err(store_error)?;
        let begun = Instant::now();
        let row = sqlx::query(CLOCK).fetch_one(&mut *connection).await.map_err(store_error)?;
        let now = row.get::<PgTime, _>("now").0;
        self.hints.set_clock(now);
        Ok((now, begun.elapsed()))
    }
}

fn read_worker(row: &PgRow) -> WorkerInfo {
    let names = |column: &str| row.get::<Vec<String>, _>(column);
    WorkerInfo {
        worker: WorkerId(row.get("worker")),
        identity: row.get("identity"),
        build_id: row.get("build_id"),
        queues: names("queues").into_iter().map(TaskQueue::from).collect(),
        workflow_types: names("workflow_types").into_iter().map(Into::into).collect(),
        activity_types: names("activity_types"),
        lease_until: row.get::<PgTime, _>("lease_until").0,
        started_at: row.get::<PgTime, _>("started_at").0,
        slots: row.get("slots"),
        busy: row.get("busy"),
        owned: row.get("owned"),
        takes_starts: row.get("takes_starts"),
    }
}
