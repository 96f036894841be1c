//! Workers killed with SIGKILL, again and again, under load.

use std::time::Duration;

use dacapo::{Client, WorkflowHandle};
use tokio::task::JoinSet;

use super::{
    code::{GO, Work, mixed},
    harness::{Fleet, PATIENCE, within},
    worker::Settings,
};

/// Runs in flight, and the runs that follow each other in each lane.
const LANES: u64 = 40;
const RUNS_EACH: u64 = 8;

/// Worker processes; one of them dies every so often.
const WORKERS: usize = 3;
const BETWEEN_KILLS: Duration = Duration::from_millis(900);

/// Looks at the others often, so that a test of many deaths stays short.
fn watchful(settings: &mut Settings) {
    settings.lease = Some(Duration::from_secs(2));
    settings.lease_renewal = Some(Duration::from_millis(300));
}

async fn lane(client: Client, lane: u64) -> Vec<WorkflowHandle<u64>> {
    let mut runs = Vec::new();
    for number in 0..RUNS_EACH {
        let value = lane * 1_000 + number;
        let run = client.start(mixed, Work { value, ms: 100 }).id(format!("mixed-{value}")).await.unwrap();
        run.signal(&GO, 500_000).await.unwrap();
        let result = within("a run ends", PATIENCE, run.result()).await.unwrap();
        assert_eq!(result, value + 3 + 500_000 + 1);
        runs.push(run);
    }
    runs
}

#[tokio::test]
async fn workers_killed_under_load_lose_nothing() {
    let mut fleet = Fleet::on_shared_server().await;
    for _ in 0..WORKERS {
        fleet.worker(watchful).await;
    }
    let mut lanes: JoinSet<_> = (0..LANES).map(|number| lane(fleet.client.clone(), number)).collect();
    let mut runs = Vec::new();
    let mut kills = 0;
    let mut next_kill = tokio::time::interval(BETWEEN_KILLS);
    loop {
        tokio::select! {
            lane = lanes.join_next() => match lane {
                Some(lane) => runs.extend(lane.unwrap()),
                None => break,
            },
            _ = next_kill.tick() => {
                fleet.kill(kills % WORKERS);
                fleet.spawn(watchful);
                kills += 1;
            }
        }
    }
    eprintln!("{} runs ended beside {kills} kills", runs.len());
    assert!(kills >= 4, "the load was over after {kills} kills: make it larger");
    assert_eq!(runs.len() as u64, LANES * RUNS_EACH);
    fleet.check_effects(&runs).await;
    let repeated = fleet.database.count("effects WHERE attempt > 1").await;
    assert!(repeated > 0, "no attempt was ever lost: the kills hit nothing");
    fleet.finish().await;
}
