//! A database for one test, on the cluster that all tests share; processes that a test starts.

use std::process::Child;

use dacapo_store::{PgStore, PgStoreOptions};
use sqlx::{Connection as _, PgConnection};

/// A database with the current schema, dropped with the value's test.
pub(crate) struct TestDatabase {
    /// Its URL.
    pub(crate) url: String,
}

/// Makes a database with the current schema.
pub(crate) async fn fresh(name: &str) -> TestDatabase {
    let cluster = tokio::task::spawn_blocking(|| dacapo_devpg::Cluster::shared_for_tests().expect("Postgres starts"));
    let cluster = cluster.await.expect("the start is not interrupted");
    let database = format!("{name}_{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&cluster.url()).await.expect("the cluster answers");
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {database}"));
    sqlx::query(create).execute(&mut connection).await.expect("a database can be made");
    let url = cluster.url_for(&database);
    dacapo_store::migrate(&PgStoreOptions::new(&url)).await.expect("the schema can be made");
    TestDatabase { url }
}

impl TestDatabase {
    /// A store on it.
    #[allow(dead_code, reason = "not every module looks into the store")]
    pub(crate) async fn store(&self) -> PgStore {
        PgStore::connect(PgStoreOptions::new(&self.url)).await.expect("the database answers")
    }

    /// A store that tells others through the server only.
    #[allow(dead_code, reason = "not every module looks into the store")]
    pub(crate) async fn store_apart(&self) -> PgStore {
        let options = PgStoreOptions { neighbours: false, ..PgStoreOptions::new(&self.url) };
        PgStore::connect(options).await.expect("the database answers")
    }
}

/// A process that does not outlive its test.
pub(crate) struct Killed(pub(crate) Child);

impl Killed {
    /// Sends SIGTERM and waits; the process must end well.
    pub(crate) fn stop_politely(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).expect("a pid fits"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("the process is there");
        let status = self.0.wait().expect("the process ends");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
