//! Starts and signals in transactions of users: there if and only if the transaction has committed, and in nobody's way before.

use std::{sync::Arc, time::Duration};

use dacapo::{ClientError, ResultError, core::store::DeadLetterFilter, prelude::*};

use super::{
    code::{STOP, VALUE, Work, collector, sequence, slow},
    harness::{Fleet, PATIENCE, QUEUE, eventually, within},
    money::{TABLES, shop},
    worker::Settings,
};

const ORDERS: i64 = 400;
const WORKERS: usize = 3;
const BETWEEN_KILLS: Duration = Duration::from_millis(500);

fn watchful(settings: &mut Settings) {
    settings.lease = Some(Duration::from_secs(2));
    settings.lease_renewal = Some(Duration::from_millis(300));
}

#[tokio::test]
async fn what_is_committed_is_started_and_signalled_once_while_processes_are_killed() {
    let mut fleet = Fleet::on_shared_server().await;
    sqlx::raw_sql(TABLES).execute(&fleet.database.pool).await.unwrap();
    for _ in 0..WORKERS {
        fleet.worker(watchful).await;
    }
    let collects = fleet.client.start(collector, ()).id("collects").await.unwrap();
    let shop = fleet.client.start(shop, ("collects".to_owned(), ORDERS)).id("shop").await.unwrap();
    let (mut kills, mut retries, mut placed, mut in_vain) = (0, 0, 0, 0);
    let attempts = loop {
        tokio::select! {
            attempts = shop.result() => break attempts.unwrap(),
            () = tokio::time::sleep(BETWEEN_KILLS) => {
                // Nobody lives long enough here to prove that it is not the shop that kills them: in the end it waits for a person.
                for letter in fleet.client.untyped().dead_letters(DeadLetterFilter::default(), 10).await.unwrap() {
                    retries += 1;
                    fleet.client.untyped().retry_dead_letter(&letter, "the workers were killed").await.unwrap();
                }
                // On a machine that has much else to do, processes that die every moment get nowhere.
                let now_placed = fleet.database.count("orders").await;
                if now_placed == placed {
                    in_vain += 1;
                    assert!(BETWEEN_KILLS * in_vain < PATIENCE, "after {kills} kills and {placed} orders there are no more");
                    continue;
                }
                (placed, in_vain) = (now_placed, 0);
                fleet.kill(kills % WORKERS);
                fleet.spawn(watchful);
                kills += 1;
            }
        }
    };
    eprintln!("{ORDERS} orders, {kills} kills, {attempts} attempts, parked {retries} times");
    assert!(attempts > 1, "no sender was killed");
    let orders: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM orders ORDER BY id").fetch_all(&fleet.database.pool).await.unwrap();
    assert_eq!(orders.len() as i64, ORDERS - ORDERS / 5, "every fifth was rolled back");
    eventually("everything is delivered", PATIENCE, async || {
        (fleet.database.count("dacapo.outbox").await == 0).then_some(())
    })
    .await;
    let started: Vec<i64> = sqlx::query_scalar(
        "SELECT substr(workflow_id, 7)::bigint FROM dacapo.runs WHERE workflow_id LIKE 'order-%' ORDER BY 1",
    )
    .fetch_all(&fleet.database.pool)
    .await
    .unwrap();
    assert_eq!(started, orders, "one run for each order, and none for others");
    collects.signal(&STOP, ()).await.unwrap();
    let collected = within("the collector ends", PATIENCE, collects.result()).await.unwrap();
    let wanted: Vec<u64> = orders.iter().map(|order| order.unsigned_abs()).collect();
    assert_eq!(collected, wanted, "each once, in the order of the commits");
    assert_eq!(fleet.database.count("dacapo.undelivered").await, 0);
    fleet.finish().await;
}

/// Everything but the commit happens while the transaction is open, so that nothing can have waited for it.
#[tokio::test]
async fn an_open_transaction_is_in_nobodys_way() {
    let mut fleet = Fleet::on_shared_server().await;
    for _ in 0..2 {
        fleet.worker(|settings| settings.cached_runs = Some(4)).await;
    }
    let target = fleet.client.start(collector, ()).id("target").await.unwrap();
    let mut tx = fleet.database.pool.begin().await.unwrap();
    let taken = fleet.client.start(sequence, (1, 1)).id("taken").in_transaction(&mut tx).await.unwrap();
    let free = fleet.client.start(sequence, (3, 1)).id("free").in_transaction(&mut tx).await.unwrap();
    target.signal(&VALUE, 1).in_transaction(&mut tx).await.unwrap();
    target.cancel("in a transaction").in_transaction(&mut tx).await.unwrap();
    let began = std::time::Instant::now();

    // The same workflow id, the same run, and other runs with many closes.
    let faster = fleet.client.start(slow, Work { value: 1, ms: 1 }).id("taken").await.unwrap();
    target.signal(&VALUE, 2).await.unwrap();
    let mut others = Vec::new();
    for number in 0..200 {
        others.push(fleet.client.start(sequence, (2, 1)).id(format!("other-{number}")).await.unwrap());
    }
    for other in &others {
        within("other runs end", PATIENCE, other.result()).await.unwrap();
    }
    target.signal(&STOP, ()).await.unwrap();
    assert_eq!(within("the target ends", PATIENCE, target.result()).await.unwrap(), [2]);
    within("the faster run ends", PATIENCE, faster.result()).await.unwrap();
    let holder = fleet.client.start(collector, ()).id("taken").await.unwrap();
    let missing = taken.result().await.unwrap_err();
    assert!(matches!(missing, ResultError::Client(ClientError::NotFound { .. })), "{missing}");
    eprintln!("200 runs, two closes and two starts in {:?} beside the open transaction", began.elapsed());
    tx.commit().await.unwrap();

    assert_eq!(within("what is free runs", PATIENCE, free.result()).await.unwrap(), 3);
    let refused = within("what is taken is answered", PATIENCE, taken.result()).await.unwrap_err();
    let ResultError::Client(ClientError::AlreadyOpen { run_id, .. }) = refused else { panic!("{refused}") };
    assert_eq!(Some(run_id), holder.run_id(), "the run in the way is named");
    let kept: Vec<(String, String)> =
        sqlx::query_as("SELECT workflow_id, problem FROM dacapo.undelivered ORDER BY 1, message")
            .fetch_all(&fleet.database.pool)
            .await
            .unwrap();
    let kept: Vec<(&str, &str)> = kept.iter().map(|(id, problem)| (id.as_str(), problem.as_str())).collect();
    assert_eq!(kept, [("taken", "AlreadyOpen"), ("target", "NotOpen"), ("target", "NotOpen")]);
    holder.signal(&STOP, ()).await.unwrap();
    within("the holder ends", PATIENCE, holder.result()).await.unwrap();
    fleet.finish().await;
}

/// The sender is gone before its transaction commits, so that nobody hears of the commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_sender_committed_is_delivered_by_the_workers() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(watchful).await;
    let target = fleet.client.start(collector, ()).id("target").await.unwrap();
    let (pool, url) = (fleet.database.pool.clone(), fleet.database.url.clone());
    let sender = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let tx = runtime.block_on(async {
            let store = Arc::new(PgStore::connect(PgStoreOptions::new(&url)).await.unwrap());
            let client = Client::new(&Engine::new(store).await.unwrap()).task_queue(QUEUE);
            let mut tx = pool.begin().await.unwrap();
            client.start(sequence, (2, 1)).id("orphan").in_transaction(&mut tx).await.unwrap();
            client.handle(collector, "target").signal(&VALUE, 7).in_transaction(&mut tx).await.unwrap();
            tx
        });
        runtime.shutdown_background();
        tx
    });
    sender.await.unwrap().commit().await.unwrap();
    eventually("everything is delivered", PATIENCE, async || {
        (fleet.database.count("dacapo.outbox").await == 0).then_some(())
    })
    .await;
    assert_eq!(within("the start runs", PATIENCE, fleet.client.handle(sequence, "orphan").result()).await.unwrap(), 2);
    target.signal(&STOP, ()).await.unwrap();
    assert_eq!(within("the target ends", PATIENCE, target.result()).await.unwrap(), [7]);
    fleet.finish().await;
}
