//! Workers killed while they run local activities, and after: what no marker holds is done again, what one holds is not.

use std::time::Duration;

use dacapo::core::{EventKind, Marker};
use tokio::task::JoinSet;

use super::{
    code::{GO, Work, local_sequence, local_then_go},
    harness::{Fleet, PATIENCE, eventually, within},
    worker::Settings,
};

fn watchful(settings: &mut Settings) {
    settings.lease = Some(Duration::from_secs(2));
    settings.lease_renewal = Some(Duration::from_millis(300));
}

/// The local activities that a history holds the end of.
fn markers(events: &[dacapo::core::Event]) -> Vec<u64> {
    let marker = |event: &dacapo::core::Event| match &event.event {
        EventKind::MarkerRecorded(recorded) => {
            matches!(recorded.marker, Marker::LocalActivity { .. }).then_some(recorded.marker_id)
        }
        _ => None,
    };
    events.iter().filter_map(marker).collect()
}

/// Kills the worker that owns a run.
async fn kill_owner<R>(fleet: &mut Fleet, run: &dacapo::WorkflowHandle<R>) {
    let owner = fleet.owner(run).await.unwrap();
    let at = fleet.workers.iter().position(|worker| worker.identity() == owner).unwrap();
    fleet.kill(at);
}

#[tokio::test]
async fn a_local_activity_is_run_again_after_a_kill_before_its_marker_and_never_after_it() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(watchful).await;
    fleet.worker(watchful).await;
    let run = fleet.client.start(local_then_go, Work { value: 7, ms: 3_000 }).id("local").await.unwrap();
    let key = format!("local/{}/1", run.run_id().unwrap());
    eventually("it is under way", PATIENCE, async || fleet.database.effects().await.get(&key).cloned()).await;
    kill_owner(&mut fleet, &run).await;

    let recorded = async || (markers(&run.history().await.unwrap()) == [1]).then_some(());
    eventually("its end is recorded", PATIENCE, recorded).await;
    let done = fleet.database.effects().await[&key].clone();
    assert_eq!(done.iter().map(|effect| effect.attempt).collect::<Vec<_>>(), [1, 1], "counted anew");
    assert_ne!(done[0].pid, done[1].pid, "the second time on the other worker");

    fleet.worker(watchful).await;
    kill_owner(&mut fleet, &run).await;
    run.signal(&GO, 500).await.unwrap();
    assert_eq!(within("the run ends", PATIENCE, run.result()).await.unwrap(), 508);
    assert_eq!(fleet.database.effects().await[&key].len(), 2, "not after its marker");
    fleet.finish().await;
}

#[tokio::test]
async fn a_sequence_of_local_activities_is_a_row_each_and_nothing_else() {
    const LOCALS: u64 = 30;
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(|_| {}).await;
    let run = fleet.client.start(local_sequence, (LOCALS, 0)).id("sequence").await.unwrap();
    assert_eq!(within("the run ends", PATIENCE, run.result()).await.unwrap(), LOCALS);
    let history = run.history().await.unwrap();
    assert_eq!(markers(&history), (1..=LOCALS).collect::<Vec<_>>());
    assert!(!history.iter().any(|event| event.event.name().starts_with("ActivityTask")), "{history:#?}");
    let rows = format!("dacapo.transitions WHERE run_id = '{}'", run.run_id().unwrap());
    assert_eq!(fleet.database.count(&rows).await as u64, 2 + LOCALS, "the start, the first task, then one each");
    assert_eq!(fleet.database.count("dacapo.activities").await, 0);
    fleet.finish().await;
}

#[tokio::test]
async fn runs_of_local_activities_survive_kills_under_load() {
    const RUNS: u64 = 30;
    const LOCALS: u64 = 12;
    const KILLS_MAX: usize = 6;
    let mut fleet = Fleet::on_shared_server().await;
    for _ in 0..3 {
        fleet.worker(watchful).await;
    }
    let mut ends = JoinSet::new();
    let mut started = Vec::new();
    for number in 0..RUNS {
        let run = fleet.client.start(local_sequence, (LOCALS, 200)).id(format!("run-{number}")).await.unwrap();
        started.push(run.clone());
        ends.spawn(async move {
            assert_eq!(within("a run ends", PATIENCE, run.result()).await.unwrap(), LOCALS);
            run
        });
    }
    let mut kills = 0;
    let mut next_kill = tokio::time::interval(Duration::from_millis(500));
    let mut runs = Vec::new();
    loop {
        tokio::select! {
            ended = ends.join_next() => match ended {
                Some(run) => runs.push(run.unwrap()),
                None => break,
            },
            // Not for ever: where workers need longer to start than they live, nothing would go on.
            _ = next_kill.tick(), if kills < KILLS_MAX => {
                // Whoever owns some run: one may own them all, and killing the others would show nothing.
                for run in &started {
                    let Some(owner) = fleet.owner(run).await else { continue };
                    if let Some(at) = fleet.workers.iter().position(|worker| worker.identity() == owner) {
                        fleet.kill(at);
                        fleet.spawn(watchful);
                        kills += 1;
                        break;
                    }
                }
            }
        }
    }
    assert!(kills >= 2, "the load was over after {kills} kills: make it larger");
    let effects = fleet.database.effects().await;
    let mut again = 0;
    for run in &runs {
        assert_eq!(markers(&run.history().await.unwrap()), (1..=LOCALS).collect::<Vec<_>>());
        for id in 1..=LOCALS {
            again += effects[&format!("{}/{}/{id}", run.workflow_id(), run.run_id().unwrap())].len() - 1;
        }
    }
    eprintln!("{kills} kills, {again} local activities run again of {}", RUNS * LOCALS);
    // Each kill can hit at most what ran at that moment: one for each run.
    assert!(again > 0 && again <= kills * RUNS as usize, "{again} after {kills} kills");
    fleet.finish().await;
}
