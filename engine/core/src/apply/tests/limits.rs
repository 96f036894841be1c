//! Impossible commands and passed limits: refused before anything is appended, with the limit and the way out.

use expect_test::expect;

use super::*;
use crate::limits;

/// What these commands are refused with by a run that has activity 1 and timer 1.
fn refused(commands: Vec<Command>) -> String {
    let story = Story::begin().task(vec![schedule(1), sleep(1, 5)]).turn(|turn| turn.message(signal(1)));
    let mut run = story.run.clone();
    let mut turn = Turn::begin(&mut run, START);
    assert!(turn.start_task("worker", None));
    let events = turn.events().len();
    let refused = turn.complete_task(commands, Vec::new()).unwrap_err();
    assert_eq!(turn.events().len(), events, "nothing is appended");
    refused.to_string()
}

#[test]
fn an_impossible_command_is_refused() {
    let zero = ActivityOptions { heartbeat_ms: Some(0), ..options() };
    let nameless = Command::ScheduleActivityTask {
        activity_id: 2,
        activity_type: "".into(),
        input: Payload::null(),
        options: Box::new(options()),
    };
    let all = [
        refused(vec![schedule(1)]),
        refused(vec![schedule(2), schedule(2)]),
        refused(vec![sleep(1, 5)]),
        refused(vec![Command::CancelTimer { timer_id: 1 }, sleep(1, 5)]),
        refused(vec![sleep(0, 5)]),
        refused(vec![Command::CancelTimer { timer_id: 0 }]),
        refused(vec![complete(), schedule(2)]),
        refused(vec![schedule_with(2, ActivityOptions::default())]),
        refused(vec![schedule_with(2, zero)]),
        refused(vec![schedule_with(2, ActivityOptions { priority: 0, ..options() })]),
        refused(vec![schedule_with(2, ActivityOptions { task_queue: Some("".into()), ..options() })]),
        refused(vec![nameless]),
    ];
    expect![[r#"
        activity id 1 is in use
        activity id 2 is in use
        timer id 1 is in use
        timer id 1 is in use
        timer id 0 is in use
        timer 0 is the run's own timeout
        CompleteWorkflowExecution is followed by other commands
        activity `charge` has no timeout: give it start-to-close or schedule-to-close
        activity `charge` has a timeout of zero: leave it out for none, or give at least 1 ms
        activity `charge` has priority 0: choose 1 (first) to 5 (last)
        activity `charge` cannot be offered: task queue is empty: give it at least one character
        activity type is empty: give it at least one character"#]]
    .assert_eq(&all.join("\n"));
}

#[test]
fn too_much_at_once_is_refused() {
    let activities = (2..=2_001).map(schedule).collect();
    let timers = (2..=2_001).map(|id| sleep(id, 5)).collect();
    let all = [refused(activities), refused(timers)];
    expect![[r#"
        the run would have 2001 activities without an outcome, the limit is 2000: work in smaller batches, or split the work over several workflows
        the run would have 2001 timers that have not fired, the limit is 2000: work in smaller batches, or split the work over several workflows"#]].assert_eq(&all.join("\n"));
    let allowed = (2..=2_000).flat_map(|id| [schedule(id), sleep(id, 5)]).collect();
    let story = Story::begin().task(vec![schedule(1), sleep(1, 5)]).turn(|turn| turn.message(signal(1)));
    assert_eq!(story.task(allowed).run.activities.len(), limits::PENDING_ACTIVITIES_MAX);
}

#[test]
fn a_history_that_is_full_takes_only_its_end() {
    let mut story = Story::begin();
    story.run.next_event_id = limits::HISTORY_EVENTS_MAX;
    let mut turn = Turn::begin(&mut story.run, START);
    assert!(turn.start_task("worker", None));
    let refused = turn.complete_task(vec![schedule(1)], Vec::new()).unwrap_err().to_string();
    expect!["the run would have 51202 events in its history, the limit is 51200: work in smaller batches, or split the work over several workflows"].assert_eq(&refused);
    turn.complete_task(vec![complete()], Vec::new()).unwrap();
}

#[test]
fn a_history_that_is_too_large_takes_only_its_end() {
    let mut story = Story::begin();
    story.run.history_bytes = limits::HISTORY_BYTES_MAX;
    let mut turn = Turn::begin(&mut story.run, START);
    assert!(turn.start_task("worker", None));
    let refused = turn.complete_task(vec![schedule(1)], Vec::new()).unwrap_err().to_string();
    expect!["the run would have 52428954 bytes in its history, the limit is 52428800: work in smaller batches, or split the work over several workflows"].assert_eq(&refused);
    turn.complete_task(vec![complete()], Vec::new()).unwrap();
}

#[test]
fn a_published_value_needs_a_name() {
    let mut run = Story::begin().run;
    let mut turn = Turn::begin(&mut run, START);
    assert!(turn.start_task("worker", None));
    let refused = turn.complete_task(Vec::new(), vec![(String::new(), Payload::null())]).unwrap_err();
    expect!["name of a published value is empty: give it at least one character"].assert_eq(&refused.to_string());
    let many = (0..=limits::PUBLISHED_VALUES_MAX).map(|n| (format!("v{n}"), Payload::null())).collect();
    expect!["the code published 101 values at once, the limit is 100: publish one value that holds the others"]
        .assert_eq(&turn.complete_task(Vec::new(), many).unwrap_err().to_string());
}
