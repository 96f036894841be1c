//! Non-determinism: each way in which code can differ from a history, and what the error says of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

mod harness;

use std::{
    cell::Cell,
    collections::HashMap,
    time::{Duration, SystemTime},
};

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, Signal, WorkflowTable},
    join, select, workflow,
};
use dacapo_core::{RetryPolicy, event::WorkflowTaskFailedCause as Cause};
use dacapo_runtime::Activated;
use harness::{Env, Input, completed, short, signal};
use serde_json::{Value, json};

const RESERVE: Activity<Value, Value, HasTimeout> = Activity::new("reserve").start_to_close(Duration::from_secs(10));
const CHARGE: Activity<Value, Value, HasTimeout> = Activity::new("charge").start_to_close(Duration::from_secs(10));
const SHIP: Activity<Value, Value, HasTimeout> = Activity::new("ship").start_to_close(Duration::from_secs(10));
const GO: Signal<u64> = Signal::new("go");

const SECOND: Duration = Duration::from_secs(1);

mod first_build {
    use super::*;

    #[workflow]
    pub(super) async fn order(ctx: WorkflowContext) -> Result<Value, WorkflowError> {
        ctx.activity(RESERVE, json!({"id": 4, "at": {"shelf": 1}})).await?;
        ctx.sleep(SECOND).await?;
        let receipt = ctx.activity(CHARGE, json!(4)).await?;
        ctx.activity(SHIP, json!(4)).await?;
        Ok(receipt)
    }
}

/// A run of the first build that waits for the shipment.
fn recorded() -> Env {
    let mut env = Env::start(workflows![first_build::order], "order", ());
    env.first().commands();
    env.step([completed(1, json!(null))]).commands();
    env.step([Input::TimerDue(2)]).commands();
    env.step([completed(3, json!({"paid": true}))]).commands();
    env
}

/// Deploys a build over the recorded run and lets the shipment complete: what the error says, or nothing.
fn deploy(table: WorkflowTable) -> Option<String> {
    let mut env = recorded();
    env.deploy(table);
    match env.step([completed(4, json!(null))]) {
        harness::Task::Completed { commands, .. } => {
            assert_eq!(short(&commands), ["complete"]);
            None
        }
        harness::Task::Failed { cause, failure } => {
            assert_eq!(cause, Cause::NonDeterministic, "{}", failure.message);
            assert_eq!(failure.error_type, "NonDeterministic");
            // The run is whole: the build that wrote it goes on.
            env.deploy(workflows![first_build::order]);
            assert_eq!(short(&env.step([]).commands()), ["complete"]);
            Some(failure.message)
        }
    }
}

/// Declares a second build of the workflow and gives what the error says about it.
macro_rules! second_build {
    (|$ctx:ident| $body:block) => {{
        #[workflow(name = "order")]
        async fn second_build($ctx: WorkflowContext) -> Result<Value, WorkflowError> {
            $body
        }
        deploy(workflows![second_build])
    }};
}

#[track_caller]
fn says(message: Option<String>, words: &[&str]) {
    let message = message.expect("the difference is found");
    for word in words.iter().chain(&["way out: "]) {
        assert!(message.contains(word), "`{word}` is not in:\n{message}");
    }
}

#[test]
fn the_same_code_fits() {
    assert_eq!(deploy(workflows![first_build::order]), None);
    recorded().replays_at_every_prefix();
}

#[test]
fn a_renamed_activity_is_shown_with_both_names_and_its_line() {
    const BILL: Activity<Value, Value, HasTimeout> = Activity::new("bill").start_to_close(SECOND);
    let message = second_build!(|ctx| {
        ctx.activity(RESERVE, json!({"id": 4, "at": {"shelf": 1}})).await?;
        ctx.sleep(SECOND).await?;
        let receipt = ctx.activity(BILL, json!(4)).await?;
        ctx.activity(SHIP, json!(4)).await?;
        Ok(receipt)
    });
    says(
        message,
        &[
            "history: event 16 ActivityTaskScheduled: activity 3 `charge` with input 4",
            "code:    ScheduleActivityTask: activity 3 `bill` with input 4, made at worker/tests/replay.rs:",
            "likely:  the activity was renamed or replaced",
        ],
    );
}

#[test]
fn reordered_calls_are_named_as_such() {
    let message = second_build!(|ctx| {
        ctx.sleep(SECOND).await?;
        ctx.activity(RESERVE, json!({"id": 4})).await.map_err(WorkflowError::from)
    });
    says(message, &["ActivityTaskScheduled: activity 1 `reserve`", "StartTimer: timer 1 of 1s", "likely:"]);

    #[workflow(name = "pair")]
    async fn one_way(ctx: WorkflowContext) -> Result<(), WorkflowError> {
        let _ = join!(ctx.activity(RESERVE, json!(1)), ctx.activity(CHARGE, json!(1)));
        Ok(())
    }
    #[workflow(name = "pair")]
    async fn other_way(ctx: WorkflowContext) -> Result<(), WorkflowError> {
        let _ = join!(ctx.activity(CHARGE, json!(1)), ctx.activity(RESERVE, json!(1)));
        Ok(())
    }
    let mut env = Env::start(workflows![one_way], "pair", ());
    env.first().commands();
    env.deploy(workflows![other_way]);
    let (cause, failure) = env.step([completed(1, json!(1))]).failure();
    assert_eq!(cause, Cause::NonDeterministic);
    says(Some(failure.message), &["activity 1 `reserve`", "activity 1 `charge`", "likely:  calls were reordered"]);
}

#[test]
fn a_removed_call_is_shown_with_what_the_code_does_instead() {
    let message = second_build!(|ctx| {
        ctx.activity(RESERVE, json!({"id": 4, "at": {"shelf": 1}})).await?;
        ctx.receive(&GO).await?;
        Ok(json!(null))
    });
    says(
        message,
        &[
            "TimerStarted: timer 2 of 1s",
            "code:    no further command in this task",
            "a call was removed or is made later",
            "timer",
        ],
    );
    let message = second_build!(|ctx| {
        ctx.activity(RESERVE, json!({"id": 4, "at": {"shelf": 1}})).await?;
        ctx.sleep(SECOND).await?;
        let receipt = ctx.activity(CHARGE, json!(4)).await?;
        Ok(receipt)
    });
    says(message, &["activity 4 `ship`", "code:    CompleteWorkflowExecution: {\"paid\":true}"]);
}

#[test]
fn an_added_call_is_shown_with_its_line() {
    let message = second_build!(|ctx| {
        let first = ctx.activity(RESERVE, json!({"id": 4, "at": {"shelf": 1}}));
        let (first, added) = join!(first, ctx.activity(SHIP, json!("early")));
        first?;
        Ok(added?)
    });
    says(
        message,
        &[
            "history: no further command in this task",
            "activity 2 `ship` with input \"early\", made at worker/tests/replay.rs:",
            "a call was added",
        ],
    );
}

#[test]
fn an_earlier_end_is_told_apart_from_an_added_call() {
    #[workflow(name = "waiting")]
    async fn waits(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
        ctx.receive(&GO).await
    }
    #[workflow(name = "waiting")]
    async fn ends(_ctx: WorkflowContext) -> Result<u64, WorkflowError> {
        Ok(3)
    }
    let mut env = Env::start(workflows![waits], "waiting", ());
    env.first().commands();
    env.deploy(workflows![ends]);
    let (_, failure) = env.step([signal("go", 1)]).failure();
    says(Some(failure.message), &["code:    CompleteWorkflowExecution: 3", "the code ends sooner than before"]);
}

#[test]
fn a_changed_timer_is_shown_with_both_lengths() {
    let message = second_build!(|ctx| {
        ctx.activity(RESERVE, json!({"id": 4, "at": {"shelf": 1}})).await?;
        ctx.sleep(2 * SECOND).await?;
        Ok(json!(null))
    });
    says(
        message,
        &[
            "timer 2 of 1s",
            "timer 2 of 2s, made at worker/tests/replay.rs:",
            "likely:  the length of the timer was changed",
        ],
    );
}

#[test]
fn a_branch_on_the_clock_is_found() {
    thread_local!(static LIMIT: Cell<SystemTime> = const { Cell::new(SystemTime::UNIX_EPOCH) });
    #[workflow]
    async fn asks_the_clock(ctx: WorkflowContext) -> Result<Value, WorkflowError> {
        let early = SystemTime::now() < LIMIT.get();
        Ok(ctx.activity(if early { RESERVE } else { SHIP }, json!(1)).await?)
    }
    LIMIT.set(SystemTime::now() + 3_600 * SECOND);
    let mut env = Env::start(workflows![asks_the_clock], "asks_the_clock", ());
    env.first().commands();
    env.evict();
    // Two hours later.
    LIMIT.set(SystemTime::now() - 3_600 * SECOND);
    let (cause, failure) = env.step([completed(1, json!(1))]).failure();
    assert_eq!(cause, Cause::NonDeterministic);
    says(Some(failure.message), &["activity 1 `reserve`", "activity 1 `ship`", "a clock, a random number"]);
}

#[test]
fn the_order_of_a_hash_map_is_found() {
    #[workflow]
    async fn follows_a_map(ctx: WorkflowContext) -> Result<(), WorkflowError> {
        let stock: HashMap<u64, u64> = (0..30).map(|item| (item, 1)).collect();
        for (item, _) in stock {
            ctx.activity(RESERVE, json!(item)).await?;
        }
        Ok(())
    }
    let mut env = Env::start(workflows![follows_a_map], "follows_a_map", ());
    env.first().commands();
    for item in 1..20 {
        env.step([completed(item, json!(null))]).commands();
    }
    env.evict();
    let (cause, failure) = env.step([completed(20, json!(null))]).failure();
    assert_eq!(cause, Cause::NonDeterministic);
    says(Some(failure.message), &["`reserve` with input", "the order of a `HashMap`"]);
}

#[test]
fn a_select_that_chooses_by_chance_is_found() {
    const A: Signal<u64> = Signal::new("a");
    const B: Signal<u64> = Signal::new("b");
    #[workflow]
    async fn chooses_by_chance(ctx: WorkflowContext) -> Result<(), WorkflowError> {
        ctx.receive(&GO).await?;
        for _ in 0..80 {
            // Both are ready, so that only chance decides.
            let item = tokio::select! {
                item = ctx.receive(&A) => item?,
                item = ctx.receive(&B) => item?,
            };
            drop(ctx.spawn(ctx.activity(if item == 1 { RESERVE } else { SHIP }, json!(1))));
        }
        ctx.receive(&GO).await?;
        Ok(())
    }
    let mut env = Env::start(workflows![chooses_by_chance], "chooses_by_chance", ());
    env.first().commands();
    env.step((0..80).flat_map(|_| [signal("a", 1), signal("b", 2)])).commands();
    env.step([signal("go", 1)]).commands();
    env.evict();
    let (cause, failure) = env.step([signal("go", 2)]).failure();
    assert_eq!(cause, Cause::NonDeterministic);
    says(Some(failure.message), &["`reserve`", "`ship`", "`select!` that is not this crate's"]);
}

#[test]
fn a_rollback_under_a_newer_history_is_found_and_named() {
    #[workflow(name = "order")]
    async fn newer(ctx: WorkflowContext) -> Result<Value, WorkflowError> {
        ctx.activity(RESERVE, json!(4)).await?;
        if ctx.patched("gift") {
            ctx.activity(SHIP, json!("gift")).await?;
        }
        ctx.receive(&GO).await?;
        Ok(json!(null))
    }
    #[workflow(name = "order")]
    async fn older(ctx: WorkflowContext) -> Result<Value, WorkflowError> {
        ctx.activity(RESERVE, json!(4)).await?;
        ctx.receive(&GO).await?;
        Ok(json!(null))
    }
    let mut env = Env::start(workflows![newer], "order", ());
    env.first().commands();
    env.step([completed(1, json!(null))]).commands();
    env.deploy(workflows![older]);
    let (cause, failure) = env.step([completed(2, json!(null))]).failure();
    assert_eq!(cause, Cause::NonDeterministic);
    says(Some(failure.message), &["patch `gift`", "older than the one that wrote the history: roll forward"]);
    assert_eq!(env.run.status, dacapo_core::RunStatus::Running, "the run stays open");
    env.deploy(workflows![newer]);
    env.step([signal("go", 1)]).commands();
    assert_eq!(env.result::<Value>(), json!(null));

    // Runs that did not come to the change yet go on under the older build.
    let mut env = Env::start(workflows![newer], "order", ());
    env.first().commands();
    env.deploy(workflows![older]);
    env.step([completed(1, json!(null))]).commands();
    env.step([signal("go", 1)]).commands();
    assert_eq!(env.result::<Value>(), json!(null));
}

#[test]
fn an_input_computed_differently_is_shown_and_one_whose_type_grew_is_not() {
    let build = |input: Value| {
        thread_local!(static INPUT: Cell<Option<Value>> = const { Cell::new(None) });
        #[workflow(name = "order")]
        async fn second_build(ctx: WorkflowContext) -> Result<Value, WorkflowError> {
            let input = INPUT.take().unwrap();
            INPUT.set(Some(input.clone()));
            ctx.activity(RESERVE, input).retry(RetryPolicy::attempts(9)).start_to_close(SECOND).await?;
            ctx.sleep(SECOND).await?;
            let receipt = ctx.activity(CHARGE, json!(4)).await?;
            ctx.activity(SHIP, json!(4)).await?;
            Ok(receipt)
        }
        INPUT.set(Some(input));
        deploy(workflows![second_build])
    };
    says(build(json!({"id": 5, "at": {"shelf": 1}})), &["\"id\":4", "\"id\":5", "a clock, a random number"]);
    says(build(json!({"id": 4, "at": {"shelf": 2}})), &["\"shelf\":2"]);
    says(build(json!("4")), &["likely:  the input of the call is computed differently"]);
    assert_eq!(build(json!({"at": {"shelf": 1, "row": 8}, "id": 4, "gift": false})), None, "fields were added");
    assert_eq!(build(json!({"id": 4})), None, "a field was removed");
}

#[test]
fn a_cancel_that_history_does_not_have_is_shown() {
    #[workflow(name = "holding")]
    async fn keeps(ctx: WorkflowContext) -> Result<(), WorkflowError> {
        let mut timer = ctx.sleep(SECOND);
        select! {
            _ = &mut timer => {},
            _ = ctx.receive(&GO) => timer.await?,
        }
        Ok(())
    }
    #[workflow(name = "holding")]
    async fn drops(ctx: WorkflowContext) -> Result<(), WorkflowError> {
        select! {
            _ = ctx.sleep(SECOND) => {},
            _ = ctx.receive(&GO) => {},
        }
        ctx.receive(&GO).await?;
        Ok(())
    }
    for (first, second, words) in [
        (workflows![keeps], workflows![drops], ["history: no further command", "code:    CancelTimer: timer 1"]),
        (
            workflows![drops],
            workflows![keeps],
            ["history: event 10 TimerCanceled: timer 1", "code:    no further command"],
        ),
    ] {
        let mut env = Env::start(first, "holding", ());
        env.first().commands();
        env.step([signal("go", 1)]).commands();
        env.deploy(second);
        let (_, failure) = env.step([signal("other", ())]).failure();
        says(Some(failure.message), &words);
    }
}

#[test]
fn events_of_tries_that_failed_are_delivered_with_the_next_completed_task() {
    #[workflow(name = "order")]
    async fn broken(ctx: WorkflowContext) -> Result<Value, WorkflowError> {
        ctx.activity(RESERVE, json!(1)).await?;
        panic!("a bug");
    }
    #[workflow(name = "order")]
    async fn repaired(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
        ctx.activity(RESERVE, json!(1)).await?;
        let (first, second) = (ctx.receive(&GO).await?, ctx.receive(&GO).await?);
        ctx.sleep(SECOND).await?;
        Ok(first * 10 + second)
    }
    let mut env = Env::start(workflows![broken], "order", ());
    env.first().commands();
    env.step([signal("go", 1), completed(1, json!(1))]).failure();
    env.step([signal("go", 2)]).failure();
    env.deploy(workflows![repaired]);
    assert_eq!(short(&env.step([]).commands()), ["+2"]);
    assert!(env.event_names().contains(&"WorkflowTaskFailed"));
    env.step([Input::TimerDue(2)]).commands();
    assert_eq!(env.result::<u64>(), 12);
    env.replays_at_every_prefix();
}

#[test]
fn a_closed_run_is_replayed_to_its_end() {
    let mut env = recorded();
    env.step([completed(4, json!(null))]).commands();
    let whole = env.history.len();
    match env.replay(whole) {
        Activated::Completed { commands, .. } => assert_eq!(commands, [], "nothing is left to do"),
        other => panic!("{other:?}"),
    }

    #[workflow(name = "order")]
    async fn other_result(ctx: WorkflowContext) -> Result<Value, WorkflowError> {
        ctx.activity(RESERVE, json!({"id": 4})).await?;
        ctx.sleep(SECOND).await?;
        ctx.activity(CHARGE, json!(4)).await?;
        Ok(ctx.activity(SHIP, json!(4)).await?)
    }
    env.deploy(workflows![other_result]);
    let Activated::Failed { cause, failure } = env.replay(whole) else { panic!("the results differ") };
    assert_eq!(cause, Cause::NonDeterministic);
    says(
        Some(failure.message),
        &[
            "WorkflowExecutionCompleted: {\"paid\":true}",
            "CompleteWorkflowExecution: null",
            "the outcome is computed differently",
        ],
    );
}
