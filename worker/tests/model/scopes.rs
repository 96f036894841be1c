//! Scopes of cancellation.

use std::time::Duration;

use dacapo::{
    CancellationToken, WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, Signal},
    join, workflow,
};
use dacapo_core::CancellationType;

use crate::{
    harness::{Env, Input, completed, short, signal},
    workflows,
};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const GO: Signal<u64> = Signal::new("go");
const SECOND: Duration = Duration::from_secs(1);

#[workflow]
async fn one_part(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let part = |token: CancellationToken| {
        let ctx = ctx.clone();
        async move {
            let (call, timer, told) = join!(ctx.activity(WORK, 1), ctx.sleep(SECOND), token.cancelled());
            assert!(call.unwrap_err().is_cancelled());
            assert_eq!((timer, told), (Err(WorkflowError::Cancelled), ()));
            let kept = ctx.shielded(ctx.activity(WORK, 2)).await;
            assert!(ctx.activity(WORK, 3).await.is_err(), "the scope stays cancelled");
            kept
        }
    };
    let token = ctx.cancellation();
    let canceller = async {
        let value = ctx.receive(&GO).await?;
        token.cancel();
        assert!(token.is_cancelled() && !ctx.is_cancel_requested());
        Ok::<_, WorkflowError>(value)
    };
    let (kept, value, outside) = join!(token.run(part(token.clone())), canceller, ctx.activity(WORK, 4));
    Ok(kept? + value? + outside?)
}

#[test]
fn cancelling_a_scope_ends_what_is_in_it_and_nothing_else() {
    let mut env = Env::start(workflows![one_part], "one_part", ());
    // The numbers follow the order in which the calls are made: the one outside is made before the scope is polled.
    assert_eq!(env.first().commands().len(), 3);
    let commands = short(&env.step([signal("go", 100)]).commands());
    assert_eq!(commands.iter().filter(|command| command.starts_with('-')).count(), 2, "{commands:?}");
    assert_eq!(commands.iter().filter(|command| command.starts_with('+')).count(), 1, "{commands:?}");
    env.evict();
    let open: Vec<_> = env.run.activities.iter().filter(|(_, it)| !it.cancel_requested).map(|(id, _)| *id).collect();
    for id in open {
        env.step([completed(id, 10)]).commands();
    }
    assert_eq!(env.result::<u64>(), 120);
    env.replays_at_every_prefix();
}

#[workflow]
async fn nested(ctx: WorkflowContext) -> Result<Vec<bool>, WorkflowError> {
    let outer = ctx.scope(|outer| {
        let ctx = ctx.clone();
        async move {
            let inner = ctx.scope(|inner| {
                let (ctx, outer) = (ctx.clone(), outer.clone());
                async move {
                    let call = ctx.activity(WORK, 1).cancellation(CancellationType::Abandon);
                    let failed = call.await.is_err();
                    vec![failed, inner.is_cancelled(), outer.is_cancelled()]
                }
            });
            let (mut seen, call) = join!(inner, ctx.activity(WORK, 2));
            seen.push(call.is_err());
            seen
        }
    });
    Ok(outer.await)
}

#[test]
fn a_request_to_cancel_the_run_reaches_every_scope() {
    let mut env = Env::start(workflows![nested], "nested", ());
    env.first().commands();
    assert_eq!(short(&env.step([Input::Cancel]).commands()), ["complete"]);
    assert_eq!(env.result::<Vec<bool>>(), [true; 4]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn cancelled_from_within(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let ended = ctx.scope(|token| {
        let ctx = ctx.clone();
        async move {
            let (failed, ()) = join!(ctx.activity(WORK, 1), async {
                let _ = ctx.receive(&GO).await;
                token.cancel();
            });
            failed
        }
    });
    let failed = ended.await;
    assert!(failed.unwrap_err().is_cancelled());
    Ok(ctx.activity(WORK, 2).await?)
}

#[test]
fn a_scope_may_cancel_itself_and_the_code_after_it_is_free() {
    let mut env = Env::start(workflows![cancelled_from_within], "cancelled_from_within", ());
    env.first().commands();
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["-1", "+2"]);
    env.step([completed(2, 5)]).commands();
    assert_eq!(env.result::<u64>(), 5);
    env.replays_at_every_prefix();
}
