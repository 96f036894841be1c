//! The main job as its users run it: the answer is the same however often its workers die, every quotation is what the
//! documents hold, and its history replays at every prefix.

use std::{collections::BTreeMap, path::Path, process::Command, sync::Arc};

use dacapo::{Engine, runtime::WorkflowExecution};
use dacapo_core::{Event, EventKind, Run, Store};
use dacapo_runtime::{Activated, Activation};
use serde_json::Value;

use crate::database::{self, TestDatabase};

fn demo(database: &TestDatabase, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dacapo"));
    command.args(["demo", "--json"]).args(arguments).env("DATABASE_URL", &database.url);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("the program starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("stdout is the result alone: {error}: {err}"))
}

/// Every citation in a value.
fn citations<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("quote") {
                found.push(value);
            }
            fields.values().for_each(|field| citations(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| citations(item, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_the_same_however_often_the_workers_die() {
    let folder = ["--docs", "examples/documents", "--task", "examples/tasks/crash-safety.md"];
    let calm = database::fresh("calm").await;
    let undisturbed = demo(&calm, &folder);
    let chaos = database::fresh("chaos").await;
    let killed = demo(&chaos, &[&folder[..], &["--chaos"]].concat());
    for part in ["final_answer", "subtasks", "failed_parts"] {
        assert_eq!(undisturbed[part].to_string(), killed[part].to_string(), "{part}");
    }
    assert_eq!(undisturbed["status"], "completed");
    let limitations = undisturbed["final_answer"]["limitations"].to_string();
    assert!(limitations.contains("carpet"), "what nobody can answer is named: {limitations}");
    assert!(undisturbed["failed_parts"].to_string().contains("carpet"));
    for database in [&calm, &chaos] {
        assert_eq!(database.store().await.verify().await.expect("it can be checked"), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_quotation_is_what_the_document_holds() {
    let database = database::fresh("quotes").await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/documents");
    let result = demo(&database, &["--docs", "examples/documents", "--task", "examples/tasks/throughput.md"]);
    let store = database.store().await;
    let mut found = Vec::new();
    citations(&result["final_answer"], &mut found);
    assert!(found.len() > 3, "the answer cites: {found:?}");
    for citation in found {
        let name = citation["doc"].as_str().expect("a document has a name");
        let bytes = if name.ends_with(".html") {
            let digest = citation["sha256"].as_str().expect("a citation has a digest");
            store.get_blob(digest).await.expect("the store answers").expect("the extracted text is kept")
        } else {
            std::fs::read(folder.join(name)).expect("the document is there")
        };
        let at = |field: &str| usize::try_from(citation[field].as_u64().expect("an offset")).expect("it fits");
        assert_eq!(
            &bytes[at("start")..at("end")],
            citation["quote"].as_str().expect("a quote").as_bytes(),
            "{citation}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_history_replays_at_every_prefix() {
    let database = database::fresh("replay").await;
    let result = demo(&database, &["--docs", "examples/documents", "--task", "examples/tasks/guarantees.md"]);
    let engine = Engine::new(Arc::new(database.store().await)).await.expect("the engine starts");
    let client = engine.client();
    let id = format!("task:{}", result["task_id"].as_str().expect("a task has an id"));
    let run = client.resolve(&WorkflowExecution::newest(id.as_str())).await.expect("the run is there");
    let events = client.history(run.key, 1).await.expect("the history can be read");
    let (factory, _) = dacapo::workflows::registry(&engine).parts().expect("the registry is sound");
    let started = Run::begin(&events[0]).expect("a history begins with a start").started;
    let tasks: BTreeMap<usize, usize> = completed_tasks(&events);
    assert!(tasks.len() > 5, "the job has many workflow tasks");
    // The executor and its futures stay on one thread, which has no runtime entered.
    let replayed = std::thread::spawn(move || {
        let mut executor = factory.make();
        for (started_at, completed_at) in tasks {
            let prefix = &events[..=started_at];
            let activation = Activation {
                run: run.key,
                started: &started,
                events: prefix,
                from_start: true,
                updates: &[],
                ended: &[],
            };
            let Activated::Completed { commands, .. } = executor.activate(activation) else {
                panic!("the prefix up to event {} does not replay", started_at + 1)
            };
            let recorded = events[completed_at + 1..].iter().take_while(|event| event.event.is_command()).count();
            assert_eq!(commands.len(), recorded, "commands after event {}", completed_at + 1);
        }
    });
    replayed.join().expect("every prefix replays");
}

/// The places of each completed workflow task's start and completion.
fn completed_tasks(events: &[Event]) -> BTreeMap<usize, usize> {
    let completed = events.iter().enumerate().filter_map(|(place, event)| match &event.event {
        EventKind::WorkflowTaskCompleted(task) => Some((task.started_event_id as usize - 1, place)),
        _ => None,
    });
    completed.collect()
}
