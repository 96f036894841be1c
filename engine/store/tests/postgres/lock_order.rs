//! Keys lead with the run, and whoever locks the rows of several runs takes them in that order.

use std::time::Duration;

use dacapo_core::{
    ActivityOptions, RunKey, Shard, Store,
    store::{ActivityClaim, ActivityHeartbeat, StartOutcome},
};

use crate::common::*;

/// Two workflow ids of which the first has the higher shard: started one after the other, their runs have one order by
/// run and the other one by shard.
fn ids() -> (String, String) {
    let shard = |id: &str| -> Shard { request(id).key().shard };
    let second = "second".to_owned();
    let first = (0..).map(|n| format!("first-{n}")).find(|id| shard(id) > shard(&second)).unwrap();
    (first, second)
}

/// Holds a row of the first run until `work` waits for it, and asserts that the row of the second one is free by then.
async fn locks_in_order<T>(database: &Database, table: &str, runs: [RunKey; 2], work: impl Future<Output = T>) -> T {
    let [first, second] =
        runs.map(|run| format!("SELECT FROM dacapo.{table} WHERE run_id = '{}' FOR UPDATE", run.run_id));
    let mut blocker = blocked(database, &first).await;
    let look = async {
        until_somebody_waits(database).await;
        database.sql(&format!("{second} NOWAIT")).await;
        sqlx::raw_sql("COMMIT").execute(&mut blocker).await.unwrap();
    };
    tokio::join!(work, look).0
}

#[tokio::test]
async fn starts_are_given_back_in_the_order_of_their_runs() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    store.take_starts(worker, Some(Duration::from_secs(60))).await.unwrap();
    let (first, second) = ids();
    let (first, second) = (request(&first), request(&second));
    for request in [&first, &second] {
        assert_eq!(start(store, request.clone()).await, StartOutcome::Started);
    }
    let giving = store.give_back_handed(None, Duration::ZERO);
    assert_eq!(locks_in_order(&database, "runs_open", [first.key(), second.key()], giving).await.unwrap(), 2);
    assert_eq!(database.count("dacapo.ready").await, 2);
    database.finish().await;
}

#[tokio::test]
async fn activities_are_locked_in_the_order_of_their_runs() {
    let database = Database::new().await;
    let store = &database.store;
    let (owner, other) = (register(store).await, register(store).await);
    let (first, second) = ids();
    let mut runs = Vec::new();
    for id in [&first, &second] {
        let mut owned = waiting_run(store, owner, id).await;
        let step = owned.turn(store, |turn| turn.message(signal("go"))).await;
        owned.write(store, step).await;
        owned.offer(store, 1, ActivityOptions::default()).await;
        runs.push(owned.key());
    }
    let wanted = ActivityClaim { namespace: "default".into(), queues: vec![QUEUE.into()], limit: 2 };
    let claimed = store.claim_activities(other, &wanted).await.unwrap();
    let beats = claimed.iter().rev().map(|it| ActivityHeartbeat { claim: it.claim, details: None }).collect();
    let beating = store.heartbeat(other, beats);
    assert_eq!(locks_in_order(&database, "activities", [runs[0], runs[1]], beating).await.unwrap().len(), 2);
    database.finish().await;
}

#[tokio::test]
async fn keys_and_functions_name_the_run_before_the_shard() {
    let database = Database::new().await;
    let of_runs = "pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_attribute r ON r.attrelid = c.oid AND r.attname = 'run_id' AND r.attnum = ANY (i.indkey)
        WHERE c.relnamespace = 'dacapo'::regnamespace AND i.indisprimary";
    assert!(database.count(of_runs).await >= 13);
    assert_eq!(database.count(&format!("{of_runs} AND i.indkey[0] <> r.attnum")).await, 0);
    // What locks rows of activities sorts them itself, by the columns that it has put in a row.
    let sorting = "pg_proc WHERE pronamespace = 'dacapo'::regnamespace AND prosrc LIKE '%ORDER BY 2, 1, 3) k,%'";
    assert_eq!(database.count(sorting).await, 3);
    database.finish().await;
}
