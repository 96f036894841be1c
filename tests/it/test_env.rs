//! One source of a test for both engines: in memory with virtual time, and on Postgres in real time.

use std::sync::Arc;

use dacapo::{Engine, prelude::*, testing::TestEnv};

use crate::database;

const APPROVE: Signal<String> = Signal::new("approve");
const STATUS: Query<String> = Query::new("status");
const CHARGE: Activity<u64, String, dacapo::define::HasTimeout> =
    Activity::new("charge").start_to_close(Duration::from_secs(30));

#[workflow(name = "test_env_checkout")]
async fn checkout(ctx: WorkflowContext, patience: Duration) -> Result<String, WorkflowError> {
    ctx.publish(&STATUS, &"waiting".to_owned());
    let by = select! {
        by = ctx.receive(&APPROVE) => by?,
        _ = ctx.sleep(patience) => return Err(WorkflowError::failed("Expired", "nobody approved")),
    };
    let retry = RetryPolicy::attempts(3).initial_interval(Duration::from_millis(50));
    let receipt = ctx.activity(CHARGE, 1_250).retry(retry).await?;
    ctx.publish(&STATUS, &"paid".to_owned());
    Ok(format!("{receipt}, approved by {by}"))
}

/// The test, for whichever engine.
async fn an_approved_order_is_charged_and_another_expires(setup: dacapo::testing::TestSetup) {
    let env = setup
        .workflow(checkout)
        .fake_with(CHARGE, |ctx, cents| match ctx.attempt() {
            1 => Err(ActivityError::new("Unavailable", "the bank is closed")),
            attempt => Ok(format!("{cents} at attempt {attempt}")),
        })
        .start()
        .await;
    // What takes days in memory takes a moment where time is real.
    let day = if env.has_virtual_time() { Duration::from_secs(24 * 3_600) } else { Duration::from_millis(200) };
    let approved = env.start(checkout, 20 * day).id("approved").await.unwrap();
    let expired = env.start(checkout, 3 * day).id("expired").await.unwrap();
    env.at(day).signal(&approved, &APPROVE, "ada".to_owned());
    env.until(async || approved.query(&STATUS).await.is_ok_and(|status| status == "paid")).await;
    assert_eq!(approved.result().await.unwrap(), "1250 at attempt 2, approved by ada");
    assert!(expired.result().await.unwrap_err().to_string().contains("Expired"));
    assert_eq!((env.calls(CHARGE), env.attempts(CHARGE)), (vec![1_250], 2));
    let checked = env.finish().await;
    assert_eq!(checked.runs, 2);
}

#[tokio::test]
async fn in_memory() {
    an_approved_order_is_charged_and_another_expires(TestEnv::in_memory()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    let database = database::fresh("test_env").await;
    let engine = Engine::new(Arc::new(database.store().await)).await.unwrap();
    an_approved_order_is_charged_and_another_expires(TestEnv::on(&engine)).await;
    // The other tests of the same database have namespaces of their own.
    an_approved_order_is_charged_and_another_expires(TestEnv::on(&engine)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "ends with `env.finish().await`")]
async fn a_test_on_postgres_that_forgets_its_end_fails() {
    let database = database::fresh("test_env_forgotten").await;
    let engine = Engine::new(Arc::new(database.store().await)).await.unwrap();
    let _env = TestEnv::on(&engine).workflow(checkout).start().await;
}
