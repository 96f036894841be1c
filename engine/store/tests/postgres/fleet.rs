//! Members of the fleet who die, vanish or come back as zombies.

use std::time::{Duration, Instant};

use dacapo_core::{
    ActivityOptions, Message, MessageBody, Store,
    activity::{ActivityOutcome, ActivityResult},
    failure::FailureKind,
    limits::{TAKEOVER_COUNTS_WITHIN, TAKEOVERS_WITHOUT_PROGRESS_MAX},
    store::{ActivityClaim, ActivityReport, ReportOutcome, StoreError, WriteOutcome},
};

use crate::common::*;

#[tokio::test]
async fn what_a_lapsed_worker_owned_goes_to_another_and_its_zombie_writes_nothing() {
    let database = Database::new().await;
    let store = &database.store;
    let (dead, heir) = (register(store).await, register(store).await);
    let mut zombies = Vec::new();
    for number in 0..8 {
        zombies.push(waiting_run(store, dead, &format!("w{number}")).await);
    }
    assert_eq!(store.take_over(dead, 10).await.unwrap(), 0, "a live worker is left alone");
    lapse(&database, dead).await;
    assert_eq!(store.beat(heir, &interest()).await.unwrap().lapsed, [dead]);
    assert_eq!(take_all(store, dead).await, 8);
    let claimed = store.claim_runs(heir, &claim_of(100)).await.unwrap().runs;
    assert_eq!(claimed.len(), 8);
    assert!(claimed.iter().all(|run| run.owner_epoch == 3));
    for zombie in &mut zombies {
        assert!(matches!(zombie.go(store, vec![signal("x")], vec![]).await, WriteOutcome::Fenced));
    }
    assert!(matches!(store.beat(dead, &interest()).await, Err(StoreError::LeaseLost { .. })));
    assert_eq!(database.count("dacapo.workers").await, 1);
    database.finish().await;
}

#[tokio::test]
async fn a_claimed_attempt_of_a_dead_worker_counts_and_its_run_is_told() {
    let database = Database::new().await;
    let store = &database.store;
    let (owner, dead) = (register(store).await, register(store).await);
    let mut owned = waiting_run(store, owner, "a").await;
    let step = owned.turn(store, |turn| turn.message(signal("go"))).await;
    owned.write(store, step).await;
    assert!(matches!(owned.offer(store, 1, ActivityOptions::default()).await, WriteOutcome::Applied));
    let wanted = ActivityClaim { namespace: "default".into(), queues: vec![QUEUE.into()], limit: 5 };
    let claimed = store.claim_activities(dead, &wanted).await.unwrap();
    assert_eq!(claimed.len(), 1);
    lapse(&database, dead).await;
    assert_eq!(take_all(store, dead).await, 1);
    let inbox = store.inbox(owner, &[owned.key()], 10).await.unwrap();
    let Message { body: MessageBody::ActivityOutcome(outcome), .. } = &inbox[0].1 else { panic!("{inbox:?}") };
    assert_eq!((outcome.activity_id, outcome.attempt), (1, 1));
    assert!(matches!(&outcome.result, ActivityResult::Failed(failure) if failure.kind == FailureKind::WorkerLost));
    // The zombie's report comes too late.
    let late = ActivityOutcome { result: ActivityResult::Completed(payload("1")), ..(**outcome).clone() };
    let report = ActivityReport { worker: dead, claim: claimed[0].claim, outcome: late };
    assert_eq!(store.complete_activity(report).await.unwrap(), ReportOutcome::Stale);
    // The run takes the outcome in: a second attempt waits.
    assert!(matches!(owned.go(store, vec![inbox[0].1.clone()], vec![]).await, WriteOutcome::Applied));
    let again = store.claim_activities(owner, &wanted).await.unwrap();
    assert_eq!(again[0].claim.attempt, 2);
    database.finish().await;
}

#[tokio::test]
async fn a_run_that_is_taken_over_without_progress_is_parked_until_somebody_writes_to_it() {
    let database = Database::new().await;
    let store = &database.store;
    start(store, request("a")).await;
    let mut key = None;
    for round in 1..=TAKEOVERS_WITHOUT_PROGRESS_MAX {
        let victim = register(store).await;
        let claimed = store.claim_runs(victim, &claim_of(1)).await.unwrap().runs;
        assert_eq!(claimed.len(), 1, "round {round}");
        key = Some(claimed[0].key);
        lapse(&database, victim).await;
        assert_eq!(take_all(store, victim).await, 1);
    }
    let key = key.unwrap();
    let worker = register(store).await;
    assert!(store.claim_runs(worker, &claim_of(1)).await.unwrap().runs.is_empty());
    assert!(store.describe(key).await.unwrap().unwrap().parked);
    assert!(store.verify().await.unwrap().is_empty());
    send(store, key, signal("try again")).await.unwrap();
    let mut owned = Owned::claim(store, worker).await;
    assert!(!store.describe(key).await.unwrap().unwrap().parked);
    let inbox = store.inbox(worker, &[key], 10).await.unwrap();
    owned.go(store, vec![inbox[0].1.clone()], vec![]).await;
    // Progress: the count begins anew.
    lapse(&database, worker).await;
    take_all(store, worker).await;
    assert!(!store.describe(key).await.unwrap().unwrap().parked);
    database.finish().await;
}

#[tokio::test]
async fn the_death_of_a_worker_that_has_lived_with_a_run_counts_for_nothing() {
    let database = Database::new().await;
    let store = &database.store;
    start(store, request("a")).await;
    let claims = (0..2 * TAKEOVERS_WITHOUT_PROGRESS_MAX).map(|_| (TAKEOVER_COUNTS_WITHIN.as_secs() + 1, 1));
    // The last that had lived with it is the first of those that count.
    for (seconds, counted) in claims.chain((2..=TAKEOVERS_WITHOUT_PROGRESS_MAX).map(|number| (0, number))) {
        let victim = register(store).await;
        assert_eq!(store.claim_runs(victim, &claim_of(1)).await.unwrap().runs.len(), 1, "after {counted}");
        let ago = format!(
            "UPDATE dacapo.runs_open SET taken_at = taken_at - interval '{seconds} s' WHERE taken_at IS NOT NULL"
        );
        assert_eq!(database.sql(&ago).await, 1);
        lapse(&database, victim).await;
        assert_eq!(take_all(store, victim).await, 1);
        let said = format!(
            "dacapo.runs_open WHERE takeovers = {counted} AND parked = ({counted} = {TAKEOVERS_WITHOUT_PROGRESS_MAX})"
        );
        assert_eq!(database.count(&said).await, 1, "{said}");
    }
    database.finish().await;
}

#[tokio::test]
async fn a_process_that_vanishes_is_noticed_before_its_lease_lapses() {
    let database = Database::new().await;
    let store = &database.store;
    let watcher = register(store).await;
    let process = database.another().await;
    let victim = register(&process).await;
    let run = waiting_run(&process, victim, "a").await;
    // Long enough for the watcher to trust its own connection.
    let trusted = Instant::now() + Duration::from_secs(3);
    while Instant::now() < trusted {
        assert!(store.beat(watcher, &interest()).await.unwrap().lapsed.is_empty());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // Its connections end; nothing is written.
    process.close().await;
    let gone = Instant::now();
    while store.beat(watcher, &interest()).await.unwrap().lapsed != [victim] {
        assert!(gone.elapsed() < Duration::from_secs(3), "not noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(take_all(store, victim).await, 1);
    assert_eq!(store.claim_runs(watcher, &claim_of(1)).await.unwrap().runs[0].key, run.key());
    database.finish().await;
}

#[tokio::test]
async fn a_lost_listening_connection_is_no_death() {
    let database = Database::new().await;
    let store = &database.store;
    let process = database.another().await;
    let (watcher, peer) = (register(store).await, register(&process).await);
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    let listening = "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
        WHERE l.locktype = 'advisory' AND d.datname = current_database()";
    for _ in 0..3 {
        database.sql(listening).await;
        let beat = store.beat(watcher, &interest()).await.unwrap();
        assert!(beat.lapsed.is_empty(), "{beat:?}");
        process.beat(peer, &interest()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    process.close().await;
    database.finish().await;
}

#[tokio::test]
async fn a_worker_that_leaves_hands_everything_over_at_once() {
    let database = Database::new().await;
    let store = &database.store;
    let (leaving, heir) = (register(store).await, register(store).await);
    waiting_run(store, leaving, "a").await;
    store.deregister(leaving).await.unwrap();
    let beat = store.beat(heir, &interest()).await.unwrap();
    assert_eq!(beat.lapsed, [leaving]);
    assert_eq!(take_all(store, leaving).await, 1);
    assert!(store.beat(heir, &interest()).await.unwrap().runs_ready);
    let idle = register(store).await;
    store.deregister(idle).await.unwrap();
    assert_eq!(store.workers().await.unwrap().len(), 1);
    assert_eq!(store.served(&"default".into(), &QUEUE.into()).await.unwrap().len(), 1);
    let twice = registration();
    store.register(&twice).await.unwrap();
    assert!(matches!(store.register(&twice).await, Err(StoreError::Rejected { .. })));
    database.finish().await;
}
