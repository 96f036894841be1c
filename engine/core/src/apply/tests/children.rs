//! Children: started and stopped by the outbox, their outcomes recorded once, whatever overtakes what.

use expect_test::expect;

use super::*;
use crate::failure::{FailureKind, RetryState};

/// The news that child `child_id`, asked for by `event_id`, has closed.
fn closed(number: u128, child_id: u64, event_id: i64, outcome: ChildOutcome) -> Message {
    let run_id = RunId(Uuid::from_u128(77));
    let closed = ChildClosed { child_id, initiated_event_id: event_id, run_id, outcome };
    message(number, MessageBody::ChildClosed(Box::new(closed)))
}

fn answer(story: &Story, row: usize, delivered: Delivered) -> Message {
    let answer = story.outbox[row].answer(story.run.key.run_id, delivered).unwrap();
    Message { id: MessageId(Uuid::from_u128(900 + row as u128)), ..answer }
}

fn value() -> ChildOutcome {
    ChildOutcome::Completed(Payload::null())
}

#[test]
fn a_child_is_started_runs_and_gives_its_value() {
    let story = Story::begin().quiet().task(vec![child(1)]);
    let started = answer(&story, 0, Delivered::Done);
    let story = story
        .turn(|turn| turn.message(started.clone()))
        .turn(|turn| turn.message(closed(5, 1, 5, value())))
        .turn(|turn| {
            turn.message(started.clone());
            turn.message(closed(5, 1, 5, value()));
        })
        .task(vec![complete()]);
    check(
        &story,
        expect![[r#"
            3  0ns      WorkflowTaskStarted
            4  0ns      WorkflowTaskCompleted
            5  0ns      StartChildWorkflowExecutionInitiated 1 child-1
            @ start ship to child-1 for Child(1) of event 5
            --
            6  0ns      ChildWorkflowExecutionStarted 1
            - message 900
            --
            7  0ns      ChildWorkflowExecutionCompleted 1
            - message 5
            --
            - message 900
            - message 5
            --
            8  0ns      WorkflowTaskScheduled attempt 1
            9  0ns      WorkflowTaskStarted
            10 0ns      WorkflowTaskCompleted
            11 0ns      WorkflowExecutionCompleted
            closes Completed
            --
        "#]],
    );
}

#[test]
fn the_start_of_a_child_says_who_waits_for_it() {
    let options =
        ChildWorkflowOptions { run_timeout_ms: Some(9), priority: Some(1), ..ChildWorkflowOptions::default() };
    let story =
        Story::begin_with(|start| start.correlation_id = "request-1".to_owned()).task(vec![child_with(1, options)]);
    let OutboxBody::Start(start) = &story.outbox[0].body else { panic!("a start") };
    let parent = start.lineage.as_ref().unwrap().parent.as_ref().unwrap();
    assert_eq!((parent.run_id, parent.child_id, parent.initiated_event_id), (story.run.key.run_id, 1, 5));
    assert_eq!((start.task_queue.as_str(), start.priority, start.run_timeout_ms), ("queue", 1, Some(9)));
    assert_eq!(start.correlation_id, "request-1");
    let initiated = &story.run.child(1).unwrap().initiated;
    assert_eq!(initiated.run_id, start.run_id, "the run id stands in the event: a second delivery is the same start");
}

#[test]
fn the_outcome_of_a_child_may_overtake_the_news_of_its_start() {
    let story = Story::begin().task(vec![child(1)]).quiet();
    let late = answer(&story, 0, Delivered::Done);
    let failed = ChildOutcome::Failed {
        failure: Failure::application("OutOfStock", "none left"),
        retry_state: RetryState::RetryPolicyNotSet,
    };
    let story = story.turn(|turn| turn.message(closed(5, 1, 5, failed))).turn(|turn| turn.message(late));
    check(
        &story,
        expect![[r#"
            6  0ns      ChildWorkflowExecutionStarted 1
            7  0ns      ChildWorkflowExecutionFailed 1 OutOfStock
            - message 5
            --
            - message 900
            --
        "#]],
    );
}

#[test]
fn a_child_whose_id_is_taken_fails_to_start() {
    let story = Story::begin().task(vec![child(1)]).quiet();
    let refused = answer(&story, 0, Delivered::AlreadyExists);
    let story = story.turn(|turn| turn.message(refused)).task(vec![child(1)]);
    check(
        &story,
        expect![[r#"
            6  0ns      StartChildWorkflowExecutionFailed 1 WorkflowAlreadyExists
            - message 900
            --
            7  0ns      WorkflowTaskScheduled attempt 1
            8  0ns      WorkflowTaskStarted
            9  0ns      WorkflowTaskCompleted
            10 0ns      StartChildWorkflowExecutionInitiated 1 child-1
            @ start ship to child-1 for Child(1) of event 10
            --
        "#]],
    );
}

#[test]
fn news_of_another_child_under_the_same_number_is_ignored() {
    let story = Story::begin().task(vec![child(1)]).quiet();
    let story =
        story.turn(|turn| turn.message(closed(5, 1, 4, value()))).turn(|turn| turn.message(closed(6, 2, 5, value())));
    check(
        &story,
        expect![[r#"
            - message 5
            --
            - message 6
            --
        "#]],
    );
}

#[test]
fn a_child_is_asked_to_cancel_itself_by_its_chain_and_once() {
    let story = Story::begin().task(vec![child(1), cancel_child(1)]).quiet();
    let first = story.run.child(1).unwrap().initiated.run_id;
    assert_eq!(story.outbox[1].target.run, TargetRun::Chain(first), "a retried child is reached as well");
    let requested = answer(&story, 1, Delivered::Done);
    let story = story.turn(|turn| turn.message(requested)).turn(|turn| {
        assert!(turn.start_task("worker", None));
        let again = turn.complete_task(vec![cancel_child(1)], Vec::new()).unwrap_err();
        assert_eq!(again.to_string(), "child 1 was asked to cancel itself already");
        turn.complete_task(vec![], Vec::new()).unwrap();
    });
    let story = story.turn(|turn| turn.message(closed(5, 1, 5, ChildOutcome::Canceled(None))));
    check(
        &story,
        expect![[r#"
            7  0ns      ExternalWorkflowExecutionCancelRequested
            - message 901
            --
            8  0ns      WorkflowTaskScheduled attempt 1
            9  0ns      WorkflowTaskStarted
            10 0ns      WorkflowTaskCompleted
            --
            11 0ns      ChildWorkflowExecutionStarted 1
            12 0ns      ChildWorkflowExecutionCanceled
            - message 5
            --
        "#]],
    );
}

#[test]
fn a_child_that_has_closed_meanwhile_is_not_cancelled_and_makes_no_event() {
    let story = Story::begin().task(vec![child(1)]).quiet().turn(|turn| {
        turn.message(closed(5, 1, 5, value()));
        assert!(turn.start_task("worker", None));
        turn.complete_task(vec![cancel_child(1)], Vec::new()).unwrap();
    });
    assert!(story.outbox.len() == 1 && story.events.last().unwrap().event.name() == "WorkflowTaskCompleted");
}

#[test]
fn the_end_of_a_parent_reaches_each_child_by_its_policy() {
    let with = |parent_close_policy| ChildWorkflowOptions { parent_close_policy, ..ChildWorkflowOptions::default() };
    let children = vec![
        child(1),
        child_with(2, with(ParentClosePolicy::RequestCancel)),
        child_with(3, with(ParentClosePolicy::Abandon)),
        child(4),
    ];
    let story = Story::begin().task(children).turn(|turn| turn.message(closed(5, 4, 8, value()))).quiet();
    let story = story.turn(|turn| turn.message(terminate(1)));
    check(
        &story,
        expect![[r#"
            11 0ns      WorkflowExecutionTerminated
            - message 1
            @ terminate to child-1 for Nobody of event 11
            @ cancel to child-2 for Nobody of event 11
            closes Terminated
            --
        "#]],
    );
    let ids: std::collections::BTreeSet<_> = story.outbox.iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), story.outbox.len(), "two rows of one event have ids of their own");
    assert!(story.outbox[4].answer(story.run.key.run_id, Delivered::Done).is_none());
}

#[test]
fn the_end_of_a_child_goes_to_the_very_run_that_waits() {
    let parent = Story::begin().task(vec![child(1)]);
    let OutboxBody::Start(start) = parent.outbox[0].body.clone() else { panic!("a start") };
    let ended = |end: &dyn Fn(Story) -> Story| {
        let (workflow_id, run_id, lineage) = (start.workflow_id.clone(), start.run_id, start.lineage.clone());
        let story = end(Story::begin_with(move |start| {
            (start.workflow_id, start.run_id, start.lineage) = (workflow_id, run_id, lineage);
            start.run_timeout_ms = Some(60_000);
        }));
        let row = &story.outbox[0];
        assert_eq!(row.target.run, TargetRun::Run(parent.run.key.run_id));
        let OutboxBody::Message(MessageBody::ChildClosed(closed)) = &row.body else { panic!("an outcome") };
        assert_eq!((closed.child_id, closed.initiated_event_id, closed.run_id), (1, 5, start.run_id));
        let told = parent.run.clone();
        let mut run = told;
        let mut turn = Turn::begin(&mut run, story.now);
        turn.message(row.message().unwrap());
        turn.events().iter().map(|event| event.event.name()).collect::<Vec<_>>().join(" ")
    };
    let all = [
        ended(&|story| story.task(vec![complete()])),
        ended(&|story| story.task(vec![fail("No")])),
        ended(&|story| story.task(vec![Command::CancelWorkflowExecution { details: None }])),
        ended(&|story| story.after(60_000).turn(|turn| turn.timer_due(0))),
        ended(&|story| story.turn(|turn| turn.message(terminate(1)))),
    ];
    expect![[r#"
        ChildWorkflowExecutionStarted ChildWorkflowExecutionCompleted
        ChildWorkflowExecutionStarted ChildWorkflowExecutionFailed
        ChildWorkflowExecutionStarted ChildWorkflowExecutionCanceled
        ChildWorkflowExecutionStarted ChildWorkflowExecutionTimedOut
        ChildWorkflowExecutionStarted ChildWorkflowExecutionTerminated"#]]
    .assert_eq(&all.join("\n"));
}

#[test]
fn the_failure_of_a_child_is_the_cause_of_the_parents() {
    let cause = Failure { non_retryable: true, ..Failure::application("OutOfStock", "none left") };
    let failure = Failure::child_workflow("ship", &"child-1".into(), cause.clone());
    assert_eq!((failure.kind, failure.non_retryable), (FailureKind::ChildWorkflow, true));
    assert_eq!(failure.message, "child workflow `ship` (child-1) did not complete: none left");
    assert_eq!(*failure.cause.unwrap(), cause);
}

#[test]
fn impossible_and_too_many_children_are_refused() {
    let refused = |commands: Vec<Command>| {
        let mut run = Story::begin().task(vec![child(1)]).run;
        let mut turn = Turn::begin(&mut run, START);
        turn.message(signal(1));
        assert!(turn.start_task("worker", None));
        turn.complete_task(commands, Vec::new()).unwrap_err().to_string()
    };
    let priority = ChildWorkflowOptions { priority: Some(9), ..ChildWorkflowOptions::default() };
    let memo = ChildWorkflowOptions { memo: Some(json("7")), ..ChildWorkflowOptions::default() };
    let all = [
        refused(vec![child(1)]),
        refused(vec![child_with(2, priority)]),
        refused(vec![child_with(2, memo)]),
        refused((2..=2_001).map(child).collect()),
    ];
    expect![[r#"
        child id 1 is in use
        child 2 cannot be started: priority is 9: choose 1 (first) to 5 (last)
        child 2 cannot be started: memo must be a JSON object, such as {"customer":"x"}
        the run would have 2001 children that have not closed, the limit is 2000: work in smaller batches, or split the work over several workflows"#]]
    .assert_eq(&all.join("\n"));
}
