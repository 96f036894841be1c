//! Every state of a run's business with others against every event of it.

use super::*;
use crate::{
    child::ChildWorkflowOptions,
    marker::Marker,
    outbox::{ExternalTarget, ExternalWorkflowExecutionFailedCause, StartChildWorkflowExecutionFailedCause, TargetRun},
    update::{UpdateOutcome, UpdateRequest},
};

const CHILD_RUN: RunId = RunId(Uuid::from_u128(50));

fn target() -> ExternalTarget {
    let namespace = crate::Namespace::default_namespace();
    ExternalTarget { namespace, workflow_id: "other".into(), run: TargetRun::Open }
}

fn child(child_id: u64) -> EventKind {
    EventKind::StartChildWorkflowExecutionInitiated(Box::new(StartChildWorkflowExecutionInitiated {
        child_id,
        workflow_id: "child".into(),
        run_id: CHILD_RUN,
        workflow_type: "ship".into(),
        input: Payload::null(),
        options: ChildWorkflowOptions::default(),
    }))
}

fn child_started(run_id: RunId) -> EventKind {
    let (child_id, initiated_event_id) = (1, 5);
    EventKind::ChildWorkflowExecutionStarted(ChildWorkflowExecutionStarted { child_id, initiated_event_id, run_id })
}

fn signal_sent(signal_id: u64) -> EventKind {
    let (target, signal_name, input) = (target(), "approve".to_owned(), Payload::null());
    let sent = SignalExternalWorkflowExecutionInitiated { signal_id, target, signal_name, input };
    EventKind::SignalExternalWorkflowExecutionInitiated(Box::new(sent))
}

fn cancel_sent(cancel_id: u64, child: bool) -> EventKind {
    let (target, reason) = (target(), String::new());
    let sent = RequestCancelExternalWorkflowExecutionInitiated { cancel_id, target, child, reason };
    EventKind::RequestCancelExternalWorkflowExecutionInitiated(Box::new(sent))
}

fn accepted(update_id: &str, number: u128) -> EventKind {
    let request = UpdateRequest {
        update_id: update_id.to_owned(),
        name: "amend".to_owned(),
        input: Payload::null(),
        identity: String::new(),
    };
    let accepted = WorkflowExecutionUpdateAccepted { message_id: message(number), request };
    EventKind::WorkflowExecutionUpdateAccepted(Box::new(accepted))
}

fn update_completed() -> EventKind {
    EventKind::WorkflowExecutionUpdateCompleted(Box::new(WorkflowExecutionUpdateCompleted {
        update_id: "u".to_owned(),
        accepted_event_id: 5,
        outcome: UpdateOutcome::Completed(Payload::null()),
    }))
}

fn paused(number: u128) -> EventKind {
    let (reason, identity) = (String::new(), String::new());
    EventKind::WorkflowExecutionPaused(WorkflowExecutionPaused { message_id: message(number), reason, identity })
}

fn unpaused(number: u128) -> EventKind {
    let (reason, identity) = (String::new(), String::new());
    EventKind::WorkflowExecutionUnpaused(WorkflowExecutionUnpaused { message_id: message(number), reason, identity })
}

fn continued() -> EventKind {
    EventKind::WorkflowExecutionContinuedAsNew(Box::new(WorkflowExecutionContinuedAsNew {
        new_run_id: RunId(Uuid::from_u128(2)),
        workflow_type: "checkout".into(),
        task_queue: "queue".into(),
        input: Payload::null(),
    }))
}

/// What is asked for is event 5.
fn others() -> Vec<(&'static str, Run)> {
    let after = |events: Vec<EventKind>| run_of([scheduled(), started(2), completed(2)].into_iter().chain(events));
    vec![
        ("tasked", after(vec![])),
        ("child", after(vec![child(1)])),
        ("running", after(vec![child(1), child_started(CHILD_RUN)])),
        ("stopping", after(vec![child(1), cancel_sent(1, true)])),
        ("signal", after(vec![signal_sent(1)])),
        ("cancel", after(vec![cancel_sent(1, false)])),
        ("update", after(vec![accepted("u", 1)])),
        ("updated", after(vec![accepted("u", 1), update_completed()])),
        ("paused", after(vec![paused(1), scheduled()])),
        ("closed", after(vec![continued()])),
    ]
}

fn each_kind_of_a_child() -> Vec<EventKind> {
    let (child_id, initiated_event_id, run_id) = (1, 5, CHILD_RUN);
    let retry_state = RetryState::RetryPolicyNotSet;
    vec![
        child(1),
        child_started(CHILD_RUN),
        EventKind::StartChildWorkflowExecutionFailed(StartChildWorkflowExecutionFailed {
            child_id,
            initiated_event_id,
            cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
        }),
        EventKind::ChildWorkflowExecutionCompleted(ChildWorkflowExecutionCompleted {
            child_id,
            initiated_event_id,
            run_id,
            result: Payload::null(),
        }),
        EventKind::ChildWorkflowExecutionFailed(Box::new(ChildWorkflowExecutionFailed {
            child_id,
            initiated_event_id,
            run_id,
            failure: Failure::application("Io", "broken pipe"),
            retry_state,
        })),
        EventKind::ChildWorkflowExecutionCanceled(ChildWorkflowExecutionCanceled {
            child_id,
            initiated_event_id,
            run_id,
            details: None,
        }),
        EventKind::ChildWorkflowExecutionTimedOut(ChildWorkflowExecutionTimedOut {
            child_id,
            initiated_event_id,
            run_id,
            retry_state,
        }),
        EventKind::ChildWorkflowExecutionTerminated(ChildWorkflowExecutionTerminated {
            child_id,
            initiated_event_id,
            run_id,
            reason: String::new(),
        }),
    ]
}

fn each_other_kind() -> Vec<EventKind> {
    let (signal_id, cancel_id, initiated_event_id) = (1, 1, 5);
    let cause = ExternalWorkflowExecutionFailedCause::ExternalWorkflowExecutionNotFound;
    let mut kinds = each_kind_of_a_child();
    kinds.extend([
        signal_sent(1),
        EventKind::SignalExternalWorkflowExecutionFailed(SignalExternalWorkflowExecutionFailed {
            signal_id,
            initiated_event_id,
            cause,
        }),
        EventKind::ExternalWorkflowExecutionSignaled(ExternalWorkflowExecutionSignaled {
            signal_id,
            initiated_event_id,
        }),
        cancel_sent(1, true),
        cancel_sent(1, false),
        EventKind::RequestCancelExternalWorkflowExecutionFailed(RequestCancelExternalWorkflowExecutionFailed {
            cancel_id,
            initiated_event_id,
            cause,
        }),
        EventKind::ExternalWorkflowExecutionCancelRequested(ExternalWorkflowExecutionCancelRequested {
            cancel_id,
            initiated_event_id,
        }),
        accepted("u", 7),
        accepted("v", 1),
        update_completed(),
        EventKind::MarkerRecorded(Box::new(MarkerRecorded {
            marker_id: 1,
            marker: Marker::SideEffect { value: Payload::null() },
        })),
        EventKind::UpsertWorkflowSearchAttributes(UpsertWorkflowSearchAttributes {
            search_attributes: Payload::null(),
        }),
        EventKind::WorkflowPropertiesModified(WorkflowPropertiesModified {
            upserted_memo: Payload::from_json("memo", "{\"a\":1}".to_owned()).unwrap(),
        }),
        paused(8),
        unpaused(8),
        started(6),
        continued(),
    ]);
    kinds
}

#[test]
fn every_event_of_others_is_legal_in_these_states_and_corrupt_in_the_rest() {
    let states = others();
    let mut table = format!("{:49}", "");
    for (name, _) in &states {
        table.push_str(&format!("{name:>9}"));
    }
    table.push('\n');
    for event in each_other_kind() {
        let mut line = format!("{:49}", event.name());
        for (_, state) in &states {
            let legal = follow(&mut state.clone(), event.clone(), HOUR_MS).is_ok();
            line.push_str(&format!("{:>9}", if legal { "legal" } else { "-" }));
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    expect![[r#"
                                                            tasked    child  running stopping   signal   cancel   update  updated   paused   closed
        StartChildWorkflowExecutionInitiated                 legal        -        -        -    legal    legal    legal    legal        -        -
        ChildWorkflowExecutionStarted                            -    legal        -    legal        -        -        -        -        -        -
        StartChildWorkflowExecutionFailed                        -    legal        -    legal        -        -        -        -        -        -
        ChildWorkflowExecutionCompleted                          -        -    legal        -        -        -        -        -        -        -
        ChildWorkflowExecutionFailed                             -        -    legal        -        -        -        -        -        -        -
        ChildWorkflowExecutionCanceled                           -        -    legal        -        -        -        -        -        -        -
        ChildWorkflowExecutionTimedOut                           -        -    legal        -        -        -        -        -        -        -
        ChildWorkflowExecutionTerminated                         -        -    legal        -        -        -        -        -        -        -
        SignalExternalWorkflowExecutionInitiated             legal    legal        -    legal        -    legal    legal    legal        -        -
        SignalExternalWorkflowExecutionFailed                    -        -        -        -    legal        -        -        -        -        -
        ExternalWorkflowExecutionSignaled                        -        -        -        -    legal        -        -        -        -        -
        RequestCancelExternalWorkflowExecutionInitiated          -    legal        -        -        -        -        -        -        -        -
        RequestCancelExternalWorkflowExecutionInitiated      legal    legal        -        -    legal        -    legal    legal        -        -
        RequestCancelExternalWorkflowExecutionFailed             -        -        -        -        -    legal        -        -        -        -
        ExternalWorkflowExecutionCancelRequested                 -        -        -        -        -    legal        -        -        -        -
        WorkflowExecutionUpdateAccepted                      legal    legal        -    legal    legal    legal        -        -        -        -
        WorkflowExecutionUpdateAccepted                      legal    legal        -    legal    legal    legal        -        -        -        -
        WorkflowExecutionUpdateCompleted                         -        -        -        -        -        -    legal        -        -        -
        MarkerRecorded                                       legal    legal        -    legal    legal    legal    legal    legal        -        -
        UpsertWorkflowSearchAttributes                           -        -        -        -        -        -        -        -        -        -
        WorkflowPropertiesModified                           legal    legal        -    legal    legal    legal    legal    legal        -        -
        WorkflowExecutionPaused                              legal    legal    legal    legal    legal    legal    legal    legal        -        -
        WorkflowExecutionUnpaused                                -        -        -        -        -        -        -        -    legal        -
        WorkflowTaskStarted                                      -        -        -        -        -        -        -        -        -        -
        WorkflowExecutionContinuedAsNew                      legal    legal        -    legal    legal    legal    legal    legal        -        -
    "#]].assert_eq(&table);
}

#[test]
fn another_run_than_the_one_asked_for_is_no_child() {
    let run = run_of([scheduled(), started(2), completed(2), child(1)]);
    let expected = expect!["ChildWorkflowExecutionStarted: it is another run than the one asked for"];
    refused(&run, child_started(RunId(Uuid::from_u128(51))), 0, expected);
}

#[test]
fn what_becomes_of_others_is_something_for_the_code_to_see() {
    for (name, state) in others() {
        for event in each_other_kind() {
            let mut run = state.clone();
            let (command, name_of_event) = (event.is_command(), event.name());
            let pause =
                matches!(event, EventKind::WorkflowExecutionPaused(_) | EventKind::WorkflowExecutionUnpaused(_));
            let task = matches!(event, EventKind::WorkflowTaskStarted(_));
            if follow(&mut run, event, HOUR_MS).is_ok() && !command && !pause && !task {
                assert!(run.unseen, "{name_of_event} in state {name}");
            }
        }
    }
}

#[test]
fn a_run_without_business_with_others_pays_a_pointer() {
    assert_eq!(run_of([scheduled(), started(2), completed(2), activity(1), timer(1), signaled(1)]).rare, None);
    assert_eq!(std::mem::size_of::<Option<Box<RareState>>>(), std::mem::size_of::<usize>());
}
