//! A request to cancel a run: what it reaches, what it does not, and how the run ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

mod harness;

use std::time::Duration;

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, Signal},
    join, select, workflow,
};
use dacapo_core::{CancellationType, Command, RunStatus, event::WorkflowTaskFailedCause as Cause};
use futures_util::StreamExt;
use harness::{Env, Input, completed, short, signal};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const GO: Signal<u64> = Signal::new("go");
const SECOND: Duration = Duration::from_secs(1);

#[workflow]
async fn waits_for_all(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let (call, timer, signal) = join!(ctx.activity(WORK, 1), ctx.sleep(SECOND), ctx.receive(&GO));
    assert!(call.as_ref().unwrap_err().is_cancelled());
    assert_eq!((timer, signal), (Err(WorkflowError::Cancelled), Err(WorkflowError::Cancelled)));
    assert!(ctx.is_cancel_requested());
    call?;
    Ok(())
}

#[test]
fn every_outstanding_call_ends_as_cancelled_and_the_run_with_it() {
    let mut env = Env::start(workflows![waits_for_all], "waits_for_all", ());
    assert_eq!(short(&env.first().commands()), ["+1", "+2"]);
    assert_eq!(short(&env.step([Input::Cancel]).commands()), ["cancel"]);
    assert_eq!(env.run.status, RunStatus::Canceled);
    env.replays_at_every_prefix();
}

#[workflow]
async fn goes_on(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let (call, timer) = join!(ctx.activity(WORK, 1), ctx.sleep(SECOND));
    assert!(call.unwrap_err().is_cancelled() && timer.unwrap_err().is_cancelled());
    assert!(ctx.activity(WORK, 2).await.unwrap_err().is_cancelled(), "what comes after is cancelled too");
    assert!(ctx.sleep(SECOND).await.is_err());
    let undone = ctx.shielded(async { Ok::<_, WorkflowError>(ctx.activity(WORK, 3).await? + ctx.receive(&GO).await?) });
    undone.await
}

#[test]
fn clean_up_in_a_shield_runs_and_a_run_may_complete_all_the_same() {
    let mut env = Env::start(workflows![goes_on], "goes_on", ());
    env.first().commands();
    assert_eq!(short(&env.step([Input::Cancel]).commands()), ["-1", "-2", "+5"]);
    assert_eq!(short(&env.step([Input::Canceled(1)]).commands()), Vec::<String>::new());
    env.step([completed(5, 30)]).commands();
    assert_eq!(short(&env.step([signal("go", 4)]).commands()), ["complete"]);
    assert_eq!(env.result::<u64>(), 34);
    env.replays_at_every_prefix();
}

#[workflow]
async fn shielded_from_the_start(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let (kept, lost) = join!(ctx.shielded(ctx.activity(WORK, 1)), ctx.activity(WORK, 2));
    assert!(lost.is_err());
    Ok(kept?)
}

#[test]
fn a_request_does_not_reach_into_a_shield() {
    let mut env = Env::start(workflows![shielded_from_the_start], "shielded_from_the_start", ());
    env.first().commands();
    assert_eq!(short(&env.step([Input::Cancel]).commands()), ["-2"]);
    env.step([completed(1, 5)]).commands();
    assert_eq!(env.result::<u64>(), 5);
    env.replays_at_every_prefix();
}

#[workflow]
async fn by_type(ctx: WorkflowContext) -> Result<Vec<String>, WorkflowError> {
    let call = |cancellation| {
        let call = ctx.activity(WORK, 1).cancellation(cancellation);
        async move {
            match call.await {
                Ok(value) => value.to_string(),
                Err(failure) => failure.message().to_owned(),
            }
        }
    };
    let (tried, waited, late, left) = join!(
        call(CancellationType::TryCancel),
        call(CancellationType::WaitCancellationCompleted),
        call(CancellationType::WaitCancellationCompleted),
        call(CancellationType::Abandon),
    );
    ctx.shielded(ctx.receive(&GO)).await?;
    Ok(vec![tried, waited, late, left])
}

#[test]
fn the_cancellation_type_says_what_the_code_sees_and_waits_for() {
    let mut env = Env::start(workflows![by_type], "by_type", ());
    env.first().commands();
    assert_eq!(short(&env.step([Input::Cancel]).commands()), ["-1", "-2", "-3"]);
    env.step([completed(1, 10), completed(4, 40), Input::Canceled(2)]).commands();
    env.step([signal("go", 1)]).commands();
    assert_eq!(short(&env.step([completed(3, 30)]).commands()), ["complete"]);
    assert_eq!(
        env.result::<Vec<String>>(),
        [
            "the call was cancelled with its run",
            "the activity was cancelled",
            "30",
            "the call was cancelled with its run",
        ]
    );
    env.replays_at_every_prefix();
}

#[test]
fn what_ends_later_in_the_task_of_the_request_is_not_asked_to_stop() {
    let mut env = Env::start(workflows![by_type], "by_type", ());
    env.first().commands();
    let commands = env.step([Input::Cancel, completed(1, 10), completed(2, 20)]).commands();
    assert_eq!(short(&commands), ["-3"]);
    env.step([Input::Canceled(3)]).commands();
    env.step([signal("go", 1)]).commands();
    assert_eq!(env.result::<Vec<String>>()[..2], ["the call was cancelled with its run", "20"]);
    env.replays_at_every_prefix();
}

#[test]
fn an_outcome_before_the_request_counts() {
    let mut env = Env::start(workflows![by_type], "by_type", ());
    env.first().commands();
    assert_eq!(short(&env.step([completed(1, 10), Input::Cancel]).commands()), ["-2", "-3"]);
    env.step([Input::Canceled(2), Input::Canceled(3), signal("go", 1)]).commands();
    assert_eq!(env.result::<Vec<String>>()[0], "10");
    env.replays_at_every_prefix();
}

#[test]
fn a_request_with_the_start_leaves_nothing_that_was_just_asked_for() {
    let mut env = Env::start(workflows![waits_for_all], "waits_for_all", ());
    assert_eq!(short(&env.step([Input::Cancel]).commands()), ["cancel"]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn drops_calls(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    for cancellation in
        [CancellationType::TryCancel, CancellationType::WaitCancellationCompleted, CancellationType::Abandon]
    {
        select! {
            value = ctx.activity(WORK, 1).cancellation(cancellation) => drop(value),
            value = ctx.receive(&GO) => drop(value),
        }
    }
    ctx.receive(&GO).await?;
    Ok(())
}

#[test]
fn a_dropped_call_is_asked_to_stop_unless_it_is_abandoned() {
    let mut env = Env::start(workflows![drops_calls], "drops_calls", ());
    env.first().commands();
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["-1", "+2"]);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["-2", "+3"]);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), Vec::<String>::new());
    env.step([Input::Canceled(1), completed(3, 1)]).commands();
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["complete"]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn serves_until_cancelled(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let mut sum = 0;
    let mut signals = ctx.stream(&GO);
    while let Some(value) = signals.next().await {
        sum += value;
    }
    ctx.cancelled().await;
    Ok(sum)
}

#[test]
fn a_stream_gives_what_waits_and_ends_with_the_request() {
    let mut env = Env::start(workflows![serves_until_cancelled], "serves_until_cancelled", ());
    env.first().commands();
    env.step([signal("go", 1)]).commands();
    assert_eq!(short(&env.step([signal("go", 2), Input::Cancel]).commands()), ["complete"]);
    assert_eq!(env.result::<u64>(), 3);
    env.replays_at_every_prefix();
}

#[workflow]
async fn decides_itself(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    select! {
        () = ctx.cancelled() => Err(WorkflowError::failed("Stopped", "in good order")),
        _ = ctx.activity(WORK, 1) => Ok(()),
    }
}

#[test]
fn another_error_after_a_request_fails_the_run() {
    let mut env = Env::start(workflows![decides_itself], "decides_itself", ());
    env.first().commands();
    let commands = env.step([Input::Cancel]).commands();
    let [Command::FailWorkflowExecution { failure }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((failure.error_type.as_str(), failure.message.as_str()), ("Stopped", "in good order"));
    env.replays_at_every_prefix();
}

#[workflow]
async fn ignores_cancellation(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    loop {
        let _ = ctx.sleep(SECOND).await;
    }
}

#[test]
fn a_loop_over_cancelled_calls_fails_its_task_and_does_not_hang() {
    let mut env = Env::start(workflows![ignores_cancellation], "ignores_cancellation", ());
    env.first().commands();
    let (cause, failure) = env.step([Input::Cancel]).failure();
    assert_eq!(cause, Cause::NoProgress);
    assert!(failure.message.contains("return the error of a cancelled call with `?`"), "{}", failure.message);
    assert!(failure.position.unwrap().contains("cancellation.rs:"));
}

#[workflow]
async fn cancelled_of_itself(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Err(WorkflowError::Cancelled)
}

#[test]
fn a_cancelled_error_without_a_request_is_a_failure() {
    let mut env = Env::start(workflows![cancelled_of_itself], "cancelled_of_itself", ());
    assert_eq!(short(&env.first().commands()), ["fail"]);
}
