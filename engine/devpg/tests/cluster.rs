//! The private Postgres with the real server, across processes that come, go and are killed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, also in a function beside it")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dacapo_devpg::{Binaries, Cluster, ClusterOptions, DevPostgresError, StopOutcome};
use nix::unistd::geteuid;
use sqlx::{Connection, Executor};
use tempfile::TempDir;

/// Makes a folder that the server's account can pass through when the tests run as root.
fn folder() -> TempDir {
    folder_with_mode(0o711)
}

fn folder_with_mode(mode: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    folder
}

fn start(data_dir: &Path) -> Cluster {
    Cluster::start(ClusterOptions::at(data_dir)).unwrap()
}

fn psql(url: &str, sql: &str) -> Result<String, String> {
    let psql = Binaries::find().unwrap().dir().join("psql");
    let output = Command::new(psql).args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, url]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Runs the holder in a process of its own, on the given folder.
fn holder_command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dacapo-devpg"));
    command.env("DACAPO_DATA_DIR", data_dir).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Starts a holder and waits until it has printed its URL.
fn hold(mut command: Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with("postgres://"), "{url}");
    (child, url.trim().to_owned())
}

fn let_go(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

fn alive(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|command_line| !command_line.is_empty())
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn first_start_gives_a_default_server_on_a_private_socket_only() {
    let folder = folder();
    let cluster = start(&folder.path().join("new/postgres"));
    let ask = |name: &str| psql(&cluster.url(), &format!("SHOW {name}")).unwrap();
    assert_eq!(ask("fsync"), "on");
    assert_eq!(ask("synchronous_commit"), "on");
    assert_eq!(ask("listen_addresses"), "");
    assert_eq!(ask("shared_buffers"), "128MB");
    assert_eq!(ask("max_connections"), "100");
    assert_eq!(ask("server_encoding"), "UTF8");
    let socket_dir = fs::metadata(ask("unix_socket_directories")).unwrap();
    assert_eq!(socket_dir.mode() & 0o777, 0o700);
    let data = fs::metadata(cluster.data_dir().join("data")).unwrap();
    assert_eq!(data.mode() & 0o777, 0o700);
    assert_ne!(data.uid(), 0, "root never owns a server");
    assert_eq!(fs::metadata(cluster.log_file()).unwrap().mode() & 0o777, 0o600);
    psql(&cluster.url(), "CREATE DATABASE \"odd name/ü\"").unwrap();
    assert_eq!(psql(&cluster.url_for("odd name/ü"), "SELECT current_database()").unwrap(), "odd name/ü");
    assert_eq!(cluster.stop().unwrap(), StopOutcome::Stopped);
}

#[tokio::test]
async fn sqlx_takes_the_url() {
    let cluster = tokio::task::spawn_blocking(Cluster::temporary).await.unwrap().unwrap();
    let mut connection = sqlx::postgres::PgConnection::connect(&cluster.url()).await.unwrap();
    connection.execute("CREATE DATABASE \"odd name/ü\"").await.unwrap();
    let mut other = sqlx::postgres::PgConnection::connect(&cluster.url_for("odd name/ü")).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut other).await.unwrap();
    assert_eq!(name, "odd name/ü");
}

#[test]
fn server_runs_under_an_unprivileged_account() {
    let cluster = Cluster::temporary().unwrap();
    let process = fs::metadata(format!("/proc/{}", cluster.server_pid().unwrap())).unwrap();
    assert_ne!(process.uid(), 0);
    if !geteuid().is_root() {
        assert_eq!(process.uid(), geteuid().as_raw());
    }
    assert_eq!(cluster.notice(), None);
}

#[test]
fn second_process_joins_and_the_last_one_stops() {
    let folder = folder();
    let first = start(folder.path());
    let pid = first.server_pid().unwrap();
    let (second, url) = hold(holder_command(folder.path()));
    assert_eq!(url, first.url());
    assert_eq!(first.stop().unwrap(), StopOutcome::StillUsed);
    assert!(alive(pid));
    assert_eq!(psql(&url, "SELECT 1").unwrap(), "1");
    let_go(second);
    assert!(!alive(pid), "the last one out stops the server");
    let log = fs::read_to_string(folder.path().join("server.log")).unwrap();
    assert!(log.contains("database system is shut down"), "{log}");
}

#[test]
fn processes_that_start_at_once_share_one_server() {
    let folder = folder();
    let commands: Vec<_> = (0..4).map(|_| holder_command(folder.path())).collect();
    let threads: Vec<_> = commands.into_iter().map(|command| thread::spawn(move || hold(command))).collect();
    let holders: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let started = holders.iter().map(|(_, url)| psql(url, "SELECT pg_postmaster_start_time()").unwrap());
    let mut started: Vec<_> = started.collect();
    started.dedup();
    assert_eq!(started.len(), 1);
    let pid = start(folder.path()).server_pid().unwrap();
    holders.into_iter().for_each(|(child, _)| let_go(child));
    assert!(!alive(pid));
}

#[test]
fn server_outlives_a_killed_user_and_the_next_one_joins_it() {
    let folder = folder();
    let (mut killed, url) = hold(holder_command(folder.path()));
    psql(&url, "CREATE TABLE kept AS SELECT 7 AS n").unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let started = psql(&url, "SELECT pg_postmaster_start_time()").unwrap();
    let next = start(folder.path());
    assert_eq!(psql(&next.url(), "SELECT pg_postmaster_start_time()").unwrap(), started);
    assert_eq!(psql(&next.url(), "SELECT n FROM kept").unwrap(), "7");
    assert_eq!(next.stop().unwrap(), StopOutcome::Stopped);
}

#[test]
fn immediate_stop_and_new_start_keep_what_was_committed() {
    let cluster = Cluster::temporary().unwrap();
    psql(&cluster.url(), "CREATE TABLE kept AS SELECT 7 AS n").unwrap();
    let before = cluster.server_pid().unwrap();
    cluster.kill_immediate().unwrap();
    assert!(!alive(before));
    assert_eq!(cluster.server_pid(), None);
    assert!(psql(&cluster.url(), "SELECT 1").is_err());
    cluster.start_again().unwrap();
    assert_ne!(cluster.server_pid(), Some(before));
    assert_eq!(psql(&cluster.url(), "SELECT n FROM kept").unwrap(), "7");
    let log = fs::read_to_string(cluster.log_file()).unwrap();
    assert!(log.contains("was not properly shut down; automatic recovery in progress"), "{log}");
}

#[test]
fn pid_file_of_a_killed_server_whose_number_is_in_use_is_no_obstacle() {
    let folder = folder();
    let cluster = start(folder.path());
    psql(&cluster.url(), "CREATE TABLE kept AS SELECT 7 AS n").unwrap();
    let pid_file = folder.path().join("data/postmaster.pid");
    let leftover = fs::read_to_string(&pid_file).unwrap();
    let (_, rest) = leftover.split_once('\n').unwrap();
    cluster.kill_immediate().unwrap();
    // A process of the server's own account, since Postgres does not look at those of others.
    let owner = fs::metadata(folder.path().join("data")).unwrap();
    let mut sleeper = Command::new("sleep");
    if geteuid().is_root() {
        sleeper.gid(owner.gid()).uid(owner.uid());
    }
    let mut other = sleeper.arg("600").spawn().unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", other.id())).unwrap();
    std::os::unix::fs::chown(&pid_file, Some(owner.uid()), Some(owner.gid())).unwrap();
    let started = cluster.start_again();
    other.kill().unwrap();
    other.wait().unwrap();
    started.unwrap();
    assert_eq!(psql(&cluster.url(), "SELECT n FROM kept").unwrap(), "7");
}

#[test]
fn temporary_cluster_leaves_nothing_behind() {
    let cluster = Cluster::temporary().unwrap();
    let (base, pid) = (cluster.data_dir().to_owned(), cluster.server_pid().unwrap());
    drop(cluster);
    assert!(!base.exists());
    assert!(!alive(pid));
}

#[test]
fn disposable_cluster_begins_anew_when_its_server_is_started() {
    let folder = folder();
    let disposable = || {
        let mut options = ClusterOptions::at(folder.path());
        options.disposable = true;
        Cluster::start(options).unwrap()
    };
    let cluster = disposable();
    psql(&cluster.url(), "CREATE DATABASE another").unwrap();
    let joined = disposable();
    assert_eq!(psql(&joined.url_for("another"), "SELECT 1").unwrap(), "1", "a server that runs keeps its data");
    joined.stop().unwrap();
    cluster.kill_immediate().unwrap();
    cluster.start_again().unwrap();
    assert_eq!(psql(&cluster.url_for("another"), "SELECT 1").unwrap(), "1", "so does one that is started again");
    cluster.stop().unwrap();
    assert_eq!(psql(&disposable().url(), "SELECT count(*) FROM pg_database").unwrap(), "3");
}

#[test]
fn long_or_odd_path_gets_its_socket_in_the_temporary_directory() {
    let folder = folder();
    let base = folder.path().join("a folder with spaces").join("x".repeat(120));
    let cluster = start(&base);
    assert!(cluster.data_dir().ends_with("x".repeat(120)));
    let socket_dir = psql(&cluster.url(), "SHOW unix_socket_directories").unwrap();
    assert!(socket_dir.contains("/dacapo-pg-"), "{socket_dir}");
    assert_eq!(fs::metadata(&socket_dir).unwrap().mode() & 0o777, 0o700);
    cluster.stop().unwrap();
    fs::remove_dir_all(socket_dir).unwrap();
}

#[test]
fn shared_test_server_is_one_per_process_and_takes_many_connections() {
    let cluster = Cluster::shared_for_tests().unwrap();
    assert!(std::ptr::eq(cluster, Cluster::shared_for_tests().unwrap()));
    assert!(cluster.data_dir().ends_with("dacapo-test-postgres"));
    assert_eq!(psql(&cluster.url(), "SHOW max_connections").unwrap(), "400");
    assert_eq!(psql(&cluster.url(), "SHOW fsync").unwrap(), "on");
}

#[test]
#[cfg(target_os = "linux")]
fn unused_server_is_stopped_by_its_watcher_and_a_used_one_is_not() {
    let folder = folder();
    let mut options = ClusterOptions::at(folder.path());
    options.stop_when_unused_for = Some(Duration::from_millis(200));
    let cluster = Cluster::start(options).unwrap();
    let (mut user, url) = hold(holder_command(folder.path()));
    let pid = cluster.server_pid().unwrap();
    assert_eq!(cluster.stop().unwrap(), StopOutcome::StillUsed);
    assert_eq!(psql(&url, "SELECT pg_sleep(1)").unwrap(), "");
    assert!(alive(pid), "a server in use is left alone");
    user.kill().unwrap();
    user.wait().unwrap();
    wait_until("the watcher stops the server of a killed user", || !alive(pid));
    let next = start(folder.path());
    assert_eq!(psql(&next.url(), "SELECT 1").unwrap(), "1");
}

#[test]
fn wrong_folder_of_binaries_says_so() {
    let folder = folder();
    let output = holder_command(folder.path()).env("DACAPO_PG_BIN", folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(stderr.contains("DACAPO_PG_BIN is ") && stderr.contains("initdb"), "{stderr}");
}

#[test]
fn file_in_place_of_the_folder_says_what_to_do() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = Cluster::start(ClusterOptions::at(file.join("postgres"))).unwrap_err();
    assert!(matches!(refused, DevPostgresError::Io { .. }));
    assert!(refused.to_string().contains("DACAPO_DATA_DIR"), "{refused}");
}

#[test]
fn failed_start_shows_the_end_of_the_log() {
    let folder = folder();
    let mut options = ClusterOptions::at(folder.path());
    options.settings.push(("work_mem".to_owned(), "plenty".to_owned()));
    let refused = Cluster::start(options).unwrap_err();
    assert!(matches!(refused, DevPostgresError::StartFailed { .. }));
    let text = refused.to_string();
    assert!(text.contains("server.log") && text.contains("work_mem"), "{text}");
    // What failed is forgotten with the setting.
    assert_eq!(psql(&start(folder.path()).url(), "SELECT 1").unwrap(), "1");
}

#[test]
fn half_made_data_directory_is_made_anew() {
    let folder = folder();
    fs::create_dir(folder.path().join("data.new")).unwrap();
    fs::write(folder.path().join("data.new/PG_VERSION"), "15\n").unwrap();
    assert_eq!(psql(&start(folder.path()).url(), "SELECT 1").unwrap(), "1");
}

#[test]
fn root_moves_a_folder_that_the_server_cannot_reach_and_says_so() {
    if !geteuid().is_root() {
        return;
    }
    let closed = folder_with_mode(0o700);
    let cluster = start(&closed.path().join("postgres"));
    assert!(cluster.notice().unwrap().contains(&closed.path().display().to_string()));
    assert_eq!(psql(&cluster.url(), "SELECT 1").unwrap(), "1");
    let moved = cluster.data_dir().to_owned();
    assert_eq!(start(&closed.path().join("postgres")).data_dir(), moved, "the next start finds it again");
    cluster.stop().unwrap();
    fs::remove_dir_all(moved).unwrap();
}

#[test]
fn ordinary_user_runs_it_as_themselves_and_not_on_the_data_of_others() {
    if !geteuid().is_root() {
        return;
    }
    let open = folder_with_mode(0o777);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let as_nobody = |data_dir: &Path| {
        let mut command = holder_command(data_dir);
        command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
        command
    };
    let theirs = open.path().join("theirs");
    let (child, url) = hold(as_nobody(&theirs));
    assert_eq!(psql(&url, "SELECT 1").unwrap(), "1");
    // Root joins it, and could also start it, as the account that owns the data.
    assert_eq!(start(&theirs).stop().unwrap(), StopOutcome::StillUsed);
    let_go(child);
    assert_eq!(start(&theirs).stop().unwrap(), StopOutcome::Stopped);
    let ours = open.path().join("ours");
    start(&ours).stop().unwrap();
    fs::set_permissions(&ours, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = as_nobody(&ours).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && stderr.contains("belongs to user id"), "{stderr}");
}
