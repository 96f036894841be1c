//! Durable timers that nobody watches.

use std::time::Duration;

use dacapo_core::{Command, EventKind, MessageBody, StartWorkflow, Store, store::ReleaseRun, store::WriteOutcome};

use crate::common::*;

async fn fall_asleep(database: &Database, after: Duration) -> Owned {
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let command = Command::StartTimer { timer_id: 1, after };
    assert!(matches!(owned.go(store, vec![signal("x")], vec![command]).await, WriteOutcome::Applied));
    owned
}

async fn release(database: &Database, owned: &Owned) {
    let given = ReleaseRun {
        key: owned.key(),
        owner_epoch: owned.epoch,
        next_event_id: owned.run.next_event_id,
        ready_at: None,
    };
    database.store.release(owned.worker, vec![given]).await.unwrap();
}

#[tokio::test]
async fn a_due_timer_of_an_unowned_run_wakes_it() {
    let database = Database::new().await;
    let store = &database.store;
    let owned = fall_asleep(&database, Duration::from_millis(700)).await;
    release(&database, &owned).await;
    let beat = store.beat(owned.worker, &interest()).await.unwrap();
    let due = beat.next_due_at.unwrap();
    assert!(due > beat.now && due.since(beat.now) < Duration::from_millis(700));
    assert_eq!(store.move_due_timers(10).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_millis(750)).await;
    assert_eq!(store.move_due_timers(10).await.unwrap(), 1);
    assert_eq!(store.move_due_timers(10).await.unwrap(), 0);
    let mut woken = Owned::claim(store, owned.worker).await;
    let inbox = store.inbox(owned.worker, &[woken.key()], 10).await.unwrap();
    assert_eq!(inbox[0].1.body, MessageBody::TimerDue { timer_id: 1 });
    assert!(matches!(woken.go(store, vec![inbox[0].1.clone()], vec![complete()]).await, WriteOutcome::Applied));
    let history = store.history(woken.key(), 1, 100).await.unwrap();
    assert!(history.iter().flat_map(|r| &r.events).any(|e| matches!(e.event, EventKind::TimerFired(_))));
    database.finish().await;
}

#[tokio::test]
async fn the_owner_has_a_second_for_its_own_timers() {
    let database = Database::new().await;
    let store = &database.store;
    fall_asleep(&database, Duration::from_millis(1)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(store.move_due_timers(10).await.unwrap(), 0);
    database.sql("UPDATE dacapo.timers SET fire_at = fire_at - interval '2 s'").await;
    assert_eq!(store.move_due_timers(10).await.unwrap(), 1);
    database.finish().await;
}

#[tokio::test]
async fn a_run_timeout_ends_a_run_that_nobody_serves() {
    let database = Database::new().await;
    let store = &database.store;
    let request = StartWorkflow { run_timeout_ms: Some(100), ..request("a") };
    start(store, request.clone()).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(store.move_due_timers(10).await.unwrap(), 1);
    let worker = register(store).await;
    let mut owned = Owned::claim(store, worker).await;
    let inbox = store.inbox(worker, &[request.key()], 10).await.unwrap();
    let closing = owned.turn(store, |turn| turn.message(inbox[0].1.clone())).await;
    assert!(matches!(owned.write(store, closing).await, WriteOutcome::Applied));
    assert_eq!(database.count("dacapo.runs_closed WHERE status = 'TimedOut'").await, 1);
    database.finish().await;
}
