//! Every invariant that `verify` checks is found broken when it is broken by hand.

use std::time::Duration;

use dacapo_core::{ActivityOptions, Command, Store};

use crate::common::*;

/// A database with an owned run (timer, activity, signal), an unowned one and a closed one.
async fn populated() -> Database {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "owned").await;
    let command = Command::StartTimer { timer_id: 1, after: Duration::from_secs(3_600) };
    owned.go(store, vec![signal("x")], vec![command]).await;
    let step = owned.turn(store, |turn| turn.message(signal("y"))).await;
    owned.write(store, step).await;
    owned.offer(store, 2, ActivityOptions::default()).await;
    let mut closed = waiting_run(store, worker, "closed").await;
    closed.go(store, vec![signal("x")], vec![complete()]).await;
    start(store, request("unowned")).await;
    let clean = store.verify().await.unwrap();
    assert!(clean.is_empty(), "{clean:?}");
    database
}

async fn broken_by(statement: &str) -> Vec<(u8, &'static str)> {
    let database = populated().await;
    assert!(database.sql(statement).await > 0, "the statement changes something");
    let found = database.store.verify().await.unwrap();
    let mut names: Vec<(u8, &'static str)> = found.iter().map(|one| (one.invariant, one.name)).collect();
    names.sort_unstable();
    names.dedup();
    database.store.close().await;
    names
}

/// Replaces a piece of the JSON of histories, behind the back of statistics.
fn edit(from: &str, to: &str, of: &str) -> String {
    format!(
        "CREATE TEMP TABLE h AS SELECT h.* FROM dacapo.history h JOIN dacapo.runs r USING (shard, run_id) \
           WHERE r.workflow_id = '{of}'; \
         DELETE FROM dacapo.history WHERE (shard, run_id) IN (SELECT shard, run_id FROM h); \
         UPDATE h SET events = convert_to(replace(convert_from(events, 'UTF8'), '{from}', '{to}'), 'UTF8'); \
         INSERT INTO dacapo.history SELECT * FROM h"
    )
}

#[tokio::test]
async fn invariant_1_a_run_exists_once_and_a_request_leads_to_one() {
    let both = "INSERT INTO dacapo.runs_closed (run_id, events, signals, started_at, closed_at, owner_epoch, shard, priority, \
        namespace, workflow_id, workflow_type, task_queue, status) SELECT run_id, 2, 0, started_at, now(), 0, shard, 3, \
        namespace, workflow_id, workflow_type, task_queue, 'Terminated' FROM dacapo.runs_open WHERE workflow_id = 'unowned'";
    assert!(broken_by(both).await.contains(&(1, "a run exists once")));
    let request = "INSERT INTO dacapo.start_requests VALUES (1, 'default', 'x', 'r', gen_random_uuid())";
    assert_eq!(broken_by(request).await, [(1, "a request led to a run")]);
}

#[tokio::test]
async fn invariant_2_histories_are_dense_counted_and_their_runs_exist() {
    let gap = "DELETE FROM dacapo.history WHERE first_event_id = (SELECT min(first_event_id) FROM dacapo.history \
        WHERE first_event_id > 2) AND (shard, run_id) IN (SELECT shard, run_id FROM dacapo.runs WHERE workflow_id = 'owned')";
    assert!(broken_by(gap).await.contains(&(2, "event ids are dense")));
    for (change, of) in [("next_event_id + 1", "unowned"), ("next_event_id - 1", "unowned"), ("99", "owned")] {
        let count = format!("UPDATE dacapo.runs_open SET next_event_id = {change} WHERE workflow_id = '{of}'");
        assert_eq!(broken_by(&count).await, [(2, "the row counts the events")], "{count}");
    }
    let orphan = "INSERT INTO dacapo.history VALUES (gen_random_uuid(), 1, now(), 0, 1, '[]')";
    assert_eq!(broken_by(orphan).await, [(2, "history belongs to a run")]);
    let unreadable = edit("\"Wb\"", "\"Nonsense\"", "unowned");
    assert!(broken_by(&unreadable).await.contains(&(2, "history can be read")));
}

#[tokio::test]
async fn invariant_3_a_closed_run_ends_as_its_row_says() {
    let status = "UPDATE dacapo.runs_closed SET status = 'Failed'";
    assert_eq!(broken_by(status).await, [(3, "the row agrees with the end")]);
    let last = "UPDATE dacapo.runs_closed SET final_events = NULL";
    assert!(broken_by(last).await.contains(&(3, "one closing event, last")));
}

#[tokio::test]
async fn invariant_4_epochs_do_not_go_back() {
    let epoch = "UPDATE dacapo.runs_open SET owner_epoch = 0, owner = NULL WHERE workflow_id = 'owned'";
    assert!(broken_by(epoch).await.contains(&(4, "epochs do not go back")));
}

#[tokio::test]
async fn invariants_5_and_6_nothing_ends_or_arrives_twice() {
    let database = populated().await;
    // The signal of the last step once more, with a place of its own.
    let twice = "INSERT INTO dacapo.history SELECT h.run_id, r.events + 1, now(), h.owner_epoch, h.shard, \
          convert_to(json_build_array('2', extract(epoch FROM h.written_at)::bigint * 1000000, e.value)::text, 'UTF8') \
        FROM dacapo.history h JOIN dacapo.runs r USING (shard, run_id), \
             LATERAL json_array_elements(convert_from(h.events, 'UTF8')::json) e \
       WHERE r.workflow_id = 'owned' AND json_typeof(e.value) = 'object' \
         AND e.value -> 'Wg' IS NOT NULL LIMIT 1; \
       UPDATE dacapo.runs_open SET next_event_id = next_event_id + 1, signals = signals + 1 WHERE workflow_id = 'owned'";
    assert!(database.sql(twice).await > 0);
    let found = database.store.verify().await.unwrap();
    assert!(found.iter().any(|one| one.name == "a message is recorded once" && one.invariant == 6), "{found:?}");
    database.store.close().await;
    let two_ends = edit("\"Mb\":{\"m\":1,", "\"Mf\":{\"b\":1,\"m\":1,", "owned");
    assert!(broken_by(&two_ends).await.contains(&(2, "history follows the rules")));
}

#[tokio::test]
async fn invariant_7_everything_open_is_owned_or_waited_for() {
    assert_eq!(broken_by("DELETE FROM dacapo.ready").await, [(7, "an unowned run waits for something")]);
    assert_eq!(broken_by("DELETE FROM dacapo.workers").await, [(7, "an owner is known")]);
    assert_eq!(broken_by("DELETE FROM dacapo.timers").await, [(7, "a pending timer is waited for")]);
    let reported = "UPDATE dacapo.activities SET reported = true, deadline = NULL";
    assert_eq!(broken_by(reported).await, [(7, "a reported attempt has its message")]);
    let claimed = "UPDATE dacapo.activities SET claimed_by = gen_random_uuid(), claimed_at = now()";
    assert_eq!(broken_by(claimed).await, [(7, "a claimer is known")]);
    let activity = "UPDATE dacapo.runs_open SET owner = NULL, next_event_id = dacapo.next_event_v1(shard, run_id, next_event_id); \
        DELETE FROM dacapo.activities";
    assert_eq!(broken_by(activity).await, [(7, "a pending activity is waited for")]);
    let message = "INSERT INTO dacapo.inbox SELECT shard, run_id, gen_random_uuid(), '{}' FROM dacapo.runs_open \
        WHERE owner IS NULL; DELETE FROM dacapo.ready";
    assert_eq!(broken_by(message).await, [(7, "a message to an unowned run wakes it")]);
}

#[tokio::test]
async fn invariant_8_nothing_points_at_a_closed_run() {
    let message = "INSERT INTO dacapo.inbox SELECT shard, run_id, gen_random_uuid(), '{}' FROM dacapo.runs_closed";
    assert_eq!(broken_by(message).await, [(8, "a message points at an open run")]);
    let ready = "INSERT INTO dacapo.ready SELECT run_id, now(), shard, 3, namespace, task_queue, workflow_type \
        FROM dacapo.runs_closed";
    assert_eq!(broken_by(ready).await, [(8, "a ready row points at an open run")]);
    let timer = "INSERT INTO dacapo.timers SELECT run_id, 1, now(), shard FROM dacapo.runs_closed";
    assert_eq!(broken_by(timer).await, [(8, "a timer points at an open run")]);
    let activity = "INSERT INTO dacapo.activities (run_id, activity_id, visible_at, attempt, shard, priority, namespace, \
        task_queue, activity_type, task) SELECT run_id, 1, now(), 1, shard, 3, namespace, task_queue, 'a', '{}' \
        FROM dacapo.runs_closed";
    assert_eq!(broken_by(activity).await, [(8, "an activity points at an open run")]);
    let leftover = "INSERT INTO dacapo.timers SELECT run_id, 77, now(), shard FROM dacapo.runs_open";
    assert_eq!(broken_by(leftover).await, [(8, "a row waits for something")]);
}

#[tokio::test]
async fn invariant_9_no_timer_fires_early() {
    let database = populated().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut early = waiting_run(store, worker, "early").await;
    let command = Command::StartTimer { timer_id: 1, after: Duration::from_millis(1) };
    early.go(store, vec![signal("x")], vec![command]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let fired = early.turn(store, |turn| turn.timer_due(1)).await;
    assert_eq!(fired.events.len(), 1);
    early.write(store, fired).await;
    assert!(store.verify().await.unwrap().is_empty());
    database.sql("UPDATE dacapo.history SET written_at = written_at - interval '1 h'").await;
    let found = store.verify().await.unwrap();
    assert!(found.iter().any(|one| one.invariant == 9), "{found:?}");
    database.store.close().await;
}

#[tokio::test]
async fn invariant_11_lists_show_what_was_started() {
    let shown = "UPDATE dacapo.runs_open SET workflow_type = 'other' WHERE workflow_id = 'unowned'";
    assert_eq!(broken_by(shown).await, [(11, "the row agrees with the history")]);
}

#[tokio::test]
async fn a_parked_run_may_have_messages_and_wake_nobody() {
    let database = Database::new().await;
    let store = &database.store;
    let first = register(store).await;
    let run = waiting_run(store, first, "deadly").await.key();
    send(store, run, signal("x")).await.unwrap();
    let mut worker = first;
    // The run has made progress since its start, so that its first death does not count.
    for _ in 0..=dacapo_core::limits::TAKEOVERS_WITHOUT_PROGRESS_MAX {
        store.deregister(worker).await.unwrap();
        while store.take_over(worker, 5).await.unwrap() > 0 {}
        worker = register(store).await;
        store.claim_runs(worker, &claim_of(1)).await.unwrap();
    }
    assert_eq!(database.count("dacapo.runs_open WHERE parked AND owner IS NULL").await, 1);
    assert_eq!((database.count("dacapo.inbox").await, database.count("dacapo.ready").await), (1, 0));
    database.finish().await;
}
