//! A database for each test, and a worker's view of the store in few words.

use std::{sync::Arc, time::Duration};

use dacapo_core::{
    ActivityOptions, Message, MessageBody, MessageId, Namespace, Payload, Run, RunId, RunKey, StartWorkflow, Store,
    TaskQueue, Timestamp, WorkerId,
    apply::Turn,
    command::Command,
    store::{
        BeatInterest, Hint, HintReceiver, LoadedRun, Reply, RunClaim, RunWrite, SendMessage, SendOutcome, StartOutcome,
        StartWrite, StoreResult, WorkerRegistration, WriteOutcome,
    },
    transition::Transition,
};
use dacapo_devpg::Cluster;
use dacapo_store::{PgStore, PgStoreOptions, migrate};
use sqlx::{Connection, PgConnection};
use tokio::sync::oneshot;
use uuid::Uuid;

pub(crate) const QUEUE: &str = "q";
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// A database of its own, with the schema.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) store: Arc<PgStore>,
    _held: PgConnection,
}

/// A database that nobody else uses as long as the connection lives; empty. There are as many as tests run at once, and
/// they are used again: making and dropping one makes the server write everything to disk.
pub(crate) async fn empty_database() -> (String, PgConnection) {
    let cluster = Cluster::shared_for_tests().unwrap();
    let mut held = PgConnection::connect(&cluster.url()).await.unwrap();
    for number in 0.. {
        let lock = sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock(77001, $1)").bind(number);
        if !lock.fetch_one(&mut held).await.unwrap() {
            continue;
        }
        let name = format!("store_test_{number}");
        let known = sqlx::query("SELECT FROM pg_database WHERE datname = $1").bind(&name);
        if known.fetch_optional(&mut held).await.unwrap().is_none() {
            let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
            sqlx::raw_sql(create).execute(&mut held).await.unwrap();
        }
        let url = cluster.url_for(&name);
        let mut inside = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("DROP SCHEMA IF EXISTS dacapo CASCADE").execute(&mut inside).await.unwrap();
        return (url, held);
    }
    unreachable!("numbers do not end")
}

impl Database {
    pub(crate) async fn new() -> Self {
        let (url, held) = empty_database().await;
        let options = PgStoreOptions::new(&url);
        migrate(&options).await.unwrap();
        let store = Arc::new(PgStore::connect(options).await.unwrap());
        Self { url, store, _held: held }
    }

    /// A further process on the same database.
    pub(crate) async fn another(&self) -> Arc<PgStore> {
        Arc::new(PgStore::connect(PgStoreOptions::new(&self.url)).await.unwrap())
    }

    /// A further process, on another machine as far as hints are concerned.
    pub(crate) async fn another_apart(&self) -> Arc<PgStore> {
        let options = PgStoreOptions { neighbours: false, ..PgStoreOptions::new(&self.url) };
        Arc::new(PgStore::connect(options).await.unwrap())
    }

    pub(crate) async fn sql(&self, statement: &str) -> u64 {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let text = sqlx::AssertSqlSafe(statement.to_owned());
        sqlx::raw_sql(text).execute(&mut connection).await.unwrap().rows_affected()
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let text = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {from}"));
        sqlx::query_scalar(text).fetch_one(&mut connection).await.unwrap()
    }

    /// Checks every invariant and lets go of the database.
    pub(crate) async fn finish(self) {
        let violations = self.store.verify().await.unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
        self.store.close().await;
    }
}

pub(crate) fn payload(json: &str) -> Payload {
    Payload::from_json("test", json.to_owned()).unwrap()
}

pub(crate) fn request(workflow_id: &str) -> StartWorkflow {
    let run_id = RunId(Uuid::now_v7());
    StartWorkflow::new(run_id, workflow_id.into(), "w".into(), QUEUE.into(), payload("1"))
}

pub(crate) async fn now(store: &PgStore) -> Timestamp {
    store.clock().await.unwrap().0
}

pub(crate) async fn start_as(
    store: &PgStore,
    request: StartWorkflow,
    owner: Option<WorkerId>,
) -> StoreResult<StartOutcome> {
    let at = now(store).await;
    start_at(store, request, owner, at).await
}

pub(crate) async fn start_at(
    store: &PgStore,
    request: StartWorkflow,
    owner: Option<WorkerId>,
    at: Timestamp,
) -> StoreResult<StartOutcome> {
    let transition = request.transition(at);
    let (reply, answer) = oneshot::channel();
    let reply = Reply::new(move |outcome| drop(reply.send(outcome)));
    store.start(StartWrite { request, transition, owner, ready_at: at }, reply);
    answer.await.unwrap()
}

pub(crate) async fn start(store: &PgStore, request: StartWorkflow) -> StartOutcome {
    start_as(store, request, None).await.unwrap()
}

pub(crate) async fn write(
    store: &PgStore,
    owner: WorkerId,
    owner_epoch: i32,
    transition: Box<Transition>,
) -> WriteOutcome {
    let (reply, answer) = oneshot::channel();
    let reply = Reply::new(move |outcome| drop(reply.send(outcome)));
    store.write(RunWrite { owner, owner_epoch, transition }, reply);
    answer.await.unwrap()
}

pub(crate) async fn send(store: &PgStore, run: RunKey, message: Message) -> StoreResult<SendOutcome> {
    let (reply, answer) = oneshot::channel();
    let reply = Reply::new(move |outcome| drop(reply.send(outcome)));
    store.send(SendMessage { run, message }, reply);
    answer.await.unwrap()
}

pub(crate) fn signal(name: &str) -> Message {
    let body = MessageBody::Signal { name: name.to_owned(), input: payload("null"), identity: String::new() };
    Message { id: MessageId(Uuid::now_v7()), body }
}

pub(crate) fn terminate() -> Message {
    let body = MessageBody::Terminate { reason: "enough".to_owned(), identity: "test".to_owned() };
    Message { id: MessageId(Uuid::now_v7()), body }
}

pub(crate) fn registration() -> WorkerRegistration {
    WorkerRegistration {
        worker: WorkerId(Uuid::now_v7()),
        identity: "test@1".to_owned(),
        build_id: None,
        namespace: Namespace::default_namespace(),
        queues: vec![QUEUE.into()],
        workflow_types: vec!["w".into()],
        activity_types: vec!["a".to_owned()],
        lease: LEASE,
        slots: 10,
    }
}

pub(crate) async fn register(store: &PgStore) -> WorkerId {
    let registration = registration();
    store.register(&registration).await.unwrap();
    registration.worker
}

pub(crate) fn interest() -> BeatInterest {
    BeatInterest {
        lease: LEASE,
        namespace: Namespace::default_namespace(),
        queues: vec![QUEUE.into()],
        busy: 0,
        owned: 0,
        takes_starts: None,
    }
}

pub(crate) fn claim_of(limit: usize) -> RunClaim {
    RunClaim {
        namespace: Namespace::default_namespace(),
        queues: vec![TaskQueue::new(QUEUE)],
        workflow_types: vec!["w".into()],
        limit,
    }
}

/// A run as its owner has it.
pub(crate) struct Owned {
    pub(crate) run: Run,
    pub(crate) epoch: i32,
    pub(crate) worker: WorkerId,
}

impl Owned {
    pub(crate) async fn claim(store: &PgStore, worker: WorkerId) -> Self {
        let mut claimed = store.claim_runs(worker, &claim_of(1)).await.unwrap();
        Self::of(worker, &claimed.runs.remove(0))
    }

    pub(crate) fn of(worker: WorkerId, loaded: &LoadedRun) -> Self {
        let mut run = Run::from_history(&loaded.events).unwrap();
        for (row, _) in &loaded.activities {
            run.restore_activity(row);
        }
        Self { run, epoch: loaded.owner_epoch, worker }
    }

    /// Runs the workflow task over what is new, with these commands.
    pub(crate) async fn step(
        &mut self,
        store: &PgStore,
        messages: Vec<Message>,
        commands: Vec<Command>,
    ) -> Box<Transition> {
        let at = now(store).await;
        let mut turn = Turn::begin(&mut self.run, at);
        for message in messages {
            turn.message(message);
        }
        if turn.start_task("test@1", None) {
            turn.complete_task(commands, Vec::new()).unwrap();
        }
        turn.finish()
    }

    pub(crate) async fn write(&self, store: &PgStore, transition: impl Into<Box<Transition>>) -> WriteOutcome {
        write(store, self.worker, self.epoch, transition.into()).await
    }

    /// Makes a transition of whatever a step does.
    pub(crate) async fn turn(&mut self, store: &PgStore, act: impl FnOnce(&mut Turn<'_>)) -> Box<Transition> {
        let at = now(store).await;
        let mut turn = Turn::begin(&mut self.run, at);
        act(&mut turn);
        turn.finish()
    }

    /// Runs the workflow task with a command that asks for an activity, and offers the activity to every worker.
    pub(crate) async fn offer(&mut self, store: &PgStore, activity_id: u64, options: ActivityOptions) -> WriteOutcome {
        let transition = self
            .turn(store, |turn| {
                turn.start_task("test@1", None);
                turn.complete_task(vec![schedule(activity_id, options)], Vec::new()).unwrap();
                turn.offer_activity(activity_id, false);
            })
            .await;
        self.write(store, transition).await
    }

    /// Steps and writes.
    pub(crate) async fn go(&mut self, store: &PgStore, messages: Vec<Message>, commands: Vec<Command>) -> WriteOutcome {
        let transition = self.step(store, messages, commands).await;
        self.write(store, transition).await
    }

    pub(crate) fn key(&self) -> RunKey {
        self.run.key
    }
}

/// Holds what a first item needs, so that all later items of its lane gather behind it.
pub(crate) async fn blocked(database: &Database, by: &str) -> PgConnection {
    let mut blocker = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("BEGIN; {by}"))).execute(&mut blocker).await.unwrap();
    blocker
}

pub(crate) async fn until_somebody_waits(database: &Database) {
    until_there_is(database, "pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()").await;
}

/// Waits until a row is there.
pub(crate) async fn until_there_is(database: &Database, from: &str) {
    while database.count(from).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Holds a workflow id, so that whoever starts a run with it waits.
pub(crate) async fn held_id(database: &Database, workflow_id: &str) -> PgConnection {
    let taken = format!(
        "INSERT INTO dacapo.runs_open (shard, run_id, namespace, workflow_id, workflow_type, task_queue, priority, owner_epoch,
            next_event_id, started_at) VALUES (0, gen_random_uuid(), 'default', '{workflow_id}', 'w', 'q', 3, 0, 3, now())"
    );
    blocked(database, &taken).await
}

/// Lets starts gather behind a first one of their lane that has to wait, so that they are one flush.
pub(crate) async fn behind_a_held_start<S: Future>(database: &Database, starts: Vec<S>) -> Vec<S::Output> {
    let mut blocker = held_id(database, "first").await;
    let held = start(&database.store, request("first"));
    let rest = async {
        until_somebody_waits(database).await;
        let release = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            sqlx::raw_sql("ROLLBACK").execute(&mut blocker).await.unwrap();
        };
        tokio::join!(futures_util::future::join_all(starts), release).0
    };
    tokio::join!(held, rest).1
}

/// Waits for a hint.
pub(crate) async fn hear(receiver: &mut HintReceiver, wanted: impl Fn(&Hint) -> bool) {
    let heard = async {
        loop {
            let hint = receiver.next().await;
            if wanted(&hint) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), heard).await.unwrap();
}

pub(crate) fn complete() -> Command {
    Command::CompleteWorkflowExecution { result: payload("\"done\"") }
}

pub(crate) fn schedule(activity_id: u64, options: ActivityOptions) -> Command {
    let options = ActivityOptions { start_to_close_ms: options.start_to_close_ms.or(Some(60_000)), ..options };
    Command::ScheduleActivityTask {
        activity_id,
        activity_type: "a".into(),
        input: payload("1"),
        options: Box::new(options),
    }
}

pub(crate) fn start_child(child_id: u64, workflow_id: &str) -> Command {
    Command::StartChildWorkflowExecution {
        child_id,
        workflow_id: workflow_id.into(),
        workflow_type: "w".into(),
        input: payload("1"),
        options: Box::default(),
    }
}

/// Starts a run that the worker owns and that waits for its first signal.
pub(crate) async fn waiting_run(store: &PgStore, worker: WorkerId, workflow_id: &str) -> Owned {
    let request = request(workflow_id);
    let key = request.key();
    assert_eq!(start_as(store, request, Some(worker)).await.unwrap(), StartOutcome::Started);
    let mut owned = Owned::of(worker, &store.load(&[key]).await.unwrap()[0]);
    assert!(matches!(owned.go(store, vec![], vec![]).await, WriteOutcome::Applied));
    owned
}

/// Lets the lease of a worker lapse.
pub(crate) async fn lapse(database: &Database, worker: WorkerId) {
    let sql = format!("UPDATE dacapo.workers SET lease_until = now() - interval '1 s' WHERE worker = '{worker}'");
    assert_eq!(database.sql(&sql).await, 1);
}

/// Takes over all that a dead worker has, in batches. Gives how much that was.
pub(crate) async fn take_all(store: &PgStore, dead: WorkerId) -> u64 {
    let mut moved = 0;
    loop {
        match store.take_over(dead, 3).await.unwrap() {
            0 => return moved,
            some => moved += some,
        }
    }
}
