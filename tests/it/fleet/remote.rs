//! Activities on workers that serve nothing else.

use std::time::Duration;

use super::{
    code::{cancellable, remote, unserved},
    harness::{Fleet, PATIENCE, eventually, within},
    worker::{Serves, Settings},
};

const OTHER: &str = "other";

fn only_workflows(settings: &mut Settings) {
    settings.serves = Serves::Workflows;
}

fn only_activities(settings: &mut Settings) {
    settings.serves = Serves::Activities;
    settings.queue = OTHER.to_owned();
}

#[tokio::test]
async fn the_next_attempt_goes_on_from_the_heartbeat_of_a_killed_worker() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(only_workflows).await;
    let first = fleet.worker(only_activities).await;
    let run = fleet.client.start(remote, OTHER.to_owned()).id("resumed").await.unwrap();
    eventually("the third step is recorded", PATIENCE, async || {
        let described = run.describe().await.unwrap();
        let activity = described.activities.into_iter().next()?;
        assert!(activity.worker.is_none_or(|worker| worker == "w2"));
        activity.last_heartbeat.filter(|details| details.as_json() == "3")
    })
    .await;
    fleet.worker(only_activities).await;
    fleet.kill(first);
    let resumed = within("the run ends", PATIENCE, run.result()).await.unwrap();
    assert_eq!((resumed.from, resumed.attempt), (3, 2), "(step, attempt)");
    fleet.check_effects([&run]).await;
    fleet.finish().await;
}

#[tokio::test]
async fn cancellation_reaches_an_activity_on_another_worker() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(only_workflows).await;
    fleet.worker(only_activities).await;
    let run = fleet.client.start(cancellable, OTHER.to_owned()).id("cancelled").await.unwrap();
    eventually("the activity runs", PATIENCE, async || (fleet.database.count("effects").await > 0).then_some(())).await;
    run.cancel("enough").await.unwrap();
    let said = within("the run ends", PATIENCE, run.result()).await.unwrap();
    assert_eq!(said, "it was cancelled: heard of it");
    assert_eq!(fleet.database.count("effects WHERE key = 'cancelled'").await, 1);
    fleet.check_effects([&run]).await;
    fleet.finish().await;
}

#[tokio::test]
async fn an_activity_that_nobody_serves_times_out_before_its_start() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(only_workflows).await;
    let run = fleet.client.start(unserved, "nobody".to_owned()).id("unserved").await.unwrap();
    let bound = Duration::from_millis(500) + PATIENCE;
    assert_eq!(within("the run ends", bound, run.result()).await.unwrap(), "Some(ScheduleToStart)");
    fleet.finish().await;
}
