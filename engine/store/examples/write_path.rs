//! Measures the write path alone: workflows of one activity that runs in the owning process, so two writes each, started
//! and closed by one process with nothing in between.
//!
//! `cargo run --release -p dacapo-store --example write_path -- [WORKFLOWS] [IN_FLIGHT]`, with DATABASE_URL for a server
//! of one's own
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use dacapo_core::{
    ActivityOptions, ActivityOutcome, ActivityResult, Command, Namespace, Payload, Run, RunId, StartWorkflow, Store,
    Timestamp, WorkerId,
    apply::Turn,
    store::{Reply, RunWrite, StartOutcome, StartWrite, WorkerRegistration, WriteOutcome},
    transition::Transition,
};
use dacapo_devpg::Cluster;
use dacapo_store::{PgStore, PgStoreOptions, migrate};
use tokio::sync::mpsc;
use uuid::Uuid;

/// What one workflow carries in and out, in bytes.
const PAYLOAD_BYTES: usize = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let workflows: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let in_flight: usize = arguments.next().map_or(Ok(2_000), |text| text.parse())?;
    // An empty database of the caller's, or a private server.
    let cluster = if std::env::var_os("DATABASE_URL").is_none() { Some(Cluster::temporary()?) } else { None };
    let url = cluster.as_ref().map_or_else(|| std::env::var("DATABASE_URL"), |cluster| Ok(cluster.url()))?;
    let options = PgStoreOptions::new(url);
    migrate(&options).await?;
    let store = Arc::new(PgStore::connect(options).await?);
    let worker = WorkerId(Uuid::now_v7());
    store.register(&registration(worker)).await?;
    for round in 1..=3 {
        let took = measure(&store, worker, workflows, in_flight).await;
        println!("round {round}: {workflows} workflows in {took:.2?}: {:.0}/s", workflows as f64 / took.as_secs_f64());
    }
    let begun = Instant::now();
    let singles = 500.min(workflows);
    measure(&store, worker, singles, 1).await;
    println!("one at a time: {:.2?} each", begun.elapsed() / singles as u32);
    let violations = store.verify().await?;
    println!("{} violations", violations.len());
    store.close().await;
    Ok(())
}

fn registration(worker: WorkerId) -> WorkerRegistration {
    WorkerRegistration {
        worker,
        identity: "bench".to_owned(),
        build_id: None,
        namespace: Namespace::default_namespace(),
        queues: vec!["q".into()],
        workflow_types: vec!["w".into()],
        activity_types: vec!["a".to_owned()],
        lease: Duration::from_secs(3_600),
        slots: 1_000,
    }
}

async fn measure(store: &Arc<PgStore>, worker: WorkerId, workflows: usize, in_flight: usize) -> Duration {
    let input = Payload::encode("input", &"x".repeat(PAYLOAD_BYTES)).expect("a short text");
    let (done, mut finished) = mpsc::unbounded_channel();
    let failed = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut running = 0;
    for started in 0..workflows {
        if running == in_flight {
            finished.recv().await;
            running -= 1;
        }
        running += 1;
        one(store, worker, &input, done.clone(), Arc::clone(&failed));
        if started % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    while running > 0 {
        finished.recv().await;
        running -= 1;
    }
    assert_eq!(failed.load(Ordering::Relaxed), 0, "every write goes through");
    begun.elapsed()
}

/// Starts a workflow with its first step, and closes it when the start is committed.
fn one(
    store: &Arc<PgStore>,
    worker: WorkerId,
    input: &Payload,
    done: mpsc::UnboundedSender<()>,
    failed: Arc<AtomicUsize>,
) {
    let run_id = RunId(Uuid::now_v7());
    let request = StartWorkflow::new(run_id, run_id.to_string().into(), "w".into(), "q".into(), input.clone());
    let now =
        Timestamp(i64::try_from(run_id.0.get_timestamp().map_or(0, |at| at.to_unix().0)).unwrap_or(0) * 1_000_000);
    let first = request.transition(now);
    let mut run = Run::from_history(&first.events).expect("a start");
    let step = first_step(&mut run, now, input);
    let start = StartWrite { request, transition: first.followed_by(*step), owner: Some(worker), ready_at: now };
    let next = Arc::clone(store);
    let input = input.clone();
    let reply = Reply::new(move |outcome| {
        if !matches!(outcome, Ok(StartOutcome::Started)) {
            failed.fetch_add(1, Ordering::Relaxed);
        }
        let transition = last_step(&mut run, now, &input);
        let answered = Reply::new(move |outcome| {
            if !matches!(outcome, WriteOutcome::Applied) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
            // Whoever counts may have stopped.
            let _ = done.send(());
        });
        next.write(RunWrite { owner: worker, owner_epoch: 1, transition }, answered);
    });
    store.start(start, reply);
}

fn first_step(run: &mut Run, now: Timestamp, input: &Payload) -> Box<Transition> {
    let options = ActivityOptions { start_to_close_ms: Some(10_000), ..ActivityOptions::default() };
    let command = Command::ScheduleActivityTask {
        activity_id: 1,
        activity_type: "a".into(),
        input: input.clone(),
        options: Box::new(options),
    };
    let mut turn = Turn::begin(run, now);
    turn.start_task("bench", None);
    turn.complete_task(vec![command], Vec::new()).expect("a valid command");
    turn.finish()
}

fn last_step(run: &mut Run, now: Timestamp, result: &Payload) -> Box<Transition> {
    let mut turn = Turn::begin(run, now);
    turn.activity_outcome(ActivityOutcome {
        activity_id: 1,
        attempt: 1,
        started_at: Some(now),
        identity: "bench".into(),
        last_heartbeat: None,
        result: ActivityResult::Completed(result.clone()),
    });
    turn.start_task("bench", None);
    let command = Command::CompleteWorkflowExecution { result: result.clone() };
    turn.complete_task(vec![command], Vec::new()).expect("a valid command");
    turn.finish()
}
