//! Continue-as-new, and what a run knows of those before it.

use std::time::Duration;

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Signal, Workflow},
    workflow,
};
use dacapo_core::{Command, EventKind, Run, RunStatus, limits, lineage::ContinueAsNewInitiator};

use crate::{
    harness::{Env, Input, short, signal},
    workflows,
};

const GO: Signal<u64> = Signal::new("go");
const OTHER: Signal<String> = Signal::new("other");
const NEXT: Workflow<String, ()> = Workflow::new("next");

#[workflow]
async fn counts(ctx: WorkflowContext, sum: u64) -> Result<u64, WorkflowError> {
    let value = ctx.receive(&GO).await?;
    if value == 0 {
        return Ok(sum);
    }
    let next = ctx.continue_as_new(sum + value).task_queue("elsewhere").run_timeout(Duration::from_secs(9));
    next.task_timeout(Duration::from_secs(2)).into()
}

#[test]
fn a_run_goes_on_as_another_with_the_signals_that_it_did_not_receive() {
    let mut env = Env::start(workflows![counts], "counts", 10);
    env.first().commands();
    let inputs = [signal("other", "x"), signal("go", 1), signal("go", 2), signal("go", 3), signal("other", "y")];
    let commands = env.step(inputs).commands();
    let [Command::ContinueAsNewWorkflowExecution { successor }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(successor.input.as_json(), "11");
    let carried: Vec<_> = successor.signals.iter().map(|signal| signal.input.as_json()).collect();
    assert_eq!(carried, [r#""x""#, "2", "3", r#""y""#], "in the order of their arrival");
    assert_eq!(env.run.status, RunStatus::ContinuedAsNew);
    env.replays_at_every_prefix();

    let successor = env.last.as_ref().unwrap().successor.as_ref().unwrap();
    let (events, request) = (&successor.transition.events, &successor.request);
    assert_eq!(
        (request.task_queue.as_str(), request.run_timeout_ms, request.task_timeout_ms),
        ("elsewhere", Some(9_000), Some(2_000))
    );
    let recorded = events.iter().filter(|event| matches!(event.event, EventKind::WorkflowExecutionSignaled(_)));
    assert_eq!(recorded.count(), 4, "recorded once in the new run");
    assert_eq!(Run::from_history(events).unwrap().first_run_id(), env.run.key.run_id);
}

#[workflow]
async fn another_type(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.receive(&GO).await?;
    Err(ctx.continue_as(NEXT, "input".to_owned()))?
}

#[test]
fn a_run_may_go_on_as_another_workflow() {
    let mut env = Env::start(workflows![another_type], "another_type", ());
    env.first().commands();
    let commands = env.step([signal("go", 1)]).commands();
    let [Command::ContinueAsNewWorkflowExecution { successor }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(successor.workflow_type.as_ref().unwrap().as_str(), "next");
    env.replays_at_every_prefix();
}

#[test]
fn a_run_that_is_asked_to_cancel_may_still_continue_as_new() {
    let mut env = Env::start(workflows![counts], "counts", 10);
    env.first().commands();
    let commands = env.step([signal("go", 1), Input::Cancel]).commands();
    assert_eq!(short(&commands), ["ContinueAsNewWorkflowExecution"]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn looks_at_itself(ctx: WorkflowContext) -> Result<(u32, bool, bool, String), WorkflowError> {
    let info = ctx.info();
    let from = info.continued_from().map(|from| (from.run_id, from.initiator));
    assert!(from.is_none_or(|(_, initiator)| initiator == ContinueAsNewInitiator::Workflow));
    assert!(!ctx.continue_as_new_suggested());
    if from.is_none() {
        assert_eq!(info.first_run_id(), info.run_id());
        return ctx.continue_as_new(()).into();
    }
    assert_eq!(Some(info.first_run_id()), from.map(|(run_id, _)| run_id));
    let other = ctx.receive(&OTHER).await?;
    Ok((info.attempt(), info.parent().is_some(), info.branched_from().is_some(), other))
}

#[test]
fn a_run_knows_the_one_before_it() {
    let mut env = Env::start(workflows![looks_at_itself], "looks_at_itself", ());
    env.step([signal("other", "early")]).commands();
    env.replays_at_every_prefix();
    let successor = env.last.take().unwrap().successor.unwrap();
    let mut next = Env::of_history(workflows![looks_at_itself], successor.transition.events);
    next.first().commands();
    assert_eq!(next.result::<(u32, bool, bool, String)>(), (1, false, false, "early".to_owned()));
    next.replays_at_every_prefix();
}

#[workflow]
async fn until_suggested(ctx: WorkflowContext, rounds: u64) -> Result<(), WorkflowError> {
    let mut received = 0;
    while !ctx.continue_as_new_suggested() {
        ctx.receive(&GO).await?;
        received += 1;
    }
    ctx.continue_as_new(rounds + received).into()
}

#[test]
fn a_long_history_suggests_to_continue_as_new() {
    let mut env = Env::start(workflows![until_suggested], "until_suggested", 0);
    env.first().commands();
    // Signals of one step are one task, so that the suggestion comes with the first task beyond the limit.
    let half = usize::try_from(limits::HISTORY_EVENTS_WARN).unwrap() / 2;
    assert_eq!(env.step(vec![signal("go", 1); half]).commands(), []);
    let commands = env.step(vec![signal("go", 1); half]).commands();
    let [Command::ContinueAsNewWorkflowExecution { successor }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(successor.input.as_json(), (half + 1).to_string());
    assert_eq!(successor.signals.len(), half - 1, "what was not received goes on");
}
