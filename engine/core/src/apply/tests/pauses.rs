//! What operators hold back and let go, and activities that are completed from outside.

use expect_test::expect;

use super::*;
use crate::{ActivityToken, failure::TimeoutType};

fn pause(number: u128) -> Message {
    message(number, MessageBody::Pause { reason: "look".to_owned(), identity: String::new() })
}

fn unpause(number: u128) -> Message {
    message(number, MessageBody::Unpause { reason: String::new(), identity: String::new() })
}

fn pause_activity(number: u128, activity_id: ActivityId) -> Message {
    message(number, MessageBody::PauseActivity { activity_id })
}

fn unpause_activity(number: u128, activity_id: ActivityId) -> Message {
    message(number, MessageBody::UnpauseActivity { activity_id })
}

fn reset_activity(number: u128, activity_id: ActivityId) -> Message {
    message(number, MessageBody::ResetActivity { activity_id })
}

#[test]
fn a_paused_run_records_everything_and_shows_it_to_the_code_when_it_goes_on() {
    let story = Story::begin()
        .task(vec![schedule(1), sleep(1, 5)])
        .quiet()
        .turn(|turn| {
            turn.message(pause(1));
            turn.message(pause(2));
        })
        .after(5_000)
        .turn(|turn| {
            turn.message(signal(3));
            turn.timer_due(1);
            turn.activity_outcome(outcome(1, 1, done()));
            turn.message(update(4, "u"));
            turn.wake();
            assert!(!turn.start_task("worker", None), "no task starts");
        })
        .turn(|turn| turn.message(unpause(5)))
        .task(vec![complete()]);
    check(
        &story,
        expect![[r#"
            7  0ns      WorkflowExecutionPaused
            - message 1
            - message 2
            --
            8  5s       WorkflowExecutionSignaled s3
            9  5s       TimerFired 1
            10 5s       ActivityTaskStarted 1 attempt 1 by runner
            11 5s       ActivityTaskCompleted 1
            - timer 1
            - message 3
            --
            12 5s       WorkflowExecutionUnpaused
            - message 5
            --
            13 5s       WorkflowTaskScheduled attempt 1
            14 5s       WorkflowTaskStarted
            15 5s       WorkflowTaskCompleted
            16 5s       WorkflowExecutionCompleted
            closes Completed
            --
        "#]],
    );
}

#[test]
fn a_paused_run_still_ends_by_its_timeout_and_by_order() {
    let paused = || Story::begin_with(|start| start.run_timeout_ms = Some(5_000)).turn(|turn| turn.message(pause(1)));
    assert_eq!(paused().after(5_000).turn(|turn| turn.timer_due(0)).run.status, crate::RunStatus::TimedOut);
    assert_eq!(paused().turn(|turn| turn.message(terminate(2))).run.status, crate::RunStatus::Terminated);
}

#[test]
fn a_paused_activity_begins_no_other_attempt_until_it_is_let_go() {
    let story = Story::begin()
        .task(vec![schedule(1)])
        .quiet()
        .turn(|turn| turn.message(pause_activity(1, 1)))
        .after(500)
        .turn(|turn| turn.activity_outcome(outcome(1, 1, broken())))
        .after(60_000)
        .turn(|turn| turn.message(unpause_activity(2, 1)));
    check(
        &story,
        expect![[r#"
            + kept activity 1 attempt 1 at 0ns
            - message 1
            --
            + offered activity 1 attempt 2 at 9223372035854.775807s
            --
            - message 2
            ~ activity 1 let go, 0 attempts before
            --
        "#]],
    );
    let row = &story.rows[&1];
    assert_eq!((row.attempt, row.visible_at, row.state.paused), (2, START.plus_ms(60_500), false));
}

#[test]
fn an_activity_that_is_paused_before_its_first_attempt_waits_for_everyone() {
    let story = Story::begin().quiet().turn(|turn| {
        assert!(turn.start_task("worker", None));
        turn.complete_task(vec![schedule(1)], Vec::new()).unwrap();
        turn.message(pause_activity(1, 1));
    });
    assert!(story.rows[&1].visible_at == Timestamp::MAX && !story.rows[&1].claimed_by_owner);
    let story = story.after(1_000).turn(|turn| turn.message(unpause_activity(2, 1)));
    assert_eq!(story.rows[&1].visible_at, START.plus_ms(1_000));
}

#[test]
fn an_attempt_that_runs_while_its_activity_is_paused_may_still_succeed() {
    let story = Story::begin()
        .task(vec![schedule(1)])
        .turn(|turn| turn.message(pause_activity(1, 1)))
        .turn(|turn| turn.activity_outcome(outcome(1, 1, done())));
    assert!(story.run.activities.is_empty() && story.rows.is_empty());
}

#[test]
fn a_reset_activity_begins_at_once_and_counts_from_there() {
    let fails = |story: Story, attempt| story.turn(|turn| turn.activity_outcome(outcome(1, attempt, broken())));
    let story = Story::begin().task(vec![schedule_with(1, retrying(2))]);
    let story = fails(story, 1).after(100).turn(|turn| turn.message(reset_activity(1, 1)));
    let row = &story.rows[&1];
    assert_eq!((row.visible_at, row.attempt, row.state.attempts_before), (START.plus_ms(100), 2, 1));
    let story = fails(story, 2);
    assert_eq!(story.rows[&1].visible_at, START.plus_ms(1_100), "the wait begins anew as well");
    let story = fails(story, 3);
    assert_eq!(story.events.last().unwrap().event.name(), "ActivityTaskFailed");
}

#[test]
fn an_activity_promised_for_later_is_completed_by_its_token() {
    let later = || outcome(1, 1, ActivityResult::CompletesAsynchronously);
    let run_id = RunId(Uuid::from_u128(1));
    let completed = outcome(1, 1, done());
    assert_ne!(later().message_id(run_id), completed.message_id(run_id), "one does not hide the other");
    let by_token =
        Message { id: completed.message_id(run_id), body: MessageBody::ActivityOutcome(Box::new(completed)) };
    let heartbeat = MessageBody::ActivityHeartbeat { activity_id: 1, attempt: 1, details: Some(json("\"half\"")) };
    let story = Story::begin()
        .task(vec![schedule(1)])
        .turn(|turn| turn.activity_outcome(later()))
        .turn(|turn| turn.message(message(1, heartbeat)));
    let row = &story.rows[&1];
    assert!(row.visible_at == Timestamp::MAX && !row.claimed_by_owner, "no worker takes it, none loses it");
    assert_eq!(row.state.asynchronous_since, Some(START));
    assert_eq!(row.last_heartbeat, Some(json("\"half\"")));
    let story = story.turn(|turn| turn.message(by_token.clone())).turn(|turn| turn.message(by_token));
    assert_eq!(story.events.iter().filter(|event| event.event.name() == "ActivityTaskCompleted").count(), 1);
}

#[test]
fn an_activity_promised_for_later_that_stays_silent_is_tried_again() {
    let story = Story::begin()
        .task(vec![schedule(1)])
        .turn(|turn| turn.activity_outcome(outcome(1, 1, ActivityResult::CompletesAsynchronously)))
        .after(30_000)
        .turn(|turn| {
            let timed_out = ActivityResult::TimedOut { timeout: TimeoutType::StartToClose };
            turn.activity_outcome(outcome(1, 1, timed_out));
        });
    let row = &story.rows[&1];
    assert_eq!((row.attempt, row.state.asynchronous_since), (2, None));
    assert_eq!(row.visible_at, START.plus_ms(31_000));
    let late = story.turn(|turn| turn.activity_outcome(outcome(1, 1, done())));
    assert_eq!(late.run.activities.len(), 1, "the token of an attempt that is over names nothing");
}

#[test]
fn a_token_is_read_back_as_it_is_shown() {
    let token = ActivityToken { run: Story::begin().run.key, activity_id: 7, attempt: 3 };
    assert_eq!(token.to_string().parse(), Ok(token));
    for text in ["", "1.2", "1.x.7.3", &format!("{token}.1")] {
        assert!(text.parse::<ActivityToken>().is_err(), "{text}");
    }
}
