//! Runs that follow a run: the end and the start are one transition.

use expect_test::expect;

use super::*;
use crate::{event::WorkflowExecutionSignaled, limits, lineage::ContinueAsNewInitiator, transition::Successor};

fn continue_with(change: impl FnOnce(&mut ContinueAsNew)) -> Command {
    let mut successor = ContinueAsNew::new(json("2"));
    change(&mut successor);
    Command::ContinueAsNewWorkflowExecution { successor: Box::new(successor) }
}

/// The last step of a story, and its successor.
fn successor(story: &Story, step: impl FnOnce(&mut Turn<'_>)) -> (Run, Option<Box<Successor>>) {
    let mut run = story.run.clone();
    let mut turn = Turn::begin(&mut run, story.now);
    step(&mut turn);
    let transition = turn.finish();
    (run, transition.successor)
}

fn ends(command: Command) -> impl FnOnce(&mut Turn<'_>) {
    move |turn| {
        assert!(turn.start_task("worker", None));
        turn.complete_task(vec![command], Vec::new()).unwrap();
    }
}

/// The run that a successor begins.
fn begun(successor: &Successor) -> Story {
    let request = successor.request.clone();
    Story::begin_with(|start| *start = request)
}

#[test]
fn a_run_continues_as_another_in_one_transition() {
    let carried = WorkflowExecutionSignaled {
        message_id: MessageId(Uuid::from_u128(7)),
        signal_name: "unread".to_owned(),
        input: Payload::null(),
        identity: "me".to_owned(),
    };
    let story = Story::begin_with(|start| start.run_timeout_ms = Some(60_000)).quiet().task(vec![
        Command::ModifyWorkflowProperties { upserted_memo: json("{\"note\":1}") },
        continue_with(|next| next.signals = vec![carried]),
    ]);
    check(
        &story,
        expect![[r#"
            3  0ns      WorkflowTaskStarted
            4  0ns      WorkflowTaskCompleted
            5  0ns      WorkflowPropertiesModified
            6  0ns      WorkflowExecutionContinuedAsNew
            - timer 0
            memo Some({"note":1}), search attributes None
            successor checkout at 0ns
                1  WorkflowExecutionStarted
                2  WorkflowExecutionSignaled unread
                3  WorkflowTaskScheduled attempt 1
            closes ContinuedAsNew
            --
        "#]],
    );
}

#[test]
fn a_successor_keeps_what_is_not_said_otherwise_and_knows_where_it_comes_from() {
    let story = Story::begin_with(|start| {
        start.execution_timeout_ms = Some(60_000);
        start.run_timeout_ms = Some(10_000);
        start.search_attributes = Some(json("{\"customer\":\"x\"}"));
        start.retry_policy = Some(Box::new(RetryPolicy::attempts(3)));
        start.correlation_id = "request-1".to_owned();
    })
    .after(4_000);
    let (_, next) = successor(&story, ends(continue_with(|next| next.run_timeout_ms = Some(5_000))));
    let next = *next.unwrap();
    let started = &next.request;
    assert_eq!((&started.workflow_id, &started.workflow_type), (&"order-42".into(), &"checkout".into()));
    assert_eq!(
        (started.run_timeout_ms, started.search_attributes.clone()),
        (Some(5_000), Some(json("{\"customer\":\"x\"}")))
    );
    assert_eq!((started.correlation_id.as_str(), started.input.clone()), ("request-1", json("2")));
    let lineage = started.lineage.as_ref().unwrap();
    assert_eq!((lineage.first_run_id, lineage.attempt), (Some(story.run.key.run_id), 1));
    let from = lineage.continued_from.as_ref().unwrap();
    assert_eq!((from.run_id, from.initiator), (story.run.key.run_id, ContinueAsNewInitiator::Workflow));
    let run = Run::from_history(&next.transition.events).unwrap();
    assert_eq!(run.deadline(), Some(START.plus_ms(9_000)));
    assert_eq!(run.execution_deadline(), Some(START.plus_ms(60_000)), "the chain's time goes on");
    let story = begun(&next).after(5_000);
    let (_, third) = successor(&story, ends(continue_with(|_| ())));
    let third = third.unwrap();
    assert_eq!(third.request.lineage.as_ref().unwrap().first_run_id, Some(RunId(Uuid::from_u128(1))));
    assert_ne!(third.request.run_id, next.request.run_id);
}

#[test]
fn a_run_does_not_continue_over_something_its_code_was_not_given() {
    let mut run = Story::begin().run;
    let mut turn = Turn::begin(&mut run, START);
    assert!(turn.start_task("worker", None));
    turn.message(signal(1));
    let refused = turn.complete_task(vec![continue_with(|_| ())], Vec::new()).unwrap_err();
    assert_eq!(refused.cause, crate::event::WorkflowTaskFailedCause::UnhandledCommand);
}

#[test]
fn a_failed_run_is_tried_again_after_its_wait_until_its_attempts_end() {
    let mut story = Story::begin_with(|start| start.retry_policy = Some(Box::new(RetryPolicy::attempts(3))));
    let mut told = String::new();
    loop {
        let (run, next) = successor(&story, ends(fail("Io")));
        assert_eq!(run.status, crate::RunStatus::Failed);
        let Some(next) = next else { break };
        let lineage = next.request.lineage.as_ref().unwrap();
        let from = lineage.continued_from.as_ref().unwrap();
        let wait = next.ready_at.since(story.now);
        told.push_str(&format!("attempt {} after {wait:?}: {:?}, ", lineage.attempt, from.initiator));
        told.push_str(&from.failure.as_ref().unwrap().error_type);
        told.push('\n');
        story = begun(&next).after(next.request.start_delay_ms.unwrap());
    }
    expect![[r#"
        attempt 2 after 1s: Retry, Io
        attempt 3 after 2s: Retry, Io
    "#]]
    .assert_eq(&told);
    let failed = story.task(vec![fail("Io")]).events.pop().unwrap();
    let EventKind::WorkflowExecutionFailed(failed) = failed.event else { panic!("it failed") };
    assert_eq!(failed.retry_state, Some(crate::RetryState::MaximumAttemptsReached));
}

#[test]
fn a_run_is_not_tried_again_when_that_makes_no_sense() {
    let reason = |change: fn(&mut StartWorkflow), before: fn(Story) -> Story, error_type: &str| {
        let story = before(Story::begin_with(|start| {
            start.retry_policy = Some(Box::new(RetryPolicy::default().non_retryable("CardDeclined")));
            change(start);
        }));
        let failed = story.task(vec![fail(error_type)]).events.pop().unwrap();
        let EventKind::WorkflowExecutionFailed(failed) = failed.event else { panic!("it failed") };
        assert_eq!(failed.new_run_id, None);
        failed.retry_state.map_or("no policy".to_owned(), |state| state.to_string())
    };
    let all = [
        reason(|start| start.retry_policy = None, |story| story, "Io"),
        reason(|_| (), |story| story, "CardDeclined"),
        reason(|_| (), |story| story.turn(|turn| turn.message(cancel(1))), "Io"),
        reason(|start| start.execution_timeout_ms = Some(900), |story| story, "Io"),
    ];
    expect![[r#"
        no policy
        the failure is not retryable
        cancellation was requested
        no time is left for another attempt"#]]
    .assert_eq(&all.join("\n"));
}

#[test]
fn a_run_that_passes_its_timeout_is_tried_again_and_the_chain_that_passes_its_own_is_not() {
    let story = |execution_timeout_ms| {
        Story::begin_with(|start| {
            start.retry_policy = Some(Box::new(RetryPolicy::default()));
            (start.run_timeout_ms, start.execution_timeout_ms) = (Some(5_000), Some(execution_timeout_ms));
        })
        .after(5_000)
    };
    let (run, next) = successor(&story(60_000), |turn| turn.timer_due(0));
    assert_eq!((run.status, next.unwrap().ready_at), (crate::RunStatus::TimedOut, START.plus_ms(6_000)));
    let (run, next) = successor(&story(5_000), |turn| turn.timer_due(0));
    assert!(run.status == crate::RunStatus::TimedOut && next.is_none());
}

#[test]
fn a_child_tells_its_parent_at_the_end_of_the_chain_only() {
    let parent = Story::begin().task(vec![child(1)]);
    let OutboxBody::Start(mut start) = parent.outbox[0].body.clone() else { panic!("a start") };
    start.retry_policy = Some(Box::new(RetryPolicy::attempts(2)));
    let first = Story::begin_with(|it| *it = *start).task(vec![fail("Io")]);
    assert!(first.outbox.is_empty(), "another attempt follows");
    let again = Story::begin_with(|it| {
        it.retry_policy = Some(Box::new(RetryPolicy::attempts(2)));
        it.lineage.clone_from(&first.run.started.lineage);
        it.lineage.as_mut().unwrap().attempt = 2;
    });
    assert_eq!(again.task(vec![fail("Io")]).outbox.len(), 1);
}

#[test]
fn a_start_that_replaces_a_run_ends_it_in_the_same_transition() {
    let story = Story::begin().task(vec![schedule(1), sleep(1, 5)]).quiet();
    let mut request = StartWorkflow::new(
        RunId(Uuid::from_u128(2)),
        "order-42".into(),
        "checkout".into(),
        "queue".into(),
        Payload::null(),
    );
    request.conflict_policy = crate::IdConflictPolicy::TerminateExisting;
    let story = story.turn(|turn| {
        turn.message(signal(1));
        let next = Successor::new(request, &[], turn.now());
        turn.replace(MessageId(Uuid::from_u128(2)), "replaced".to_owned(), "me".to_owned(), next);
    });
    check(
        &story,
        expect![[r#"
            7  0ns      WorkflowExecutionSignaled s1
            8  0ns      WorkflowExecutionTerminated
            - timer 1
            - message 1
            successor checkout at 0ns
                1  WorkflowExecutionStarted
                2  WorkflowTaskScheduled attempt 1
            closes Terminated
            --
        "#]],
    );
}

#[test]
fn a_long_history_suggests_to_continue_as_new() {
    let suggested = |change: fn(&mut Run)| {
        let mut run = Story::begin().run;
        change(&mut run);
        let mut turn = Turn::begin(&mut run, START);
        assert!(turn.start_task("worker", None));
        let Some(EventKind::WorkflowTaskStarted(started)) = turn.events().last().map(|event| event.event.clone())
        else {
            panic!("the task started")
        };
        started.continue_as_new_suggested
    };
    assert!(!suggested(|_| ()));
    assert!(suggested(|run| run.next_event_id = limits::HISTORY_EVENTS_WARN));
    assert!(suggested(|run| run.history_bytes = limits::HISTORY_BYTES_WARN));
}

#[test]
fn an_impossible_successor_is_refused() {
    let mut run = Story::begin().run;
    let mut turn = Turn::begin(&mut run, START);
    assert!(turn.start_task("worker", None));
    let mut refused = |command| turn.complete_task(vec![command], Vec::new()).unwrap_err().to_string();
    let all = [
        refused(continue_with(|next| next.run_timeout_ms = Some(0))),
        refused(continue_with(|next| next.task_queue = Some("".into()))),
    ];
    expect![[r#"
        the run cannot continue as new: run timeout is zero: leave it out for no limit, or give at least 1 ms
        the run cannot continue as new: task queue is empty: give it at least one character"#]]
    .assert_eq(&all.join("\n"));
}
