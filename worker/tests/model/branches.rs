//! Code in a branch of a history: it replays what is copied, and is another run from there on.

use std::time::Duration;

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, Workflow},
    workflow,
};
use dacapo_core::{
    EventKind, RunId,
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
