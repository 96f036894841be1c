//! The sketch of the authoring API, end to end: worker, client and workflow over the in-memory store, in real time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use dacapo::{
    ActivityContext, ActivityError, Client, Registry, ResultError, Worker, WorkflowContext, WorkflowError, activities,
    data,
    define::{Query, Signal, Workflow},
    select, workflow,
};
use dacapo_core::{IdConflictPolicy, RetryPolicy, RunStatus};
use dacapo_runtime::{ClientError, Engine, MemoryStore, WorkerError, WorkerProcess};
use serde_json::json;

#[data]
#[derive(Clone, Debug, PartialEq)]
struct Order {
    amount: u32,
}

#[data]
#[derive(Clone, Debug, PartialEq)]
struct Receipt {
    paid: u32,
    key: String,
}

#[data]
#[derive(Clone, Debug, PartialEq)]
enum Status {
    AwaitingApproval,
    Charging,
}

/// Charges nobody, and counts how often it was asked to.
struct Payments {
    attempts: Arc<AtomicU32>,
}

#[activities]
impl Payments {
    /// Charges the card once per idempotency key; the first attempt fails.
    #[activity(start_to_close = "5s")]
    async fn charge(&self, ctx: &ActivityContext, order: Order) -> Result<Receipt, ActivityError> {
        if self.attempts.fetch_add(1, Ordering::Relaxed) == 0 {
            ctx.heartbeat(&41)?;
            Err(std::io::Error::other("the bank does not answer"))?;
        }
        assert_eq!(ctx.attempt(), 2);
        Ok(Receipt { paid: order.amount, key: ctx.idempotency_key() })
    }

    /// Runs until it is asked to stop.
    #[activity(start_to_close = "60s", heartbeat = "10s")]
    async fn watch(&self, ctx: &ActivityContext) -> Result<(), ActivityError> {
        ctx.cancelled().await;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        Err(ActivityError::cancelled())
    }
}

const APPROVE: Signal<bool> = Signal::new("approve");
const STATUS: Query<Status> = Query::new("status");

#[workflow]
async fn checkout(ctx: WorkflowContext, order: Order) -> Result<Receipt, WorkflowError> {
    ctx.publish(&STATUS, &Status::AwaitingApproval);
    let approved = select! {
        approved = ctx.receive(&APPROVE) => approved?,
        _ = ctx.sleep(Duration::from_secs(24 * 3600)) => return Err(WorkflowError::failed("Expired", "nobody approved")),
    };
    if !approved {
        return Err(WorkflowError::failed("Refused", "not approved"));
    }
    ctx.publish(&STATUS, &Status::Charging);
    let policy = RetryPolicy::attempts(5).initial_interval(Duration::from_millis(10));
    Ok(ctx.activity(Payments::charge, order).retry(policy).await?)
}

#[workflow]
async fn watches(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let cancellation = dacapo_core::CancellationType::WaitCancellationCompleted;
    Ok(ctx.activity(Payments::watch, ()).cancellation(cancellation).await?)
}

struct Setup {
    client: Client,
    worker: WorkerProcess,
    attempts: Arc<AtomicU32>,
}

async fn setup() -> Setup {
    let engine = Engine::new(Arc::new(MemoryStore::new())).await.unwrap();
    let attempts = Arc::new(AtomicU32::new(0));
    let payments = Payments { attempts: Arc::clone(&attempts) };
    let worker = Worker::new(&engine).task_queue("checkout").workflow(checkout).workflow(watches).activities(payments);
    let client = Client::new(&engine).task_queue("checkout");
    Setup { client, worker: worker.workflow_threads(1).start().unwrap(), attempts }
}

#[tokio::test]
async fn the_sketch_of_the_authoring_api_works() {
    let Setup { client, worker, attempts } = setup().await;
    let handle = client.start(checkout, Order { amount: 42 }).id("order-42").memo(&json!({"note": 1})).await.unwrap();
    assert!(handle.is_new());
    let status = loop {
        match handle.query(&STATUS).await {
            Ok(status) => break status,
            Err(ClientError::NotPublished { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(status, Status::AwaitingApproval);
    let same = client.start(checkout, Order { amount: 1 }).id("order-42").await.unwrap_err();
    assert!(matches!(same, ClientError::AlreadyOpen { .. }), "{same}");
    let open =
        client.start(checkout, Order { amount: 1 }).id("order-42").conflict_policy(IdConflictPolicy::UseExisting);
    let open = open.await.unwrap();
    assert_eq!((open.is_new(), open.run_id()), (false, handle.run_id()));

    handle.signal(&APPROVE, true).await.unwrap();
    let receipt: Receipt = handle.result().await.unwrap();
    assert_eq!(receipt, Receipt { paid: 42, key: format!("order-42/{}/2", handle.run_id().unwrap()) });
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
    assert_eq!(handle.query(&STATUS).await.unwrap(), Status::Charging, "also after the run closed");
    assert!(matches!(handle.signal(&APPROVE, true).await, Err(ClientError::NotOpen { .. })));

    let again = client.handle(checkout, "order-42");
    assert_eq!(again.result().await.unwrap(), receipt);
    let names: Vec<_> = again.history().await.unwrap().iter().map(|event| event.event.name()).collect();
    assert_eq!(names.last(), Some(&"WorkflowExecutionCompleted"), "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "WorkflowTaskCompleted").count(), 3, "{names:?}");
    assert_eq!(again.describe().await.unwrap().run.info.status, RunStatus::Completed);
    worker.stop();
    worker.stopped().await.unwrap();
}

#[tokio::test]
async fn every_other_end_is_an_error_that_says_which() {
    let Setup { client, worker, attempts } = setup().await;
    let refused = client.start(checkout, Order { amount: 1 }).signal(&APPROVE, false).await.unwrap();
    let ResultError::Failed { failure, .. } = refused.result().await.unwrap_err() else { panic!() };
    assert_eq!((failure.error_type.as_str(), failure.message.as_str()), ("Refused", "not approved"));

    let watching = client.start(watches, ()).id("watching").await.unwrap();
    watching.cancel("enough").await.unwrap();
    assert!(matches!(watching.result().await, Err(ResultError::Cancelled { .. })));
    // Whether the attempt had begun when the request came is a race; if so, it heard of it.
    assert!(attempts.load(Ordering::Relaxed) <= 1);

    let ended = client.start(checkout, Order { amount: 1 }).await.unwrap();
    ended.terminate("a test").await.unwrap();
    let error = ended.result().await.unwrap_err();
    assert!(matches!(&error, ResultError::Terminated { reason, .. } if reason.contains("a test")), "{error}");

    let late = client.start(checkout, Order { amount: 1 }).run_timeout(Duration::from_millis(20)).await.unwrap();
    assert!(matches!(late.result().await, Err(ResultError::TimedOut { .. })));

    const OTHER: Workflow<Order, String> = Workflow::new("checkout");
    let wrong = client.start(OTHER, Order { amount: 7 }).signal(&APPROVE, true).await.unwrap();
    let error = wrong.result().await.unwrap_err();
    assert!(error.to_string().contains("result of workflow `checkout`"), "{error}");
    worker.stop();
    worker.stopped().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let engine = Engine::new(Arc::new(MemoryStore::new())).await.unwrap();
    let problem = |worker: Worker| match worker.start() {
        Err(WorkerError::Invalid { problem }) => problem,
        other => panic!("{other:?}"),
    };
    let twice = Worker::new(&engine).workflow(checkout).workflow(checkout);
    assert!(problem(twice).contains("workflow `checkout` is registered twice"));
    let host = || Payments { attempts: Arc::default() };
    let twice = Worker::new(&engine).registry(Registry::new().activities(host()).activities(host()));
    assert!(problem(twice).contains("activity `charge` is registered twice"));
    assert!(problem(Worker::new(&engine)).contains("nothing is registered"));

    let client = Client::new(&engine);
    let too_large = client.start(Workflow::<String, ()>::new("big"), "x".repeat(3 << 20)).await.unwrap_err();
    assert!(too_large.to_string().contains("input of workflow `big` has"), "{too_large}");
    let bad_memo = client.start(checkout, Order { amount: 1 }).memo("text").await.unwrap_err();
    assert!(bad_memo.to_string().contains("memo must be a JSON object"), "{bad_memo}");
}

#[tokio::test]
async fn a_worker_runs_until_its_shutdown_completes() {
    let engine = Engine::new(Arc::new(MemoryStore::new())).await.unwrap();
    let client = Client::new(&engine);
    let (shutdown, told) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(Worker::new(&engine).workflow(checkout).run(told));
    let handle = client.start(checkout, Order { amount: 1 }).signal(&APPROVE, false).await.unwrap();
    assert!(handle.result().await.is_err(), "it was run");
    drop(shutdown);
    worker.await.unwrap().unwrap();
}
