//! Workflows on a whole engine in memory: owned from the start, claimed, retried, timed, cancelled, handed on.

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
    Activities, ActivityContext, ActivityError, WorkflowContext, WorkflowError, WorkflowExecutors, activities,
    define::{ActivityTable, Query, Signal, WorkflowTable},
    select, workflow,
};
use dacapo_core::{Failure, Payload, RetryPolicy, RunStatus, StartWorkflow};
use dacapo_runtime::{Client, Engine, WorkerOptions, WorkerProcess, WorkflowExecution, memory::MemoryStore};

const APPROVE: Signal<String> = Signal::new("approve");
const STAGE: Query<String> = Query::new("stage");

#[derive(Default)]
struct Shop {
    flaky: AtomicU32,
    begun: AtomicU32,
    stopped: AtomicU32,
}

#[activities]
impl Shop {
    #[activity(start_to_close = "5s")]
    async fn double(&self, _ctx: &ActivityContext, n: u32) -> Result<u32, ActivityError> {
        Ok(2 * n)
    }

    #[activity(start_to_close = "5s")]
    async fn third_time_lucky(&self, ctx: &ActivityContext, _n: u32) -> Result<u32, ActivityError> {
        self.flaky.fetch_add(1, Ordering::SeqCst);
        if ctx.attempt() < 3 { Err("not yet".into()) } else { Ok(ctx.attempt()) }
    }

    #[activity(start_to_close = "100ms", max_attempts = 2, initial_interval = "10ms")]
    async fn too_slow(&self, _ctx: &ActivityContext) -> Result<(), ActivityError> {
        std::future::pending().await
    }

    #[activity(start_to_close = "60s", heartbeat = "500ms")]
    async fn until_told(&self, ctx: &ActivityContext) -> Result<(), ActivityError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        ctx.cancelled().await;
        self.stopped.fetch_add(1, Ordering::SeqCst);
        Err(ActivityError::cancelled())
    }
}

#[workflow]
async fn chain(ctx: WorkflowContext, n: u32) -> Result<u32, WorkflowError> {
    let mut n = n;
    for _ in 0..5 {
        n = ctx.activity(Shop::double, n).await?;
    }
    Ok(n)
}

#[workflow]
async fn at_once(_ctx: WorkflowContext, n: u32) -> Result<u32, WorkflowError> {
    Ok(n + 1)
}

#[workflow]
async fn flaky(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    let policy = RetryPolicy::attempts(5).initial_interval(Duration::from_millis(10));
    Ok(ctx.activity(Shop::third_time_lucky, 0).retry(policy).await?)
}

#[workflow]
async fn impatient(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    match ctx.activity(Shop::too_slow, ()).await {
        Ok(()) => Ok("done".to_owned()),
        Err(failure) => Ok(format!("{:?}", failure.timeout())),
    }
}

#[workflow]
async fn approval(ctx: WorkflowContext, wait_ms: u64) -> Result<String, WorkflowError> {
    ctx.publish(&STAGE, &"waiting".to_owned());
    let decided = select! {
        by = ctx.receive(&APPROVE) => by?,
        _ = ctx.sleep(Duration::from_millis(wait_ms)) => "nobody".to_owned(),
    };
    ctx.publish(&STAGE, &"decided".to_owned());
    Ok(decided)
}

#[workflow]
async fn patient(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.activity(Shop::until_told, ()).await?;
    Ok(())
}

struct Fleet {
    engine: Engine,
    client: Client,
    workers: Vec<WorkerProcess>,
    shop: Arc<Shop>,
}

impl Fleet {
    async fn new(workers: usize) -> Self {
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::new(store).await.unwrap();
        let mut fleet = Self { client: engine.client(), engine, workers: Vec::new(), shop: Arc::new(Shop::default()) };
        for _ in 0..workers {
            fleet.join().await;
        }
        fleet
    }

    async fn join(&mut self) {
        self.join_with(|_| {}).await;
    }

    async fn join_with(&mut self, change: impl FnOnce(&mut WorkerOptions)) {
        let mut workflows = WorkflowTable::default();
        workflows.add(chain).unwrap();
        workflows.add(at_once).unwrap();
        workflows.add(flaky).unwrap();
        workflows.add(impatient).unwrap();
        workflows.add(approval).unwrap();
        workflows.add(patient).unwrap();
        let mut table = ActivityTable::default();
        table.add_host(Arc::clone(&self.shop)).unwrap();
        let mut options =
            WorkerOptions { queues: vec!["shop".into()], workflow_threads: 2, ..WorkerOptions::default() };
        change(&mut options);
        let process = WorkerProcess::start(
            &self.engine,
            options,
            Arc::new(WorkflowExecutors::new(workflows)),
            Arc::new(Activities::new(table)),
        )
        .unwrap();
        let mut state = process.state();
        state.wait_for(|state| *state == dacapo_runtime::WorkerState::Serving).await.unwrap();
        self.workers.push(process);
    }

    async fn start(&self, id: &str, workflow_type: &str, input: &impl serde::Serialize) {
        let input = Payload::encode("input", input).unwrap();
        let request = StartWorkflow::new(Client::new_run_id(), id.into(), workflow_type.into(), "shop".into(), input);
        self.client.start(request).await.unwrap();
    }

    async fn result(&self, id: &str) -> (RunStatus, Option<Payload>, Option<Failure>) {
        let run = WorkflowExecution::newest(id);
        let wait = self.client.result(&run);
        let result = tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the run ends").unwrap();
        (result.status, result.result, result.failure)
    }

    async fn value(&self, id: &str) -> String {
        let (status, value, failure) = self.result(id).await;
        assert_eq!(status, RunStatus::Completed, "{failure:?}");
        value.unwrap().as_json().to_owned()
    }

    async fn stop(self) {
        for worker in self.workers {
            worker.stop();
            worker.stopped().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn activities_one_after_the_other_give_their_values() {
    let fleet = Fleet::new(1).await;
    fleet.start("a", "chain", &1).await;
    fleet.start("b", "at_once", &1).await;
    assert_eq!(fleet.value("a").await, "32");
    assert_eq!(fleet.value("b").await, "2");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_attempts_are_repeated_and_timeouts_end() {
    let fleet = Fleet::new(1).await;
    fleet.start("a", "flaky", &()).await;
    fleet.start("b", "impatient", &()).await;
    assert_eq!(fleet.value("a").await, "3");
    assert_eq!(fleet.shop.flaky.load(Ordering::SeqCst), 3);
    assert_eq!(fleet.value("b").await, "\"Some(StartToClose)\"");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_or_a_timer_decides() {
    let fleet = Fleet::new(1).await;
    fleet.start("signalled", "approval", &60_000).await;
    fleet.start("timed", "approval", &50).await;
    let signalled = WorkflowExecution::newest("signalled");
    fleet.client.signal(&signalled, "approve", Payload::encode("by", "ada").unwrap()).await.unwrap();
    assert_eq!(fleet.value("signalled").await, "\"ada\"");
    assert_eq!(fleet.value("timed").await, "\"nobody\"");
    assert_eq!(fleet.client.query(&signalled, "stage").await.unwrap().as_json(), "\"decided\"");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_stops_its_activity() {
    let fleet = Fleet::new(1).await;
    fleet.start("a", "patient", &()).await;
    fleet.client.cancel(&WorkflowExecution::newest("a"), "enough").await.unwrap();
    assert_eq!(fleet.result("a").await.0, RunStatus::Canceled);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_hands_its_runs_to_the_next() {
    let mut fleet = Fleet::new(1).await;
    for index in 0..50 {
        fleet.start(&format!("run-{index}"), "approval", &60_000).await;
    }
    fleet.join().await;
    let first = fleet.workers.remove(0);
    first.stop();
    first.stopped().await.unwrap();
    for index in 0..50 {
        let run = WorkflowExecution::newest(format!("run-{index}"));
        fleet.client.signal(&run, "approve", Payload::encode("by", "grace").unwrap()).await.unwrap();
        assert_eq!(fleet.value(&format!("run-{index}")).await, "\"grace\"");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activity_that_stops_with_its_worker_is_tried_again_elsewhere() {
    let mut fleet = Fleet::new(1).await;
    fleet.start("a", "patient", &()).await;
    let run = WorkflowExecution::newest("a");
    while fleet.shop.begun.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    fleet.join().await;
    let first = fleet.workers.remove(0);
    first.stop();
    first.stopped().await.unwrap();
    while fleet.shop.begun.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    fleet.client.cancel(&run, "enough").await.unwrap();
    assert_eq!(fleet.result("a").await.0, RunStatus::Canceled);
    let told_twice = async {
        while fleet.shop.stopped.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(30), told_twice).await;
    told.expect("it is told to stop by its worker, then by its run");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_runs_share_two_workers() {
    let fleet = Fleet::new(2).await;
    for index in 0..500 {
        fleet.start(&format!("run-{index}"), "chain", &index).await;
    }
    for index in 0..500 {
        assert_eq!(fleet.value(&format!("run-{index}")).await, (32 * index).to_string());
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_room_for_few_runs_ends_many() {
    let mut fleet = Fleet::new(0).await;
    for index in 0..2_000 {
        fleet.start(&format!("run-{index}"), "chain", &index).await;
    }
    fleet.join_with(|options| options.cached_runs = 16).await;
    for index in 0..2_000 {
        assert_eq!(fleet.value(&format!("run-{index}")).await, (32 * index).to_string());
    }
    fleet.stop().await;
}
