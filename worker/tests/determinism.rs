//! What workflow code may do, and that it replays equal.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

mod harness;

use std::{cell::Cell, rc::Rc, time::Duration};

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, Query, Signal},
    select, workflow,
};
use dacapo_core::{Command, Payload};
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
    let Task::Completed { commands, published, .. } = env.step([completed(1, 10)]) else { panic!() };
    assert_eq!(short(&commands), ["+2"]);
    assert_eq!(published, [("progress".to_owned(), json(0))]);
    assert_eq!(short(&env.step([Input::TimerDue(2)]).commands()), ["+3"]);
    env.evict();
    let Task::Completed { commands, published, .. } = env.step([completed(3, 30)]) else { panic!() };
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

#[workflow]
async fn buffered_in_order(ctx: WorkflowContext, n: u64) -> Result<Vec<u64>, WorkflowError> {
    let calls = stream::iter(0..n).map(|i| ctx.activity(WORK, i)).buffered(10);
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

#[test]
fn a_buffered_stream_in_order_begins_the_next_call_when_its_first_has_ended() {
    let mut env = Env::start(workflows![buffered_in_order], "buffered_in_order", 12);
    assert_eq!(env.first().commands().len(), 10);
    assert_eq!(short(&env.step((2..=10).map(|id| completed(id, id)).collect::<Vec<_>>()).commands()), [""; 0]);
    assert_eq!(short(&env.step([completed(1, 1)]).commands()), ["+11", "+12"]);
    env.step([completed(12, 12), completed(11, 11)]).commands();
    assert_eq!(env.result::<Vec<u64>>(), (1..=12).collect::<Vec<_>>());
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
async fn tokios_lock_and_queue(ctx: WorkflowContext, n: u64) -> Result<Vec<u64>, WorkflowError> {
    let log = tokio::sync::Mutex::new(Vec::new());
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let writers = try_join_all((0..n).map(|i| {
        let (log, ctx, sender) = (&log, &ctx, sender.clone());
        async move {
            // Held across the await: one call at a time.
            let mut log = log.lock().await;
            log.push(ctx.activity(WORK, i).await?);
            sender.send(i).await.unwrap();
            Ok::<_, WorkflowError>(())
        }
    }));
    let reader = async {
        for _ in 0..n {
            receiver.recv().await.unwrap();
        }
        Ok(())
    };
    dacapo::try_join!(writers, reader)?;
    Ok(log.into_inner())
}

#[test]
fn a_lock_held_across_an_await_lets_one_call_at_a_time() {
    let mut env = Env::start(workflows![tokios_lock_and_queue], "tokios_lock_and_queue", 40);
    assert_eq!(short(&env.first().commands()), ["+1"]);
    for id in 1..40 {
        assert_eq!(short(&env.step([completed(id, id * 2)]).commands()), [format!("+{}", id + 1)]);
        if id == 20 {
            env.evict();
        }
    }
    env.step([completed(40, 80)]).commands();
    assert_eq!(env.result::<Vec<u64>>(), (1..=40).map(|id| id * 2).collect::<Vec<_>>());
    env.replays_at_every_prefix();
}

#[workflow]
async fn draws(ctx: WorkflowContext) -> Result<(u64, String, u128), WorkflowError> {
    let before = ctx.random().u64();
    ctx.sleep(SECOND).await?;
    assert_ne!(before, ctx.random().u64());
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
