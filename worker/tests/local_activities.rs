//! Local activities on a whole engine: in virtual time, and handed on between workers.

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
    ActivityContext, ActivityError, Client, Replayer, ResultError, Worker, WorkflowContext, WorkflowError,
    WorkflowHandle, activities,
    define::{Activity, HasTimeout, Signal},
    history_to_json, join, select,
    testing::TestEnv,
    workflow,
};
use dacapo_core::{
    Event, EventKind, Marker, Namespace, RetryPolicy, RunKey, RunStatus, Shard, marker::LocalActivityOutcome,
};
use dacapo_runtime::{Engine, WorkerProcess, WorkerState, WorkflowExecution, describe::Reason, memory::MemoryStore};

const PRICE: Activity<u64, u64, HasTimeout> = Activity::new("price").start_to_close(Duration::from_secs(10));
const GO: Signal<u64> = Signal::new("go");
const SECOND: Duration = Duration::from_secs(1);

#[workflow]
async fn one_after_the_other(ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    let mut sum = 0;
    for number in 0..n {
        sum += ctx.local_activity(PRICE, number).await?;
    }
    Ok(sum)
}

fn key<R>(run: &WorkflowHandle<R>) -> RunKey {
    let shard = Shard::of(&Namespace::default_namespace(), run.workflow_id());
    RunKey { shard, run_id: run.run_id().unwrap() }
}

fn name(event: &Event) -> &'static str {
    event.event.name()
}

fn locals(history: &[Event]) -> Vec<(u32, bool)> {
    let marker = |event: &Event| match &event.event {
        EventKind::MarkerRecorded(recorded) => match &recorded.marker {
            Marker::LocalActivity { attempts, outcome, .. } => {
                Some((*attempts, matches!(outcome, LocalActivityOutcome::Completed(_))))
            }
            _ => None,
        },
        _ => None,
    };
    history.iter().filter_map(marker).collect()
}

#[tokio::test]
async fn a_sequence_leaves_one_marker_each_and_nothing_of_activity_tasks() {
    let env = TestEnv::in_memory()
        .workflow(one_after_the_other)
        .fake_with(PRICE, |ctx, n| {
            assert!(ctx.is_local() && ctx.attempt() == 1 && ctx.activity_id() == n + 1);
            ctx.heartbeat(&n).unwrap();
            Ok(2 * n)
        })
        .start()
        .await;
    let began = env.now();
    let run = env.start(one_after_the_other, 20).await.unwrap();
    assert_eq!((run.result().await.unwrap(), env.now()), (380, began));
    assert_eq!(env.calls(PRICE), (0..20).collect::<Vec<u64>>());
    let history = run.history().await.unwrap();
    assert_eq!(locals(&history), [(1, true); 20]);
    assert!(!history.iter().any(|event| name(event).starts_with("ActivityTask")), "{history:?}");
    let transitions = env.engine().store().history(key(&run), 1, 1_000).await.unwrap();
    assert_eq!(transitions.len(), 21, "the start, then one row for each end with what follows it");
    let json = history_to_json(&serde_json::Value::Null, &history);
    let replayed = Replayer::new().workflow(one_after_the_other).every_prefix().replay_json(&json).unwrap();
    assert_eq!(replayed.tasks, 21);
}

#[workflow]
async fn stubborn(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let policy = RetryPolicy::attempts(4).initial_interval(60 * SECOND);
    Ok(ctx.local_activity(PRICE, 1).retry(policy).await?)
}

#[tokio::test]
async fn failed_attempts_are_repeated_by_the_policy_in_virtual_time() {
    let env = TestEnv::in_memory()
        .workflow(stubborn)
        .fake_async(PRICE, |ctx, _| async move {
            match ctx.attempt() {
                1 => Err(ActivityError::new("Unavailable", "the bank is closed")),
                2 => panic!("broken"),
                3 => {
                    ctx.sleep(Duration::MAX).await;
                    unreachable!()
                }
                attempt => Ok(u64::from(attempt)),
            }
        })
        .start()
        .await;
    let began = env.now();
    let run = env.start(stubborn, ()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 4);
    assert_eq!(env.now().duration_since(began).unwrap(), (60 + 120 + 10 + 240) * SECOND);
    assert_eq!(locals(&run.history().await.unwrap()), [(4, true)]);
    assert_eq!((env.calls(PRICE).len(), env.attempts(PRICE)), (1, 4));
}

#[workflow]
async fn tells_failures(ctx: WorkflowContext) -> Result<Vec<String>, WorkflowError> {
    let mut told = Vec::new();
    for (number, policy, in_all) in [
        (1, RetryPolicy::attempts(2), None),
        (2, RetryPolicy::default(), Some(25 * SECOND)),
        (3, RetryPolicy::default(), None),
        (4, RetryPolicy::attempts(1), None),
    ] {
        let call = ctx.local_activity(PRICE, number).retry(policy);
        let call = match in_all {
            Some(in_all) => call.schedule_to_close(in_all),
            None => call,
        };
        let failed = call.await.unwrap_err();
        told.push(format!("{:?} {failed}", failed.timeout()));
    }
    Ok(told)
}

#[tokio::test]
async fn the_last_failure_reaches_the_code() {
    let env = TestEnv::in_memory()
        .workflow(tells_failures)
        .fake_async(PRICE, |ctx, number| async move {
            match number {
                1 => Err(ActivityError::new("Closed", "the bank is closed")),
                2 => {
                    ctx.sleep(Duration::MAX).await;
                    unreachable!()
                }
                3 => Err(ActivityError::new("Wrong", "never again").non_retryable()),
                _ => panic!("broken"),
            }
        })
        .start()
        .await;
    let run = env.start(tells_failures, ()).await.unwrap();
    let told = run.result().await.unwrap();
    assert!(told[0].starts_with("None") && told[0].contains("the bank is closed"), "{told:?}");
    assert!(told[1].starts_with("Some(ScheduleToClose)"), "{told:?}");
    assert!(told[2].contains("never again") && told[3].contains("broken"), "{told:?}");
    let attempts: Vec<u32> = locals(&run.history().await.unwrap()).iter().map(|(attempts, _)| *attempts).collect();
    assert_eq!(attempts, [2, 3, 1, 1], "10 s, 1 s, 10 s, 2 s and the rest of 25 s");
}

#[workflow]
async fn races(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let first = select! {
        price = ctx.local_activity(PRICE, 5) => price?,
        _ = ctx.sleep(3 * SECOND) => 0,
    };
    let (second, third) = join!(ctx.local_activity(PRICE, 1), ctx.local_activity(PRICE, 2));
    Ok(first + second? + third?)
}

#[tokio::test]
async fn one_that_is_dropped_is_told_and_leaves_no_trace() {
    static TOLD: AtomicU32 = AtomicU32::new(0);
    let env = TestEnv::in_memory()
        .workflow(races)
        .fake_async(PRICE, |ctx, n| async move {
            tokio::select! {
                () = ctx.cancelled() => {
                    TOLD.fetch_add(1, Ordering::SeqCst);
                    Err(ActivityError::cancelled())
                }
                () = ctx.sleep(n as u32 * SECOND) => Ok(n),
            }
        })
        .start()
        .await;
    let began = env.now();
    let run = env.start(races, ()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 3);
    assert_eq!(env.now().duration_since(began).unwrap(), (3 + 2) * SECOND, "the two run beside each other");
    assert_eq!((TOLD.load(Ordering::SeqCst), locals(&run.history().await.unwrap()).len()), (1, 2));
}

#[tokio::test]
async fn a_cancelled_run_gives_its_local_activity_up() {
    let env = TestEnv::in_memory()
        .workflow(one_after_the_other)
        .fake_async(PRICE, |ctx, n| async move {
            ctx.sleep(9 * SECOND).await;
            Ok(n)
        })
        .start()
        .await;
    let run = env.start(one_after_the_other, 5).await.unwrap();
    env.at(12 * SECOND).cancel(&run, "enough");
    let began = env.now();
    assert!(matches!(run.result().await, Err(ResultError::Cancelled { .. })));
    assert_eq!(env.now(), began + 12 * SECOND);
    assert_eq!(locals(&run.history().await.unwrap()), [(1, true)]);
}

#[workflow]
async fn paused_meanwhile(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let price = ctx.local_activity(PRICE, 7).await?;
    Ok(price + ctx.local_activity(PRICE, 8).await?)
}

#[tokio::test]
async fn its_end_waits_while_the_run_is_paused() {
    let env = TestEnv::in_memory()
        .workflow(paused_meanwhile)
        .fake_async(PRICE, |ctx, n| async move {
            ctx.sleep(2 * SECOND).await;
            Ok(n)
        })
        .start()
        .await;
    let run = env.start(paused_meanwhile, ()).await.unwrap();
    env.sleep(SECOND).await;
    let execution = WorkflowExecution::newest(run.workflow_id().clone());
    env.client().untyped().pause(&execution, "a look").await.unwrap();
    env.sleep(3_600 * SECOND).await;
    assert_eq!((env.calls(PRICE).len(), locals(&run.history().await.unwrap()).len()), (1, 0));
    env.client().untyped().unpause(&execution, "seen").await.unwrap();
    assert_eq!((run.result().await.unwrap(), env.calls(PRICE).len()), (15, 2));
}

#[tokio::test]
async fn one_without_code_fails_the_task_with_the_way_out() {
    let env = TestEnv::in_memory().workflow(stubborn).start().await;
    let run = env.start(stubborn, ()).await.unwrap();
    let told = run.result().await.unwrap_err().to_string();
    assert!(told.contains("no code for activity `price`") && told.contains("ctx.activity("), "{told}");
}

#[workflow]
async fn asks_too_much(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let calls = (0..2_001).map(|n| ctx.local_activity(PRICE, n));
    for ended in futures_util::future::join_all(calls).await {
        ended?;
    }
    Ok(())
}

#[tokio::test]
async fn more_than_2000_at_once_are_refused() {
    let env = TestEnv::in_memory().workflow(asks_too_much).fake(PRICE, Ok).start().await;
    let run = env.start(asks_too_much, ()).await.unwrap();
    let told = run.result().await.unwrap_err().to_string();
    assert!(told.contains("2001 local activities that have not ended, the limit is 2000"), "{told}");
}

#[derive(Default)]
struct Shop {
    begun: AtomicU32,
    told: AtomicU32,
    /// Lets attempts end.
    open: tokio::sync::Notify,
}

#[activities]
impl Shop {
    #[activity(start_to_close = "60s")]
    async fn quote(&self, ctx: &ActivityContext) -> Result<u32, ActivityError> {
        let attempt = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::select! {
            () = self.open.notified() => Ok(attempt),
            () = ctx.cancelled() => {
                self.told.fetch_add(1, Ordering::SeqCst);
                Err(ActivityError::cancelled())
            }
        }
    }

    #[activity(start_to_close = "60s")]
    async fn finishes_all_the_same(&self, ctx: &ActivityContext) -> Result<u32, ActivityError> {
        let attempt = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        ctx.cancelled().await;
        Ok(attempt)
    }
}

#[workflow]
async fn quotes(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    let quote = ctx.local_activity(Shop::quote, ()).await?;
    ctx.receive(&GO).await?;
    Ok(quote)
}

#[workflow]
async fn finishes(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    let quote = ctx.local_activity(Shop::finishes_all_the_same, ()).await?;
    ctx.receive(&GO).await?;
    Ok(quote)
}

async fn join(engine: &Engine, shop: &Arc<Shop>, cached_runs: usize) -> WorkerProcess {
    let worker = Worker::new(engine).workflow(quotes).workflow(finishes).workflow(plain).activities(Arc::clone(shop));
    let process = worker.cached_runs(cached_runs).workflow_threads(1).start().unwrap();
    process.state().wait_for(|state| *state == WorkerState::Serving).await.unwrap();
    process
}

async fn leave(process: WorkerProcess) {
    process.stop();
    process.stopped().await.unwrap();
}

async fn begun(shop: &Shop, attempts: u32) {
    let reached = async {
        while shop.begun.load(Ordering::SeqCst) < attempts {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reached).await.expect("the attempt begins");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_with_its_worker_is_made_again_by_the_next() {
    let engine = Engine::new(Arc::new(MemoryStore::new())).await.unwrap();
    let shop = Arc::new(Shop::default());
    let first = join(&engine, &shop, 100).await;
    let run = Client::new(&engine).start(quotes, ()).await.unwrap();
    begun(&shop, 1).await;
    let second = join(&engine, &shop, 100).await;
    leave(first).await;
    begun(&shop, 2).await;
    assert_eq!(shop.told.load(Ordering::SeqCst), 1);
    shop.open.notify_one();
    run.signal(&GO, 1).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 2);
    assert_eq!(locals(&run.history().await.unwrap()), [(1, true)], "counted anew");
    leave(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_while_its_worker_stops_is_recorded_and_not_made_again() {
    let engine = Engine::new(Arc::new(MemoryStore::new())).await.unwrap();
    let shop = Arc::new(Shop::default());
    let first = join(&engine, &shop, 100).await;
    let run = Client::new(&engine).start(finishes, ()).await.unwrap();
    begun(&shop, 1).await;
    leave(first).await;
    assert_eq!(locals(&run.history().await.unwrap()), [(1, true)]);
    let second = join(&engine, &shop, 100).await;
    run.signal(&GO, 1).await.unwrap();
    assert_eq!((run.result().await.unwrap(), shop.begun.load(Ordering::SeqCst)), (1, 1));
    leave(second).await;
}

#[workflow]
async fn plain(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    ctx.receive(&GO).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_not_given_back_while_one_is_under_way() {
    let engine = Engine::new(Arc::new(MemoryStore::new())).await.unwrap();
    let shop = Arc::new(Shop::default());
    let worker = join(&engine, &shop, 2).await;
    let client = Client::new(&engine);
    let run = client.start(quotes, ()).await.unwrap();
    begun(&shop, 1).await;
    let mut others = Vec::new();
    for number in 0..20 {
        let other = client.start(plain, ()).await.unwrap();
        other.signal(&GO, number).await.unwrap();
        others.push(other);
    }
    for other in others {
        other.result().await.unwrap();
    }
    shop.open.notify_one();
    run.signal(&GO, 1).await.unwrap();
    assert_eq!((run.result().await.unwrap(), shop.begun.load(Ordering::SeqCst)), (1, 1));
    leave(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_terminated_run_is_told_to_stop() {
    let engine = Engine::new(Arc::new(MemoryStore::new())).await.unwrap();
    let shop = Arc::new(Shop::default());
    let worker = join(&engine, &shop, 100).await;
    let run = Client::new(&engine).start(quotes, ()).await.unwrap();
    begun(&shop, 1).await;
    let reasons = run.describe().await.unwrap().reasons;
    assert!(matches!(&reasons[..], [Reason::LocalActivities { count: 1, worker: Some(_) }]), "{reasons:?}");
    run.terminate("enough").await.unwrap();
    while shop.told.load(Ordering::SeqCst) < 1 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(run.describe().await.unwrap().run.info.status, RunStatus::Terminated);
    leave(worker).await;
}
