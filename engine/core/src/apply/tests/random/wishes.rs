//! What random code asks for.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::*;
use crate::marker::Marker;

/// One thing that the code asks for.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Activity {
        attempts: u32,
        schedule_to_close: bool,
    },
    Stop(ActivityId),
    Sleep(u64),
    GiveUp(TimerId),
    Complete,
    Fail,
    Child {
        policy: u8,
    },
    CancelChild(u64),
    SignalOther,
    CancelOther,
    /// To each update that waits; completes what is under way as well.
    AnswerUpdates {
        refuse: bool,
        complete: bool,
    },
    Marker,
    Attributes(u8),
    Memo(u8),
    Continue,
}

pub(super) fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        6 => (0u32..4, any::<bool>())
            .prop_map(|(attempts, schedule_to_close)| Wish::Activity { attempts, schedule_to_close }),
        2 => (1u64..6).prop_map(Wish::Stop),
        4 => (0u64..20).prop_map(Wish::Sleep),
        2 => (1u64..6).prop_map(Wish::GiveUp),
        1 => prop_oneof![Just(Wish::Complete), Just(Wish::Fail), Just(Wish::Continue)],
        3 => (0u8..3).prop_map(|policy| Wish::Child { policy }),
        1 => (1u64..6).prop_map(Wish::CancelChild),
        2 => prop_oneof![Just(Wish::SignalOther), Just(Wish::CancelOther)],
        3 => (any::<bool>(), any::<bool>()).prop_map(|(refuse, complete)| Wish::AnswerUpdates { refuse, complete }),
        2 => prop_oneof![Just(Wish::Marker), (0u8..3).prop_map(Wish::Attributes), (0u8..3).prop_map(Wish::Memo)],
    ]
}

/// The commands of wishes: ids that were never used, an end only at the end.
pub(super) fn commands(turn: &Turn<'_>, wishes: &[Wish], next: &mut u64) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut canceled = BTreeSet::new();
    let mut answered = false;
    for wish in wishes {
        if let Wish::AnswerUpdates { refuse, complete } = *wish {
            if !answered {
                commands.extend(answers(turn, refuse, complete));
            }
            answered = true;
            continue;
        }
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
            Wish::Fail => fail("No"),
            Wish::CancelChild(child_id) => {
                let rare = turn.run().rare.as_deref();
                let asked = rare.is_some_and(|rare| rare.external_cancels.contains_key(&child_id))
                    || turn.run().child(child_id).is_some_and(|child| child.cancel_requested);
                if asked || !canceled.insert(child_id) {
                    continue;
                }
                cancel_child(child_id)
            }
            Wish::AnswerUpdates { .. } => continue,
            Wish::Attributes(number) => {
                let value = if number == 0 { "null".to_owned() } else { number.to_string() };
                let search_attributes = json(&format!("{{\"stage\":{value}}}"));
                Command::UpsertWorkflowSearchAttributes { search_attributes }
            }
            Wish::Memo(number) => {
                Command::ModifyWorkflowProperties { upserted_memo: json(&format!("{{\"m{number}\":[{number}]}}")) }
            }
            Wish::Continue => {
                Command::ContinueAsNewWorkflowExecution { successor: Box::new(ContinueAsNew::new(Payload::null())) }
            }
            Wish::Child { .. } | Wish::SignalOther | Wish::CancelOther | Wish::Marker => {
                *next += 1;
                numbered(wish, *next)
            }
        });
        if commands.last().is_some_and(Command::closes) {
            break;
        }
    }
    commands
}

/// The command of a wish for a new number.
fn numbered(wish: &Wish, number: u64) -> Command {
    match wish {
        Wish::Child { policy } => {
            let policies = [ParentClosePolicy::Terminate, ParentClosePolicy::RequestCancel, ParentClosePolicy::Abandon];
            let parent_close_policy = policies[usize::from(*policy)];
            child_with(number, ChildWorkflowOptions { parent_close_policy, ..ChildWorkflowOptions::default() })
        }
        Wish::SignalOther => signal_other(number, "other"),
        Wish::CancelOther => cancel_other(number, "other"),
        _ => Command::RecordMarker { marker_id: number, marker: Marker::SideEffect { value: json("1") } },
    }
}

/// Answers to every update that waits, and ends of those that are under way.
fn answers(turn: &Turn<'_>, refuse: bool, complete: bool) -> Vec<Command> {
    let waiting: Vec<String> = turn.updates().map(|(_, request)| request.update_id.clone()).collect();
    let rare = turn.run().rare.as_deref();
    let open: Vec<String> = rare.iter().flat_map(|rare| rare.updates_in_flight()).map(str::to_owned).collect();
    let done = |update_id: &String| {
        let (update_id, outcome) = (update_id.clone(), UpdateOutcome::Completed(Payload::null()));
        Command::CompleteWorkflowExecutionUpdate { update_id, outcome }
    };
    let mut commands = Vec::new();
    for update_id in waiting {
        if refuse {
            let failure = Box::new(Failure::application("Invalid", "no"));
            commands.push(Command::RejectWorkflowExecutionUpdate { update_id, failure });
        } else {
            let end = complete.then(|| done(&update_id));
            commands.push(Command::AcceptWorkflowExecutionUpdate { update_id });
            commands.extend(end);
        }
    }
    commands.extend(open.iter().filter(|_| complete).map(done));
    commands
}
