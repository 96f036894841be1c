//! The raw floor: what the same database does at that hour when nobody asks it for workflows.
//!
//! Rows of the histories that the scenario has just written, by nothing but `INSERT … SELECT FROM unnest`, in batches as
//! large and on as many connections as a process flushes; commits of one tiny row, one after the other; and what of those
//! is the wait for the disk.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use dacapo_core::limits::{FLUSH_ITEMS_MAX, FLUSH_LANES};
use serde::Serialize;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Database, postgres::HistorySample, report::rounded};

/// How long each of the three is measured.
const MEASURE: Duration = Duration::from_secs(1);

/// The parts in which commits are measured.
const QUARTERS: u32 = 4;

/// The bytes that one batch has at most, so that large payloads do not fill the memory.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the names of schemas for this begin with; the rest is a uuid.
const SCHEMA: &str = "dacapo_bench_";

const SCHEMAS: &str = "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE $1";

/// A schema that is older was left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(3_600);

/// What the database does at best.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Floor {
    /// Rows of `row_bytes` a second.
    pub(super) rows_per_s: f64,
    /// Commits a second on one connection.
    pub(super) commits_per_s: f64,
    /// What each of these waits for the disk, in milliseconds.
    pub(super) fsync_ms: f64,
    /// The mean bytes of events in one row of the histories of the scenario.
    pub(super) row_bytes: usize,
    /// The rows of such a history, with those of its children.
    pub(super) rows_per_workflow: f64,
}

impl Floor {
    /// Workflows a second if nothing but their histories were written.
    pub(super) fn workflows_per_s(&self) -> f64 {
        self.rows_per_s / self.rows_per_workflow
    }

    /// The time of one workflow in milliseconds if nothing but its history were written, one commit after the other.
    pub(super) fn latency_ms(&self) -> f64 {
        self.rows_per_workflow * 1_000.0 / self.commits_per_s
    }
}

/// Measures it, in a schema of its own that is dropped afterwards; `within` bounds each part.
pub(super) async fn measure(database: &Database, sample: HistorySample, within: Duration) -> anyhow::Result<Floor> {
    let options: PgConnectOptions = database.options.url.parse()?;
    let options = options.application_name("dacapo bench floor").disable_statement_logging();
    let pool = PgPoolOptions::new().max_connections(FLUSH_LANES as u32).connect_with(options).await?;
    sweep(&pool).await?;
    let schema = format!("{SCHEMA}{}", Uuid::now_v7().simple());
    let made = make(&pool, &schema).await;
    let measured = match made {
        Ok(()) => parts(&pool, &schema, sample, within.min(MEASURE)).await,
        Err(error) => Err(error.into()),
    };
    // Names are made of our own uuid.
    let dropped = sqlx::query(AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {schema} CASCADE"))).execute(&pool).await;
    pool.close().await;
    let floor = measured?;
    dropped?;
    Ok(floor)
}

/// Drops what measurements that were killed have left: none takes as long as this.
async fn sweep(pool: &PgPool) -> Result<(), sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(SCHEMAS).bind(format!("{SCHEMA}%")).fetch_all(pool).await?;
    for name in names {
        let made = name.strip_prefix(SCHEMA).and_then(|id| Uuid::try_parse(id).ok()).and_then(|id| id.get_timestamp());
        let Some((seconds, _)) = made.map(|made| made.to_unix()) else { continue };
        let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap_or_default();
        if age > LEFT_BEHIND {
            // The name is that of a uuid.
            sqlx::query(AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {name} CASCADE"))).execute(pool).await?;
        }
    }
    Ok(())
}

async fn make(pool: &PgPool, schema: &str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(pool).await?;
    // With the index and the compression of the engine's.
    let like = "INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING INDEXES";
    let table = format!("CREATE TABLE {schema}.rows (LIKE dacapo.history {like})");
    sqlx::query(AssertSqlSafe(table)).execute(pool).await?;
    let table = format!("CREATE TABLE {schema}.commits (number bigint NOT NULL)");
    sqlx::query(AssertSqlSafe(table)).execute(pool).await.map(drop)
}

async fn parts(pool: &PgPool, schema: &str, sample: HistorySample, within: Duration) -> anyhow::Result<Floor> {
    let bytes: usize = sample.rows.iter().map(Vec::len).sum();
    let row_bytes = (bytes / sample.rows.len().max(1)).max(1);
    let rows_of_histories = Arc::new(sample.rows);
    let mut lanes = JoinSet::new();
    let began = Instant::now();
    for lane in 0..FLUSH_LANES as i16 {
        let statement = format!(
            "INSERT INTO {schema}.rows (run_id, first_event_id, owner_epoch, shard, events)
             SELECT k.run, 1, 1, $1, k.events FROM unnest($2::uuid[], $3::bytea[]) k (run, events)"
        );
        let rows = Arc::clone(&rows_of_histories);
        lanes.spawn(insert(pool.acquire().await?.detach(), statement, lane, (rows, row_bytes), within));
    }
    let mut rows = 0;
    while let Some(lane) = lanes.join_next().await {
        rows += lane??;
    }
    let rows_per_s = rows as f64 / began.elapsed().as_secs_f64();
    let mut connection = pool.acquire().await?.detach();
    let durable = quickest_commits(&mut connection, schema, within / 2).await?;
    sqlx::query("SET synchronous_commit = off").execute(&mut connection).await?;
    let volatile = quickest_commits(&mut connection, schema, within / 2).await?;
    connection.close().await?;
    Ok(Floor {
        rows_per_s: rounded(rows_per_s, 10.0),
        commits_per_s: rounded(1.0 / durable.as_secs_f64(), 10.0),
        fsync_ms: rounded(durable.saturating_sub(volatile).as_secs_f64() * 1_000.0, 1_000.0),
        row_bytes,
        rows_per_workflow: sample.rows_per_run,
    })
}

/// Inserts batches until time is over; gives the rows.
async fn insert(
    mut connection: PgConnection,
    statement: String,
    lane: i16,
    (histories, row_bytes): (Arc<Vec<Vec<u8>>>, usize),
    within: Duration,
) -> Result<u64, sqlx::Error> {
    let batch = (BATCH_BYTES_MAX / row_bytes).clamp(1, FLUSH_ITEMS_MAX);
    let (began, mut rows, mut next) = (Instant::now(), 0, histories.iter().cycle());
    while began.elapsed() < within {
        let runs: Vec<Uuid> = (0..batch).map(|_| Uuid::now_v7()).collect();
        let events: Vec<&[u8]> = next.by_ref().take(batch).map(Vec::as_slice).collect();
        let query = sqlx::query(AssertSqlSafe(statement.as_str())).bind(lane).bind(runs).bind(events);
        rows += query.execute(&mut connection).await?.rows_affected();
    }
    connection.close().await?;
    Ok(rows)
}

/// Commits one tiny row after the other; gives the mean time of one in the quickest quarter: what the scenario has left the
/// server to do (a checkpoint) takes its time meanwhile.
async fn quickest_commits(
    connection: &mut PgConnection,
    schema: &str,
    within: Duration,
) -> Result<Duration, sqlx::Error> {
    let mut quickest = Duration::MAX;
    for _ in 0..QUARTERS {
        quickest = commits(connection, schema, within / QUARTERS).await?.min(quickest);
    }
    Ok(quickest)
}

/// Commits one tiny row after the other; gives the mean time of one.
async fn commits(connection: &mut PgConnection, schema: &str, within: Duration) -> Result<Duration, sqlx::Error> {
    let statement = format!("INSERT INTO {schema}.commits (number) VALUES ($1)");
    let (began, mut number) = (Instant::now(), 0_i64);
    while number == 0 || began.elapsed() < within {
        sqlx::query(AssertSqlSafe(statement.as_str())).bind(number).execute(&mut *connection).await?;
        number += 1;
    }
    Ok(began.elapsed().div_f64(number as f64))
}
