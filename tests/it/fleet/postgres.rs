//! Postgres killed in the middle of work, and started again.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use dacapo::{Client, WorkflowHandle, core::EventKind};
use tokio::task::JoinSet;

use super::{
    code::{GO, STOP, VALUE, Work, collector, mixed},
    harness::{Fleet, PATIENCE, within},
};

const LANES: u64 = 10;
const KILLS: usize = 3;
const BETWEEN_KILLS: Duration = Duration::from_secs(1);

/// Starts runs and signals them until it is told to stop; gives those that were acknowledged.
async fn start_and_signal(client: Client, lane: u64, stop: Arc<AtomicBool>) -> Vec<(u64, WorkflowHandle<u64>)> {
    let mut runs = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let value = lane * 100_000 + runs.len() as u64;
        let run = client.start(mixed, Work { value, ms: 50 }).id(format!("mixed-{value}")).await.unwrap();
        run.signal(&GO, 7).await.unwrap();
        runs.push((value, run));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    runs
}

/// Sends values to one run until it is told to stop; gives those that were acknowledged.
async fn send(run: WorkflowHandle<Vec<u64>>, lane: u64, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let value = lane * 100_000 + sent.len() as u64;
        run.signal(&VALUE, value).await.unwrap();
        sent.push(value);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgres_keeps_every_acknowledged_start_and_signal() {
    let mut fleet = Fleet::on_own_server().await;
    fleet.worker(|_| {}).await;
    fleet.worker(|_| {}).await;
    let stop = Arc::new(AtomicBool::new(false));
    let target = fleet.client.start(collector, ()).id("collector").await.unwrap();
    let mut starters = JoinSet::new();
    let mut senders = JoinSet::new();
    for lane in 0..LANES {
        starters.spawn(start_and_signal(fleet.client.clone(), lane, Arc::clone(&stop)));
        senders.spawn(send(target.clone(), lane, Arc::clone(&stop)));
    }
    for _ in 0..KILLS {
        tokio::time::sleep(BETWEEN_KILLS).await;
        let killed = Instant::now();
        let server = fleet.database.own_server();
        let restarted = tokio::task::spawn_blocking(move || {
            server.kill_immediate().unwrap();
            server.start_again().unwrap();
        });
        restarted.await.unwrap();
        eprintln!("Postgres was away for {:?}", killed.elapsed());
    }
    tokio::time::sleep(BETWEEN_KILLS).await;
    stop.store(true, Ordering::Relaxed);

    let stopped = Instant::now();
    let sent: Vec<u64> = senders.join_all().await.into_iter().flatten().collect();
    target.signal(&STOP, ()).await.unwrap();
    let received = within("the collector ends", PATIENCE, target.result()).await.unwrap();
    let distinct: HashSet<u64> = received.iter().copied().collect();
    assert_eq!(distinct.len(), received.len(), "a signal was doubled");
    assert_eq!(distinct, sent.iter().copied().collect(), "acknowledged signals and recorded ones differ");

    let mut runs = Vec::new();
    for (value, run) in starters.join_all().await.into_iter().flatten() {
        let result = within("an acknowledged run ends", PATIENCE, run.result()).await;
        assert_eq!(result.unwrap(), value + 3 + 7 + 1);
        let signals = run.history().await.unwrap().into_iter();
        let signals = signals.filter(|event| matches!(event.event, EventKind::WorkflowExecutionSignaled(_)));
        assert_eq!(signals.count(), 1);
        runs.push(run);
    }
    let (started, sent, rest) = (runs.len(), sent.len(), stopped.elapsed());
    eprintln!("{started} runs and {sent} signals through {KILLS} deaths of Postgres; the last ended {rest:?} later");
    fleet.check_effects(&runs).await;
    fleet.finish().await;
}
