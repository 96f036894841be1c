//! Queries that the code answers from its state.

use std::{cell::RefCell, rc::Rc, time::Duration};

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, Query},
    workflow,
};
use dacapo_runtime::Queried;

use crate::{
    harness::{Env, completed},
    workflows,
};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const ABOVE: Query<Vec<u64>, u64> = Query::new("above");
const BAD: Query<u64> = Query::new("bad");

#[workflow]
async fn collects(ctx: WorkflowContext) -> Result<usize, WorkflowError> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let theirs = Rc::clone(&seen);
    ctx.on_query(&ABOVE, move |bound| theirs.borrow().iter().copied().filter(|value| *value > bound).collect());
    let inner = ctx.clone();
    ctx.on_query(&BAD, move |()| {
        drop(inner.sleep(Duration::from_secs(1)));
        1
    });
    for n in 0..3 {
        let value = ctx.activity(WORK, n).await?;
        seen.borrow_mut().push(value);
    }
    Ok(seen.borrow().len())
}

#[track_caller]
fn answer(queried: Queried) -> Vec<u64> {
    match queried {
        Queried::Answered(value) => value.decode("answer").unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_query_is_answered_from_memory_and_after_an_eviction_and_writes_nothing() {
    let mut env = Env::start(workflows![collects], "collects", ());
    env.first().commands();
    env.step([completed(1, 5)]).commands();
    env.step([completed(2, 50)]).commands();
    let before = env.history.clone();
    assert_eq!(answer(env.query("above", 10)), [50]);
    env.evict();
    assert_eq!(answer(env.query("above", 0)), [5, 50], "by a replay for this alone");
    assert_eq!(env.history, before);
    env.step([completed(3, 7)]).commands();
    assert_eq!(env.result::<usize>(), 3);
    assert_eq!(answer(env.query("above", 6)), [50, 7], "also of a run that is closed");
    env.replays_at_every_prefix();
}

#[test]
fn what_cannot_be_answered_says_why_and_the_run_goes_on() {
    let mut env = Env::start(workflows![collects], "collects", ());
    env.first().commands();
    let Queried::Unknown { known } = env.query("abvoe", 1) else { panic!() };
    assert_eq!(known, ["above", "bad"]);
    let Queried::Failed(failure) = env.query("above", "ten") else { panic!() };
    assert!(failure.message.contains("argument of query `above` cannot be read as u64"), "{}", failure.message);
    let Queried::Failed(failure) = env.query("bad", ()) else { panic!() };
    assert!(failure.message.contains("it may only look at the workflow's own state"), "{}", failure.message);
    for n in 1..=3 {
        env.step([completed(n, n)]).commands();
    }
    assert_eq!(env.result::<usize>(), 3, "the numbers of its calls are as they were");
    env.replays_at_every_prefix();
}
