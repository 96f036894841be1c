//! Calls in transactions of the caller's, in one process: what is there afterwards, and what is refused and how.

use std::sync::Arc;

use dacapo::{
    ClientError, ResultError, WorkerProcess, WorkflowHandle,
    core::{EventKind, IdConflictPolicy, IdReusePolicy, store::RunFilter},
    prelude::*,
    runtime::MemoryStore,
    transactions::TransactionError,
};
use sqlx::{PgConnection, PgPool, postgres::PgPoolOptions};

use crate::database::{TestDatabase, fresh};

const NAME: Signal<String> = Signal::new("name");

#[workflow]
async fn greet(_ctx: WorkflowContext, name: String) -> Result<String, WorkflowError> {
    Ok(format!("hello {name}"))
}

/// Takes names until there are so many.
#[workflow]
async fn names(ctx: WorkflowContext, count: usize) -> Result<Vec<String>, WorkflowError> {
    let mut names = Vec::new();
    while names.len() < count {
        names.push(ctx.receive(&NAME).await?);
    }
    Ok(names)
}

/// As [`names`], in runs of one name each.
#[workflow]
async fn names_on(
    ctx: WorkflowContext,
    (mut names, count): (Vec<String>, usize),
) -> Result<Vec<String>, WorkflowError> {
    names.push(ctx.receive(&NAME).await?);
    if names.len() == count { Ok(names) } else { ctx.continue_as_new((names, count)).into() }
}

#[workflow]
async fn forgetful(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(ctx.activity(Careless::writes, ()).await?)
}

struct Careless;

#[activities]
impl Careless {
    #[activity(start_to_close = "10s")]
    async fn writes(&self, ctx: &ActivityContext) -> Result<(), ActivityError> {
        let mut tx = ctx.transaction().await?;
        sqlx::query("INSERT INTO notes VALUES ('careless')").execute(&mut *tx).await?;
        tx.complete(()).await
    }
}

/// A database with a table of the user's, a client of its own, and where wanted a worker.
struct Shop {
    _database: TestDatabase,
    engine: Engine,
    client: Client,
    pool: PgPool,
    worker: Option<WorkerProcess>,
}

impl Shop {
    async fn open() -> Self {
        let database = fresh("transactions").await;
        let pool = PgPoolOptions::new().max_connections(3).connect(&database.url).await.unwrap();
        sqlx::raw_sql("CREATE TABLE public.notes (text text)").execute(&pool).await.unwrap();
        let engine = Engine::new(Arc::new(database.store().await)).await.unwrap();
        let client = Client::new(&engine);
        Self { _database: database, engine, client, pool, worker: None }
    }

    async fn with_worker() -> Self {
        let mut shop = Self::open().await;
        let worker = Worker::new(&shop.engine).workflow(greet).workflow(names).workflow(names_on).workflow(forgetful);
        shop.worker = Some(worker.activities(Careless).start().unwrap());
        shop
    }

    async fn notes(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&self.pool).await.unwrap()
    }

    async fn close(self) {
        if let Some(worker) = self.worker {
            worker.stop();
            worker.stopped().await.unwrap();
        }
        self.engine.store().close().await;
    }
}

async fn note(connection: &mut PgConnection) {
    sqlx::query("INSERT INTO notes VALUES ('x')").execute(connection).await.unwrap();
}

fn is_missing<R: std::fmt::Debug>(result: Result<R, ResultError>) -> bool {
    matches!(result, Err(ResultError::Client(ClientError::NotFound { .. })))
}

#[tokio::test]
async fn a_start_is_there_if_and_only_if_its_transaction_commits() {
    let shop = Shop::with_worker().await;
    let mut tx = shop.pool.begin().await.unwrap();
    note(&mut tx).await;
    let kept = shop.client.start(greet, "a".to_owned()).id("kept").in_transaction(&mut tx).await.unwrap();
    assert!(kept.is_new() && is_missing(kept.result().await), "nothing is there before the commit");
    tx.commit().await.unwrap();
    assert_eq!(kept.result().await.unwrap(), "hello a");

    let mut tx = shop.pool.begin().await.unwrap();
    note(&mut tx).await;
    let dropped = shop.client.start(greet, "b".to_owned()).id("dropped").in_transaction(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(is_missing(dropped.result().await));
    assert_eq!(shop.notes().await, 1);
    let free = shop.client.start(greet, "c".to_owned()).id("dropped").await.unwrap();
    assert_eq!(free.result().await.unwrap(), "hello c");
    shop.close().await;
}

#[tokio::test]
async fn what_is_committed_is_there_without_any_worker() {
    let shop = Shop::open().await;
    let mut tx = shop.pool.begin().await.unwrap();
    let run = shop.client.start(greet, "a".to_owned()).id("alone").in_transaction(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    while shop.client.untyped().list(RunFilter::default(), 10).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run.describe().await.unwrap();

    // Whoever closes the store at once leaves nothing behind either.
    let mut tx = shop.pool.begin().await.unwrap();
    shop.client.start(greet, "b".to_owned()).id("last").in_transaction(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let pool = shop.pool.clone();
    shop.close().await;
    let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM dacapo.runs_open").fetch_one(&pool).await.unwrap();
    assert_eq!(runs, 2);
}

#[tokio::test]
async fn messages_follow_the_start_of_their_own_transaction_in_order() {
    let shop = Shop::with_worker().await;
    let open = shop.client.start(names, 4).id("open").await.unwrap();
    let mut tx = shop.pool.begin().await.unwrap();
    let run = shop.client.start(names, 3).id("new").in_transaction(&mut tx).await.unwrap();
    for name in ["a", "b"] {
        run.signal(&NAME, name.to_owned()).in_transaction(&mut tx).await.unwrap();
        open.signal(&NAME, name.to_owned()).in_transaction(&mut tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    // Sent after the commit by the same process, so received after what the transaction sent.
    open.signal(&NAME, "c".to_owned()).await.unwrap();
    run.signal(&NAME, "c".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), ["a", "b", "c"]);

    let mut tx = shop.pool.begin().await.unwrap();
    open.signal(&NAME, "never".to_owned()).in_transaction(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();
    open.signal(&NAME, "d".to_owned()).await.unwrap();
    assert_eq!(open.result().await.unwrap(), ["a", "b", "c", "d"]);

    let held = shop.client.start(names, 9).id("held").await.unwrap();
    let mut tx = shop.pool.begin().await.unwrap();
    held.cancel("not needed").in_transaction(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(held.result().await, Err(ResultError::Cancelled { .. })));
    shop.close().await;
}

#[tokio::test]
async fn the_history_of_what_a_transaction_started_is_that_of_its_first_run() {
    let shop = Shop::with_worker().await;
    let mut tx = shop.pool.begin().await.unwrap();
    let run = shop.client.start(names_on, (Vec::new(), 2)).id("chain").in_transaction(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    run.signal(&NAME, "a".to_owned()).await.unwrap();
    let continued = async || {
        let last = run.history().await.unwrap().pop().map(|event| event.event);
        matches!(last, Some(EventKind::WorkflowExecutionContinuedAsNew(_)))
    };
    while !continued().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(run.describe().await.unwrap().run.info.closed_at, None, "the other goes on");
    assert!(continued().await, "and is not meant here");
    run.signal(&NAME, "b".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), ["a", "b"]);
    shop.close().await;
}

#[tokio::test]
async fn messages_of_a_transaction_reach_the_run_that_goes_on() {
    let shop = Shop::with_worker().await;
    let first = shop.client.start(names_on, (Vec::new(), 4)).id("chain").await.unwrap();
    first.signal(&NAME, "a".to_owned()).await.unwrap();
    let went_on = async || {
        let run = first.describe().await.unwrap().run.info.key.run_id;
        if Some(run) == first.run_id() { None } else { Some(run) }
    };
    while went_on().await.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A handle that began in the middle means the same chain.
    let existing = shop.client.start(names_on, (Vec::new(), 4)).id("chain");
    let second = existing.conflict_policy(IdConflictPolicy::UseExisting).await.unwrap();
    assert_eq!((second.is_new(), second.run_id()), (false, went_on().await));
    let mut tx = shop.pool.begin().await.unwrap();
    for (run, name) in [(&first, "b"), (&second, "c"), (&first, "d")] {
        run.signal(&NAME, name.to_owned()).in_transaction(&mut tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(second.result().await.unwrap(), ["a", "b", "c", "d"]);

    // Nobody's later run of the same id is meant.
    let later = shop.client.start(names, 1).id("chain").await.unwrap();
    let mut tx = shop.pool.begin().await.unwrap();
    let error = first.signal(&NAME, "e".to_owned()).in_transaction(&mut tx).await.unwrap_err();
    assert!(matches!(error, TransactionError::Client(ClientError::NotOpen { .. })), "{error}");
    let error = second.cancel("late").in_transaction(&mut tx).await.unwrap_err();
    assert!(matches!(error, TransactionError::Client(ClientError::NotOpen { .. })), "{error}");
    tx.commit().await.unwrap();
    later.signal(&NAME, "f".to_owned()).await.unwrap();
    assert_eq!(later.result().await.unwrap(), ["f"]);
    shop.close().await;
}

#[tokio::test]
async fn a_signal_with_start_reaches_the_open_run_or_a_new_one() {
    let shop = Shop::with_worker().await;
    for name in ["a", "b"] {
        let mut tx = shop.pool.begin().await.unwrap();
        let start = shop.client.start(names, 2).id("either").signal(&NAME, name.to_owned());
        let run: WorkflowHandle<Vec<String>> = start.in_transaction(&mut tx).await.unwrap();
        assert_eq!(run.run_id(), None, "which run it is shows at the commit");
        tx.commit().await.unwrap();
        run.describe().await.unwrap();
    }
    assert_eq!(shop.client.handle(names, "either").result().await.unwrap(), ["a", "b"]);
    shop.close().await;
}

#[tokio::test]
async fn a_refused_call_leaves_the_transaction_as_it_was() {
    let shop = Shop::with_worker().await;
    let open = shop.client.start(names, 1).id("open").await.unwrap();
    let done = shop.client.start(greet, "a".to_owned()).id("done").await.unwrap();
    done.result().await.unwrap();
    let mut tx = shop.pool.begin().await.unwrap();
    note(&mut tx).await;

    let error = shop.client.start(names, 1).id("open").in_transaction(&mut tx).await.unwrap_err();
    let TransactionError::Client(ClientError::AlreadyOpen { run_id, .. }) = error else { panic!("{error}") };
    assert_eq!(Some(run_id), open.run_id());
    let reuse = shop.client.start(greet, "b".to_owned()).id("done").reuse_policy(IdReusePolicy::RejectDuplicate);
    let error = reuse.in_transaction(&mut tx).await.unwrap_err();
    assert!(matches!(error, TransactionError::Client(ClientError::ReuseRefused { .. })), "{error}");
    let nobody = shop.client.handle(names, "nobody");
    let error = nobody.signal(&NAME, "x".to_owned()).in_transaction(&mut tx).await.unwrap_err();
    assert!(matches!(error, TransactionError::Client(ClientError::NotFound { .. })), "{error}");
    let error = done.signal(&NAME, "x".to_owned()).in_transaction(&mut tx).await.unwrap_err();
    assert!(matches!(error, TransactionError::Client(ClientError::NotOpen { .. })), "{error}");
    let error = shop.client.start(greet, "x".to_owned()).id("").in_transaction(&mut tx).await.unwrap_err();
    assert!(error.to_string().contains("workflow id is empty"), "{error}");

    let first = shop.client.start(greet, "c".to_owned()).id("twice").in_transaction(&mut tx).await.unwrap();
    let error = shop.client.start(greet, "d".to_owned()).id("twice").in_transaction(&mut tx).await.unwrap_err();
    let TransactionError::Client(ClientError::AlreadyOpen { run_id, .. }) = error else { panic!("{error}") };
    assert_eq!(Some(run_id), first.run_id());
    tx.commit().await.unwrap();
    assert_eq!(first.result().await.unwrap(), "hello c");
    assert_eq!(shop.notes().await, 1);
    open.signal(&NAME, "x".to_owned()).await.unwrap();
    assert_eq!(open.result().await.unwrap(), ["x"], "nothing of what was refused arrived");
    shop.close().await;
}

#[tokio::test]
async fn a_request_id_leads_to_one_run_within_a_transaction_and_over_several() {
    let shop = Shop::with_worker().await;
    let start = |name: &str| shop.client.start(greet, name.to_owned()).id("requested").request_id("request-1");
    let mut tx = shop.pool.begin().await.unwrap();
    let first = start("a").in_transaction(&mut tx).await.unwrap();
    let same = start("b").in_transaction(&mut tx).await.unwrap();
    assert_eq!((same.run_id(), same.is_new()), (first.run_id(), false));
    tx.commit().await.unwrap();
    assert_eq!(first.result().await.unwrap(), "hello a");
    let mut tx = shop.pool.begin().await.unwrap();
    let later = start("c").in_transaction(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((later.run_id(), later.result().await.unwrap().as_str()), (first.run_id(), "hello a"));
    shop.close().await;
}

#[tokio::test]
async fn a_start_that_replaces_terminates_the_open_run_at_the_commit() {
    let shop = Shop::with_worker().await;
    let old = shop.client.start(names, 1).id("replaced").await.unwrap();
    let mut tx = shop.pool.begin().await.unwrap();
    let start = shop.client.start(names, 0).id("replaced").conflict_policy(IdConflictPolicy::TerminateExisting);
    let new = start.in_transaction(&mut tx).await.unwrap();
    assert_eq!(old.describe().await.unwrap().run.info.status, dacapo::core::RunStatus::Running);
    tx.commit().await.unwrap();
    assert_eq!(new.result().await.unwrap(), Vec::<String>::new());
    assert!(matches!(old.result().await, Err(ResultError::Terminated { .. })));
    shop.close().await;
}

#[tokio::test]
async fn an_old_snapshot_and_another_search_path_decide_nothing() {
    let shop = Shop::with_worker().await;
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let id = |what: &str| format!("{what} {level}");
        let mut tx = shop.pool.begin().await.unwrap();
        let set = format!("SET TRANSACTION ISOLATION LEVEL {level}; SET LOCAL search_path = nowhere");
        sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *tx).await.unwrap();
        // The snapshot of the transaction is taken here; all of the following it cannot see.
        sqlx::query("INSERT INTO public.notes VALUES ('x')").execute(&mut *tx).await.unwrap();
        let later = shop.client.start(names, 1).id(id("later")).await.unwrap();
        let taken = shop.client.start(names, 1).id(id("taken")).await.unwrap();
        later.signal(&NAME, "seen".to_owned()).in_transaction(&mut tx).await.unwrap();
        let error = shop.client.start(names, 1).id(id("taken")).in_transaction(&mut tx).await.unwrap_err();
        assert!(matches!(error, TransactionError::Client(ClientError::AlreadyOpen { .. })), "{level}: {error}");
        let new = shop.client.start(greet, "a".to_owned()).id(id("new")).in_transaction(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(later.result().await.unwrap(), ["seen"], "{level}");
        assert_eq!(new.result().await.unwrap(), "hello a", "{level}");
        taken.signal(&NAME, "x".to_owned()).await.unwrap();
        taken.result().await.unwrap();
    }
    assert_eq!(shop.notes().await, 3);
    shop.close().await;
}

#[tokio::test]
async fn another_database_and_no_transaction_are_refused() {
    let (shop, other) = (Shop::open().await, fresh("elsewhere").await);
    let cluster = tokio::task::spawn_blocking(|| dacapo_devpg::Cluster::shared_for_tests().unwrap()).await.unwrap();
    for url in [other.url.clone(), cluster.url()] {
        let pool = PgPool::connect(&url).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        let error = shop.client.start(greet, "a".to_owned()).in_transaction(&mut tx).await.unwrap_err();
        assert!(matches!(error, TransactionError::Elsewhere), "{url}: {error}");
        let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut *tx).await.unwrap();
        assert_eq!(one, 1, "the transaction is usable");
        tx.commit().await.unwrap();
        pool.close().await;
    }
    let mut connection = shop.pool.acquire().await.unwrap();
    let error = shop.client.start(greet, "a".to_owned()).in_transaction(&mut connection).await.unwrap_err();
    assert!(matches!(error, TransactionError::NoTransaction), "{error}");
    drop(connection);
    let mut tx = shop.pool.begin().await.unwrap();
    sqlx::query("SET TRANSACTION READ ONLY").execute(&mut *tx).await.unwrap();
    let error = shop.client.start(greet, "a".to_owned()).in_transaction(&mut tx).await.unwrap_err();
    assert!(matches!(error, TransactionError::Database(_)) && error.to_string().contains("read-only"), "{error}");
    tx.commit().await.unwrap();
    assert_eq!(shop.client.untyped().count(RunFilter::default()).await.unwrap(), 0);

    let memory = Client::new(&Engine::new(Arc::new(MemoryStore::default())).await.unwrap());
    let mut tx = shop.pool.begin().await.unwrap();
    let error = memory.start(greet, "a".to_owned()).in_transaction(&mut tx).await.unwrap_err();
    assert!(matches!(error, TransactionError::NotPostgres), "{error}");
    drop(tx);
    shop.close().await;
}

#[tokio::test]
async fn an_activity_that_is_not_declared_so_gets_no_transaction() {
    let shop = Shop::with_worker().await;
    let error = shop.client.start(forgetful, ()).id("forgetful").await.unwrap().result().await.unwrap_err();
    let ResultError::Failed { failure, .. } = error else { panic!("{error}") };
    assert!(failure.message.contains("transactional"), "{failure:?}");
    assert_eq!(shop.notes().await, 0);
    shop.close().await;
}
