//! Messages: recorded once, in their order, also beside the end of the run.

use expect_test::expect;

use super::*;

#[test]
fn a_resent_signal_is_removed_and_not_recorded_again() {
    let story = Story::begin().quiet().turn(|turn| turn.message(signal(1))).turn(|turn| {
        turn.message(signal(1));
        turn.message(signal(2));
    });
    check(
        &story,
        expect![[r#"
            3  0ns      WorkflowExecutionSignaled s1
            - message 1
            --
            4  0ns      WorkflowExecutionSignaled s2
            - message 1
            - message 2
            --
        "#]],
    );
}

#[test]
fn a_second_request_to_cancel_says_nothing_new() {
    let story = Story::begin().quiet().turn(|turn| turn.message(cancel(1))).turn(|turn| turn.message(cancel(2)));
    check(
        &story,
        expect![[r#"
            3  0ns      WorkflowExecutionCancelRequested
            - message 1
            --
            - message 2
            --
        "#]],
    );
    assert!(story.run.cancel_requested);
}

#[test]
fn a_signal_beside_a_termination_is_recorded_before_it() {
    let story = Story::begin().quiet().turn(|turn| {
        turn.message(signal(1));
        turn.message(terminate(2));
        turn.message(signal(3));
        assert!(!turn.start_task("worker", None), "the run ends with this step");
    });
    check(
        &story,
        expect![[r#"
            3  0ns      WorkflowExecutionSignaled s1
            4  0ns      WorkflowExecutionSignaled s3
            5  0ns      WorkflowExecutionTerminated
            - message 1
            - message 2
            - message 3
            closes Terminated
            --
        "#]],
    );
}

#[test]
fn a_message_after_the_code_has_ended_the_run_is_left_in_the_inbox() {
    let story = Story::begin().quiet().turn(|turn| {
        turn.start_task("worker", None);
        turn.complete_task(vec![complete()], Vec::new()).unwrap();
        turn.message(signal(1));
    });
    check(
        &story,
        expect![[r#"
            3  0ns      WorkflowTaskStarted
            4  0ns      WorkflowTaskCompleted
            5  0ns      WorkflowExecutionCompleted
            closes Completed
            --
        "#]],
    );
}

#[test]
fn termination_leaves_no_row_behind() {
    let story = Story::begin_with(|start| start.run_timeout_ms = Some(60_000))
        .task(vec![schedule(1), schedule(2), sleep(1, 5), sleep(2, 9)])
        .turn(|turn| turn.activity_outcome(outcome(1, 1, broken())))
        .quiet()
        .turn(|turn| {
            turn.activity_outcome(outcome(2, 1, broken()));
            turn.message(terminate(1));
        });
    check(
        &story,
        expect![[r#"
            9  0ns      WorkflowExecutionTerminated
            - activity 1
            - activity 2
            - timer 0
            - timer 1
            - timer 2
            - message 1
            closes Terminated
            --
        "#]],
    );
}

#[test]
fn of_two_ends_from_outside_the_first_counts() {
    let ending = |first: u8| {
        let story = Story::begin_with(|start| start.run_timeout_ms = Some(5_000)).after(5_000);
        let story = story.turn(|turn| match first {
            0 => {
                turn.timer_due(0);
                turn.message(terminate(1));
            }
            _ => {
                turn.message(terminate(1));
                turn.timer_due(0);
            }
        });
        story.run.status
    };
    assert_eq!([ending(0), ending(1)], [crate::RunStatus::TimedOut, crate::RunStatus::Terminated]);
}

#[test]
fn nothing_happens_to_a_closed_run() {
    let story = Story::begin().task(vec![schedule(1)]).turn(|turn| turn.message(terminate(1)));
    let mut run = story.run.clone();
    let mut turn = Turn::begin(&mut run, START);
    turn.message(signal(2));
    turn.message(terminate(3));
    turn.activity_outcome(outcome(1, 1, done()));
    turn.activity_lost(1, "gone");
    turn.activity_heartbeat(1, 1, None);
    turn.offer_activity(1, false);
    turn.timer_due(0);
    assert!(!turn.start_task("worker", None));
    assert!(turn.finish().is_empty());
    assert_eq!(run, story.run);
}

#[test]
fn a_signal_with_the_start_is_in_the_first_transition_and_ends_a_delay() {
    let story = Story::begin_with(|start| {
        start.signal = Some(signal(1));
        start.start_delay_ms = Some(60_000);
    });
    check(
        &story,
        expect![[r#"
            1  0ns      WorkflowExecutionStarted
            2  0ns      WorkflowExecutionSignaled s1
            3  0ns      WorkflowTaskScheduled attempt 1
            --
        "#]],
    );
}

#[test]
fn a_delayed_start_schedules_no_task() {
    let story = Story::begin_with(|start| start.start_delay_ms = Some(60_000));
    let story = story.turn(|turn| assert!(!turn.start_task("worker", None))).after(60_000).task(vec![complete()]);
    check(
        &story,
        expect![[r#"
            1  0ns      WorkflowExecutionStarted
            --
            --
            2  60s      WorkflowTaskScheduled attempt 1
            3  60s      WorkflowTaskStarted
            4  60s      WorkflowTaskCompleted
            5  60s      WorkflowExecutionCompleted
            closes Completed
            --
        "#]],
    );
}

#[test]
fn an_outcome_in_a_message_is_taken_as_one_of_this_process() {
    let body = MessageBody::ActivityOutcome(Box::new(outcome(1, 1, done())));
    let story = Story::begin().task(vec![schedule(1)]).quiet().turn(|turn| turn.message(message(7, body.clone())));
    let story = story.turn(|turn| turn.message(message(7, body)));
    check(
        &story,
        expect![[r#"
            6  0ns      ActivityTaskStarted 1 attempt 1 by runner
            7  0ns      ActivityTaskCompleted 1
            - message 7
            --
            - message 7
            --
        "#]],
    );
}

#[test]
fn a_start_with_anything_but_a_signal_or_a_bad_name_is_refused() {
    let refused = |change: fn(&mut StartWorkflow)| {
        let id = RunId(Uuid::from_u128(1));
        let mut start = StartWorkflow::new(id, "a".into(), "b".into(), "c".into(), Payload::null());
        change(&mut start);
        start.validate().unwrap_err().to_string()
    };
    let all = [
        refused(|start| start.signal = Some(terminate(1))),
        refused(|start| {
            start.signal = Some(message(
                1,
                MessageBody::Signal { name: String::new(), input: Payload::null(), identity: String::new() },
            ))
        }),
        refused(|start| start.workflow_id = "".into()),
        refused(|start| start.priority = 6),
        refused(|start| start.run_timeout_ms = Some(0)),
        refused(|start| start.memo = Some(Payload::encode("memo", "text").unwrap())),
        refused(|start| start.search_attributes = Some(Payload::from_json("it", "{\"a\":[1]}".to_owned()).unwrap())),
        refused(|start| start.memo = Some(Payload::encode("memo", &[("a", "x".repeat(40_000))]).unwrap())),
    ];
    expect![[r#"
        signal is a message of another kind: only a signal or an update comes with a start
        signal name is empty: give it at least one character
        workflow id is empty: give it at least one character
        priority is 6: choose 1 (first) to 5 (last)
        run timeout is zero: leave it out for no limit, or give at least 1 ms
        memo must be a JSON object, such as {"customer":"x"}
        search attributes have a list or an object under `a`: lists filter by single values, put others into the memo
        memo and search attributes have 40010 bytes together, the limit is 32768: move data into the input"#]]
    .assert_eq(&all.join("\n"));
}
