//! The server process: its pid file, creation of its data, start and stop.
//!
//! The truth is `postmaster.pid` together with the process that it names: the file alone may be a leftover of a crash,
//! and its number may since belong to another program. Callers hold the cluster's lock.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::binaries::{Binaries, leading_number};
use crate::child::{self, POLL};
use crate::error::DevPostgresError;
use crate::layout::{Layout, create_private};

/// The name of the socket in its folder; the port is only a part of the name, as each cluster has its own folder.
pub(crate) const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// The port in [`SOCKET_NAME`], named in URLs so that a `PGPORT` of the caller's does not count.
pub(crate) const PORT: u16 = 5432;

/// The library by which statements are counted.
const STATEMENTS: &str = "pg_stat_statements";

/// The superuser that `initdb` makes.
pub(crate) const USER: &str = "dacapo";

/// How long `initdb` may take: 1 s on a good disk, and it syncs 40 MB on a bad one.
const INITDB_LIMIT: Duration = Duration::from_secs(180);

/// At this size the log is set aside at the next start; one older log is kept.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// How much of the log goes into an error: enough for the FATAL line with its hint, little enough for a terminal.
const TAIL_LINES: usize = 12;

/// A live server process, as its pid file describes it.
#[derive(Debug, Clone)]
pub(crate) struct Postmaster {
    pub(crate) pid: i32,
    pub(crate) socket_dir: PathBuf,
    ready: bool,
}

impl Postmaster {
    /// Finds the live server of a data directory.
    pub(crate) fn find(data: &Path) -> Option<Self> {
        let file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = file.lines().collect();
        let pid: i32 = lines.first()?.trim().parse().ok()?;
        // Postgres adds line by line while it starts: pid, data, start time, port, socket folder, address, memory, status.
        let socket_dir = lines.get(4).copied().unwrap_or_default().into();
        let ready = lines.get(7).is_some_and(|status| status.starts_with("ready"));
        is_server_of(pid, data).then_some(Self { pid, socket_dir, ready })
    }

    fn accepts(&self) -> bool {
        self.ready && UnixStream::connect(self.socket_dir.join(SOCKET_NAME)).is_ok()
    }

    /// Sends a signal and waits until the process has ended; tells whether it has.
    pub(crate) fn end(&self, data: &Path, signal: Signal, limit: Duration) -> Result<bool, DevPostgresError> {
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(DevPostgresError::io("signal the server of", data)(errno.into())),
        }
        let deadline = Instant::now() + limit;
        while is_server_of(self.pid, data) {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(POLL);
        }
        Ok(true)
    }
}

/// Gives the running server of a cluster, or creates its data if there is none and starts it; says if it was started.
/// With `begin_anew`, data that no running server holds is deleted first.
pub(crate) fn ensure_running(
    layout: &Layout,
    settings: &[(String, String)],
    limit: Duration,
    begin_anew: bool,
) -> Result<(Postmaster, bool), DevPostgresError> {
    let data = layout.data();
    let deadline = Instant::now() + limit;
    // One that is starting or stopping is waited for: it becomes ready or goes away.
    while let Some(found) = Postmaster::find(&data) {
        if found.accepts() {
            return Ok((found, false));
        }
        if Instant::now() >= deadline {
            return Err(start_timeout(layout, limit, 0));
        }
        thread::sleep(POLL);
    }
    if begin_anew && data.exists() {
        fs::remove_dir_all(&data).map_err(DevPostgresError::io("delete the data in", &data))?;
    }
    let binaries = match fs::read_to_string(data.join("PG_VERSION")).ok().as_deref().and_then(leading_number) {
        Some(major) => Binaries::find_for(Some((&data, major)))?,
        None => {
            let binaries = Binaries::find()?;
            create_data(layout, &binaries)?;
            binaries
        }
    };
    launch(layout, &binaries, settings, limit).map(|server| (server, true))
}

/// Runs `initdb` in a side folder and renames it, because a killed `initdb` leaves half of a data directory.
fn create_data(layout: &Layout, binaries: &Binaries) -> Result<(), DevPostgresError> {
    let data = layout.data();
    let fresh = layout.base.join("data.new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(DevPostgresError::io("remove", &fresh))?;
    }
    create_private(&fresh, &layout.account)?;
    let initdb = binaries.dir().join("initdb");
    let mut command = layout.account.command(&initdb);
    // Trust is safe where only the owner reaches the socket; text sorts by bytes, the same on every machine.
    command.arg("-D").arg(&fresh).args(["-U", USER, "-E", "UTF8", "--locale=C"]);
    command.args(["--auth-local=trust", "--auth-host=reject"]);
    let (status, output) = child::run(&mut command, INITDB_LIMIT).map_err(DevPostgresError::io("run", &initdb))?;
    match status {
        Some(status) if status.success() => {}
        Some(_) => return Err(DevPostgresError::InitdbFailed { data_dir: data, output: last_lines(&output) }),
        None => {
            let output = format!("{} (not finished after {} s)", last_lines(&output), INITDB_LIMIT.as_secs());
            return Err(DevPostgresError::InitdbFailed { data_dir: data, output });
        }
    }
    fs::rename(&fresh, &data).map_err(DevPostgresError::io("create", &data))
}

fn launch(
    layout: &Layout,
    binaries: &Binaries,
    settings: &[(String, String)],
    limit: Duration,
) -> Result<Postmaster, DevPostgresError> {
    let data = layout.data();
    let socket_dir = layout.socket_dir()?;
    disarm_leftovers(&data, &socket_dir)?;
    let log = open_log(&layout.log())?;
    let log_start = log.metadata().map_err(DevPostgresError::io("look at", &layout.log()))?.len();
    let log_twice = log.try_clone().map_err(DevPostgresError::io("open", &layout.log()))?;
    let postgres = binaries.dir().join("postgres");
    let mut command = layout.account.command(&postgres);
    command.arg("-D").arg(&data).stdout(log).stderr(log_twice);
    let mut fixed: Vec<(&str, &str)> =
        vec![("listen_addresses", ""), ("fsync", "on"), ("unix_socket_permissions", "0700")];
    if binaries.has_library(STATEMENTS) {
        fixed.push(("shared_preload_libraries", STATEMENTS));
    }
    fixed.extend(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    for (name, value) in fixed {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command.arg("-c").arg(format!("port={PORT}"));
    command.arg("-c").arg(format!("unix_socket_directories={}", socket_dir.display()));
    let server = command.spawn().map_err(DevPostgresError::io("run", &postgres))?;
    wait_until_ready(layout, server, limit, log_start)
}

fn wait_until_ready(
    layout: &Layout,
    mut server: Child,
    limit: Duration,
    log_start: u64,
) -> Result<Postmaster, DevPostgresError> {
    let data = layout.data();
    let deadline = Instant::now() + limit;
    loop {
        if server.try_wait().map_err(DevPostgresError::io("wait for the server of", &data))?.is_some() {
            return Err(DevPostgresError::StartFailed { log: layout.log(), tail: log_tail(&layout.log(), log_start) });
        }
        let ready = Postmaster::find(&data).filter(Postmaster::accepts);
        let late = Instant::now() >= deadline;
        if ready.is_some() || late {
            child::reap(server).map_err(DevPostgresError::io("wait for the server of", &data))?;
            return ready.ok_or_else(|| start_timeout(layout, limit, log_start));
        }
        thread::sleep(POLL);
    }
}

/// Keeps what a killed server left behind from being taken for a live server's.
fn disarm_leftovers(data: &Path, socket_dir: &Path) -> Result<(), DevPostgresError> {
    for name in [SOCKET_NAME.to_owned(), format!("{SOCKET_NAME}.lock")] {
        let leftover = socket_dir.join(name);
        if leftover.exists() {
            fs::remove_file(&leftover).map_err(DevPostgresError::io("remove", &leftover))?;
        }
    }
    let pid_file = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&pid_file) else { return Ok(()) };
    // Postgres refuses to start while any process has the number in this file, except its parent. The file stays, with
    // our number in it, because Postgres also finds in it the shared memory that orphans of the old server may still use.
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).map_err(DevPostgresError::io("write", &pid_file))
}

/// Tells whether a process runs Postgres on this data directory; false for a zombie, which has no command line.
fn is_server_of(pid: i32, data: &Path) -> bool {
    let command_line = if cfg!(target_os = "linux") {
        fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
    } else {
        let mut ps = Command::new("ps");
        child::run(ps.args(["-o", "command=", "-p", &pid.to_string()]), POLL * 100)
            .map_or_else(|_| Vec::new(), |(_, printed)| printed.into_bytes())
    };
    let data = data.as_os_str().as_bytes();
    command_line.windows(data.len()).any(|part| part == data)
}

fn open_log(path: &Path) -> Result<File, DevPostgresError> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.old")).map_err(DevPostgresError::io("set aside", path))?;
    }
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let log = log.map_err(DevPostgresError::io("open", path))?;
    // Statements that failed are in it, so it is private even where it was created otherwise.
    log.set_permissions(Permissions::from_mode(0o600)).map_err(DevPostgresError::io("make private", path))?;
    Ok(log)
}

fn start_timeout(layout: &Layout, limit: Duration, log_start: u64) -> DevPostgresError {
    let log = layout.log();
    DevPostgresError::StartTimeout { waited_s: limit.as_secs(), tail: log_tail(&log, log_start), log }
}

fn log_tail(log: &Path, start: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        // Not all of a log that grew for weeks: the tail is in the last part.
        let from = start.max(file.metadata()?.len().saturating_sub(64 << 10));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map_or_else(|error| format!("(not readable: {error})"), |text| last_lines(&text))
}

/// Gives the last lines of a text on one line, as errors are.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "(nothing)".to_owned();
    }
    lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_of_another_program_is_no_server() {
        let data = tempfile::tempdir().unwrap();
        let ours = std::process::id();
        let text = format!("{ours}\n/d\n1\n5432\n/s\n\n1 2\nready   \n");
        fs::write(data.path().join("postmaster.pid"), text).unwrap();
        assert!(Postmaster::find(data.path()).is_none());
    }

    #[test]
    fn the_tail_is_one_line_of_this_start_only() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("server.log");
        fs::write(&log, "old\nnew 1\n\n  new 2\n").unwrap();
        assert_eq!(log_tail(&log, 4), "new 1 | new 2");
        assert_eq!(log_tail(&log, 999), "(nothing)");
    }
}
