//! Fakes of child workflows, and waits of a test for updates in virtual time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

use std::time::{Duration, Instant};

use dacapo::{
    ResultError, UpdateError, WorkflowContext, WorkflowError, data,
    define::{Query, Signal, Update, Workflow},
    join, select,
    testing::TestEnv,
    workflow,
};
use dacapo_core::{EventKind, ParentClosePolicy, RetryPolicy};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

#[data]
#[derive(Clone, Debug, PartialEq)]
struct Parcel {
    to: String,
    grams: u64,
}

fn parcel(to: &str) -> Parcel {
    Parcel { to: to.to_owned(), grams: 750 }
}

/// A workflow of another binary.
const SHIP: Workflow<Parcel, String> = Workflow::new("ship");

/// A workflow of this one.
#[workflow]
async fn invoice(ctx: WorkflowContext, cents: u64) -> Result<u64, WorkflowError> {
    ctx.sleep(DAY).await?;
    Ok(cents)
}

#[workflow]
async fn order(ctx: WorkflowContext, to: Vec<String>) -> Result<Vec<String>, WorkflowError> {
    let mut shipped = Vec::new();
    for to in &to {
        shipped.push(ctx.child(SHIP, parcel(to)).id(format!("ship-{to}")).await?);
    }
    shipped.push(ctx.child(invoice, 100).await?.to_string());
    Ok(shipped)
}

#[tokio::test]
async fn children_are_faked_by_type_and_by_function() {
    let env = TestEnv::in_memory()
        .workflow(order)
        .workflow(invoice)
        .fake_child_async(SHIP, |child, parcel| async move {
            child.sleep(2 * HOUR).await?;
            Ok(format!("{} g to {} by {}", parcel.grams, parcel.to, child.workflow_id()))
        })
        .fake_child(invoice, |cents| Ok(2 * cents))
        .start()
        .await;
    let began = env.now();
    let run = env.start(order, vec!["oslo".to_owned(), "rome".to_owned()]).await.unwrap();
    assert_eq!(run.result().await.unwrap(), ["750 g to oslo by ship-oslo", "750 g to rome by ship-rome", "200"]);
    assert_eq!(env.now(), began + 4 * HOUR, "the fake of `invoice` takes no time");
    assert_eq!(env.child_calls(SHIP), [parcel("oslo"), parcel("rome")]);
    assert_eq!(env.child_calls(invoice), [100]);
    let checked = env.finish().await;
    assert_eq!(checked.runs, 4, "children are runs, and are replayed");
}

#[workflow]
async fn ships_or_says_why(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    match ctx.child(SHIP, parcel("oslo")).retry(RetryPolicy::attempts(3)).await {
        Ok(shipped) => Ok(shipped),
        Err(failure) => Ok(format!("{}: {}", failure.error_type(), failure.message())),
    }
}

#[tokio::test]
async fn a_fake_fails_as_the_child_would_and_is_retried_by_its_policy() {
    let env = TestEnv::in_memory()
        .workflow(ships_or_says_why)
        .fake_child_async(SHIP, |child, _| async move {
            match child.attempt() {
                1..=2 => Err(WorkflowError::failed("NoShip", "it is at sea")),
                attempt => Ok(format!("at attempt {attempt}")),
            }
        })
        .start()
        .await;
    let run = env.start(ships_or_says_why, ()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "at attempt 3");
    assert_eq!(env.child_calls(SHIP).len(), 1, "one child, in three runs");
    env.finish().await;

    for (fake, said) in [
        (WorkflowError::failed("NoShip", "it has sunk"), "NoShip: it has sunk"),
        (
            dacapo::ActivityFailure::new("load", dacapo_core::Failure::application("Full", "x"), None).into(),
            "ActivityFailure",
        ),
    ] {
        let env = TestEnv::in_memory().workflow(ships_or_says_why);
        let env = env.fake_child(SHIP, move |_| Err(fake.clone())).start().await;
        let told = env.start(ships_or_says_why, ()).await.unwrap().result().await.unwrap();
        assert!(told.starts_with(said), "{told}");
        env.finish().await;
    }
}

#[workflow]
async fn gives_up(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    select! {
        shipped = ctx.child(SHIP, parcel("oslo")).id("given-up").parent_close_policy(ParentClosePolicy::RequestCancel) => Ok(shipped?),
        slept = ctx.sleep(3 * HOUR) => slept.map(|()| "given up".to_owned()),
    }
}

#[tokio::test]
async fn a_fake_that_never_ends_hears_of_its_cancellation() {
    let env = TestEnv::in_memory()
        .workflow(gives_up)
        .fake_child_async(SHIP, |child, _| async move {
            child.sleep(Duration::MAX).await?;
            unreachable!()
        })
        .start()
        .await;
    let began = env.now();
    let run = env.start(gives_up, ()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "given up");
    let child = env.client().handle(SHIP, "given-up");
    assert!(matches!(child.result().await, Err(ResultError::Cancelled { .. })));
    assert_eq!(env.now(), began + 3 * HOUR);
    env.finish().await;
}

#[workflow]
async fn leaves_it(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let child = ctx.child(SHIP, parcel("oslo")).id("left").parent_close_policy(ParentClosePolicy::Abandon);
    child.start().await?;
    Ok(())
}

#[tokio::test]
async fn a_wait_for_a_fake_that_never_ends_says_so() {
    let env = TestEnv::in_memory()
        .workflow(leaves_it)
        .fake_child_async(SHIP, |child, _| async move {
            child.sleep(Duration::MAX).await?;
            unreachable!()
        })
        .start()
        .await;
    env.start(leaves_it, ()).await.unwrap().result().await.unwrap();
    let stuck = env.client().handle(SHIP, "left").result().await.unwrap_err().to_string();
    assert!(stuck.contains("workflow `left`: nothing that can still happen ends the wait"), "{stuck}");
    env.finish().await;
}

const SLOW: Update<u64, u64> = Update::new("slow");
const STOP: Signal<()> = Signal::new("stop");
const TOTAL: Query<u64> = Query::new("total");

/// Answers updates an hour later each, until it is told to stop.
#[workflow]
async fn counter(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let total = std::rc::Rc::new(std::cell::Cell::new(0));
    let shown = std::rc::Rc::clone(&total);
    ctx.on_query(&TOTAL, move |()| shown.get());
    let mut requests =
        ctx.requests(&SLOW).validate(|n| if *n > 100 { Err(WorkflowError::failed("Large", "no")) } else { Ok(()) });
    loop {
        select! {
            request = requests.next() => {
                let Some(request) = request else { break };
                ctx.sleep(HOUR).await?;
                total.set(total.get() + request.argument());
                request.reply(total.get());
            },
            stop = ctx.receive(&STOP) => {
                stop?;
                break;
            },
        }
    }
    Ok(total.get())
}

#[tokio::test]
async fn an_update_whose_handler_sleeps_an_hour_returns_at_once() {
    let env = TestEnv::in_memory().workflow(counter).start().await;
    let run = env.start(counter, ()).await.unwrap();
    let (began, real) = (env.now(), Instant::now());
    assert_eq!(run.update(&SLOW, 5).await.unwrap(), 5);
    assert_eq!(env.now(), began + HOUR);
    let second = run.update(&SLOW, 6).accepted().await.unwrap();
    assert_eq!(env.now(), began + HOUR, "accepting takes no time");
    assert_eq!(second.result().await.unwrap(), 11);
    assert_eq!(env.now(), began + 2 * HOUR);
    assert_eq!(run.query_with(&TOTAL, ()).await.unwrap(), 11);
    assert_eq!(env.now(), began + 2 * HOUR, "a question takes no time");
    assert!(matches!(run.update(&SLOW, 500).await, Err(UpdateError::Rejected { .. })));
    run.signal(&STOP, ()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 11);
    assert!(real.elapsed() < Duration::from_secs(20), "{:?}", real.elapsed());
    env.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_time_passes_than_an_update_needs_on_several_threads() {
    for _ in 0..20 {
        let env = TestEnv::in_memory().workflow(counter).start().await;
        let run = env.start(counter, ()).await.unwrap();
        let began = env.now();
        for number in 1..=5 {
            run.update(&SLOW, 1).await.unwrap();
            assert_eq!(env.now(), began + number * HOUR);
        }
        run.signal(&STOP, ()).await.unwrap();
        run.result().await.unwrap();
        env.finish().await;
    }
}

#[workflow]
async fn deaf(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.sleep(DAY).await?;
    ctx.receive(&STOP).await
}

#[tokio::test]
async fn an_update_that_nobody_takes_on_does_not_hold_time_up_and_its_wait_says_so() {
    let env = TestEnv::in_memory().workflow(deaf).start().await;
    let run = env.start(deaf, ()).id("deaf").await.unwrap();
    let real = Instant::now();
    let stuck = run.update(&SLOW, 1).await.unwrap_err().to_string();
    assert!(stuck.contains("workflow `deaf`: nothing that can still happen ends the wait"), "{stuck}");
    assert!(real.elapsed() < Duration::from_secs(20), "{:?}", real.elapsed());
    let history = run.history().await.unwrap();
    assert!(history.iter().any(|event| matches!(event.event, EventKind::TimerFired(_))), "time went on for it");
    run.signal(&STOP, ()).await.unwrap();
    let (ended, again) = join!(run.result(), async { run.update(&SLOW, 2).await.is_err() });
    assert!(ended.is_ok() && again);
    env.finish().await;
}

#[workflow]
async fn greets_twice(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.sleep(HOUR).await?;
    ctx.sleep(30 * DAY).await
}

#[tokio::test]
async fn a_wait_that_is_over_and_not_polled_does_not_hold_time_up() {
    let env = TestEnv::in_memory().workflow(greets_twice).workflow(invoice).start().await;
    let short = env.start(invoice, 1).await.unwrap();
    let mut result = std::pin::pin!(short.result());
    assert!(futures_util::poll!(result.as_mut()).is_pending());
    env.sleep(40 * DAY).await;
    assert_eq!(result.await.unwrap(), 1);
    env.finish().await;
}
