//! The schema: migrations in order, under a lock, forward only; a schema newer than this binary is refused.

use dacapo_core::store::{StoreError, StoreResult};
use sqlx::{Connection, PgConnection, Row};

use crate::{connection, connection::PgStoreOptions, error::store_error};

/// One step of the schema.
struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "runs", sql: include_str!("../../../migrations/0001_runs.sql") },
    Migration { version: 2, name: "work", sql: include_str!("../../../migrations/0002_work.sql") },
    Migration { version: 3, name: "flush", sql: include_str!("../../../migrations/0003_flush.sql") },
    Migration { version: 4, name: "claims", sql: include_str!("../../../migrations/0004_claims.sql") },
    Migration { version: 5, name: "history_format", sql: include_str!("../../../migrations/0005_history_format.sql") },
    Migration { version: 6, name: "between_runs", sql: include_str!("../../../migrations/0006_between_runs.sql") },
    Migration { version: 7, name: "list_filters", sql: include_str!("../../../migrations/0007_list_filters.sql") },
    Migration { version: 8, name: "branches", sql: include_str!("../../../migrations/0008_branches.sql") },
    Migration { version: 9, name: "claim_from", sql: include_str!("../../../migrations/0009_claim_from.sql") },
    Migration { version: 10, name: "transactions", sql: include_str!("../../../migrations/0010_transactions.sql") },
    Migration { version: 11, name: "claim_order", sql: include_str!("../../../migrations/0011_claim_order.sql") },
    Migration { version: 12, name: "final_events", sql: include_str!("../../../migrations/0012_final_events.sql") },
    Migration { version: 13, name: "lone", sql: include_str!("../../../migrations/0013_lone.sql") },
    Migration { version: 14, name: "handed", sql: include_str!("../../../migrations/0014_handed.sql") },
    Migration { version: 15, name: "locked_steps", sql: include_str!("../../../migrations/0015_locked_steps.sql") },
    Migration { version: 16, name: "run_first", sql: include_str!("../../../migrations/0016_run_first.sql") },
    Migration { version: 17, name: "forgiven", sql: include_str!("../../../migrations/0017_forgiven.sql") },
    Migration { version: 18, name: "short_names", sql: include_str!("../../../migrations/0018_short_names.sql") },
];

/// Any number that nothing else locks: the letters `dacapo` and a zero.
const MIGRATION_LOCK: i64 = 0x0064_6163_6170_6f00;

/// How the schema of a database stands to this binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaStatus {
    /// The version that the database has; 0 when it has none.
    pub version: i32,
    /// The version that this binary brings.
    pub binary_version: i32,
    /// The migrations that `migrate` would apply.
    pub pending: Vec<String>,
}

/// Reads the catalog itself: `to_regclass` may answer from what the session knew before it waited for the lock.
const SCHEMA_EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'dacapo' AND c.relname = 'migrations') AS exists";
const SCHEMA_VERSION: &str = "SELECT coalesce(max(version), 0) AS version FROM dacapo.migrations";
const CREATE_LEDGER: &str = "CREATE TABLE dacapo.migrations (
    version integer NOT NULL PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())";
const RECORD: &str = "INSERT INTO dacapo.migrations (version, name) VALUES ($1, $2)";
const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";

/// Brings the schema up to this binary's version. Several processes may do so at once: one works, the others wait.
///
/// # Errors
/// [`StoreError::Rejected`] when the schema is newer than the binary, or the user may not change it;
/// [`StoreError::Unavailable`] when the database cannot be reached.
pub async fn migrate(options: &PgStoreOptions) -> StoreResult<SchemaStatus> {
    let mut connection = direct(options).await?;
    if let Some(status) = check(version(&mut connection).await?)? {
        return Ok(status);
    }
    let mut transaction = connection.begin().await.map_err(store_error)?;
    sqlx::query(LOCK).bind(MIGRATION_LOCK).execute(&mut *transaction).await.map_err(refused)?;
    // Another process may have done it while this one waited.
    let found = version(&mut transaction).await?;
    check(found)?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > found) {
        sqlx::raw_sql(migration.sql).execute(&mut *transaction).await.map_err(refused)?;
        if migration.version == 1 {
            sqlx::raw_sql(CREATE_LEDGER).execute(&mut *transaction).await.map_err(refused)?;
        }
        let record = sqlx::query(RECORD).bind(migration.version).bind(migration.name);
        record.execute(&mut *transaction).await.map_err(refused)?;
        tracing::info!(version = migration.version, name = migration.name, "migrated the schema");
    }
    transaction.commit().await.map_err(store_error)?;
    let found = version(&mut connection).await?;
    Ok(status(found))
}

/// Reads how the schema of a database stands to this binary, and changes nothing.
///
/// # Errors
/// [`StoreError::Unavailable`] when the database cannot be reached.
pub async fn schema_status(options: &PgStoreOptions) -> StoreResult<SchemaStatus> {
    let mut connection = direct(options).await?;
    Ok(status(version(&mut connection).await?))
}

/// Refuses a schema that this binary cannot work with.
///
/// # Errors
/// [`StoreError::Rejected`] when it is older or newer.
pub(crate) async fn require_current(options: &PgStoreOptions) -> StoreResult<()> {
    let mut connection = direct(options).await?;
    let found = version(&mut connection).await?;
    match check(found)? {
        Some(_) => Ok(()),
        None => Err(StoreError::Rejected {
            problem: format!(
                "the database's schema has version {found}, this binary needs {}: run `dacapo db migrate`",
                newest()
            ),
        }),
    }
}

/// Gives the status when nothing is to be done, `None` when migrations are pending.
fn check(found: i32) -> StoreResult<Option<SchemaStatus>> {
    let known = newest();
    if found > known {
        return Err(StoreError::Rejected {
            problem: format!(
                "the database's schema has version {found}, this binary knows versions up to {known}: \
                 use a newer dacapo (a schema is never taken back)"
            ),
        });
    }
    Ok((found == known).then(|| status(found)))
}

fn newest() -> i32 {
    MIGRATIONS[MIGRATIONS.len() - 1].version
}

fn status(version: i32) -> SchemaStatus {
    let pending = MIGRATIONS.iter().filter(|migration| migration.version > version);
    SchemaStatus {
        version,
        binary_version: newest(),
        pending: pending.map(|migration| format!("{:04}_{}", migration.version, migration.name)).collect(),
    }
}

async fn direct(options: &PgStoreOptions) -> StoreResult<PgConnection> {
    let target = options.direct_options().map_err(|error| StoreError::Rejected {
        problem: format!("the database URL is not usable: {error}; it has the form postgres://user@host:5432/database"),
    })?;
    connection::open(&target).await.map_err(store_error)
}

async fn version(connection: &mut PgConnection) -> StoreResult<i32> {
    let exists: bool = sqlx::query(SCHEMA_EXISTS).fetch_one(&mut *connection).await.map_err(store_error)?.get("exists");
    if !exists {
        return Ok(0);
    }
    Ok(sqlx::query(SCHEMA_VERSION).fetch_one(connection).await.map_err(store_error)?.get("version"))
}

/// An error while migrating is final unless the connection is gone: the statements are the same next time.
fn refused(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(ref database) => {
            StoreError::Rejected { problem: format!("the schema cannot be migrated: {database}") }
        }
        other => store_error(other),
    }
}
