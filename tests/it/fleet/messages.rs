//! Messages between processes: runs that write to each other, and many senders to runs that come and go.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use dacapo::{Client, ClientError, WorkflowHandle, core::EventKind, runtime::Engine};
use tokio::task::JoinSet;

use super::{
    code::{STOP, VALUE, collector, gatherer, partner, relay},
    harness::{Fleet, PATIENCE, QUEUE, eventually, within},
    worker::Settings,
};

/// Pairs of runs that write to each other, and the letters of each.
const PAIRS: u64 = 30;
const ROUNDS: u64 = 6;

/// Runs that many write to, senders to each, and the most messages of a sender.
const TARGETS: usize = 24;
const SENDERS: u64 = 4;
const MESSAGES_EACH: u64 = 150;

/// The pause of a sender.
const PAUSE: Duration = Duration::from_millis(10);

/// The messages of a run after which somebody stops it.
const STOP_AFTER: u64 = 80;

/// Senders to one run, and the signals of each: together as many as a run takes.
const CROWD: u64 = 10;
const SIGNALS_EACH: u64 = 1_000;

/// The signals of each sender to a workflow that goes on as another run again and again.
const SIGNALS_EACH_TO_CHAIN: u64 = 200;

/// How often the owner of that run is killed, and the time between.
const KILLS: u64 = 4;
const BETWEEN_KILLS: Duration = Duration::from_millis(700);

#[tokio::test]
async fn runs_of_two_processes_write_to_each_other_and_close() {
    let mut fleet = Fleet::on_shared_server().await;
    for _ in 0..2 {
        fleet.worker(|settings| settings.cached_runs = Some(20)).await;
    }
    let mut runs = Vec::new();
    for pair in 0..PAIRS {
        // A letter to a run that does not exist yet fails its attempt, and the next one follows.
        let ids = [format!("left-{pair}"), format!("right-{pair}")];
        for (own, other) in [(&ids[0], &ids[1]), (&ids[1], &ids[0])] {
            runs.push(fleet.client.start(partner, (other.clone(), ROUNDS)).id(own.as_str()).await.unwrap());
        }
    }
    for run in &runs {
        let received = within("partners end", PATIENCE, run.result()).await.unwrap();
        assert_eq!(received, (0..ROUNDS).collect::<Vec<_>>(), "{}", run.workflow_id());
    }
    fleet.check_effects(&runs).await;
    eprintln!("{} deadlocks were broken up", fleet.database.deadlocks().await);
    fleet.finish().await;
}

/// Sends values until the run is closed or enough are sent; gives those that were acknowledged.
async fn send(run: WorkflowHandle<Vec<u64>>, sender: u64) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    for number in 0..MESSAGES_EACH {
        let value = sender * 1_000 + number;
        match run.signal(&VALUE, value).await {
            Ok(()) => acknowledged.push(value),
            Err(ClientError::NotOpen { .. }) => break,
            Err(error) => panic!("sender {sender}: {error:?}"),
        }
        if sender == 0 && number == STOP_AFTER {
            run.signal(&STOP, ()).await.unwrap();
        }
        // Between two messages the run can be given back.
        tokio::time::sleep(PAUSE).await;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_while_its_run_is_given_back_and_closed() {
    let mut fleet = Fleet::on_shared_server().await;
    for _ in 0..2 {
        fleet.worker(|settings| settings.cached_runs = Some(4)).await;
    }
    let mut targets = Vec::new();
    let mut senders = JoinSet::new();
    for target in 0..TARGETS {
        let run = fleet.client.start(collector, ()).id(format!("target-{target}")).await.unwrap();
        for sender in 0..SENDERS {
            let run = run.clone();
            senders.spawn(async move { (target, send(run, sender).await) });
        }
        targets.push(run);
    }
    let mut acknowledged: HashMap<usize, HashSet<u64>> = HashMap::new();
    for (target, values) in within("all senders end", PATIENCE, senders.join_all()).await {
        acknowledged.entry(target).or_default().extend(values);
    }
    let mut refused = 0;
    for (target, run) in targets.iter().enumerate() {
        within("a target ends", PATIENCE, run.result()).await.unwrap();
        let mut recorded = HashSet::new();
        for event in run.history().await.unwrap() {
            if let EventKind::WorkflowExecutionSignaled(signal) = event.event
                && signal.signal_name == VALUE.name()
            {
                let value: u64 = signal.input.decode("value").unwrap();
                assert!(recorded.insert(value), "value {value} is in the history of target {target} twice");
            }
        }
        let lost: Vec<_> = acknowledged[&target].difference(&recorded).collect();
        let denied: Vec<_> = recorded.difference(&acknowledged[&target]).collect();
        assert!(lost.is_empty(), "acknowledged, and not in the history of target {target}: {lost:?}");
        assert!(denied.is_empty(), "refused, and in the history of target {target} all the same: {denied:?}");
        refused += SENDERS * MESSAGES_EACH - recorded.len() as u64;
    }
    assert!(refused > 0, "no run closed under load");
    let changes: i64 = sqlx::query_scalar("SELECT sum(owner_epoch)::bigint FROM dacapo.runs_closed")
        .fetch_one(&fleet.database.pool)
        .await
        .unwrap();
    // Each has an owner once. How often more depends on the machine.
    assert!(changes > TARGETS as i64, "no run was given back: {changes} changes of owner");
    eprintln!("{changes} changes of owner, {} deadlocks were broken up", fleet.database.deadlocks().await);
    fleet.finish().await;
}

fn watchful(settings: &mut Settings) {
    settings.lease = Some(Duration::from_secs(2));
    settings.lease_renewal = Some(Duration::from_millis(300));
}

/// Lets a crowd of senders signal a workflow, `each` times every one, while its owners are killed, and checks that its result
/// has every value once and in the order of its sender.
async fn outlive_kills(mut fleet: Fleet, run: WorkflowHandle<Vec<u64>>, each: u64) {
    let (kills, seen) = tokio::sync::watch::channel(0);
    let mut senders = JoinSet::new();
    for sender in 0..CROWD {
        let (run, mut seen) = (run.clone(), seen.clone());
        senders.spawn(async move {
            for number in 0..each {
                // However fast the machine is, each kill comes in the middle of the sending.
                let due = number * (KILLS + 1) / each;
                seen.wait_for(|killed| *killed >= due).await.unwrap();
                run.signal(&VALUE, sender * each + number).await.unwrap();
            }
        });
    }
    let mut killed = 0;
    while killed < KILLS {
        tokio::time::sleep(BETWEEN_KILLS).await;
        let Some(owner) = fleet.owner(&run).await else { continue };
        // A worker that was killed a moment ago may still be named.
        let Some(at) = fleet.workers.iter().position(|worker| worker.identity() == owner) else { continue };
        fleet.kill(at);
        fleet.spawn(watchful);
        killed += 1;
        kills.send_replace(killed);
    }
    within("all senders end", PATIENCE, senders.join_all()).await;
    let values = within("the run ends", PATIENCE, run.result()).await.unwrap();
    for sender in 0..CROWD {
        let own = sender * each..(sender + 1) * each;
        let of_sender: Vec<u64> = values.iter().copied().filter(|value| own.contains(value)).collect();
        assert_eq!(of_sender, own.collect::<Vec<_>>(), "each once and in the order of their sender");
    }
    assert_eq!(values.len() as u64, CROWD * each);
    fleet.finish().await;
}

#[tokio::test]
async fn a_process_that_knows_only_the_first_run_of_a_chain_finds_the_last() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(|_| {}).await;
    let values = 12;
    let start = |client: &Client| client.start(relay, (Vec::new(), values, 1)).id("relay").request_id("once");
    let run = start(&fleet.client).await.unwrap();
    for value in 1..values as u64 {
        run.signal(&VALUE, value).await.unwrap();
    }
    eventually("all but one have come", PATIENCE, async || {
        (fleet.database.count("dacapo.runs_closed").await as usize == values - 1).then_some(())
    })
    .await;
    // The same request leads to the first run, of which this process has not seen where it went.
    let other = Engine::new(Arc::clone(&fleet.store) as _).await.unwrap();
    let from_first = start(&Client::new(&other).task_queue(QUEUE)).await.unwrap();
    assert_eq!(from_first.run_id(), run.run_id());
    assert_eq!(from_first.describe().await.unwrap().run.info.closed_at, None);
    let other = Engine::new(Arc::clone(&fleet.store) as _).await.unwrap();
    let from_first = start(&Client::new(&other).task_queue(QUEUE)).await.unwrap();
    from_first.signal(&VALUE, values as u64).await.unwrap();
    let gathered = within("the run ends", PATIENCE, from_first.result()).await.unwrap();
    assert_eq!(gathered, (1..=values as u64).collect::<Vec<_>>());
    fleet.finish().await;
}

async fn three_watchful_workers() -> Fleet {
    let mut fleet = Fleet::on_shared_server().await;
    for _ in 0..3 {
        fleet.worker(watchful).await;
    }
    fleet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_signals_of_ten_senders_outlive_kills_of_their_owner() {
    let fleet = three_watchful_workers().await;
    let run = fleet.client.start(gatherer, (CROWD * SIGNALS_EACH) as usize).id("gatherer").await.unwrap();
    outlive_kills(fleet, run, SIGNALS_EACH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_through_one_handle_reach_a_chain_of_runs_once_and_in_order_while_its_owners_are_killed() {
    let fleet = three_watchful_workers().await;
    let (all, of_a_run) = ((CROWD * SIGNALS_EACH_TO_CHAIN) as usize, 20);
    let run = fleet.client.start(relay, (Vec::new(), all, of_a_run)).id("relay").await.unwrap();
    outlive_kills(fleet, run, SIGNALS_EACH_TO_CHAIN).await;
}
