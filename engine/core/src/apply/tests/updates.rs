//! Updates: in the inbox until answered, one answer for each id, no trace of what was refused.

use expect_test::expect;

use super::*;
use crate::{event::WorkflowTaskFailedCause, limits};

fn accept(update_id: &str) -> Command {
    Command::AcceptWorkflowExecutionUpdate { update_id: update_id.to_owned() }
}

fn reject(update_id: &str) -> Command {
    let failure = Box::new(Failure::application("Invalid", "too late"));
    Command::RejectWorkflowExecutionUpdate { update_id: update_id.to_owned(), failure }
}

fn done_with(update_id: &str) -> Command {
    let outcome = UpdateOutcome::Completed(json("7"));
    Command::CompleteWorkflowExecutionUpdate { update_id: update_id.to_owned(), outcome }
}

/// A run that waits, without an open workflow task.
fn waiting() -> Story {
    Story::begin().task(vec![]).quiet()
}

fn given(turn: &mut Turn<'_>, updates: &[(u128, &str)], commands: Vec<Command>) {
    for (number, update_id) in updates {
        turn.message(update(*number, update_id));
    }
    assert!(turn.start_task("worker", None), "a waiting update runs the code");
    turn.complete_task(commands, Vec::new()).unwrap();
}

#[test]
fn an_update_is_accepted_in_one_task_and_completed_in_a_later_one() {
    let story = waiting()
        .turn(|turn| given(turn, &[(1, "u")], vec![accept("u"), schedule(1)]))
        .turn(|turn| turn.activity_outcome(outcome(1, 1, done())))
        .task(vec![done_with("u")]);
    check(
        &story,
        expect![[r#"
            5  0ns      WorkflowTaskScheduled attempt 1
            6  0ns      WorkflowTaskStarted
            7  0ns      WorkflowTaskCompleted
            8  0ns      WorkflowExecutionUpdateAccepted u
            9  0ns      ActivityTaskScheduled 1
            > activity 1 attempt 1
            - message 1
            ? update u for 1: accepted in event 8
            --
            10 0ns      ActivityTaskStarted 1 attempt 1 by runner
            11 0ns      ActivityTaskCompleted 1
            --
            12 0ns      WorkflowTaskScheduled attempt 1
            13 0ns      WorkflowTaskStarted
            14 0ns      WorkflowTaskCompleted
            15 0ns      WorkflowExecutionUpdateCompleted u
            ? update u for everyone: completed in event 15
            --
        "#]],
    );
}

#[test]
fn an_update_may_be_accepted_and_completed_at_once() {
    let story = waiting().turn(|turn| given(turn, &[(1, "u")], vec![accept("u"), done_with("u")]));
    check(
        &story,
        expect![[r#"
            5  0ns      WorkflowTaskScheduled attempt 1
            6  0ns      WorkflowTaskStarted
            7  0ns      WorkflowTaskCompleted
            8  0ns      WorkflowExecutionUpdateAccepted u
            9  0ns      WorkflowExecutionUpdateCompleted u
            - message 1
            ? update u for 1: accepted in event 8
            ? update u for everyone: completed in event 9
            --
        "#]],
    );
}

#[test]
fn a_refused_update_leaves_no_trace() {
    let before = waiting();
    let story = before.turn(|turn| given(turn, &[(1, "u")], vec![reject("u")]));
    check(
        &story,
        expect![[r#"
            - message 1
            ? update u for 1: rejected: too late
            --
        "#]],
    );
    let again = story.quiet().turn(|turn| given(turn, &[(2, "u")], vec![accept("u")]));
    assert!(again.run.update("u").is_some(), "the id is as free as before");
}

#[test]
fn a_refusal_beside_something_to_see_is_part_of_an_ordinary_task() {
    let story = waiting().turn(|turn| {
        turn.message(signal(9));
        given(turn, &[(1, "u")], vec![reject("u")]);
    });
    check(
        &story,
        expect![[r#"
            5  0ns      WorkflowExecutionSignaled s9
            6  0ns      WorkflowTaskScheduled attempt 1
            7  0ns      WorkflowTaskStarted
            8  0ns      WorkflowTaskCompleted
            - message 9
            - message 1
            ? update u for 1: rejected: too late
            --
        "#]],
    );
}

#[test]
fn the_same_update_id_gets_the_same_answer_from_everyone_who_asks() {
    let story = waiting()
        .turn(|turn| given(turn, &[(1, "u"), (2, "u")], vec![accept("u")]))
        .turn(|turn| turn.message(update(3, "u")))
        .turn(|turn| {
            turn.message(signal(9));
            turn.start_task("worker", None);
            turn.complete_task(vec![done_with("u")], Vec::new()).unwrap();
        })
        .turn(|turn| turn.message(update(4, "u")))
        .turn(|turn| turn.message(update(1, "u")));
    check(
        &story,
        expect![[r#"
            5  0ns      WorkflowTaskScheduled attempt 1
            6  0ns      WorkflowTaskStarted
            7  0ns      WorkflowTaskCompleted
            8  0ns      WorkflowExecutionUpdateAccepted u
            - message 1
            - message 2
            ? update u for 1: accepted in event 8
            ? update u for 2: accepted in event 8
            --
            - message 3
            ? update u for 3: accepted in event 8
            --
            9  0ns      WorkflowExecutionSignaled s9
            10 0ns      WorkflowTaskScheduled attempt 1
            11 0ns      WorkflowTaskStarted
            12 0ns      WorkflowTaskCompleted
            13 0ns      WorkflowExecutionUpdateCompleted u
            - message 9
            ? update u for everyone: completed in event 13
            --
            - message 4
            ? update u for 4: completed in event 13
            --
            - message 1
            --
        "#]],
    );
}

#[test]
fn the_code_is_given_each_update_once_however_many_ask() {
    let mut run = waiting().run;
    let mut turn = Turn::begin(&mut run, START);
    turn.message(update(1, "u"));
    turn.message(update(2, "u"));
    turn.message(update(3, "v"));
    let given: Vec<_> = turn.updates().map(|(id, request)| (id.0.as_u128(), request.update_id.as_str())).collect();
    assert_eq!(given, [(1, "u"), (3, "v")]);
}

#[test]
fn an_update_waits_in_the_inbox_while_the_task_that_would_answer_it_fails() {
    let story = waiting().turn(|turn| {
        turn.message(update(1, "u"));
        assert!(turn.start_task("worker", None));
        turn.fail_task(WorkflowTaskFailedCause::Panic, Failure::application("Panic", "oh"), 1);
        assert_eq!(turn.updates().count(), 1);
    });
    let story = story.turn(|turn| given(turn, &[(1, "u")], vec![accept("u")]));
    check(
        &story,
        expect![[r#"
            5  0ns      WorkflowTaskScheduled attempt 1
            6  0ns      WorkflowTaskStarted
            7  0ns      WorkflowTaskFailed
            problem: Panic, attempt 1, next at 1s
            --
            8  0ns      WorkflowTaskScheduled attempt 2
            9  0ns      WorkflowTaskStarted
            10 0ns      WorkflowTaskCompleted
            11 0ns      WorkflowExecutionUpdateAccepted u
            - message 1
            no problem
            ? update u for 1: accepted in event 11
            --
        "#]],
    );
}

#[test]
fn an_update_that_the_code_does_not_answer_yet_waits_on() {
    let story = waiting().turn(|turn| given(turn, &[(1, "u")], vec![]));
    check(
        &story,
        expect![[r#"
            --
        "#]],
    );
}

#[test]
fn those_who_wait_hear_of_the_end_of_the_run() {
    let story = waiting().turn(|turn| given(turn, &[(1, "u"), (2, "v")], vec![accept("u")])).turn(|turn| {
        turn.message(update(2, "v"));
        turn.message(terminate(3));
        turn.message(update(4, "w"));
    });
    check(
        &story,
        expect![[r#"
            5  0ns      WorkflowTaskScheduled attempt 1
            6  0ns      WorkflowTaskStarted
            7  0ns      WorkflowTaskCompleted
            8  0ns      WorkflowExecutionUpdateAccepted u
            - message 1
            ? update u for 1: accepted in event 8
            --
            9  0ns      WorkflowExecutionTerminated
            - message 3
            - message 2
            - message 4
            ? update v for 2: the run closed (Terminated) before it accepted the update
            ? update w for 4: the run closed (Terminated) before it accepted the update
            ? update u for everyone: the run closed (Terminated) before it completed the update
            closes Terminated
            --
        "#]],
    );
}

#[test]
fn the_end_of_the_code_answers_what_it_was_given() {
    let story = waiting().turn(|turn| given(turn, &[(1, "u"), (2, "v")], vec![accept("u"), complete()]));
    check(
        &story,
        expect![[r#"
            5  0ns      WorkflowTaskScheduled attempt 1
            6  0ns      WorkflowTaskStarted
            7  0ns      WorkflowTaskCompleted
            8  0ns      WorkflowExecutionUpdateAccepted u
            9  0ns      WorkflowExecutionCompleted
            - message 1
            - message 2
            ? update u for 1: accepted in event 8
            ? update v for 2: the run closed (Completed) before it accepted the update
            ? update u for everyone: the run closed (Completed) before it completed the update
            closes Completed
            --
        "#]],
    );
}

#[test]
fn too_many_updates_are_refused_before_the_code_sees_them() {
    let story = waiting().turn(|turn| {
        (1..=11).for_each(|number| turn.message(update(number, &format!("u{number}"))));
        assert_eq!(turn.updates().count(), limits::UPDATES_IN_FLIGHT_MAX);
    });
    check(
        &story,
        expect![[r#"
            - message 11
            ? update u11 for 11: rejected: 10 updates are under way, which is the limit: send it again when one has ended
            --
        "#]],
    );
    let mut story = waiting();
    for first in 0..limits::UPDATES_MAX / 5 {
        let ids: Vec<String> = (0..5).map(|n| format!("u{}", first * 5 + n)).collect();
        let commands = ids.iter().flat_map(|id| [accept(id), done_with(id)]).collect();
        story = story.quiet().turn(|turn| {
            ids.iter().zip(0..).for_each(|(id, n)| turn.message(update(first as u128 * 5 + n, id)));
            assert!(turn.start_task("worker", None));
            turn.complete_task(commands, Vec::new()).unwrap();
        });
    }
    let story = story.quiet().turn(|turn| turn.message(update(60_000, "one more")));
    check(
        &story,
        expect![[r#"
            - message 60000
            ? update one more for 60000: rejected: the run has accepted 2000 updates, which is the limit: continue as new and send it again
            --
        "#]],
    );
}

#[test]
fn impossible_answers_are_refused() {
    let refused = |commands: Vec<Command>| {
        let mut run = waiting().turn(|turn| given(turn, &[(1, "u")], vec![accept("u"), done_with("u")])).run;
        let mut turn = Turn::begin(&mut run, START);
        turn.message(update(2, "v"));
        assert!(turn.start_task("worker", None));
        turn.complete_task(commands, Vec::new()).unwrap_err().to_string()
    };
    let all = [
        refused(vec![accept("x")]),
        refused(vec![accept("v"), reject("v")]),
        refused(vec![done_with("v")]),
        refused(vec![done_with("u")]),
        refused(vec![accept("v"), done_with("v"), done_with("v")]),
    ];
    expect![[r#"
        update `x` does not wait for an answer
        update `v` does not wait for an answer
        update `v` is not under way
        update `u` is not under way
        update `v` is not under way"#]]
    .assert_eq(&all.join("\n"));
}

#[test]
fn an_update_may_come_with_a_start_and_waits_in_the_inbox() {
    let mut start = StartWorkflow::new(
        RunId(Uuid::from_u128(1)),
        "order-42".into(),
        "checkout".into(),
        "queue".into(),
        Payload::null(),
    );
    start.signal = Some(update(1, "u"));
    start.validate().unwrap();
    let transition = start.transition(START);
    assert_eq!((transition.inbox, transition.events.len()), (vec![update(1, "u")], 2));
    start.signal = Some(update(1, ""));
    assert_eq!(start.validate().unwrap_err().to_string(), "update id is empty: give it at least one character");
}
