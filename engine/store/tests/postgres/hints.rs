//! Hints between processes.

use std::time::Duration;

use dacapo_core::{
    Store,
    store::{Hint, ReleaseRun, WriteOutcome},
};

use crate::common::*;

#[tokio::test]
async fn other_processes_hear_of_work_messages_and_ends() {
    let database = Database::new().await;
    let (near, far) = (&database.store, database.another().await);
    let mut heard = far.hints();
    let worker = register(&far).await;
    hear(&mut heard, |hint| *hint == Hint::Everything).await;
    let request = request("a");
    let key = request.key();
    start(near, request).await;
    hear(&mut heard, |hint| *hint == Hint::RunsReady(QUEUE.into())).await;
    let mut owned = Owned::claim(&far, worker).await;
    owned.go(&far, vec![], vec![]).await;
    send(near, key, signal("x")).await.unwrap();
    hear(&mut heard, |hint| *hint == Hint::Inbox(vec![key])).await;
    // Whoever waits hears of the end, and one that is small comes along.
    let mut waits = near.hints();
    assert!(!near.hear_closed());
    assert!(near.results(&[key]).await.unwrap().is_empty());
    hear(&mut waits, |hint| *hint == Hint::Everything).await;
    let inbox = far.inbox(worker, &[key], 10).await.unwrap();
    assert!(matches!(owned.go(&far, vec![inbox[0].1.clone()], vec![complete()]).await, WriteOutcome::Applied));
    let ends = |hint: &Hint| matches!(hint, Hint::Ended(ends) if ends[0].0 == key && ends[0].1.result.is_some());
    hear(&mut waits, ends).await;
    far.close().await;
    database.finish().await;
}

#[tokio::test]
async fn a_hint_for_later_comes_then() {
    let database = Database::new().await;
    let store = &database.store;
    let mut heard = store.hints();
    let worker = register(store).await;
    hear(&mut heard, |hint| *hint == Hint::Everything).await;
    let owned = waiting_run(store, worker, "a").await;
    let at = now(store).await.plus(Duration::from_millis(300));
    let given = ReleaseRun {
        key: owned.key(),
        owner_epoch: owned.epoch,
        next_event_id: owned.run.next_event_id,
        ready_at: Some(at),
    };
    store.release(worker, vec![given]).await.unwrap();
    hear(&mut heard, |hint| *hint == Hint::RunsReady(QUEUE.into())).await;
    assert!(now(store).await >= at);
    assert_eq!(store.claim_runs(worker, &claim_of(1)).await.unwrap().runs.len(), 1);
    database.finish().await;
}

/// Whoever writes and leaves says so before: otherwise others would find out with the next renewal of a lease.
#[tokio::test]
async fn what_is_written_last_is_told_before_a_process_ends() {
    let database = Database::new().await;
    let mut heard = database.store.hints();
    register(&database.store).await;
    hear(&mut heard, |hint| *hint == Hint::Everything).await;
    for number in 0..20 {
        let leaves = database.another().await;
        // Two of them, because one start by itself takes its news along.
        let (first, second) = (request(&format!("a{number}")), request(&format!("b{number}")));
        tokio::join!(start(&leaves, first), start(&leaves, second));
        leaves.close().await;
        hear(&mut heard, |hint| *hint == Hint::RunsReady(QUEUE.into())).await;
    }
    database.finish().await;
}
