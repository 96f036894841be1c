//! Activities whose writes and outcome are one commit: money that is moved exactly once, whatever dies and whenever.

use std::{collections::HashMap, time::Duration};

use dacapo::{WorkflowHandle, core::EventKind};
use nix::sys::signal::Signal;

use super::{
    harness::{Fleet, PATIENCE, eventually, outcomes, within},
    money::{Fate, TABLES, Transfer, transfers},
    worker::Settings,
};

const ACCOUNTS: i64 = 10;
const CENTS_EACH: i64 = 100_000;

/// Runs, the transfers of each, and how long a transaction is open.
const RUNS: i64 = 40;
const TRANSFERS_EACH: i64 = 5;
const OPEN_MS: u64 = 60;

const WORKERS: usize = 3;
const BETWEEN_KILLS: Duration = Duration::from_millis(800);

/// Looks at the others often, so that a test of many deaths stays short.
fn watchful(settings: &mut Settings) {
    settings.lease = Some(Duration::from_secs(2));
    settings.lease_renewal = Some(Duration::from_millis(300));
}

async fn bank() -> Fleet {
    let fleet = Fleet::on_shared_server().await;
    sqlx::raw_sql(TABLES).execute(&fleet.database.pool).await.unwrap();
    sqlx::query("INSERT INTO accounts SELECT n, $1 FROM generate_series(1, $2) n")
        .bind(CENTS_EACH)
        .bind(ACCOUNTS)
        .execute(&fleet.database.pool)
        .await
        .unwrap();
    fleet
}

fn transfer(number: i64, ms: u64, fate: Fate) -> Transfer {
    let source = number % ACCOUNTS + 1;
    let target = (source + number / ACCOUNTS) % ACCOUNTS + 1;
    Transfer { number, source, target, cents: number + 1, ms, fate }
}

/// Compares what histories say with what the tables hold: each transfer once, by the attempt that is recorded.
async fn check(fleet: &Fleet, runs: &[(WorkflowHandle<Vec<u32>>, Vec<Transfer>)]) {
    let pool = &fleet.database.pool;
    let rows: Vec<(i64, i32)> = sqlx::query_as("SELECT transfer, attempt FROM ledger").fetch_all(pool).await.unwrap();
    let mut made: HashMap<i64, Vec<i32>> = HashMap::new();
    rows.into_iter().for_each(|(transfer, attempt)| made.entry(transfer).or_default().push(attempt));
    let mut balances: HashMap<i64, i64> = (1..=ACCOUNTS).map(|account| (account, CENTS_EACH)).collect();
    for (run, wanted) in runs {
        let results = within("the run ends", PATIENCE, run.result()).await.unwrap();
        let history = run.history().await.unwrap();
        let recorded: Vec<u32> = outcomes(&history).iter().map(|outcome| outcome.attempt).collect();
        assert_eq!(results, recorded, "{} gives what its history has", run.workflow_id());
        let completed = history.iter().filter(|event| matches!(event.event, EventKind::ActivityTaskCompleted(_)));
        assert_eq!(completed.count(), wanted.len());
        for (transfer, attempt) in wanted.iter().zip(recorded) {
            let number = transfer.number;
            assert_eq!(made.remove(&number), Some(vec![i32::try_from(attempt).unwrap()]), "transfer {number}");
            *balances.get_mut(&transfer.source).unwrap() -= transfer.cents;
            *balances.get_mut(&transfer.target).unwrap() += transfer.cents;
        }
    }
    assert!(made.is_empty(), "transfers that nobody recorded: {made:?}");
    let held: Vec<(i64, i64)> = sqlx::query_as("SELECT id, cents FROM accounts").fetch_all(pool).await.unwrap();
    assert_eq!(held.iter().map(|(_, cents)| cents).sum::<i64>(), ACCOUNTS * CENTS_EACH, "no cent came or went");
    assert_eq!(HashMap::from_iter(held), balances);
}

#[tokio::test]
async fn transfers_under_kills_happen_exactly_once() {
    let mut fleet = bank().await;
    for _ in 0..WORKERS {
        fleet.worker(watchful).await;
    }
    let mut runs = Vec::new();
    for run in 0..RUNS {
        let wanted: Vec<Transfer> =
            (0..TRANSFERS_EACH).map(|n| transfer(run * TRANSFERS_EACH + n, OPEN_MS, Fate::Lives)).collect();
        let handle = fleet.client.start(transfers, wanted.clone()).id(format!("transfers-{run}")).await.unwrap();
        runs.push((handle, wanted));
    }
    let mut kills = 0;
    let mut next_kill = tokio::time::interval(BETWEEN_KILLS);
    next_kill.tick().await;
    while fleet.database.count("dacapo.runs_open").await > 0 {
        next_kill.tick().await;
        assert!(kills < 150, "the runs do not end");
        fleet.kill(kills % WORKERS);
        fleet.spawn(watchful);
        kills += 1;
    }
    check(&fleet, &runs).await;
    let repeated = fleet.database.count("ledger WHERE attempt > 1").await;
    eprintln!("{kills} kills, {repeated} of {} transfers were made by a later attempt", RUNS * TRANSFERS_EACH);
    assert!(kills > 3 && repeated > 0, "the kills hit nothing: {kills} kills, {repeated} repeated transfers");
    fleet.finish().await;
}

#[tokio::test]
async fn a_transfer_happens_once_wherever_its_first_attempt_dies() {
    let mut fleet = bank().await;
    let fates = [
        (Fate::DiesBeforeBegin, 2),
        (Fate::DiesAfterWrite, 2),
        (Fate::DiesDuringCommit, 1),
        (Fate::DiesAfterCommit, 1),
        (Fate::IsCutOffDuringCommit, 2),
        (Fate::FailsAfterWrite, 2),
        (Fate::FailsAfterCommit, 1),
        (Fate::IsLate, 2),
    ];
    let mut runs = Vec::new();
    // Both ways to a transaction: even numbers take the engine's, odd ones their own.
    for (number, (fate, attempt)) in (0..).zip(fates.iter().flat_map(|fate| [fate, fate])) {
        fleet.workers.retain_mut(|worker| worker.ended().is_none());
        for _ in fleet.workers.len()..2 {
            fleet.worker(watchful).await;
        }
        let wanted = vec![transfer(number, 0, *fate)];
        let run = fleet.client.start(transfers, wanted.clone()).id(format!("fate-{number}")).await.unwrap();
        let made_by = within("the transfer is made", PATIENCE, run.result()).await.unwrap();
        assert_eq!(made_by, [*attempt], "transfer {number}");
        if fate.is_death() {
            // The run's end may be heard of before the process that died is gone, which then would count as one that lives.
            eventually("a worker is dead", PATIENCE, async || {
                fleet.workers.iter_mut().any(|worker| worker.ended().is_some()).then_some(())
            })
            .await;
        }
        runs.push((run, wanted));
    }
    fleet.workers.retain_mut(|worker| worker.ended().is_none());
    check(&fleet, &runs).await;
    fleet.finish().await;
}

#[tokio::test]
async fn a_zombie_does_not_commit_what_another_worker_did() {
    let mut fleet = bank().await;
    let zombie = fleet.worker(watchful).await;
    let wanted = vec![transfer(0, 0, Fate::StandsStill)];
    let run = fleet.client.start(transfers, wanted.clone()).id("zombie").await.unwrap();
    let pid = fleet.workers[zombie].pid();
    eventually("the worker stands still in its transaction", PATIENCE, async || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().is_some_and(|state| state.starts_with('T')).then_some(())
    })
    .await;
    fleet.worker(watchful).await;
    assert_eq!(within("another worker makes the transfer", PATIENCE, run.result()).await.unwrap(), [2]);
    fleet.workers[zombie].signal(Signal::SIGCONT);
    eventually("the zombie's transaction is over", PATIENCE, async || {
        let open = "pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'
                    AND query NOT LIKE '%dacapo%'";
        (fleet.database.count(open).await == 0).then_some(())
    })
    .await;
    eventually("the zombie joins again", PATIENCE, async || fleet.member("w1").await).await;
    check(&fleet, &[(run, wanted)]).await;
    fleet.finish().await;
}
