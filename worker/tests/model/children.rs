//! Child workflows.

use std::time::Duration;

use dacapo::{
    ChildFailure, WorkflowContext, WorkflowError,
    define::{Signal, Workflow},
    join, select, workflow,
};
use dacapo_core::{
    ChildCancellationType, Command, Failure, FailureKind, IdReusePolicy, ParentClosePolicy, RetryPolicy, RetryState,
    RunStatus,
    child::ChildOutcome,
    outbox::{OutboxAnswer, StartChildWorkflowExecutionFailedCause, TargetRun},
};
use futures_util::future::try_join_all;

use crate::{
    harness::{Env, Input, child_completed, child_started, short, signal},
    workflows,
};

const PACK: Workflow<u64, u64> = Workflow::new("pack");
const GO: Signal<u64> = Signal::new("go");

#[workflow]
async fn doubles(_ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    Ok(n * 2)
}

#[workflow]
async fn one_child(ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    Ok(ctx.child(doubles, n).await? + 1)
}

#[test]
fn a_child_is_started_by_value_and_gives_its_result() {
    let mut env = Env::start(workflows![one_child], "one_child", 4);
    let commands = env.first().commands();
    let [Command::StartChildWorkflowExecution { workflow_id, workflow_type, input, options, .. }] = &commands[..]
    else {
        panic!("{commands:?}")
    };
    assert_eq!((workflow_type.as_str(), input.as_json()), ("doubles", "4"));
    assert_eq!(workflow_id.as_str(), format!("{}/1", env.run.key.run_id), "an id that no other call ever has");
    assert_eq!(options.parent_close_policy, ParentClosePolicy::Terminate);
    assert_eq!(env.step([child_started(1)]).commands(), []);
    assert_eq!(short(&env.step([child_completed(1, 8)]).commands()), ["complete"]);
    assert_eq!(env.result::<u64>(), 9);
    env.replays_at_every_prefix();
}

#[workflow]
async fn with_every_option(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let second = Duration::from_secs(1);
    let child = ctx
        .child(PACK, 7)
        .id("parcel-7")
        .task_queue("packing")
        .execution_timeout(second * 4)
        .run_timeout(second * 3)
        .task_timeout(second * 2)
        .retry(RetryPolicy::attempts(3))
        .reuse_policy(IdReusePolicy::RejectDuplicate)
        .parent_close_policy(ParentClosePolicy::Abandon)
        .cancellation(ChildCancellationType::TryCancel)
        .memo(&serde_json::json!({"by": "parent"}))
        .search_attributes(&serde_json::json!({"Customer": "x"}))
        .priority(1);
    Ok(child.await?)
}

#[test]
fn every_option_reaches_the_command() {
    let mut env = Env::start(workflows![with_every_option], "with_every_option", ());
    let commands = env.first().commands();
    let [Command::StartChildWorkflowExecution { workflow_id, workflow_type, options, .. }] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!((workflow_id.as_str(), workflow_type.as_str()), ("parcel-7", "pack"));
    assert_eq!(options.task_queue.as_ref().unwrap().as_str(), "packing");
    let timeouts = (options.execution_timeout_ms, options.run_timeout_ms, options.task_timeout_ms);
    assert_eq!(timeouts, (Some(4_000), Some(3_000), Some(2_000)));
    assert_eq!(options.retry_policy, Some(RetryPolicy::attempts(3)));
    assert_eq!(options.reuse_policy, IdReusePolicy::RejectDuplicate);
    assert_eq!((options.parent_close_policy, options.priority), (ParentClosePolicy::Abandon, Some(1)));
    assert_eq!(options.memo.as_ref().unwrap().as_json(), r#"{"by":"parent"}"#);
    assert_eq!(options.search_attributes.as_ref().unwrap().as_json(), r#"{"Customer":"x"}"#);
    env.step([child_completed(1, 3)]).commands();
    assert_eq!(env.result::<u64>(), 3);
    env.replays_at_every_prefix();
}

#[workflow]
async fn says_how(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let failed: ChildFailure = ctx.child(PACK, 1).id("parcel").await.unwrap_err();
    let kind = (failed.is_cancelled(), failed.is_terminated(), failed.is_timeout(), failed.is_already_exists());
    Ok(format!("{failed} | {} | {kind:?} | {:?}", failed.workflow_id(), failed.retry_state()))
}

#[test]
fn a_failure_says_which_child_and_why() {
    let refused: fn(u64) -> OutboxAnswer = |child_id| OutboxAnswer::StartChildFailed {
        child_id,
        cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
    };
    let failure = Failure::application("Fragile", "it broke");
    let expired = ChildOutcome::Failed { failure, retry_state: RetryState::MaximumAttemptsReached };
    let cases = [
        (
            Input::ChildClosed(1, expired),
            "child workflow `pack` (parcel) failed: Fragile: it broke (all attempts are used up) | parcel | \
             (false, false, false, false) | Some(MaximumAttemptsReached)",
        ),
        (
            Input::ChildClosed(1, ChildOutcome::Canceled(None)),
            "child workflow `pack` (parcel) failed: Canceled: the child was cancelled | parcel | \
             (true, false, false, false) | None",
        ),
        (
            Input::ChildClosed(1, ChildOutcome::Terminated { reason: "too late".to_owned() }),
            "child workflow `pack` (parcel) failed: Terminated: too late | parcel | (false, true, false, false) | None",
        ),
        (
            Input::ChildClosed(1, ChildOutcome::TimedOut { retry_state: RetryState::RetryPolicyNotSet }),
            "child workflow `pack` (parcel) failed: Timeout: the child took longer than allowed | parcel | \
             (false, false, true, false) | Some(RetryPolicyNotSet)",
        ),
        (
            Input::Answer(1, refused),
            "child workflow `pack` (parcel) failed: WorkflowAlreadyExists: an open run has this workflow id, or its \
             reuse is refused | parcel | (false, false, false, true) | None",
        ),
    ];
    for (input, expected) in cases {
        let mut env = Env::start(workflows![says_how], "says_how", ());
        env.first().commands();
        env.step([input]).commands();
        assert_eq!(env.result::<String>(), expected);
        env.replays_at_every_prefix();
    }
}

#[test]
fn an_unhandled_failure_of_a_child_fails_its_parent_with_it_as_the_cause() {
    let mut env = Env::start(workflows![one_child], "one_child", 4);
    env.first().commands();
    let failure = Failure::application("Fragile", "it broke");
    let outcome = ChildOutcome::Failed { failure: failure.clone(), retry_state: RetryState::RetryPolicyNotSet };
    let commands = env.step([Input::ChildClosed(1, outcome)]).commands();
    let [Command::FailWorkflowExecution { failure: failed }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((failed.kind, failed.cause.as_deref()), (FailureKind::ChildWorkflow, Some(&failure)));
    env.replays_at_every_prefix();
}

#[workflow]
async fn many(ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    Ok(try_join_all((0..n).map(|i| ctx.child(PACK, i))).await?.into_iter().sum())
}

#[test]
fn a_thousand_children_of_one_parent() {
    let mut env = Env::start(workflows![many], "many", 1_000);
    assert_eq!(env.first().commands().len(), 1_000);
    assert_eq!(env.step((1..=1_000).map(child_started).collect::<Vec<_>>()).commands(), []);
    let mut order: Vec<u64> = (1..=1_000).collect();
    order.sort_by_key(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for chunk in order.chunks(97) {
        env.step(chunk.iter().map(|id| child_completed(*id, *id)).collect::<Vec<_>>()).commands();
    }
    assert_eq!(env.result::<u64>(), 500_500);
    env.replays_at_every_prefix();
}

#[workflow]
async fn talks_to_its_child(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let mut child = ctx.child(PACK, 1).start().await?;
    let first_run = child.run_id();
    ctx.receive(&GO).await?;
    child.signal(&GO, 5).await?;
    let early = select! {
        result = child.result() => Some(result?),
        _ = ctx.receive(&GO) => None,
    };
    assert_eq!((early, child.run_id()), (None, first_run));
    child.cancel("enough");
    child.cancel("said twice");
    Ok(child.result().await.unwrap_or(0) + child.result().await.unwrap_or(70))
}

#[test]
fn a_handle_signals_cancels_and_gives_the_result_as_often_as_it_is_asked() {
    let mut env = Env::start(workflows![talks_to_its_child], "talks_to_its_child", ());
    env.first().commands();
    env.step([child_started(1)]).commands();
    let commands = env.step([signal("go", 1)]).commands();
    let [Command::SignalExternalWorkflowExecution { signal_id: 2, target, signal_name, input }] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!((signal_name.as_str(), input.as_json()), ("go", "5"));
    let first_run = env.run.child(1).unwrap().initiated.run_id;
    assert_eq!(target.run, TargetRun::Chain(first_run), "no stranger under the same id gets it");
    env.step([Input::Answer(2, |signal_id| OutboxAnswer::Signaled { signal_id })]).commands();
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["-1"], "asked once, and not by the lost race");
    env.evict();
    env.step([Input::ChildClosed(1, ChildOutcome::Canceled(None))]).commands();
    assert_eq!(env.result::<u64>(), 70);
    env.replays_at_every_prefix();
}

#[workflow]
async fn by_type(ctx: WorkflowContext) -> Result<Vec<String>, WorkflowError> {
    let call = |cancellation| {
        let child = ctx.child(PACK, 1).cancellation(cancellation);
        async move {
            match child.await {
                Ok(value) => value.to_string(),
                Err(failure) => failure.message().to_owned(),
            }
        }
    };
    let (waited, tried, left, requested) = join!(
        call(ChildCancellationType::WaitCancellationCompleted),
        call(ChildCancellationType::TryCancel),
        call(ChildCancellationType::Abandon),
        call(ChildCancellationType::WaitCancellationRequested),
    );
    ctx.shielded(ctx.receive(&GO)).await?;
    Ok(vec![waited, tried, left, requested])
}

#[test]
fn the_cancellation_type_of_a_child_says_what_the_parent_sees_and_waits_for() {
    let mut env = Env::start(workflows![by_type], "by_type", ());
    env.first().commands();
    env.step((1..=4).map(child_started).collect::<Vec<_>>()).commands();
    assert_eq!(short(&env.step([Input::Cancel]).commands()), ["-1", "-2", "-4"]);
    env.step([Input::Answer(4, |cancel_id| OutboxAnswer::CancelRequested { cancel_id }), child_completed(3, 3)])
        .commands();
    env.step([signal("go", 1)]).commands();
    assert_eq!(short(&env.step([child_completed(1, 1)]).commands()), ["complete"]);
    let cancelled = "the call was cancelled with its parent";
    assert_eq!(env.result::<Vec<String>>(), ["1", cancelled, cancelled, cancelled]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn drops_a_child(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    for cancellation in [ChildCancellationType::WaitCancellationCompleted, ChildCancellationType::Abandon] {
        select! {
            _ = ctx.child(PACK, 1).cancellation(cancellation) => {}
            _ = ctx.receive(&GO) => {}
        }
    }
    drop(ctx.child(PACK, 3).start().await?);
    ctx.receive(&GO).await
}

#[test]
fn a_dropped_call_cancels_its_child_and_a_dropped_handle_does_not() {
    let mut env = Env::start(workflows![drops_a_child], "drops_a_child", ());
    env.first().commands();
    env.step([child_started(1)]).commands();
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["-1", "+2"]);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["+3"]);
    assert_eq!(env.step([child_started(3)]).commands(), []);
    assert_eq!(short(&env.step([signal("go", 9)]).commands()), ["complete"], "which its policy is for");
    assert_eq!(env.run.status, RunStatus::Completed);
    env.replays_at_every_prefix();
}

#[test]
fn a_child_that_ends_in_the_task_of_the_cancellation_is_not_asked() {
    let mut env = Env::start(workflows![one_child], "one_child", 4);
    env.first().commands();
    env.step([child_started(1)]).commands();
    assert_eq!(short(&env.step([Input::Cancel, child_completed(1, 8)]).commands()), ["complete"]);
    assert_eq!(env.result::<u64>(), 9, "the parent waits for what the child comes to");
    env.replays_at_every_prefix();
}

#[workflow]
async fn leaves_a_child(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    drop(ctx.spawn(ctx.child(PACK, 1).parent_close_policy(ParentClosePolicy::Abandon)));
    drop(ctx.spawn(ctx.child(PACK, 2)));
    Ok(())
}

#[test]
fn a_child_that_is_to_outlive_its_parent_is_started_with_the_parents_last_step() {
    let mut env = Env::start(workflows![leaves_a_child], "leaves_a_child", ());
    assert_eq!(short(&env.first().commands()), ["+1", "complete"], "the other would be terminated at once");
    assert_eq!(env.last.as_ref().unwrap().outbox.len(), 1);
    env.replays_at_every_prefix();
}
