//! Tests of workflows as users write them: virtual time, fakes, planned messages, and the replay at the end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant, UNIX_EPOCH},
};

use dacapo::{
    ActivityContext, ActivityError, ResultError, WorkflowContext, WorkflowError, activities, data,
    define::{Activity, HasTimeout, Query, Signal},
    select,
    testing::TestEnv,
    workflow,
};
use dacapo_core::RetryPolicy;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const HOUR: Duration = Duration::from_secs(3_600);

#[data]
#[derive(Clone, Debug, PartialEq)]
struct Order {
    id: String,
    cents: u64,
}

fn order() -> Order {
    Order { id: "order-42".to_owned(), cents: 1_250 }
}

struct Payments;

#[activities]
impl Payments {
    #[activity(start_to_close = "30s")]
    async fn charge(&self, ctx: &ActivityContext, order: Order) -> Result<String, ActivityError> {
        Ok(format!("{} cents of {} at attempt {}", order.cents, order.id, ctx.attempt()))
    }
}

const APPROVE: Signal<String> = Signal::new("approve");
const STATUS: Query<String> = Query::new("status");

#[workflow]
async fn checkout(ctx: WorkflowContext, order: Order) -> Result<String, WorkflowError> {
    ctx.publish(&STATUS, &"waiting".to_owned());
    let by = select! {
        by = ctx.receive(&APPROVE) => by?,
        _ = ctx.sleep(3 * DAY) => return Err(WorkflowError::failed("Expired", "nobody approved")),
    };
    ctx.publish(&STATUS, &"charging".to_owned());
    let receipt = ctx
        .activity(Payments::charge, order)
        .retry(RetryPolicy::attempts(5).initial_interval(Duration::from_secs(60)))
        .await?;
    ctx.publish(&STATUS, &"paid".to_owned());
    Ok(format!("{receipt}, approved by {by}"))
}

#[workflow]
async fn sleeps(ctx: WorkflowContext, days: u32) -> Result<u64, WorkflowError> {
    ctx.sleep(days * DAY).await?;
    Ok(ctx.now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

#[tokio::test]
async fn a_month_passes_at_once() {
    let env = TestEnv::in_memory().workflow(sleeps).start().await;
    let began = env.now();
    let run = env.start(sleeps, 30).await.unwrap();
    let ended = run.result().await.unwrap();
    assert_eq!(env.now(), began + 30 * DAY);
    assert_eq!(ended, (began + 30 * DAY).duration_since(UNIX_EPOCH).unwrap().as_secs());
    let checked = env.finish().await;
    assert_eq!((checked.runs, checked.prefixes), (1, 2));
}

#[tokio::test]
async fn an_approval_that_comes_in_time_is_charged() {
    let env = TestEnv::in_memory().workflow(checkout).activities(Payments).start().await;
    let run = env.start(checkout, order()).id("order-42").await.unwrap();
    env.at(2 * DAY).signal(&run, &APPROVE, "ada".to_owned());
    assert_eq!(run.result().await.unwrap(), "1250 cents of order-42 at attempt 1, approved by ada");
    assert_eq!(env.now().duration_since(UNIX_EPOCH).unwrap().as_secs(), 1_577_836_800 + 2 * 24 * 3_600);
    assert_eq!(env.calls(Payments::charge), [order()]);
}

#[tokio::test]
async fn an_approval_that_nobody_gives_expires() {
    let env = TestEnv::in_memory().workflow(checkout).start().await;
    let run = env.start(checkout, order()).await.unwrap();
    env.sleep(3 * DAY - Duration::from_secs(1)).await;
    assert_eq!(run.query(&STATUS).await.unwrap(), "waiting");
    let failed = run.result().await.unwrap_err();
    assert!(matches!(&failed, ResultError::Failed { failure, .. } if failure.error_type == "Expired"), "{failed}");
    assert_eq!(env.calls(Payments::charge), []);
}

#[tokio::test]
async fn a_fake_fails_twice_and_the_retries_take_virtual_time() {
    let env = TestEnv::in_memory()
        .workflow(checkout)
        .fake_with(Payments::charge, |ctx, order| match ctx.attempt() {
            1..=2 => Err(ActivityError::new("Unavailable", "the bank is closed")),
            attempt => Ok(format!("{} at attempt {attempt}", order.id)),
        })
        .start()
        .await;
    let run = env.start(checkout, order()).await.unwrap();
    run.signal(&APPROVE, "ada".to_owned()).await.unwrap();
    let began = env.now();
    assert_eq!(run.result().await.unwrap(), "order-42 at attempt 3, approved by ada");
    let took = env.now().duration_since(began).unwrap();
    assert_eq!(took, Duration::from_secs(60 + 120), "the wait doubles");
    assert_eq!((env.calls(Payments::charge).len(), env.attempts(Payments::charge)), (1, 3));
}

#[tokio::test]
async fn an_attempt_that_never_comes_back_times_out() {
    let env = TestEnv::in_memory()
        .workflow(checkout)
        .fake_async(Payments::charge, |ctx, _order| async move {
            if ctx.attempt() == 1 {
                ctx.sleep(Duration::MAX).await;
            }
            ctx.sleep(Duration::from_secs(10)).await;
            Ok("late".to_owned())
        })
        .start()
        .await;
    let run = env.start(checkout, order()).await.unwrap();
    run.signal(&APPROVE, "ada".to_owned()).await.unwrap();
    let began = env.now();
    assert_eq!(run.result().await.unwrap(), "late, approved by ada");
    assert_eq!(env.now().duration_since(began).unwrap(), Duration::from_secs(30 + 60 + 10));
}

#[tokio::test]
async fn time_stands_still_while_an_activity_really_works() {
    static WORKED: AtomicU32 = AtomicU32::new(0);
    let env = TestEnv::in_memory()
        .workflow(checkout)
        .fake_async(Payments::charge, |_ctx, _order| async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            WORKED.fetch_add(1, Ordering::SeqCst);
            Ok("done".to_owned())
        })
        .start()
        .await;
    let run = env.start(checkout, order()).await.unwrap();
    run.signal(&APPROVE, "ada".to_owned()).await.unwrap();
    let began = env.now();
    run.result().await.unwrap();
    assert_eq!((WORKED.load(Ordering::SeqCst), env.now()), (1, began), "no timeout of 30 s passed meanwhile");
}

#[workflow]
async fn patient(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    const WORK: Activity<(), (), HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(864_000));
    Ok(ctx.activity(WORK, ()).await?)
}

#[tokio::test]
async fn a_planned_cancel_reaches_an_activity_that_waits_for_the_clock() {
    let env = TestEnv::in_memory()
        .workflow(patient)
        .fake_async(Activity::<(), ()>::new("work"), |ctx, ()| async move {
            tokio::select! {
                () = ctx.cancelled() => Err(ActivityError::cancelled()),
                () = ctx.sleep(9 * DAY) => Ok(()),
            }
        })
        .start()
        .await;
    let run = env.start(patient, ()).await.unwrap();
    env.at(DAY).cancel(&run, "enough");
    let began = env.now();
    assert!(matches!(run.result().await, Err(ResultError::Cancelled { .. })));
    assert_eq!(env.now(), began + DAY);
}

#[tokio::test]
async fn what_a_test_does_at_a_moment_comes_after_what_the_engine_has_due_at_it() {
    let env = TestEnv::in_memory().workflow(checkout).start().await;
    let run = env.start(checkout, order()).await.unwrap();
    env.at(3 * DAY).run({
        let run = run.clone();
        async move { assert!(run.signal(&APPROVE, "late".to_owned()).await.is_err(), "it is closed") }
    });
    env.sleep(3 * DAY).await;
    assert!(run.result().await.is_err());
}

#[tokio::test]
async fn a_condition_is_looked_at_after_each_step_of_time() {
    let env = TestEnv::in_memory().workflow(checkout).activities(Payments).start().await;
    let run = env.start(checkout, order()).await.unwrap();
    run.signal(&APPROVE, "ada".to_owned()).await.unwrap();
    let began = env.now();
    env.until(async || run.query(&STATUS).await.is_ok_and(|status| status == "paid")).await;
    assert_eq!(env.now(), began, "nothing took time");
    let slow = env.start(checkout, order()).await.unwrap();
    env.at(HOUR).signal(&slow, &APPROVE, "grace".to_owned());
    env.until(async || slow.query(&STATUS).await.is_ok_and(|status| status == "paid")).await;
    assert_eq!(env.now(), began + HOUR);
}

#[tokio::test]
async fn time_by_hand_moves_only_so() {
    let env = TestEnv::in_memory().workflow(sleeps).time_by_hand().start().await;
    let run = env.start(sleeps, 2).await.unwrap();
    let began = env.now();
    let stuck = run.result().await.unwrap_err().to_string();
    assert!(stuck.contains("time stands still until `env.advance(…)`"), "{stuck}");
    assert_eq!(env.now(), began);
    env.advance(DAY).await;
    assert_eq!(run.describe().await.unwrap().timers.len(), 1);
    env.advance(DAY).await;
    run.result().await.unwrap();
}

#[workflow]
async fn waits_for_ever(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    ctx.receive(&APPROVE).await
}

#[tokio::test]
async fn a_wait_that_nothing_ends_says_so() {
    let env = TestEnv::in_memory().workflow(waits_for_ever).start().await;
    let run = env.start(waits_for_ever, ()).id("lonely").await.unwrap();
    let stuck = run.result().await.unwrap_err().to_string();
    assert!(stuck.contains("workflow `lonely`: nothing that can still happen ends the wait"), "{stuck}");
}

#[tokio::test]
async fn an_activity_without_code_and_fake_fails_at_once() {
    let env = TestEnv::in_memory().workflow(patient).start().await;
    let run = env.start(patient, ()).await.unwrap();
    let failed = run.result().await.unwrap_err().to_string();
    assert!(failed.contains("neither code nor a fake for activity `work`"), "{failed}");
}

#[workflow]
async fn panics(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    panic!("that is a bug")
}

#[tokio::test]
async fn a_workflow_task_that_fails_ends_the_wait_with_its_message() {
    let env = TestEnv::in_memory().workflow(panics).start().await;
    let run = env.start(panics, ()).await.unwrap();
    let failed = run.result().await.unwrap_err().to_string();
    assert!(failed.contains("that is a bug") && failed.contains("worker/tests/testing.rs"), "{failed}");
}

#[tokio::test]
#[should_panic(expected = "that is a bug")]
async fn a_workflow_task_that_fails_unheard_fails_the_test() {
    let env = TestEnv::in_memory().workflow(panics).start().await;
    env.start(panics, ()).await.unwrap();
    env.sleep(DAY).await;
    env.finish().await;
}

/// Does something else every time that it is run.
#[workflow]
async fn fickle(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::SeqCst);
    ctx.sleep(Duration::from_secs(u64::from(run + 1))).await
}

#[tokio::test]
#[should_panic(expected = "likely:  the length of the timer was changed")]
async fn a_history_that_does_not_replay_fails_the_test() {
    let env = TestEnv::in_memory().workflow(fickle).start().await;
    env.start(fickle, ()).await.unwrap().result().await.unwrap();
    env.finish().await;
}

#[tokio::test]
#[should_panic(expected = "the code does not do what the run's history says it did")]
async fn forgetting_the_end_of_a_test_forgets_no_replay() {
    let env = TestEnv::in_memory().workflow(fickle).start().await;
    env.start(fickle, ()).await.unwrap().result().await.unwrap();
}

#[tokio::test]
#[should_panic(expected = "planned signal `approve` could not be sent")]
async fn a_planned_signal_that_cannot_be_sent_fails_the_test() {
    let env = TestEnv::in_memory().workflow(sleeps).start().await;
    let run = env.start(sleeps, 1).await.unwrap();
    env.at(2 * DAY).signal(&run, &APPROVE, "late".to_owned());
    env.sleep(3 * DAY).await;
    env.finish().await;
}

#[workflow]
async fn an_hours_work(ctx: WorkflowContext, number: u32) -> Result<u32, WorkflowError> {
    ctx.sleep(HOUR).await?;
    Ok(number)
}

/// A month of work: a timer or a signal every so often, and a child after every hundred of them.
#[workflow]
async fn a_busy_month(ctx: WorkflowContext, steps: u32) -> Result<(u32, u32, u32), WorkflowError> {
    let (mut timers, mut signals, mut children) = (0, 0, 0);
    for step in 1..=steps {
        select! {
            by = ctx.receive(&APPROVE) => {
                by?;
                signals += 1;
            },
            slept = ctx.sleep(30 * DAY / steps) => {
                slept?;
                timers += 1;
            },
        }
        if step % 100 == 0 && ctx.child(an_hours_work, step).await? == step {
            children += 1;
        }
    }
    Ok((timers, signals, children))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_with_a_thousand_timers_and_signals_and_with_children_takes_less_than_a_moment() {
    let env = TestEnv::in_memory().workflow(a_busy_month).workflow(an_hours_work).start().await;
    let run = env.start(a_busy_month, 2_000).await.unwrap();
    for number in 0..1_000_u32 {
        // Between two timers of 1,296 s, so that each signal gives one up.
        env.at(Duration::from_secs(1_944) * number).signal(&run, &APPROVE, "ada".to_owned());
    }
    let began = Instant::now();
    let (timers, signals, children) = run.result().await.unwrap();
    let took = began.elapsed();
    let began = Instant::now();
    let checked = env.finish().await;
    println!(
        "{timers} timers, {signals} signals and {children} children in {took:?}; {} events checked in {:?}",
        checked.events,
        began.elapsed()
    );
    assert_eq!((timers + signals, signals, children), (2_000, 1_000, 20));
    assert!(took < Duration::from_secs(10), "some 0.2 s on an idle machine: {took:?}");
}
