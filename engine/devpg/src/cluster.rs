//! One user's hold on a private Postgres.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::error::DevPostgresError;
use crate::layout::Layout;
use crate::locks::{FileLock, Mode};
use crate::postmaster::{self, PORT, Postmaster, USER};
use crate::watcher;

/// How long the watcher leaves a test server without users: longer than cargo takes from one test binary to the next.
const TEST_SERVER_IDLE: Duration = Duration::from_secs(10);

/// Connections of the shared test server: many test processes, each with several pools, exceed the default of 100.
const TEST_SERVER_CONNECTIONS: &str = "400";

/// Says where a cluster lies and how it is run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// The folder of everything that belongs to the cluster; created where needed.
    pub data_dir: PathBuf,
    /// Settings beyond PostgreSQL's defaults, by name; they count when this start is the one that starts the server.
    pub settings: Vec<(String, String)>,
    /// How long the server may take to become ready, recovery included, and others may hold the lock.
    pub start_timeout: Duration,
    /// How long the server may take to stop before it is stopped without ceremony.
    pub stop_timeout: Duration,
    /// Lets the data end with the server: it is stopped without writing anything, and the next start begins anew. Tests
    /// leave hundreds of databases, and only syncing them at a clean stop takes a minute on a slow disk.
    pub disposable: bool,
    /// Stops a server that nobody has used for this long even if its users were killed (on Linux); `None`: it stays.
    pub stop_when_unused_for: Option<Duration>,
}

impl ClusterOptions {
    /// Returns the default options for a cluster in the given folder.
    pub fn at(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            settings: Vec::new(),
            start_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(30),
            disposable: false,
            stop_when_unused_for: None,
        }
    }
}

impl Default for ClusterOptions {
    /// Returns the options for the folder in `DACAPO_DATA_DIR`, else `.dacapo/postgres` in the current directory.
    fn default() -> Self {
        let chosen = env::var_os("DACAPO_DATA_DIR").filter(|dir| !dir.is_empty());
        Self::at(chosen.map_or_else(|| PathBuf::from(".dacapo/postgres"), PathBuf::from))
    }
}

/// What leaving a cluster did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOutcome {
    /// This was the last user, and the server has been stopped.
    Stopped,
    /// Others still use the server, and it runs on.
    StillUsed,
}

/// A private Postgres in use; dropping it leaves, and the last one to leave stops the server.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    options: ClusterOptions,
    socket_dir: PathBuf,
    /// The shared hold on `users`; `None` once left.
    hold: Option<FileLock>,
    /// Removed after the server is stopped, since fields drop after [`Drop::drop`].
    _temporary: Option<TempDir>,
}

impl Cluster {
    /// Creates the cluster on first use and starts its server, or joins the one that already runs.
    ///
    /// # Errors
    /// Any [`DevPostgresError`]; each says what to do.
    pub fn start(options: ClusterOptions) -> Result<Self, DevPostgresError> {
        Self::start_in(options, None)
    }

    /// Starts a cluster of its own in a temporary folder, which is removed on drop.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn temporary() -> Result<Self, DevPostgresError> {
        let folder = tempfile::Builder::new().prefix("dacapo-pg-").tempdir();
        let folder = folder.map_err(DevPostgresError::io("create a folder in", &env::temp_dir()))?;
        // Passable whatever the umask, so that the server's account gets to its own folders inside, which are private.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711))
            .map_err(DevPostgresError::io("open to the server", folder.path()))?;
        let mut options = ClusterOptions::at(folder.path());
        options.disposable = true;
        options.stop_when_unused_for = Some(TEST_SERVER_IDLE);
        Self::start_in(options, Some(folder))
    }

    /// Returns the server that all test processes of one cargo target folder share.
    ///
    /// Each test makes a database of its own in it and need not drop it. It runs on for some seconds after the last test process, so that one
    /// test binary after the other finds it running, and then stops by itself.
    ///
    /// # Errors
    /// As [`Cluster::start`]; an error is kept and given to every caller in this process.
    pub fn shared_for_tests() -> Result<&'static Self, &'static DevPostgresError> {
        static SHARED: OnceLock<Result<Cluster, DevPostgresError>> = OnceLock::new();
        let started = SHARED.get_or_init(|| {
            let mut options = ClusterOptions::at(target_dir().join("dacapo-test-postgres"));
            options.settings.push(("max_connections".to_owned(), TEST_SERVER_CONNECTIONS.to_owned()));
            options.disposable = true;
            options.stop_when_unused_for = Some(TEST_SERVER_IDLE);
            Self::start(options)
        });
        started.as_ref()
    }

    fn start_in(options: ClusterOptions, temporary: Option<TempDir>) -> Result<Self, DevPostgresError> {
        let layout = Layout::at(&options.data_dir)?;
        // Before the server is looked for, because from here on nobody stops it.
        let hold = FileLock::acquire(&layout.users(), Mode::Shared, options.start_timeout)?;
        let mut cluster = Self { layout, options, socket_dir: PathBuf::new(), hold: None, _temporary: temporary };
        cluster.socket_dir = cluster.ensure_running(cluster.options.disposable)?;
        cluster.hold = Some(hold);
        Ok(cluster)
    }

    /// Returns the URL of the database `postgres`, from which others are created.
    pub fn url(&self) -> String {
        self.url_for("postgres")
    }

    /// Returns the URL of a database of the given name, whether it exists or not.
    pub fn url_for(&self, database: &str) -> String {
        let socket_dir = self.socket_dir.display();
        // No TLS on a socket: a PGSSLMODE of the caller's must not ask for it.
        format!("postgres://{USER}@localhost:{PORT}/{}?host={socket_dir}&sslmode=disable", percent_encode(database))
    }

    /// Returns the folder in which the cluster lies: the one asked for, unless there is a [`Cluster::notice`].
    pub fn data_dir(&self) -> &Path {
        &self.layout.base
    }

    /// Returns the path of the server's log.
    pub fn log_file(&self) -> PathBuf {
        self.layout.log()
    }

    /// Returns what the user should be told about where the data lies, if it is not where it was asked for.
    pub fn notice(&self) -> Option<&str> {
        self.layout.notice.as_deref()
    }

    /// Returns the process id of the server, if it runs.
    pub fn server_pid(&self) -> Option<i32> {
        Postmaster::find(&self.layout.data()).map(|server| server.pid)
    }

    /// Stops the server as a crash would: connections break, nothing is written, and the next start recovers.
    ///
    /// All users of the cluster are hit; URLs stay valid for when it is started again.
    ///
    /// # Errors
    /// [`DevPostgresError::StopTimeout`], or the lock's errors.
    pub fn kill_immediate(&self) -> Result<(), DevPostgresError> {
        let _starts_and_stops = self.lock()?;
        self.end_server(&[Signal::SIGQUIT, Signal::SIGKILL])
    }

    /// Starts the server again after [`Cluster::kill_immediate`] or a crash, on the same URLs.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_again(&self) -> Result<(), DevPostgresError> {
        self.ensure_running(false).map(drop)
    }

    /// Leaves the cluster, and stops the server if nobody else uses it.
    ///
    /// # Errors
    /// [`DevPostgresError::StopTimeout`], or the lock's errors.
    pub fn stop(mut self) -> Result<StopOutcome, DevPostgresError> {
        self.leave()
    }

    fn leave(&mut self) -> Result<StopOutcome, DevPostgresError> {
        let Some(hold) = self.hold.take() else { return Ok(StopOutcome::StillUsed) };
        let _starts_and_stops = self.lock()?;
        let Some(_last) = hold.become_last()? else { return Ok(StopOutcome::StillUsed) };
        let without_ceremony = [Signal::SIGQUIT, Signal::SIGKILL];
        self.end_server(if self.options.disposable { &without_ceremony } else { &[Signal::SIGINT, Signal::SIGQUIT] })?;
        Ok(StopOutcome::Stopped)
    }

    fn lock(&self) -> Result<FileLock, DevPostgresError> {
        FileLock::acquire(&self.layout.base.join("lock"), Mode::Exclusive, self.options.start_timeout)
    }

    fn ensure_running(&self, begin_anew: bool) -> Result<PathBuf, DevPostgresError> {
        let _starts_and_stops = self.lock()?;
        let ClusterOptions { settings, start_timeout, .. } = &self.options;
        let (server, started) = postmaster::ensure_running(&self.layout, settings, *start_timeout, begin_anew)?;
        if let Some(idle) = self.options.stop_when_unused_for.filter(|_| started) {
            watcher::watch(&self.layout, idle, self.options.disposable)?;
        }
        Ok(server.socket_dir)
    }

    /// Ends the server with the first of the signals that does it in time.
    fn end_server(&self, signals: &[Signal]) -> Result<(), DevPostgresError> {
        let data = self.layout.data();
        for signal in signals {
            let Some(server) = Postmaster::find(&data) else { return Ok(()) };
            if server.end(&data, *signal, self.options.stop_timeout)? {
                return Ok(());
            }
        }
        let waited_s = self.options.stop_timeout.as_secs() * signals.len() as u64;
        let pid = self.server_pid().unwrap_or_default();
        Err(DevPostgresError::StopTimeout { pid, waited_s, log: self.layout.log() })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // An error has nobody to go to here: the server then runs on, and the next start joins it.
        let _ = self.leave();
    }
}

/// Finds the cargo target folder of the running test binary by the tag that cargo puts into it.
fn target_dir() -> PathBuf {
    let binary = env::current_exe().unwrap_or_default();
    let tagged = binary.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    tagged.map_or_else(env::temp_dir, Path::to_owned)
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
