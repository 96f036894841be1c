//! The fleet: leases, who is gone, and what becomes of what they had.

use std::time::Duration;

use dacapo_core::{
    ActivityOptions, ActivityResult, FailureKind, MessageBody, RetryPolicy, RunKey,
    limits::TAKEOVERS_WITHOUT_PROGRESS_MAX,
    store::{ActivityHeartbeat, ActivityReport, Hint, ReportOutcome, StoreError, WorkerRegistration},
};

use super::lab::*;

/// A lease that cases let lapse, and a little more than it.
const SHORT: Duration = Duration::from_millis(300);
const LAPSED: Duration = Duration::from_millis(400);

pub(crate) async fn a_lease_lives_as_long_as_it_is_renewed(lab: Lab) {
    let peer = lab.worker().await;
    let worker = lab.worker_for(Duration::from_secs(2)).await;
    for _ in 0..3 {
        lab.pass(Duration::from_millis(800)).await;
        let beat = lab.store.beat(worker, &interest(Duration::from_secs(2))).await.unwrap();
        assert!(beat.lapsed.is_empty());
    }
    lab.store.beat(worker, &interest(SHORT)).await.unwrap();
    lab.pass(LAPSED).await;
    let lost = lab.store.beat(worker, &interest(LONG)).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost { worker: it }) if it == worker), "{lost:?}");
    assert_eq!(lab.store.beat(peer, &interest(LONG)).await.unwrap().lapsed, [worker]);
}

pub(crate) async fn a_beat_tells_what_waits(lab: Lab) {
    let (worker, other) = (lab.worker().await, lab.worker().await);
    let quiet = lab.store.beat(worker, &interest(LONG)).await.unwrap();
    assert!(!(quiet.runs_ready || quiet.activities_ready || quiet.inbox_waiting || quiet.activities_overdue));
    assert_eq!(quiet.next_due_at, None);

    lab.open("a").await;
    assert!(lab.store.beat(worker, &interest(LONG)).await.unwrap().runs_ready);
    lab.claim(worker).await;
    let owner = Owner::start_with(&lab, worker, request("b"), offering(vec![schedule(1)])).await;
    lab.send(owner.key(), signal("s")).await;
    let beat = lab.store.beat(worker, &interest(LONG)).await.unwrap();
    assert!(!beat.runs_ready && beat.activities_ready && beat.inbox_waiting);
    let theirs = lab.store.beat(other, &interest(LONG)).await.unwrap();
    assert!(theirs.activities_ready && !theirs.inbox_waiting);
    let elsewhere = dacapo_core::store::BeatInterest { queues: vec!["other".into()], ..interest(LONG) };
    assert!(!lab.store.beat(other, &elsewhere).await.unwrap().activities_ready);
}

pub(crate) async fn the_fleet_is_listed_as_long_as_it_lives(lab: Lab) {
    let registration = WorkerRegistration { build_id: Some("build-7".to_owned()), ..registration() };
    lab.store.register(&registration).await.unwrap();
    let short = lab.worker_for(SHORT).await;
    lab.store.beat(registration.worker, &interest(LONG)).await.unwrap();
    assert_eq!(lab.store.workers().await.unwrap().len(), 2);
    lab.pass(LAPSED).await;
    let listed = lab.store.workers().await.unwrap();
    let [worker] = listed.as_slice() else { panic!("{short} has lapsed: {listed:?}") };
    assert_eq!((worker.worker, worker.build_id.as_deref()), (registration.worker, Some("build-7")));
    assert_eq!((worker.slots, worker.busy, worker.owned), (10, 2, 3));
    assert_eq!((&worker.queues, &worker.workflow_types), (&registration.queues, &registration.workflow_types));
    assert_eq!(worker.activity_types, registration.activity_types);
    let served = |queue: &'static str| {
        let store = lab.store.clone();
        async move { store.served(&"default".into(), &queue.into()).await.unwrap().len() }
    };
    assert_eq!((served(QUEUE).await, served("other").await), (1, 0));
    assert!(lab.store.served(&"other".into(), &QUEUE.into()).await.unwrap().is_empty());
    let again = lab.store.register(&registration).await;
    assert!(matches!(again, Err(StoreError::Rejected { .. })), "{again:?}");
}

pub(crate) async fn a_live_worker_is_not_taken_over(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    assert_eq!(lab.store.take_over(worker, 100).await.unwrap(), 0);
    owner.write(|turn| turn.message(signal("s"))).await;
    lab.store.beat(worker, &interest(LONG)).await.unwrap();
}

pub(crate) async fn the_runs_of_a_lapsed_worker_go_to_others(lab: Lab) {
    let dead = lab.worker_for(SHORT).await;
    let mut zombies = Vec::new();
    for number in 0..5 {
        zombies.push(Owner::start(&lab, dead, &format!("w{number}")).await);
    }
    lab.pass(LAPSED).await;
    let peer = lab.worker().await;
    let mut hints = lab.store.hints();
    assert_eq!(lab.store.take_over(dead, 3).await.unwrap(), 3, "in batches");
    lab.await_hint(&mut hints, |hint| *hint == Hint::RunsReady(QUEUE.into())).await;
    assert_eq!(lab.store.take_over(dead, 3).await.unwrap(), 2);
    assert_eq!(lab.store.take_over(dead, 3).await.unwrap(), 0);
    assert_eq!(lab.store.take_over(dead, 3).await.unwrap(), 0, "also when nothing is known of it any more");
    assert!(lab.store.beat(peer, &interest(LONG)).await.unwrap().lapsed.is_empty());
    for zombie in &mut zombies {
        let described = lab.describe(zombie.key()).await;
        assert_eq!((described.owner, described.owner_epoch), (None, 2), "one more at every change of owner");
        assert!(described.ready_at.is_some());
        assert!(is_fenced(&zombie.try_write(|turn| turn.message(signal("z"))).await), "a zombie writes nothing");
    }
    assert_eq!(lab.claim(peer).await.runs.len(), 5);
    assert!(zombies.iter().all(|zombie| zombie.epoch == 1));
    assert_eq!(lab.describe(zombies[0].key()).await.owner_epoch, 3);
    assert_eq!(lab.store.sweep().await.unwrap(), []);
}

pub(crate) async fn who_leaves_is_taken_over_at_once(lab: Lab) {
    let (leaving, peer) = (lab.worker().await, lab.worker().await);
    let owner = Owner::start(&lab, leaving, "a").await;
    let mut hints = lab.store.hints();
    lab.store.deregister(leaving).await.unwrap();
    lab.await_hint(&mut hints, |hint| *hint == Hint::WorkerGone).await;
    assert_eq!(lab.store.beat(peer, &interest(LONG)).await.unwrap().lapsed, [leaving]);
    lab.take_over(leaving).await;
    assert_eq!(Owner::claim(&lab, peer).await.key(), owner.key());
    let empty = lab.worker().await;
    lab.store.deregister(empty).await.unwrap();
    assert!(lab.store.beat(peer, &interest(LONG)).await.unwrap().lapsed.is_empty(), "it had nothing");
}

/// Lets a worker claim a run and die with it.
async fn die_with(lab: &Lab, run: RunKey) -> bool {
    let worker = lab.worker().await;
    let claimed = lab.claim(worker).await.runs;
    lab.store.deregister(worker).await.unwrap();
    lab.take_over(worker).await;
    claimed.iter().any(|it| it.key == run)
}

pub(crate) async fn a_run_that_kills_its_workers_is_parked_until_a_message_comes(lab: Lab) {
    let run = lab.open("a").await;
    for _ in 0..TAKEOVERS_WITHOUT_PROGRESS_MAX {
        assert!(!lab.describe(run).await.parked);
        assert!(die_with(&lab, run).await);
    }
    let described = lab.describe(run).await;
    assert_eq!((described.parked, described.ready_at), (true, None));
    assert!(!die_with(&lab, run).await, "nobody takes it");
    assert_eq!(lab.store.sweep().await.unwrap(), [], "parked is not stranded");
    lab.send(run, signal("try again")).await;
    let worker = lab.worker().await;
    let mut owner = Owner::claim(&lab, worker).await;
    assert!(!lab.describe(run).await.parked);
    owner.take_inbox().await;
}

pub(crate) async fn progress_forgives_earlier_take_overs(lab: Lab) {
    let run = lab.open("a").await;
    for _ in 0..3 {
        for _ in 2..TAKEOVERS_WITHOUT_PROGRESS_MAX {
            assert!(die_with(&lab, run).await);
        }
        let worker = lab.worker().await;
        let mut owner = Owner::claim(&lab, worker).await;
        owner.write(|turn| turn.message(signal("s"))).await;
        lab.store.deregister(worker).await.unwrap();
        lab.take_over(worker).await;
    }
    assert!(!lab.describe(run).await.parked);
}

pub(crate) async fn the_attempts_of_a_lapsed_worker_are_lost_and_count(lab: Lab) {
    let worker = lab.worker().await;
    let options = |attempts| ActivityOptions {
        start_to_close_ms: Some(600_000),
        retry_policy: RetryPolicy::attempts(attempts),
        ..ActivityOptions::default()
    };
    let commands = vec![schedule_with(1, options(2)), schedule_with(2, options(1))];
    let mut owner = Owner::start_with(&lab, worker, request("a"), offering(commands)).await;
    let dead = lab.worker_for(SHORT).await;
    let lost = lab.claim_activities(dead).await;
    assert_eq!(lost.len(), 2);
    let details = Some(text("page 7"));
    let beat = ActivityHeartbeat { claim: lost[0].claim, details: details.clone() };
    lab.store.heartbeat(dead, vec![beat.clone()]).await.unwrap();
    lab.pass(LAPSED).await;
    lab.take_over(dead).await;

    for claimed in &lost {
        let outcome = outcome(claimed, ActivityResult::Completed(text("too late")));
        let report = ActivityReport { worker: dead, claim: claimed.claim, outcome };
        assert_eq!(lab.store.complete_activity(report).await.unwrap(), ReportOutcome::Stale);
    }
    assert!(lab.store.heartbeat(dead, vec![beat]).await.unwrap().is_empty(), "not its any more");
    let messages = owner.inbox().await;
    assert_eq!(messages.len(), 2);
    for message in &messages {
        let MessageBody::ActivityOutcome(outcome) = &message.body else { panic!("an outcome, not {message:?}") };
        let ActivityResult::Failed(failure) = &outcome.result else { panic!("a failure") };
        assert_eq!((failure.kind, &*outcome.identity), (FailureKind::WorkerLost, "tester"));
        assert!(outcome.started_at.is_some());
    }
    owner.take_inbox().await;
    let again = lab.claim_activities(worker).await;
    let [again] = again.as_slice() else { panic!("only the one that may be retried, not {again:?}") };
    assert_eq!((again.claim.activity_id, again.claim.attempt), (1, 2));
    let first = lost.iter().find(|claimed| claimed.claim.activity_id == 1).map(|claimed| claimed.claim.token);
    assert_ne!(Some(again.claim.token), first, "the token changes");
    if lost[0].claim.activity_id == 1 {
        assert_eq!(again.task.last_heartbeat, details);
    }
    let names = lab.event_names(owner.key()).await;
    assert_eq!(names.last(), Some(&"ActivityTaskFailed"), "the other was never run a second time");
}

pub(crate) async fn an_attempt_that_a_dead_owner_kept_is_told_to_the_next(lab: Lab) {
    let dead = lab.worker_for(SHORT).await;
    let mut owner = Owner::start_with(&lab, dead, request("a"), task(vec![schedule(1)])).await;
    owner.write(|turn| turn.activity_heartbeat(1, 1, Some(text("page 7")))).await;
    lab.pass(LAPSED).await;
    let worker = lab.worker().await;
    lab.take_over(dead).await;
    assert!(lab.claim_activities(worker).await.is_empty(), "the run decides on another attempt");
    let mut owner = Owner::claim(&lab, worker).await;
    owner.take_inbox().await;
    let claimed = lab.claim_activities(worker).await;
    let [claimed] = claimed.as_slice() else { panic!("the second attempt, not {claimed:?}") };
    assert_eq!(claimed.claim.attempt, 2);
    assert_eq!(claimed.task.last_heartbeat, Some(text("page 7")));
}
