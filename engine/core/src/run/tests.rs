//! Every state of a run against every event: which may follow, and what the others are refused with.

mod others;

use expect_test::{Expect, expect};
use uuid::Uuid;

use super::*;
use crate::{
    activity::ActivityOptions,
    event::*,
    failure::{RetryState, TimeoutType},
    ids::{RunId, WorkflowId},
    start::StartWorkflow,
    transition::ActivityTask,
};

const START: Timestamp = Timestamp(1_000_000_000);
const HOUR_MS: u64 = 3_600_000;

fn start() -> StartWorkflow {
    let run_id = RunId(Uuid::from_u128(1));
    let id = WorkflowId::new("order-42");
    let mut start = StartWorkflow::new(run_id, id, "checkout".into(), "queue".into(), Payload::null());
    start.run_timeout_ms = Some(HOUR_MS);
    start
}

fn message(number: u128) -> MessageId {
    MessageId(Uuid::from_u128(number))
}

/// Folds a kind of event at `after_ms` from the start.
fn follow(run: &mut Run, event: EventKind, after_ms: u64) -> Result<(), CorruptHistory> {
    run.fold(&Event { event_id: run.next_event_id, event_time: START.plus_ms(after_ms), event })
}

fn begun() -> Run {
    let transition = start().transition(START);
    Run::begin(&transition.events[0]).unwrap()
}

/// A run after these events, which follow its start.
fn run_of(events: impl IntoIterator<Item = EventKind>) -> Run {
    let mut run = begun();
    for event in events {
        follow(&mut run, event, 0).unwrap();
    }
    run
}

fn scheduled() -> EventKind {
    EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled { attempt: 1 })
}

fn started(scheduled_event_id: i64) -> EventKind {
    let identity = "worker".into();
    let continue_as_new_suggested = false;
    EventKind::WorkflowTaskStarted(WorkflowTaskStarted {
        scheduled_event_id,
        identity,
        build_id: None,
        continue_as_new_suggested,
    })
}

fn completed(scheduled_event_id: i64) -> EventKind {
    let started_event_id = scheduled_event_id + 1;
    EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
        scheduled_event_id,
        started_event_id,
        local_activities: 0,
    })
}

fn activity(activity_id: ActivityId) -> EventKind {
    let options = ActivityOptions { start_to_close_ms: Some(1_000), ..ActivityOptions::default() };
    let input = Payload::null();
    let scheduled = ActivityTaskScheduled { activity_id, activity_type: "charge".into(), input, options };
    EventKind::ActivityTaskScheduled(Arc::new(scheduled))
}

fn timer(timer_id: TimerId) -> EventKind {
    EventKind::TimerStarted(TimerStarted { timer_id, fire_at: START.plus_ms(HOUR_MS) })
}

fn signaled(number: u128) -> EventKind {
    EventKind::WorkflowExecutionSignaled(WorkflowExecutionSignaled {
        message_id: message(number),
        signal_name: "approve".to_owned(),
        input: Payload::null(),
        identity: String::new(),
    })
}

fn attempt_started(scheduled_event_id: i64) -> EventKind {
    EventKind::ActivityTaskStarted(ActivityTaskStarted {
        activity_id: 1,
        scheduled_event_id,
        attempt: 1,
        identity: "worker".into(),
        started_at: START,
        last_failure: None,
    })
}

fn stop_requested(scheduled_event_id: i64) -> EventKind {
    EventKind::ActivityTaskCancelRequested(ActivityTaskCancelRequested { activity_id: 1, scheduled_event_id })
}

/// The states of a run's life. The activity is event 5, the timer event 6, in those that have them.
fn states() -> Vec<(&'static str, Run)> {
    let first_task = || [scheduled(), started(2), completed(2)];
    let waiting = || [scheduled(), started(2), completed(2), activity(1), timer(1)];
    let terminated = EventKind::WorkflowExecutionTerminated(WorkflowExecutionTerminated {
        message_id: message(9),
        reason: String::new(),
        identity: String::new(),
    });
    vec![
        ("begun", begun()),
        ("scheduled", run_of([scheduled()])),
        ("started", run_of([scheduled(), started(2)])),
        ("completed", run_of(first_task())),
        ("waiting", run_of(waiting())),
        ("signaled", run_of(waiting().into_iter().chain([signaled(1)]))),
        ("attempt", run_of(waiting().into_iter().chain([attempt_started(5)]))),
        ("stopping", run_of(waiting().into_iter().chain([stop_requested(5)]))),
        ("closed", run_of(waiting().into_iter().chain([terminated]))),
    ]
}

/// One event of each kind, as it would follow in `run`: about its task, activity 1 and timer 1, or new ids.
fn each_kind(run: &Run) -> Vec<EventKind> {
    let task = run.task.map_or(2, |task| task.scheduled_event_id);
    let failure = Failure::application("Io", "broken pipe");
    let (scheduled_event_id, started_event_id) = (task, task + 1);
    let text = String::new;
    vec![
        EventKind::WorkflowExecutionStarted(Box::new((*run.started).clone())),
        signaled(2),
        EventKind::WorkflowExecutionCancelRequested(WorkflowExecutionCancelRequested {
            message_id: message(3),
            reason: text(),
            identity: text(),
        }),
        scheduled(),
        started(task),
        completed(task),
        EventKind::WorkflowTaskFailed(WorkflowTaskFailed {
            scheduled_event_id,
            started_event_id,
            cause: WorkflowTaskFailedCause::Panic,
            failure: failure.clone(),
        }),
        EventKind::WorkflowTaskTimedOut(WorkflowTaskTimedOut {
            scheduled_event_id,
            started_event_id,
            failure: failure.clone(),
        }),
        activity(2),
        attempt_started(5),
        EventKind::ActivityTaskCompleted(ActivityTaskCompleted {
            activity_id: 1,
            scheduled_event_id: 5,
            result: Payload::null(),
        }),
        EventKind::ActivityTaskFailed(Box::new(ActivityTaskFailed {
            activity_id: 1,
            scheduled_event_id: 5,
            failure: failure.clone(),
            retry_state: RetryState::MaximumAttemptsReached,
        })),
        EventKind::ActivityTaskTimedOut(ActivityTaskTimedOut {
            activity_id: 1,
            scheduled_event_id: 5,
            timeout_type: TimeoutType::ScheduleToStart,
            retry_state: RetryState::NonRetryableFailure,
            last_heartbeat: None,
        }),
        stop_requested(5),
        EventKind::ActivityTaskCanceled(ActivityTaskCanceled { activity_id: 1, scheduled_event_id: 5, details: None }),
        timer(2),
        EventKind::TimerFired(TimerFired { timer_id: 1, started_event_id: 6 }),
        EventKind::TimerCanceled(TimerCanceled { timer_id: 1, started_event_id: 6 }),
        EventKind::WorkflowExecutionCompleted(WorkflowExecutionCompleted { result: Payload::null() }),
        EventKind::WorkflowExecutionFailed(WorkflowExecutionFailed { failure, retry_state: None, new_run_id: None }),
        EventKind::WorkflowExecutionTimedOut(WorkflowExecutionTimedOut {
            timeout_ms: HOUR_MS,
            retry_state: None,
            new_run_id: None,
        }),
        EventKind::WorkflowExecutionCanceled(WorkflowExecutionCanceled { details: None }),
        EventKind::WorkflowExecutionTerminated(WorkflowExecutionTerminated {
            message_id: message(4),
            reason: text(),
            identity: text(),
        }),
    ]
}

#[test]
fn every_event_is_legal_in_these_states_and_corrupt_in_the_others() {
    let states = states();
    let mut table = format!("{:34}", "");
    for (name, _) in &states {
        table.push_str(&format!("{name:>10}"));
    }
    table.push('\n');
    for index in 0..each_kind(&states[0].1).len() {
        let name = each_kind(&states[0].1)[index].name();
        let mut line = format!("{name:34}");
        for (_, state) in &states {
            let event = each_kind(state).swap_remove(index);
            let legal = follow(&mut state.clone(), event, HOUR_MS).is_ok();
            line.push_str(&format!("{:>10}", if legal { "legal" } else { "-" }));
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    expect![[r#"
                                               begun scheduled   started completed   waiting  signaled   attempt  stopping    closed
        WorkflowExecutionStarted                   -         -         -         -         -         -         -         -         -
        WorkflowExecutionSignaled              legal     legal     legal     legal     legal     legal     legal     legal         -
        WorkflowExecutionCancelRequested       legal     legal     legal     legal     legal     legal     legal     legal         -
        WorkflowTaskScheduled                  legal         -         -     legal     legal     legal     legal     legal         -
        WorkflowTaskStarted                        -     legal         -         -         -         -         -         -         -
        WorkflowTaskCompleted                      -         -     legal         -         -         -         -         -         -
        WorkflowTaskFailed                         -         -     legal         -         -         -         -         -         -
        WorkflowTaskTimedOut                       -         -     legal         -         -         -         -         -         -
        ActivityTaskScheduled                      -         -         -     legal     legal         -         -     legal         -
        ActivityTaskStarted                        -         -         -         -     legal     legal         -     legal         -
        ActivityTaskCompleted                      -         -         -         -         -         -     legal         -         -
        ActivityTaskFailed                         -         -         -         -     legal     legal     legal     legal         -
        ActivityTaskTimedOut                       -         -         -         -     legal     legal     legal     legal         -
        ActivityTaskCancelRequested                -         -         -         -     legal         -         -     legal         -
        ActivityTaskCanceled                       -         -         -         -         -         -         -     legal         -
        TimerStarted                               -         -         -     legal     legal         -         -     legal         -
        TimerFired                                 -         -         -         -     legal     legal     legal     legal         -
        TimerCanceled                              -         -         -         -     legal         -         -     legal         -
        WorkflowExecutionCompleted                 -         -         -     legal     legal         -         -     legal         -
        WorkflowExecutionFailed                    -         -         -     legal     legal         -         -     legal         -
        WorkflowExecutionTimedOut              legal     legal     legal     legal     legal     legal     legal     legal         -
        WorkflowExecutionCanceled                  -         -         -     legal     legal         -         -     legal         -
        WorkflowExecutionTerminated            legal     legal     legal     legal     legal     legal     legal     legal         -
    "#]].assert_eq(&table);
}

#[test]
fn a_legal_event_leaves_a_run_that_its_history_gives_again() {
    for (name, state) in states() {
        for event in each_kind(&state) {
            let mut run = state.clone();
            let before = run.next_event_id;
            if follow(&mut run, event, HOUR_MS).is_ok() {
                assert_eq!(run.next_event_id, before + 1, "in state {name}");
                assert_eq!(run.last_event_time, START.plus_ms(HOUR_MS), "in state {name}");
            }
        }
    }
}

fn refused(run: &Run, event: EventKind, after_ms: u64, expected: Expect) {
    expected.assert_eq(&follow(&mut run.clone(), event, after_ms).unwrap_err().problem);
}

#[test]
fn an_event_out_of_place_or_time_is_corrupt() {
    let run = begun();
    let mut later = run.clone();
    follow(&mut later, scheduled(), 5).unwrap();
    refused(&later, started(2), 4, expect!["WorkflowTaskStarted: time went backwards"]);
    let skipped = Event { event_id: 4, event_time: START, event: scheduled() };
    expect!["history of run 00000000-0000-0000-0000-000000000001 is corrupt at event 4: WorkflowTaskScheduled: expected event 2"].assert_eq(&run.clone().fold(&skipped).unwrap_err().to_string());
    let again = Event { event_id: 1, event_time: START, event: scheduled() };
    expect!["history of run 00000000-0000-0000-0000-000000000001 is corrupt at event 1: WorkflowTaskScheduled: expected event 2"].assert_eq(&run.clone().fold(&again).unwrap_err().to_string());
}

#[test]
fn a_timer_that_fires_early_is_corrupt() {
    let waiting = run_of([scheduled(), started(2), completed(2), timer(1)]);
    let fired = || EventKind::TimerFired(TimerFired { timer_id: 1, started_event_id: 5 });
    refused(&waiting, fired(), HOUR_MS - 1, expect!["TimerFired: the timer is not due"]);
    follow(&mut waiting.clone(), fired(), HOUR_MS).unwrap();
    let timed_out = EventKind::WorkflowExecutionTimedOut(WorkflowExecutionTimedOut {
        timeout_ms: HOUR_MS,
        retry_state: None,
        new_run_id: None,
    });
    refused(
        &waiting,
        timed_out,
        HOUR_MS - 1,
        expect!["WorkflowExecutionTimedOut: the run has no timeout that has passed"],
    );
}

#[test]
fn the_runs_own_timer_is_no_workflows_to_use() {
    let run = run_of([scheduled(), started(2), completed(2)]);
    refused(&run, timer(RUN_TIMEOUT_TIMER), 0, expect!["TimerStarted: timer 0 is the run's own"]);
    let (timer_id, started_event_id) = (RUN_TIMEOUT_TIMER, 0);
    refused(
        &run,
        EventKind::TimerCanceled(TimerCanceled { timer_id, started_event_id }),
        0,
        expect!["TimerCanceled: timer 0 of event 0 is not pending"],
    );
}

#[test]
fn an_id_that_is_in_use_is_corrupt() {
    let run = run_of([scheduled(), started(2), completed(2), activity(1), timer(1)]);
    refused(&run, activity(1), 0, expect!["ActivityTaskScheduled: the activity id is in use"]);
    refused(&run, timer(1), 0, expect!["TimerStarted: the timer id is in use"]);
    let run = run_of([signaled(1)]);
    refused(&run, signaled(1), 0, expect!["WorkflowExecutionSignaled: the message is recorded already"]);
}

#[test]
fn an_outcome_of_another_scheduling_is_corrupt() {
    let run = run_of([scheduled(), started(2), completed(2), activity(1)]);
    refused(&run, attempt_started(4), 0, expect!["ActivityTaskStarted: activity 1 of event 4 is not pending"]);
    let mut begun = run.clone();
    follow(&mut begun, attempt_started(5), 0).unwrap();
    refused(&begun, attempt_started(5), 0, expect!["ActivityTaskStarted: an attempt with an outcome began already"]);
}

#[test]
fn a_workflow_task_that_saw_less_than_there_is_does_not_close_the_run() {
    let run = run_of([scheduled(), started(2), signaled(1), completed(2)]);
    let closing = EventKind::WorkflowExecutionCompleted(WorkflowExecutionCompleted { result: Payload::null() });
    refused(
        &run,
        closing,
        0,
        expect!["WorkflowExecutionCompleted: something happened that the workflow's code was not given"],
    );
    assert!(run.wants_task(START), "what came while the code ran is given to it in another task");
}

#[test]
fn a_history_begins_with_event_1_a_start() {
    expect!["history of run ? is corrupt at event 1: it is empty"]
        .assert_eq(&Run::from_history(&[]).unwrap_err().to_string());
    let mut first = start().transition(START).events.remove(0);
    first.event_id = 2;
    expect![
        "history of run 00000000-0000-0000-0000-000000000001 is corrupt at event 2: the first event is not number 1"
    ]
    .assert_eq(&Run::begin(&first).unwrap_err().to_string());
    let other = Event { event_id: 1, event_time: START, event: scheduled() };
    expect!["history of run ? is corrupt at event 1: the first event is no WorkflowExecutionStarted"]
        .assert_eq(&Run::begin(&other).unwrap_err().to_string());
}

#[test]
fn a_start_delay_holds_the_first_task_until_a_message_comes() {
    let mut start = start();
    start.start_delay_ms = Some(60_000);
    let mut run = Run::begin(&start.transition(START).events[0]).unwrap();
    assert!(!run.wants_task(START.plus_ms(59_999)));
    assert!(run.wants_task(START.plus_ms(60_000)));
    assert_eq!(run.deadline(), Some(START.plus_ms(60_000 + HOUR_MS)), "the timeout begins after the delay");
    follow(&mut run, signaled(1), 0).unwrap();
    assert!(run.wants_task(START), "a signal ends the delay");
}

#[test]
fn the_run_ends_by_the_shorter_of_its_timeouts() {
    let mut start = start();
    start.execution_timeout_ms = Some(1_000);
    let run = Run::begin(&start.transition(START).events[0]).unwrap();
    assert_eq!(run.deadline(), Some(START.plus_ms(1_000)));
}

#[test]
fn what_failed_attempts_left_behind_comes_back_from_the_row() {
    let mut run = run_of([scheduled(), started(2), completed(2), activity(1)]);
    let failure = Failure::application("Io", "broken pipe");
    let row = ActivityRow {
        activity_id: 1,
        attempt: 3,
        visible_at: START,
        claimed_by_owner: false,
        last_failure: Some(failure.clone()),
        last_heartbeat: Some(Payload::encode("details", &7).unwrap()),
        state: AttemptState { paused: true, attempts_before: 1, asynchronous_since: None },
        task: Box::new(task(&run)),
    };
    run.restore_activity(&row);
    let pending = &run.activities[&1];
    assert_eq!((pending.attempt, pending.has_row), (3, true));
    assert_eq!(pending.state, row.state);
    assert_eq!((&pending.last_failure, &pending.last_heartbeat), (&Some(failure), &row.last_heartbeat));
    let others = run.clone();
    run.restore_activity(&ActivityRow { activity_id: 8, ..row });
    assert_eq!(run, others, "a row of no pending activity changes nothing");
}

fn task(run: &Run) -> ActivityTask {
    let mut run = run.clone();
    let turn = crate::apply::Turn::begin(&mut run, START);
    turn.current_attempt(1).unwrap()
}

#[test]
fn the_size_of_a_history_counts_what_users_put_in() {
    let run = begun();
    let mut signal = signaled(1);
    if let EventKind::WorkflowExecutionSignaled(it) = &mut signal {
        it.input = Payload::encode("value", &"x".repeat(1_000)).unwrap();
    }
    let mut after = run.clone();
    follow(&mut after, signal, 0).unwrap();
    assert!(after.history_bytes >= run.history_bytes + 1_000);
}

#[test]
fn a_status_is_read_back_as_it_is_shown() {
    for status in RunStatus::ALL {
        assert_eq!(RunStatus::parse(&status.as_str().to_lowercase()), Some(status));
    }
    assert_eq!(RunStatus::parse("unknown"), None);
}
