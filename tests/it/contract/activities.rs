//! Attempts that run elsewhere: claims, signs of life, reports, deadlines.

use std::time::Duration;

use dacapo_core::{
    ActivityOptions, ActivityResult, Command, Failure, MessageBody, TimeoutType, WorkerId,
    store::{ActivityClaim, ActivityHeartbeat, ActivityReport, ClaimedActivity, ReportOutcome},
};

use super::lab::*;

fn done() -> ActivityResult {
    ActivityResult::Completed(text("done"))
}

fn broken() -> ActivityResult {
    ActivityResult::Failed(Failure::application("Io", "broken pipe"))
}

fn report(worker: WorkerId, claimed: &ClaimedActivity, result: ActivityResult) -> ActivityReport {
    ActivityReport { worker, claim: claimed.claim, outcome: outcome(claimed, result) }
}

/// An owner whose run has offered these activities.
async fn offered(lab: &Lab, commands: Vec<Command>) -> Owner<'_> {
    let worker = lab.worker().await;
    Owner::start_with(lab, worker, request("a"), offering(commands)).await
}

async fn claim_one(lab: &Lab, worker: WorkerId) -> ClaimedActivity {
    let claimed = lab.claim_activities(worker).await;
    let [claimed] = claimed.as_slice() else { panic!("one attempt is offered, not {claimed:?}") };
    claimed.clone()
}

async fn heartbeat(lab: &Lab, worker: WorkerId, claimed: &ClaimedActivity, details: Option<&str>) -> Option<bool> {
    let beat = ActivityHeartbeat { claim: claimed.claim, details: details.map(text) };
    let answers = lab.store.heartbeat(worker, vec![beat]).await.unwrap();
    answers.first().map(|answer| answer.cancel_requested)
}

pub(crate) async fn racing_claimers_take_each_attempt_once(lab: Lab) {
    let owner = offered(&lab, (1..=60).map(schedule).collect()).await;
    let mut workers = Vec::new();
    for _ in 0..5 {
        workers.push(lab.worker().await);
    }
    let small = activity_claim(4);
    let claiming = workers.iter().map(|worker| async {
        let mut mine = Vec::new();
        for _ in 0..8 {
            let claimed = lab.store.claim_activities(*worker, &small).await.unwrap();
            assert!(claimed.len() <= 4);
            mine.extend(claimed.iter().map(|it| it.claim));
        }
        mine
    });
    let mut claims: Vec<_> = join_all(claiming).await.concat();
    claims.extend(lab.claim_activities(workers[0]).await.iter().map(|it| it.claim));
    assert!(claims.iter().all(|claim| claim.run == owner.key() && claim.attempt == 1));
    let mut ids: Vec<u64> = claims.iter().map(|claim| claim.activity_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=60).collect::<Vec<_>>());
}

pub(crate) async fn attempts_go_by_queue_priority_and_age(lab: Lab) {
    let with = |priority, queue: Option<&str>| ActivityOptions {
        priority,
        task_queue: queue.map(Into::into),
        start_to_close_ms: Some(60_000),
        ..ActivityOptions::default()
    };
    let mut owner = offered(&lab, vec![schedule_with(1, with(5, None)), schedule_with(2, with(1, None))]).await;
    lab.pass(Duration::from_millis(5)).await;
    owner.write(|turn| turn.message(signal("s"))).await;
    owner
        .write(|turn| {
            task(vec![schedule_with(3, with(1, None)), schedule_with(4, with(1, Some("other")))])(turn);
            turn.offer_activity(3, false);
            turn.offer_activity(4, false);
        })
        .await;
    let worker = lab.worker().await;
    let mut order = Vec::new();
    while let Some(claimed) = lab.store.claim_activities(worker, &activity_claim(1)).await.unwrap().pop() {
        assert_eq!(claimed.task.task_queue.as_str(), QUEUE);
        order.push(claimed.claim.activity_id);
    }
    assert_eq!(order, [2, 3, 1]);
    let foreign = ActivityClaim { namespace: "other".into(), queues: vec!["other".into()], limit: 10 };
    assert!(lab.store.claim_activities(worker, &foreign).await.unwrap().is_empty(), "another namespace");
    let other = ActivityClaim { queues: vec!["other".into()], ..activity_claim(10) };
    assert_eq!(lab.store.claim_activities(worker, &other).await.unwrap().len(), 1);
}

pub(crate) async fn a_report_is_a_message_to_the_run(lab: Lab) {
    let mut owner = offered(&lab, vec![schedule(1)]).await;
    let worker = lab.worker().await;
    let claimed = claim_one(&lab, worker).await;
    assert_eq!(claimed.task.idempotency_key(), format!("a/{}/1", owner.key().run_id));
    let accepted = lab.store.complete_activity(report(worker, &claimed, done())).await.unwrap();
    assert_eq!(accepted, ReportOutcome::Accepted);
    let again = lab.store.complete_activity(report(worker, &claimed, broken())).await.unwrap();
    assert_eq!(again, ReportOutcome::Accepted, "a resend, as far as the store can know");
    assert_eq!(owner.inbox().await.len(), 1, "the first report counts");
    assert!(lab.claim_activities(worker).await.is_empty(), "nobody runs it again while the run has not taken it");
    assert_eq!(heartbeat(&lab, worker, &claimed, None).await, None);
    owner.take_inbox().await;
    assert!(owner.run.activities.is_empty());
    assert_eq!(lab.event_names(owner.key()).await.last(), Some(&"ActivityTaskCompleted"));
    assert!(lab.describe(owner.key()).await.activities.is_empty(), "the row goes with the outcome");
    let late = lab.store.complete_activity(report(worker, &claimed, done())).await.unwrap();
    assert_eq!(late, ReportOutcome::Stale);
    owner.write(task(vec![complete()])).await;
}

pub(crate) async fn a_report_wakes_a_run_that_nobody_owns(lab: Lab) {
    let owner = offered(&lab, vec![schedule(1)]).await;
    owner.release(None).await;
    let worker = lab.worker().await;
    let claimed = claim_one(&lab, worker).await;
    lab.store.complete_activity(report(worker, &claimed, done())).await.unwrap();
    let mut owner = Owner::claim(&lab, worker).await;
    assert!(owner.run.activities[&1].has_row);
    owner.take_inbox().await;
    owner.write(task(vec![complete()])).await;
    assert_eq!(lab.store.sweep().await.unwrap(), []);
}

pub(crate) async fn only_the_claimer_reports_under_its_token(lab: Lab) {
    let owner = offered(&lab, vec![schedule(1)]).await;
    let (worker, other) = (lab.worker().await, lab.worker().await);
    let first = claim_one(&lab, worker).await;
    let foreign = lab.store.complete_activity(report(other, &first, done())).await.unwrap();
    assert_eq!(foreign, ReportOutcome::Stale);
    lab.store.return_activities(worker, vec![first.claim]).await.unwrap();
    let late = lab.store.complete_activity(report(worker, &first, done())).await.unwrap();
    assert_eq!(late, ReportOutcome::Stale, "it was given back");
    let second = claim_one(&lab, worker).await;
    assert_ne!(first.claim.token, second.claim.token);
    let old = lab.store.complete_activity(report(worker, &first, done())).await.unwrap();
    assert_eq!(old, ReportOutcome::Stale, "an older claim of the same worker");
    assert_eq!(heartbeat(&lab, worker, &first, None).await, None);
    let accepted = lab.store.complete_activity(report(worker, &second, done())).await.unwrap();
    assert_eq!(accepted, ReportOutcome::Accepted);
    assert_eq!(owner.inbox().await.len(), 1);
}

pub(crate) async fn an_attempt_given_back_is_not_spent(lab: Lab) {
    let _owner = offered(&lab, vec![schedule(1)]).await;
    let (worker, other) = (lab.worker().await, lab.worker().await);
    let claimed = claim_one(&lab, worker).await;
    lab.store.return_activities(other, vec![claimed.claim]).await.unwrap();
    assert!(lab.claim_activities(other).await.is_empty(), "only the claimer gives it back");
    assert_eq!(heartbeat(&lab, worker, &claimed, Some("page 7")).await, Some(false));
    let mut hints = lab.store.hints();
    lab.store.return_activities(worker, vec![claimed.claim]).await.unwrap();
    lab.await_hint(&mut hints, |hint| *hint == dacapo_core::store::Hint::ActivitiesReady(QUEUE.into())).await;
    let again = claim_one(&lab, other).await;
    assert_eq!((again.claim.attempt, again.task.last_heartbeat), (1, Some(text("page 7"))));
}

pub(crate) async fn a_retry_waits_for_its_time_and_knows_the_last_heartbeat(lab: Lab) {
    let mut owner = offered(&lab, vec![schedule(1)]).await;
    let worker = lab.worker().await;
    let claimed = claim_one(&lab, worker).await;
    assert_eq!(heartbeat(&lab, worker, &claimed, Some("page 7")).await, Some(false));
    assert_eq!(heartbeat(&lab, worker, &claimed, None).await, Some(false), "says nothing and forgets nothing");
    let described = lab.describe(owner.key()).await;
    assert_eq!(described.activities[0].last_heartbeat, Some(text("page 7")));
    assert_eq!(described.activities[0].claimed_by, Some(worker));
    lab.store.complete_activity(report(worker, &claimed, broken())).await.unwrap();
    owner.take_inbox().await;
    assert!(lab.claim_activities(worker).await.is_empty(), "it waits a second");
    let described = lab.describe(owner.key()).await;
    let failure = described.activities[0].last_failure.as_ref().map(|failure| failure.error_type.as_str());
    assert_eq!((described.activities[0].attempt, failure), (2, Some("Io")));
    lab.pass(Duration::from_millis(1_100)).await;
    let second = claim_one(&lab, worker).await;
    assert_eq!((second.claim.attempt, second.task.attempt), (2, 2));
    assert_eq!(second.task.last_heartbeat, Some(text("page 7")));
    lab.store.complete_activity(report(worker, &second, done())).await.unwrap();
    owner.take_inbox().await;
    assert!(owner.run.activities.is_empty());
}

pub(crate) async fn a_request_to_stop_reaches_the_heartbeat(lab: Lab) {
    let mut owner = offered(&lab, vec![schedule(1)]).await;
    let worker = lab.worker().await;
    let claimed = claim_one(&lab, worker).await;
    assert!(!claimed.cancel_requested);
    owner.write(|turn| turn.message(signal("stop"))).await;
    owner.write(task(vec![Command::RequestCancelActivityTask { activity_id: 1 }])).await;
    assert_eq!(heartbeat(&lab, worker, &claimed, None).await, Some(true));
    let canceled = report(worker, &claimed, ActivityResult::Canceled { details: None });
    lab.store.complete_activity(canceled).await.unwrap();
    owner.take_inbox().await;
    assert_eq!(lab.event_names(owner.key()).await.last(), Some(&"ActivityTaskCanceled"));
}

pub(crate) async fn an_attempt_that_waits_learns_at_once_that_it_is_to_stop(lab: Lab) {
    let mut owner = offered(&lab, vec![schedule(1)]).await;
    let worker = lab.worker().await;
    let first = claim_one(&lab, worker).await;
    let slow = Failure { next_retry_delay_ms: Some(3_600_000), ..Failure::application("Io", "later") };
    lab.store.complete_activity(report(worker, &first, ActivityResult::Failed(slow))).await.unwrap();
    owner.take_inbox().await;
    assert!(lab.claim_activities(worker).await.is_empty());
    owner.write(|turn| turn.message(signal("stop"))).await;
    owner.write(task(vec![Command::RequestCancelActivityTask { activity_id: 1 }])).await;
    let claimed = claim_one(&lab, worker).await;
    assert!(claimed.cancel_requested, "whoever takes it need not run it");
}

pub(crate) async fn an_attempt_is_offered_and_stopped_by_one_write(lab: Lab) {
    let worker = lab.worker().await;
    let stop = Command::RequestCancelActivityTask { activity_id: 1 };
    let _owner = Owner::start_with(&lab, worker, request("a"), offering(vec![schedule(1), stop, schedule(2)])).await;
    let mut claimed = lab.claim_activities(worker).await;
    claimed.sort_by_key(|it| it.claim.activity_id);
    let requests: Vec<bool> = claimed.iter().map(|it| it.cancel_requested).collect();
    assert_eq!(requests, [true, false]);
}

/// Claims (or not) an attempt with these options, lets its time pass, and gives what the run hears.
async fn timed_out(lab: &Lab, options: ActivityOptions, claims: bool) -> (TimeoutType, bool) {
    let owner = offered(lab, vec![schedule_with(1, options)]).await;
    let worker = lab.worker().await;
    let claimed = if claims { Some(claim_one(lab, worker).await) } else { None };
    assert_eq!(lab.store.expire_activities(10).await.unwrap(), 0);
    lab.pass(Duration::from_millis(450)).await;
    assert!(lab.store.beat(worker, &interest(LONG)).await.unwrap().activities_overdue);
    assert_eq!(lab.store.expire_activities(10).await.unwrap(), 1);
    assert_eq!(lab.store.expire_activities(10).await.unwrap(), 0, "once");
    assert!(!lab.store.beat(worker, &interest(LONG)).await.unwrap().activities_overdue);
    if let Some(claimed) = claimed {
        let late = lab.store.complete_activity(report(worker, &claimed, done())).await.unwrap();
        assert_eq!(late, ReportOutcome::Stale);
    }
    assert!(lab.claim_activities(worker).await.is_empty());
    let messages = owner.inbox().await;
    let [MessageBody::ActivityOutcome(outcome)] = &messages.iter().map(|it| it.body.clone()).collect::<Vec<_>>()[..]
    else {
        panic!("one outcome, not {messages:?}")
    };
    let ActivityResult::TimedOut { timeout } = outcome.result else { panic!("a timeout") };
    (timeout, outcome.started_at.is_some())
}

const NO_TIMEOUTS: ActivityOptions = ActivityOptions {
    task_queue: None,
    schedule_to_close_ms: None,
    schedule_to_start_ms: None,
    start_to_close_ms: Some(600_000),
    heartbeat_ms: None,
    retry_policy: dacapo_core::RetryPolicy {
        initial_interval_ms: 1_000,
        backoff_percent: 200,
        maximum_interval_ms: None,
        maximum_attempts: 0,
        non_retryable_error_types: Vec::new(),
    },
    priority: 3,
};

pub(crate) async fn an_attempt_that_nobody_takes_in_time_expires(lab: Lab) {
    let options = ActivityOptions { schedule_to_start_ms: Some(400), ..NO_TIMEOUTS };
    assert_eq!(timed_out(&lab, options, false).await, (TimeoutType::ScheduleToStart, false));
}

pub(crate) async fn an_attempt_that_takes_too_long_expires(lab: Lab) {
    let options = ActivityOptions { start_to_close_ms: Some(400), ..NO_TIMEOUTS };
    assert_eq!(timed_out(&lab, options, true).await, (TimeoutType::StartToClose, true));
}

pub(crate) async fn an_activity_that_takes_too_long_in_all_expires(lab: Lab) {
    let options = ActivityOptions { schedule_to_close_ms: Some(400), ..NO_TIMEOUTS };
    assert_eq!(timed_out(&lab, options, true).await, (TimeoutType::ScheduleToClose, true));
}

pub(crate) async fn an_attempt_that_falls_silent_expires(lab: Lab) {
    let options = ActivityOptions { heartbeat_ms: Some(400), ..NO_TIMEOUTS };
    assert_eq!(timed_out(&lab, options, true).await, (TimeoutType::Heartbeat, true));
}

pub(crate) async fn signs_of_life_hold_the_heartbeat_timeout_off(lab: Lab) {
    let options = ActivityOptions { heartbeat_ms: Some(1_000), ..NO_TIMEOUTS };
    let _owner = offered(&lab, vec![schedule_with(1, options)]).await;
    let worker = lab.worker().await;
    let claimed = claim_one(&lab, worker).await;
    for _ in 0..3 {
        lab.pass(Duration::from_millis(600)).await;
        assert_eq!(lab.store.expire_activities(10).await.unwrap(), 0);
        assert_eq!(heartbeat(&lab, worker, &claimed, None).await, Some(false));
    }
    lab.pass(Duration::from_millis(1_100)).await;
    assert_eq!(lab.store.expire_activities(10).await.unwrap(), 1);
}

pub(crate) async fn signs_of_life_do_not_lengthen_an_attempt(lab: Lab) {
    let options = ActivityOptions { start_to_close_ms: Some(1_000), heartbeat_ms: Some(800), ..NO_TIMEOUTS };
    let owner = offered(&lab, vec![schedule_with(1, options)]).await;
    let worker = lab.worker().await;
    let claimed = claim_one(&lab, worker).await;
    lab.pass(Duration::from_millis(400)).await;
    assert_eq!(heartbeat(&lab, worker, &claimed, None).await, Some(false));
    lab.pass(Duration::from_millis(650)).await;
    assert_eq!(lab.store.expire_activities(10).await.unwrap(), 1);
    let heard = owner.inbox().await;
    let MessageBody::ActivityOutcome(outcome) = &heard[0].body else { panic!("an outcome, not {heard:?}") };
    assert_eq!(outcome.result, ActivityResult::TimedOut { timeout: TimeoutType::StartToClose });
}

pub(crate) async fn the_owner_watches_what_it_keeps(lab: Lab) {
    let worker = lab.worker().await;
    let options = ActivityOptions { heartbeat_ms: Some(300), ..NO_TIMEOUTS };
    let mut owner = Owner::start_with(&lab, worker, request("a"), task(vec![schedule_with(1, options)])).await;
    owner.write(|turn| turn.activity_heartbeat(1, 1, None)).await;
    lab.pass(Duration::from_millis(400)).await;
    // The second sign of life says nothing new, so it is not written; the owner knows of it.
    let silent = owner.step(|turn| turn.activity_heartbeat(1, 1, None)).await;
    assert!(silent.transition.is_empty());
    assert_eq!(lab.store.expire_activities(10).await.unwrap(), 0);
    assert!(owner.inbox().await.is_empty());
}
