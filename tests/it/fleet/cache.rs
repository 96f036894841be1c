//! More runs than a worker keeps in memory.

use std::time::{Duration, Instant};

use dacapo::{
    WorkflowHandle,
    core::{EventKind, Timestamp},
};
use tokio::task::JoinSet;

use super::{
    code::{GO, long, sleeper, waiter},
    harness::{Fleet, PATIENCE, within},
    worker::Serves,
};

/// Runs that wait, and how many of them a worker keeps.
const RUNS: u64 = 1_000;
const CACHED_RUNS: usize = 50;

/// How late a timer of an evicted run may fire on a machine that runs other tests too.
const LATE: Duration = Duration::from_secs(15);

async fn results(runs: &[WorkflowHandle<u64>]) -> Vec<u64> {
    let results: JoinSet<_> = runs.iter().cloned().map(|run| async move { run.result().await.unwrap() }).collect();
    within("all runs end", PATIENCE, results.join_all()).await
}

/// How late each timer of a run fired.
async fn lateness(run: &WorkflowHandle<u64>) -> Vec<Duration> {
    let mut due: Vec<(u64, Timestamp)> = Vec::new();
    let mut late = Vec::new();
    for event in run.history().await.unwrap() {
        match event.event {
            EventKind::TimerStarted(started) => due.push((started.timer_id, started.fire_at)),
            EventKind::TimerFired(fired) => {
                let (_, fire_at) = due.iter().find(|(timer_id, _)| *timer_id == fired.timer_id).unwrap();
                assert!(event.event_time >= *fire_at, "a timer fired early");
                late.push(event.event_time.since(*fire_at));
            }
            _ => {}
        }
    }
    late
}

#[tokio::test]
async fn a_thousand_waiting_runs_need_room_for_fifty() {
    let mut fleet = Fleet::on_shared_server().await;
    let worker = fleet.worker(|settings| settings.cached_runs = Some(CACHED_RUNS)).await;
    fleet.worker(|settings| (settings.serves, settings.queue) = (Serves::Activities, "other".to_owned())).await;

    // Activities that outlast their runs' place in memory: one on the owner, one on another worker.
    let own = fleet.client.start(long, (3_000, None)).id("long-own").await.unwrap();
    let other = fleet.client.start(long, (3_000, Some("other".to_owned()))).id("long-other").await.unwrap();
    let began = Instant::now();
    let mut starts = JoinSet::new();
    for number in 0..RUNS {
        let client = fleet.client.clone();
        starts.spawn(async move {
            if number % 2 == 0 {
                client.start(waiter, ()).id(format!("waiter-{number}")).await.unwrap()
            } else {
                client.start(sleeper, 4_000).id(format!("sleeper-{number}")).await.unwrap()
            }
        });
    }
    let started = starts.join_all().await;
    let (waiters, sleepers): (Vec<_>, Vec<_>) =
        started.into_iter().partition(|run| run.workflow_id().as_str().starts_with("waiter"));
    assert_eq!(within("the activity on the owner ends", PATIENCE, own.result()).await.unwrap(), 1);
    assert_eq!(within("the activity elsewhere ends", PATIENCE, other.result()).await.unwrap(), 1);

    assert_eq!(results(&sleepers).await, vec![4_000; RUNS as usize / 2]);
    let mut late = Vec::new();
    for run in &sleepers {
        late.extend(lateness(run).await);
    }
    late.sort_unstable();
    assert_eq!(late.len() as u64, RUNS / 2);
    let latest = *late.last().unwrap();
    eprintln!("timers fired {:?} late in the middle, {latest:?} at most", late[late.len() / 2]);
    assert!(latest < LATE, "{latest:?}");

    let mut signals = JoinSet::new();
    for (value, run) in waiters.iter().cloned().enumerate() {
        signals.spawn(async move { run.signal(&GO, value as u64).await.unwrap() });
    }
    signals.join_all().await;
    let mut received = results(&waiters).await;
    received.sort_unstable();
    assert_eq!(received, (0..RUNS / 2).collect::<Vec<_>>());
    let owned = fleet.workers[worker].counted("dacapo_owned_runs");
    assert!(owned <= CACHED_RUNS as u64, "{owned} runs are owned");
    eprintln!("{RUNS} runs with room for {CACHED_RUNS} took {:?}", began.elapsed());
    fleet.check_effects([&own, &other]).await;
    fleet.finish().await;
}
