//! Code in a branch of a history: it replays what is copied, and is another run from there on.

use std::time::Duration;

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, Workflow},
    workflow,
};
use dacapo_core::{
    Event, EventKind, RunId,
    branch::{Reapply, Reset, ResetPoint, reset},
};
use uuid::Uuid;

use crate::{
    harness::{Env, child_completed, completed, short},
    workflows,
};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const PACK: Workflow<u64, u64> = Workflow::new("pack");

#[workflow]
async fn draws_twice(ctx: WorkflowContext) -> Result<(u64, Uuid, String), WorkflowError> {
    let drawn = ctx.random().u64();
    ctx.activity(WORK, drawn).await?;
    let mut child = ctx.child(PACK, 1).start().await?;
    child.result().await?;
    Ok((drawn, ctx.uuid(), child.workflow_id().to_string()))
}

#[test]
fn a_branch_replays_what_is_copied_and_draws_other_numbers_afterwards() {
    let mut env = Env::start(workflows![draws_twice], "draws_twice", ());
    env.first().commands();
    env.step([completed(1, 1)]).commands();
    env.step([child_completed(2, 1)]).commands();
    let (drawn, uuid, child) = env.result::<(u64, Uuid, String)>();
    let last_task = env.history.iter().rfind(|event| matches!(event.event, EventKind::WorkflowTaskStarted(_))).unwrap();
    let asked = Reset {
        point: ResetPoint::Event(last_task.event_id),
        run_id: RunId(Uuid::from_u128(8)),
        reason: "once more".to_owned(),
        reapply: Reapply::default(),
    };
    let plan = reset(&env.history, &asked, env.run.last_event_time).unwrap();
    let mut branch = Env::of_history(workflows![draws_twice], plan.transition.events.clone());
    assert_eq!(short(&branch.step([]).commands()), ["complete"]);
    let (drawn_again, other_uuid, same_child) = branch.result::<(u64, Uuid, String)>();
    assert_eq!((drawn_again, &same_child), (drawn, &child), "as in the history that was copied");
    assert_ne!(other_uuid, uuid, "what two runs draw must not be the same");
    branch.replays_at_every_prefix();
}

#[workflow]
async fn draws_each_time(ctx: WorkflowContext) -> Result<Vec<u64>, WorkflowError> {
    let mut drawn = Vec::new();
    for n in 0..4 {
        drawn.push(ctx.random().u64());
        ctx.activity(WORK, n).await?;
    }
    Ok(drawn)
}

/// Branches a history off at the start of its so-manieth workflow task, and lets its code go on to its end.
fn drawn_after_reset(history: &[Event], task: usize, run_id: u128) -> (Vec<u64>, Vec<Event>) {
    let started = history.iter().filter(|event| matches!(event.event, EventKind::WorkflowTaskStarted(_)));
    let asked = Reset {
        point: ResetPoint::Event(started.map(|event| event.event_id).nth(task - 1).unwrap()),
        run_id: RunId(Uuid::from_u128(run_id)),
        reason: "once more".to_owned(),
        reapply: Reapply::default(),
    };
    let plan = reset(history, &asked, history.last().unwrap().event_time).unwrap();
    let mut branch = Env::of_history(workflows![draws_each_time], plan.transition.events.clone());
    branch.step([]).commands();
    while let Some(id) = branch.run.activities.keys().next().copied() {
        branch.step([completed(id, 1)]).commands();
    }
    branch.replays_at_every_prefix();
    (branch.result(), branch.history)
}

#[test]
fn a_reset_of_a_reset_draws_what_its_prefix_drew() {
    let mut env = Env::start(workflows![draws_each_time], "draws_each_time", ());
    env.first().commands();
    for id in 1..=4 {
        env.step([completed(id, 1)]).commands();
    }
    let first = env.result::<Vec<u64>>();
    // Tasks 1 and 2 drew the first two numbers; the third of the history is run again.
    let (second, history) = drawn_after_reset(&env.history, 3, 8);
    assert!(second[..2] == first[..2] && second[2] != first[2] && second[3] != first[3], "{first:?} {second:?}");
    // After the branch: its own numbers up to there, and others from there on.
    let (third, _) = drawn_after_reset(&history, 5, 9);
    assert!(third[..3] == second[..3] && third[3] != second[3], "{second:?} {third:?}");
    // Before the branch: those of the first run.
    let (fourth, again) = drawn_after_reset(&history, 2, 10);
    assert!(fourth[..1] == first[..1] && fourth[1] != first[1], "{first:?} {fourth:?}");
    let (fifth, _) = drawn_after_reset(&again, 4, 11);
    assert_eq!(fifth[..2], fourth[..2], "however often");
}
