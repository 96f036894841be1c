//! Many senders, owners that release and close, take-overs: no deadlock reaches a caller, nothing acknowledged is lost.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dacapo_core::{
    EventKind, MessageId, RunKey, Store, WorkerId,
    store::{ReleaseOutcome, ReleaseRun, SendOutcome, WriteOutcome},
};
use dacapo_store::PgStore;

use crate::common::*;

const RUNS: usize = 16;
const SENDERS: usize = 4;
const STRESS: Duration = Duration::from_secs(5);

type Acknowledged = Arc<Mutex<HashMap<RunKey, HashSet<MessageId>>>>;

/// Sends until the time is over; remembers what was acknowledged.
async fn sender(store: Arc<PgStore>, runs: Arc<Mutex<Vec<RunKey>>>, acknowledged: Acknowledged, until: Instant) {
    let mut turn = 0;
    while Instant::now() < until {
        turn += 1;
        let targets: Vec<RunKey> = {
            let runs = runs.lock().unwrap();
            (0..5).map(|at| runs[(turn * 7 + at * 5) % runs.len()]).collect()
        };
        let sends = targets.into_iter().map(|run| {
            let (store, message) = (Arc::clone(&store), signal("x"));
            async move { (run, message.id, send(&store, run, message).await.unwrap()) }
        });
        for (run, id, outcome) in futures_util::future::join_all(sends).await {
            if outcome == SendOutcome::Accepted {
                acknowledged.lock().unwrap().entry(run).or_default().insert(id);
            }
        }
        // Without a breath, no inbox is ever empty, and nothing is ever released or closed.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Claims, takes messages in, and then releases or closes; now and then stops in the middle and is taken over.
async fn owner(store: Arc<PgStore>, runs: Arc<Mutex<Vec<RunKey>>>, until: Instant, seed: usize) -> u64 {
    let mut worker = register(&store).await;
    let (mut round, mut closed) = (seed, 0);
    while Instant::now() < until {
        let mut dies = false;
        let claimed = store.claim_runs(worker, &claim_of(4)).await.unwrap().runs;
        if claimed.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for claim in claimed {
            round += 1;
            if round % 5 == 2 {
                // Dies with the run in its hands.
                dies = true;
                continue;
            }
            let mut owned = Owned::of(worker, &claim);
            closed += act(&store, &mut owned, &runs, round).await;
        }
        if dies {
            abandon(&store, worker).await;
            worker = register(&store).await;
        }
    }
    abandon(&store, worker).await;
    closed
}

async fn act(store: &Arc<PgStore>, owned: &mut Owned, runs: &Arc<Mutex<Vec<RunKey>>>, round: usize) -> u64 {
    loop {
        let before = owned.run.clone();
        let inbox = store.inbox(owned.worker, &[owned.key()], 1_000).await.unwrap();
        let messages = inbox.into_iter().map(|(_, message)| message).collect();
        let closing = round.is_multiple_of(3) && owned.run.signals > 3;
        let commands = if closing { vec![complete()] } else { vec![] };
        match owned.go(store, messages, commands).await {
            WriteOutcome::Applied if owned.run.status != dacapo_core::RunStatus::Running => {
                replace(store, runs, owned.key(), round).await;
                return 1;
            }
            WriteOutcome::Applied => {}
            WriteOutcome::InboxNotEmpty => owned.run = before,
            WriteOutcome::Fenced => return 0,
            other => panic!("{other:?}"),
        }
        if !closing {
            let given = ReleaseRun {
                key: owned.key(),
                owner_epoch: owned.epoch,
                next_event_id: owned.run.next_event_id,
                ready_at: None,
            };
            let released = store.release(owned.worker, vec![given]).await.unwrap();
            let kept = [ReleaseOutcome::InboxNotEmpty, ReleaseOutcome::Busy];
            if !kept.contains(&released[0].1) {
                return 0;
            }
        }
    }
}

async fn replace(store: &PgStore, runs: &Arc<Mutex<Vec<RunKey>>>, key: RunKey, round: usize) {
    let next = request(&format!("next-{round}-{}", key.run_id));
    start(store, next.clone()).await;
    let mut runs = runs.lock().unwrap();
    let at = runs.iter().position(|run| *run == key).unwrap();
    runs[at] = next.key();
}

async fn abandon(store: &PgStore, worker: WorkerId) {
    store.deregister(worker).await.unwrap();
    while store.take_over(worker, 5).await.unwrap() > 0 {}
}

/// Asserts that every acknowledged message is in its run's history or inbox. Gives how many there are.
async fn kept_all(store: &PgStore, acknowledged: &Acknowledged) -> usize {
    let acknowledged = acknowledged.lock().unwrap().clone();
    let mut total = 0;
    for (run, messages) in &acknowledged {
        let mut kept: HashSet<MessageId> = HashSet::new();
        for row in store.history(*run, 1, 1_000_000).await.unwrap() {
            kept.extend(row.events.iter().filter_map(|event| match &event.event {
                EventKind::WorkflowExecutionSignaled(signaled) => Some(signaled.message_id),
                _ => None,
            }));
        }
        if let Some(loaded) = store.load(&[*run]).await.unwrap().pop() {
            kept.extend(loaded.inbox.iter().map(|message| message.id));
        }
        let lost = messages.difference(&kept).count();
        assert_eq!(lost, 0, "of {} messages to {}", messages.len(), run.run_id);
        total += messages.len();
    }
    total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_owners_and_take_overs_lose_nothing() {
    let database = Database::new().await;
    let stores = [Arc::clone(&database.store), database.another().await, database.another().await];
    let mut first = Vec::new();
    for number in 0..RUNS {
        let request = request(&format!("w{number}"));
        first.push(request.key());
        start(&stores[0], request).await;
    }
    let runs = Arc::new(Mutex::new(first));
    let acknowledged = Acknowledged::default();
    let until = Instant::now() + STRESS;
    let mut senders = tokio::task::JoinSet::new();
    for number in 0..SENDERS {
        let store = Arc::clone(&stores[number % 3]);
        senders.spawn(sender(store, Arc::clone(&runs), Arc::clone(&acknowledged), until));
    }
    let mut owners = tokio::task::JoinSet::new();
    for number in 0..4 {
        owners.spawn(owner(Arc::clone(&stores[number % 3]), Arc::clone(&runs), until, number * 1_000));
    }
    senders.join_all().await;
    let closed: u64 = owners.join_all().await.into_iter().sum();
    let total = kept_all(&database.store, &acknowledged).await;
    println!("{total} messages acknowledged, {closed} runs closed under them");
    assert!(total > 500 && closed > 0, "{total} messages, {closed} closed");
    let found = database.store.sweep().await.unwrap();
    assert!(found.is_empty(), "{found:?}");
    for store in &stores[1..] {
        store.close().await;
    }
    database.finish().await;
}

/// Closes a run that the worker owns with what its inbox holds, again and again until nothing comes between. Gives how often
/// something did.
async fn close(store: &PgStore, mut owned: Owned) -> u64 {
    for refusals in 0.. {
        let before = owned.run.clone();
        let inbox = store.inbox(owned.worker, &[owned.key()], 1_000).await.unwrap();
        let messages = inbox.into_iter().map(|(_, message)| message).chain([signal("last")]).collect();
        match owned.go(store, messages, vec![complete()]).await {
            WriteOutcome::Applied => return refusals,
            WriteOutcome::InboxNotEmpty => owned.run = before,
            other => panic!("{other:?}"),
        }
    }
    unreachable!("every round returns or goes on")
}

/// Closes of one flush, some of which meet a message: those are undone with the others, and the others made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closes_that_share_a_flush_lose_no_message() {
    let database = Database::new().await;
    let (near, far) = (Arc::clone(&database.store), database.another().await);
    let worker = register(&near).await;
    let acknowledged = Acknowledged::default();
    let (mut refusals, begun) = (0, Instant::now());
    for round in 0.. {
        if round > 200 || (round >= 20 && refusals > 20) {
            break;
        }
        let owned = (0..RUNS).map(|number| format!("r{round}-{number}"));
        let owned = futures_util::future::join_all(owned.map(async |id| waiting_run(&near, worker, &id).await)).await;
        let runs: Vec<RunKey> = owned.iter().map(Owned::key).collect();
        let sends = runs.iter().flat_map(|run| [*run; 3]).map(|run| {
            let (far, message) = (Arc::clone(&far), signal("x"));
            async move { (run, message.id, send(&far, run, message).await.unwrap()) }
        });
        let closes = owned.into_iter().map(|owned| close(&near, owned));
        let (sent, refused) =
            tokio::join!(futures_util::future::join_all(sends), futures_util::future::join_all(closes));
        refusals += refused.into_iter().sum::<u64>();
        for (run, id, outcome) in sent {
            if outcome == SendOutcome::Accepted {
                acknowledged.lock().unwrap().entry(run).or_default().insert(id);
            }
        }
    }
    let total = kept_all(&near, &acknowledged).await;
    println!("{total} messages acknowledged, {refusals} closes refused in {:?}", begun.elapsed());
    assert!(total > 0 && refusals > 0, "{total} messages, {refusals} closes refused");
    far.close().await;
    database.finish().await;
}
