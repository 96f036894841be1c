//! What workflow code may do, that it replays equal, and that what it must not do is found in the same task.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

mod harness;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, Query, Signal},
    select, workflow,
};
use dacapo_core::{Command, Payload, event::WorkflowTaskFailedCause as Cause};
use futures_util::{
    FutureExt, StreamExt,
    future::{self, join_all, try_join_all},
    stream::{self, FuturesUnordered},
};
use harness::{Env, Input, Task, completed, failed, json, short, signal};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const GO: Signal<u64> = Signal::new("go");
const PROGRESS: Query<u64> = Query::new("progress");

const SECOND: Duration = Duration::from_secs(1);

// What is allowed.

#[workflow]
async fn one_after_the_other(ctx: WorkflowContext, n: u64) -> Result<Vec<u64>, WorkflowError> {
    let mut results = Vec::new();
    for i in 0..n {
        results.push(ctx.activity(WORK, i).await?);
        ctx.publish(&PROGRESS, &i);
        ctx.sleep(SECOND).await?;
    }
    Ok(results)
}

#[test]
fn a_sequence_runs_step_by_step_and_replays_at_every_prefix() {
    let mut env = Env::start(workflows![one_after_the_other], "one_after_the_other", 2);
    assert_eq!(short(&env.first().commands()), ["+1"]);
    let Task::Completed { commands, published } = env.step([completed(1, 10)]) else { panic!() };
    assert_eq!(short(&commands), ["+2"]);
    assert_eq!(published, [("progress".to_owned(), json(0))]);
    assert_eq!(short(&env.step([Input::TimerDue(2)]).commands()), ["+3"]);
    env.evict();
    let Task::Completed { commands, published } = env.step([completed(3, 30)]) else { panic!() };
    assert_eq!(short(&commands), ["+4"]);
    assert_eq!(published, [("progress".to_owned(), json(1))], "a replay does not publish what was published");
    assert_eq!(short(&env.step([Input::TimerDue(4)]).commands()), ["complete"]);
    assert_eq!(env.result::<Vec<u64>>(), [10, 30]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn fan_out(ctx: WorkflowContext, n: u64) -> Result<Vec<u64>, WorkflowError> {
    Ok(try_join_all((0..n).map(|i| ctx.activity(WORK, i))).await?)
}

#[workflow]
async fn unordered(ctx: WorkflowContext, n: u64) -> Result<Vec<u64>, WorkflowError> {
    let calls: FuturesUnordered<_> = (0..n).map(|i| ctx.activity(WORK, i)).collect();
    Ok(calls.map(Result::unwrap).collect().await)
}

#[workflow]
async fn buffered(ctx: WorkflowContext, n: u64) -> Result<Vec<u64>, WorkflowError> {
    let calls = stream::iter(0..n).map(|i| ctx.activity(WORK, i)).buffer_unordered(10);
    Ok(calls.map(Result::unwrap).collect().await)
}

/// Gives the numbers 1 to `n` in an order that is no order, the same every time.
fn shuffled(n: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (1..=n).collect();
    numbers.sort_by_key(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    numbers
}

#[test]
fn a_thousand_joined_activities_complete_in_any_order() {
    let mut env = Env::start(workflows![fan_out], "fan_out", 1_000);
    assert_eq!(env.first().commands().len(), 1_000);
    let order = shuffled(1_000);
    for chunk in order.chunks(37) {
        env.step(chunk.iter().map(|id| completed(*id, id * 2)).collect::<Vec<_>>()).commands();
    }
    assert_eq!(env.result::<Vec<u64>>(), (1..=1_000).map(|id| id * 2).collect::<Vec<_>>());
    env.replays_at_every_prefix();
}

#[test]
fn a_thousand_unordered_activities_give_results_in_the_order_of_history() {
    let mut env = Env::start(workflows![unordered], "unordered", 1_000);
    assert_eq!(env.first().commands().len(), 1_000);
    let order = shuffled(1_000);
    for chunk in order.chunks(37) {
        env.step(chunk.iter().map(|id| completed(*id, *id)).collect::<Vec<_>>()).commands();
    }
    assert_eq!(env.result::<Vec<u64>>(), order, "also where 37 of them came in one task");
    env.replays_at_every_prefix();
}

#[test]
fn a_buffered_stream_keeps_its_bound() {
    let mut env = Env::start(workflows![buffered], "buffered", 25);
    assert_eq!(env.first().commands().len(), 10);
    let mut results = Vec::new();
    for round in [vec![4, 2], vec![11, 1, 3], (5..=10).collect(), (12..=20).collect(), (21..=25).collect()] {
        env.step(round.iter().map(|id| completed(*id, *id)).collect::<Vec<_>>()).commands();
        results.extend(round);
    }
    assert_eq!(env.result::<Vec<u64>>(), results);
    env.replays_at_every_prefix();
}

#[workflow]
async fn late_first_poll(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let (first, second, never) = (ctx.activity(WORK, 1), ctx.activity(WORK, 2), ctx.activity(WORK, 3));
    let (second, first) = future::join(second, first).await;
    drop(never);
    Ok(first? * 10 + second?)
}

#[test]
fn numbers_follow_creation_commands_first_polls_and_the_order_is_that_of_numbers() {
    let mut env = Env::start(workflows![late_first_poll], "late_first_poll", ());
    assert_eq!(short(&env.first().commands()), ["+1", "+2"]);
    assert_eq!(short(&env.step([completed(2, 2), completed(1, 1)]).commands()), ["complete"]);
    assert_eq!(env.result::<u64>(), 12);
    env.replays_at_every_prefix();
}

#[workflow]
async fn race(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    Ok(select! {
        _ = ctx.sleep(SECOND) => "timer".to_owned(),
        value = ctx.receive(&GO) => format!("signal {}", value?),
    })
}

#[test]
fn the_event_that_came_first_wins_a_race_also_within_one_task() {
    for (inputs, winner) in
        [([Input::TimerDue(1), signal("go", 5)], "timer"), ([signal("go", 5), Input::TimerDue(1)], "signal 5")]
    {
        let mut env = Env::start(workflows![race], "race", ());
        assert_eq!(short(&env.first().commands()), ["+1"]);
        // The timer fires in this very task, so giving it up asks for nothing.
        assert_eq!(short(&env.step(inputs).commands()), ["complete"]);
        assert_eq!(env.result::<String>(), winner);
        env.replays_at_every_prefix();
    }
}

#[workflow]
async fn race_and_go_on(ctx: WorkflowContext) -> Result<Vec<u64>, WorkflowError> {
    let mut received = Vec::new();
    while received.len() < 3 {
        select! {
            value = ctx.receive(&GO) => received.push(value?),
            _ = ctx.sleep(SECOND) => received.push(0),
        }
    }
    Ok(received)
}

#[test]
fn a_lost_race_cancels_its_timer_and_loses_no_signal() {
    let mut env = Env::start(workflows![race_and_go_on], "race_and_go_on", ());
    assert_eq!(short(&env.first().commands()), ["+1"]);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["-1", "+2"]);
    // Timer 3 is made and given up between the two signals: it leaves nothing.
    assert_eq!(short(&env.step([Input::TimerDue(2), signal("go", 2)]).commands()), ["complete"]);
    assert_eq!(env.result::<Vec<u64>>(), [1, 0, 2]);
    env.replays_at_every_prefix();
}

#[test]
fn the_firing_of_a_lost_timer_later_in_the_task_needs_no_cancel() {
    let mut env = Env::start(workflows![race_and_go_on], "race_and_go_on", ());
    env.first().commands();
    assert_eq!(short(&env.step([signal("go", 1), Input::TimerDue(1)]).commands()), ["+2"]);
    assert_eq!(short(&env.step([signal("go", 2)]).commands()), ["-2", "+3"]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn signals_in_order(ctx: WorkflowContext, n: usize) -> Result<Vec<u64>, WorkflowError> {
    let first = ctx.activity(WORK, 0).await?;
    let mut received: Vec<u64> = ctx.stream(&GO).take(n).collect().await;
    received.push(first);
    Ok(received)
}

#[test]
fn signals_wait_in_order_until_they_are_received() {
    let mut env = Env::start(workflows![signals_in_order], "signals_in_order", 3);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["+1"]);
    env.step([signal("go", 2), signal("other", "x")]).commands();
    env.step([completed(1, 9)]).commands();
    env.step([signal("go", 3)]).commands();
    assert_eq!(env.result::<Vec<u64>>(), [1, 2, 3, 9]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn many_receivers(ctx: WorkflowContext) -> Result<Vec<u64>, WorkflowError> {
    try_join_all((0..100).map(|_| ctx.receive(&GO))).await
}

#[test]
fn each_of_many_receivers_gets_one_signal() {
    let mut env = Env::start(workflows![many_receivers], "many_receivers", ());
    env.first().commands();
    env.step((0..60).map(|i| signal("go", i)).collect::<Vec<_>>()).commands();
    env.step((60..100).map(|i| signal("go", i)).collect::<Vec<_>>()).commands();
    let mut received = env.result::<Vec<u64>>();
    received.sort_unstable();
    assert_eq!(received, (0..100).collect::<Vec<_>>());
    env.replays_at_every_prefix();
}

#[workflow]
async fn own_mutex_and_channel(ctx: WorkflowContext) -> Result<Vec<u64>, WorkflowError> {
    let log = Rc::new(futures_util::lock::Mutex::new(Vec::new()));
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let holder = async {
        let mut log = log.lock().await;
        log.push(ctx.activity(WORK, 1).await?);
        drop(log);
        sender.send(7).unwrap();
        Ok::<_, WorkflowError>(())
    };
    let waiter = async {
        log.lock().await.push(2);
        Ok(())
    };
    let listener = async {
        let value = receiver.await.unwrap();
        log.lock().await.push(value);
        Ok(())
    };
    dacapo::try_join!(holder, waiter, listener)?;
    Ok(Rc::into_inner(log).unwrap().into_inner())
}

#[test]
fn locks_and_channels_between_the_workflows_own_futures_work() {
    let mut env = Env::start(workflows![own_mutex_and_channel], "own_mutex_and_channel", ());
    assert_eq!(short(&env.first().commands()), ["+1"]);
    assert_eq!(short(&env.step([completed(1, 1)]).commands()), ["complete"]);
    assert_eq!(env.result::<Vec<u64>>(), [1, 2, 7]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn draws(ctx: WorkflowContext) -> Result<(u64, String, u128), WorkflowError> {
    let before = ctx.random();
    ctx.sleep(SECOND).await?;
    assert_ne!(before, ctx.random());
    let id = ctx.uuid();
    assert_eq!(id.get_version_num(), 4);
    Ok((before, id.to_string(), ctx.now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros()))
}

#[test]
fn time_and_random_numbers_are_those_of_the_history() {
    let mut env = Env::start(workflows![draws], "draws", ());
    env.first().commands();
    env.pass(Duration::from_secs(5));
    env.step([Input::TimerDue(1)]).commands();
    let (_, _, now) = env.result::<(u64, String, u128)>();
    assert_eq!(now, 1_000_000 + 5_002_000, "the start of the task");
    env.pass(Duration::from_secs(5));
    env.replays_at_every_prefix();
}

#[workflow]
async fn until(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.sleep_until(ctx.now() + SECOND).await?;
    ctx.sleep_until(ctx.now() - SECOND).await
}

#[test]
fn a_deadline_is_counted_from_the_start_of_the_task() {
    let mut env = Env::start(workflows![until], "until", ());
    let Some(Command::StartTimer { after, .. }) = env.first().commands().pop() else { panic!() };
    assert_eq!(after, SECOND);
    let Some(Command::StartTimer { after, .. }) = env.step([Input::TimerDue(1)]).commands().pop() else { panic!() };
    assert_eq!(after, Duration::ZERO);
    env.step([Input::TimerDue(2)]).commands();
    env.replays_at_every_prefix();
}

#[workflow]
async fn failing_activity(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let Err(failure) = ctx.activity(WORK, 1).await else { return Ok("no failure".to_owned()) };
    if failure.error_type() == "Declined" {
        return Ok(failure.to_string());
    }
    Err(failure.into())
}

#[test]
fn a_failed_activity_is_a_value_that_the_code_decides_over() {
    let mut env = Env::start(workflows![failing_activity], "failing_activity", ());
    env.first().commands();
    env.step([failed(1, "Declined")]).commands();
    assert_eq!(
        env.result::<String>(),
        "activity `work` failed: Declined: it went wrong (the failure is not retryable)"
    );
    env.replays_at_every_prefix();

    let mut env = Env::start(workflows![failing_activity], "failing_activity", ());
    env.first().commands();
    let commands = env.step([failed(1, "Io")]).commands();
    let [Command::FailWorkflowExecution { failure }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(failure.error_type, "ActivityFailure");
    assert_eq!(failure.cause.as_ref().unwrap().error_type, "Io");
    env.replays_at_every_prefix();
}

// What is not.

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
    assert!(failure.position.unwrap().contains("determinism.rs"), "tokio reports the line of its caller");
    let (_, task) = second_task(workflows![tokio_spawn], "tokio_spawn");
    let failure = fails(task, Cause::ForeignAwait, &["`join_all`"]);
    assert!(failure.position.unwrap().contains("determinism.rs"));
    let (_, task) = second_task(workflows![tokio_socket], "tokio_socket");
    fails(
        task,
        Cause::ForeignAwait,
        &["an activity for everything else", "the last durable call before it was at", "determinism.rs"],
    );
}

#[test]
fn a_panic_fails_the_task_with_its_line_and_the_run_goes_on_with_a_good_build() {
    let (mut env, task) = second_task(workflows![panicking], "panicking");
    let failure = fails(task, Cause::Panic, &["the order has no lines", "stays open"]);
    assert!(failure.position.unwrap().contains("determinism.rs:"));

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
    fails(task, Cause::NoProgress, &["not durable", "the last durable call was at", "determinism.rs:"]);
    let (_, task) = second_task(workflows![awaits_a_thread], "awaits_a_thread");
    fails(task, Cause::NoProgress, &["not durable"]);
}

#[test]
fn code_that_only_wakes_itself_is_stopped() {
    let (_, task) = second_task(workflows![spins], "spins");
    fails(task, Cause::NoProgress, &["woke itself"]);
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
    fails(env.step([signal("other", ())]), Cause::ForeignAwait, &["a signal", "determinism.rs:"]);

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
    fails(
        env.step([signal("go", "x")]),
        Cause::BadPayload,
        &["input of signal `go`", "u64", "\"x\"", "determinism.rs:"],
    );

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
        fails(env.first(), Cause::BadCommand, &[what, "the limit is 2097152", "determinism.rs:"]);
    }
}

#[test]
fn a_workflow_type_that_is_not_registered_is_named_beside_those_that_are() {
    let mut env = Env::start(workflows![race, fan_out], "checkout", ());
    fails(env.first(), Cause::NotRegistered, &["`checkout`", "`fan_out`, `race`"]);
}

#[workflow]
async fn drops_on_the_way(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let mut polled = ctx.activity(WORK, 1);
    let mut timer = ctx.sleep(SECOND);
    // Polled and dropped in the same activation.
    assert!(polled.by_ref_poll().is_none());
    drop(polled);
    assert!(timer.by_ref_poll().is_none());
    ctx.receive(&GO).await?;
    drop(timer);
    ctx.receive(&GO).await?;
    Ok(())
}

trait PollOnce: Future + Unpin {
    /// Polls once with a waker that nobody hears.
    fn by_ref_poll(&mut self) -> Option<Self::Output> {
        self.now_or_never()
    }
    fn now_or_never(&mut self) -> Option<Self::Output> {
        FutureExt::now_or_never(&mut *self)
    }
}

impl<F: Future + Unpin> PollOnce for F {}

#[test]
fn what_is_dropped_in_its_first_activation_leaves_nothing_and_later_is_cancelled() {
    let mut env = Env::start(workflows![drops_on_the_way], "drops_on_the_way", ());
    assert_eq!(short(&env.first().commands()), ["+2"]);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["-2"]);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["complete"]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn leaves_things_behind(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let (mut call, mut timer) = (ctx.activity(WORK, 1), ctx.sleep(SECOND));
    assert!(call.by_ref_poll().is_none() && timer.by_ref_poll().is_none());
    ctx.receive(&GO).await?;
    Ok(())
}

#[test]
fn what_the_end_of_the_code_or_an_eviction_drops_is_not_cancelled() {
    let mut env = Env::start(workflows![leaves_things_behind], "leaves_things_behind", ());
    assert_eq!(short(&env.first().commands()), ["+1", "+2"]);
    env.evict();
    assert_eq!(short(&env.step([signal("other", ())]).commands()), Vec::<String>::new());
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["complete"]);
    env.replays_at_every_prefix();
}

thread_local! {
    static DROPPED: Cell<u32> = const { Cell::new(0) };
}

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
        panic!("while dropped");
    }
}

#[workflow]
async fn panics_when_evicted(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let _bomb = PanicsOnDrop;
    ctx.receive(&GO).await?;
    std::mem::forget(_bomb);
    Ok(())
}

#[test]
fn a_panic_while_code_is_thrown_away_stays_there() {
    let mut env = Env::start(workflows![panics_when_evicted], "panics_when_evicted", ());
    env.first().commands();
    env.evict();
    assert_eq!(DROPPED.get(), 1);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["complete"]);
}

#[test]
fn an_activation_that_does_not_follow_the_last_one_asks_for_the_history() {
    use dacapo_runtime::{Activated, Activation, ExecutorFactory};
    let mut env = Env::start(workflows![race], "race", ());
    env.first().commands();
    let factory = dacapo::WorkflowExecutors::new(workflows![race]);
    let mut executor = factory.make();
    let mut activate = |events: &[dacapo_core::Event], from_start| {
        let activation = Activation { run: env.run.key, started: &env.run.started, events, from_start };
        executor.activate(activation)
    };
    assert!(matches!(activate(&env.history[3..], false), Activated::NeedsHistory), "it knows nothing");
    let started = env.history.iter().position(|event| event.event.name() == "WorkflowTaskStarted").unwrap();
    assert!(matches!(activate(&env.history[..=started], true), Activated::Completed { .. }));
    let mut gap = env.history[started].clone();
    gap.event_id += 10;
    assert!(matches!(activate(&[gap], false), Activated::NeedsHistory), "events are missing");
}

#[workflow]
async fn nothing_at_all(_ctx: WorkflowContext) -> Result<Payload, WorkflowError> {
    Ok(Payload::null())
}

#[test]
fn joining_nothing_and_ending_at_once_work() {
    let mut env = Env::start(workflows![nothing_at_all], "nothing_at_all", ());
    assert_eq!(short(&env.first().commands()), ["complete"]);
    let mut env = Env::start(workflows![fan_out], "fan_out", 0);
    assert_eq!(short(&env.first().commands()), ["complete"]);
    assert_eq!(join_all(Vec::<future::Ready<u8>>::new()).now_or_never(), Some(vec![]));
}
