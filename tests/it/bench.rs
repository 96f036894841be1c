//! `bench`, run for real with small counts: it comes to an end, it leaves a clean database, and what a workflow costs in
//! rows, commits and statements has not grown. Nothing here is timed.

use std::{
    ops::RangeInclusive,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use dacapo_devpg::Cluster;
use serde_json::Value;

use crate::database::{self, Killed, TestDatabase};

/// The scenarios of `all`, in their order.
pub(crate) const EVERY_SCENARIO: &str =
    "idle noop sequence fanout children latency mixed signals timers backlog waiting history";

/// How long a measurement may take on a machine that runs other tests too.
const PATIENCE: Duration = Duration::from_secs(120);

fn command(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dacapo"));
    command.arg("bench").args(arguments).env("DATABASE_URL", &database.url).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Measures, and gives the reports by scenario.
fn bench(database: &TestDatabase, arguments: &[&str]) -> Vec<Value> {
    sound(measured(database, &[arguments, &["--duration", "0.2"]].concat()).0)
}

/// Reports of which each is complete and left a clean database.
fn sound(reports: Vec<Value>) -> Vec<Value> {
    for report in &reports {
        assert_eq!(report["verify"]["violations"].to_string(), "[]");
        assert!(report["peak_memory_bytes"]["client"].as_u64() > Some(0), "{report}");
    }
    reports
}

/// Measures; gives the reports, and what was said meanwhile.
fn measured(database: &TestDatabase, arguments: &[&str]) -> (Vec<Value>, String) {
    let output = command(database, arguments).arg("--json").output().expect("it starts");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {err}");
    let reports =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("stdout is one value: {error}: {err}"));
    (reports, err)
}

/// The runs that a measurement has left open.
async fn open_runs(database: &TestDatabase) -> u64 {
    let running = dacapo_core::store::RunFilter { status: Some(dacapo_core::RunStatus::Running), ..Default::default() };
    let open = dacapo_core::Store::count(&database.store().await, &running).await;
    open.expect("it can be counted")
}

/// Begins to measure, and waits until it says something; gives what it says after that.
fn begin(database: &TestDatabase, arguments: &[&str], until: &str) -> (Killed, impl Iterator<Item = String> + use<>) {
    let mut command = command(database, arguments);
    let mut bench = Killed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts"));
    let err = std::io::BufReader::new(bench.0.stderr.take().expect("it is piped"));
    let mut lines = std::io::BufRead::lines(err).map_while(Result::ok);
    assert!(lines.any(|line| line.contains(until)), "it says `{until}`");
    (bench, lines)
}

/// What it gives as JSON.
fn reports(bench: &mut Killed) -> Vec<Value> {
    serde_json::from_reader(bench.0.stdout.take().expect("it is piped")).expect("stdout is one value")
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} is a number in {report}"))
}

/// What is written beside history: the run's row comes and goes, and one that says how it ended comes.
const ROWS_OF_RUN: f64 = 3.0;

/// The change of the run's row that a received signal makes. No other step changes it.
const ROWS_OF_SIGNAL: f64 = 1.0;

/// What hands a start to its worker, where it is alone. Those of a flush share it.
const ROWS_OF_HANDING: f64 = 2.0;

/// What hands the starts of a flush over, for each of them, and what else happens now and then; below a row.
const SHARED_ROWS: f64 = 1.0;

/// What a message writes, a signal for one: its row and its removal. A timer as much.
const ROWS_OF_MESSAGE: f64 = 2.0;

/// What a run writes more for each time that it is put on a queue and claimed, at most. Where a machine stands still for
/// half a second, workers take no starts for a while.
const ROWS_OF_A_QUEUE: f64 = 4.0;

/// What an activity writes more that is put on a queue, because there is no slot for it: its row, the claim, the report,
/// the removal, and a message with the outcome.
const ROWS_OF_A_QUEUED_ACTIVITY: f64 = 4.0 + ROWS_OF_MESSAGE;

/// What figures with three decimals may be wrong by, when they are multiplied by the above and added.
const ROUNDING: f64 = 0.01;

/// Checks that a workflow has so many rows of history, and so many beside what comes with these and with queues: what it
/// writes depends on nothing but the engine, in how many parts its activities end, and how often there was no room.
fn assert_rows(report: &Value, history: RangeInclusive<f64>, beside: f64) {
    let of_history = number(report, "/history_rows_per_workflow");
    let queued = number(report, "/queued_per_workflow");
    // In one process a start holds its first step, unless it goes through a queue.
    assert!((*history.start()..=history.end() + queued).contains(&of_history), "{history:?}: {report}");
    let of_activities = ROWS_OF_A_QUEUED_ACTIVITY * number(report, "/queued_activities_per_workflow");
    let of_queue = ROWS_OF_A_QUEUE * queued;
    let rest = number(report, "/rows_per_workflow") - of_history - of_activities;
    let expected = beside - ROUNDING..beside + SHARED_ROWS + of_queue;
    assert!(expected.contains(&rest), "{rest} of {expected:?}: {report}");
}

/// What a worker does in a second whether or not there is work, at most: it tells the store ten times what is here, renews
/// its lease, looks for what is due. Shared by those that run meanwhile, which are few where commits are slow.
const STATEMENTS_PER_S: f64 = 15.0;

/// What a worker does at its start, and as much.
const STATEMENTS_OF_START: f64 = 200.0;

/// A server that nobody else uses: WAL is counted for a server as a whole. Statements are counted where the
/// installation brings the library for it.
async fn alone() -> (Cluster, TestDatabase, bool) {
    let cluster = tokio::task::spawn_blocking(|| Cluster::temporary().expect("Postgres starts"));
    let cluster = cluster.await.expect("the start is not interrupted");
    let database = TestDatabase { url: cluster.url() };
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&database.url).await.expect("it answers");
    let made = sqlx::query("CREATE EXTENSION pg_stat_statements").execute(&mut connection).await;
    let counted = sqlx::query("SELECT FROM pg_stat_statements LIMIT 1").execute(&mut connection).await;
    (cluster, database, made.is_ok() && counted.is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_alone_costs_these_rows_commits_and_statements() {
    let (_cluster, database, counts_statements) = alone().await;
    for (arguments, history, handing, statements, commits) in [
        // One flush for the start with its first step, one for the rest.
        (vec!["--in-process"], 1.0, 0.0, 2.0, 5.8),
        // The start, whose news bring it to its worker, the first step, the end; nobody reads news from the server.
        (vec!["--workers", "1"], 2.0, ROWS_OF_HANDING, 3.0, 5.8),
        // The same with news through the server.
        (vec!["--workers", "1", "--apart"], 2.0, ROWS_OF_HANDING, 3.0, 8.5),
    ] {
        let arguments = [vec!["noop", "--count", "500", "--in-flight", "1"], arguments].concat();
        let began = Instant::now();
        let report = &bench(&database, &arguments)[0];
        assert_eq!(number(report, "/workflows"), 500.0);
        assert_eq!(report["config"]["apart"], arguments.contains(&"--apart"), "{report}");
        assert_rows(report, history..=history, ROWS_OF_RUN + handing);
        assert!(number(report, "/queued_per_workflow") < 0.5, "starts go straight to their worker: {report}");
        let beside = (STATEMENTS_OF_START + STATEMENTS_PER_S * began.elapsed().as_secs_f64()) / 500.0;
        // Among the commits are those with which connections that listen read their news.
        assert!(number(report, "/commits_per_workflow") < commits + 2.0 * beside, "{report}");
        assert!((1_000.0..10_000.0).contains(&number(report, "/wal_bytes_per_workflow")), "{report}");
        assert_eq!(report["statements_per_workflow"].is_f64(), counts_statements, "{report}");
        if counts_statements {
            assert!(number(report, "/statements_per_workflow") < statements + beside, "{report}");
        }
        assert!(number(report, "/floor/rows_per_s") > 0.0 && number(report, "/floor/commits_per_s") > 0.0, "{report}");
        assert!(number(report, "/floor/fsync_ms") >= 0.0 && number(report, "/share_of_floor") > 0.0, "{report}");
        assert!(number(report, "/cpu_us_per_workflow/client") > 0.0, "{report}");
        assert!(number(report, "/cpu_us_per_workflow/postgres") > 0.0, "{report}");
        assert_eq!(report["config"]["postgres"]["fsync"], "on", "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_workflows_at_once_share_their_statements() {
    let (_cluster, database, counts_statements) = alone().await;
    let report = &bench(&database, &["noop", "--workers", "2", "--count", "1000"])[0];
    assert_rows(report, 2.0..=2.0, ROWS_OF_RUN);
    // Flushes of hundreds: about 0.2 with the start of the workers. One for each workflow would be above 1.
    assert!(number(report, "/commits_per_workflow") < 1.0, "{report}");
    if counts_statements {
        assert!(number(report, "/statements_per_workflow") < 0.8, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_ends_with_its_figures_and_a_clean_database() {
    let database = database::fresh("bench_all").await;
    let reports = bench(&database, &["all", "--count", "100", "--workers", "2"]);
    let names: Vec<&str> = reports.iter().filter_map(|report| report["scenario"].as_str()).collect();
    assert_eq!(names.join(" "), EVERY_SCENARIO);
    let of = |name: &str| &reports[names.iter().position(|other| *other == name).expect("it is there")];
    // The start, the first task, and what follows but for the last, which is written with the end. In `latency`, one after
    // the other, each start is handed over alone.
    for (name, history, beside) in [
        ("latency", 2.0..=2.0, ROWS_OF_HANDING),
        ("noop", 2.0..=2.0, 0.0),
        ("sequence", 11.0..=11.0, 0.0),
        // All activities end together, or each by itself.
        ("fanout", 2.0..=101.0, 0.0),
        // Of each child what it writes itself, and what is told from run to run; the parent hears of starts and of ends.
        ("children", 22.0..=42.0, 110.0),
        // Five activities that end as they like, three in a row, a signal that may have come before, and a timer.
        ("mixed", 6.0..=11.0, ROWS_OF_SIGNAL + 2.0 * ROWS_OF_MESSAGE),
        ("timers", 2.0..=2.0, ROWS_OF_MESSAGE),
        // The signal may come before the first task is written.
        ("waiting", 1.0..=2.0, ROWS_OF_MESSAGE),
        ("idle", 2.0..=2.0, ROWS_OF_MESSAGE),
    ] {
        assert_rows(of(name), history, ROWS_OF_RUN + beside);
    }
    let backlog = of("backlog");
    let again = number(backlog, "/queued_per_workflow") - 1.0;
    let rows = 8.0..9.0 + ROWS_OF_A_QUEUE * again;
    assert!(again >= 0.0 && rows.contains(&number(backlog, "/rows_per_workflow")), "{backlog}");
    // A signal is a row of an inbox and its removal.
    assert!((2_000.0..2_200.0).contains(&number(of("signals"), "/rows_per_workflow")), "{}", of("signals"));
    for name in ["noop", "sequence", "fanout", "children", "latency", "mixed"] {
        let report = of(name);
        assert_eq!(number(report, "/workflows"), 100.0, "{name}");
        let latency = |percentile: &str| number(report, &format!("/latency_ms/{percentile}"));
        assert!(latency("p50") > 0.0 && latency("p50") <= latency("p999") && latency("p999") <= latency("max"));
        assert_eq!(report["peak_memory_bytes"]["workers"].as_array().map(Vec::len), Some(2), "{report}");
    }
    let per_workflow = |name: &str| number(of(name), "/activities_per_s") / number(of(name), "/workflows_per_s");
    for (name, activities) in [("noop", 1.0), ("sequence", 10.0), ("fanout", 100.0), ("children", 10.0), ("mixed", 8.0)]
    {
        assert!((per_workflow(name) - activities).abs() < activities / 20.0, "{name}: {}", of(name));
    }
    // Children too are handed to workers: through queues and claims it would be 30 rows more.
    assert!(number(of("children"), "/queued_per_workflow") < 5.0, "{}", of("children"));
    assert!(number(of("signals"), "/signals/acknowledged_per_s") >= number(of("signals"), "/signals/received_per_s"));
    assert_eq!(number(of("timers"), "/timers/timers"), 100.0);
    assert!(number(of("timers"), "/timers/lateness_ms/p99") > 0.0);
    assert!(number(of("backlog"), "/backlog/drain_per_s") > 0.0);
    assert!(number(of("waiting"), "/waiting/woken") >= 1.0);
    assert!((90.0..=100.0).contains(&number(of("history"), "/history/events")), "{}", of("history"));
    assert_eq!(number(of("idle"), "/idle/workers"), 2.0);
    assert_eq!(open_runs(&database).await, 0, "no run is left open");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_gives_samples_over_time() {
    let database = database::fresh("bench_rate").await;
    let arguments = ["--in-process", "--rate", "300", "--warm-up", "0", "--duration", "2", "--sample", "0.25"];
    let reports = sound(measured(&database, &[&["noop"], &arguments[..]].concat()).0);
    let samples = reports[0]["samples"].as_array().expect("there are samples");
    assert!(!samples.is_empty(), "{}", reports[0]);
    for sample in samples {
        assert!(number(sample, "/tables/runs_closed/index_bytes") > 0.0, "{sample}");
        assert!(number(sample, "/memory_bytes/client") > 0.0, "{sample}");
        assert!(sample["dead_rows"].is_i64(), "{sample}");
    }
    // Not in each, where a machine stands still.
    assert!(samples.iter().any(|sample| sample["latency_ms"]["p99"].is_f64()), "{}", reports[0]);
    assert_eq!(number(&reports[0], "/config/rate"), 300.0);
    assert!(number(&reports[0], "/workflows") >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_measurements_are_refused_with_option_limit_and_way_out() {
    let database = database::fresh("bench_refused").await;
    let refused: [(&[&str], [&str; 3]); 6] = [
        (&["noop", "--rate", "0"], ["--rate", "above 0", "leave --rate away"]),
        (&["noop", "--count", "0"], ["--count", "'0'", "from 1 to"]),
        (&["noop", "--payload", "3000000"], ["--payload", "2097150", "in bytes"]),
        (&["timers", "--rate", "5"], ["--rate", "`timers`", "noop"]),
        (&["history", "--count", "51201"], ["--count 51201", "51200", "choose a number"]),
        (&["nope"], ["nope", "noop", "--help"]),
    ];
    for (arguments, said) in refused {
        let output = command(&database, arguments).output().expect("it starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(output.stdout.is_empty() && said.iter().all(|word| err.contains(word)), "{arguments:?}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_violation_after_a_scenario_fails_the_measurement() {
    let database = database::fresh("bench_violation").await;
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&database.url).await.expect("it answers");
    let stray = "INSERT INTO dacapo.inbox (shard, run_id, message, body) VALUES (0, gen_random_uuid(), \
                 gen_random_uuid(), '')";
    sqlx::query(stray).execute(&mut connection).await.expect("it can be written");
    let arguments = ["noop", "sequence", "--in-process", "--count", "5", "--duration", "0.1", "--json"];
    let output = command(&database, &arguments).output().expect("it starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{err}");
    assert!(err.contains("points at run"), "{err}");
    let reports: Vec<Value> = serde_json::from_slice(&output.stdout).expect("the figures are there");
    assert_eq!(reports.len(), 1, "nothing is measured after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_at_the_end_of_an_open_loop_is_seen_in_its_latencies() {
    let database = database::fresh("bench_open").await;
    let arguments = ["noop", "--rate", "100", "--duration", "3", "--warm-up", "0", "--json"];
    let (mut bench, mut lines) = begin(&database, &arguments, "3 s that count");
    let worker = child_of(bench.0.id());
    thread::sleep(Duration::from_secs(1));
    nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGSTOP).expect("the worker is there");
    assert!(lines.any(|line| line.contains("finishing")), "the window ends");
    nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGCONT).expect("the worker is there");
    let said = lines.collect::<Vec<_>>().join("\n");
    let report = reports(&mut bench);
    assert!(bench.0.wait().expect("it ends").success(), "{said}");
    // All 300 that were due in the window are there, two thirds of them in the stall of two seconds or more.
    let report = &report[0];
    assert!((300.0..310.0).contains(&number(report, "/workflows")), "{report}");
    assert!(number(report, "/latency_ms/p50") > 200.0 && number(report, "/latency_ms/max") > 1_500.0, "{report}");
    assert!(number(report, "/workflows_per_s") < 95.0 && said.contains("of the 100 that were asked for"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_measured_before_an_error_is_shown() {
    let database = database::fresh("bench_partly").await;
    let (mut bench, lines) = begin(&database, &["noop", "history", "--count", "100", "--json"], "history: starting");
    nix::sys::signal::kill(child_of(bench.0.id()), nix::sys::signal::Signal::SIGKILL).expect("the worker is there");
    let said = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(bench.0.wait().expect("it ends").code(), Some(7), "{said}");
    assert!(said.contains("worker process") && said.contains("while it was measured"), "{said}");
    let reports = reports(&mut bench);
    assert_eq!(reports.iter().filter_map(|report| report["scenario"].as_str()).collect::<Vec<_>>(), ["noop"], "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_measurement_shows_what_there_is_and_leaves_no_run_open() {
    let database = database::fresh("bench_interrupted").await;
    let arguments = ["noop", "sequence", "--duration", "600", "--warm-up", "0", "--sample", "0.2", "--json"];
    let (mut bench, mut lines) = begin(&database, &arguments, "600 s that count");
    assert!(lines.any(|line| line.contains("workflows/s")), "there is a sample");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(bench.0.id()).expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it is there");
    let said = lines.collect::<Vec<_>>().join("\n");
    let reports = reports(&mut bench);
    assert_eq!(bench.0.wait().expect("it ends").code(), Some(130), "{said}");
    assert_eq!(reports.len(), 1, "nothing is begun after it: {said}");
    assert!(reports[0]["scenario"] == "noop" && number(&reports[0], "/window_s") < 120.0, "{}", reports[0]);
    assert!(!reports[0]["samples"].as_array().expect("there are samples").is_empty(), "{}", reports[0]);
    assert_eq!(open_runs(&database).await, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_measured_is_null_and_no_number() {
    let database = database::fresh("bench_null").await;
    // Longer between two than --stall has patience for.
    let arguments = ["noop", "--in-process", "--rate", "0.4", "--warm-up", "0", "--stall", "1", "--duration", "4"];
    let (reports, _) = measured(&database, &arguments);
    assert_eq!(number(&reports[0], "/workflows"), 2.0);
    assert_eq!(reports[0]["config"]["in_flight"], Value::Null);
    // Nobody completes a workflow in a millisecond.
    let arguments = ["fanout", "--in-flight", "1", "--warm-up", "0", "--duration", "0.001"];
    let (reports, said) = measured(&database, &arguments);
    assert!(said.contains("nothing completed in a window"), "{said}");
    assert_eq!(reports[0]["latency_ms"], Value::Null);
    assert_eq!(reports[0]["cpu_us_per_workflow"]["workers"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_measurement_that_stands_still_ends_and_says_what_is_stuck() {
    let database = database::fresh("bench_stuck").await;
    let arguments = ["noop", "--duration", "600", "--warm-up", "0", "--stall", "3"];
    let (mut bench, lines) = begin(&database, &arguments, "600 s that count");
    let worker = child_of(bench.0.id());
    nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGSTOP).expect("the worker is there");
    let said = lines.collect::<Vec<_>>().join("\n");
    let status = bench.0.wait().expect("it ends");
    assert_eq!(status.code(), Some(7), "{said}");
    for words in ["nothing completed for 3 s", "--stall", "workflow ", "(bench.noop,"] {
        assert!(said.contains(words), "`{words}` is missing: {said}");
    }
    assert!(nix::sys::signal::kill(worker, None).is_err(), "no worker is left");
}

/// The only child of a process, once it is there.
fn child_of(parent: u32) -> nix::unistd::Pid {
    let began = Instant::now();
    loop {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let threads = std::fs::read_dir(format!("/proc/{parent}/task")).expect("the process is there").flatten();
        let of_threads = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        let all = of_threads.chain([children]).collect::<Vec<_>>().join(" ");
        if let Some(pid) = all.split_whitespace().find_map(|pid| pid.parse().ok()) {
            return nix::unistd::Pid::from_raw(pid);
        }
        assert!(began.elapsed() < PATIENCE, "no worker was started");
        thread::sleep(Duration::from_millis(10));
    }
}
