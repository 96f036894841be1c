//! What workflow code must not do, found in the same task, with what to do instead. The run itself stays open.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

mod harness;

use std::{cell::RefCell, time::Duration};

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, Query, Signal},
    select, workflow,
};
use dacapo_core::event::WorkflowTaskFailedCause as Cause;
use dacapo_runtime::{Activated, Activation, ExecutorFactory};
use futures_util::future;
use harness::{Env, Task, completed, short, signal};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const GO: Signal<u64> = Signal::new("go");

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn fails(task: Task, cause: Cause, words: &[&str]) -> dacapo_core::Failure {
    let (found, failure) = task.failure();
    assert_eq!(found, cause, "{}", failure.message);
    for word in words {
        assert!(failure.message.contains(word), "`{word}` is not in: {}", failure.message);
    }
    failure
}

macro_rules! bad_workflow {
    ($name:ident, |$ctx:ident| $body:block) => {
        #[workflow]
        #[allow(unreachable_code, reason = "some never come back")]
        async fn $name($ctx: WorkflowContext) -> Result<(), WorkflowError> {
            $ctx.activity(WORK, 1).await?;
            $body
            Ok(())
        }
    };
}

bad_workflow!(tokio_sleep, |ctx| { tokio::time::sleep(SECOND).await });
bad_workflow!(tokio_spawn, |ctx| { drop(tokio::spawn(async {})) });
bad_workflow!(tokio_socket, |ctx| { drop(tokio::net::TcpStream::connect("127.0.0.1:1").await) });
bad_workflow!(tokio_timeout, |ctx| { drop(tokio::time::timeout(SECOND, ctx.activity(WORK, 2)).await) });
bad_workflow!(tokio_spawn_local, |ctx| { drop(tokio::task::spawn_local(async {})) });
bad_workflow!(tokio_spawn_blocking, |ctx| { drop(tokio::task::spawn_blocking(|| {})) });
bad_workflow!(tokio_file, |ctx| { drop(tokio::fs::read("/dev/null").await) });
bad_workflow!(yields_for_ever, |ctx| {
    loop {
        tokio::task::yield_now().await;
    }
});
bad_workflow!(panicking, |ctx| { panic!("the order has no lines") });
bad_workflow!(never, |ctx| { future::pending::<()>().await });
bad_workflow!(awaits_a_thread, |ctx| {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    drop(std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        let _ = sender.send(());
    }));
    let _ = receiver.await;
});
bad_workflow!(spins, |ctx| {
    loop {
        let mut yielded = false;
        future::poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut yielded, true) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
});

/// Runs to the second task, where the workflow does what it must not, and tells the line of its first failure.
#[track_caller]
fn second_task(table: dacapo::define::WorkflowTable, name: &str) -> (Env, Task) {
    let mut env = Env::start(table, name, ());
    env.first().commands();
    let task = env.step([completed(1, 1)]);
    assert_eq!(env.event_names().last(), Some(&"WorkflowTaskFailed"));
    assert_eq!(env.run.status, dacapo_core::RunStatus::Running, "the run stays open");
    (env, task)
}

#[test]
fn what_needs_a_tokio_runtime_fails_the_task_with_what_to_use() {
    let (_, task) = second_task(workflows![tokio_sleep], "tokio_sleep");
    let failure = fails(task, Cause::ForeignAwait, &["`ctx.sleep(…)`"]);
    assert!(failure.position.unwrap().contains("detection.rs"), "tokio reports the line of its caller");
    let (_, task) = second_task(workflows![tokio_spawn], "tokio_spawn");
    let failure = fails(task, Cause::ForeignAwait, &["`join_all`"]);
    assert!(failure.position.unwrap().contains("detection.rs"));
    let (_, task) = second_task(workflows![tokio_socket], "tokio_socket");
    fails(
        task,
        Cause::ForeignAwait,
        &["an activity for everything else", "the last durable call before it was at", "detection.rs"],
    );
}

#[test]
fn timeouts_tasks_and_files_of_tokio_are_found_like_its_timers() {
    for (table, name) in [
        (workflows![tokio_timeout], "tokio_timeout"),
        (workflows![tokio_spawn_local], "tokio_spawn_local"),
        (workflows![tokio_spawn_blocking], "tokio_spawn_blocking"),
        (workflows![tokio_file], "tokio_file"),
    ] {
        let (_, task) = second_task(table, name);
        fails(task, Cause::ForeignAwait, &["of tokio", "an activity for everything else", "detection.rs:"]);
    }
}

#[test]
fn a_panic_fails_the_task_with_its_line_and_the_run_goes_on_with_a_good_build() {
    let (mut env, task) = second_task(workflows![panicking], "panicking");
    let failure = fails(task, Cause::Panic, &["the order has no lines", "stays open"]);
    assert!(failure.position.unwrap().contains("detection.rs:"));

    #[workflow(name = "panicking")]
    async fn repaired(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
        Ok(ctx.activity(WORK, 1).await?)
    }
    // Again with the bad one: a second failure in a row.
    env.evict();
    fails(env.step([]), Cause::Panic, &[]);
    env.deploy(workflows![repaired]);
    assert_eq!(short(&env.step([]).commands()), ["complete"]);
    assert_eq!(env.result::<u64>(), 1);
    env.replays_at_every_prefix();
}

#[test]
fn waiting_for_nothing_durable_is_found_in_the_same_task() {
    let (_, task) = second_task(workflows![never], "never");
    fails(task, Cause::NoProgress, &["not durable", "the last durable call was at", "detection.rs:"]);
    let (_, task) = second_task(workflows![awaits_a_thread], "awaits_a_thread");
    fails(task, Cause::NoProgress, &["not durable"]);
}

#[test]
fn code_that_only_wakes_itself_is_stopped() {
    let (_, task) = second_task(workflows![spins], "spins");
    fails(task, Cause::NoProgress, &["woke itself"]);
    let (_, task) = second_task(workflows![yields_for_ever], "yields_for_ever");
    fails(task, Cause::NoProgress, &["woke itself", "`ctx.sleep(…)`", "detection.rs:"]);
}

thread_local! {
    /// Each test has a thread of its own.
    static OUTSIDE: RefCell<Option<tokio::sync::oneshot::Sender<u64>>> = const { RefCell::new(None) };
}

#[workflow]
async fn hears_from_outside(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    OUTSIDE.set(Some(sender));
    select! {
        _ = ctx.receive(&GO) => Ok(0),
        value = receiver => Ok(value.unwrap()),
    }
}

#[test]
fn a_wake_from_another_thread_or_from_between_tasks_is_found() {
    let mut env = Env::start(workflows![hears_from_outside], "hears_from_outside", ());
    env.first().commands();
    let sender = OUTSIDE.take().unwrap();
    std::thread::spawn(move || sender.send(4)).join().unwrap().unwrap();
    fails(env.step([signal("other", ())]), Cause::ForeignAwait, &["a signal", "detection.rs:"]);

    let mut env = Env::start(workflows![hears_from_outside], "hears_from_outside", ());
    env.first().commands();
    OUTSIDE.take().unwrap().send(4).unwrap();
    fails(env.step([signal("other", ())]), Cause::ForeignAwait, &["a thread, a task or a channel"]);
}

#[workflow]
async fn tells_another_run(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    OUTSIDE.take().unwrap().send(4).unwrap();
    Ok(())
}

#[test]
fn a_wake_by_another_run_on_the_same_thread_is_foreign_too() {
    let mut hearer = Env::start(workflows![hears_from_outside], "hears_from_outside", ());
    hearer.first().commands();
    Env::start(workflows![tells_another_run], "tells_another_run", ()).first().commands();
    fails(
        hearer.step([signal("other", ())]),
        Cause::ForeignAwait,
        &["woken by something that history knows nothing of"],
    );
}

#[workflow]
async fn takes_a_number(_ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    Ok(n)
}

#[workflow]
async fn reads_badly(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let value = ctx.receive(&GO).await?;
    Ok(ctx.activity(WORK, value).await?)
}

#[test]
fn values_of_another_type_fail_the_task_with_type_and_excerpt() {
    let mut env = Env::start(workflows![takes_a_number], "takes_a_number", "four");
    fails(env.first(), Cause::BadPayload, &["input of workflow `takes_a_number`", "u64", "\"four\""]);

    let mut env = Env::start(workflows![reads_badly], "reads_badly", ());
    env.first().commands();
    fails(env.step([signal("go", "x")]), Cause::BadPayload, &["input of signal `go`", "u64", "\"x\"", "detection.rs:"]);

    let mut env = Env::start(workflows![reads_badly], "reads_badly", ());
    env.step([signal("go", 1)]).commands();
    fails(env.step([completed(1, "text")]), Cause::BadPayload, &["result of activity `work`", "u64", "\"text\""]);
}

const BLOB: Activity<String, (), HasTimeout> = Activity::new("blob").start_to_close(SECOND);
const SHOWN: Query<String> = Query::new("shown");

#[workflow]
async fn too_large(ctx: WorkflowContext, publish: bool) -> Result<(), WorkflowError> {
    let blob = "x".repeat(3 << 20);
    if publish {
        ctx.publish(&SHOWN, &blob);
    }
    Ok(ctx.activity(BLOB, blob).await?)
}

#[test]
fn values_above_the_limit_fail_the_task_before_anything_is_written() {
    for (publish, what) in [(false, "input of activity `blob`"), (true, "value of query `shown`")] {
        let mut env = Env::start(workflows![too_large], "too_large", publish);
        fails(env.first(), Cause::BadCommand, &[what, "the limit is 2097152", "detection.rs:"]);
    }
}

#[test]
fn a_workflow_type_that_is_not_registered_is_named_beside_those_that_are() {
    let mut env = Env::start(workflows![takes_a_number, reads_badly], "checkout", ());
    fails(env.first(), Cause::NotRegistered, &["`checkout`", "`reads_badly`, `takes_a_number`"]);
}

#[test]
fn an_activation_that_does_not_follow_the_last_one_asks_for_the_history() {
    let mut env = Env::start(workflows![hears_from_outside], "hears_from_outside", ());
    env.first().commands();
    let factory = dacapo::WorkflowExecutors::new(workflows![hears_from_outside]);
    let mut executor = factory.make();
    let mut activate = |events: &[dacapo_core::Event], from_start| {
        let activation =
            Activation { run: env.run.key, started: &env.run.started, events, from_start, updates: &[], ended: &[] };
        executor.activate(activation)
    };
    assert!(matches!(activate(&env.history[3..], false), Activated::NeedsHistory), "it knows nothing");
    let started = env.history.iter().position(|event| event.event.name() == "WorkflowTaskStarted").unwrap();
    assert!(matches!(activate(&env.history[..=started], true), Activated::Completed { .. }));
    let mut gap = env.history[started].clone();
    gap.event_id += 10;
    assert!(matches!(activate(&[gap], false), Activated::NeedsHistory), "events are missing");
}
