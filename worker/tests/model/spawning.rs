//! Futures that go on beside the code.

use std::{rc::Rc, time::Duration};

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, Signal},
    workflow,
};
use futures_util::lock::Mutex;

use crate::{
    harness::{Env, Input, completed, short, signal},
    workflows,
};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const GO: Signal<u64> = Signal::new("go");

#[workflow]
async fn spawns(ctx: WorkflowContext, n: u64) -> Result<Vec<u64>, WorkflowError> {
    let mut handles = Vec::new();
    for i in 0..n {
        let inner = ctx.clone();
        handles.push(ctx.spawn(async move {
            let first = inner.activity(WORK, i).await?;
            inner.activity(WORK, first).await
        }));
    }
    ctx.receive(&GO).await?;
    assert!(handles[0].is_finished(), "it went on while nobody awaited it");
    let mut results = Vec::new();
    for handle in handles {
        results.push(handle.await?);
    }
    Ok(results)
}

#[test]
fn spawned_futures_begin_at_once_and_go_on_while_nobody_awaits_them() {
    let mut env = Env::start(workflows![spawns], "spawns", 3);
    assert_eq!(short(&env.first().commands()), ["+1", "+2", "+3"]);
    assert_eq!(short(&env.step([completed(1, 10)]).commands()), ["+4"]);
    env.step([completed(4, 11)]).commands();
    env.evict();
    assert_eq!(short(&env.step([signal("go", 1), completed(3, 30), completed(2, 20)]).commands()), ["+5", "+6"]);
    env.step([completed(5, 31), completed(6, 21)]).commands();
    assert_eq!(env.result::<Vec<u64>>(), [11, 21, 31]);
    env.replays_at_every_prefix();
}

#[test]
fn a_thousand_spawned_futures() {
    let mut env = Env::start(workflows![spawns], "spawns", 1_000);
    assert_eq!(env.first().commands().len(), 1_000);
    env.step((1..=1_000).map(|id| completed(id, id)).collect::<Vec<_>>()).commands();
    env.step((1_001..=2_000).map(|id| completed(id, id)).collect::<Vec<_>>()).commands();
    env.step([signal("go", 1)]).commands();
    assert_eq!(env.result::<Vec<u64>>(), (1_001..=2_000).collect::<Vec<_>>());
    env.replays_at_every_prefix();
}

async fn work(ctx: WorkflowContext) -> Option<u64> {
    ctx.activity(WORK, 1).await.ok()
}

#[workflow]
async fn aborts(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let aborted = ctx.spawn(work(ctx.clone()));
    drop(ctx.spawn(ctx.shielded(work(ctx.clone()))));
    ctx.receive(&GO).await?;
    aborted.abort();
    ctx.cancelled().await;
    ctx.shielded(ctx.receive(&GO)).await?;
    Ok(())
}

#[test]
fn an_aborted_future_gives_up_its_calls_and_a_forgotten_one_ends_with_the_code() {
    let mut env = Env::start(workflows![aborts], "aborts", ());
    assert_eq!(short(&env.first().commands()), ["+1", "+2"]);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["-1"]);
    assert_eq!(env.step([Input::Cancel]).commands(), [], "its shield went with it");
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["complete"]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn shares_a_lock(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let shared = Rc::new(Mutex::new(0));
    let (theirs, inner) = (Rc::clone(&shared), ctx.clone());
    let writer = ctx.spawn(async move {
        let mut value = theirs.lock().await;
        *value = inner.activity(WORK, 1).await.unwrap_or(0);
    });
    let value = *shared.lock().await;
    writer.await;
    Ok(value)
}

#[test]
fn a_lock_that_a_spawned_future_holds_across_an_await() {
    let mut env = Env::start(workflows![shares_a_lock], "shares_a_lock", ());
    env.first().commands();
    env.step([completed(1, 8)]).commands();
    assert_eq!(env.result::<u64>(), 8);
    env.replays_at_every_prefix();
}
