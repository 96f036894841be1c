//! Claims of runs: one winner each, in order, and nothing for those who are gone.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use dacapo_core::{
    StartWorkflow, Store,
    store::{RunsPart, StoreError, WriteOutcome},
};
use dacapo_store::PgStore;
use sqlx::{Connection, PgConnection, Row};

use crate::common::*;

#[tokio::test]
async fn each_run_is_claimed_by_one_of_many() {
    let database = Database::new().await;
    let mut keys = HashSet::new();
    let mut starts = tokio::task::JoinSet::new();
    for number in 0..400 {
        let request = request(&format!("w{number}"));
        keys.insert(request.key());
        let store = Arc::clone(&database.store);
        starts.spawn(async move { start(&store, request).await });
    }
    starts.join_all().await;
    let other = database.another().await;
    let mut claimers = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = if number % 2 == 0 { Arc::clone(&database.store) } else { Arc::clone(&other) };
        let worker = register(&store).await;
        claimers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claimed = store.claim_runs(worker, &claim_of(7)).await.unwrap();
                assert!(claimed.stale.is_empty() && claimed.runs.len() <= 7);
                if claimed.runs.is_empty() {
                    let owned = store.owned_runs(worker, RunsPart::WHOLE).await.unwrap();
                    assert_eq!(owned.len(), mine.len());
                    return mine;
                }
                mine.extend(claimed.runs);
            }
        });
    }
    let claimed: Vec<_> = claimers.join_all().await.into_iter().flatten().collect();
    // A claimer that found every row locked by others has stopped early; what is left is there for the next.
    let last = register(&database.store).await;
    let rest = database.store.claim_runs(last, &claim_of(1_000)).await.unwrap().runs;
    let all: HashSet<_> = claimed.iter().chain(&rest).map(|run| run.key).collect();
    assert_eq!(claimed.len() + rest.len(), 400);
    assert_eq!(all, keys);
    other.close().await;
    database.finish().await;
}

#[tokio::test]
async fn claims_go_by_priority_then_age_and_only_to_who_has_the_type() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    for (id, priority) in [("low", 5), ("old", 3), ("young", 3), ("first", 1)] {
        start(store, StartWorkflow { priority, ..request(id) }).await;
    }
    start(store, StartWorkflow { workflow_type: "other".into(), priority: 1, ..request("not mine") }).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(Owned::claim(store, worker).await.run.started.workflow_id.to_string());
    }
    assert_eq!(order, ["first", "old", "young", "low"]);
    assert!(store.claim_runs(worker, &claim_of(10)).await.unwrap().runs.is_empty());
    let depths = store.queue_depths().await.unwrap();
    assert_eq!((depths[0].runs, depths[0].activities), (1, 0));
    database.finish().await;
}

/// Claims of a long queue go on where the last one ended; what came to lie before that place is found soon all the same.
#[tokio::test]
async fn claims_of_a_long_queue_go_on_and_leave_nothing_behind() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    for number in 0..8 {
        start(store, StartWorkflow { priority: 3, ..request(&format!("{number}")) }).await;
    }
    let claimed = async |at_most| {
        let claimed = store.claim_runs(worker, &claim_of(at_most)).await.unwrap().runs;
        let ids = claimed.iter().map(|run| Owned::of(worker, run).run.started.workflow_id.to_string());
        ids.collect::<Vec<_>>()
    };
    let mut all = claimed(2).await;
    // The claims of the first 250 ms go on behind the first two.
    start(store, StartWorkflow { priority: 1, ..request("urgent") }).await;
    all.extend(claimed(2).await);
    all.extend(claimed(3).await);
    // The last of the eight leaves room for one more, and the end of the queue was reached: from the beginning again.
    all.extend(claimed(2).await);
    assert_eq!(all.iter().filter(|id| *id == "urgent").count(), 1);
    let mut rest: Vec<_> = all.into_iter().filter(|id| id != "urgent").collect();
    assert_eq!(rest, ["0", "1", "2", "3", "4", "5", "6", "7"], "in the order of their age");
    for number in 8..16 {
        start(store, StartWorkflow { priority: 3, ..request(&format!("{number}")) }).await;
    }
    rest = claimed(2).await;
    start(store, StartWorkflow { priority: 1, ..request("more urgent") }).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    rest.extend(claimed(1).await);
    assert_eq!(rest, ["8", "9", "more urgent"], "a claim begins at the beginning now and then");
    database.finish().await;
}

#[tokio::test]
async fn a_ready_row_of_an_owned_run_is_a_hint_for_its_owner() {
    let database = Database::new().await;
    let store = &database.store;
    let (owner, other) = (register(store).await, register(store).await);
    let owned = waiting_run(store, owner, "a").await;
    database
        .sql(
            "INSERT INTO dacapo.ready SELECT run_id, now(), shard, priority, namespace, task_queue, workflow_type \
             FROM dacapo.runs_open",
        )
        .await;
    let claimed = store.claim_runs(other, &claim_of(10)).await.unwrap();
    assert!(claimed.runs.is_empty());
    assert_eq!(claimed.stale, [(owned.key(), owner)]);
    assert_eq!(database.count("dacapo.ready").await, 0);
    database.finish().await;
}

#[tokio::test]
async fn a_worker_without_a_lease_claims_nothing() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    start(store, request("a")).await;
    database.sql("UPDATE dacapo.workers SET lease_until = now() - interval '1 s'").await;
    let refused = store.claim_runs(worker, &claim_of(10)).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost { .. })), "{refused:?}");
    assert!(matches!(store.beat(worker, &interest()).await, Err(StoreError::LeaseLost { .. })));
    assert_eq!(database.count("dacapo.ready").await, 1);
    database.finish().await;
}

#[tokio::test]
async fn the_parts_of_the_table_hold_every_owned_run_once() {
    let database = Database::new().await;
    let store = &database.store;
    let (worker, other) = (register(store).await, register(store).await);
    let mut mine = Vec::new();
    for number in 0..120 {
        mine.push((waiting_run(store, worker, &format!("w{number}")).await.key(), 1));
    }
    waiting_run(store, other, "another's").await;
    let mut found = Vec::new();
    for index in 0..7 {
        found.extend(store.owned_runs(worker, RunsPart { index, of: 7 }).await.unwrap());
    }
    found.sort_unstable();
    mine.sort_unstable();
    assert_eq!(found, mine);
    database.finish().await;
}

#[tokio::test]
async fn a_claim_changes_no_index_of_the_run() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    start(store, request("a")).await;
    let mut owned = Owned::claim(store, worker).await;
    // A signal is counted in the run's row.
    assert!(matches!(owned.go(store, vec![signal("x")], vec![]).await, WriteOutcome::Applied));
    let hot = "(SELECT sum(n_tup_upd) AS all, sum(n_tup_hot_upd) AS hot FROM pg_stat_user_tables \
        WHERE schemaname = 'dacapo' AND relname = 'runs_open') u WHERE u.all >= 2 AND u.hot = u.all";
    // A server process may keep its statistics for ten seconds.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(100);
    while database.count(hot).await == 0 {
        assert!(std::time::Instant::now() < until, "an update of the run was not done on its page");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    database.finish().await;
}

/// The scans of each index of the tables that a claim reads, the entries read from it, and the reads of whole tables.
async fn scans(database: &Database) -> BTreeMap<String, (i64, i64)> {
    let counted = "SELECT indexrelname::text AS name, idx_scan AS scans, idx_tup_read AS read FROM pg_stat_user_indexes
         WHERE schemaname = 'dacapo' AND relname IN ('ready', 'runs_open', 'history', 'inbox')
        UNION ALL SELECT relname::text, seq_scan, seq_tup_read FROM pg_stat_user_tables
         WHERE schemaname = 'dacapo' AND relname IN ('ready', 'runs_open', 'history', 'inbox')";
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let rows = sqlx::query(counted).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| (row.get("name"), (row.get("scans"), row.get("read")))).collect()
}

/// Claims three times a hundred runs, and gives what was read for it.
async fn reads_of_claims(database: &Database, store: Arc<PgStore>) -> BTreeMap<String, (i64, i64)> {
    let worker = register(&store).await;
    let before = scans(database).await;
    for _ in 0..3 {
        assert_eq!(store.claim_runs(worker, &claim_of(100)).await.unwrap().runs.len(), 100);
    }
    // A process tells the server's statistics what it read when it goes.
    store.close().await;
    drop(store);
    let mut after = scans(database).await;
    while after["ready_claim"] == before["ready_claim"] {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        after = scans(database).await;
    }
    after
        .into_iter()
        .map(|(name, (scans, read))| (name.clone(), (scans - before[&name].0, read - before[&name].1)))
        .collect()
}

#[tokio::test]
async fn a_claim_reads_as_much_from_a_thousand_rows_as_from_a_million() {
    let database = Database::new().await;
    for number in 0..1_010 {
        start(&database.store, request(&format!("w{number}"))).await;
    }
    let early = database.another().await;
    let worker = register(&early).await;
    for _ in 0..10 {
        assert_eq!(early.claim_runs(worker, &claim_of(1)).await.unwrap().runs.len(), 1);
    }
    let few = reads_of_claims(&database, database.another().await).await;
    let many = "INSERT INTO dacapo.ready (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
         SELECT n % 64, gen_random_uuid(), 'default', 'q', 'w', 3, clock_timestamp() FROM generate_series(1, 1000000) n";
    let open =
        "INSERT INTO dacapo.runs_open (shard, run_id, namespace, workflow_id, workflow_type, task_queue, priority,
                owner_epoch, next_event_id, started_at)
         SELECT shard, run_id, namespace, run_id::text, workflow_type, task_queue, priority, 0, 3, visible_at
           FROM dacapo.ready WHERE run_id NOT IN (SELECT run_id FROM dacapo.runs_open)";
    database.sql(many).await;
    database.sql(open).await;
    // One whose plans were made when there were few, and one that comes anew, before and after statistics were taken.
    let old_plans = reads_of_claims(&database, early).await;
    database.sql("ANALYZE dacapo.ready, dacapo.runs_open").await;
    let new_plans = reads_of_claims(&database, database.another().await).await;
    for (name, (scans, read)) in &few {
        for (when, later) in [("old", &old_plans), ("new", &new_plans)] {
            // The same indexes and as often, but for the first ten claims of the early process.
            let more = if *scans > 0 { 10 } else { 0 };
            assert!((*scans..=scans + more).contains(&later[name].0), "{name}, {when} plans: {few:?}, {later:?}");
            // Behind what was claimed before lie its entries until the next vacuum.
            assert!(later[name].1 <= read + 700, "{name}, {when} plans: {few:?}, {later:?}");
        }
    }
    assert!(few["ready_claim"].0 > 0 && few["runs_open"].0 == 0, "{few:?}");
    database.store.close().await;
}
