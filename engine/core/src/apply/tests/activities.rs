//! Activities: outcomes, retries, requests to stop, lost attempts.

use expect_test::expect;

use super::*;
use crate::failure::TimeoutType;

/// A run that waits for activity 1.
fn waiting(options: ActivityOptions) -> Story {
    Story::begin().task(vec![schedule_with(1, options)]).quiet()
}

#[test]
fn an_activity_is_asked_for_once_and_completed_with_its_start() {
    let story =
        Story::begin().task(vec![schedule(1)]).after(5).turn(|turn| turn.activity_outcome(outcome(1, 1, done())));
    check(
        &story,
        expect![[r#"
            1  0ns      WorkflowExecutionStarted
            2  0ns      WorkflowTaskScheduled attempt 1
            --
            3  0ns      WorkflowTaskStarted
            4  0ns      WorkflowTaskCompleted
            5  0ns      ActivityTaskScheduled 1
            > activity 1 attempt 1
            --
            6  5ms      ActivityTaskStarted 1 attempt 1 by runner
            7  5ms      ActivityTaskCompleted 1
            --
        "#]],
    );
}

#[test]
fn a_second_outcome_of_an_activity_is_ignored() {
    let twice = |turn: &mut Turn<'_>| {
        turn.activity_outcome(outcome(1, 1, done()));
        turn.activity_outcome(outcome(1, 1, broken()));
    };
    let story = waiting(options()).turn(twice).turn(|turn| turn.activity_outcome(outcome(1, 1, done())));
    check(
        &story,
        expect![[r#"
            6  0ns      ActivityTaskStarted 1 attempt 1 by runner
            7  0ns      ActivityTaskCompleted 1
            --
            --
        "#]],
    );
}

#[test]
fn a_failed_attempt_waits_in_a_row_and_writes_no_event() {
    let story = waiting(options())
        .after(100)
        .turn(|turn| turn.activity_outcome(outcome(1, 1, broken())))
        .after(1_100)
        .turn(|turn| turn.activity_outcome(outcome(1, 2, broken())))
        .turn(|turn| turn.activity_outcome(outcome(1, 3, done())));
    check(
        &story,
        expect![[r#"
            + offered activity 1 attempt 2 at 1.1s
            --
            + offered activity 1 attempt 3 at 3.2s
            --
            6  1.2s     ActivityTaskStarted 1 attempt 3 by runner
            7  1.2s     ActivityTaskCompleted 1
            - activity 1
            --
        "#]],
    );
    let EventKind::ActivityTaskStarted(started) = &story.events[5].event else {
        panic!("the start goes with the outcome")
    };
    assert_eq!(started.last_failure.as_ref().unwrap().error_type, "Io");
}

#[test]
fn an_outcome_of_an_earlier_attempt_is_ignored() {
    let story = waiting(options()).turn(|turn| turn.activity_outcome(outcome(1, 1, broken()))).quiet();
    let story = story.turn(|turn| {
        turn.activity_outcome(outcome(1, 1, done()));
        turn.activity_heartbeat(1, 1, Some(Payload::null()));
    });
    check(
        &story,
        expect![[r#"
           --
    "#]],
    );
}

#[test]
fn the_last_attempt_fails_the_activity() {
    let story = waiting(retrying(2))
        .turn(|turn| turn.activity_outcome(outcome(1, 1, broken())))
        .turn(|turn| turn.activity_outcome(outcome(1, 2, broken())));
    check(
        &story,
        expect![[r#"
            + offered activity 1 attempt 2 at 1s
            --
            6  0ns      ActivityTaskStarted 1 attempt 2 by runner
            7  0ns      ActivityTaskFailed 1 Io, all attempts are used up
            - activity 1
            --
        "#]],
    );
}

#[test]
fn no_attempt_is_made_that_would_begin_after_schedule_to_close() {
    let options = ActivityOptions { schedule_to_close_ms: Some(1_500), ..options() };
    let story = waiting(options)
        .after(400)
        .turn(|turn| turn.activity_outcome(outcome(1, 1, broken())))
        .turn(|turn| turn.activity_outcome(outcome(1, 2, broken())));
    check(
        &story,
        expect![[r#"
            + offered activity 1 attempt 2 at 1.4s
            --
            6  400ms    ActivityTaskStarted 1 attempt 2 by runner
            7  400ms    ActivityTaskFailed 1 Io, no time is left for another attempt
            - activity 1
            --
        "#]],
    );
}

#[test]
fn an_attempt_that_nobody_took_times_out_without_a_start() {
    let options = ActivityOptions { schedule_to_start_ms: Some(100), ..options() };
    let late = ActivityResult::TimedOut { timeout: TimeoutType::ScheduleToStart };
    let story = waiting(options)
        .after(100)
        .turn(|turn| turn.activity_outcome(ActivityOutcome { started_at: None, ..outcome(1, 1, late) }));
    check(
        &story,
        expect![[r#"
            6  100ms    ActivityTaskTimedOut 1 schedule-to-start, the failure is not retryable
            --
        "#]],
    );
}

#[test]
fn a_silent_attempt_is_retried_from_its_last_heartbeat() {
    let details = Payload::encode("details", &"page 7").unwrap();
    let silent = ActivityResult::TimedOut { timeout: TimeoutType::Heartbeat };
    let story = waiting(retrying(2)).turn(|turn| {
        turn.activity_outcome(ActivityOutcome {
            last_heartbeat: Some(details.clone()),
            ..outcome(1, 1, silent.clone())
        });
    });
    check(
        &story,
        expect![[r#"
           + offered activity 1 attempt 2 at 1s
           --
    "#]],
    );
    assert_eq!(story.rows[&1].task.last_heartbeat, Some(details.clone()));
    let story = story.quiet().turn(|turn| turn.activity_outcome(outcome(1, 2, silent)));
    check(
        &story,
        expect![[r#"
            6  0ns      ActivityTaskStarted 1 attempt 2 by runner
            7  0ns      ActivityTaskTimedOut 1 heartbeat, all attempts are used up
            - activity 1
            --
        "#]],
    );
    let EventKind::ActivityTaskTimedOut(timed_out) = &story.events.last().unwrap().event else { panic!("timed out") };
    assert_eq!(timed_out.last_heartbeat, Some(details), "a later attempt that said nothing forgets nothing");
}

#[test]
fn a_heartbeat_of_the_owners_attempt_is_kept_in_a_row_that_the_outcome_removes() {
    let beat = |details| move |turn: &mut Turn<'_>| turn.activity_heartbeat(1, 1, details);
    let story = waiting(options())
        .turn(beat(None))
        .turn(beat(None))
        .turn(beat(Some(Payload::null())))
        .turn(|turn| turn.activity_outcome(outcome(1, 1, done())));
    check(
        &story,
        expect![[r#"
            + kept activity 1 attempt 1 at 0ns
            --
            --
            + kept activity 1 attempt 1 at 0ns
            --
            6  0ns      ActivityTaskStarted 1 attempt 1 by runner
            7  0ns      ActivityTaskCompleted 1
            - activity 1
            --
        "#]],
    );
}

#[test]
fn a_lost_attempt_counts_and_the_next_begins_at_once() {
    let story = waiting(retrying(2)).after(10).turn(|turn| turn.activity_lost(1, "gone")).after(10);
    let story = story.turn(|turn| turn.activity_lost(1, "gone"));
    check(
        &story,
        expect![[r#"
            + offered activity 1 attempt 2 at 10ms
            --
            6  20ms     ActivityTaskStarted 1 attempt 2 by gone
            7  20ms     ActivityTaskFailed 1 WorkerLost, all attempts are used up
            - activity 1
            --
        "#]],
    );
}

#[test]
fn an_activity_of_one_attempt_is_never_run_a_second_time() {
    let story = waiting(retrying(1)).turn(|turn| turn.activity_lost(1, "gone"));
    check(
        &story,
        expect![[r#"
            6  0ns      ActivityTaskStarted 1 attempt 1 by gone
            7  0ns      ActivityTaskFailed 1 WorkerLost, all attempts are used up
            --
        "#]],
    );
}

#[test]
fn an_attempt_asked_to_stop_says_so_and_is_canceled() {
    let story = waiting(options())
        .turn(|turn| turn.message(signal(1)))
        .task(vec![stop(1)])
        .turn(|turn| turn.activity_outcome(outcome(1, 1, ActivityResult::Canceled { details: None })));
    check(
        &story,
        expect![[r#"
            6  0ns      WorkflowExecutionSignaled s1
            - message 1
            --
            7  0ns      WorkflowTaskScheduled attempt 1
            8  0ns      WorkflowTaskStarted
            9  0ns      WorkflowTaskCompleted
            10 0ns      ActivityTaskCancelRequested 1
            --
            11 0ns      ActivityTaskStarted 1 attempt 1 by runner
            12 0ns      ActivityTaskCanceled 1
            --
        "#]],
    );
}

#[test]
fn an_attempt_that_stops_unasked_has_failed() {
    let story = waiting(options())
        .turn(|turn| turn.activity_outcome(outcome(1, 1, ActivityResult::Canceled { details: None })));
    check(
        &story,
        expect![[r#"
            6  0ns      ActivityTaskStarted 1 attempt 1 by runner
            7  0ns      ActivityTaskFailed 1 Canceled, the failure is not retryable
            --
        "#]],
    );
}

#[test]
fn an_attempt_asked_to_stop_is_not_retried() {
    let stopping = || waiting(options()).turn(|turn| turn.message(signal(1))).task(vec![stop(1)]).quiet();
    let story = stopping().turn(|turn| turn.activity_outcome(outcome(1, 1, broken())));
    check(
        &story,
        expect![[r#"
            11 0ns      ActivityTaskStarted 1 attempt 1 by runner
            12 0ns      ActivityTaskFailed 1 Io, cancellation was requested
            --
        "#]],
    );
    let story = stopping().turn(|turn| turn.activity_lost(1, "gone"));
    check(
        &story,
        expect![[r#"
            11 0ns      ActivityTaskStarted 1 attempt 1 by gone
            12 0ns      ActivityTaskCanceled 1
            --
        "#]],
    );
    let story = stopping().turn(|turn| turn.activity_outcome(outcome(1, 1, done())));
    check(
        &story,
        expect![[r#"
            11 0ns      ActivityTaskStarted 1 attempt 1 by runner
            12 0ns      ActivityTaskCompleted 1
            --
        "#]],
    );
}

#[test]
fn an_attempt_that_waits_in_a_row_is_told_to_stop_there() {
    let story = waiting(options())
        .turn(|turn| turn.activity_outcome(outcome(1, 1, broken())))
        .turn(|turn| turn.message(signal(1)))
        .task(vec![stop(1)]);
    check(
        &story,
        expect![[r#"
            + offered activity 1 attempt 2 at 1s
            --
            6  0ns      WorkflowExecutionSignaled s1
            - message 1
            --
            7  0ns      WorkflowTaskScheduled attempt 1
            8  0ns      WorkflowTaskStarted
            9  0ns      WorkflowTaskCompleted
            10 0ns      ActivityTaskCancelRequested 1
            ! stop activity 1
            --
        "#]],
    );
}

#[test]
fn an_activity_stopped_by_the_step_that_asked_for_it_is_offered_with_the_request() {
    let story = Story::begin().quiet().turn(|turn| {
        turn.start_task("worker", None);
        turn.complete_task(vec![schedule(1), stop(1), schedule(2)], Vec::new()).unwrap();
        turn.offer_activity(1, false);
    });
    check(
        &story,
        expect![[r#"
            3  0ns      WorkflowTaskStarted
            4  0ns      WorkflowTaskCompleted
            5  0ns      ActivityTaskScheduled 1
            6  0ns      ActivityTaskCancelRequested 1
            7  0ns      ActivityTaskScheduled 2
            + offered activity 1 attempt 1 at 0ns
            ! stop activity 1
            > activity 2 attempt 1
            --
        "#]],
    );
}

#[test]
fn a_request_to_stop_what_has_ended_unseen_makes_no_event() {
    let story = waiting(options()).turn(|turn| {
        turn.message(signal(1));
        turn.activity_outcome(outcome(1, 1, done()));
        assert!(turn.start_task("worker", None));
        turn.complete_task(vec![stop(1), complete()], Vec::new()).unwrap();
    });
    check(
        &story,
        expect![[r#"
            6  0ns      WorkflowExecutionSignaled s1
            7  0ns      ActivityTaskStarted 1 attempt 1 by runner
            8  0ns      ActivityTaskCompleted 1
            9  0ns      WorkflowTaskScheduled attempt 1
            10 0ns      WorkflowTaskStarted
            11 0ns      WorkflowTaskCompleted
            12 0ns      WorkflowExecutionCompleted
            - message 1
            closes Completed
            --
        "#]],
    );
}

#[test]
fn a_task_says_who_asked_and_when_it_ends() {
    let activity = ActivityOptions {
        schedule_to_close_ms: Some(90_000),
        schedule_to_start_ms: Some(5_000),
        heartbeat_ms: Some(2_000),
        task_queue: Some("other".into()),
        ..options()
    };
    let story = Story::begin_with(|start| start.run_timeout_ms = Some(60_000)).task(vec![schedule_with(1, activity)]);
    let mut run = story.run.clone();
    let task = Turn::begin(&mut run, START.plus_ms(7)).current_attempt(1).unwrap();
    assert_eq!(task.idempotency_key(), format!("order-42/{}/1", story.run.key.run_id));
    assert_eq!((task.task_queue.as_str(), task.attempt), ("other", 1));
    assert_eq!(task.schedule_to_close_at, Some(START.plus_ms(60_000)), "capped to the run's timeout");
    assert_eq!(task.waiting_deadline(), Some((START.plus_ms(5_007), TimeoutType::ScheduleToStart)));
    let deadline = |heard_ms| task.running_deadline(START.plus_ms(10), START.plus_ms(heard_ms));
    assert_eq!(deadline(10), Some((START.plus_ms(2_010), TimeoutType::Heartbeat)));
    assert_eq!(deadline(29_000), Some((START.plus_ms(30_010), TimeoutType::StartToClose)));
}
