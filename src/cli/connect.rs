//! Reaching the database: the one that was given, or the private one of this folder.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use dacapo_core::store::{StoreError, StoreResult};
use dacapo_devpg::{Cluster, ClusterOptions};
use dacapo_runtime::{Client, Engine, process_identity};
use dacapo_store::{PgStore, PgStoreOptions};

use super::{
    Context,
    exit::{Exit, Stop, chain},
};

/// How long one try to reach the database may take; a host that does not exist does not answer at all.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two tries.
const TRY_INTERVAL: Duration = Duration::from_millis(500);

/// The time between two messages of a process that waits for its database.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// How long to wait for a database that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Long enough for a restart of Postgres; people wait for the answer.
    Short,
    /// For ever; a worker starts before its database as often as after it.
    Endless,
}

/// How long [`Patience::Short`] is.
const SHORT: Duration = Duration::from_secs(5);

/// A database, and the private server behind it if it is one.
#[derive(Debug)]
pub(crate) struct Database {
    /// Its URL.
    pub(crate) url: String,
    cluster: Option<Cluster>,
}

impl Database {
    /// Finds the database; with `create`, a private one is made where none is given.
    pub(crate) async fn find(context: &Context, create: bool) -> Result<Self, Stop> {
        if let Some(url) = context.global.database_url() {
            check_url(url)?;
            return Ok(Self { url: url.to_owned(), cluster: None });
        }
        let options = ClusterOptions::default();
        if !create && !options.data_dir.is_dir() {
            return Err(Stop::new(
                Exit::Database,
                format!(
                    "no database: set DATABASE_URL or --database-url (postgres://user:password@host:5432/database), or \
                     run `dacapo dev` in this folder, which starts a private Postgres in {}",
                    options.data_dir.display()
                ),
            ));
        }
        // Starting a server blocks for a second or so.
        let started = tokio::task::spawn_blocking(move || Cluster::start(options)).await;
        let cluster = started
            .map_err(Stop::because(Exit::Internal))?
            .map_err(|error| Stop::new(Exit::Database, chain(&error)))?;
        if let Some(notice) = cluster.notice() {
            context.output.note(notice);
        }
        Ok(Self { url: cluster.url(), cluster: Some(cluster) })
    }

    /// The folder of the private server, if it is one.
    pub(crate) fn data_dir(&self) -> Option<PathBuf> {
        self.cluster.as_ref().map(|cluster| cluster.data_dir().to_owned())
    }

    /// The process of the private server, if it is one.
    pub(crate) fn server_pid(&self) -> Option<u32> {
        self.cluster.as_ref()?.server_pid().and_then(|pid| u32::try_from(pid).ok())
    }

    /// The options for a store on it.
    pub(crate) fn options(&self) -> PgStoreOptions {
        let mut options = PgStoreOptions::new(&self.url);
        options.application_name = format!("dacapo {}", process_identity());
        options
    }

    /// Leaves it; a private server stops with its last user.
    pub(crate) async fn leave(self) -> Result<(), Stop> {
        let Some(cluster) = self.cluster else { return Ok(()) };
        let stopped = tokio::task::spawn_blocking(move || cluster.stop()).await;
        stopped.map_err(Stop::because(Exit::Internal))?.map_err(Stop::because(Exit::Database))?;
        Ok(())
    }

    /// Repeats a call until the database answers or patience ends.
    pub(crate) async fn reach<T, F>(&self, patience: Patience, call: impl Fn() -> F) -> Result<T, Stop>
    where
        F: Future<Output = StoreResult<T>>,
    {
        let began = Instant::now();
        let mut told: Option<Instant> = None;
        loop {
            let answered = tokio::time::timeout(TRY_TIMEOUT, call()).await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable { problem: format!("no answer within {} s", TRY_TIMEOUT.as_secs()) })
            });
            let problem = match answered {
                Ok(value) => return Ok(value),
                Err(StoreError::Unavailable { problem }) => problem,
                Err(StoreError::Rejected { problem }) => return Err(self.refused(&problem)),
                Err(error) => return Err(error.into()),
            };
            if patience == Patience::Short && began.elapsed() + TRY_INTERVAL > SHORT {
                return Err(self.refused(&format!("{problem}; is it running, and is the URL right?")));
            }
            if patience == Patience::Endless && told.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
                tracing::warn!(database = redact(&self.url), problem, "waiting for the database");
                told = Some(Instant::now());
            }
            tokio::time::sleep(TRY_INTERVAL).await;
        }
    }

    fn refused(&self, problem: &str) -> Stop {
        Stop::new(Exit::Database, format!("cannot use the database {}: {problem}", redact(&self.url)))
    }
}

/// A verb's way to runs and workers.
#[derive(Debug)]
pub(crate) struct Connection {
    database: Database,
    store: Arc<PgStore>,
    engine: Engine,
    client: Client,
}

impl Connection {
    /// Connects, and brings the schema up to date.
    pub(crate) async fn open(context: &Context, database: Database, patience: Patience) -> Result<Self, Stop> {
        let options = database.options();
        Self::open_with(context, database, options, patience).await
    }

    /// As [`Connection::open`], with options of its own for the store.
    pub(crate) async fn open_with(
        context: &Context,
        database: Database,
        options: PgStoreOptions,
        patience: Patience,
    ) -> Result<Self, Stop> {
        let (store, engine) = database
            .reach(patience, || async {
                dacapo_store::migrate(&options).await?;
                let store = Arc::new(PgStore::connect(options.clone()).await?);
                let engine = Engine::new(Arc::clone(&store) as _).await?;
                Ok((store, engine))
            })
            .await?;
        let client = engine.client().with_namespace(context.global.namespace());
        Ok(Self { database, store, engine, client })
    }

    /// The client, in the namespace that was asked for.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The store.
    pub(crate) fn store(&self) -> &PgStore {
        &self.store
    }

    /// The database.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Finishes what is under way, and leaves the database.
    pub(crate) async fn close(self) -> Result<(), Stop> {
        self.engine.store().close().await;
        self.database.leave().await
    }
}

/// Refuses what cannot be the URL of a Postgres.
fn check_url(url: &str) -> Result<(), Stop> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(());
    }
    let problem =
        format!("`{}` is no URL of a Postgres: write postgres://user:password@host:5432/database", redact(url));
    Err(Stop::new(Exit::Invalid, problem))
}

/// Writes a URL without its password.
pub(crate) fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "…".to_owned() };
    let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{host}"),
            None => authority.to_owned(),
        },
        None => authority.to_owned(),
    };
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let query = query.map(|query| {
        let shown = query.split('&').map(|pair| if pair.starts_with("password=") { "password=***" } else { pair });
        format!("?{}", shown.collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}://{authority}{path}{}", query.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let cases = [
            ("postgres://ana:secret@db:5432/x", "postgres://ana:***@db:5432/x"),
            ("postgres://ana:s@cr@t@db/x?sslmode=require", "postgres://ana:***@db/x?sslmode=require"),
            ("postgres://ana@db/x", "postgres://ana@db/x"),
            ("postgres://db?user=ana&password=secret", "postgres://db?user=ana&password=***"),
            ("host=db password=secret", "…"),
        ];
        for (url, shown) in cases {
            assert_eq!(redact(url), shown);
        }
    }

    #[test]
    fn other_urls_are_refused_before_anything_is_tried() {
        let refused = check_url("mysql://ana:secret@db/x").unwrap_err();
        assert_eq!(refused.exit, Exit::Invalid);
        let message = refused.message.unwrap();
        assert!(message.contains("mysql://ana:***@db/x") && message.contains("postgres://user"), "{message}");
        assert!(check_url("postgresql:///dacapo?host=/run").is_ok());
    }
}
