//! Dead letters: open runs that a partial index knows, and activities that have a row of their own.

use dacapo_core::{
    Namespace, RunId, TaskQueue, WorkflowType,
    store::{DeadLetter, DeadLetterFilter, DeadLetterKind, StoreResult, parked_failure},
    transition::Problem,
};
use sqlx::{Postgres, QueryBuilder, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    PgStore,
    error::{corrupt, store_error},
    load::read_failure,
    ownership::key,
    results::read_status,
    time::PgTime,
};

/// Every dead letter. The activities of runs that are open, or that failed and have nobody who goes on for them.
const LETTERS: &str = "(
    SELECT o.shard, o.run_id, 0::int8 AS activity_id, o.namespace, o.workflow_id, o.workflow_type, o.task_queue,
           'Running'::text COLLATE \"C\" AS status,
           CASE WHEN o.parked THEN 'ParkedRun' ELSE 'WorkflowTask' END AS kind,
           o.takeovers AS attempts, o.parked_at AS since, o.problem, NULL::text AS activity_type, NULL::bytea AS failure
      FROM dacapo.runs_open o WHERE o.problem IS NOT NULL OR o.parked
    UNION ALL
    SELECT d.shard, d.run_id, d.activity_id, r.namespace, r.workflow_id, r.workflow_type, r.task_queue, r.status,
           'Activity', d.attempts, d.died_at, NULL, d.activity_type, d.failure
      FROM dacapo.dead_activities d
      JOIN dacapo.runs r ON r.shard = d.shard AND r.run_id = d.run_id
     WHERE r.status IN ('Running', 'Failed')
       AND NOT EXISTS (SELECT FROM dacapo.runs_closed c WHERE c.shard = d.shard AND c.run_id = d.run_id
                          AND c.successor IS NOT NULL)
) letters";

/// Forgets activities of runs that ended well or in another way than by a failure; a batch at a time.
pub(crate) const FORGET_SETTLED: &str = "
DELETE FROM dacapo.dead_activities WHERE ctid = ANY (ARRAY(
    SELECT d.ctid FROM dacapo.dead_activities d JOIN dacapo.runs_closed c ON c.shard = d.shard AND c.run_id = d.run_id
     WHERE c.status <> 'Failed' OR c.successor IS NOT NULL LIMIT $1))";

impl PgStore {
    /// Lists dead letters in the order of their runs.
    pub(crate) async fn list_dead_letters(
        &self,
        filter: &DeadLetterFilter,
        limit: i64,
    ) -> StoreResult<Vec<DeadLetter>> {
        let mut query = QueryBuilder::new("SELECT * FROM ");
        query.push(LETTERS);
        push_filter(&mut query, filter);
        query.push(" ORDER BY run_id, activity_id LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(&self.read).await.map_err(store_error)?;
        rows.iter().map(read_letter).collect()
    }

    /// Counts dead letters of every namespace by kind.
    pub(crate) async fn count_letters(&self) -> StoreResult<Vec<(DeadLetterKind, u64)>> {
        let mut query = QueryBuilder::<Postgres>::new("SELECT kind, count(*) AS letters FROM ");
        query.push(LETTERS).push(" GROUP BY kind");
        let rows = query.build().fetch_all(&self.read).await.map_err(store_error)?;
        let count = |kind: DeadLetterKind| {
            let row = rows.iter().find(|row| row.get::<&str, _>("kind") == kind.as_str());
            (kind, row.map_or(0, |row| row.get::<i64, _>("letters") as u64))
        };
        Ok(DeadLetterKind::ALL.map(count).to_vec())
    }
}

fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &DeadLetterFilter) {
    let namespace = filter.namespace.clone().unwrap_or_else(Namespace::default_namespace);
    query.push(" WHERE namespace = ").push_bind(namespace.as_str().to_owned());
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    if let Some(workflow_type) = &filter.workflow_type {
        query.push(" AND workflow_type = ").push_bind(workflow_type.as_str().to_owned());
    }
    if let Some(queue) = &filter.task_queue {
        query.push(" AND task_queue = ").push_bind(queue.as_str().to_owned());
    }
    if let Some(workflow_id) = &filter.workflow_id {
        query.push(" AND workflow_id = ").push_bind(workflow_id.as_str().to_owned());
    }
    if let Some(after) = filter.after {
        query.push(" AND (run_id, activity_id) > (").push_bind(after.run_id.0);
        query.push(", ").push_bind(after.activity_id as i64).push(")");
    }
}

fn read_letter(row: &PgRow) -> StoreResult<DeadLetter> {
    let run = key(row);
    let kind = match row.get("kind") {
        "Activity" => DeadLetterKind::Activity,
        "ParkedRun" => DeadLetterKind::ParkedRun,
        _ => DeadLetterKind::WorkflowTask,
    };
    let since = row.get::<Option<PgTime>, _>("since").map(|time| time.0);
    let attempts = row.get::<i32, _>("attempts") as u32;
    let of_activity = kind == DeadLetterKind::Activity;
    let (since, attempts, failure) = match kind {
        DeadLetterKind::Activity => (since, attempts, read_failure(run, row.get("failure"))?),
        DeadLetterKind::ParkedRun => (since, attempts, parked_failure(attempts)),
        DeadLetterKind::WorkflowTask => {
            let problem: Problem =
                serde_json::from_slice(row.get("problem")).map_err(|error| corrupt("the problem of a run", &error))?;
            (Some(problem.since), problem.attempt, problem.failure)
        }
    };
    Ok(DeadLetter {
        kind,
        namespace: row.get::<String, _>("namespace").into(),
        workflow_id: row.get::<String, _>("workflow_id").into(),
        run_id: RunId(row.get::<Uuid, _>("run_id")),
        workflow_type: WorkflowType::new(row.get::<String, _>("workflow_type")),
        task_queue: TaskQueue::new(row.get::<String, _>("task_queue")),
        status: read_status(row.get("status"))?,
        activity_id: of_activity.then(|| row.get::<i64, _>("activity_id") as u64),
        activity_type: row.get("activity_type"),
        since: since.unwrap_or_default(),
        attempts,
        failure,
    })
}
