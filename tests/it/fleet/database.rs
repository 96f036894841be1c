//! A database for one test, with the table that counts what activities really did.

use std::{collections::HashMap, sync::Arc};

use dacapo::{PgStore, PgStoreOptions};
use dacapo_devpg::Cluster;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};

/// The server that a test uses.
pub(crate) enum Server {
    /// The one of all tests.
    Shared(&'static Cluster),
    /// One that may be killed.
    Own(Arc<Cluster>),
}

impl Server {
    fn cluster(&self) -> &Cluster {
        match self {
            Self::Shared(cluster) => cluster,
            Self::Own(cluster) => cluster,
        }
    }
}

/// One effect of an activity: which attempt of the call had it, in which process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) attempt: i32,
    pub(crate) pid: i32,
}

/// A database with Dacapo's schema and the table `effects`.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) pool: PgPool,
    server: Server,
}

impl Database {
    pub(crate) async fn create(server: Server) -> Self {
        let name = format!("fleet_{}", uuid::Uuid::now_v7().simple());
        let mut admin = PgConnection::connect(&server.cluster().url()).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
        let url = server.cluster().url_for(&name);
        dacapo_store::migrate(&PgStoreOptions::new(&url)).await.unwrap();
        let pool = PgPoolOptions::new().max_connections(2).connect(&url).await.unwrap();
        let effects = "CREATE TABLE effects (key text, attempt int, pid int, at timestamptz DEFAULT clock_timestamp())";
        sqlx::raw_sql(effects).execute(&pool).await.unwrap();
        Self { url, pool, server }
    }

    /// Connects as a process does.
    pub(crate) async fn store(&self) -> Arc<PgStore> {
        Arc::new(PgStore::connect(PgStoreOptions::new(&self.url)).await.unwrap())
    }

    /// The server, for those who kill it.
    pub(crate) fn own_server(&self) -> Arc<Cluster> {
        match &self.server {
            Server::Own(cluster) => Arc::clone(cluster),
            Server::Shared(_) => panic!("the shared server is not for killing"),
        }
    }

    /// What activities did, by idempotency key, in order of time.
    pub(crate) async fn effects(&self) -> HashMap<String, Vec<Effect>> {
        let statement = "SELECT key, attempt, pid FROM effects WHERE attempt IS NOT NULL ORDER BY at";
        let rows: Vec<(String, i32, i32)> = sqlx::query_as(statement).fetch_all(&self.pool).await.unwrap();
        let mut effects: HashMap<String, Vec<Effect>> = HashMap::new();
        for (key, attempt, pid) in rows {
            effects.entry(key).or_default().push(Effect { attempt, pid });
        }
        effects
    }

    /// Leaves a row that activities look for.
    pub(crate) async fn leave(&self, key: &str) {
        sqlx::query("INSERT INTO effects (key) VALUES ($1)").bind(key).execute(&self.pool).await.unwrap();
    }

    /// Counts the rows of a table under a condition.
    pub(crate) async fn count(&self, from: &str) -> i64 {
        let statement = format!("SELECT count(*) FROM {from}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&self.pool).await.unwrap()
    }

    /// The deadlocks that the server has broken up in this database.
    pub(crate) async fn deadlocks(&self) -> i64 {
        let statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.unwrap()
    }
}
