//! What only the store on Postgres does for the sake of speed: news that go along with a flush, queues that are vacuumed,
//! claims that pass by what somebody writes to.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use dacapo::{Engine, Worker, prelude::*};
use dacapo_core::{MessageBody, Namespace, Payload, Store, store::Hint};
use dacapo_store::PgStore;
use sqlx::{Connection as _, PgConnection, Row as _, postgres::PgListener};

use crate::{
    contract::lab::{Lab, Owner, claim, complete, is_fenced, join_all, request, task},
    database::{TestDatabase, fresh},
    fleet::harness::eventually,
};

const PATIENCE: Duration = Duration::from_secs(60);

async fn lab(database: &TestDatabase) -> (Arc<PgStore>, Lab) {
    // Whoever listens in these tests has no socket to hear by.
    let store = Arc::new(database.store_apart().await);
    (Arc::clone(&store), Lab::real(store))
}

async fn connect(database: &TestDatabase) -> PgConnection {
    PgConnection::connect(&database.url).await.unwrap()
}

/// The server process whose last statement calls a function.
async fn backend_of(connection: &mut PgConnection, function: &str) -> u32 {
    let query = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%dacapo.' || $1 || '(%' AND pid <> pg_backend_pid()
        AND datname = current_database()";
    sqlx::query(query).bind(function).fetch_one(connection).await.unwrap().get::<i32, _>("pid") as u32
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_start_and_its_end_are_told_by_the_flush_that_writes_them() {
    let database = fresh("news").await;
    let (store, lab) = lab(&database).await;
    let mut listener = PgListener::connect(&database.url).await.unwrap();
    listener.listen_all(["dacapo_queues", "dacapo_closed"]).await.unwrap();
    let mut connection = connect(&database).await;
    let mut here = store.hints();
    let worker = lab.worker().await;

    let run = lab.open("lone").await;
    let news = tokio::time::timeout(PATIENCE, listener.recv()).await.expect("others hear of the start").unwrap();
    assert_eq!((news.channel(), news.payload()), ("dacapo_queues", "rqueue"));
    assert_eq!(news.process_id(), backend_of(&mut connection, "start_one_v1").await);
    lab.await_hint(&mut here, |hint| matches!(hint, Hint::RunsReady(queue) if queue.as_str() == "queue")).await;

    let mut owner = Owner::claim(&lab, worker).await;
    owner.write(task(vec![complete()])).await;
    let news = tokio::time::timeout(PATIENCE, listener.recv()).await.expect("others hear of the end").unwrap();
    assert_eq!(news.channel(), "dacapo_closed");
    assert!(news.payload().contains(&run.run_id.0.simple().to_string()), "{}", news.payload());
    assert!(news.payload().ends_with(":\"done\""), "the end goes along: {}", news.payload());
    assert_eq!(news.process_id(), backend_of(&mut connection, "close_one_v2").await);
    lab.await_hint(&mut here, |hint| matches!(hint, Hint::Ended(ended) if ended[0].0 == run)).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_refused_tells_nobody() {
    let database = fresh("no_news").await;
    let (store, lab) = lab(&database).await;
    lab.open("taken").await;
    let mut listener = PgListener::connect(&database.url).await.unwrap();
    listener.listen("dacapo_queues").await.unwrap();
    assert!(!matches!(lab.start(request("taken")).await, Ok(dacapo_core::store::StartOutcome::Started)));
    lab.open("other").await;
    // One piece of news: that of the second start. Were there one of the refused start, it would come first.
    let first = listener.recv().await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(300), listener.recv()).await;
    assert!(second.is_err(), "{first:?} and {second:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_fenced_out_tells_nobody() {
    let database = fresh("no_end").await;
    let (store, lab) = lab(&database).await;
    let (first, second) = (lab.worker().await, lab.worker().await);
    lab.open("moved").await;
    let mut stale = Owner::claim(&lab, first).await;
    stale.release(Some(lab.now().await)).await;
    let mut owner = Owner::claim(&lab, second).await;
    let mut listener = PgListener::connect(&database.url).await.unwrap();
    listener.listen("dacapo_closed").await.unwrap();
    assert!(is_fenced(&stale.try_write(task(vec![complete()])).await));
    owner.write(task(vec![complete()])).await;
    let end = tokio::time::timeout(PATIENCE, listener.recv()).await.expect("others hear of the end").unwrap();
    let more = tokio::time::timeout(Duration::from_millis(300), listener.recv()).await;
    assert!(more.is_err(), "one end is told, not {end:?} and {more:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_notification_takes_every_write() {
    let database = fresh("deaf").await;
    let mut connection = connect(&database).await;
    let query = "SELECT current_database()::text AS name";
    let name: String = sqlx::query(query).fetch_one(&mut connection).await.unwrap().get("name");
    // As a full queue of notifications refuses: somebody listens in a transaction that never ends.
    let settings = format!("ALTER DATABASE {name} SET search_path = full_queue, pg_catalog, public");
    for statement in [
        "CREATE SCHEMA full_queue".to_owned(),
        "CREATE FUNCTION full_queue.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$
         BEGIN RAISE program_limit_exceeded USING MESSAGE = 'too many notifications in the NOTIFY queue'; END $$"
            .to_owned(),
        settings,
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    let (store, lab) = lab(&database).await;
    let worker = lab.worker().await;
    // It listens all the same, though it can tell nobody that it does.
    eventually("it hears of ends", PATIENCE, async || store.hear_closed().then_some(())).await;
    for number in 0..3 {
        let run = lab.open(&format!("run-{number}")).await;
        let mut owner = Owner::claim(&lab, worker).await;
        owner.write(task(vec![complete()])).await;
        assert_eq!(lab.describe(run).await.info.status.as_str(), "Completed");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(store.hear_closed(), "it goes on listening");
    assert!(store.verify().await.unwrap().is_empty());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_of_runs_is_vacuumed_after_ten_thousand_claims() {
    const RUNS: usize = 10_500;
    let database = fresh("vacuum").await;
    let (store, lab) = lab(&database).await;
    let worker = lab.worker().await;
    let ids: Vec<String> = (0..RUNS).map(|number| number.to_string()).collect();
    join_all(ids.iter().map(|id| lab.open(id))).await;
    let mut claimed = 0;
    while claimed < RUNS {
        claimed += store.claim_runs(worker, &claim(500)).await.unwrap().runs.len();
    }
    let mut connection = connect(&database).await;
    let vacuumed = async {
        // Not autovacuum, which has a counter of its own.
        let query = "SELECT vacuum_count FROM pg_stat_user_tables WHERE schemaname = 'dacapo' AND relname = 'ready'";
        while sqlx::query(query).fetch_one(&mut connection).await.unwrap().get::<i64, _>("vacuum_count") == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, vacuumed).await.expect("the table is vacuumed");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_passes_by_a_run_that_somebody_writes_to() {
    let database = fresh("skip").await;
    let (store, lab) = lab(&database).await;
    let worker = lab.worker().await;
    let (busy, free) = (lab.open("busy").await, lab.open("free").await);
    let mut connection = connect(&database).await;
    let mut transaction = connection.begin().await.unwrap();
    let lock = "SELECT FROM dacapo.runs_open WHERE run_id = $1 FOR UPDATE";
    sqlx::query(lock).bind(busy.run_id.0).execute(&mut *transaction).await.unwrap();
    let claimed = lab.claim(worker).await;
    assert_eq!(claimed.skipped, 1, "it counts towards the limit");
    assert_eq!(claimed.runs.iter().map(|run| run.key).collect::<Vec<_>>(), [free]);
    transaction.rollback().await.unwrap();
    let claimed = lab.claim(worker).await;
    assert_eq!(claimed.runs.iter().map(|run| run.key).collect::<Vec<_>>(), [busy]);
    assert!(store.verify().await.unwrap().is_empty());
    store.close().await;
}

const ADD: Update<u64, u64> = Update::new("add");
const SUM: Query<u64, u64> = Query::new("sum");

#[workflow]
async fn adds(ctx: WorkflowContext, (): ()) -> Result<(), WorkflowError> {
    let sum = Rc::new(Cell::new(0));
    let now = Rc::clone(&sum);
    ctx.on_query(&SUM, move |more| now.get() + more);
    let mut requests = ctx.requests(&ADD);
    while let Some(request) = requests.next().await {
        // Longer than the first looks of those who wait, which become rarer.
        ctx.sleep(Duration::from_millis(300)).await?;
        sum.set(sum.get() + *request.argument());
        request.reply(sum.get());
    }
    Ok(())
}

/// What becomes of updates and questions is told to processes that have waited for one; those that wait find it out by
/// looking now and then, too, so the time tells nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_and_answers_are_told_to_the_process_that_waits() {
    let database = fresh("updates").await;
    let here = Engine::new(Arc::new(database.store().await)).await.unwrap();
    let worker = Worker::new(&here).task_queue("q").workflow(adds).start().unwrap();
    let (store, _) = lab(&database).await;
    let there = Client::new(&Engine::new(Arc::clone(&store) as Arc<dyn Store>).await.unwrap());
    let run = there.start(adds, ()).id("adds").task_queue("q").await.unwrap();
    assert_eq!(run.update(&ADD, 1).await.unwrap(), 1);
    // From here this process listens: what was asked first has its answer.
    let mut hints = store.hints();
    let key = store.find_run(&Namespace::default_namespace(), &"adds".into(), None).await.unwrap().unwrap().key;
    let mut news = async |what: &str| {
        let heard = async { while hints.next().await != Hint::Updated(vec![key]) {} };
        tokio::time::timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("no news of {what}"));
    };
    let begun = Instant::now();
    let (sum, ()) = tokio::join!(run.update(&ADD, 2), news("the update"));
    eprintln!("an update whose handler sleeps for 300 ms took {:?}", begun.elapsed());
    assert_eq!(sum.unwrap(), 3);
    let begun = Instant::now();
    let (answer, ()) = tokio::join!(run.query_with(&SUM, 10), news("the answer"));
    eprintln!("a query took {:?}", begun.elapsed());
    assert_eq!(answer.unwrap(), 13);
    run.terminate("enough").await.unwrap();
    worker.stop();
    worker.stopped().await.unwrap();
    store.close().await;
}

const NUMBER: Signal<u64> = Signal::new("number");

#[workflow]
async fn collects(ctx: WorkflowContext, count: u64) -> Result<u64, WorkflowError> {
    let mut sum = 0;
    for _ in 0..count {
        sum += ctx.receive(&NUMBER).await?;
    }
    Ok(sum)
}

const PUT: &str = "
INSERT INTO dacapo.inbox (shard, run_id, message, body)
SELECT r.shard, r.run_id, gen_random_uuid(), $2 FROM dacapo.runs_open r, generate_series(1, $1) n
 WHERE r.owner IS NOT NULL AND (r.workflow_id = 'long') = $3";

const OWNED: &str = "SELECT shard, run_id, owner FROM dacapo.runs_open WHERE owner IS NOT NULL";

/// One read takes 5,000 messages. What it leaves is read without waiting for the renewal of the lease, whether many runs
/// have so much together or one has it alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inboxes_that_hold_more_than_one_read_takes_are_read_to_their_ends() {
    const RUNS: usize = 13;
    let database = fresh("inboxes").await;
    let (store, _) = lab(&database).await;
    let engine = Engine::new(Arc::clone(&store) as Arc<dyn Store>).await.unwrap();
    let worker = Worker::new(&engine).task_queue("q").workflow(collects).configure(|options| {
        // No renewal comes to help.
        (options.lease, options.lease_renewal) = (Duration::from_secs(600), Duration::from_secs(300));
    });
    let worker = worker.start().unwrap();
    let client = Client::new(&engine);
    let mut runs = Vec::new();
    for number in 1..RUNS {
        runs.push(client.start(collects, 1_000).id(format!("run-{number}")).task_queue("q").await.unwrap());
    }
    runs.push(client.start(collects, 7_000).id("long").task_queue("q").await.unwrap());
    let mut connection = connect(&database).await;
    let owned = async {
        loop {
            let owned = sqlx::query(OWNED).fetch_all(&mut connection).await.unwrap();
            if owned.len() == RUNS {
                return owned;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let owned = tokio::time::timeout(PATIENCE, owned).await.expect("the worker owns all runs");
    let signal = MessageBody::Signal {
        name: "number".into(),
        input: Payload::encode("n", &2).unwrap(),
        identity: String::new(),
    };
    let signal = serde_json::to_vec(&signal).unwrap();
    let mut transaction = connection.begin().await.unwrap();
    for (count, long) in [(1_000, false), (7_000, true)] {
        sqlx::query(PUT).bind(count).bind(&signal).bind(long).execute(&mut *transaction).await.unwrap();
    }
    let channel = format!("dacapo_w_{}", owned[0].get::<uuid::Uuid, _>("owner").simple());
    let key = |row: &sqlx::postgres::PgRow| {
        format!("{:02x}{}", row.get::<i16, _>("shard"), row.get::<uuid::Uuid, _>("run_id").simple())
    };
    let keys: String = owned.iter().map(key).collect();
    sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(keys).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    for (run, count) in runs.into_iter().zip([vec![1_000; RUNS - 1], vec![7_000]].concat()) {
        let sum = tokio::time::timeout(PATIENCE, run.result()).await.expect("it has all its messages").unwrap();
        assert_eq!(sum, 2 * count);
    }
    assert!(store.verify().await.unwrap().is_empty());
    worker.stop();
    worker.stopped().await.unwrap();
    store.close().await;
}
