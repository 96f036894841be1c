//! What can go wrong with a private Postgres, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Says why the private Postgres could not be found, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevPostgresError {
    /// No server binaries of a supported version are on this machine.
    #[error(
        "no PostgreSQL server of version {} or newer found (looked in {looked_in}); install one (Debian, Ubuntu: \
         `apt-get install postgresql`; Fedora: `dnf install postgresql-server`; macOS: `brew install postgresql@17`), \
         or set DATABASE_URL to a server of yours, or DACAPO_PG_BIN to the folder that holds initdb and postgres",
        crate::binaries::OLDEST_MAJOR
    )]
    BinariesNotFound {
        /// The folders that were searched, separated by commas.
        looked_in: String,
    },
    /// The folder named by `DACAPO_PG_BIN` cannot be used.
    #[error(
        "DACAPO_PG_BIN is {dir}, which does not hold initdb and postgres of version {} or newer; \
         correct it, or unset it to search the usual folders",
        crate::binaries::OLDEST_MAJOR
    )]
    BinariesUnusable {
        /// The folder.
        dir: PathBuf,
    },
    /// The data was written by a major version that is not installed.
    #[error(
        "the data in {data_dir} was written by PostgreSQL {data_major}, which is not among the installed versions \
         ({installed}); install PostgreSQL {data_major}, or delete {data_dir} to begin anew (its data is lost)"
    )]
    VersionMismatch {
        /// The folder of the data.
        data_dir: PathBuf,
        /// The major version that wrote it.
        data_major: u32,
        /// The installed major versions, separated by commas.
        installed: String,
    },
    /// The folder exists but must not or cannot be used.
    #[error("cannot keep a private Postgres in {path}: {reason}")]
    FolderUnusable {
        /// The folder.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The operating system refused something.
    #[error("cannot {action} {path}; give a folder that you can write in DACAPO_DATA_DIR, or set DATABASE_URL")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// Another process starts or stops the same cluster and does not finish.
    #[error("another process held {path} for more than {waited_s} s; see with `fuser {path}` which one hangs")]
    LockTimeout {
        /// The lock file.
        path: PathBuf,
        /// How long was waited, in seconds.
        waited_s: u64,
    },
    /// `initdb` failed or did not finish in time.
    #[error("initdb could not create {data_dir}; correct the cause and start again; its output was: {output}")]
    InitdbFailed {
        /// The folder it was to create.
        data_dir: PathBuf,
        /// The end of what it printed.
        output: String,
    },
    /// The server ended while starting.
    #[error("Postgres did not start; its whole log is {log}, which ends: {tail}")]
    StartFailed {
        /// The server's log.
        log: PathBuf,
        /// The end of this start's part of the log.
        tail: String,
    },
    /// The server is alive but did not become ready in time.
    #[error(
        "Postgres was not ready after {waited_s} s and still runs (recovery after a crash may take long); \
         start again to wait further; its whole log is {log}, which ends: {tail}"
    )]
    StartTimeout {
        /// How long was waited, in seconds.
        waited_s: u64,
        /// The server's log.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
    /// The server did not end in time.
    #[error("Postgres (process {pid}) did not stop within {waited_s} s; look at its log {log}")]
    StopTimeout {
        /// The server's process id.
        pid: i32,
        /// How long was waited, in seconds.
        waited_s: u64,
        /// The server's log.
        log: PathBuf,
    },
}

impl DevPostgresError {
    /// Returns a closure for `map_err` that says what was tried on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
