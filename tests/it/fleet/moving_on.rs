//! How soon the runs of a worker move on after it was killed or told to stop, on default settings.

use std::time::{Duration, Instant};

use dacapo::WorkflowHandle;
use nix::sys::signal::Signal;

use super::{
    code::{GO, Work, sleeper, slow, waiter},
    harness::{Fleet, PATIENCE, eventually, within},
};

/// What is promised, and the bound that a busy machine keeps too.
const AFTER_SIGKILL: Duration = Duration::from_secs(3);
const AFTER_SIGTERM: Duration = Duration::from_millis(500);
const ON_A_BUSY_MACHINE: u32 = 10;

/// Three runs of the first worker: one whose activity runs, one that waits for a signal, one that waits for a time.
struct Runs {
    working: WorkflowHandle<u32>,
    waiting: WorkflowHandle<u64>,
    sleeping: WorkflowHandle<u64>,
}

/// A fleet of two workers, of which the first owns the runs.
async fn two_workers() -> (Fleet, Runs) {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(|_| {}).await;
    let runs = Runs {
        working: fleet.client.start(slow, Work { value: 0, ms: 100_000 }).id("working").await.unwrap(),
        waiting: fleet.client.start(waiter, ()).id("waiting").await.unwrap(),
        sleeping: fleet.client.start(sleeper, 1_500).id("sleeping").await.unwrap(),
    };
    eventually("the first worker owns the runs", PATIENCE, async || {
        let owners =
            [fleet.owner(&runs.working).await, fleet.owner(&runs.waiting).await, fleet.owner(&runs.sleeping).await];
        let all = owners.iter().all(|owner| owner.as_deref() == Some("w1"));
        (all && fleet.database.count("effects").await == 1).then_some(())
    })
    .await;
    fleet.worker(|_| {}).await;
    (fleet, runs)
}

/// Waits until all of them have moved on; says how long that took.
async fn moved_on(runs: &Runs, since: Instant, bound: Duration) {
    let waited = async {
        runs.waiting.signal(&GO, 8).await.unwrap();
        assert_eq!(runs.waiting.result().await.unwrap(), 8);
        since.elapsed()
    };
    let worked = async {
        assert_eq!(runs.working.result().await.unwrap(), 2, "the attempt that was lost counts");
        since.elapsed()
    };
    let (waited, worked) = within("the runs move on", bound, async { tokio::join!(waited, worked) }).await;
    let slept = within("the timer fires", bound, runs.sleeping.result()).await.unwrap();
    assert_eq!(slept, 1_500);
    eprintln!("the run with a signal ended after {waited:?}, the one with an activity after {worked:?}");
}

#[tokio::test]
async fn runs_move_on_soon_after_sigkill() {
    let (mut fleet, runs) = two_workers().await;
    let since = Instant::now();
    fleet.kill(0);
    moved_on(&runs, since, AFTER_SIGKILL * ON_A_BUSY_MACHINE).await;
    fleet.check_effects([&runs.working]).await;
    fleet.finish().await;
}

#[tokio::test]
async fn runs_move_on_at_once_after_sigterm_and_nothing_is_left_behind() {
    let (mut fleet, runs) = two_workers().await;
    let leaving = fleet.member("w1").await.unwrap().worker.0;
    let since = Instant::now();
    fleet.workers[0].signal(Signal::SIGTERM);
    let mut process = fleet.workers.remove(0);
    let left = async {
        let status = process.wait(PATIENCE).await;
        assert!(status.success(), "it ended with {status}\n{}", process.log_end());
        eprintln!("the process had left after {:?}", since.elapsed());
    };
    tokio::join!(moved_on(&runs, since, AFTER_SIGTERM * ON_A_BUSY_MACHINE), left);
    for named in [
        format!("dacapo.runs_open WHERE owner = '{leaving}'"),
        format!("dacapo.activities WHERE claimed_by = '{leaving}'"),
        format!("dacapo.workers WHERE worker = '{leaving}'"),
    ] {
        assert_eq!(fleet.database.count(&named).await, 0, "{named}");
    }
    fleet.check_effects([&runs.working]).await;
    fleet.finish().await;
}
