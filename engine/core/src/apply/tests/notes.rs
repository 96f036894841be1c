//! Markers and attributes: what the code writes down.

use expect_test::expect;

use super::*;
use crate::marker::{LocalActivityOutcome, Marker};

fn marker(marker_id: u64, marker: Marker) -> Command {
    Command::RecordMarker { marker_id, marker }
}

fn attributes(text: &str) -> Command {
    Command::UpsertWorkflowSearchAttributes { search_attributes: json(text) }
}

fn memo(text: &str) -> Command {
    Command::ModifyWorkflowProperties { upserted_memo: json(text) }
}

fn local(attempts: u32) -> Marker {
    let outcome = LocalActivityOutcome::Failed(Box::new(Failure::application("Io", "broken pipe")));
    Marker::LocalActivity { activity_type: "price".into(), attempts, outcome }
}

#[test]
fn markers_are_recorded_in_the_order_of_the_code() {
    let story = Story::begin().quiet().task(vec![
        marker(1, Marker::SideEffect { value: json("7") }),
        marker(2, Marker::Patch { patch_id: "new-price".to_owned(), deprecated: false }),
        schedule(3),
    ]);
    check(
        &story,
        expect![[r#"
            3  0ns      WorkflowTaskStarted
            4  0ns      WorkflowTaskCompleted
            5  0ns      MarkerRecorded 1 SideEffect
            6  0ns      MarkerRecorded 2 Patch
            7  0ns      ActivityTaskScheduled 3
            > activity 3 attempt 1
            --
        "#]],
    );
}

#[test]
fn the_end_of_a_local_activity_runs_the_code_and_is_recorded_with_its_next_task() {
    let story = Story::begin().task(vec![]).quiet();
    let story = story.turn(|turn| assert!(!turn.start_task("worker", None), "nothing has happened"));
    let story = story.turn(|turn| {
        turn.wake();
        assert!(turn.start_task("worker", None));
        turn.complete_task(vec![marker(1, local(3))], Vec::new()).unwrap();
    });
    let story = story.turn(|turn| {
        turn.wake();
        assert!(turn.start_task("worker", None));
        turn.complete_task(vec![], Vec::new()).unwrap();
    });
    check(
        &story,
        expect![[r#"
            --
            5  0ns      WorkflowTaskScheduled attempt 1
            6  0ns      WorkflowTaskStarted
            7  0ns      WorkflowTaskCompleted
            8  0ns      MarkerRecorded 1 LocalActivity
            --
            --
        "#]],
    );
}

#[test]
fn attributes_are_laid_over_those_before_and_null_removes() {
    let story = Story::begin_with(|start| {
        start.search_attributes = Some(json("{\"customer\":\"x\",\"stage\":1}"));
        start.memo = Some(json("{\"note\":{\"deep\":1}}"));
    });
    let story = story.quiet().task(vec![
        attributes("{\"stage\":2}"),
        attributes("{\"customer\":null,\"paid\":true}"),
        memo("{\"more\":[1]}"),
    ]);
    check(
        &story,
        expect![[r#"
            3  0ns      WorkflowTaskStarted
            4  0ns      WorkflowTaskCompleted
            5  0ns      UpsertWorkflowSearchAttributes
            6  0ns      UpsertWorkflowSearchAttributes
            7  0ns      WorkflowPropertiesModified
            memo Some({"more":[1],"note":{"deep":1}}), search attributes Some({"paid":true,"stage":2})
            --
        "#]],
    );
    assert_eq!(story.run.search_attributes(), Some(&json("{\"paid\":true,\"stage\":2}")));
    assert_eq!(story.run.memo(), Some(&json("{\"more\":[1],\"note\":{\"deep\":1}}")));
}

#[test]
fn impossible_and_too_large_notes_are_refused() {
    let refused = |commands: Vec<Command>| {
        let mut run = Story::begin_with(|start| start.memo = Some(json("{\"a\":1}"))).run;
        let mut turn = Turn::begin(&mut run, START);
        assert!(turn.start_task("worker", None));
        turn.complete_task(commands, Vec::new()).unwrap_err().to_string()
    };
    let large = format!("{{\"b\":\"{}\"}}", "x".repeat(20_000));
    let other_large = format!("{{\"c\":\"{}\"}}", "x".repeat(20_000));
    let all = [
        refused(vec![attributes("{\"a\":[1]}")]),
        refused(vec![attributes("7")]),
        refused(vec![memo("7")]).split(" (").next().unwrap().split(':').next().unwrap().to_owned(),
        refused(vec![memo(&large), attributes(&other_large)]),
        refused(vec![marker(1, Marker::Patch { patch_id: String::new(), deprecated: true })]),
    ];
    expect![[r#"
        search attributes have a list or an object under `a`: lists filter by single values, put others into the memo
        search attributes cannot be read: search attributes cannot be read as alloc::collections::btree::map::BTreeMap<alloc::string::String, serde_json::value::Value>: invalid type: integer `7`, expected a map at line 1 column 1; the stored JSON begins with 7
        attributes cannot be read as alloc
        memo and search attributes would have 40022 bytes together, the limit is 32768: publish larger values instead
        patch id is empty: give it at least one character"#]].assert_eq(&all.join("\n"));
}

#[test]
fn a_marker_is_read_back_as_it_was_stored() {
    for marker in
        [local(2), Marker::SideEffect { value: json("[1]") }, Marker::Patch { patch_id: "p".into(), deprecated: true }]
    {
        let stored = serde_json::to_string(&marker).unwrap();
        assert_eq!(serde_json::from_str::<Marker>(&stored).unwrap(), marker);
    }
}
