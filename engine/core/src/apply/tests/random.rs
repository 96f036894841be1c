//! Random lives: whatever comes in whatever order, what is written is a history and its fold is the run.

use proptest::prelude::*;

use super::*;
use crate::{batch, event::WorkflowTaskFailedCause, failure::TimeoutType};

/// One thing that happens to a run. Small numbers, so that they meet.
#[derive(Clone, Debug)]
enum Input {
    Signal(u128),
    Cancel(u128),
    Terminate(u128),
    Outcome { activity_id: ActivityId, attempt: u32, result: u8, began: bool },
    Lost(ActivityId),
    Heartbeat { activity_id: ActivityId, attempt: u32, details: bool },
    Offer { activity_id: ActivityId, kept: bool },
    TimerDue(TimerId),
    TimerMessage(TimerId),
}

/// One thing that the code asks for.
#[derive(Clone, Debug)]
enum Wish {
    Activity { attempts: u32, schedule_to_close: bool },
    Stop(ActivityId),
    Sleep(u64),
    GiveUp(TimerId),
    Complete,
    Fail,
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
        6 => (small.clone(), 1u32..4, 0u8..6, any::<bool>())
            .prop_map(|(activity_id, attempt, result, began)| Input::Outcome { activity_id, attempt, result, began }),
        1 => small.clone().prop_map(Input::Lost),
        2 => (small.clone(), 1u32..4, any::<bool>())
            .prop_map(|(activity_id, attempt, details)| Input::Heartbeat { activity_id, attempt, details }),
        1 => (small.clone(), any::<bool>()).prop_map(|(activity_id, kept)| Input::Offer { activity_id, kept }),
        3 => (0u64..6).prop_map(Input::TimerDue),
        1 => small.prop_map(Input::TimerMessage),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        6 => (0u32..4, any::<bool>())
            .prop_map(|(attempts, schedule_to_close)| Wish::Activity { attempts, schedule_to_close }),
        2 => (1u64..6).prop_map(Wish::Stop),
        4 => (0u64..20).prop_map(Wish::Sleep),
        2 => (1u64..6).prop_map(Wish::GiveUp),
        1 => prop_oneof![Just(Wish::Complete), Just(Wish::Fail)],
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
    }
}

/// The commands of wishes: ids that were never used, an end only at the end.
fn commands(wishes: &[Wish], next: &mut u64) -> Vec<Command> {
    let mut commands = Vec::new();
    for wish in wishes {
        commands.push(match *wish {
            Wish::Activity { attempts, schedule_to_close } => {
                *next += 1;
                let schedule_to_close_ms = schedule_to_close.then_some(5_000);
                schedule_with(*next, ActivityOptions { schedule_to_close_ms, ..retrying(attempts) })
            }
            Wish::Stop(activity_id) => stop(activity_id),
            Wish::Sleep(seconds) => {
                *next += 1;
                sleep(*next, seconds)
            }
            Wish::GiveUp(timer_id) => Command::CancelTimer { timer_id },
            Wish::Complete => complete(),
            Wish::Fail => Command::FailWorkflowExecution { failure: Box::new(Failure::application("No", "no")) },
        });
        if commands.last().is_some_and(Command::closes) {
            break;
        }
    }
    commands
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
                    turn.complete_task(commands(wishes, &mut next), Vec::new()).unwrap();
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
                EventKind::WorkflowTaskStarted(it) => it.identity.clone_from(identity),
                EventKind::ActivityTaskStarted(it) => it.identity.clone_from(identity),
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
