//! Attempts of activities in other processes: claims, tokens, heartbeats, timeouts.

use std::time::Duration;

use dacapo_core::{
    ActivityOptions, ActivityOutcome, ActivityResult, MessageBody, Store, TimeoutType, WorkerId,
    store::{ActivityClaim, ActivityHeartbeat, ActivityReport, ClaimedActivity, ReportOutcome, WriteOutcome},
};

use crate::common::*;

fn wanted(limit: usize) -> ActivityClaim {
    ActivityClaim { namespace: "default".into(), queues: vec![QUEUE.into()], limit }
}

/// A run whose owner has offered an activity, and the claim of another worker.
async fn offered(database: &Database, options: ActivityOptions) -> (Owned, WorkerId) {
    let store = &database.store;
    let (owner, other) = (register(store).await, register(store).await);
    let mut owned = waiting_run(store, owner, "a").await;
    let step = owned.turn(store, |turn| turn.message(signal("go"))).await;
    owned.write(store, step).await;
    assert!(matches!(owned.offer(store, 1, options).await, WriteOutcome::Applied));
    (owned, other)
}

fn report_of(worker: WorkerId, claimed: &ClaimedActivity) -> ActivityReport {
    let outcome = ActivityOutcome {
        activity_id: claimed.claim.activity_id,
        attempt: claimed.claim.attempt,
        started_at: None,
        identity: "other@2".into(),
        last_heartbeat: None,
        result: ActivityResult::Completed(payload("\"value\"")),
    };
    ActivityReport { worker, claim: claimed.claim, outcome }
}

#[tokio::test]
async fn an_attempt_is_claimed_once_reported_once_and_remembered_until_taken_in() {
    let database = Database::new().await;
    let store = &database.store;
    let (mut owned, other) = offered(&database, ActivityOptions::default()).await;
    let claimed = store.claim_activities(other, &wanted(5)).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert!(store.claim_activities(other, &wanted(5)).await.unwrap().is_empty());
    let beats = vec![ActivityHeartbeat { claim: claimed[0].claim, details: Some(payload("7")) }];
    let answers = store.heartbeat(other, beats).await.unwrap();
    assert!(!answers[0].cancel_requested);
    let report = report_of(other, &claimed[0]);
    assert_eq!(store.complete_activity(report.clone()).await.unwrap(), ReportOutcome::Accepted);
    assert_eq!(store.complete_activity(report.clone()).await.unwrap(), ReportOutcome::Accepted);
    assert!(store.claim_activities(other, &wanted(5)).await.unwrap().is_empty());
    let inbox = store.inbox(owned.worker, &[owned.key()], 10).await.unwrap();
    assert_eq!(inbox.len(), 1);
    let MessageBody::ActivityOutcome(outcome) = &inbox[0].1.body else { panic!("{inbox:?}") };
    // The report said nothing of a heartbeat; the row knew one.
    assert_eq!(outcome.last_heartbeat, Some(payload("7")));
    assert_eq!(outcome.result, ActivityResult::Completed(payload("\"value\"")));
    assert!(matches!(owned.go(store, vec![inbox[0].1.clone()], vec![complete()]).await, WriteOutcome::Applied));
    assert_eq!(store.complete_activity(report).await.unwrap(), ReportOutcome::Stale);
    assert_eq!(database.count("dacapo.activities").await, 0);
    database.finish().await;
}

#[tokio::test]
async fn an_attempt_that_was_given_back_has_another_token() {
    let database = Database::new().await;
    let store = &database.store;
    let (_, other) = offered(&database, ActivityOptions::default()).await;
    let first = store.claim_activities(other, &wanted(5)).await.unwrap().remove(0);
    store.return_activities(other, vec![first.claim]).await.unwrap();
    let second = store.claim_activities(other, &wanted(5)).await.unwrap().remove(0);
    assert_eq!(second.claim.attempt, 1);
    assert!(second.claim.token > first.claim.token);
    assert_eq!(store.complete_activity(report_of(other, &first)).await.unwrap(), ReportOutcome::Stale);
    let beats = vec![ActivityHeartbeat { claim: first.claim, details: None }];
    assert!(store.heartbeat(other, beats).await.unwrap().is_empty());
    assert_eq!(store.complete_activity(report_of(other, &second)).await.unwrap(), ReportOutcome::Accepted);
    database.finish().await;
}

#[tokio::test]
async fn a_request_to_cancel_reaches_whoever_runs_the_attempt() {
    let database = Database::new().await;
    let store = &database.store;
    let (mut owned, other) = offered(&database, ActivityOptions::default()).await;
    let claimed = store.claim_activities(other, &wanted(5)).await.unwrap().remove(0);
    let command = dacapo_core::Command::RequestCancelActivityTask { activity_id: 1 };
    assert!(matches!(owned.go(store, vec![signal("stop")], vec![command]).await, WriteOutcome::Applied));
    let beats = vec![ActivityHeartbeat { claim: claimed.claim, details: None }];
    assert!(store.heartbeat(other, beats).await.unwrap()[0].cancel_requested);
    database.finish().await;
}

#[tokio::test]
async fn a_silent_attempt_times_out_with_what_it_last_said() {
    let database = Database::new().await;
    let store = &database.store;
    let options = ActivityOptions { heartbeat_ms: Some(200), ..ActivityOptions::default() };
    let (owned, other) = offered(&database, options).await;
    let claimed = store.claim_activities(other, &wanted(5)).await.unwrap().remove(0);
    let beats = vec![ActivityHeartbeat { claim: claimed.claim, details: Some(payload("\"half\"")) }];
    store.heartbeat(other, beats).await.unwrap();
    assert_eq!(store.expire_activities(10).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(store.beat(other, &interest()).await.unwrap().activities_overdue);
    assert_eq!(store.expire_activities(10).await.unwrap(), 1);
    assert_eq!(store.expire_activities(10).await.unwrap(), 0);
    let inbox = store.inbox(owned.worker, &[owned.key()], 10).await.unwrap();
    let MessageBody::ActivityOutcome(outcome) = &inbox[0].1.body else { panic!("{inbox:?}") };
    assert_eq!(outcome.result, ActivityResult::TimedOut { timeout: TimeoutType::Heartbeat });
    assert_eq!(outcome.last_heartbeat, Some(payload("\"half\"")));
    assert_eq!(store.complete_activity(report_of(other, &claimed)).await.unwrap(), ReportOutcome::Stale);
    database.finish().await;
}

#[tokio::test]
async fn an_attempt_that_nobody_takes_times_out_too() {
    let database = Database::new().await;
    let store = &database.store;
    let options = ActivityOptions { schedule_to_start_ms: Some(100), ..ActivityOptions::default() };
    let (owned, _) = offered(&database, options).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(store.expire_activities(10).await.unwrap(), 1);
    let inbox = store.inbox(owned.worker, &[owned.key()], 10).await.unwrap();
    let MessageBody::ActivityOutcome(outcome) = &inbox[0].1.body else { panic!("{inbox:?}") };
    assert_eq!(outcome.result, ActivityResult::TimedOut { timeout: TimeoutType::ScheduleToStart });
    database.finish().await;
}
