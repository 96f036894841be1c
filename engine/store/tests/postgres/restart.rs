//! The server killed and started again under load.

use std::{sync::Arc, time::Duration};

use dacapo_core::store::{SendOutcome, StartOutcome};
use dacapo_core::{Store, store::RunFilter};
use dacapo_devpg::Cluster;
use dacapo_store::{PgStore, PgStoreOptions, migrate};

use crate::common::*;

const WAVES: usize = 12;
const WAVE: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_start_and_signal_gets_a_definite_answer_across_a_crash_of_the_server() {
    let cluster = Arc::new(Cluster::temporary().unwrap());
    let options = PgStoreOptions::new(cluster.url());
    migrate(&options).await.unwrap();
    let store = Arc::new(PgStore::connect(options).await.unwrap());
    let target = request("target");
    start(&store, target.clone()).await;
    // Transitions need the database's clock only for their event times.
    let at = now(&store).await;
    let mut calls = tokio::task::JoinSet::new();
    for wave in 0..WAVES {
        for number in 0..WAVE {
            let (store, target) = (Arc::clone(&store), target.key());
            calls.spawn(async move {
                let started = start_at(&store, request(&format!("w{wave}-{number}")), None, at).await.unwrap();
                assert_eq!(started, StartOutcome::Started);
                assert_eq!(send(&store, target, signal("x")).await.unwrap(), SendOutcome::Accepted);
            });
        }
        if wave == WAVES / 2 {
            let cluster = Arc::clone(&cluster);
            let crash = move || {
                cluster.kill_immediate().unwrap();
                cluster.start_again().unwrap();
            };
            tokio::task::spawn_blocking(crash).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    let everything = (WAVES * WAVE) as u64 + 1;
    assert_eq!(store.count(&RunFilter::default()).await.unwrap(), everything);
    let inbox = store.describe(target.key()).await.unwrap().unwrap().inbox;
    assert_eq!(inbox as u64, everything - 1);
    assert_eq!(store.verify().await.unwrap(), []);
    store.close().await;
}
