//! A worker that stands still for longer than its lease, and wakes as a zombie.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use super::{
    code::{GO, sequence},
    code::{Work, mixed},
    harness::{Fleet, PATIENCE, eventually, within},
    worker::Settings,
};

const LEASE: Duration = Duration::from_secs(2);

/// Runs that are under way when the worker stops, and the activities that each makes.
const RUNS: u64 = 60;
const ACTIVITIES: u64 = 20;

fn short_lease(settings: &mut Settings) {
    settings.lease = Some(LEASE);
    settings.lease_renewal = Some(Duration::from_millis(400));
}

#[tokio::test]
async fn a_zombie_writes_nothing_and_joins_again() {
    let mut fleet = Fleet::on_shared_server().await;
    let zombie = fleet.worker(short_lease).await;
    let mut runs = Vec::new();
    for number in 0..RUNS {
        // Always an activity under way, so that the zombie wakes with outcomes in its hands.
        runs.push(fleet.client.start(sequence, (ACTIVITIES, 150)).id(format!("sequence-{number}")).await.unwrap());
    }
    let waiting = fleet.client.start(mixed, Work { value: 1, ms: 1 }).id("waiting").await.unwrap();
    let before = eventually("the worker owns the runs", PATIENCE, async || {
        fleet.member("w1").await.filter(|worker| worker.owned > RUNS as i64)
    })
    .await;
    fleet.worker(short_lease).await;

    fleet.workers[zombie].signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    let worker = before.worker.0;
    eventually("everything is taken over", PATIENCE, async || {
        let owned = fleet.database.count(&format!("dacapo.runs_open WHERE owner = '{worker}'")).await;
        (owned == 0).then_some(())
    })
    .await;
    eprintln!("taken over {:?} after the worker stood still, with a lease of {LEASE:?}", stopped.elapsed());
    fleet.workers[zombie].signal(Signal::SIGCONT);

    let after = eventually("the zombie joins again", PATIENCE, async || fleet.member("w1").await).await;
    assert_ne!(after.worker, before.worker, "it is a new member");
    let fenced = eventually("the zombie's writes are counted", PATIENCE, async || {
        Some(fleet.workers[zombie].counted("dacapo_fenced_writes_total")).filter(|fenced| *fenced > 0)
    })
    .await;
    eprintln!("{fenced} writes of the zombie were refused");

    waiting.signal(&GO, 5).await.unwrap();
    assert_eq!(within("the waiting run ends", PATIENCE, waiting.result()).await.unwrap(), 1 + 3 + 5 + 1);
    let results: JoinSet<_> = runs.iter().cloned().map(|run| async move { run.result().await.unwrap() }).collect();
    let results = within("all runs end", PATIENCE, results.join_all()).await;
    assert_eq!(results, vec![ACTIVITIES; RUNS as usize]);
    fleet.check_effects(&runs).await;
    fleet.check_effects([&waiting]).await;

    // The one that was a zombie works as any other: alone, it carries a run to its end.
    let other = fleet.workers.len() - 1;
    fleet.kill(other);
    let last = fleet.client.start(sequence, (2, 1)).id("last").await.unwrap();
    assert_eq!(within("the last run ends", PATIENCE, last.result()).await.unwrap(), 2);
    fleet.finish().await;
}
