//! The verbs for operators, by the real binary against a worker of this process: on what they are for, and on what they
//! are not.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use dacapo::{Engine, Worker, WorkerProcess, prelude::*};
use dacapo_core::{Store, store::RunFilter};
use futures_util::future::try_join_all;
use serde_json::Value;

use crate::database::{self, TestDatabase};

/// How long something may take that takes a moment on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

const ADD: Update<u64, u64> = Update::new("add");
const GO: Signal<u64> = Signal::new("go");

/// What the activities of these tests need: nothing.
struct Desk;

#[activities]
impl Desk {
    /// Waits for somebody who never comes.
    #[activity(name = "verbs.wait", start_to_close = "2h")]
    async fn wait(&self, _ctx: &ActivityContext, _what: String) -> Result<String, ActivityError> {
        tokio::time::sleep(Duration::from_secs(7_200)).await;
        Ok("nobody".to_owned())
    }

    /// Counts, and gives the fee.
    #[activity(name = "verbs.count", start_to_close = "1m")]
    async fn count(&self, _ctx: &ActivityContext, _cents: u64) -> Result<u64, ActivityError> {
        COUNTED.fetch_add(1, Ordering::SeqCst);
        Ok(1)
    }

    /// Takes what it is given, once it is open.
    #[activity(name = "verbs.bank", start_to_close = "1m")]
    async fn bank(&self, _ctx: &ActivityContext, cents: u64) -> Result<u64, ActivityError> {
        let is_open = BANK_IS_OPEN.load(Ordering::SeqCst);
        if is_open { Ok(cents) } else { Err(ActivityError::new("Closed", "closed on sundays")) }
    }

    /// Fails at first.
    #[activity(name = "verbs.flaky", start_to_close = "1m")]
    async fn flaky(&self, ctx: &ActivityContext, n: u64) -> Result<u64, ActivityError> {
        if ctx.attempt() == 1 { Err(ActivityError::new("Odd", "not at first")) } else { Ok(n) }
    }
}

#[workflow(name = "verbs.account")]
async fn account(ctx: WorkflowContext, _: ()) -> Result<u64, WorkflowError> {
    let mut requests = ctx
        .requests(&ADD)
        .validate(|n| if *n > 100 { Err(WorkflowError::failed("TooMuch", "100 at most")) } else { Ok(()) });
    let mut sum = 0;
    loop {
        select! {
            Some(request) = requests.next() => {
                if *request.argument() == 0 {
                    request.reject(WorkflowError::failed("Nothing", "0 adds nothing"));
                    continue;
                }
                sum += *request.argument();
                request.reply(sum);
            }
            more = ctx.receive(&GO) => return Ok(sum + more?),
        }
    }
}

#[workflow(name = "verbs.errand")]
async fn errand(ctx: WorkflowContext, what: String) -> Result<String, WorkflowError> {
    Ok(ctx.activity(Desk::wait, what).await?)
}

#[workflow(name = "verbs.stubborn")]
async fn stubborn(ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    let retry = RetryPolicy::attempts(5).initial_interval(Duration::from_secs(3_600));
    Ok(ctx.activity(Desk::flaky, n).retry(retry).await?)
}

#[workflow(name = "verbs.child")]
async fn child(ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    ctx.sleep(Duration::from_millis(10 * (n + 1))).await?;
    if n == 7 { Err(WorkflowError::failed("Unlucky", "seven")) } else { Ok(n) }
}

#[workflow(name = "verbs.family")]
async fn family(ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    let children = try_join_all((0..n).map(|i| ctx.child(child, i))).await?;
    let more = ctx.receive(&GO).await?;
    Ok(children.into_iter().sum::<u64>() + more)
}

/// A database and a worker on it.
struct Shop {
    database: TestDatabase,
    worker: WorkerProcess,
}

impl Shop {
    async fn open(name: &str) -> Self {
        let database = database::fresh(name).await;
        let engine = Engine::new(Arc::new(database.store().await)).await.unwrap();
        let registry = Registry::new()
            .workflow(account)
            .workflow(errand)
            .workflow(stubborn)
            .workflow(child)
            .workflow(family)
            .workflow(waits)
            .workflow(pay)
            .activities(Desk);
        let worker = Worker::new(&engine).registry(registry).drain_timeout(Duration::from_millis(10)).start().unwrap();
        Self { database, worker }
    }

    /// Calls the program.
    fn call(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dacapo"));
        command.args(arguments).env("DATABASE_URL", &self.database.url).env_remove("RUST_LOG").stdin(Stdio::null());
        let output = command.output().expect("the program starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
        (output.status.code().expect("it exits"), text(output.stdout), text(output.stderr))
    }

    /// Calls the program, which must succeed.
    fn done(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.call(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }

    /// Calls the program with `--json`, which must succeed.
    fn json(&self, arguments: &[&str]) -> Value {
        let out = self.done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?} gives one value: {error}: {out}"))
    }

    /// Calls the program, which must refuse with a code, say why on stderr and nothing on stdout.
    fn refused(&self, arguments: &[&str], code: i32, why: &str) {
        let (exit, out, err) = self.call(arguments);
        assert_eq!((exit, out.as_str()), (code, ""), "{arguments:?}: {err}");
        assert!(err.contains(why), "{arguments:?}: {err}");
    }

    /// Calls until stdout holds a text.
    fn until(&self, arguments: &[&str], wanted: &str) -> String {
        let began = Instant::now();
        loop {
            let (_, out, err) = self.call(arguments);
            if out.contains(wanted) {
                return out;
            }
            assert!(began.elapsed() < PATIENCE, "`{wanted}` never came: {out}{err}");
        }
    }

    async fn close(self) {
        self.worker.stop();
        self.worker.stopped().await.unwrap();
        assert_eq!(self.database.store().await.verify().await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose_runs_for_lists_counts_and_exports() {
    let shop = Shop::open("verbs_filters").await;
    for (id, customer) in [("order-1", "acme"), ("order-2", "acme"), ("order-3", "other")] {
        let attribute = format!("Customer={customer}");
        shop.done(&["start", "verbs.account", "--id", id, "-i", "null", "--attr", &attribute, "--attr", "Amount=5"]);
    }
    shop.done(&["signal", "order-2", "go", "-i", "1"]);
    shop.done(&["result", "order-2"]);
    let listed = shop.json(&["list", "-f", "Customer = 'acme' AND Amount > 4 ORDER BY WorkflowId"]);
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|run| run["workflow_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["order-1", "order-2"]);
    let open = "Status = 'Running' AND Customer = 'acme' ORDER BY StartTime DESC";
    assert!(shop.done(&["ls", "--filter", open]).contains("order-1"));
    assert_eq!(shop.json(&["count", "-f", open])["count"], 1);
    assert_eq!(shop.done(&["count", "-f", "Customer IN ('acme', 'other')", "--status", "running"]).trim(), "2");
    let closed = shop.done(&["export", "-f", "CloseTime IS NOT NULL", "-o", "-"]);
    assert!(closed.contains("order-2") && !closed.contains("order-1"), "{closed}");
    shop.refused(&["replay", "-f", "Customer = 'nobody'"], 3, "no run is chosen");
    shop.refused(&["replay", "-f", "Customer ="], 2, "column 11");
    shop.refused(&["ls", "-f", "status = 'Running'"], 2, "write `Status`");
    shop.refused(&["count", "-f", "Status = 'Runing'"], 2, "         ^");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_answered_accepted_refused_or_fails() {
    let shop = Shop::open("verbs_update").await;
    shop.done(&["start", "verbs.account", "--id", "a", "-i", "null"]);
    assert_eq!(shop.done(&["update", "a", "add", "-i", "5", "--update-id", "first"]), "5\n");
    assert_eq!(shop.done(&["update", "a", "add", "-i", "90", "--update-id", "first"]), "5\n", "the same update");
    let accepted = shop.json(&["update", "a", "add", "-i", "2", "--wait", "accepted", "--update-id", "second"]);
    assert_eq!((&accepted["workflow_id"], &accepted["update_id"]), (&"a".into(), &"second".into()));
    assert_eq!(shop.json(&["update", "a", "add", "--update-id", "second"])["result"], 7);
    shop.refused(&["update", "a", "add", "-i", "101"], 4, "100 at most");
    shop.refused(&["update", "a", "add", "-i", "0"], 1, "Nothing: 0 adds nothing");
    shop.refused(&["update", "a", "add", "-i", "{"], 2, "cannot be read as JSON");
    shop.refused(&["update", "a", ""], 2, "update name is empty");
    shop.refused(&["update", "nobody", "add", "-i", "1"], 3, "no workflow `nobody`");
    shop.done(&["signal", "a", "go", "-i", "1"]);
    shop.done(&["result", "a"]);
    shop.refused(&["update", "a", "add", "-i", "1"], 4, "is closed");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_workflow_goes_on_when_it_is_let_go() {
    let shop = Shop::open("verbs_pause").await;
    shop.done(&["start", "verbs.account", "--id", "a", "-i", "null"]);
    let said = shop.json(&["pause", "a", "--reason", "the bank is down"]);
    assert_eq!(said["done"], "paused");
    shop.until(&["describe", "a"], "paused");
    shop.done(&["signal", "a", "go", "-i", "3"]);
    let history = shop.until(&["show", "a"], "WorkflowExecutionSignaled");
    assert!(!history.contains("WorkflowExecutionCompleted"), "{history}");
    assert!(shop.done(&["trace", "a"]).contains("the bank is down"));
    shop.done(&["unpause", "a"]);
    assert_eq!(shop.done(&["result", "a"]), "3\n");
    shop.refused(&["pause", "a"], 4, "is closed");
    shop.refused(&["unpause", "nobody"], 3, "no workflow `nobody`");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activity_is_ended_and_moved_by_hand() {
    let shop = Shop::open("verbs_activity").await;
    for id in ["by-id", "by-token", "fails"] {
        shop.done(&["start", "verbs.errand", "--id", id, "-i", "\"x\""]);
        shop.until(&["describe", id, "--json"], "\"activity_type\":\"verbs.wait\"");
    }
    let activity = |id: &str| shop.json(&["describe", id])["pending_activities"][0]["activity_id"].to_string();
    let number = activity("by-id");
    let done = shop.json(&["activity", "complete", "by-id", &number, "-i", "\"ada\""]);
    assert_eq!((&done["done"], &done["attempt"]), (&"completed".into(), &1.into()));
    assert_eq!(shop.done(&["result", "by-id"]), "\"ada\"\n");

    let store = shop.database.store().await;
    let filter = RunFilter { workflow_id: Some("by-token".into()), ..RunFilter::default() };
    let run = store.list(&filter, 1).await.unwrap().remove(0).key;
    let token = |attempt: u32| format!("{}.{}.{number}.{attempt}", run.shard.0, run.run_id);
    shop.refused(&["activity", "complete", "--token", &token(2)], 4, "attempt 1 is the current one");
    shop.done(&["activity", "complete", "--token", &token(1), "-i", "\"bob\""]);
    assert_eq!(shop.done(&["result", "by-token"]), "\"bob\"\n");
    shop.refused(&["activity", "complete", "--token", &token(1)], 3, "it has none");

    shop.done(&["activity", "fail", "fails", &number, "--message", "no", "--type", "Refused", "--non-retryable"]);
    shop.refused(&["result", "fails"], 1, "Refused: no");

    shop.done(&["start", "verbs.stubborn", "--id", "s", "-i", "4"]);
    shop.until(&["describe", "s"], "not at first");
    shop.done(&["activity", "pause", "s", &number]);
    assert!(shop.until(&["describe", "s"], "is paused before attempt 2").contains("paused"));
    assert_eq!(shop.json(&["trace", "s"])[0]["children"][0]["status"], "Paused");
    shop.done(&["activity", "unpause", "s", &number]);
    assert_eq!(shop.done(&["result", "s"]), "4\n", "what is let go begins at once");
    shop.done(&["start", "verbs.stubborn", "--id", "r", "-i", "5"]);
    shop.until(&["describe", "r"], "not at first");
    shop.done(&["activity", "retry", "r", &number]);
    assert_eq!(shop.done(&["result", "r"]), "5\n");

    shop.refused(&["activity", "retry", "r", &number], 3, "it has none");
    shop.refused(&["activity", "retry", "r"], 2, "ACTIVITY_ID");
    shop.refused(&["activity", "retry", "nobody", "1"], 3, "no workflow `nobody`");
    shop.refused(&["activity", "complete", "--token", "1.2.3"], 2, "is no activity token");
    shop.refused(&["activity", "fail", "r", &number], 2, "--message");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_a_tree_with_children() {
    let shop = Shop::open("verbs_trace").await;
    shop.done(&["start", "verbs.family", "--id", "f", "-i", "3"]);
    let began = Instant::now();
    let tree = loop {
        let tree = shop.json(&["trace", "f"]);
        let children = tree[0]["children"].as_array().unwrap();
        if children.len() == 3 && children.iter().all(|child| child["status"] == "Completed") {
            break tree;
        }
        assert!(began.elapsed() < PATIENCE, "{tree}");
    };
    let root = &tree[0];
    assert_eq!((&root["id"], &root["kind"], &root["status"]), (&"f".into(), &"workflow".into(), &"Running".into()));
    let child = &root["children"][1];
    assert_eq!((&child["name"], &child["kind"]), (&"verbs.child".into(), &"workflow".into()));
    assert!(child["run_id"].is_string() && child["took_ms"].is_u64() && child["started_at"].is_string(), "{child}");
    assert_eq!((&child["children"][0]["kind"], &child["children"][0]["status"]), (&"timer".into(), &"Fired".into()));
    let drawn = shop.done(&["trace", "f"]);
    assert!(drawn.contains("f verbs.family  Running") && drawn.contains("\n│  └─ timer #1  Fired"), "{drawn}");
    assert!(shop.done(&["trace", "f", "--limit", "2"]).contains("raise `--limit`"));
    shop.done(&["signal", "f", "go", "-i", "1"]);
    let drawn = shop.done(&["trace", "f", "--follow"]);
    assert!(drawn.contains("f verbs.family  Completed") && drawn.contains("signal go"), "{drawn}");
    assert!(!drawn.contains('\u{1b}'), "no terminal, no colors: {drawn}");
    shop.refused(&["trace", "nobody"], 3, "no workflow `nobody`");
    shop.refused(&["trace", "f", "--limit", "0"], 2, "--limit");
    shop.close().await;
}

#[workflow(name = "verbs.waits")]
async fn waits(ctx: WorkflowContext, _: ()) -> Result<(), WorkflowError> {
    let errand = ctx.activity(Desk::wait, "x".to_owned());
    let long = ctx.sleep(Duration::from_secs(3_600));
    let child = ctx.child(account, ()).id("waits-child");
    select! {
        done = errand => drop(done?),
        slept = long => slept?,
        ended = child => drop(ended?),
        go = ctx.receive(&GO) => drop(go?),
        _ = ctx.cancelled() => {}
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_says_what_the_code_awaits_and_where() {
    let shop = Shop::open("verbs_stack").await;
    shop.done(&["start", "verbs.waits", "--id", "w", "-i", "null"]);
    shop.until(&["describe", "w", "--json"], "verbs.wait\"");
    let stack = shop.json(&["stack", "w"]);
    let awaits = stack["awaits"].as_array().unwrap();
    let kinds: Vec<&str> = awaits.iter().map(|awaited| awaited["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["activity", "timer", "child", "signal", "cancellation"], "{stack}");
    let names: Vec<&Value> = awaits.iter().map(|awaited| &awaited["name"]).collect();
    assert_eq!(names, [&"verbs.wait".into(), &Value::Null, &"waits-child".into(), &"go".into(), &Value::Null]);
    let line = |needle: &str| {
        let lines = include_str!("verbs.rs").lines();
        lines.enumerate().find(|(_, line)| line.contains(needle)).map(|(index, _)| index + 1).unwrap()
    };
    for (awaited, call) in
        awaits.iter().zip(["let errand = ctx", "let long = ctx", "let child = ctx", "go = ctx", "_ = ctx.cancelled"])
    {
        let position = awaited["position"].as_str().unwrap();
        assert!(position.contains(&format!("verbs.rs:{}:", line(call))), "{call} {position}");
    }
    assert!(awaits[1]["fires_at"].is_string());
    let before = shop.json(&["show", "w"])["events"].as_array().unwrap().len();
    let table = shop.done(&["stack", "w"]);
    assert!(table.contains("activity") && table.contains("verbs.rs:") && table.contains("in 59m"), "{table}");
    assert_eq!(shop.json(&["show", "w"])["events"].as_array().unwrap().len(), before, "it leaves no trace");

    shop.done(&["pause", "w"]);
    shop.until(&["describe", "w"], "paused");
    assert_eq!(shop.json(&["stack", "w"])["awaits"].as_array().unwrap().len(), 5, "paused or not");
    shop.done(&["terminate", "w"]);
    shop.until(&["describe", "w"], "Terminated");
    shop.refused(&["stack", "w"], 4, "is closed");
    shop.refused(&["stack", "nobody"], 3, "no workflow `nobody`");
    shop.done(&["start", "verbs.waits", "--id", "q", "--queue", "nobody-serves", "-i", "null"]);
    shop.refused(&["stack", "q", "--timeout", "300ms"], 4, "dacapo workers");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_shows_where_two_histories_part() {
    let shop = Shop::open("verbs_diff").await;
    let first_run = |out: String| out.split_whitespace().nth(1).unwrap().to_owned();
    for (id, n) in [("one", "1"), ("same", "1"), ("other", "2")] {
        shop.done(&["start", "verbs.account", "--id", id, "-i", "null"]);
        shop.done(&["signal", id, "go", "-i", n]);
        shop.done(&["result", id]);
    }
    let again = first_run(shop.done(&["start", "verbs.account", "--id", "one", "-i", "null"]));
    shop.done(&["terminate", "one"]);
    let (code, out, err) = shop.call(&["diff", "same", "other"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("they part at event") && out.contains("WorkflowExecutionSignaled"), "{out}");
    assert!(out.lines().any(|line| line.starts_with("- ")) && out.lines().any(|line| line.starts_with("+ ")), "{out}");
    let value = shop.json(&["diff", "same", "other"]);
    assert_eq!((&value["same"], &value["first"]["one"]["attributes"]["input"]), (&false.into(), &1.into()));
    assert_eq!(value["first"]["other"]["attributes"]["input"], 2);
    let value = shop.json(&["diff", &again, "one"]);
    assert_eq!(
        (&value["same"], &value["one"]["run_id"]),
        (&true.into(), &again.as_str().into()),
        "a run id names a run"
    );
    shop.refused(&["diff", "same", "nobody"], 3, "no workflow `nobody`");
    shop.refused(&["diff", "same", "0199d5f2-0000-7000-8000-000000000001"], 3, "no workflow `0199d5f2");
    shop.refused(&["diff", "same"], 2, "ID2");
    shop.close().await;
}

/// Whether the bank answers, for the runs of one test.
static BANK_IS_OPEN: AtomicBool = AtomicBool::new(false);

/// How often something was counted, for the runs of one test.
static COUNTED: AtomicU64 = AtomicU64::new(0);

#[workflow(name = "verbs.pay")]
async fn pay(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    let fee = ctx.activity(Desk::count, cents).await?;
    Ok(ctx.activity(Desk::bank, cents + fee).retry(RetryPolicy::attempts(1)).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_reset_and_forked_and_dead_letters_retried() {
    let shop = Shop::open("verbs_branch").await;
    for id in ["p", "q"] {
        shop.done(&["start", "verbs.pay", "--id", id, "-i", "100"]);
        shop.refused(&["result", id], 1, "closed on sundays");
    }
    assert_eq!(COUNTED.load(Ordering::SeqCst), 2);
    let dead = shop.json(&["dead", "ls", "--type", "verbs.pay"]);
    assert_eq!((&dead[0]["kind"], &dead[0]["activity_id"]), (&"Activity".into(), &2.into()), "{dead}");
    assert!(dead[0]["way_out"].as_str().unwrap().contains("retry"), "{dead}");
    assert_eq!(dead.as_array().unwrap().len(), 2);
    let (code, out, err) = shop.call(&["dead"]);
    assert!(code == 0 && out.contains("closed on sundays") && err.contains("retry it"), "{out}{err}");

    BANK_IS_OPEN.store(true, Ordering::SeqCst);
    assert_eq!(shop.json(&["dead", "retry", "p", "--reason", "monday"])[0]["done"], "reset");
    assert_eq!(shop.done(&["result", "p"]), "101\n");
    assert!(shop.done(&["reset", "q", "--before-activity", "verbs.bank"]).starts_with("q "));
    assert_eq!(shop.done(&["result", "q"]), "101\n");
    assert_eq!(COUNTED.load(Ordering::SeqCst), 2, "what was done is not done again");
    assert_eq!(shop.json(&["dead"]).as_array().unwrap().len(), 0, "nothing is left");

    let forked = shop.json(&["fork", "p", "--as", "what-if", "--result", "1=900", "--reason", "what if"]);
    assert_eq!((&forked["workflow_id"], &forked["new"]), (&"what-if".into(), &true.into()));
    assert_eq!(shop.done(&["result", "what-if"]), "1000\n");
    assert_eq!(shop.done(&["result", "p"]), "101\n", "the source is left alone");
    assert!(shop.done(&["diff", "p", "what-if"]).contains("ActivityTaskCompleted"));
    let again = shop.json(&["reset", "what-if", "--to-first", "--request-id", "r1"]);
    assert_eq!(shop.json(&["reset", "what-if", "--to-first", "--request-id", "r1"])["run_id"], again["run_id"]);
    assert_eq!(shop.done(&["result", "what-if"]), "101\n", "from the beginning");
    assert_eq!(COUNTED.load(Ordering::SeqCst), 3);

    shop.refused(&["reset", "p"], 2, "--to-event");
    shop.refused(&["reset", "p", "--to-first", "--to-last"], 2, "cannot be used with");
    shop.refused(&["reset", "p", "--to-event", "1"], 4, "no start or end of a workflow task");
    shop.refused(&["reset", "nobody", "--to-last"], 3, "no workflow `nobody`");
    shop.refused(&["fork", "p"], 4, "needs a point or an edit");
    shop.refused(&["fork", "p", "--result", "x=1"], 2, "no number of an activity");
    shop.refused(&["fork", "p", "--result", "7=1"], 4, "activity 7");
    shop.refused(&["fork", "p", "-i", "{"], 2, "cannot be read as JSON");
    shop.refused(&["dead", "retry", "p"], 3, "no dead letter of `p`");
    shop.refused(&["dead", "retry"], 2, "<ID>");
    shop.refused(&["dead", "ls", "--kind", "zombie"], 2, "parkedrun");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_task_that_fails_is_a_dead_letter_until_it_runs() {
    let shop = Shop::open("verbs_dead").await;
    shop.done(&["start", "verbs.pay", "--id", "bad", "-i", "\"no number\""]);
    shop.until(&["dead", "ls", "--kind", "workflowtask"], "bad");
    let dead = shop.json(&["dead", "ls", "--id", "bad"]);
    assert_eq!((&dead[0]["kind"], &dead[0]["status"]), (&"WorkflowTask".into(), &"Running".into()), "{dead}");
    assert_eq!(shop.json(&["dead", "retry", "--all", "--kind", "workflowtask"])[0]["done"], "woken");
    shop.done(&["terminate", "bad"]);
    shop.until(&["describe", "bad"], "Terminated");
    assert_eq!(shop.json(&["dead"]).as_array().unwrap().len(), 0);
    shop.close().await;
}
