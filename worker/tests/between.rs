//! Runs that start, signal, follow and answer each other on a whole engine in memory, with the typed client.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

use std::{cell::RefCell, rc::Rc, time::Duration};

use dacapo::{
    ResultError, UpdateError, WorkflowContext, WorkflowError,
    define::{Query, Signal, Update, Workflow},
    select,
    testing::TestEnv,
    workflow,
};
use dacapo_core::{RetryPolicy, RunStatus};
use dacapo_runtime::ClientError;
use futures_util::future::try_join_all;

const GO: Signal<u64> = Signal::new("go");
const ADD: Update<u64, u64> = Update::new("add");
const ABOVE: Query<Vec<u64>, u64> = Query::new("above");
const COUNTS: Workflow<u64, u64> = Workflow::new("counts");

#[workflow]
async fn doubles(ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    ctx.sleep(Duration::from_secs(n)).await?;
    if n == 13 {
        return Err(WorkflowError::failed("Unlucky", "13"));
    }
    Ok(n * 2)
}

#[workflow]
async fn sums(ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    let children = try_join_all((0..n).map(|i| ctx.child(doubles, i))).await?;
    Ok(children.into_iter().sum())
}

#[tokio::test]
async fn children_run_and_their_failures_reach_their_parent() {
    let env = TestEnv::in_memory().workflow(doubles).workflow(sums).start().await;
    let run = env.start(sums, 10).id("parent").await.unwrap();
    assert_eq!(run.result().await.unwrap(), 90);
    let failing = env.start(sums, 20).await.unwrap();
    let Err(ResultError::Failed { failure, .. }) = failing.result().await else { panic!("it failed") };
    assert_eq!(failure.cause.unwrap().error_type, "Unlucky");
    env.finish().await;
}

#[workflow]
async fn counts(ctx: WorkflowContext, sum: u64) -> Result<u64, WorkflowError> {
    let value = ctx.receive(&GO).await?;
    if value == 0 {
        return Ok(sum);
    }
    ctx.continue_as_new(sum + value).into()
}

#[workflow]
async fn feeds(ctx: WorkflowContext, until: u64) -> Result<u64, WorkflowError> {
    let mut child = ctx.child(COUNTS, 0).id("counter").start().await?;
    for n in (0..=until).rev() {
        if n % 2 == 0 {
            child.signal(&GO, n).await?;
        } else {
            ctx.external("counter").signal(&GO, n).await?;
        }
    }
    Ok(child.result().await?)
}

#[tokio::test]
async fn a_chain_of_runs_loses_no_signal_and_gives_its_last_result_to_its_parent() {
    let env = TestEnv::in_memory().workflow(counts).workflow(feeds).start().await;
    let run = env.start(feeds, 12).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 78);
    env.finish().await;
}

const CHAPTER: Query<u64> = Query::new("chapter");

/// Goes on as the next chapter with each update, until it is told to stop; the first one of a book that fails is repeated.
#[workflow]
async fn chapters(ctx: WorkflowContext, number: u64) -> Result<u64, WorkflowError> {
    ctx.publish(&CHAPTER, &number);
    ctx.on_query(&ABOVE, move |bound| (bound + 1..=number).collect());
    let mut requests = ctx.requests(&ADD);
    select! {
        Some(request) = requests.next() => {
            let next = number + *request.argument();
            request.reply(next);
            ctx.continue_as_new(next).into()
        }
        stop = ctx.receive(&GO) => match stop? {
            13 if ctx.info().attempt() == 1 => Err(WorkflowError::failed("Unlucky", "13")),
            _ => Ok(number),
        },
    }
}

#[tokio::test]
async fn the_handle_of_a_start_reaches_the_runs_that_go_on_for_it() {
    let env = TestEnv::in_memory().workflow(chapters).start().await;
    let run = env.start(chapters, 1).id("book").retry(RetryPolicy::attempts(2)).await.unwrap();
    let first = env.client().handle_of_run(chapters, "book", run.run_id().unwrap());
    let is_at = async |number| {
        env.until(async || run.query(&CHAPTER).await.is_ok_and(|at| at == number)).await;
    };
    for number in 2..=5 {
        assert_eq!(run.update(&ADD, 1).id(format!("to-{number}")).await.unwrap(), number);
        is_at(number).await;
    }
    assert_eq!(run.update(&ADD, 1).id("to-3").await.unwrap(), 3, "a run that has closed knows it");
    is_at(5).await;
    assert_eq!(run.query_with(&ABOVE, 3).await.unwrap(), [4, 5]);
    assert_eq!(run.describe().await.unwrap().run.info.status, RunStatus::Running);
    assert_eq!(Some(run.history().await.unwrap().len()), first.history().await.ok().map(|events| events.len()));

    let closed = first.signal(&GO, 1).await.unwrap_err();
    assert!(matches!(closed, ClientError::NotOpen { run_id, .. } if Some(run_id) == run.run_id()), "{closed}");
    assert_eq!(first.query(&CHAPTER).await.unwrap(), 1, "one run and no other");

    // The attempt that follows a failure belongs to it, and so does the reason why the last one was ended.
    run.signal(&GO, 13).await.unwrap();
    env.until(async || run.describe().await.unwrap().run.info.closed_at.is_none()).await;
    run.terminate("out of print").await.unwrap();
    let Err(ResultError::Terminated { reason, .. }) = run.result().await else { panic!("it was terminated") };
    assert_eq!(reason, "out of print");

    // Nobody's later run of the same id is meant.
    let other = env.start(chapters, 1).id("book").await.unwrap();
    let closed = run.signal(&GO, 1).await.unwrap_err();
    assert!(matches!(closed, ClientError::NotOpen { run_id, .. } if Some(run_id) != run.run_id()), "{closed}");
    other.signal(&GO, 0).await.unwrap();
    assert_eq!(other.result().await.unwrap(), 1);
    env.finish().await;
}

#[workflow]
async fn account(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let booked = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&booked);
    ctx.on_query(&ABOVE, move |bound| seen.borrow().iter().copied().filter(|n| *n > bound).collect());
    let mut requests = ctx
        .requests(&ADD)
        .validate(|n| if *n > 100 { Err(WorkflowError::failed("TooMuch", "100 at most")) } else { Ok(()) });
    loop {
        select! {
            Some(request) = requests.next() => {
                if *request.argument() == 0 {
                    request.reject(WorkflowError::failed("Nothing", "0 adds nothing"));
                    continue;
                }
                booked.borrow_mut().push(*request.argument());
                let sum = booked.borrow().iter().sum();
                request.reply(sum);
            }
            _ = ctx.receive(&GO) => return Ok(booked.borrow().iter().sum()),
        }
    }
}

#[tokio::test]
async fn updates_and_queries_are_typed_from_end_to_end() {
    let env = TestEnv::in_memory().workflow(account).start().await;
    let (run, first) = env.start(account, ()).id("account").update(&ADD, 5).update_id("u1").await.unwrap();
    assert_eq!((first.id(), first.result().await.unwrap()), ("u1", 5));
    let accepted = run.update(&ADD, 7).accepted().await.unwrap();
    assert_eq!(accepted.result().await.unwrap(), 12);
    assert_eq!(run.update(&ADD, 50).id("u1").await.unwrap(), 5, "the same id is the same update");
    let Err(UpdateError::Rejected { failure, .. }) = run.update(&ADD, 101).await else { panic!("it is refused") };
    assert_eq!(failure.error_type, "TooMuch");
    let Err(UpdateError::Failed { failure, .. }) = run.update(&ADD, 0).await else { panic!("it fails") };
    assert_eq!(failure.message, "0 adds nothing");
    assert_eq!(run.query_with(&ABOVE, 6).await.unwrap(), [7]);
    let unknown: Query<u64, u64> = Query::new("below");
    let Err(ClientError::QueryUnknown { known, .. }) = run.query_with(&unknown, 1).await else { panic!("unknown") };
    assert_eq!(known, ["above"]);
    run.signal(&GO, 1).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 12);
    env.finish().await;
}
