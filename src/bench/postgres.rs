//! What Postgres itself says: its counters, its sizes, and what became of the runs of a queue.
//!
//! One connection, which does nothing while the load runs but what a sample or a wait asks of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use dacapo_core::{RunId, RunKey, Shard};
use serde::Serialize;
use sqlx::{
    ConnectOptions, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{Database, cpu};

/// How often the counters are looked at until they stand still.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How many looks must agree; connections that have gone have told their counters, so this is for vacuum and the like.
const STILL_LOOKS: u32 = 3;

/// How long counters may take to stand still; other users of the database may keep them moving.
const STILL_WITHIN: Duration = Duration::from_secs(3);

/// How long the connections of processes that have ended may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(15);

/// The runs whose histories say what a row is like.
const SAMPLED_RUNS: i64 = 200;

/// The bytes of their rows that are kept as they are, at most, but for the first.
const SAMPLED_BYTES: i64 = 4 * 1024 * 1024;

/// The settings of the server that a figure depends on.
const SETTINGS: [&str; 6] =
    ["server_version", "fsync", "synchronous_commit", "shared_buffers", "max_wal_size", "max_connections"];

// The fleet's own table is left out: its renewals depend on the time and not on the work. The tables' counters are
// taken rather than the database's, which count what vacuum writes into the catalogs.
// Commits are as the database counts them, with those in which connections that listen read what others notified; the
// numbers that the server gives out to transactions that write go to their parts, too.
const COUNTERS: &str = "
SELECT d.xact_commit AS commits, d.xact_commit + d.xact_rollback AS transactions,
       t.rows, t.queued, t.history_rows, t.queued_activities,
       (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal
  FROM pg_stat_database d,
       (SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del) FILTER (WHERE relname <> 'workers'), 0)::bigint AS rows,
               coalesce(sum(n_tup_ins) FILTER (WHERE relname = 'ready'), 0)::bigint AS queued,
               coalesce(sum(n_tup_ins) FILTER (WHERE relname = 'history'), 0)::bigint AS history_rows,
               coalesce(sum(n_tup_ins) FILTER (WHERE relname = 'activities'), 0)::bigint AS queued_activities
          FROM pg_stat_user_tables WHERE schemaname = 'dacapo') t
 WHERE d.datname = current_database()";

// Fails where the extension is missing, not loaded, or not for this user to read.
const STATEMENTS: &str = "
SELECT coalesce(sum(calls), 0)::bigint AS calls FROM pg_stat_statements
 WHERE toplevel AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";

const CLAIMS: &str = "
SELECT coalesce(sum(calls), 0)::bigint AS calls, coalesce(sum(total_time), 0)::float8 AS total_ms
  FROM pg_stat_user_functions WHERE schemaname = 'dacapo' AND funcname LIKE 'claim\\_v%'";

const CONNECTIONS: &str = "
SELECT count(*) AS open FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = ANY ($1)";

const SELF: &str = "
SELECT pg_backend_pid() AS pid, current_database()::text AS database,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS super";

const TABLES: &str = "
SELECT relname::text AS name, pg_table_size(relid) AS bytes, pg_indexes_size(relid) AS index_bytes,
       n_dead_tup AS dead_rows
  FROM pg_stat_user_tables WHERE schemaname = 'dacapo' ORDER BY relname";

// The newest runs of the namespace are found by an index, however many older ones there are.
const HISTORIES: &str = "
WITH rows AS MATERIALIZED (
    SELECT r.run_id, h.events, row_number() OVER w AS place, sum(octet_length(h.events)) OVER w AS bytes
      FROM (SELECT shard, run_id FROM dacapo.runs_closed
             WHERE namespace = $1 AND task_queue = $2 ORDER BY started_at DESC LIMIT $3) r
      JOIN dacapo.transitions h USING (shard, run_id)
    WINDOW w AS (ROWS UNBOUNDED PRECEDING))
SELECT count(DISTINCT run_id) AS runs, count(*) AS rows,
       ARRAY(SELECT events FROM rows WHERE place = 1 OR bytes <= $4) AS events FROM rows";

const SERVER: &str = "SELECT name, current_setting(name) AS value FROM unnest($1::text[]) k (name)";

// The library is loaded on servers of our own where it is installed; making its view is for others to decide.
const MAKE_STATEMENTS: &str = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements";

// Times of the ends of runs as microseconds: the first, those by which a tenth and nine tenths had ended, the last.
const ENDS: &str = "
SELECT count(*) AS closed, count(*) FILTER (WHERE status <> 'Completed') AS failed,
       percentile_disc(ARRAY[0, 0.1, 0.9, 1]::float8[])
           WITHIN GROUP (ORDER BY (extract(epoch FROM closed_at) * 1000000)::bigint) AS ends
  FROM dacapo.runs_closed WHERE namespace = $1 AND task_queue = $2";

const UNFINISHED: &str = "SELECT EXISTS (SELECT FROM dacapo.runs_open WHERE task_queue = $1) AS there";
const READY: &str = "SELECT count(*) AS ready FROM dacapo.ready WHERE namespace = $1 AND task_queue = $2";

const CLOSED_SO_FAR: &str = "
SELECT n_tup_ins AS closed FROM pg_stat_user_tables WHERE schemaname = 'dacapo' AND relname = 'runs_closed'";

const RESULTS: &str = "
SELECT (SELECT (e.attributes ->> 'result')::bigint FROM dacapo.events e
         WHERE e.shard = c.shard AND e.run_id = c.run_id AND e.event_type = 'WorkflowExecutionCompleted') AS value
  FROM dacapo.runs_closed c
 WHERE c.namespace = $1 AND c.task_queue = $2 AND c.workflow_type = $3 AND c.status = 'Completed'";

const ROWS_OF_RUN: &str = "
SELECT first_event_id, (extract(epoch FROM written_at) * 1000000)::bigint AS written_us, octet_length(events)::bigint AS bytes
  FROM dacapo.transitions WHERE shard = $1 AND run_id = $2 ORDER BY first_event_id";

/// What Postgres has counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    /// Transactions that were committed.
    pub(super) commits: u64,
    /// Statements as pg_stat_statements counts them, where it does.
    pub(super) statements: Option<u64>,
    /// Transactions that ended in any way.
    pub(super) transactions: u64,
    pub(super) rows: u64,
    /// Runs that were put on a queue.
    pub(super) queued: u64,
    /// Rows of history.
    pub(super) history_rows: u64,
    /// Activities that were put on a queue.
    pub(super) queued_activities: u64,
    pub(super) wal_bytes: u64,
}

impl Counters {
    /// What has been counted since an earlier look.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            commits: self.commits.saturating_sub(earlier.commits),
            statements: self.statements.zip(earlier.statements).map(|(now, then)| now.saturating_sub(then)),
            transactions: self.transactions.saturating_sub(earlier.transactions),
            rows: self.rows.saturating_sub(earlier.rows),
            queued: self.queued.saturating_sub(earlier.queued),
            history_rows: self.history_rows.saturating_sub(earlier.history_rows),
            queued_activities: self.queued_activities.saturating_sub(earlier.queued_activities),
            wal_bytes: self.wal_bytes.saturating_sub(earlier.wal_bytes),
        }
    }
}

/// Size and state of a table of the engine.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TableSize {
    pub(super) name: String,
    pub(super) bytes: i64,
    pub(super) index_bytes: i64,
    pub(super) dead_rows: i64,
}

/// What the newest histories of a queue are like.
#[derive(Debug, Clone)]
pub(super) struct HistorySample {
    /// Rows that each run has written.
    pub(super) rows_per_run: f64,
    /// The events of some of them.
    pub(super) rows: Vec<Vec<u8>>,
}

/// When the runs of a queue ended, in microseconds since 1970.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    pub(super) closed: u64,
    pub(super) failed: u64,
    /// The first end.
    pub(super) first_us: i64,
    /// By when a tenth had ended.
    pub(super) tenth_us: i64,
    /// By when nine tenths had ended.
    pub(super) nine_tenths_us: i64,
    /// The last end.
    pub(super) last_us: i64,
}

/// Claims of runs, as Postgres has timed them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claims {
    pub(super) calls: i64,
    pub(super) total_ms: f64,
}

/// A row of a history.
#[derive(Debug, Clone, Copy)]
pub(super) struct HistoryRow {
    pub(super) first_event_id: i64,
    pub(super) written_us: i64,
    pub(super) bytes: i64,
}

/// The connection of whoever looks.
#[derive(Debug)]
pub(super) struct Observer {
    pool: PgPool,
    namespace: String,
    /// Whether pg_stat_statements answers.
    counts_statements: bool,
    superuser: bool,
    /// The server's process, when it is on this machine.
    pub(super) server_pid: Option<u32>,
}

impl Observer {
    /// Connects.
    pub(super) async fn connect(database: &Database) -> anyhow::Result<Self> {
        let options: PgConnectOptions = database.options.url.parse()?;
        let options = options.application_name("dacapo bench observer").disable_statement_logging();
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
        if database.server_pid.is_some()
            && let Err(error) = sqlx::query(MAKE_STATEMENTS).execute(&pool).await
        {
            tracing::debug!(%error, "statements are not counted");
        }
        let counts_statements = sqlx::query(STATEMENTS).fetch_one(&pool).await.is_ok();
        let row = sqlx::query(SELF).fetch_one(&pool).await?;
        let (backend, name): (i32, String) = (row.try_get("pid")?, row.try_get("database")?);
        let found = || cpu::server_of(u32::try_from(backend).ok()?, &name);
        let server_pid = database.server_pid.or_else(found);
        let superuser = row.try_get("super")?;
        Ok(Self { pool, namespace: database.namespace.to_string(), counts_statements, superuser, server_pid })
    }

    /// The settings of the server.
    pub(super) async fn server(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let rows = sqlx::query(SERVER).bind(SETTINGS.as_slice()).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get("name")?, row.try_get("value")?))).collect()
    }

    /// Reads the counters now; those of connections that are open lag by up to a second.
    pub(super) async fn counters(&self) -> anyhow::Result<Counters> {
        let row = sqlx::query(COUNTERS).fetch_one(&self.pool).await.context("the counters of Postgres")?;
        let count = |name| anyhow::Ok(row.try_get::<i64, _>(name)?.unsigned_abs());
        let mut statements = None;
        if self.counts_statements {
            let row = sqlx::query(STATEMENTS).fetch_one(&self.pool).await?;
            statements = Some(row.try_get::<i64, _>("calls")?.unsigned_abs());
        }
        Ok(Counters {
            commits: count("commits")?,
            statements,
            transactions: count("transactions")?,
            rows: count("rows")?,
            queued: count("queued")?,
            history_rows: count("history_rows")?,
            queued_activities: count("queued_activities")?,
            wal_bytes: count("wal")?,
        })
    }

    /// Reads the counters when they have stopped moving.
    pub(super) async fn settled(&self) -> anyhow::Result<Counters> {
        let began = Instant::now();
        let mut last = self.counters().await?;
        let mut still = 0;
        while still < STILL_LOOKS && began.elapsed() < STILL_WITHIN {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let now = self.counters().await?;
            still = if now.rows == last.rows { still + 1 } else { 0 };
            last = now;
        }
        Ok(last)
    }

    /// Waits until the connections of these applications have gone: a connection tells what it counted when it goes.
    pub(super) async fn gone(&self, applications: &[String]) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let row = sqlx::query(CONNECTIONS).bind(applications).fetch_one(&self.pool).await?;
            let open: i64 = row.try_get("open")?;
            if open == 0 {
                return Ok(());
            }
            if began.elapsed() > GONE_WITHIN {
                bail!("{open} connections of the benchmark are still open after {} s", GONE_WITHIN.as_secs());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Sizes and dead rows of the engine's tables.
    pub(super) async fn tables(&self) -> anyhow::Result<Vec<TableSize>> {
        let rows = sqlx::query(TABLES).fetch_all(&self.pool).await?;
        let table = |row: &sqlx::postgres::PgRow| {
            Ok(TableSize {
                name: row.try_get("name")?,
                bytes: row.try_get("bytes")?,
                index_bytes: row.try_get("index_bytes")?,
                dead_rows: row.try_get("dead_rows")?,
            })
        };
        rows.iter().map(table).collect()
    }

    /// What the newest histories of a queue are like; nothing when it has none.
    pub(super) async fn histories(&self, queue: &str) -> anyhow::Result<Option<HistorySample>> {
        let query = sqlx::query(HISTORIES).bind(&self.namespace).bind(queue).bind(SAMPLED_RUNS).bind(SAMPLED_BYTES);
        let row = query.fetch_one(&self.pool).await?;
        let (runs, rows): (i64, i64) = (row.try_get("runs")?, row.try_get("rows")?);
        let sample = HistorySample { rows_per_run: rows as f64 / runs.max(1) as f64, rows: row.try_get("events")? };
        Ok((runs > 0).then_some(sample))
    }

    /// When the runs of a queue ended; nothing when none has.
    pub(super) async fn ends(&self, queue: &str) -> anyhow::Result<Option<Ends>> {
        let row = sqlx::query(ENDS).bind(&self.namespace).bind(queue).fetch_one(&self.pool).await?;
        let (closed, failed): (i64, i64) = (row.try_get("closed")?, row.try_get("failed")?);
        let ends: Option<Vec<i64>> = row.try_get("ends")?;
        let Some(&[first_us, tenth_us, nine_tenths_us, last_us]) = ends.as_deref() else { return Ok(None) };
        let (closed, failed) = (closed.unsigned_abs(), failed.unsigned_abs());
        Ok(Some(Ends { closed, failed, first_us, tenth_us, nine_tenths_us, last_us }))
    }

    /// Whether a run of a queue is open.
    pub(super) async fn unfinished(&self, queue: &str) -> anyhow::Result<bool> {
        Ok(sqlx::query(UNFINISHED).bind(queue).fetch_one(&self.pool).await?.try_get("there")?)
    }

    /// How many runs of a queue have something to do and no owner.
    pub(super) async fn ready(&self, queue: &str) -> anyhow::Result<u64> {
        let query = sqlx::query(READY).bind(&self.namespace).bind(queue);
        Ok(query.fetch_one(&self.pool).await?.try_get::<i64, _>("ready")?.unsigned_abs())
    }

    /// How many runs have been closed in this database, as its counters know.
    pub(super) async fn closed_so_far(&self) -> anyhow::Result<u64> {
        let row = sqlx::query(CLOSED_SO_FAR).fetch_one(&self.pool).await?;
        Ok(row.try_get::<i64, _>("closed")?.unsigned_abs())
    }

    /// The results, whole numbers, of the runs of a queue and type.
    pub(super) async fn results(&self, queue: &str, workflow_type: &str) -> anyhow::Result<Vec<u64>> {
        let query = sqlx::query(RESULTS).bind(&self.namespace).bind(queue).bind(workflow_type);
        let rows = query.fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok(row.try_get::<i64, _>("value")?.unsigned_abs())).collect()
    }

    /// The rows of a run's history.
    pub(super) async fn history(&self, run: RunKey) -> anyhow::Result<Vec<HistoryRow>> {
        let RunKey { shard: Shard(shard), run_id: RunId(run_id) } = run;
        let rows = sqlx::query(ROWS_OF_RUN).bind(shard).bind(run_id).fetch_all(&self.pool).await?;
        let history_row = |row: &sqlx::postgres::PgRow| {
            Ok(HistoryRow {
                first_event_id: row.try_get("first_event_id")?,
                written_us: row.try_get("written_us")?,
                bytes: row.try_get("bytes")?,
            })
        };
        rows.iter().map(history_row).collect()
    }

    /// The URL of the database for processes whose functions Postgres shall time, where this user may ask for it.
    pub(super) fn timed_url(&self, url: &str) -> String {
        let separator = if url.contains('?') { '&' } else { '?' };
        if self.superuser { format!("{url}{separator}options[track_functions]=pl") } else { url.to_owned() }
    }

    /// The claims of runs since statistics began; nothing unless functions are timed.
    pub(super) async fn claims(&self) -> anyhow::Result<Option<Claims>> {
        let row = sqlx::query(CLAIMS).fetch_one(&self.pool).await?;
        let claims = Claims { calls: row.try_get::<i64, _>("calls")?, total_ms: row.try_get("total_ms")? };
        Ok((claims.calls > 0).then_some(claims))
    }

    /// Leaves.
    pub(super) async fn close(self) {
        self.pool.close().await;
    }
}
