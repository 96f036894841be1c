//! Signals and requests to cancel for other runs: out by the outbox, answered once.

use expect_test::expect;

use super::*;
use crate::{
    outbox::Asker,
    store::{SendOutcome, StartOutcome},
};

fn answered(story: Story, row: usize, delivered: Delivered) -> Story {
    let source = story.run.key.run_id;
    let answer = story.outbox[row].answer(source, delivered).unwrap();
    story.turn(|turn| turn.message(answer))
}

#[test]
fn a_signal_goes_out_with_its_event_and_is_answered_once() {
    let story = Story::begin().quiet().task(vec![signal_other(1, "a"), cancel_other(2, "b")]);
    let story = answered(story, 0, Delivered::Done);
    let story = answered(story, 0, Delivered::Done);
    let story = answered(story, 1, Delivered::Done);
    let id =
        |row: usize| story.outbox[row].answer(story.run.key.run_id, Delivered::Done).unwrap().id.0.as_u128() & 0xffff;
    let told = story.told.replace(&format!("{}", id(0)), "A").replace(&format!("{}", id(1)), "B");
    expect![[r#"
        3  0ns      WorkflowTaskStarted
        4  0ns      WorkflowTaskCompleted
        5  0ns      SignalExternalWorkflowExecutionInitiated
        6  0ns      RequestCancelExternalWorkflowExecutionInitiated
        @ signal e1 to a for Signal(1) of event 5
        @ cancel to b for Cancel(2) of event 6
        --
        7  0ns      ExternalWorkflowExecutionSignaled
        - message A
        --
        - message A
        --
        8  0ns      ExternalWorkflowExecutionCancelRequested
        - message B
        --
    "#]]
    .assert_eq(&told);
    assert!(story.run.rare.as_ref().is_some_and(|rare| rare.external_signals.is_empty()));
}

#[test]
fn what_did_not_arrive_is_a_failure_of_its_event() {
    let causes = |delivered| {
        let story = Story::begin().task(vec![signal_other(1, "a"), cancel_other(2, "b")]);
        let story = answered(answered(story, 0, delivered), 1, delivered).task(vec![]);
        let failed = story.events.iter().filter(|event| event.event.name().ends_with("Failed"));
        failed.map(|event| describe(&event.event)).collect::<Vec<_>>().join("\n")
    };
    expect![[r#"
        SignalExternalWorkflowExecutionFailed 1 ExternalWorkflowExecutionNotFound
        RequestCancelExternalWorkflowExecutionFailed 2 ExternalWorkflowExecutionNotFound"#]]
    .assert_eq(&causes(Delivered::NotFound));
    expect![[r#"
        SignalExternalWorkflowExecutionFailed 1 SignalCountLimitExceeded
        RequestCancelExternalWorkflowExecutionFailed 2 SignalCountLimitExceeded"#]]
    .assert_eq(&causes(Delivered::TooManySignals));
}

#[test]
fn a_row_delivers_the_same_message_however_often_and_says_who_asked() {
    let make = || Story::begin().task(vec![signal_other(1, "a"), signal_other(2, "a")]).outbox;
    let (first, second) = (make(), make());
    assert_eq!(first, second, "made again from the same history, a step sends the same");
    assert_eq!(first[0].message(), first[0].message());
    assert!(first[0].id < first[1].id, "the order of one sender");
    assert_eq!(first[0].asker, Asker::Signal(1));
    let stored = serde_json::to_string(&first[1]).unwrap();
    assert_eq!(serde_json::from_str::<OutboxRow>(&stored).unwrap(), first[1]);
}

#[test]
fn an_answer_follows_from_what_a_store_says() {
    assert_eq!(Delivered::of_send(&SendOutcome::Accepted), Delivered::Done);
    assert_eq!(Delivered::of_send(&SendOutcome::NotOpen), Delivered::NotFound);
    assert_eq!(Delivered::of_send(&SendOutcome::TooManySignals), Delivered::TooManySignals);
    let run_id = RunId(Uuid::from_u128(1));
    assert_eq!(Delivered::of_start(&StartOutcome::Started), Some(Delivered::Done));
    assert_eq!(Delivered::of_start(&StartOutcome::AlreadyOpen { run_id }), Some(Delivered::AlreadyExists));
    assert_eq!(Delivered::of_start(&StartOutcome::ReuseRefused { run_id }), Some(Delivered::AlreadyExists));
    assert_eq!(Delivered::of_start(&StartOutcome::OwnerLost), None);
}

#[test]
fn impossible_and_too_many_signals_are_refused() {
    let refused = |commands: Vec<Command>| {
        let mut run = Story::begin().task(vec![signal_other(1, "a"), cancel_other(2, "b")]).run;
        let mut turn = Turn::begin(&mut run, START);
        turn.message(signal(1));
        assert!(turn.start_task("worker", None));
        turn.complete_task(commands, Vec::new()).unwrap_err().to_string()
    };
    let nameless = Command::SignalExternalWorkflowExecution {
        signal_id: 3,
        target: other("a"),
        signal_name: String::new(),
        input: Payload::null(),
    };
    let all = [
        refused(vec![signal_other(1, "a")]),
        refused(vec![cancel_other(2, "a")]),
        refused(vec![signal_other(3, "")]),
        refused(vec![nameless]),
        refused((3..=2_002).map(|id| signal_other(id, "a")).collect()),
        refused((3..=2_002).map(|id| cancel_other(id, "a")).collect()),
    ];
    expect![[r#"
        signal id 1 is in use
        cancel id 2 is in use
        workflow id is empty: give it at least one character
        signal name is empty: give it at least one character
        the run would have 2001 signals on their way to other runs, the limit is 2000: work in smaller batches, or split the work over several workflows
        the run would have 2001 requests to cancel on their way to other runs, the limit is 2000: work in smaller batches, or split the work over several workflows"#]]
    .assert_eq(&all.join("\n"));
}
