//! Questions to the code of runs, until whoever asked has the answer. They are in a table that no crash survives: whoever
//! asks does so again.

use dacapo_core::{
    RunKey, TaskQueue, WorkerId,
    query::{Query, QueryAnswer},
    store::StoreResult,
};
use sqlx::Row;
use uuid::Uuid;

use crate::{
    PgStore,
    error::{corrupt, store_error},
    ownership::key,
};

/// As a message is sent: the run's row is held, so that it is not given back between the look and the ready row. Asked
/// again, it wakes again.
const ASK: &str = "
WITH r AS MATERIALIZED (
    SELECT o.shard, o.run_id, o.namespace, o.task_queue, o.workflow_type, o.priority, o.owner FROM dacapo.runs_open o
     WHERE o.shard = $1 AND o.run_id = $2 FOR KEY SHARE
), q AS (
    INSERT INTO dacapo.queries (shard, run_id, query, question) SELECT r.shard, r.run_id, $3, $4 FROM r
    ON CONFLICT DO NOTHING
), y AS (
    INSERT INTO dacapo.ready AS y (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
    SELECT r.shard, r.run_id, r.namespace, r.task_queue, r.workflow_type, r.priority, clock_timestamp() FROM r
     WHERE r.owner IS NULL
    ON CONFLICT (shard, run_id) DO UPDATE SET visible_at = excluded.visible_at WHERE y.visible_at > excluded.visible_at
)
SELECT owner, task_queue FROM r";

const QUESTIONS: &str = "
SELECT q.shard, q.run_id, q.question
  FROM unnest($2::int2[], $3::uuid[]) k (shard, run_id),
       LATERAL (SELECT FROM dacapo.runs_open o WHERE o.shard = k.shard AND o.run_id = k.run_id
                   AND o.owner IS NOT DISTINCT FROM $1 OFFSET 0) o,
       LATERAL (SELECT * FROM dacapo.queries q WHERE q.shard = k.shard AND q.run_id = k.run_id AND q.answer IS NULL) q";

const ANSWER: &str = "UPDATE dacapo.queries SET answer = $4 WHERE shard = $1 AND run_id = $2 AND query = $3";

const READ_ANSWER: &str = "SELECT answer FROM dacapo.queries WHERE shard = $1 AND run_id = $2 AND query = $3";

/// Takes along what those left who asked and died.
const WITHDRAW: &str = "DELETE FROM dacapo.queries
    WHERE shard = $1 AND run_id = $2 AND query = $3 OR asked_at < clock_timestamp() - interval '10 minutes'";

impl PgStore {
    /// Puts a question before the owner of an open run, or finds the run one. `false`: the run is not open.
    pub(crate) async fn put_question(&self, run: RunKey, query: &Query) -> StoreResult<bool> {
        let question = serde_json::to_vec(query).map_err(|error| corrupt("a question", &error))?;
        let row = sqlx::query(ASK)
            .bind(run.shard.0)
            .bind(run.run_id.0)
            .bind(query.id)
            .bind(question)
            .fetch_optional(&self.hot)
            .await
            .map_err(store_error)?;
        let Some(row) = row else { return Ok(false) };
        match row.get::<Option<Uuid>, _>("owner") {
            Some(owner) => self.hints.asked(WorkerId(owner), run),
            None => {
                let queue: TaskQueue = row.get::<String, _>("task_queue").into();
                self.hints.runs_ready(&queue, self.hints.now());
            }
        }
        self.hints.send();
        Ok(true)
    }

    /// Reads the questions without an answer to those of the runs that the worker owns.
    pub(crate) async fn read_questions(&self, worker: WorkerId, runs: &[RunKey]) -> StoreResult<Vec<(RunKey, Query)>> {
        let rows = sqlx::query(QUESTIONS)
            .bind(worker.0)
            .bind(runs.iter().map(|run| run.shard.0).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| run.run_id.0).collect::<Vec<_>>())
            .fetch_all(&self.hot)
            .await
            .map_err(store_error)?;
        let read = |row| {
            let query =
                serde_json::from_slice(Row::get(row, "question")).map_err(|error| corrupt("a question", &error))?;
            Ok((key(row), query))
        };
        rows.iter().map(read).collect()
    }

    /// Answers a question, unless nobody waits any more.
    pub(crate) async fn write_answer(&self, run: RunKey, query: Uuid, answer: &QueryAnswer) -> StoreResult<()> {
        let answer = serde_json::to_vec(answer).map_err(|error| corrupt("an answer", &error))?;
        let statement = sqlx::query(ANSWER).bind(run.shard.0).bind(run.run_id.0).bind(query).bind(answer);
        statement.execute(&self.hot).await.map_err(store_error)?;
        self.hints.updated(run);
        self.hints.send();
        Ok(())
    }

    /// Reads an answer.
    pub(crate) async fn read_answer(&self, run: RunKey, query: Uuid) -> StoreResult<Option<QueryAnswer>> {
        let statement = sqlx::query(READ_ANSWER).bind(run.shard.0).bind(run.run_id.0).bind(query);
        let row = statement.fetch_optional(&self.hot).await.map_err(store_error)?;
        let answer = row.and_then(|row| row.get::<Option<Vec<u8>>, _>("answer"));
        answer.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| corrupt("an answer", &error))).transpose()
    }

    /// Removes a question.
    pub(crate) async fn remove_question(&self, run: RunKey, query: Uuid) -> StoreResult<()> {
        let statement = sqlx::query(WITHDRAW).bind(run.shard.0).bind(run.run_id.0).bind(query);
        statement.execute(&self.read).await.map_err(store_error)?;
        Ok(())
    }
}
