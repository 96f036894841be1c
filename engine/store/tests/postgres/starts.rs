//! Starts: who is started, who is not, and what a resend finds.

use std::time::Duration;

use dacapo_core::{
    EventKind, IdConflictPolicy, IdReusePolicy, RunStatus, StartWorkflow, Store, WorkerId,
    store::{RunFilter, SendOutcome, StartOutcome, StoreError, WriteOutcome},
};
use uuid::Uuid;

use crate::common::*;

async fn close(database: &Database, request: &StartWorkflow) {
    let ended = database.store.terminate(request.key(), terminate()).await.unwrap();
    assert_eq!(ended, SendOutcome::Accepted);
}

#[tokio::test]
async fn a_resent_start_finds_its_run_open_and_closed() {
    let database = Database::new().await;
    let (store, request) = (&database.store, request("a"));
    assert_eq!(start(store, request.clone()).await, StartOutcome::Started);
    let duplicate = StartOutcome::Duplicate { run: request.key(), owned: false };
    assert_eq!(start(store, request.clone()).await, duplicate);
    close(&database, &request).await;
    assert_eq!(start(store, request).await, duplicate);
    assert_eq!(database.count("dacapo.runs").await, 1);
    database.finish().await;
}

#[tokio::test]
async fn a_start_that_was_there_before_and_has_closed_is_found_at_once() {
    let database = Database::new().await;
    let (store, request) = (&database.store, request("a"));
    assert_eq!(start(store, request.clone()).await, StartOutcome::Started);
    close(&database, &request).await;
    let duplicate = StartOutcome::Duplicate { run: request.key(), owned: false };
    assert_eq!(start(store, request).await, duplicate);
    assert_eq!(database.count("dacapo.runs_open").await + database.count("dacapo.ready").await, 0);
    database.finish().await;
}

#[tokio::test]
async fn a_start_that_is_there_already_takes_nothing_from_the_others_of_its_flush() {
    let database = Database::new().await;
    let store = &database.store;
    let there = request("7");
    assert_eq!(start(store, there.clone()).await, StartOutcome::Started);
    let again: Vec<StartWorkflow> =
        (0..20).map(|number| if number == 7 { there.clone() } else { request(&number.to_string()) }).collect();
    let outcomes = futures_util::future::join_all(again.iter().map(|request| start(store, request.clone()))).await;
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let expected = match number {
            7 => StartOutcome::Duplicate { run: there.key(), owned: false },
            _ => StartOutcome::Started,
        };
        assert_eq!(outcome, expected, "start {number}");
    }
    assert_eq!(database.count("dacapo.history").await, 20);
    assert_eq!(database.count("dacapo.ready").await, 20);
    database.finish().await;
}

/// Two starts with two milliseconds between them are two flushes, but after one that was held up they are one.
#[tokio::test]
async fn starts_gather_after_a_flush_that_was_held_up() {
    const PAIRS: usize = 15;
    let database = Database::new().await;
    let store = &database.store;
    let at = now(store).await;
    let start = async |id: String| start_at(store, request(&id), None, at).await.unwrap();
    start("unhindered".to_owned()).await;
    database
        .sql(
            "CREATE FUNCTION dacapo.hinders() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_sleep(0.03); RETURN NULL; END $$;
             CREATE TRIGGER hinders AFTER INSERT ON dacapo.runs_open EXECUTE FUNCTION dacapo.hinders()",
        )
        .await;
    for pair in 0..PAIRS {
        start(format!("held up {pair}")).await;
        let later = async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            start(format!("later {pair}")).await
        };
        tokio::join!(start(format!("first {pair}")), later);
    }
    database.sql("DROP FUNCTION dacapo.hinders CASCADE").await;
    let of_one_flush = "dacapo.runs_open f JOIN dacapo.runs_open l ON f.xmin = l.xmin
                         WHERE f.workflow_id LIKE 'first %' AND l.workflow_id = replace(f.workflow_id, 'first', 'later')";
    let together = database.count(of_one_flush).await;
    assert!(together >= PAIRS as i64 / 3, "{together} of {PAIRS} pairs");
    database.finish().await;
}

#[tokio::test]
async fn a_request_id_leads_to_one_run_however_often_it_comes() {
    let database = Database::new().await;
    let store = &database.store;
    let with_id = || StartWorkflow { request_id: Some("order 7".to_owned()), ..request("a") };
    let first = with_id();
    let key = first.key();
    assert_eq!(start(store, first.clone()).await, StartOutcome::Started);
    assert_eq!(start(store, with_id()).await, StartOutcome::Duplicate { run: key, owned: false });
    close(&database, &first).await;
    assert_eq!(start(store, with_id()).await, StartOutcome::Duplicate { run: key, owned: false });
    let other = StartWorkflow { request_id: Some("order 8".to_owned()), ..request("a") };
    assert_eq!(start(store, other).await, StartOutcome::Started);
    assert_eq!(database.count("dacapo.runs").await, 2);
    database.finish().await;
}

#[tokio::test]
async fn reuse_policies_look_at_the_last_closed_run() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let with = |reuse_policy| StartWorkflow { reuse_policy, ..request("a") };
    let first = request("a");
    start(store, first.clone()).await;
    close(&database, &first).await;
    let rejected = start(store, with(IdReusePolicy::RejectDuplicate)).await;
    assert_eq!(rejected, StartOutcome::ReuseRefused { run_id: first.run_id });
    let second = with(IdReusePolicy::AllowDuplicateFailedOnly);
    assert_eq!(start(store, second.clone()).await, StartOutcome::Started);
    let mut owned = Owned::claim(store, worker).await;
    assert!(matches!(owned.go(store, vec![], vec![complete()]).await, WriteOutcome::Applied));
    let refused = start(store, with(IdReusePolicy::AllowDuplicateFailedOnly)).await;
    assert_eq!(refused, StartOutcome::ReuseRefused { run_id: second.run_id });
    assert_eq!(start(store, with(IdReusePolicy::AllowDuplicate)).await, StartOutcome::Started);
    // What was refused has left nothing behind.
    assert_eq!(database.count("dacapo.runs").await, 3);
    database.finish().await;
}

#[tokio::test]
async fn an_open_run_stands_in_the_way_or_is_the_answer() {
    let database = Database::new().await;
    let store = &database.store;
    let first = request("a");
    start(store, first.clone()).await;
    assert_eq!(start(store, request("a")).await, StartOutcome::AlreadyOpen { run_id: first.run_id });
    let using =
        StartWorkflow { conflict_policy: IdConflictPolicy::UseExisting, signal: Some(signal("hello")), ..request("a") };
    let used = StartOutcome::UsedExisting { run: first.key() };
    assert_eq!(start(store, using.clone()).await, used);
    // A resend, and one after the run has closed, find what the first did.
    assert_eq!(start(store, using.clone()).await, used);
    assert_eq!(database.count("dacapo.inbox").await, 1);
    close(&database, &first).await;
    assert_eq!(start(store, using).await, used);
    let history = store.history(first.key(), 1, 100).await.unwrap();
    let signals = history.iter().flat_map(|row| &row.events);
    assert_eq!(signals.filter(|e| matches!(e.event, EventKind::WorkflowExecutionSignaled(_))).count(), 1);
    assert_eq!(database.count("dacapo.runs").await, 1);
    database.finish().await;
}

#[tokio::test]
async fn terminate_existing_replaces_a_run_whoever_owns_it() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let replacing = || StartWorkflow { conflict_policy: IdConflictPolicy::TerminateExisting, ..request("a") };
    let mut first = waiting_run(store, worker, "a").await;
    send(store, first.key(), signal("kept")).await.unwrap();
    let second = replacing();
    assert_eq!(start(store, second.clone()).await, StartOutcome::Started);
    // The owner of the first is fenced out; what was acknowledged is in its history.
    assert!(matches!(first.go(store, vec![signal("late")], vec![]).await, WriteOutcome::Fenced));
    let history = store.history(first.key(), 1, 100).await.unwrap();
    let names: Vec<&str> = history.iter().flat_map(|row| &row.events).map(|event| event.event.name()).collect();
    assert_eq!(names[names.len() - 2..], ["WorkflowExecutionSignaled", "WorkflowExecutionTerminated"]);
    assert_eq!(start(store, replacing()).await, StartOutcome::Started);
    let closed = store.results(&[first.key(), second.key()]).await.unwrap();
    assert!(closed.iter().all(|(_, result)| result.status == RunStatus::Terminated) && closed.len() == 2);
    database.finish().await;
}

#[tokio::test]
async fn of_many_starts_with_one_workflow_id_one_wins() {
    let database = Database::new().await;
    let stores = [&database.store, &database.another().await, &database.another().await].map(std::sync::Arc::clone);
    let mut starts = tokio::task::JoinSet::new();
    for number in 0..60 {
        let store = std::sync::Arc::clone(&stores[number % 3]);
        starts.spawn(async move { start(&store, request(&format!("w{}", number % 4))).await });
    }
    let outcomes = starts.join_all().await;
    let won = outcomes.iter().filter(|outcome| **outcome == StartOutcome::Started).count();
    assert_eq!(won, 4, "{outcomes:?}");
    assert!(outcomes.iter().all(|o| matches!(o, StartOutcome::Started | StartOutcome::AlreadyOpen { .. })));
    for store in &stores[1..] {
        store.close().await;
    }
    database.finish().await;
}

#[tokio::test]
async fn an_owner_that_is_no_member_owns_nothing() {
    let database = Database::new().await;
    let store = &database.store;
    let stranger = WorkerId(Uuid::now_v7());
    assert_eq!(start_as(store, request("a"), Some(stranger)).await.unwrap(), StartOutcome::OwnerLost);
    let worker = register(store).await;
    let mine = request("a");
    assert_eq!(start_as(store, mine.clone(), Some(worker)).await.unwrap(), StartOutcome::Started);
    let again = start_as(store, mine.clone(), Some(worker)).await.unwrap();
    assert_eq!(again, StartOutcome::Duplicate { run: mine.key(), owned: true });
    database.sql("UPDATE dacapo.workers SET lease_until = now() - interval '1 s'").await;
    assert_eq!(start_as(store, request("b"), Some(worker)).await.unwrap(), StartOutcome::OwnerLost);
    assert_eq!(database.count("dacapo.runs").await, 1);
    database.finish().await;
}

#[tokio::test]
async fn one_start_that_the_database_refuses_does_not_hold_up_the_others() {
    let database = Database::new().await;
    let mut starts = tokio::task::JoinSet::new();
    for number in 0..50 {
        let store = std::sync::Arc::clone(&database.store);
        // Search attributes are stored as jsonb, which cannot hold the character zero.
        let value = if number == 17 { r#"{"k":"\u0000"}"# } else { r#"{"k":"v"}"# };
        let request = StartWorkflow { search_attributes: Some(payload(value)), ..request(&format!("w{number}")) };
        starts.spawn(async move { (number, start_as(&store, request, None).await) });
    }
    for (number, outcome) in starts.join_all().await {
        match outcome {
            Ok(outcome) => assert!(outcome == StartOutcome::Started && number != 17),
            Err(error) => assert!(matches!(error, StoreError::Rejected { .. }) && number == 17, "{error}"),
        }
    }
    let filter = RunFilter { attributes: vec![("k".to_owned(), "v".into())], ..RunFilter::default() };
    assert_eq!(database.store.count(&filter).await.unwrap(), 49);
    let listed = database.store.list(&filter, 100).await.unwrap();
    assert_eq!(listed.len(), 49);
    assert_eq!(listed[0].search_attributes, Some(payload(r#"{"k":"v"}"#)));
    assert!(listed.windows(2).all(|pair| pair[0].started_at >= pair[1].started_at));
    database.finish().await;
}

/// The workflow id is taken by a transaction that goes on for long: those who started in one flush with it do not wait for it.
#[tokio::test]
async fn a_start_that_is_held_up_holds_up_none_of_its_flush() {
    let database = Database::new().await;
    let mut holder = held_id(&database, "held").await;
    let requests = (0..6).map(|number| request(&format!("free-{number}"))).chain([request("held")]);
    let mut starts: Vec<_> = requests.map(|request| Box::pin(start(&database.store, request))).collect();
    let held = starts.pop().unwrap();
    let let_go = async {
        // All of them wait behind a first one for a moment, the one that is held up among them.
        let outcomes = behind_a_held_start(&database, starts).await;
        assert!(outcomes.into_iter().all(|outcome| outcome == StartOutcome::Started));
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    };
    let held = async {
        until_somebody_waits(&database).await;
        held.await
    };
    assert_eq!(tokio::join!(held, let_go).0, StartOutcome::Started);
    drop(holder);
    database.finish().await;
}

/// A workflow id that somebody holds for long holds up none of those that are started meanwhile, and closing the store waits
/// for its start.
#[tokio::test]
async fn starts_that_are_held_up_let_later_ones_pass() {
    let database = Database::new().await;
    let store = database.another().await;
    let mut holder = held_id(&database, "held").await;
    // Several of them, so that each has to be found among the others.
    let held = futures_util::future::join_all((0..3).map(|_| start(&store, request("held"))));
    let meanwhile = async {
        until_somebody_waits(&database).await;
        let began = std::time::Instant::now();
        for number in 0..20 {
            assert_eq!(start(&store, request(&format!("free-{number}"))).await, StartOutcome::Started);
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "they waited for what is held up");
        let closing = store.close();
        let let_go = async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
        };
        tokio::join!(closing, let_go);
    };
    let (outcomes, ()) = tokio::join!(held, meanwhile);
    let started = outcomes.iter().filter(|outcome| **outcome == StartOutcome::Started).count();
    assert_eq!(started, 1, "{outcomes:?}");
    database.finish().await;
}
