//! What lists read: rows counted by the server, not time.

use dacapo_core::{
    Store,
    store::{RunFilter, RunInfo},
};
use sqlx::{Connection, PgConnection, Row};

use crate::common::*;

/// The runs of each kind.
const RUNS: i64 = 50_000;

/// As many open and closed runs, of 1,000 customers, a tenth of them without attributes.
async fn many_runs(database: &Database) {
    let open = format!(
        "INSERT INTO dacapo.runs_open (shard, run_id, namespace, workflow_id, workflow_type, task_queue, priority, owner_epoch,
                next_event_id, signals, started_at, search_attributes)
         SELECT 1, gen_random_uuid(), 'default', 'open-' || n, 'w', 'q', 3, 0, 3, 0, clock_timestamp() - n * interval '1 s',
                CASE WHEN n % 10 > 0 THEN jsonb_build_object('Customer', 'customer-' || n % 1000, 'N', n) END
           FROM generate_series(1, {RUNS}) n"
    );
    let closed = format!(
        "INSERT INTO dacapo.runs_closed (shard, run_id, namespace, workflow_id, workflow_type, task_queue, priority, owner_epoch,
                events, signals, status, started_at, closed_at, search_attributes)
         SELECT 1, gen_random_uuid(), 'default', 'closed-' || n, 'w', 'q', 3, 0, 5, 0, 'Completed',
                clock_timestamp() - n * interval '1 s', clock_timestamp(),
                CASE WHEN n % 10 > 0 THEN jsonb_build_object('Customer', 'customer-' || n % 1000, 'N', n) END
           FROM generate_series(1, {RUNS}) n"
    );
    database.sql(&open).await;
    database.sql(&closed).await;
    database.sql("VACUUM ANALYZE dacapo.runs_open").await;
    database.sql("VACUUM ANALYZE dacapo.runs_closed").await;
}

/// The rows of runs that the server has read so far.
async fn rows_read(database: &Database) -> i64 {
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let counted = "SELECT sum(seq_tup_read + COALESCE(idx_tup_fetch, 0))::int8 AS rows FROM pg_stat_user_tables
                    WHERE schemaname = 'dacapo' AND relname IN ('runs_open', 'runs_closed')";
    sqlx::query(counted).fetch_one(&mut connection).await.unwrap().get("rows")
}

/// Lists, and gives the rows that were read for it.
async fn list(database: &Database, expression: &str) -> (Vec<RunInfo>, i64) {
    // A process tells the server's statistics what it read when it goes.
    let store = database.another().await;
    let before = rows_read(database).await;
    let runs = store.list(&RunFilter::parse(expression).unwrap(), 1_000).await.unwrap();
    store.close().await;
    drop(store);
    let mut read = rows_read(database).await - before;
    while read == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        read = rows_read(database).await - before;
    }
    (runs, read)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_is_found_by_an_index_among_a_hundred_thousand_runs() {
    let database = Database::new().await;
    many_runs(&database).await;
    let runs_of_one = RUNS / 1_000 * 2;
    for expression in [
        "Customer = 'customer-7'",
        "Customer = 'customer-7' ORDER BY N",
        "Customer = 'customer-7' AND N > 0 AND CloseTime != '2020-01-01'",
        "Status = 'Running' AND Customer = 'customer-7' ORDER BY StartTime DESC",
        "Customer IN ('customer-7', 'customer-8')",
        "N = 4711",
        "WorkflowId = 'closed-8'",
        "WorkflowId STARTS_WITH 'open-4711'",
    ] {
        let (runs, read) = list(&database, expression).await;
        assert!(!runs.is_empty(), "{expression}");
        assert!(read <= 2 * runs_of_one, "{expression}: {} runs were found by reading {read} rows", runs.len());
    }
    let run_id = list(&database, "WorkflowId = 'open-9'").await.0[0].key.run_id;
    let (runs, read) = list(&database, &format!("RunId = '{run_id}'")).await;
    assert_eq!((runs.len(), runs[0].workflow_id.as_str(), read), (1, "open-9", 1));
    let (runs, read) = list(&database, "N > 49990 ORDER BY StartTime").await;
    assert!((runs.len(), read) >= (18, RUNS), "what no index serves is read: the count counts");
    database.sql("TRUNCATE dacapo.runs_open, dacapo.runs_closed").await;
    database.finish().await;
}
