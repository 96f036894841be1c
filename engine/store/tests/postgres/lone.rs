//! A flush of one item does what a flush of many does with it: the database has functions of their own for the two.

use std::sync::Arc;

use dacapo_core::{
    StartWorkflow, Store, Transition,
    store::{SendOutcome, WriteOutcome},
};
use dacapo_store::PgStore;

use crate::common::*;

/// Whether a server process's last statement called a function.
async fn called(database: &Database, function: &str) -> bool {
    let statement = format!(
        "pg_stat_activity WHERE query LIKE '%dacapo.{function}(%' AND pid <> pg_backend_pid() \
        AND datname = current_database()"
    );
    database.count(&statement).await > 0
}

struct Write {
    name: &'static str,
    owned: Owned,
    epoch: i32,
    transition: Box<Transition>,
}

/// One run for each thing that can become of a write.
async fn writes(database: &Database) -> Vec<Write> {
    let store = &database.store;
    let worker = register(store).await;
    let mut writes = Vec::new();
    for name in
        ["goes on", "takes its message", "stale", "closes", "closes with its message", "has mail", "stale close"]
    {
        let mut owned = waiting_run(store, worker, name).await;
        let message = signal("x");
        if name.contains("mess") || name == "has mail" {
            let sent = send(store, owned.key(), message.clone()).await.unwrap();
            assert_eq!(sent, SendOutcome::Accepted);
        }
        let given = if name == "has mail" { signal("y") } else { message };
        let commands = if name.contains("clos") || name == "has mail" { vec![complete()] } else { vec![] };
        let transition = owned.step(store, vec![given], commands).await;
        let epoch = owned.epoch + i32::from(name.contains("stale"));
        writes.push(Write { name, owned, epoch, transition });
    }
    writes
}

/// What became of each write, and what its run has in the tables now.
async fn results(database: &Database, outcomes: Vec<(Write, WriteOutcome)>) -> Vec<String> {
    let mut results = Vec::new();
    for (Write { name, owned, .. }, outcome) in outcomes {
        let of = |table: &str| format!("dacapo.{table} WHERE run_id = '{}'", owned.key().run_id);
        let open = database.count(&of("runs_open")).await;
        let (inbox, closed) = (database.count(&of("inbox")).await, database.count(&of("runs_closed")).await);
        let (history, ready) = (database.count(&of("transitions")).await, database.count(&of("ready")).await);
        results.push(format!(
            "{name}: {outcome:?}, open {open}, closed {closed}, inbox {inbox}, transitions {history}, ready {ready}"
        ));
    }
    results
}

#[tokio::test]
async fn a_lone_write_becomes_what_it_becomes_among_others() {
    let alone = Database::new().await;
    let mut outcomes = Vec::new();
    for item in writes(&alone).await {
        let outcome = write(&alone.store, item.owned.worker, item.epoch, item.transition.clone()).await;
        outcomes.push((item, outcome));
    }
    assert!(called(&alone, "close_one_v2").await && !called(&alone, "append_v4").await);
    let expected = results(&alone, outcomes).await;

    let joined = Database::new().await;
    let mut first = waiting_run(&joined.store, register(&joined.store).await, "first").await;
    let step = first.step(&joined.store, vec![signal("x")], vec![]).await;
    let items = writes(&joined).await;
    let mut blocker = blocked(&joined, "SELECT FROM dacapo.runs_open WHERE workflow_id = 'first' FOR UPDATE").await;
    let held = first.write(&joined.store, step);
    let all = async {
        until_somebody_waits(&joined).await;
        let writing: Vec<_> = items
            .iter()
            .map(|item| write(&joined.store, item.owned.worker, item.epoch, item.transition.clone()))
            .collect();
        let release = async {
            tokio::task::yield_now().await;
            sqlx::raw_sql("COMMIT").execute(&mut blocker).await.unwrap();
        };
        tokio::join!(futures_util::future::join_all(writing), release).0
    };
    let (_, outcomes) = tokio::join!(held, all);
    assert!(called(&joined, "append_v4").await);
    assert_eq!(results(&joined, items.into_iter().zip(outcomes).collect()).await, expected);
    assert!(expected[0].contains("Applied") && expected[2].contains("Fenced"), "{expected:#?}");
    assert!(expected[5].contains("InboxNotEmpty") && expected[5].contains("open 1"), "{expected:#?}");
    alone.finish().await;
    joined.finish().await;
}

/// Starts of which each meets something that is there already, and one that does not.
fn starts() -> (StartWorkflow, Vec<StartWorkflow>) {
    let there = StartWorkflow { request_id: Some("asked".to_owned()), ..request("there") };
    let same_request = StartWorkflow { request_id: Some("asked".to_owned()), ..request("there") };
    let new = StartWorkflow { request_id: Some("new".to_owned()), ..request("new") };
    let all = vec![there.clone(), request("there"), same_request, new];
    (there, all)
}

async fn started(store: &Arc<PgStore>, there: &StartWorkflow, request: StartWorkflow) -> String {
    let outcome = format!("{:?}", start_as(store, request, None).await);
    outcome.replace(&there.run_id.to_string(), "there")
}

#[tokio::test]
async fn a_lone_start_becomes_what_it_becomes_among_others() {
    let alone = Database::new().await;
    let (there, all) = starts();
    assert_eq!(started(&alone.store, &there, there.clone()).await, "Ok(Started)");
    let mut expected = Vec::new();
    for request in all {
        // A process of its own for each: one that met something careful looks first for a while.
        let store = alone.another().await;
        expected.push(started(&store, &there, request).await);
        assert!(called(&alone, "start_one_v1").await, "{expected:?}");
        store.close().await;
    }

    let joined = Database::new().await;
    let (there, all) = starts();
    assert_eq!(started(&joined.store, &there, there.clone()).await, "Ok(Started)");
    let starting = all.into_iter().map(|request| started(&joined.store, &there, request)).collect();
    let outcomes = behind_a_held_start(&joined, starting).await;
    assert_eq!(outcomes, expected);
    for table in ["runs_open", "history", "ready", "start_requests"] {
        let (one, other) =
            (alone.count(&format!("dacapo.{table}")).await, joined.count(&format!("dacapo.{table}")).await);
        assert_eq!(other - i64::from(table != "start_requests"), one, "{table}");
    }
    alone.finish().await;
    joined.finish().await;
}
