//! Writes of owned runs: fences, closes, releases, and what a flush does with what it cannot write.

use std::time::Duration;

use dacapo_core::{
    EventKind, Message, RunKey, Store, Transition,
    command::Command,
    event::WorkflowTaskFailedCause,
    failure::Failure,
    store::{ReleaseOutcome, ReleaseRun, RunsPart, SendOutcome, StartOutcome, StoreError, WriteOutcome},
};
use dacapo_devpg::Cluster;
use sqlx::{Connection, PgConnection};

use crate::common::*;

fn release_of(owned: &Owned) -> ReleaseRun {
    ReleaseRun { key: owned.key(), owner_epoch: owned.epoch, next_event_id: owned.run.next_event_id, ready_at: None }
}

#[tokio::test]
async fn a_write_under_another_epoch_or_place_is_fenced_out() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let step = owned.step(store, vec![signal("x")], vec![]).await;
    assert!(matches!(write(store, worker, owned.epoch + 1, step.clone()).await, WriteOutcome::Fenced));
    let stranger = registration().worker;
    assert!(matches!(write(store, stranger, owned.epoch, step.clone()).await, WriteOutcome::Fenced));
    assert!(matches!(owned.write(store, step.clone()).await, WriteOutcome::Applied));
    assert!(matches!(owned.write(store, step).await, WriteOutcome::Fenced));
    // Rows without an event are fenced as well.
    let rows = Transition { published: vec![("stage".to_owned(), payload("1"))], ..Transition::new(&owned.run) };
    assert!(matches!(write(store, worker, owned.epoch + 1, rows.into()).await, WriteOutcome::Fenced));
    assert_eq!(database.count("dacapo.published").await, 0);
    database.finish().await;
}

#[tokio::test]
async fn a_write_that_waits_for_a_take_over_is_fenced_out_by_it() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    for closing in [false, true] {
        let mut owned = waiting_run(store, worker, if closing { "a" } else { "b" }).await;
        let commands = if closing { vec![complete()] } else { vec![] };
        let step = owned.step(store, vec![signal("x")], commands).await;
        // Somebody else has changed the owner and not committed yet: the write finds its fence and waits for the row.
        let mut other = <sqlx::PgConnection as sqlx::Connection>::connect(&database.url).await.unwrap();
        let key = format!("run_id = '{}'", owned.key().run_id);
        let take = format!(
            "BEGIN; UPDATE dacapo.runs_open SET owner = NULL, owner_epoch = owner_epoch + 1, \
                next_event_id = dacapo.next_event_v1(shard, run_id, next_event_id) WHERE {key}; \
             INSERT INTO dacapo.ready SELECT run_id, now(), shard, priority, namespace, task_queue, workflow_type \
             FROM dacapo.runs_open WHERE {key}"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(take)).execute(&mut other).await.unwrap();
        let waits = async {
            while database
                .count("pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
                .await
                == 0
            {
                tokio::task::yield_now().await;
            }
            sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(owned.write(store, step), waits);
        assert!(matches!(outcome, WriteOutcome::Fenced), "{outcome:?}");
    }
    database.finish().await;
}

#[tokio::test]
async fn a_fencing_write_shuts_out_what_is_still_on_its_way() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let late = owned.step(store, vec![signal("x")], vec![]).await;
    assert_eq!(store.fence(worker, owned.key(), 1).await.unwrap(), Some(2));
    assert!(matches!(owned.write(store, late).await, WriteOutcome::Fenced));
    assert_eq!(store.fence(worker, owned.key(), 1).await.unwrap(), None);
    assert_eq!(store.owned_runs(worker, RunsPart::WHOLE).await.unwrap(), [(owned.key(), 2)]);
    database.finish().await;
}

#[tokio::test]
async fn a_close_waits_for_messages_that_it_has_not_taken() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let mut other = waiting_run(store, worker, "b").await;
    send(store, owned.key(), signal("first")).await.unwrap();
    send(store, owned.key(), signal("second")).await.unwrap();
    let inbox = store.inbox(worker, &[owned.key()], 10).await.unwrap();
    assert_eq!(inbox.len(), 2);
    let before = owned.run.clone();
    // A close that takes one of two is refused; in the same flush, another run closes.
    let close = owned.step(store, vec![inbox[0].1.clone()], vec![complete()]).await;
    let close_other = other.step(store, vec![signal("x")], vec![complete()]).await;
    let (refused, done) = tokio::join!(owned.write(store, close), other.write(store, close_other));
    assert!(matches!(refused, WriteOutcome::InboxNotEmpty));
    assert!(matches!(done, WriteOutcome::Applied));
    assert_eq!(database.count("dacapo.inbox").await, 2);
    owned.run = before;
    let both = inbox.into_iter().map(|(_, message)| message).collect();
    assert!(matches!(owned.go(store, both, vec![complete()]).await, WriteOutcome::Applied));
    assert_eq!(database.count("dacapo.runs_open").await, 0);
    database.finish().await;
}

#[tokio::test]
async fn a_run_is_given_back_only_with_an_empty_inbox() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let key = owned.key();
    send(store, key, signal("x")).await.unwrap();
    let released = store.release(worker, vec![release_of(&owned)]).await.unwrap();
    assert_eq!(released, [(key, ReleaseOutcome::InboxNotEmpty)]);
    let inbox = store.inbox(worker, &[key], 10).await.unwrap();
    owned.go(store, vec![inbox[0].1.clone()], vec![]).await;
    let stale = ReleaseRun { next_event_id: 2, ..release_of(&owned) };
    assert_eq!(store.release(worker, vec![stale]).await.unwrap(), [(key, ReleaseOutcome::Fenced)]);
    let released = store.release(worker, vec![release_of(&owned)]).await.unwrap();
    assert_eq!(released, [(key, ReleaseOutcome::Released)]);
    assert_eq!(store.release(worker, vec![release_of(&owned)]).await.unwrap(), [(key, ReleaseOutcome::Fenced)]);
    assert!(store.claim_runs(worker, &claim_of(10)).await.unwrap().runs.is_empty());
    // A message makes it ready again.
    send(store, key, signal("y")).await.unwrap();
    assert_eq!(store.claim_runs(worker, &claim_of(10)).await.unwrap().runs[0].owner_epoch, 2);
    database.finish().await;
}

#[tokio::test]
async fn an_item_that_the_database_refuses_is_found_among_many() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut runs = Vec::new();
    for number in 0..40 {
        runs.push(waiting_run(store, worker, &format!("w{number}")).await);
    }
    let mut writes = Vec::new();
    for (number, owned) in runs.iter_mut().enumerate() {
        let mut step = owned.step(store, vec![signal("x")], vec![]).await;
        // Postgres text cannot hold the character zero.
        let name = if number == 23 { "a\0b" } else { "stage" };
        step.published.push((name.to_owned(), payload("1")));
        writes.push((number, owned.epoch, step));
    }
    let outcomes = futures_util::future::join_all(
        writes
            .into_iter()
            .map(|(number, epoch, step)| async move { (number, write(store, worker, epoch, step).await) }),
    );
    for (number, outcome) in outcomes.await {
        match outcome {
            WriteOutcome::Applied => assert_ne!(number, 23),
            WriteOutcome::Rejected(StoreError::Rejected { problem }) => assert!(number == 23, "{problem}"),
            other => panic!("{number}: {other:?}"),
        }
    }
    assert_eq!(database.count("dacapo.published").await, 39);
    database.finish().await;
}

#[tokio::test]
async fn two_writes_of_one_run_go_one_after_the_other() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let first = owned.step(store, vec![signal("x")], vec![]).await;
    let second = owned.step(store, vec![signal("y")], vec![]).await;
    let (one, two) = tokio::join!(owned.write(store, first), owned.write(store, second));
    assert!(matches!(one, WriteOutcome::Applied) && matches!(two, WriteOutcome::Applied), "{one:?} {two:?}");
    database.finish().await;
}

#[tokio::test]
async fn large_results_and_failures_are_read_back() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let large = payload(&format!("\"{}\"", "x".repeat(100_000)));
    let command = Command::CompleteWorkflowExecution { result: large.clone() };
    owned.go(store, vec![signal("x")], vec![command]).await;
    assert_eq!(store.results(&[owned.key()]).await.unwrap()[0].1.result, Some(large));
    let mut failing = waiting_run(store, worker, "b").await;
    let failure =
        Failure { details: Some(payload(&format!("\"{}\"", "y".repeat(9_000)))), ..Failure::application("E", "m") };
    let command = Command::FailWorkflowExecution { failure: Box::new(failure.clone()) };
    failing.go(store, vec![signal("x")], vec![command]).await;
    assert_eq!(store.results(&[failing.key()]).await.unwrap()[0].1.failure, Some(failure));
    database.finish().await;
}

#[tokio::test]
async fn history_is_read_in_whole_transitions_from_any_event_on() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    for name in ["a", "b", "c"] {
        owned.go(store, vec![signal(name)], vec![]).await;
    }
    let all = store.history(owned.key(), 1, 100).await.unwrap();
    let ids: Vec<i64> = all.iter().flat_map(|row| &row.events).map(|event| event.event_id).collect();
    assert_eq!(ids, (1..owned.run.next_event_id).collect::<Vec<_>>());
    let rest = store.history(owned.key(), all[2].events[1].event_id, 100).await.unwrap();
    assert_eq!(
        rest.iter().map(|row| &row.events).collect::<Vec<_>>(),
        all[2..].iter().map(|r| &r.events).collect::<Vec<_>>()
    );
    assert_eq!(store.history(owned.key(), 1, 2).await.unwrap().len(), 2);
    assert!(store.history(owned.key(), owned.run.next_event_id, 10).await.unwrap().is_empty());
    database.finish().await;
}

#[tokio::test]
async fn people_see_every_event_on_a_line_of_its_own() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    for name in ["a", "b"] {
        owned.go(store, vec![signal(name)], vec![]).await;
    }
    let history = store.history(owned.key(), 1, 100).await.unwrap();
    let events: Vec<_> = history.iter().flat_map(|row| &row.events).collect();
    let of_run = format!("dacapo.events WHERE run_id = '{}'", owned.key().run_id);
    assert_eq!(database.count(&of_run).await, events.len() as i64);
    for event in events {
        let line = format!(
            "{of_run} AND event_id = {} AND event_type = '{}' AND event_time = timestamptz 'epoch' + {} * interval '1 us'",
            event.event_id,
            event.event.name(),
            event.event_time.0
        );
        assert_eq!(database.count(&line).await, 1, "{event:?}");
    }
    let named = format!("{of_run} AND attributes ->> 'signal_name' IN ('a', 'b')");
    assert_eq!(database.count(&named).await, 2);
    database.finish().await;
}

/// Short names are in the code and in the database; rows of the first format have none.
#[tokio::test]
async fn people_see_names_spelled_out() {
    let database = Database::new().await;
    let mut reader = PgConnection::connect(&database.url).await.unwrap();
    let names = "SELECT of_type, name, short FROM dacapo.short_names_v1()";
    let names: Vec<(bool, String, String)> = sqlx::query_as(names).fetch_all(&mut reader).await.unwrap();
    let in_code = dacapo_core::batch::short_names().map(|(of_type, name, short)| (of_type, name.into(), short.into()));
    assert_eq!(names, in_code.collect::<Vec<_>>());

    let worker = register(&database.store).await;
    let mut owned = waiting_run(&database.store, worker, "a").await;
    owned.go(&database.store, vec![signal("go")], vec![]).await;
    let of_run = format!("WHERE run_id = '{}'", owned.key().run_id);
    let seen = format!(
        "SELECT event_id, event_time::text, event_type, attributes::text FROM dacapo.events {of_run} ORDER BY event_id"
    );
    let mut seen = async || -> Vec<(i64, String, String, String)> {
        sqlx::query_as(sqlx::AssertSqlSafe(seen.clone())).fetch_all(&mut reader).await.unwrap()
    };
    let before = seen().await;
    assert!(
        before.iter().any(|line| line.2 == "WorkflowExecutionSignaled" && line.3.contains("\"signal_name\" : \"go\""))
    );
    let row = "[1795245407328098,{\"WorkflowExecutionSignaled\":{\"signal_name\":\"go\",\"i\":1}},5,\"Wg\"]";
    let first_format = format!(
        "UPDATE dacapo.history SET events = convert_to('{row}', 'UTF8') {of_run} \
            AND first_event_id = (SELECT max(first_event_id) FROM dacapo.history {of_run})"
    );
    assert_eq!(database.sql(&first_format).await, 1);
    let after = seen().await;
    let old: Vec<(&str, &str)> = after[after.len() - 2..].iter().map(|line| (&*line.2, &*line.3)).collect();
    assert_eq!(old, [("WorkflowExecutionSignaled", "{\"signal_name\":\"go\",\"i\":1}"), ("Wg", "{}")]);
    let kept = after.len() - 2;
    assert_eq!(after[..kept], before[..kept]);
    database.store.close().await;
}

#[tokio::test]
async fn a_problem_is_shown_until_it_is_over() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let key: RunKey = owned.key();
    let failing = owned
        .turn(store, |turn| {
            turn.message(signal("x"));
            turn.start_task("test@1", None);
            turn.fail_task(WorkflowTaskFailedCause::Panic, Failure::application("Panic", "\0 at 3"), 1);
        })
        .await;
    owned.write(store, failing).await;
    let described = store.describe(key).await.unwrap().unwrap();
    assert_eq!(described.problem.unwrap().failure.message, "\0 at 3");
    assert_eq!(described.owner, Some(worker));
    owned.go(store, vec![], vec![complete()]).await;
    let described = store.describe(key).await.unwrap().unwrap();
    assert!(described.problem.is_none() && described.result.is_some());
    let history = store.history(key, 1, 100).await.unwrap();
    assert!(history.iter().flat_map(|r| &r.events).any(|e| matches!(e.event, EventKind::WorkflowTaskFailed(_))));
    database.finish().await;
}

#[tokio::test]
async fn anyone_ends_an_unowned_run_and_leaves_an_order_to_an_owner() {
    let database = Database::new().await;
    let store = &database.store;
    let unowned = request("a");
    start(store, unowned.clone()).await;
    send(store, unowned.key(), signal("kept")).await.unwrap();
    let order = terminate();
    assert_eq!(store.terminate(unowned.key(), order.clone()).await.unwrap(), SendOutcome::Accepted);
    assert_eq!(database.count("dacapo.runs_open").await + database.count("dacapo.ready").await, 0);
    assert_eq!(store.terminate(unowned.key(), order).await.unwrap(), SendOutcome::Accepted);
    assert_eq!(store.terminate(unowned.key(), terminate()).await.unwrap(), SendOutcome::NotOpen);
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "b").await;
    assert_eq!(store.terminate(owned.key(), terminate()).await.unwrap(), SendOutcome::Accepted);
    let inbox = store.inbox(worker, &[owned.key()], 10).await.unwrap();
    assert!(matches!(owned.go(store, vec![inbox[0].1.clone()], vec![]).await, WriteOutcome::Applied));
    assert_eq!(database.count("dacapo.runs_closed WHERE status = 'Terminated'").await, 2);
    database.finish().await;
}

#[tokio::test]
async fn a_run_takes_so_many_signals_and_no_more() {
    let database = Database::new().await;
    let store = &database.store;
    let request = request("a");
    start(store, request.clone()).await;
    database.sql("UPDATE dacapo.runs_open SET signals = 9999").await;
    let last = signal("last");
    assert_eq!(send(store, request.key(), last.clone()).await.unwrap(), SendOutcome::Accepted);
    assert_eq!(send(store, request.key(), signal("one more")).await.unwrap(), SendOutcome::TooManySignals);
    assert_eq!(send(store, request.key(), last).await.unwrap(), SendOutcome::Accepted);
    database.sql("UPDATE dacapo.runs_open SET signals = 0").await;
    database.finish().await;
}

#[tokio::test]
async fn plans_made_on_small_tables_look_runs_up_by_their_key() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut first = waiting_run(store, worker, "first").await;
    waiting_run(store, worker, "second").await;
    first.go(store, vec![signal("x")], vec![complete()]).await;
    // One row each, and the planner knows: from here every plan is made anew, and kept.
    database.sql("ANALYZE dacapo.runs_open; ANALYZE dacapo.runs_closed").await;
    let reads = "(SELECT sum(pg_stat_get_tuples_returned(indexrelid)) AS reads FROM pg_stat_user_indexes \
        WHERE schemaname = 'dacapo' AND indexrelname LIKE 'runs_%_workflow') r WHERE r.reads > 0";
    database.sql("SELECT pg_stat_reset()").await;
    let fresh = database.another().await;
    for number in 0..20 {
        let mut run = waiting_run(&fresh, worker, &format!("w{number}")).await;
        assert!(matches!(run.go(&fresh, vec![signal("x")], vec![complete()]).await, WriteOutcome::Applied));
    }
    // Connections tell their statistics when they end.
    fresh.close().await;
    assert_eq!(database.count(reads).await, 0, "the index by workflow id was read for a look-up by run");
    database.finish().await;
}

#[tokio::test]
async fn a_corrupt_history_stops_its_run_and_no_other() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let bad = waiting_run(store, worker, "bad").await.key();
    let good = waiting_run(store, worker, "good").await.key();
    let spoil = format!("UPDATE dacapo.history SET events = '{{}}' WHERE run_id = '{}'", bad.run_id);
    database.sql(&spoil).await;
    let loaded = store.load(&[bad, good]).await.unwrap();
    assert_eq!(loaded.iter().map(|run| run.key).collect::<Vec<_>>(), [good]);
    let refused = store.load(&[bad]).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    database.store.close().await;
}

/// A row that somebody locks by hand holds up one run, and none of the others that its worker has.
#[tokio::test]
async fn a_run_that_somebody_locks_holds_up_no_other_run() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut locked = waiting_run(store, worker, "locked").await;
    let mut others = Vec::new();
    for number in 0..20 {
        others.push(waiting_run(store, worker, &format!("other-{number}")).await);
    }
    let by = format!("SELECT FROM dacapo.runs_open WHERE run_id = '{}' FOR UPDATE", locked.key().run_id);
    let mut holder = blocked(&database, &by).await;
    let held = locked.go(store, vec![signal("x")], vec![complete()]);
    let meanwhile = async {
        until_somebody_waits(&database).await;
        let began = std::time::Instant::now();
        for other in &mut others {
            assert!(matches!(other.go(store, vec![signal("x")], vec![complete()]).await, WriteOutcome::Applied));
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "they waited for the run that is locked");
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(held, meanwhile);
    assert!(matches!(outcome, WriteOutcome::Applied), "{outcome:?}");
    database.finish().await;
}

/// While the server takes no connection nothing is sent, so nothing is in doubt.
#[tokio::test]
async fn a_write_waits_for_a_connection() {
    let database = Database::new().await;
    let store = database.another().await;
    let worker = register(&store).await;
    assert_eq!(start(&database.store, request("a")).await, StartOutcome::Started);
    let mut owned = Owned::claim(&store, worker).await;
    let transition = owned.step(&store, vec![], vec![complete()]).await;
    let mut elsewhere = sqlx::PgConnection::connect(&Cluster::shared_for_tests().unwrap().url()).await.unwrap();
    let mut inside = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut inside).await.unwrap();
    let mut allow = async |connections: bool| {
        let text = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {connections}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut elsewhere).await.unwrap();
    };
    allow(false).await;
    let allowed = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        allow(true).await;
    };
    let (outcome, ()) = tokio::join!(owned.write(&store, transition), allowed);
    assert!(matches!(outcome, WriteOutcome::Applied), "{outcome:?}");
    store.close().await;
    database.finish().await;
}

#[tokio::test]
async fn the_inbox_is_vacuumed_after_ten_thousand_messages() {
    let database = Database::new().await;
    let store = &database.store;
    let mut owned = waiting_run(store, register(store).await, "a").await;
    let key = owned.key();
    for _ in 0..21 {
        let messages: Vec<Message> = (0..500).map(|_| signal("s")).collect();
        let sent = messages.iter().map(|message| send(store, key, message.clone()));
        assert!(futures_util::future::join_all(sent).await.into_iter().all(|sent| sent.is_ok()));
        assert!(matches!(owned.go(store, messages, vec![]).await, WriteOutcome::Applied));
    }
    // Not autovacuum, which has a counter of its own.
    let vacuumed = "pg_stat_user_tables WHERE schemaname = 'dacapo' AND relname = 'inbox' AND vacuum_count > 0";
    let there = tokio::time::timeout(Duration::from_secs(60), until_there_is(&database, vacuumed)).await;
    there.expect("the table is vacuumed");
    database.finish().await;
}
