//! Lists, counts and descriptions, for people.

use dacapo_core::{
    Namespace, Payload, RunId, RunKey, RunStatus, TaskQueue, WorkerId, WorkflowId, WorkflowType,
    store::{ActivityInfo, QueueDepth, RunDescription, RunFilter, RunInfo, StoreResult},
    transition::Problem,
};
use sqlx::{Postgres, QueryBuilder, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    PgStore,
    error::{corrupt, store_error},
    filter::{push_after, push_condition, push_order},
    load::read_failure,
    ownership::key,
    results::{payload, read_status},
    time::PgTime,
};

/// A list, up to its filter, order and limit; `runs` is the view over open and closed runs. How many events an open run has is
/// looked up for those only that the list shows.
const INFO: &str =
    "SELECT i.*, CASE i.status WHEN 'Running' THEN dacapo.next_event_v1(i.shard, i.run_id, i.events_at_least + 1) - 1
                                ELSE i.events_at_least END AS events FROM (
    SELECT shard, run_id, namespace, workflow_id, workflow_type, task_queue, status, started_at, closed_at,
    memo, search_attributes::text AS search_attributes, events_at_least FROM dacapo.runs WHERE ";

/// The newest run of a workflow id: the open one if there is one. A run that was branched has the start of its source, and
/// a later id. `$3` may name another one.
const FIND: &str = "
SELECT shard, run_id, namespace, workflow_id, workflow_type, task_queue, status, started_at, closed_at, events, memo,
       search_attributes::text AS search_attributes
  FROM dacapo.runs WHERE namespace = $1 AND workflow_id = $2 AND ($3::uuid IS NULL OR run_id = $3)
 ORDER BY (status = 'Running') DESC, started_at DESC, run_id DESC LIMIT 1";

const DESCRIBE: &str = "
SELECT r.shard, r.run_id, r.namespace, r.workflow_id, r.workflow_type, r.task_queue, r.status, r.started_at, r.closed_at,
       r.events, r.memo, r.search_attributes::text AS search_attributes, r.owner, r.owner_epoch, r.parked,
       w.identity || CASE WHEN w.dead OR w.lease_until < clock_timestamp() THEN ' (gone)' ELSE '' END AS owner_identity,
       y.visible_at AS ready_at, o.problem,
       (SELECT count(*) FROM dacapo.inbox b WHERE b.shard = r.shard AND b.run_id = r.run_id) AS inbox,
       ARRAY(SELECT t.timer_id FROM dacapo.timers t WHERE t.shard = r.shard AND t.run_id = r.run_id
              ORDER BY t.fire_at, t.timer_id) AS timer_ids,
       ARRAY(SELECT t.fire_at FROM dacapo.timers t WHERE t.shard = r.shard AND t.run_id = r.run_id
              ORDER BY t.fire_at, t.timer_id) AS timer_times,
       clock_timestamp() AS now
  FROM dacapo.runs r
  LEFT JOIN dacapo.runs_open o ON o.shard = r.shard AND o.run_id = r.run_id
  LEFT JOIN dacapo.workers w ON w.worker = r.owner
  LEFT JOIN dacapo.ready y ON y.shard = r.shard AND y.run_id = r.run_id
 WHERE r.shard = $1 AND r.run_id = $2";

const ACTIVITIES: &str = "
SELECT activity_id, activity_type, task_queue, attempt, visible_at, claimed_by, claimed_at, last_failure, last_heartbeat
  FROM dacapo.activities WHERE shard = $1 AND run_id = $2 ORDER BY activity_id";

const QUEUE_DEPTHS: &str = "
SELECT namespace, task_queue, sum(runs)::int8 AS runs, sum(activities)::int8 AS activities FROM (
    SELECT namespace, task_queue, count(*) AS runs, 0 AS activities FROM dacapo.ready
     WHERE visible_at <= clock_timestamp() GROUP BY 1, 2
    UNION ALL
    SELECT namespace, task_queue, 0, count(*) FROM dacapo.activities
     WHERE claimed_by IS NULL AND NOT reported AND visible_at <= clock_timestamp() GROUP BY 1, 2
) depths GROUP BY 1, 2 ORDER BY 1, 2";

impl PgStore {
    /// Finds the newest run of a workflow id, or a given one.
    pub(crate) async fn find(
        &self,
        namespace: &Namespace,
        workflow_id: &WorkflowId,
        run_id: Option<RunId>,
    ) -> StoreResult<Option<RunInfo>> {
        let row = sqlx::query(FIND)
            .bind(namespace.as_str())
            .bind(workflow_id.as_str())
            .bind(run_id.map(|run_id| run_id.0))
            .fetch_optional(&self.read)
            .await
            .map_err(store_error)?;
        row.map(|row| read_info(&row)).transpose()
    }

    /// Lists runs in the order of the filter.
    pub(crate) async fn list_runs(&self, filter: &RunFilter, limit: i64) -> StoreResult<Vec<RunInfo>> {
        let mut query = QueryBuilder::new(INFO);
        push_filter(&mut query, filter);
        if let Some(after) = &filter.after {
            query.push(" AND ");
            push_after(&mut query, &filter.order, after);
        }
        push_order(&mut query, &filter.order);
        query.push(" LIMIT ").push_bind(limit).push(") i");
        // Every filter makes a statement of its own, which nobody needs prepared.
        let rows = query.build().persistent(false).fetch_all(&self.read).await.map_err(store_error)?;
        rows.iter().map(read_info).collect()
    }

    /// Counts runs, wherever the filter goes on from.
    pub(crate) async fn count_runs(&self, filter: &RunFilter) -> StoreResult<u64> {
        let mut query = QueryBuilder::new("SELECT count(*) AS runs FROM dacapo.runs WHERE ");
        push_filter(&mut query, filter);
        let row = query.build().persistent(false).fetch_one(&self.read).await.map_err(store_error)?;
        Ok(row.get::<i64, _>("runs") as u64)
    }

    /// Describes one run from the rows that belong to it.
    pub(crate) async fn describe_run(&self, run: RunKey) -> StoreResult<Option<RunDescription>> {
        let row = sqlx::query(DESCRIBE).bind(run.shard.0).bind(run.run_id.0).fetch_optional(&self.read).await;
        let Some(row) = row.map_err(store_error)? else { return Ok(None) };
        let activities = sqlx::query(ACTIVITIES).bind(run.shard.0).bind(run.run_id.0).fetch_all(&self.read).await;
        let activities = activities.map_err(store_error)?;
        let info = read_info(&row)?;
        let result = match info.status {
            RunStatus::Running => None,
            _ => self.read_results(&[run]).await?.pop().map(|(_, result)| result),
        };
        let problem = row.get::<Option<&[u8]>, _>("problem").map(|bytes| {
            serde_json::from_slice::<Problem>(bytes).map_err(|error| corrupt("the problem of a run", &error))
        });
        let ids = row.get::<Vec<i64>, _>("timer_ids").into_iter().map(|id| id as u64);
        let times = row.get::<Vec<PgTime>, _>("timer_times").into_iter().map(|time| time.0);
        Ok(Some(RunDescription {
            info,
            owner: row.get::<Option<Uuid>, _>("owner").map(WorkerId),
            owner_identity: row.get("owner_identity"),
            owner_epoch: row.get("owner_epoch"),
            ready_at: row.get::<Option<PgTime>, _>("ready_at").map(|time| time.0),
            inbox: row.get("inbox"),
            problem: problem.transpose()?,
            parked: row.get("parked"),
            activities: activities.iter().map(|row| read_activity(run, row)).collect::<StoreResult<_>>()?,
            timers: ids.zip(times).collect(),
            result,
            branches: self.read_branches(run).await?,
            now: row.get::<PgTime, _>("now").0,
        }))
    }

    /// Counts what waits on queues.
    pub(crate) async fn read_queue_depths(&self) -> StoreResult<Vec<QueueDepth>> {
        let rows = sqlx::query(QUEUE_DEPTHS).fetch_all(&self.read).await.map_err(store_error)?;
        Ok(rows
            .iter()
            .map(|row| QueueDepth {
                namespace: row.get::<String, _>("namespace").into(),
                task_queue: row.get::<String, _>("task_queue").into(),
                runs: row.get::<i64, _>("runs") as u64,
                activities: row.get::<i64, _>("activities") as u64,
            })
            .collect())
    }
}

fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &RunFilter) {
    let namespace = filter.namespace.clone().unwrap_or_else(Namespace::default_namespace);
    query.push("namespace = ").push_bind(namespace.as_str().to_owned()).push(" AND ");
    push_condition(query, &filter.whole_condition());
}

fn read_info(row: &PgRow) -> StoreResult<RunInfo> {
    let attributes = row.get::<Option<&str>, _>("search_attributes").map(compact).transpose()?;
    Ok(RunInfo {
        key: key(row),
        namespace: row.get::<String, _>("namespace").into(),
        workflow_id: row.get::<String, _>("workflow_id").into(),
        workflow_type: WorkflowType::new(row.get::<String, _>("workflow_type")),
        task_queue: TaskQueue::new(row.get::<String, _>("task_queue")),
        status: read_status(row.get("status"))?,
        started_at: row.get::<PgTime, _>("started_at").0,
        closed_at: row.get::<Option<PgTime>, _>("closed_at").map(|time| time.0),
        events: row.get("events"),
        memo: row.get::<Option<&[u8]>, _>("memo").map(payload).transpose()?,
        search_attributes: attributes,
    })
}

/// Writes JSON as the engine writes it: the database adds blanks.
fn compact(json: &str) -> StoreResult<Payload> {
    let value: serde_json::Value = serde_json::from_str(json).map_err(|error| corrupt("search attributes", &error))?;
    payload(value.to_string().as_bytes())
}

fn read_activity(run: RunKey, row: &PgRow) -> StoreResult<ActivityInfo> {
    let claimed_by = row.get::<Option<Uuid>, _>("claimed_by");
    Ok(ActivityInfo {
        activity_id: row.get::<i64, _>("activity_id") as u64,
        activity_type: row.get("activity_type"),
        task_queue: row.get::<String, _>("task_queue").into(),
        attempt: row.get::<i32, _>("attempt") as u32,
        visible_at: row.get::<PgTime, _>("visible_at").0,
        claimed_by: claimed_by.filter(|id| !id.is_nil()).map(WorkerId),
        asynchronous: claimed_by.is_some_and(|id| id.is_nil()),
        claimed_at: row.get::<Option<PgTime>, _>("claimed_at").map(|time| time.0),
        last_failure: row.get::<Option<&[u8]>, _>("last_failure").map(|bytes| read_failure(run, bytes)).transpose()?,
        last_heartbeat: row.get::<Option<&[u8]>, _>("last_heartbeat").map(payload).transpose()?,
    })
}
