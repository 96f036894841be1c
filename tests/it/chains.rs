//! Runs of several processes that signal, start and follow each other, while the processes are killed: nothing is lost,
//! nothing doubled, no chain broken. The workflows are scripts over the engine's own traits, without an SDK.

use std::{
    collections::HashMap,
    io::Read,
    process::{Command as Process, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use dacapo_core::{
    ActivityResult, ActivityType, ChildWorkflowOptions, Command, Event, EventKind, Failure, Payload, RunKey, RunStatus,
    StartWorkflow, WorkflowType,
    command::ContinueAsNew,
    event::WorkflowExecutionStarted,
    outbox::{ExternalTarget, TargetRun},
    transition::ActivityTask,
};
use dacapo_runtime::{
    Activated, Activation, ActivityControl, ActivityFuture, ActivityRunner, Client, ClientError, Engine, Executor,
    ExecutorFactory, LocalActivities, QUERY_TIMEOUT, Queried, QueryActivation, WorkerOptions, WorkerProcess,
    WorkflowExecution,
};
use dacapo_store::{PgStore, PgStoreOptions};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use crate::database::{self, Killed, TestDatabase};

/// The variable with the database of a worker process.
const DATABASE: &str = "DACAPO_TEST_CHAINS";

const QUEUE: &str = "chains";

/// How long something may take that takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a run knows of itself, folded from its events.
#[derive(Debug, Default)]
struct Progress {
    /// Commands for other runs.
    issued: u64,
    received: u64,
    answered: u64,
    refused: u64,
    /// Children that completed.
    ended: u64,
}

impl Progress {
    fn fold(&mut self, event: &Event) {
        match event.event {
            EventKind::SignalExternalWorkflowExecutionInitiated(_)
            | EventKind::StartChildWorkflowExecutionInitiated(_) => self.issued += 1,
            EventKind::WorkflowExecutionSignaled(_) => self.received += 1,
            EventKind::ExternalWorkflowExecutionSignaled(_) => self.answered += 1,
            EventKind::SignalExternalWorkflowExecutionFailed(_) => self.refused += 1,
            EventKind::ChildWorkflowExecutionCompleted(_) => self.ended += 1,
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
struct Scripts {
    runs: HashMap<RunKey, Progress>,
}

fn complete(value: u64) -> Command {
    Command::CompleteWorkflowExecution { result: Payload::encode("result", &value).unwrap() }
}

/// Signals a partner so many times, and ends when it has been signalled as often.
fn pair(started: &WorkflowExecutionStarted, progress: &Progress) -> Vec<Command> {
    let (other, rounds): (String, u64) = started.input.decode("input").unwrap();
    if progress.answered == rounds && progress.received >= rounds {
        return vec![complete(progress.received)];
    }
    // One after the other; one that found nobody is sent again, since the partner was not started yet.
    let settled = progress.answered + progress.refused;
    let missing = progress.issued..(settled + 1).min(rounds + progress.refused);
    missing.map(|number| signal(number + 1, &other)).collect()
}

fn signal(signal_id: u64, to: &str) -> Command {
    let namespace = dacapo_core::Namespace::default_namespace();
    Command::SignalExternalWorkflowExecution {
        signal_id,
        target: ExternalTarget { namespace, workflow_id: to.into(), run: TargetRun::Open },
        signal_name: "hello".to_owned(),
        input: Payload::null(),
    }
}

/// Starts children, and ends when they have.
fn parent(started: &WorkflowExecutionStarted, progress: &Progress) -> Vec<Command> {
    let children: u64 = started.input.decode("input").unwrap();
    if progress.issued > 0 {
        return (progress.ended == children).then(|| complete(children)).into_iter().collect();
    }
    let child = |number| Command::StartChildWorkflowExecution {
        child_id: number,
        workflow_id: format!("{}-{number}", started.workflow_id).into(),
        workflow_type: "child".into(),
        input: Payload::encode("input", &number).unwrap(),
        options: Box::new(ChildWorkflowOptions::default()),
    };
    (1..=children).map(child).collect()
}

/// Continues as new until nothing is left.
fn chain(started: &WorkflowExecutionStarted) -> Vec<Command> {
    let (left, done): (u64, u64) = started.input.decode("input").unwrap();
    if left == 0 {
        return vec![complete(done)];
    }
    let input = Payload::encode("input", &(left - 1, done + 1)).unwrap();
    vec![Command::ContinueAsNewWorkflowExecution { successor: Box::new(ContinueAsNew::new(input)) }]
}

impl Executor for Scripts {
    fn activate(&mut self, activation: Activation<'_>) -> Activated {
        if activation.from_start {
            self.runs.insert(activation.run, Progress::default());
        }
        let Some(progress) = self.runs.get_mut(&activation.run) else { return Activated::NeedsHistory };
        activation.events.iter().for_each(|event| progress.fold(event));
        let started = activation.started;
        let commands = match started.workflow_type.as_str() {
            "pair" => pair(started, progress),
            "parent" => parent(started, progress),
            "chain" => chain(started),
            _ => vec![complete(1)],
        };
        progress.issued += commands.iter().filter(|command| !command.closes()).count() as u64;
        Activated::Completed { commands, published: Vec::new(), local: LocalActivities::default() }
    }

    fn query(&mut self, query: QueryActivation<'_>) -> Queried {
        let mut replayed = Progress::default();
        query.events.iter().for_each(|event| replayed.fold(event));
        let remembered = self.runs.get(&query.run);
        let Some(progress) = remembered.or((!query.events.is_empty()).then_some(&replayed)) else {
            return Queried::NeedsHistory;
        };
        match query.name {
            "received" => Queried::Answered(Payload::encode("answer", &progress.received).unwrap()),
            _ => Queried::Unknown { known: vec!["received".to_owned()] },
        }
    }

    fn evict(&mut self, run: RunKey) {
        self.runs.remove(&run);
    }
}

struct Factory;

impl ExecutorFactory for Factory {
    fn make(&self) -> Box<dyn Executor> {
        Box::new(Scripts::default())
    }

    fn workflow_types(&self) -> Vec<WorkflowType> {
        ["pair", "parent", "child", "chain"].map(Into::into).to_vec()
    }
}

struct NoActivities;

impl ActivityRunner for NoActivities {
    fn activity_types(&self) -> Vec<ActivityType> {
        Vec::new()
    }

    fn run(&self, _: Arc<ActivityTask>, _: ActivityControl) -> ActivityFuture {
        Box::pin(async { ActivityResult::Failed(Failure::application("Unknown", "there are no activities")) })
    }
}

/// Not a test by itself: without a database it has nothing to do.
#[test]
fn scripted_worker() {
    let Ok(url) = std::env::var(DATABASE) else { return };
    std::thread::spawn(|| {
        // The other end is held by the test; when it is gone there is nobody to work for.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(PgStore::connect(PgStoreOptions::new(&url)).await.unwrap());
        let engine = Engine::new(store as _).await.unwrap();
        let worker = WorkerProcess::start(&engine, options(), Arc::new(Factory), Arc::new(NoActivities)).unwrap();
        worker.stopped().await.unwrap();
    });
}

fn options() -> WorkerOptions {
    WorkerOptions {
        queues: vec![QUEUE.into()],
        lease: Duration::from_secs(2),
        lease_renewal: Duration::from_millis(300),
        ..WorkerOptions::default()
    }
}

fn spawn(url: &str) -> Killed {
    let module = module_path!().split_once("::").unwrap().1;
    let child = Process::new(std::env::current_exe().unwrap())
        .args([&format!("{module}::scripted_worker"), "--exact", "--nocapture"])
        .env(DATABASE, url)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Killed(child)
}

fn request(id: String, workflow_type: &str, input: Payload) -> StartWorkflow {
    StartWorkflow::new(Client::new_run_id(), id.into(), workflow_type.into(), QUEUE.into(), input)
}

/// Waits until some run has an owner.
async fn owned(database: &TestDatabase) {
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let query = "SELECT FROM dacapo.runs_open WHERE owner IS NOT NULL LIMIT 1";
    while sqlx::query(query).fetch_optional(&mut connection).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Starts runs, kills all three worker processes as soon as one owns a run, and then one every so often until the runs have
/// ended; gives their results.
async fn outlive(name: &str, requests: Vec<StartWorkflow>, between_kills: Duration) -> (Vec<u64>, PgStore) {
    let database = database::fresh(name).await;
    let engine = Engine::new(Arc::new(database.store().await) as _).await.unwrap();
    let client = engine.client();
    let first_workers: Vec<Killed> = (0..3).map(|_| spawn(&database.url)).collect();
    let mut results: JoinSet<(usize, u64)> = JoinSet::new();
    for (place, request) in requests.into_iter().enumerate() {
        let client = client.clone();
        results.spawn(async move {
            let run = client.start(request).await.unwrap().run;
            let result = client.result_of(run).await.unwrap();
            assert_eq!(result.status, RunStatus::Completed);
            (place, result.result.unwrap().decode("result").unwrap())
        });
    }
    let began = Instant::now();
    tokio::time::timeout(PATIENCE, owned(&database)).await.expect("a worker takes a run");
    drop(first_workers);
    let mut workers: Vec<Killed> = (0..3).map(|_| spawn(&database.url)).collect();
    let mut values = vec![0; results.len()];
    let (mut kills, mut ended) = (3, 0);
    let mut kill = tokio::time::interval(between_kills);
    kill.tick().await;
    while ended < values.len() {
        tokio::select! {
            result = results.join_next() => {
                let (place, value) = result.unwrap().unwrap();
                values[place] = value;
                ended += 1;
            }
            _ = kill.tick() => {
                drop(workers.remove(0));
                workers.push(spawn(&database.url));
                kills += 1;
            }
        }
        assert!(began.elapsed() < PATIENCE, "{ended} of {} runs have ended after {kills} kills", values.len());
    }
    eprintln!("{name}: {ended} runs ended beside {kills} kills in {:.1} s", began.elapsed().as_secs_f64());
    drop(workers);
    (values, database.store().await)
}

async fn check(store: PgStore) {
    let violations = store.verify().await.unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
    dacapo_core::Store::close(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pairs_that_signal_each_other_and_close_lose_nothing() {
    const PAIRS: u64 = 1_000;
    const ROUNDS: u64 = 4;
    let pair = |own: String, other: String| request(own, "pair", Payload::encode("input", &(other, ROUNDS)).unwrap());
    let (left, right) = (|number| format!("left-{number}"), |number| format!("right-{number}"));
    let requests =
        (0..PAIRS).flat_map(|number| [pair(left(number), right(number)), pair(right(number), left(number))]).collect();
    let (received, store) = outlive("pairs", requests, Duration::from_millis(600)).await;
    assert!(received.iter().all(|signals| *signals == ROUNDS), "a signal was lost or doubled");
    check(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_are_neither_lost_nor_doubled_while_processes_die() {
    const CHILDREN: u64 = 300;
    let requests = (0..5)
        .map(|number| request(format!("parent-{number}"), "parent", Payload::encode("input", &CHILDREN).unwrap()));
    let (children, store) = outlive("children", requests.collect(), Duration::from_millis(300)).await;
    assert_eq!(children, [CHILDREN; 5]);
    let runs = dacapo_core::Store::count(&store, &dacapo_core::store::RunFilter::default()).await.unwrap();
    assert_eq!(runs, 5 * (CHILDREN + 1), "every child ran once");
    check(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_is_unbroken_while_processes_die() {
    const LENGTH: u64 = 300;
    let requests = (0..4)
        .map(|number| request(format!("chain-{number}"), "chain", Payload::encode("input", &(LENGTH, 0_u64)).unwrap()));
    let (lengths, store) = outlive("chain", requests.collect(), Duration::from_millis(500)).await;
    assert_eq!(lengths, [LENGTH; 4]);
    let runs = dacapo_core::Store::count(&store, &dacapo_core::store::RunFilter::default()).await.unwrap();
    assert_eq!(runs, 4 * (LENGTH + 1), "no run of a chain was started twice");
    check(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_answered_by_whatever_process_owns_the_run() {
    let database = database::fresh("questions").await;
    let engine = Engine::new(Arc::new(database.store().await) as _).await.unwrap();
    let client = engine.client();
    // Without children to wait for it waits for ever.
    let waiting = request("waiting".to_owned(), "parent", Payload::encode("input", &0_u64).unwrap());
    client.start(waiting).await.unwrap();
    let run = WorkflowExecution::newest("waiting");
    let received = async || {
        let answer = client.ask(&run, "received", Payload::null(), QUERY_TIMEOUT).await.unwrap();
        answer.decode::<u64>("answer").unwrap()
    };
    let nobody = client.ask(&run, "received", Payload::null(), Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(nobody, ClientError::QueryTimedOut { .. }), "{nobody}");
    let worker = spawn(&database.url);
    assert_eq!(received().await, 0);
    client.signal(&run, "hello", Payload::null()).await.unwrap();
    while received().await == 0 {}
    drop(worker);
    let _worker = spawn(&database.url);
    assert_eq!(received().await, 1, "another process answers from the history");
    let unknown = client.ask(&run, "sent", Payload::null(), QUERY_TIMEOUT).await.unwrap_err();
    assert!(matches!(unknown, ClientError::QueryUnknown { ref known, .. } if *known == ["received"]), "{unknown}");
    client.pause(&run, "look").await.unwrap();
    client.signal(&run, "hello", Payload::null()).await.unwrap();
    client.unpause(&run, "seen").await.unwrap();
    while received().await < 2 {}
    client.terminate(&run, "enough").await.unwrap();
    client.result(&run).await.unwrap();
    let closed = client.ask(&run, "received", Payload::null(), QUERY_TIMEOUT).await.unwrap_err();
    assert!(matches!(closed, ClientError::NotOpen { .. }), "{closed}");
}
