//! What users get wrong: each is a clear error or a clear wait, and nothing is half written.

use std::{
    io::Write as _,
    net::TcpListener,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::database::{self, Killed, TestDatabase};

/// Ten times the longest that any of these should take.
const PATIENCE: Duration = Duration::from_secs(60);

fn dacapo(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dacapo"));
    command.args(arguments).env("DATABASE_URL", url).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn call(database: &TestDatabase, arguments: &[&str]) -> (i32, String, String) {
    text(dacapo(&database.url, arguments).output().expect("the program starts"))
}

fn text(output: Output) -> (i32, String, String) {
    let code = output.status.code().expect("the program exits");
    (code, String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Calls until stdout holds the text.
fn until(database: &TestDatabase, arguments: &[&str], wanted: &str) -> String {
    let began = Instant::now();
    loop {
        let (_, out, err) = call(database, arguments);
        if out.contains(wanted) {
            return out;
        }
        assert!(began.elapsed() < PATIENCE, "`{wanted}` never came: {out}{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_an_unknown_type_waits_and_describe_says_for_what() {
    let database = database::fresh("bad_type").await;
    let _worker = Killed(dacapo(&database.url, &["worker", "--queue", "default"]).spawn().expect("it starts"));
    let (code, _, err) = call(&database, &["start", "nobody_has_this", "--id", "w"]);
    assert_eq!(code, 0, "{err}");
    until(&database, &["workers"], "default");
    let said = until(&database, &["describe", "w"], "nobody_has_this");
    assert!(said.contains("Running") && said.contains("no live worker"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_the_workflow_cannot_read_fails_its_task_and_never_the_run() {
    let database = database::fresh("bad_payload").await;
    let _worker = Killed(dacapo(&database.url, &["worker", "--queue", "default"]).spawn().expect("it starts"));
    call(&database, &["start", "multi_agent_task", "--id", "w", "-i", "{\"nope\":1}"]);
    let said = until(&database, &["describe", "w"], "BadPayload");
    assert!(said.contains("Running") && said.contains("input"), "{said}");
    let (code, ..) = call(&database, &["terminate", "w"]);
    assert_eq!(code, 0);
    until(&database, &["describe", "w"], "Terminated");
    assert_eq!(database.store().await.verify().await.expect("it can be checked"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_starts_are_refused_with_field_limit_and_way_out() {
    let database = database::fresh("bad_start").await;
    let long = "x".repeat(1_001);
    let cases: [(&[&str], &str); 5] = [
        (&["start", "t", "--id", &long], "workflow id has 1001 bytes, the limit is 1000"),
        (&["start", "t", "--id", ""], "workflow id is empty"),
        (&["start", "t", "--id", "w", "-i", "{not json"], "cannot be read as JSON"),
        (&["start", "t", "--id", "w", "--priority", "9"], "priority"),
        (&["start", "t", "--id", "w", "-i", "@/no/such/file"], "/no/such/file"),
    ];
    for (arguments, wanted) in cases {
        let (code, out, err) = call(&database, arguments);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(wanted) && out.is_empty(), "{wanted}: {out}{err}");
    }
    let (_, count, _) = call(&database, &["count"]);
    assert_eq!(count.trim(), "0", "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_over_the_limit_is_refused_before_anything_is_stored() {
    let database = database::fresh("bad_size").await;
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    write!(file, "\"{}\"", "x".repeat(3 * 1024 * 1024)).expect("it can be written");
    let input = format!("@{}", file.path().display());
    let (code, _, err) = call(&database, &["start", "t", "--id", "w", "-i", &input]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("3145730 bytes") && err.contains("limit is 2097152"), "{err}");
}

#[test]
fn a_database_that_is_not_there_is_named_without_its_password() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = closed.local_addr().expect("it has an address").port();
    drop(closed);
    let url = format!("postgres://ana:secret@127.0.0.1:{port}/x");
    let (code, _, err) = text(dacapo(&url, &["ls"]).output().expect("the program starts"));
    assert_eq!(code, 5, "{err}");
    assert!(err.contains(&format!("postgres://ana:***@127.0.0.1:{port}/x")) && !err.contains("secret"), "{err}");
    let (code, _, err) = text(dacapo("mysql://ana@db/x", &["ls"]).output().expect("the program starts"));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("postgres://user:password@host:5432/database"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_waits_for_its_database_and_leaves_when_told() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("postgres://ana@127.0.0.1:{}/x", closed.local_addr().expect("it has an address").port());
    drop(closed);
    let mut worker = dacapo(&url, &["worker", "--queue", "q"]);
    let mut worker = Killed(worker.stderr(Stdio::piped()).spawn().expect("it starts"));
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(worker.0.stderr.take().expect("it is piped")));
    let said = lines.find_map(|line| line.ok().filter(|line| line.contains("waiting for the database")));
    assert!(said.is_some(), "it says that it waits");
    worker.stop_politely();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_its_flag() {
    let database = database::fresh("bad_port").await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it has an address").to_string();
    let (code, _, err) = call(&database, &["worker", "--queue", "q", "--metrics-addr", &address]);
    assert_ne!(code, 0);
    assert!(err.contains(&address) && err.contains("--metrics-addr"), "{err}");
}
