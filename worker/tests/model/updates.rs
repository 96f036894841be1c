//! Updates: requests that the code validates, takes on and answers.

use std::{cell::RefCell, rc::Rc, time::Duration};

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, Signal, Update},
    select, workflow,
};
use dacapo_core::{
    Command, Failure, UpdateOutcome,
    update::{UpdateProgress, UpdateStage},
};

use crate::{
    harness::{Env, Input, completed, json, short, signal, update},
    workflows,
};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const ADD: Update<u64, u64> = Update::new("add");
const DONE: Signal<u64> = Signal::new("done");

#[workflow]
async fn adds(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let sum = Rc::new(RefCell::new(0));
    let seen = Rc::clone(&sum);
    let mut requests = ctx.requests(&ADD).validate(move |n| {
        if *n > 10 {
            return Err(WorkflowError::failed("TooMuch", format!("{n} on top of {}", seen.borrow())));
        }
        Ok(())
    });
    loop {
        select! {
            Some(request) = requests.next() => {
                if *request.argument() == 0 {
                    request.reject(WorkflowError::failed("Nothing", "0 adds nothing"));
                    continue;
                }
                *sum.borrow_mut() += ctx.activity(WORK, *request.argument()).await?;
                let now = *sum.borrow();
                request.reply(now);
            }
            _ = ctx.receive(&DONE) => return Ok(*sum.borrow()),
        }
    }
}

fn news(env: &Env) -> Vec<(String, UpdateStage)> {
    let progress = |it: &UpdateProgress| (it.update_id.clone(), it.stage.clone());
    env.last.as_ref().unwrap().updates.iter().map(progress).collect()
}

#[test]
fn a_request_is_accepted_and_answered_and_all_of_it_replays() {
    let mut env = Env::start(workflows![adds], "adds", ());
    env.first().commands();
    assert_eq!(short(&env.step([update("add", "u1", 4)]).commands()), ["accept u1", "+1"]);
    assert!(matches!(&news(&env)[0], (id, UpdateStage::Accepted { .. }) if id == "u1"));
    env.evict();
    assert_eq!(short(&env.step([completed(1, 40)]).commands()), ["answer u1"]);
    let UpdateStage::Completed { outcome, .. } = &news(&env)[0].1 else { panic!("{:?}", news(&env)) };
    assert_eq!(*outcome, UpdateOutcome::Completed(json(40)));
    env.evict();
    assert_eq!(short(&env.step([signal("done", 1)]).commands()), ["complete"]);
    assert_eq!(env.result::<u64>(), 40);
    env.replays_at_every_prefix();
}

#[test]
fn what_the_validator_refuses_leaves_no_trace() {
    let mut env = Env::start(workflows![adds], "adds", ());
    env.first().commands();
    let before = env.history.clone();
    let commands = env.step([update("add", "u1", 11)]).commands();
    let [Command::RejectWorkflowExecutionUpdate { update_id, failure }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((update_id.as_str(), failure.error_type.as_str()), ("u1", "TooMuch"));
    assert_eq!(failure.message, "11 on top of 0");
    assert_eq!(env.history, before);
    // What is in memory goes on, as if the task had never been.
    assert_eq!(short(&env.step([update("add", "u2", 3)]).commands()), ["accept u2", "+1"]);
    assert_eq!(short(&env.step([update("add", "u3", 12), signal("done", 1)]).commands()), Vec::<String>::new());
    assert_eq!(short(&env.step([completed(1, 3)]).commands())[0], "answer u2");
    env.replays_at_every_prefix();
}

#[test]
fn an_argument_of_another_type_is_refused_in_words() {
    let mut env = Env::start(workflows![adds], "adds", ());
    env.first().commands();
    let commands = env.step([update("add", "u1", "four")]).commands();
    let [Command::RejectWorkflowExecutionUpdate { failure, .. }] = &commands[..] else { panic!("{commands:?}") };
    assert!(failure.message.contains("argument of update `add` cannot be read as u64"), "{}", failure.message);
    env.replays_at_every_prefix();
}

#[test]
fn what_the_code_rejects_later_is_a_failed_update() {
    let mut env = Env::start(workflows![adds], "adds", ());
    env.first().commands();
    let commands = env.step([update("add", "u1", 0), update("add", "u2", 2)]).commands();
    assert_eq!(short(&commands), ["accept u1", "answer u1", "accept u2", "+1"]);
    let failed = Failure::application("Nothing", "0 adds nothing");
    let expected = UpdateOutcome::Failed(Box::new(failed));
    assert!(matches!(&commands[1], Command::CompleteWorkflowExecutionUpdate { outcome, .. } if *outcome == expected));
    env.step([completed(1, 2)]).commands();
    env.replays_at_every_prefix();
}

#[workflow]
async fn busy_first(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let first = ctx.activity(WORK, 1).await?;
    let request = ctx.requests(&ADD).next().await.ok_or(WorkflowError::Cancelled)?;
    let sum = first + *request.argument();
    request.reply(sum);
    Ok(sum)
}

#[test]
fn a_request_waits_until_the_code_asks_for_it_and_is_answered_with_its_last_step() {
    let mut env = Env::start(workflows![busy_first], "busy_first", ());
    let before_start = [update("add", "early", 5)];
    assert_eq!(short(&env.step(before_start).commands()), ["+1"]);
    // The inbox gives it again with every task.
    assert_eq!(
        short(&env.step([completed(1, 30), update("add", "early", 5)]).commands()),
        ["accept early", "answer early", "complete"]
    );
    assert_eq!(env.result::<u64>(), 35);
    env.replays_at_every_prefix();
}

#[workflow]
async fn forgets_to_answer(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let mut requests = ctx.requests(&ADD);
    drop(requests.next().await);
    ctx.receive(&DONE).await?;
    assert!(requests.next().await.is_none(), "the stream ends with a cancellation");
    Ok(())
}

#[test]
fn a_request_that_is_dropped_is_answered_with_a_failure() {
    let mut env = Env::start(workflows![forgets_to_answer], "forgets_to_answer", ());
    env.first().commands();
    let commands = env.step([update("add", "u1", 1)]).commands();
    let Command::CompleteWorkflowExecutionUpdate { outcome: UpdateOutcome::Failed(failure), .. } = &commands[1] else {
        panic!("{commands:?}")
    };
    assert_eq!(failure.message, "the workflow dropped the request of update `add` without an answer");
    env.step([signal("done", 1)]).commands();
    assert_eq!(short(&env.step([Input::Cancel]).commands()), ["complete"]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn answers_side_by_side(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let (mut requests, inner) = (ctx.requests(&ADD), ctx.clone());
    drop(ctx.spawn(async move {
        while let Some(request) = requests.next().await {
            let ctx = inner.clone();
            drop(inner.spawn(async move {
                let done = ctx.activity(WORK, *request.argument()).await;
                match done {
                    Ok(value) => request.reply(value),
                    Err(failure) => request.reject(failure),
                }
            }));
        }
    }));
    ctx.receive(&DONE).await
}

#[test]
fn requests_are_answered_side_by_side_and_those_left_hear_of_the_end() {
    let mut env = Env::start(workflows![answers_side_by_side], "answers_side_by_side", ());
    env.first().commands();
    let asked = [update("add", "a", 1), update("add", "b", 2), update("add", "c", 3)];
    assert_eq!(short(&env.step(asked).commands()), ["accept a", "+1", "accept b", "+2", "accept c", "+3"]);
    assert_eq!(short(&env.step([completed(3, 33), completed(1, 11)]).commands()), ["answer c", "answer a"]);
    env.evict();
    assert_eq!(short(&env.step([signal("done", 9)]).commands()), ["complete"]);
    let told = news(&env);
    assert!(matches!(&told[..], [(id, UpdateStage::Aborted { .. })] if id == "b"), "{told:?}");
    env.replays_at_every_prefix();
}
