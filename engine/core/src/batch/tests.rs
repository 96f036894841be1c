use std::sync::Arc;

use expect_test::expect;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::*;
use crate::{
    activity::ActivityOptions,
    event::{
        ActivityTaskCompleted, ActivityTaskScheduled, ActivityTaskStarted, EventKind, WorkflowExecutionSignaled,
        WorkflowExecutionStarted, WorkflowTaskCompleted, WorkflowTaskScheduled, WorkflowTaskStarted,
    },
    ids::MessageId,
    payload::Payload,
    start::StartWorkflow,
    time::Timestamp,
};

const RUN: RunId = RunId(Uuid::from_u128(0x01a1_fcf6_fc5c_74b3_8836_1f11_ac47_f277));
const NOW: i64 = 1_795_245_407_328_098;

fn row(first_event_id: i64, events: Vec<(i64, EventKind)>) -> Vec<Event> {
    (first_event_id..)
        .zip(events)
        .map(|(event_id, (after, event))| Event { event_id, event_time: Timestamp(NOW + after), event })
        .collect()
}

fn started(workflow_id: &str, identity: &str) -> WorkflowExecutionStarted {
    let input = Payload::encode("input", &42).unwrap();
    let mut start = StartWorkflow::new(RUN, workflow_id.into(), "checkout".into(), "orders".into(), input);
    start.identity = identity.to_owned();
    match start.transition(Timestamp(NOW)).events.swap_remove(0).event {
        EventKind::WorkflowExecutionStarted(started) => *started,
        other => panic!("a run begins with {other:?}"),
    }
}

fn task(scheduled_event_id: i64, identity: &str) -> [EventKind; 3] {
    let started = WorkflowTaskStarted {
        scheduled_event_id,
        identity: identity.into(),
        build_id: None,
        continue_as_new_suggested: false,
    };
    let completed = WorkflowTaskCompleted {
        scheduled_event_id,
        started_event_id: scheduled_event_id + 1,
        local_activities: (scheduled_event_id % 2) as u32,
    };
    [
        EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled { attempt: 1 }),
        EventKind::WorkflowTaskStarted(started),
        EventKind::WorkflowTaskCompleted(completed),
    ]
}

fn signaled(identity: &str) -> EventKind {
    EventKind::WorkflowExecutionSignaled(WorkflowExecutionSignaled {
        message_id: MessageId(Uuid::from_u128(7)),
        signal_name: "go".to_owned(),
        input: Payload::null(),
        identity: identity.to_owned(),
    })
}

/// Writes a row, compares it, and reads it back.
fn check(events: &[Event], expected: expect_test::Expect) {
    let bytes = encode(RUN, events[0].event_id, events);
    let parts: Vec<&RawValue> = serde_json::from_slice(&bytes).unwrap();
    let lines: Vec<&str> = parts.iter().map(|part| part.get()).collect();
    expected.assert_eq(&lines.join("\n"));
    assert_eq!(decode(RUN, events[0].event_id, &bytes).unwrap(), events);
}

#[test]
fn the_first_row_of_a_run_says_what_its_key_does_not() {
    let [scheduled, began, completed] = task(2, "worker-1");
    let activity = ActivityTaskScheduled {
        activity_id: 1,
        activity_type: "charge".into(),
        input: Payload::null(),
        options: ActivityOptions { start_to_close_ms: Some(60_000), ..ActivityOptions::default() },
    };
    let events = row(
        1,
        vec![
            (0, EventKind::WorkflowExecutionStarted(Box::new(started("order-42", "client-1")))),
            (0, scheduled),
            (142, began),
            (142, completed),
            (142, EventKind::ActivityTaskScheduled(Arc::new(activity))),
        ],
    );
    check(
        &events,
        expect![[r#"
            "2"
            1795245407328098
            {"Wb":{"n":"order-42","k":"checkout","q":"orders","i":42,"w":"client-1"}}
            "Ts"
            142
            {"Tb":{"w":"worker-1"}}
            "Tc"
            {"As":{"a":1,"y":"charge","i":null,"o":{"start_to_close_ms":60000}}}"#]],
    );
}

#[test]
fn the_id_of_the_run_stands_for_a_workflow_id_that_nobody_chose() {
    let id = RUN.to_string();
    let events = row(1, vec![(0, EventKind::WorkflowExecutionStarted(Box::new(started(&id, "a"))))]);
    check(
        &events,
        expect![[r#"
            "2"
            1795245407328098
            {"Wb":{"k":"checkout","q":"orders","i":42,"w":"a"}}"#]],
    );
}

#[test]
fn an_outcome_follows_the_start_of_its_attempt() {
    let ended = |activity_id, scheduled_event_id, attempt| {
        let began = ActivityTaskStarted {
            activity_id,
            scheduled_event_id,
            attempt,
            identity: "worker-1".into(),
            started_at: Timestamp(NOW - 1_000),
            last_failure: None,
        };
        let completed = ActivityTaskCompleted { activity_id, scheduled_event_id, result: Payload::null() };
        [EventKind::ActivityTaskStarted(began), EventKind::ActivityTaskCompleted(completed)]
    };
    let kinds = ended(1, 5, 1).into_iter().chain(ended(2, 6, 2)).chain(task(12, "worker-1"));
    check(
        &row(8, kinds.map(|kind| (0, kind)).collect()),
        expect![[r#"
            "2"
            1795245407328098
            {"Ab":{"a":1,"s":5,"w":"worker-1","t":1795245407327098}}
            {"Ac":{"r":null}}
            {"Ab":{"a":2,"s":6,"e":2,"t":1795245407327098}}
            {"Ac":{"r":null}}
            {"Ts":{"e":1}}
            "Tb"
            "Tc""#]],
    );
}

#[test]
fn an_attribute_that_an_event_lacks_is_not_read_from_the_one_before() {
    let mut anonymous = started("order-42", "");
    anonymous.correlation_id = String::new();
    let events = row(
        1,
        vec![
            (0, EventKind::WorkflowExecutionStarted(Box::new(anonymous))),
            (0, signaled("client-1")),
            (-5, signaled("client-1")),
            (i64::MAX - NOW, signaled("")),
        ],
    );
    check(
        &events,
        expect![[r#"
            "2"
            1795245407328098
            {"Wb":{"n":"order-42","k":"checkout","q":"orders","i":42,"correlation_id":null}}
            {"Wg":{"message_id":"00000000-0000-0000-0000-000000000007","g":"go","i":null,"w":"client-1"}}
            -5
            {"Wg":{"message_id":"00000000-0000-0000-0000-000000000007","g":"go","i":null}}
            9221576791447447714
            {"Wg":{"message_id":"00000000-0000-0000-0000-000000000007","g":"go","i":null,"w":null}}"#]],
    );
}

#[test]
fn what_is_no_row_is_refused_with_a_reason() {
    let problem = |text: &str| decode(RUN, 1, text.as_bytes()).unwrap_err().to_string();
    let full = serde_json::to_string(&row(1, task(1, "a").map(|kind| (0, kind)).to_vec())).unwrap();
    expect![[r#"
        a row of history begins with its time, or with its format and its time; this is another format at line 1 column 2
        invalid type: map, expected a row of history: an array of a time and events at line 1 column 0
        a row of history begins with its time, or with its format and its time; this is another format at line 1 column 2
        missing field `scheduled_event_id` at line 1 column 24
        an event has one type at line 1 column 52
        invalid type: floating point `2.5`, expected a time in microseconds, an event, or the type of one at line 1 column 6
        trailing characters at line 1 column 4"#]].assert_eq(
        &[
            &full,
            "{}",
            "[{\"format\":2},1]",
            "[1,\"WorkflowTaskStarted\"]",
            "[1,{\"WorkflowTaskScheduled\":{},\"WorkflowTaskStarted\":{}}]",
            "[1,2.5]",
            "[1]]",
        ]
        .map(problem)
        .join("\n"),
    );
    assert!(problem("[1,\"Nonsense\"]").contains("unknown variant `Nonsense`"));
    assert!(decode(RUN, 1, b"[1,\"\xff\"]").is_err());
    assert_eq!(decode(RUN, 1, b"[]").unwrap(), []);
}

#[test]
fn a_row_of_the_first_format_is_read() {
    let [scheduled, began, completed] = task(2, "worker-1");
    let start = EventKind::WorkflowExecutionStarted(Box::new(started("order-42", "client-1")));
    let events = row(1, vec![(0, start), (0, scheduled), (142, began), (142, completed)]);
    let text = r#"[1795245407328098,{"WorkflowExecutionStarted":{"workflow_id":"order-42","workflow_type":"checkout",
        "task_queue":"orders","input":42,"identity":"client-1"}},"WorkflowTaskScheduled",142,
        {"WorkflowTaskStarted":{"identity":"worker-1"}},"WorkflowTaskCompleted"]"#;
    assert_eq!(decode(RUN, 1, text.as_bytes()).unwrap(), events);
    assert!(
        decode(RUN, 1, b"[1,\"Ts\"]").unwrap_err().to_string().contains("unknown variant `Ts`"),
        "it has no short names"
    );
}

#[test]
fn a_short_name_stands_for_one_name() {
    for types in [true, false] {
        let of = || short_names().filter(move |name| name.0 == types);
        let mut all: Vec<&str> = of().flat_map(|(_, name, short)| [name, short]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2 * of().count());
    }
}

#[test]
fn every_carried_attribute_is_found_by_its_name() {
    for (place, carried) in Carried::ALL.into_iter().enumerate() {
        assert_eq!((carried as usize, Carried::named(carried.name())), (place, Some(carried)));
    }
}

#[test]
#[should_panic(expected = "the ids of a row's events are dense")]
fn a_row_with_a_gap_is_not_written() {
    let mut events = row(1, task(1, "a").map(|kind| (0, kind)).to_vec());
    events.remove(1);
    encode(RUN, 1, &events);
}
