//! Random lives: whatever comes in whatever order, what is written is a history and its fold is the run.

mod wishes;

use std::collections::BTreeSet;

use proptest::prelude::*;

use self::wishes::{Wish, commands, wish};
use super::*;
use crate::{
    batch,
    branch::{self, InvalidBranch, Reapply, Reset},
    event::WorkflowTaskFailedCause,
    failure::TimeoutType,
    outbox::{ExternalWorkflowExecutionFailedCause, OutboxAnswer, StartChildWorkflowExecutionFailedCause},
};

/// One thing that happens to a run. Small numbers, so that they meet.
#[derive(Clone, Debug)]
enum Input {
    Signal(u128),
    Cancel(u128),
    Terminate(u128),
    Outcome {
        activity_id: ActivityId,
        attempt: u32,
        result: u8,
        began: bool,
    },
    Lost(ActivityId),
    Heartbeat {
        activity_id: ActivityId,
        attempt: u32,
        details: bool,
    },
    Offer {
        activity_id: ActivityId,
        kept: bool,
    },
    TimerDue(TimerId),
    TimerMessage(TimerId),
    /// What became of a row for another run: number, kind of answer, whether the event is the right one.
    Answer {
        number: u64,
        kind: u8,
        stale: bool,
    },
    ChildClosed {
        number: u64,
        kind: u8,
    },
    Update {
        message: u128,
        update_id: u8,
    },
    Operator {
        message: u128,
        kind: u8,
        activity_id: ActivityId,
    },
    Wake,
}

/// What becomes of the workflow task of a step.
#[derive(Clone, Debug)]
enum Task {
    None,
    Completed(Vec<Wish>),
    Failed,
    TimedOut,
}

#[derive(Clone, Debug)]
struct Step {
    after_ms: u64,
    inputs: Vec<Input>,
    task: Task,
}

fn input() -> impl Strategy<Value = Input> {
    let small = 1u64..6;
    prop_oneof![
        3 => (1u128..20).prop_map(Input::Signal),
        1 => (20u128..23).prop_map(Input::Cancel),
        1 => prop_oneof![20 => (20u128..23).prop_map(Input::Cancel), 1 => (23u128..25).prop_map(Input::Terminate)],
        6 => (small.clone(), 1u32..4, 0u8..7, any::<bool>())
            .prop_map(|(activity_id, attempt, result, began)| Input::Outcome { activity_id, attempt, result, began }),
        1 => small.clone().prop_map(Input::Lost),
        2 => (small.clone(), 1u32..4, any::<bool>())
            .prop_map(|(activity_id, attempt, details)| Input::Heartbeat { activity_id, attempt, details }),
        1 => (small.clone(), any::<bool>()).prop_map(|(activity_id, kept)| Input::Offer { activity_id, kept }),
        3 => (0u64..6).prop_map(Input::TimerDue),
        1 => small.clone().prop_map(Input::TimerMessage),
        4 => (small.clone(), 0u8..6, any::<bool>())
            .prop_map(|(number, kind, stale)| Input::Answer { number, kind, stale: stale && kind == 5 }),
        2 => (small.clone(), 0u8..5).prop_map(|(number, kind)| Input::ChildClosed { number, kind }),
        3 => (400u128..430, 0u8..12).prop_map(|(message, update_id)| Input::Update { message, update_id }),
        2 => (500u128..540, 0u8..6, small)
            .prop_map(|(message, kind, activity_id)| Input::Operator { message, kind, activity_id }),
        1 => Just(Input::Wake),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let task = prop_oneof![
        2 => Just(Task::None),
        6 => prop::collection::vec(wish(), 0..4).prop_map(Task::Completed),
        1 => Just(Task::Failed),
        1 => Just(Task::TimedOut),
    ];
    (0u64..4_000, prop::collection::vec(input(), 0..4), task).prop_map(|(after_ms, inputs, task)| Step {
        after_ms,
        inputs,
        task,
    })
}

fn take(turn: &mut Turn<'_>, input: &Input) {
    let details = |said: bool| said.then(Payload::null);
    match *input {
        Input::Signal(number) => turn.message(signal(number)),
        Input::Cancel(number) => turn.message(cancel(number)),
        Input::Terminate(number) => turn.message(terminate(number)),
        Input::Outcome { activity_id, attempt, result, began } => {
            let result = match result {
                0 | 1 => done(),
                2 => broken(),
                3 => ActivityResult::Canceled { details: None },
                4 => ActivityResult::TimedOut { timeout: TimeoutType::StartToClose },
                5 => ActivityResult::CompletesAsynchronously,
                _ => ActivityResult::TimedOut { timeout: TimeoutType::ScheduleToStart },
            };
            let started_at = began.then_some(START);
            let last_heartbeat = details(attempt == 2);
            turn.activity_outcome(ActivityOutcome {
                started_at,
                last_heartbeat,
                ..outcome(activity_id, attempt, result)
            });
        }
        Input::Lost(activity_id) => turn.activity_lost(activity_id, "gone"),
        Input::Heartbeat { activity_id, attempt, details: said } => {
            turn.activity_heartbeat(activity_id, attempt, details(said));
        }
        Input::Offer { activity_id, kept } => turn.offer_activity(activity_id, kept),
        Input::TimerDue(timer_id) => turn.timer_due(timer_id),
        Input::TimerMessage(timer_id) => {
            turn.message(message(300 + u128::from(timer_id), MessageBody::TimerDue { timer_id }));
        }
        Input::Answer { number, kind, stale } => take_answer(turn, number, kind, stale),
        Input::ChildClosed { number, kind } => {
            let asked = turn.run().child(number).map_or(1, |child| child.initiated_event_id);
            let outcome = match kind {
                0 => ChildOutcome::Completed(Payload::null()),
                1 => ChildOutcome::Failed {
                    failure: Failure::application("No", "no"),
                    retry_state: crate::RetryState::MaximumAttemptsReached,
                },
                2 => ChildOutcome::Canceled(None),
                3 => ChildOutcome::TimedOut { retry_state: crate::RetryState::Timeout },
                _ => ChildOutcome::Terminated { reason: String::new() },
            };
            let run_id = RunId(Uuid::from_u128(77));
            let closed = ChildClosed { child_id: number, initiated_event_id: asked, run_id, outcome };
            turn.message(message(700 + u128::from(number), MessageBody::ChildClosed(Box::new(closed))));
        }
        Input::Update { message, update_id } => turn.message(update(message, &format!("u{update_id}"))),
        Input::Operator { message: number, kind, activity_id } => {
            let (reason, identity) = (String::new(), String::new());
            turn.message(message(
                number,
                match kind {
                    0 => MessageBody::Pause { reason, identity },
                    1 | 2 => MessageBody::Unpause { reason, identity },
                    3 => MessageBody::PauseActivity { activity_id },
                    4 => MessageBody::UnpauseActivity { activity_id },
                    _ => MessageBody::ResetActivity { activity_id },
                },
            ));
        }
        Input::Wake => turn.wake(),
    }
}

fn take_answer(turn: &mut Turn<'_>, number: u64, kind: u8, stale: bool) {
    let run = turn.run();
    let rare = run.rare.as_deref();
    let cause = ExternalWorkflowExecutionFailedCause::ExternalWorkflowExecutionNotFound;
    let signal = rare.and_then(|rare| rare.external_signals.get(&number).copied());
    let cancel = rare.and_then(|rare| rare.external_cancels.get(&number).copied());
    let child = run.child(number).map(|child| child.initiated_event_id);
    let (asked, answer) = match kind {
        0 => (signal, OutboxAnswer::Signaled { signal_id: number }),
        1 => (signal, OutboxAnswer::SignalFailed { signal_id: number, cause }),
        2 => (cancel, OutboxAnswer::CancelRequested { cancel_id: number }),
        3 => (cancel, OutboxAnswer::CancelFailed { cancel_id: number, cause }),
        4 => {
            let cause = StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists;
            (child, OutboxAnswer::StartChildFailed { child_id: number, cause })
        }
        _ => (child, OutboxAnswer::ChildStarted { child_id: number }),
    };
    let event_id = asked.unwrap_or(1) - i64::from(stale);
    turn.message(message(600 + u128::from(number), MessageBody::OutboxAnswer { event_id, answer }));
}

fn live(start_delay_ms: Option<u64>, run_timeout_ms: Option<u64>, steps: &[Step]) -> Story {
    let mut story = Story::begin_with(|start| {
        start.start_delay_ms = start_delay_ms;
        start.run_timeout_ms = run_timeout_ms;
    });
    let (mut next, mut failures) = (0, 0);
    for step in steps {
        if story.run.status != crate::RunStatus::Running {
            break;
        }
        story = story.after(step.after_ms).turn(|turn| {
            step.inputs.iter().for_each(|input| take(turn, input));
            if matches!(step.task, Task::None) || !turn.start_task("worker", None) {
                return;
            }
            match &step.task {
                Task::None => {}
                Task::Completed(wishes) => {
                    failures = 0;
                    let commands = commands(turn, wishes, &mut next);
                    turn.complete_task(commands, Vec::new()).unwrap();
                }
                Task::Failed => {
                    failures += 1;
                    turn.fail_task(WorkflowTaskFailedCause::Panic, Failure::application("Panic", "oh"), failures);
                }
                Task::TimedOut => {
                    failures += 1;
                    turn.time_out_task(Failure::application("Late", "loop"), failures);
                }
            }
        });
    }
    story
}

/// What each activity, timer and the run itself came to.
fn outcomes(events: &[Event]) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for event in events {
        let of = match &event.event {
            EventKind::ActivityTaskCompleted(it) => format!("activity {}", it.activity_id),
            EventKind::ActivityTaskFailed(it) => format!("activity {}", it.activity_id),
            EventKind::ActivityTaskTimedOut(it) => format!("activity {}", it.activity_id),
            EventKind::ActivityTaskCanceled(it) => format!("activity {}", it.activity_id),
            EventKind::TimerFired(it) => format!("timer {}", it.timer_id),
            EventKind::TimerCanceled(it) => format!("timer {}", it.timer_id),
            EventKind::StartChildWorkflowExecutionFailed(it) => format!("child {}", it.child_id),
            EventKind::ChildWorkflowExecutionCompleted(it) => format!("child {}", it.child_id),
            EventKind::ChildWorkflowExecutionFailed(it) => format!("child {}", it.child_id),
            EventKind::ChildWorkflowExecutionCanceled(it) => format!("child {}", it.child_id),
            EventKind::ChildWorkflowExecutionTimedOut(it) => format!("child {}", it.child_id),
            EventKind::ChildWorkflowExecutionTerminated(it) => format!("child {}", it.child_id),
            EventKind::SignalExternalWorkflowExecutionFailed(it) => format!("signal {}", it.signal_id),
            EventKind::ExternalWorkflowExecutionSignaled(it) => format!("signal {}", it.signal_id),
            EventKind::RequestCancelExternalWorkflowExecutionFailed(it) => format!("cancel {}", it.cancel_id),
            EventKind::ExternalWorkflowExecutionCancelRequested(it) => format!("cancel {}", it.cancel_id),
            EventKind::WorkflowExecutionUpdateCompleted(it) => format!("update {}", it.update_id),
            kind if kind.closes() => "run".to_owned(),
            _ => continue,
        };
        *outcomes.entry(of).or_default() += 1;
    }
    outcomes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn whatever_happens_is_a_history_whose_fold_is_the_run(
        delay in prop::option::of(0u64..3_000),
        timeout in prop::option::of(1u64..60_000),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let story = live(delay, timeout, &steps);
        for (event, id) in story.events.iter().zip(1..) {
            prop_assert_eq!(event.event_id, id, "event ids are dense");
        }
        prop_assert!(story.events.is_sorted_by_key(|event| event.event_time), "time never decreases");
        prop_assert!(outcomes(&story.events).values().all(|count| *count == 1), "one outcome each");
        let closing = story.events.iter().position(|event| event.event.closes());
        let closed = story.run.status != crate::RunStatus::Running;
        prop_assert_eq!(closing, closed.then(|| story.events.len() - 1), "one closing event, last");
    }

    #[test]
    fn a_history_is_read_as_it_was_written_whatever_rows_it_is_cut_into(
        identities in prop::array::uniform2("[ab]?"),
        steps in prop::collection::vec(step(), 1..20),
        rows in prop::collection::vec(1usize..12, 1..40),
    ) {
        let mut events = live(None, Some(30_000), &steps).events;
        for (event, identity) in events.iter_mut().zip(identities.iter().cycle()) {
            match &mut event.event {
                EventKind::WorkflowExecutionStarted(it) => it.identity.clone_from(identity),
                EventKind::WorkflowExecutionSignaled(it) => it.identity.clone_from(identity),
                EventKind::WorkflowTaskStarted(it) => it.identity = identity.as_str().into(),
                EventKind::ActivityTaskStarted(it) => it.identity = identity.as_str().into(),
                _ => {}
            }
        }
        let run_id = RunId(Uuid::from_u128(1));
        let mut rest = events.as_slice();
        for row in rows {
            let (row, after) = rest.split_at(row.min(rest.len()));
            let first = row.first().map_or(1, |event| event.event_id);
            let bytes = batch::encode(run_id, first, row);
            prop_assert_eq!(batch::decode(run_id, first, &bytes).unwrap(), row, "{}", String::from_utf8_lossy(&bytes));
            rest = after;
        }
    }

    #[test]
    fn a_branch_at_any_task_of_any_life_is_a_history_or_says_what_it_waits_for(
        steps in prop::collection::vec(step(), 1..20),
        place in any::<prop::sample::Index>(),
    ) {
        let events = live(None, Some(30_000), &steps).events;
        let starts = |event: &&Event| matches!(event.event, EventKind::WorkflowTaskStarted(_));
        let starts: Vec<i64> = events.iter().filter(starts).map(|event| event.event_id).collect();
        prop_assume!(!starts.is_empty());
        let event_id = starts[place.index(starts.len())];
        let run_id = RunId(Uuid::from_u128(2));
        let reset = Reset { point: branch::ResetPoint::Event(event_id), run_id, reason: String::new(), reapply: Reapply::Messages };
        match branch::reset(&events, &reset, START.plus_ms(100_000)) {
            Err(error) => prop_assert!(matches!(error, InvalidBranch::Pending { .. }), "{}", error),
            Ok(successor) => {
                let transition = &successor.transition;
                let run = Run::from_history(&transition.events).unwrap();
                let copied = event_id as usize;
                prop_assert_eq!(&transition.events[1..copied], &events[1..copied], "what is copied is as it was");
                prop_assert!(run.wants_task(START.plus_ms(100_000)) || run.is_paused(), "the code is run again");
                let rows: BTreeSet<ActivityId> = transition.activities.iter().map(|row| row.activity_id).collect();
                prop_assert_eq!(rows, run.activities.keys().copied().collect());
                prop_assert_eq!(transition.timers.len(), run.timers.len());
                let later = events[copied..].iter().filter(|event| event.event.name() == "WorkflowExecutionSignaled");
                let before = events[..copied].iter().filter(|event| event.event.name() == "WorkflowExecutionSignaled");
                prop_assert_eq!(run.signals as usize, later.count() + before.count(), "no signal is lost");
            }
        }
    }

    #[test]
    fn a_history_that_was_tampered_with_is_corrupt(
        steps in prop::collection::vec(step(), 1..20),
        place in any::<prop::sample::Index>(),
        kind in 0u8..4,
    ) {
        let mut events = live(None, Some(30_000), &steps).events;
        let place = place.index(events.len());
        match kind {
            0 if place + 1 < events.len() => drop(events.remove(place)),
            0 | 1 => events.insert(place, events[place].clone()),
            2 => events[place].event_id += 1,
            _ => {
                let first = events[0].clone();
                events[place].event_time = Timestamp(START.0 - 1);
                events.insert(0, first);
                events[1..].iter_mut().for_each(|event| event.event_id += 1);
            }
        }
        prop_assert!(Run::from_history(&events).is_err());
    }

    #[test]
    fn inputs_given_again_after_a_reload_write_nothing_twice(steps in prop::collection::vec(step(), 1..12)) {
        let story = live(None, None, &steps);
        if story.run.status != crate::RunStatus::Running {
            return Ok(());
        }
        let (signals, recorded) = (story.run.signals, story.run.recorded_messages.len());
        let again = story.turn(|turn| {
            let messages = steps.iter().flat_map(|step| &step.inputs);
            let messages = messages.filter(|input| matches!(input, Input::Signal(_) | Input::TimerMessage(_)));
            messages.for_each(|input| take(turn, input));
        });
        prop_assert_eq!((again.run.signals, again.run.recorded_messages.len()), (signals, recorded));
    }
}
