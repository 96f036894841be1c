//! The workflow task: begun when there is something to react to, failed in the open, run again.

use expect_test::expect;

use super::*;
use crate::event::WorkflowTaskFailedCause;

fn panic() -> (WorkflowTaskFailedCause, Failure) {
    (WorkflowTaskFailedCause::Panic, Failure::application("Panic", "index out of bounds"))
}

#[test]
fn a_result_and_what_follows_from_it_are_one_transition() {
    let story = Story::begin().task(vec![schedule(1)]).quiet().turn(|turn| {
        turn.activity_outcome(outcome(1, 1, done()));
        assert!(turn.start_task("worker", Some("build-7")));
        turn.complete_task(vec![schedule(2)], vec![("status".to_owned(), Payload::null())]).unwrap();
    });
    check(
        &story,
        expect![[r#"
            6  0ns      ActivityTaskStarted 1 attempt 1 by runner
            7  0ns      ActivityTaskCompleted 1
            8  0ns      WorkflowTaskScheduled attempt 1
            9  0ns      WorkflowTaskStarted
            10 0ns      WorkflowTaskCompleted
            11 0ns      ActivityTaskScheduled 2
            > activity 2 attempt 1
            --
        "#]],
    );
}

#[test]
fn no_task_begins_without_something_to_react_to() {
    let story = Story::begin().task(vec![schedule(1)]).quiet();
    let story = story.turn(|turn| assert!(!turn.start_task("worker", None)));
    check(
        &story,
        expect![[r#"
           --
    "#]],
    );
}

#[test]
fn only_the_first_failure_in_a_row_is_written() {
    let fail = |attempt| {
        move |turn: &mut Turn<'_>| {
            assert!(turn.start_task("worker", None));
            let (cause, failure) = panic();
            turn.fail_task(cause, failure, attempt);
        }
    };
    let story = Story::begin().turn(fail(1)).after(1_000).turn(fail(2)).after(2_000).turn(fail(3)).after(4_000);
    let story = story.task(vec![complete()]);
    check(
        &story,
        expect![[r#"
            1  0ns      WorkflowExecutionStarted
            2  0ns      WorkflowTaskScheduled attempt 1
            --
            3  0ns      WorkflowTaskStarted
            4  0ns      WorkflowTaskFailed
            problem: Panic, attempt 1, next at 1s
            --
            problem: Panic, attempt 2, next at 3s
            --
            problem: Panic, attempt 3, next at 7s
            --
            5  7s       WorkflowTaskScheduled attempt 2
            6  7s       WorkflowTaskStarted
            7  7s       WorkflowTaskCompleted
            8  7s       WorkflowExecutionCompleted
            closes Completed
            --
        "#]],
    );
}

#[test]
fn a_problem_is_over_when_the_task_goes_through() {
    let story = Story::begin().turn(|turn| {
        assert!(turn.start_task("worker", None));
        let (cause, failure) = panic();
        turn.fail_task(cause, failure, 1);
    });
    let story = story.quiet().after(1_000).task(vec![sleep(1, 5)]);
    check(
        &story,
        expect![[r#"
        5  1s       WorkflowTaskScheduled attempt 2
        6  1s       WorkflowTaskStarted
        7  1s       WorkflowTaskCompleted
        8  1s       TimerStarted 1
        + timer 1 at 6s
        no problem
        --
    "#]],
    );
}

#[test]
fn what_the_last_step_of_a_run_asks_for_is_never_begun() {
    let story = Story::begin().quiet().task(vec![schedule(1), sleep(1, 5), complete()]);
    check(
        &story,
        expect![[r#"
        3  0ns      WorkflowTaskStarted
        4  0ns      WorkflowTaskCompleted
        5  0ns      ActivityTaskScheduled 1
        6  0ns      TimerStarted 1
        7  0ns      WorkflowExecutionCompleted
        closes Completed
        --
    "#]],
    );
}

#[test]
fn what_arrived_with_a_failing_task_is_written_all_the_same() {
    let story = Story::begin().turn(|turn| {
        turn.start_task("worker", None);
        turn.time_out_task(Failure::application("TimedOut", "no await"), 1);
    });
    let story = story.quiet().after(1_000).turn(|turn| {
        turn.message(signal(1));
        assert!(turn.start_task("worker", None));
        let (cause, failure) = panic();
        turn.fail_task(cause, failure, 2);
    });
    check(
        &story,
        expect![[r#"
            5  1s       WorkflowExecutionSignaled s1
            - message 1
            problem: Panic, attempt 2, next at 3s
            --
        "#]],
    );
    let story = story.quiet().task(vec![complete()]);
    check(
        &story,
        expect![[r#"
            6  1s       WorkflowTaskScheduled attempt 2
            7  1s       WorkflowTaskStarted
            8  1s       WorkflowTaskCompleted
            9  1s       WorkflowExecutionCompleted
            closes Completed
            --
        "#]],
    );
}

#[test]
fn the_wait_between_tries_doubles_up_to_ten_minutes() {
    let mut run = Story::begin().run;
    let mut turn = Turn::begin(&mut run, START);
    let mut wait = |attempt| {
        let (cause, failure) = panic();
        turn.show_problem(cause, failure, attempt).since(START).as_secs()
    };
    let waits: Vec<u64> = [1, 2, 3, 10, 11, 40, u32::MAX].into_iter().map(&mut wait).collect();
    assert_eq!(waits, [1, 2, 4, 512, 600, 600, 600]);
}

#[test]
fn a_run_is_not_ended_over_what_its_code_has_not_seen() {
    let mut story = Story::begin();
    let mut turn = Turn::begin(&mut story.run, START);
    assert!(turn.start_task("worker", None));
    turn.message(signal(1));
    let refused = turn.complete_task(vec![complete()], Vec::new()).unwrap_err();
    assert_eq!(refused.cause, WorkflowTaskFailedCause::UnhandledCommand);
    turn.fail_task(refused.cause, Failure::application("UnhandledCommand", refused.problem), 1);
    let transition = turn.finish();
    story.write(*transition);
    let story = story.quiet().task(vec![complete()]);
    check(
        &story,
        expect![[r#"
            6  0ns      WorkflowTaskScheduled attempt 2
            7  0ns      WorkflowTaskStarted
            8  0ns      WorkflowTaskCompleted
            9  0ns      WorkflowExecutionCompleted
            closes Completed
            --
        "#]],
    );
}

#[test]
fn commands_without_a_started_task_are_refused() {
    let mut run = Story::begin().run;
    let refused = Turn::begin(&mut run, START).complete_task(vec![complete()], Vec::new()).unwrap_err();
    expect!["the workflow task was not started"].assert_eq(&refused.to_string());
}

#[test]
#[should_panic(expected = "a workflow task ends in the step that started it")]
fn a_step_does_not_end_in_the_middle_of_its_task() {
    Story::begin().turn(|turn| assert!(turn.start_task("worker", None)));
}

#[test]
fn a_run_ends_as_its_code_says() {
    let failure = Box::new(Failure::application("Expired", "nobody approved"));
    let mut told = String::new();
    for command in
        [Command::FailWorkflowExecution { failure }, Command::CancelWorkflowExecution { details: None }, complete()]
    {
        told.push_str(
            &Story::begin()
                .task(vec![sleep(1, 5)])
                .turn(|turn| turn.message(cancel(1)))
                .quiet()
                .task(vec![command])
                .told,
        );
    }
    expect![[r#"
        7  0ns      WorkflowTaskScheduled attempt 1
        8  0ns      WorkflowTaskStarted
        9  0ns      WorkflowTaskCompleted
        10 0ns      WorkflowExecutionFailed
        - timer 1
        closes Failed
        --
        7  0ns      WorkflowTaskScheduled attempt 1
        8  0ns      WorkflowTaskStarted
        9  0ns      WorkflowTaskCompleted
        10 0ns      WorkflowExecutionCanceled
        - timer 1
        closes Canceled
        --
        7  0ns      WorkflowTaskScheduled attempt 1
        8  0ns      WorkflowTaskStarted
        9  0ns      WorkflowTaskCompleted
        10 0ns      WorkflowExecutionCompleted
        - timer 1
        closes Completed
        --
    "#]]
    .assert_eq(&told);
}
