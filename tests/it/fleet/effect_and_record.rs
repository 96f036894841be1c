//! A worker killed between the effect of an activity and its record.

use dacapo::{ResultError, core::EventKind};

use super::{
    code::deadly,
    harness::{Fleet, PATIENCE, outcomes, within},
};

#[tokio::test]
async fn an_effect_without_record_is_repeated_under_the_retry_policy_and_recorded_once() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(|_| {}).await;
    fleet.worker(|_| {}).await;

    let run = fleet.client.start(deadly, 0).id("repeated").await.unwrap();
    assert_eq!(within("the run ends", PATIENCE, run.result()).await.unwrap(), 2);
    let recorded = outcomes(&run.history().await.unwrap());
    assert_eq!(recorded.iter().map(|outcome| outcome.attempt).collect::<Vec<_>>(), [2]);
    let effects = fleet.database.effects().await;
    let done = &effects[&format!("repeated/{}/1", run.run_id().unwrap())];
    assert_eq!(done.iter().map(|effect| effect.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_ne!(done[0].pid, done[1].pid, "the second attempt ran on the other worker");

    let dead = fleet.workers.iter_mut().position(|worker| worker.ended().is_some()).unwrap();
    fleet.workers.remove(dead);
    fleet.worker(|_| {}).await;
    fleet.finish().await;
}

#[tokio::test]
async fn an_activity_with_one_attempt_is_never_run_twice() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(|_| {}).await;
    fleet.worker(|_| {}).await;

    let run = fleet.client.start(deadly, 1).id("once").await.unwrap();
    let error = within("the run ends", PATIENCE, run.result()).await.unwrap_err();
    let ResultError::Failed { failure, .. } = error else { panic!("{error}") };
    assert_eq!(failure.error_type, "WorkerLost");
    let history = run.history().await.unwrap();
    let failed = history.iter().filter(|event| matches!(event.event, EventKind::ActivityTaskFailed(_)));
    assert_eq!(failed.count(), 1, "{history:#?}");
    assert_eq!(outcomes(&history).len(), 1);
    assert_eq!(fleet.database.effects().await[&format!("once/{}/1", run.run_id().unwrap())].len(), 1);

    fleet.workers.retain_mut(|worker| worker.ended().is_none());
    assert_eq!(fleet.workers.len(), 1, "one worker died with the activity, once");
    fleet.finish().await;
}
