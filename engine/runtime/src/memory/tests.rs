//! What only this store has: its clock, and that it tells after the lock.

use std::sync::{Arc, mpsc};

use dacapo_core::{
    StartWorkflow, limits,
    store::{ActivityClaim, BeatInterest, HintReceiver, RunClaim},
};
use uuid::Uuid;

use super::*;

fn request(id: &str) -> StartWorkflow {
    StartWorkflow::new(RunId(Uuid::now_v7()), id.into(), "flow".into(), "queue".into(), Payload::null())
}

fn start(store: &MemoryStore, request: StartWorkflow) -> StoreResult<StartOutcome> {
    let transition = request.transition(store.now());
    let ready_at = store.now().plus_ms(request.start_delay_ms.unwrap_or(0));
    let (answer, answered) = mpsc::channel();
    let write = StartWrite { request, transition, owner: None, ready_at };
    store.start(write, Reply::new(move |outcome| answer.send(outcome).unwrap()));
    answered.try_recv().expect("the answer comes with the call")
}

/// Registers a worker.
async fn register(store: &MemoryStore) -> WorkerId {
    let registration = WorkerRegistration {
        worker: WorkerId(Uuid::now_v7()),
        identity: "w".to_owned(),
        build_id: None,
        namespace: Namespace::default_namespace(),
        queues: vec!["queue".into()],
        workflow_types: vec!["flow".into()],
        activity_types: Vec::new(),
        lease: Duration::from_secs(60),
        slots: 1,
    };
    store.register(&registration).await.unwrap();
    registration.worker
}

fn interest() -> BeatInterest {
    let (namespace, queues) = (Namespace::default_namespace(), vec!["queue".into()]);
    BeatInterest { lease: Duration::from_secs(3_600), namespace, queues, busy: 0, owned: 0, takes_starts: None }
}

/// Lets a worker claim a run.
async fn claim(store: &MemoryStore, worker: WorkerId) {
    let (queues, workflow_types) = (vec!["queue".into()], vec!["flow".into()]);
    let claim = RunClaim { namespace: Namespace::default_namespace(), queues, workflow_types, limit: 1 };
    assert_eq!(store.claim_runs(worker, &claim).await.unwrap().runs.len(), 1);
}

async fn next(hints: &mut HintReceiver) -> Hint {
    tokio::time::timeout(Duration::from_secs(10), hints.next()).await.expect("a hint waits")
}

#[tokio::test]
async fn a_manual_clock_stands_still_until_it_is_moved() {
    let store = MemoryStore::with_manual_clock();
    let begun = store.now();
    assert_eq!(store.clock().await.unwrap(), (begun, Duration::ZERO));
    let mut hints = store.hints();
    store.advance(Duration::from_secs(30 * 24 * 3_600));
    assert_eq!(store.now().since(begun), Duration::from_secs(30 * 24 * 3_600));
    assert_eq!(next(&mut hints).await, Hint::Everything, "who waits for time looks again");
}

#[test]
fn a_real_clock_goes_by_itself() {
    let store = MemoryStore::default();
    let before = store.now();
    store.advance(Duration::from_secs(3_600));
    assert!(store.now().since(before) < Duration::from_secs(3_000), "nobody moves it");
    assert!(store.now() > MANUAL_START);
}

#[test]
fn what_only_time_brings_is_named_by_its_time() {
    let store = MemoryStore::with_manual_clock();
    assert_eq!(store.next_due_at(), None);
    let later = StartWorkflow { run_timeout_ms: Some(9_000), ..request("timeout") };
    start(&store, later).unwrap();
    assert_eq!(store.next_due_at(), Some(store.now().plus_ms(9_000)), "a timer; the run itself is ready already");
    start(&store, StartWorkflow { start_delay_ms: Some(4_000), ..request("delayed") }).unwrap();
    assert_eq!(store.next_due_at(), Some(store.now().plus_ms(4_000)));
    store.advance(Duration::from_secs(4));
    assert_eq!(store.next_due_at(), Some(store.now().plus_ms(5_000)), "what is due is not to come any more");
}

#[tokio::test]
async fn a_run_that_was_claimed_is_something_to_do_until_its_owner_has_it() {
    let store = MemoryStore::with_manual_clock();
    let worker = register(&store).await;
    let request = request("a");
    let run = request.key();
    let at_rest = |known: &[RunKey]| store.is_at_rest(|_, _| false, &HashSet::new(), &known.iter().copied().collect());
    start(&store, request).unwrap();
    assert!(!at_rest(&[]), "it waits to be claimed");
    claim(&store, worker).await;
    assert!(!at_rest(&[]), "it is between the table and its thread");
    assert!(at_rest(&[run]));
}

#[tokio::test]
async fn the_death_of_a_worker_that_has_lived_with_a_run_counts_for_nothing() {
    let store = MemoryStore::with_manual_clock();
    let request = request("a");
    let run = request.key();
    start(&store, request).unwrap();
    let deaths = limits::TAKEOVERS_WITHOUT_PROGRESS_MAX;
    for long in (0..2 * deaths).map(|_| true).chain((1..deaths).map(|_| false)) {
        assert!(!store.describe(run).await.unwrap().unwrap().parked);
        let worker = register(&store).await;
        claim(&store, worker).await;
        if long {
            store.advance(limits::TAKEOVER_COUNTS_WITHIN);
            store.beat(worker, &interest()).await.unwrap();
        }
        store.deregister(worker).await.unwrap();
        while store.take_over(worker, 10).await.unwrap() > 0 {}
    }
    // The last that had lived with it is the first of those that count.
    assert!(store.describe(run).await.unwrap().unwrap().parked);
}

#[tokio::test]
async fn a_reply_may_call_the_store() {
    let store = Arc::new(MemoryStore::with_manual_clock());
    let request = request("a");
    let run = request.key();
    let transition = request.transition(store.now());
    let write = StartWrite { request, transition, owner: None, ready_at: store.now() };
    let again = Arc::clone(&store);
    let (answer, answered) = mpsc::channel();
    let message = Message {
        id: dacapo_core::MessageId(Uuid::now_v7()),
        body: dacapo_core::MessageBody::Signal {
            name: "s".to_owned(),
            input: Payload::null(),
            identity: String::new(),
        },
    };
    let reply = Reply::new(move |_| {
        let answer = Reply::new(move |outcome| answer.send(outcome).unwrap());
        again.send(SendMessage { run, message }, answer);
    });
    store.start(write, reply);
    assert_eq!(answered.try_recv().unwrap().unwrap(), SendOutcome::Accepted);
}

#[tokio::test]
async fn nothing_is_claimed_by_nobody() {
    let store = MemoryStore::new();
    let worker = WorkerId(Uuid::now_v7());
    let namespace = Namespace::default_namespace;
    let runs = RunClaim { namespace: namespace(), queues: Vec::new(), workflow_types: Vec::new(), limit: 1 };
    assert!(store.claim_runs(worker, &runs).await.is_err());
    let activities = ActivityClaim { namespace: namespace(), queues: Vec::new(), limit: 1 };
    assert!(store.claim_activities(worker, &activities).await.is_err());
}
