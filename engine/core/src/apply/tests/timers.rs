//! Timers: fire once, never early, and end the run when its time is over.

use expect_test::expect;

use super::*;

fn due(timer_id: TimerId) -> Message {
    message(100 + u128::from(timer_id), MessageBody::TimerDue { timer_id })
}

#[test]
fn a_timer_fires_once_whoever_brings_the_news() {
    let story = Story::begin().task(vec![sleep(1, 5)]).after(5_000);
    let story = story.turn(|turn| turn.timer_due(1)).turn(|turn| {
        turn.message(due(1));
        turn.timer_due(1);
    });
    check(
        &story,
        expect![[r#"
            1  0ns      WorkflowExecutionStarted
            2  0ns      WorkflowTaskScheduled attempt 1
            --
            3  0ns      WorkflowTaskStarted
            4  0ns      WorkflowTaskCompleted
            5  0ns      TimerStarted 1
            + timer 1 at 5s
            --
            6  5s       TimerFired 1
            - timer 1
            --
            - message 101
            --
        "#]],
    );
}

#[test]
fn the_owners_own_news_of_a_timer_that_is_not_due_is_ignored() {
    let story = Story::begin().task(vec![sleep(1, 5)]).quiet().after(4_999).turn(|turn| turn.timer_due(1));
    check(
        &story,
        expect![[r#"
           --
    "#]],
    );
}

#[test]
fn the_stores_news_of_a_timer_holds_where_the_estimate_lags() {
    let story = Story::begin().task(vec![sleep(1, 5)]).quiet().after(4_990).turn(|turn| turn.message(due(1)));
    let story = story.task(vec![complete()]);
    check(
        &story,
        expect![[r#"
            6  5s       TimerFired 1
            - timer 1
            - message 101
            --
            7  5s       WorkflowTaskScheduled attempt 1
            8  5s       WorkflowTaskStarted
            9  5s       WorkflowTaskCompleted
            10 5s       WorkflowExecutionCompleted
            closes Completed
            --
        "#]],
    );
}

#[test]
fn timer_fired_after_cancel_is_ignored() {
    let story = Story::begin()
        .task(vec![sleep(1, 5)])
        .turn(|turn| turn.message(signal(1)))
        .task(vec![Command::CancelTimer { timer_id: 1 }])
        .quiet()
        .after(9_000)
        .turn(|turn| turn.message(due(1)));
    check(
        &story,
        expect![[r#"
           - message 101
           --
    "#]],
    );
}

#[test]
fn a_timer_given_up_by_the_step_that_set_it_is_never_written() {
    let story = Story::begin().quiet().task(vec![sleep(1, 5), Command::CancelTimer { timer_id: 1 }]);
    check(
        &story,
        expect![[r#"
            3  0ns      WorkflowTaskStarted
            4  0ns      WorkflowTaskCompleted
            5  0ns      TimerStarted 1
            6  0ns      TimerCanceled 1
            --
        "#]],
    );
}

#[test]
fn giving_up_a_timer_that_fired_unseen_makes_no_event() {
    let story = Story::begin().task(vec![sleep(1, 5)]).quiet().after(5_000).turn(|turn| {
        turn.message(signal(1));
        turn.timer_due(1);
        assert!(turn.start_task("worker", None));
        turn.complete_task(vec![Command::CancelTimer { timer_id: 1 }, complete()], Vec::new()).unwrap();
    });
    check(
        &story,
        expect![[r#"
            6  5s       WorkflowExecutionSignaled s1
            7  5s       TimerFired 1
            8  5s       WorkflowTaskScheduled attempt 1
            9  5s       WorkflowTaskStarted
            10 5s       WorkflowTaskCompleted
            11 5s       WorkflowExecutionCompleted
            - timer 1
            - message 1
            closes Completed
            --
        "#]],
    );
}

#[test]
fn a_run_ends_at_its_timeout_with_what_came_before() {
    let story = Story::begin_with(|start| start.run_timeout_ms = Some(5_000))
        .task(vec![schedule(1)])
        .turn(|turn| turn.timer_due(0))
        .quiet()
        .after(5_000)
        .turn(|turn| {
            turn.timer_due(0);
            turn.activity_outcome(outcome(1, 1, done()));
            turn.message(signal(1));
        });
    check(
        &story,
        expect![[r#"
            6  5s       ActivityTaskStarted 1 attempt 1 by runner
            7  5s       ActivityTaskCompleted 1
            8  5s       WorkflowExecutionSignaled s1
            9  5s       WorkflowExecutionTimedOut after 5000 ms
            - timer 0
            - message 1
            closes TimedOut
            --
        "#]],
    );
}
