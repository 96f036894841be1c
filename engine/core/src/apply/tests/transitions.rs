//! Two transitions made one: what the second takes away from the first is never written.

use super::*;

/// The two steps as two transitions, and what is left of them as one.
fn joined(first: impl FnOnce(&mut Turn<'_>), second: impl FnOnce(&mut Turn<'_>)) -> Transition {
    let mut run = Story::begin().run;
    let mut turn = Turn::begin(&mut run, START);
    first(&mut turn);
    let transition = turn.finish();
    let mut turn = Turn::begin(&mut run, START.plus_ms(9_000));
    second(&mut turn);
    transition.followed_by(*turn.finish())
}

fn task(commands: Vec<Command>) -> impl FnOnce(&mut Turn<'_>) {
    move |turn| {
        assert!(turn.start_task("worker", None));
        turn.complete_task(commands, Vec::new()).unwrap();
    }
}

#[test]
fn a_timer_that_fires_in_the_second_is_not_written_by_the_first() {
    let joined = joined(task(vec![sleep(1, 5), sleep(2, 50)]), |turn| turn.timer_due(1));
    let written: Vec<TimerId> = joined.timers.iter().map(|row| row.timer_id).collect();
    assert_eq!(written, [2]);
    assert_eq!(joined.next_event_id(), joined.first_event_id + joined.events.len() as i64);
}

#[test]
fn an_activity_that_ends_in_the_second_is_neither_run_nor_written() {
    let joined = joined(task(vec![schedule(1), schedule(2)]), |turn| {
        turn.activity_outcome(outcome(1, 1, broken()));
        turn.offer_activity(2, false);
        turn.activity_outcome(outcome(2, 1, done()));
    });
    assert!(joined.attempts.iter().all(|task| task.activity_id != 1), "its second attempt is in a row");
    let rows: Vec<(ActivityId, u32)> = joined.activities.iter().map(|row| (row.activity_id, row.attempt)).collect();
    assert_eq!(rows, [(1, 2)]);
}

#[test]
fn a_row_that_the_second_removes_is_not_written_by_the_first() {
    let offering = |turn: &mut Turn<'_>| {
        task(vec![schedule(1), schedule(2)])(turn);
        turn.offer_activity(1, false);
        turn.offer_activity(2, false);
    };
    let joined = joined(offering, |turn| turn.activity_outcome(outcome(1, 1, done())));
    let rows: Vec<ActivityId> = joined.activities.iter().map(|row| row.activity_id).collect();
    assert_eq!((rows, joined.dropped_activities), (vec![2], vec![1]));
}

#[test]
#[should_panic(expected = "a run is not closed in the middle of a transition")]
fn a_transition_that_closes_is_not_joined() {
    joined(|turn| turn.message(terminate(1)), |_| ());
}
