//! An engine for development and examples, without any set-up.
//!
//! With `DATABASE_URL` set it is that database; else a private Postgres in this folder, made on first use from the
//! binaries installed on the machine and stopped by its last user.

use std::sync::Arc;

use dacapo_devpg::{Cluster, ClusterOptions, DevPostgresError};
use dacapo_runtime::Engine;
use dacapo_store::{PgStore, PgStoreOptions};

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The private Postgres cannot be started.
    #[error(transparent)]
    Postgres(#[from] DevPostgresError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] dacapo_core::store::StoreError),
    /// The start was interrupted.
    #[error("the start of the private Postgres was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// An engine with what it stands on; keep it for as long as the engine is used.
#[derive(Debug)]
pub struct Dev {
    engine: Engine,
    url: String,
    _cluster: Option<Cluster>,
}

impl Dev {
    /// Starts what is needed and brings the schema up to date.
    ///
    /// # Errors
    /// [`DevError`] says what to install or to set.
    pub async fn start() -> Result<Self, DevError> {
        let (url, cluster) = match std::env::var("DATABASE_URL") {
            Ok(url) if !url.is_empty() => (url, None),
            _ => {
                let cluster = tokio::task::spawn_blocking(|| Cluster::start(ClusterOptions::default())).await??;
                (cluster.url(), Some(cluster))
            }
        };
        let options = PgStoreOptions::new(url.as_str());
        dacapo_store::migrate(&options).await?;
        let store = PgStore::connect(options).await?;
        Ok(Self { engine: Engine::new(Arc::new(store)).await?, url, _cluster: cluster })
    }

    /// The URL of the database, for tables of one's own.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}
