//! Connections: where they go, and how those of the write path are set up.

use std::time::Duration;

use sqlx::{
    ConnectOptions, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// Settings of hot connections. Plans are made once; and since a plan that was made on an empty table would be kept, no
/// plan may be chosen that reads a table from end to end.
const HOT_SETTINGS: [(&str, &str); 9] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_mergejoin", "off"),
    ("enable_hashjoin", "off"),
    ("enable_bitmapscan", "off"),
    // Items of a flush are all different.
    ("enable_memoize", "off"),
    ("jit", "off"),
    LOCK_TIMEOUT,
    IDLE_IN_TRANSACTION,
];

/// A process that stands still in the middle of a transaction holds its locks for so long and not until it is gone: those
/// whom it holds up hold others up, and at last the take-over of what a dead worker owned.
const IDLE_IN_TRANSACTION: (&str, &str) = ("idle_in_transaction_session_timeout", "10s");

/// Whoever waits for a lock lets go of its own after so long, and comes again. It is less than a lease, so that nobody who
/// takes over loses its own meanwhile.
const LOCK_TIMEOUT: (&str, &str) = ("lock_timeout", "2s");

/// The same for those whom somebody holds up already, of whom many may have to be tried one by one.
const LOCK_TIMEOUT_OF_THE_HELD: (&str, &str) = ("lock_timeout", "100ms");

/// Connections for claims, loads and whatever else an engine does all the time, beside the committer's own. Ten workers
/// that all begin at once stay below the hundred connections that Postgres allows by default.
const HOT_POOL_CONNECTIONS: u32 = 2;

/// Connections for lists and descriptions.
const READ_POOL_CONNECTIONS: u32 = 2;

/// Connections for transactions of activities, unless said otherwise; opened when they are needed.
const TRANSACTION_CONNECTIONS: u32 = 4;

/// The time after which a connection of a pool that nobody needs is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The wait for a free connection; longer than a server takes to start again, shorter than a lease.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);

/// How a process reaches its database.
#[derive(Debug, Clone)]
pub struct PgStoreOptions {
    /// The database, as `postgres://user@host/database`.
    pub url: String,
    /// The same database without a pooler in between, for listening and migrations; [`PgStoreOptions::url`] when absent.
    pub direct_url: Option<String>,
    /// What the server shows as the application's name.
    pub application_name: String,
    /// The most connections that transactional activities of the process use at a time; more of them wait for one. They
    /// come on top of those of the engine.
    pub transaction_connections: u32,
    /// Whether processes of one machine tell each other what has changed, through sockets in the folder for temporary
    /// files, instead of through the server. Without, and to other machines, they notify; nothing depends on it but time.
    pub neighbours: bool,
}

impl PgStoreOptions {
    /// Makes options for a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            direct_url: None,
            application_name: "dacapo".to_owned(),
            transaction_connections: TRANSACTION_CONNECTIONS,
            neighbours: true,
        }
    }

    pub(crate) fn connect_options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        self.parse(&self.url)
    }

    pub(crate) fn direct_options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        self.parse(self.direct_url.as_ref().unwrap_or(&self.url))
    }

    fn parse(&self, url: &str) -> Result<PgConnectOptions, sqlx::Error> {
        let options: PgConnectOptions = url.parse()?;
        // A statement that is slow says so in the metrics; sqlx would log its text.
        Ok(options.application_name(&self.application_name).disable_statement_logging())
    }
}

/// Makes the options of hot connections.
pub(crate) fn hot(options: PgConnectOptions) -> PgConnectOptions {
    options.options(HOT_SETTINGS)
}

/// Makes the pool for what an engine does all the time.
pub(crate) fn hot_pool(options: PgConnectOptions) -> PgPool {
    pool(HOT_POOL_CONNECTIONS).connect_lazy_with(hot(options))
}

/// Makes the pool for lists and descriptions, planned anew each time. A vacuum that is left to another process is nothing
/// to be warned of.
pub(crate) fn read_pool(options: PgConnectOptions) -> PgPool {
    let plans = [("plan_cache_mode", "force_custom_plan"), ("jit", "off"), ("client_min_messages", "error")];
    let settings = plans.into_iter().chain([LOCK_TIMEOUT, IDLE_IN_TRANSACTION]);
    pool(READ_POOL_CONNECTIONS).connect_lazy_with(options.options(settings))
}

/// Makes the pool for transactions of users, whose statements are none of the engine's business.
pub(crate) fn transaction_pool(options: PgConnectOptions, connections: u32) -> PgPool {
    pool(connections.max(1)).test_before_acquire(true).connect_lazy_with(options)
}

fn pool(connections: u32) -> PgPoolOptions {
    // A dead connection shows itself by the error of its next statement; testing each before use costs a round trip.
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .test_before_acquire(false)
}

/// How those connect whom somebody holds up already.
pub(crate) fn of_the_held(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().options([LOCK_TIMEOUT_OF_THE_HELD])
}

/// Opens one connection of the committer.
pub(crate) async fn open(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    options.connect().await
}
