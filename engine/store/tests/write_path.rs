//! Starts, claims, writes and closes through the committer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, also in a function beside it")]

mod common;

use common::*;
use dacapo_core::{Store, run::RunStatus, store::{StartOutcome, WriteOutcome, SendOutcome}};

#[tokio::test]
async fn a_run_goes_from_start_to_result() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let request = request("a");
    let key = request.key();
    assert_eq!(start(store, request).await, StartOutcome::Started);
    let mut owned = Owned::claim(store, worker).await;
    assert_eq!(owned.key(), key);
    assert!(matches!(owned.go(store, vec![], vec![]).await, WriteOutcome::Applied));
    let signal = signal("go");
    assert_eq!(send(store, key, signal.clone()).await.unwrap(), SendOutcome::Accepted);
    let inbox = store.inbox(worker, &[key], 10).await.unwrap();
    assert_eq!(inbox.len(), 1);
    assert!(store.results(&[key]).await.unwrap().is_empty());
    assert!(matches!(owned.go(store, vec![inbox[0].1.clone()], vec![complete()]).await, WriteOutcome::Applied));
    let results = store.results(&[key]).await.unwrap();
    assert_eq!(results[0].1.status, RunStatus::Completed);
    assert_eq!(results[0].1.result, Some(payload("\"done\"")));
    assert_eq!(send(store, key, signal).await.unwrap(), SendOutcome::Accepted);
    assert_eq!(send(store, key, common::signal("late")).await.unwrap(), SendOutcome::NotOpen);
    database.finish().await;
}
