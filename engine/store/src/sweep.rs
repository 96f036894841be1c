//! The sweeper: counts and repairs what the protocol makes impossible. Every finding is a bug somewhere; the repair keeps
//! the run alive meanwhile.

use dacapo_core::{
    limits::SWEEP_BATCH,
    store::{StoreResult, SweepFinding},
};
use sqlx::Row;

use crate::{PgStore, dead_letters::FORGET_SETTLED, error::store_error};

/// An unowned run whose messages nothing will take it to. One without messages may well wait for a signal that nobody has
/// sent yet; whether it has something to do, only its history tells, which `verify` folds. The search begins at the messages,
/// which are fewer than the runs; a run in the middle of a change is locked and skipped.
const STRANDED: &str = "
WITH locked AS MATERIALIZED (
    SELECT r.* FROM (SELECT DISTINCT b.shard, b.run_id FROM dacapo.inbox b WHERE NOT EXISTS (
                            SELECT FROM dacapo.ready y WHERE y.shard = b.shard AND y.run_id = b.run_id OFFSET 0)) b,
           LATERAL (SELECT o.shard, o.run_id, o.namespace, o.task_queue, o.workflow_type, o.priority
                      FROM dacapo.runs_open o
                     WHERE o.shard = b.shard AND o.run_id = b.run_id AND o.owner IS NULL AND NOT o.parked
                       FOR NO KEY UPDATE SKIP LOCKED) r
     LIMIT $1
), marked AS (
    INSERT INTO dacapo.ready (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
    SELECT l.shard, l.run_id, l.namespace, l.task_queue, l.workflow_type, l.priority, clock_timestamp() FROM locked l
    ON CONFLICT DO NOTHING RETURNING task_queue
)
SELECT count(*) AS rows FROM marked";

const ORPHAN_INBOX: &str = "
WITH gone AS (DELETE FROM dacapo.inbox b WHERE b.ctid = ANY (ARRAY(
    SELECT o.ctid FROM dacapo.inbox o WHERE o.sent_at < clock_timestamp() - interval '10 s'
       AND NOT EXISTS (SELECT FROM dacapo.runs_open r WHERE r.shard = o.shard AND r.run_id = o.run_id) LIMIT $1))
    RETURNING 1)
SELECT count(*) AS rows FROM gone";

const ORPHAN_READY: &str = "
WITH gone AS (DELETE FROM dacapo.ready y WHERE y.ctid = ANY (ARRAY(
    SELECT o.ctid FROM dacapo.ready o WHERE o.visible_at < clock_timestamp() - interval '10 s'
       AND NOT EXISTS (SELECT FROM dacapo.runs_open r WHERE r.shard = o.shard AND r.run_id = o.run_id) LIMIT $1))
    RETURNING 1)
SELECT count(*) AS rows FROM gone";

const ORPHAN_ACTIVITIES: &str = "
WITH gone AS (DELETE FROM dacapo.activities a WHERE a.ctid = ANY (ARRAY(
    SELECT o.ctid FROM dacapo.activities o
     WHERE NOT EXISTS (SELECT FROM dacapo.runs_open r WHERE r.shard = o.shard AND r.run_id = o.run_id) LIMIT $1))
    RETURNING 1)
SELECT count(*) AS rows FROM gone";

const ORPHAN_TIMERS: &str = "
WITH gone AS (DELETE FROM dacapo.timers t WHERE t.ctid = ANY (ARRAY(
    SELECT o.ctid FROM dacapo.timers o
     WHERE NOT EXISTS (SELECT FROM dacapo.runs_open r WHERE r.shard = o.shard AND r.run_id = o.run_id) LIMIT $1))
    RETURNING 1)
SELECT count(*) AS rows FROM gone";

/// Runs and claims whose worker has no row at all: its row went before what it held. It is put back as dead, so that
/// the next renewal of a lease finds it and take-over does the rest. No index knows owners; of a table of more than 4,096
/// pages, each sweep reads so many, drawn at random.
const UNKNOWN_WORKERS: &str = "
WITH part AS MATERIALIZED (
    SELECT 4096 * floor(random() * ceil(p.pages / 4096.0))::int8 AS page
      FROM (SELECT pg_relation_size('dacapo.runs_open') / current_setting('block_size')::int8 AS pages) p
), unknown AS (
    SELECT r.owner AS worker FROM dacapo.runs_open r WHERE r.owner IS NOT NULL
       AND r.ctid >= (SELECT format('(%s,0)', p.page)::tid FROM part p)
       AND r.ctid < (SELECT format('(%s,0)', p.page + 4096)::tid FROM part p)
       AND NOT EXISTS (SELECT FROM dacapo.workers w WHERE w.worker = r.owner)
    UNION
    SELECT a.claimed_by FROM dacapo.activities a WHERE a.claimed_by IS NOT NULL
       AND NOT EXISTS (SELECT FROM dacapo.workers w WHERE w.worker = a.claimed_by)
), put_back AS (
    INSERT INTO dacapo.workers (worker, identity, namespace, queues, workflow_types, activity_types, lease_until, dead, slots)
    SELECT u.worker, 'unknown', '', '{}', '{}', '{}', clock_timestamp(), true, 0 FROM unknown u
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT count(*) AS rows FROM put_back WHERE $1 > 0";

/// What is looked for, by the name it has in metrics.
const SWEEPS: [(&str, &str); 6] = [
    ("stranded_run", STRANDED),
    ("message_to_closed_run", ORPHAN_INBOX),
    ("ready_closed_run", ORPHAN_READY),
    ("activity_of_closed_run", ORPHAN_ACTIVITIES),
    ("timer_of_closed_run", ORPHAN_TIMERS),
    ("unknown_worker", UNKNOWN_WORKERS),
];

impl PgStore {
    /// Looks once and repairs what it finds; whoever asked counts it.
    pub(crate) async fn sweep_all(&self) -> StoreResult<Vec<SweepFinding>> {
        let mut findings = Vec::new();
        for (kind, statement) in SWEEPS {
            let row = sqlx::query(statement).bind(SWEEP_BATCH).fetch_one(&self.read).await.map_err(store_error)?;
            let rows = row.get::<i64, _>("rows") as u64;
            if rows > 0 {
                findings.push(SweepFinding { kind, rows });
            }
        }
        // No finding: what was dead has been settled since.
        sqlx::query(FORGET_SETTLED).bind(SWEEP_BATCH).execute(&self.read).await.map_err(store_error)?;
        if !findings.is_empty() {
            self.hints.publish_here(&dacapo_core::store::Hint::Everything);
        }
        Ok(findings)
    }
}
