//! Signals and requests to cancel for other runs.

use dacapo::{ExternalFailure, WorkflowContext, WorkflowError, define::Signal, join, workflow};
use dacapo_core::{
    Command,
    command::CancelTarget,
    outbox::{ExternalWorkflowExecutionFailedCause as Cause, OutboxAnswer, TargetRun},
};
use uuid::Uuid;

use crate::{
    harness::{Env, Input, short, signal},
    workflows,
};

const GO: Signal<u64> = Signal::new("go");

#[workflow]
async fn calls_others(ctx: WorkflowContext) -> Result<Vec<Result<(), String>>, WorkflowError> {
    let run = dacapo_core::RunId(Uuid::from_u128(9));
    let (open, other) = (ctx.external("open"), ctx.external("other").run(run).namespace("far"));
    let calls = join!(open.signal(&GO, 5), other.signal(&GO, 6), open.cancel("enough"), other.cancel("gone"));
    let said = |result: Result<(), ExternalFailure>| result.map_err(|failure| failure.to_string());
    Ok(vec![said(calls.0), said(calls.1), said(calls.2), said(calls.3)])
}

#[test]
fn signals_and_requests_reach_other_runs_or_say_why_not() {
    let mut env = Env::start(workflows![calls_others], "calls_others", ());
    let commands = env.first().commands();
    assert_eq!(short(&commands), ["+1", "+2", "+3", "+4"]);
    let Command::SignalExternalWorkflowExecution { target, signal_name, input, .. } = &commands[1] else { panic!() };
    assert_eq!((target.namespace.as_str(), target.workflow_id.as_str()), ("far", "other"));
    assert_eq!(target.run, TargetRun::Run(dacapo_core::RunId(Uuid::from_u128(9))));
    assert_eq!((signal_name.as_str(), input.as_json()), ("go", "6"));
    let Command::RequestCancelExternalWorkflowExecution { target, reason } = &commands[2] else { panic!() };
    let CancelTarget::External { target, .. } = target else { panic!("{target:?}") };
    assert_eq!((target.run, reason.as_str()), (TargetRun::Open, "enough"));
    let too_many: fn(u64) -> OutboxAnswer =
        |signal_id| OutboxAnswer::SignalFailed { signal_id, cause: Cause::SignalCountLimitExceeded };
    let not_found: fn(u64) -> OutboxAnswer =
        |cancel_id| OutboxAnswer::CancelFailed { cancel_id, cause: Cause::ExternalWorkflowExecutionNotFound };
    env.step([Input::Answer(1, |signal_id| OutboxAnswer::Signaled { signal_id }), Input::Answer(2, too_many)])
        .commands();
    env.evict();
    env.step([Input::Answer(3, |cancel_id| OutboxAnswer::CancelRequested { cancel_id }), Input::Answer(4, not_found)])
        .commands();
    assert_eq!(
        env.result::<Vec<Result<(), String>>>(),
        [
            Ok(()),
            Err("workflow `other` has received as many signals as a run may: let it continue as new".to_owned()),
            Ok(()),
            Err("workflow `other` has no open run that could be reached".to_owned()),
        ]
    );
    env.replays_at_every_prefix();
}

#[workflow]
async fn sends_on(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let value = ctx.receive(&GO).await?;
    let sent = ctx.external("next").signal(&GO, value).await;
    let late = ctx.external("next").signal(&GO, 0).await;
    assert!(matches!(late, Err(ExternalFailure::Cancelled { .. })), "nothing is sent any more");
    sent?;
    Ok(value)
}

#[test]
fn what_is_sent_is_not_taken_back_by_a_cancellation() {
    let mut env = Env::start(workflows![sends_on], "sends_on", ());
    env.first().commands();
    assert_eq!(short(&env.step([signal("go", 3)]).commands()), ["+1"]);
    assert_eq!(env.step([Input::Cancel]).commands(), []);
    env.step([Input::Answer(1, |signal_id| OutboxAnswer::Signaled { signal_id })]).commands();
    assert_eq!(env.result::<u64>(), 3);
    env.replays_at_every_prefix();
}

#[workflow]
async fn fails_to_send(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.external("gone").signal(&GO, 1).await?;
    Ok(())
}

#[test]
fn an_unhandled_failure_to_reach_a_run_fails_the_workflow_with_its_name() {
    let mut env = Env::start(workflows![fails_to_send], "fails_to_send", ());
    env.first().commands();
    let not_found: fn(u64) -> OutboxAnswer =
        |signal_id| OutboxAnswer::SignalFailed { signal_id, cause: Cause::ExternalWorkflowExecutionNotFound };
    let commands = env.step([Input::Answer(1, not_found)]).commands();
    let [Command::FailWorkflowExecution { failure }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(failure.error_type, "ExternalWorkflowNotFound");
    env.replays_at_every_prefix();
}

#[workflow]
async fn tells_and_ends(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    drop(ctx.spawn(ctx.external("next").signal(&GO, 1)));
    Ok(())
}

#[test]
fn what_was_sent_with_the_last_step_goes_out() {
    let mut env = Env::start(workflows![tells_and_ends], "tells_and_ends", ());
    assert_eq!(short(&env.first().commands()), ["+1", "complete"]);
    assert_eq!(env.last.as_ref().unwrap().outbox.len(), 1);
    env.replays_at_every_prefix();
}
