//! Take-over of more runs than fit between two renewals of a lease.

use std::time::{Duration, Instant};

use dacapo::{Engine, Worker, WorkerState, prelude::*};
use sqlx::{Connection as _, Row as _};

/// The runs that a dead worker has left, and the lease of the one that takes them over: their take-over takes longer.
const RUNS: i32 = 200_000;
const LEASE: Duration = Duration::from_secs(3);
const LEASE_RENEWAL: Duration = Duration::from_millis(500);

const PATIENCE: Duration = Duration::from_secs(240);

const LEFT_BEHIND: &str = "
WITH dead AS (
    INSERT INTO dacapo.workers (worker, identity, namespace, queues, workflow_types, activity_types, lease_until, dead, slots)
    VALUES (gen_random_uuid(), 'dead', 'default', '{}', '{}', '{}', clock_timestamp() - interval '1 h', true, 0)
    RETURNING worker
)
INSERT INTO dacapo.runs_open (shard, run_id, namespace, workflow_id, workflow_type, task_queue, priority, next_event_id,
       started_at, owner, owner_epoch)
SELECT n % 64, gen_random_uuid(), 'default', 'left-' || n, 'left', 'nobody', 3, 3, clock_timestamp(), dead.worker, 1
  FROM dead, generate_series(1, $1) n";

const OWNED: &str = "SELECT count(*) AS owned FROM dacapo.runs_open WHERE owner IS NOT NULL";

#[workflow]
async fn nothing(_ctx: WorkflowContext, _input: ()) -> Result<(), WorkflowError> {
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_over_many_runs_keeps_its_own_lease() {
    let database = crate::database::fresh("take_over").await;
    let mut connection = sqlx::PgConnection::connect(&database.url).await.expect("it answers");
    let engine = Engine::new(std::sync::Arc::new(database.store().await)).await.expect("the engine starts");
    let worker = Worker::new(&engine).task_queue("mine").workflow(nothing).configure(|options| {
        (options.lease, options.lease_renewal) = (LEASE, LEASE_RENEWAL);
    });
    let worker = worker.start().expect("the worker starts");
    let mut state = worker.state();
    state.wait_for(|state| *state == WorkerState::Serving).await.expect("it serves");
    let began = Instant::now();
    sqlx::query(LEFT_BEHIND).bind(RUNS).execute(&mut connection).await.expect("the runs can be made");
    let left = began.elapsed();
    loop {
        assert_eq!(*state.borrow_and_update(), WorkerState::Serving, "it lost its lease after {:?}", began.elapsed());
        let owned: i64 = sqlx::query(OWNED).fetch_one(&mut connection).await.expect("it can be counted").get("owned");
        if owned == 0 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{owned} runs are still a dead worker's");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!state.has_changed().expect("the worker is there"), "it lost its lease and came back");
    let took = began.elapsed() - left;
    eprintln!("{RUNS} runs were taken over in {took:?}");
    assert!(took > LEASE, "{RUNS} runs are too few for this test: they were taken over in {took:?}");
    worker.stop();
    worker.stopped().await.expect("it ends well");
}
