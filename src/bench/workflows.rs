//! The workflows that are measured, and the hidden worker that runs them.

use dacapo_worker::{ActivityContext, ActivityError, Registry, WorkflowContext, WorkflowError};
use futures_util::future::try_join_all;

/// Activities of one `sequence` workflow.
pub(super) const SEQUENCE: u64 = 10;

/// Activities of one `fanout` workflow.
pub(super) const FANOUT: u64 = 100;

struct Bench;

#[dacapo_worker::activities]
impl Bench {
    #[activity(name = "bench.echo", start_to_close = "60s")]
    async fn echo(&self, _ctx: &ActivityContext, body: String) -> Result<String, ActivityError> {
        Ok(body)
    }
}

#[dacapo_worker::workflow(name = "bench.noop")]
async fn noop(ctx: WorkflowContext, body: String) -> Result<String, WorkflowError> {
    Ok(ctx.activity(Bench::echo, body).await?)
}

#[dacapo_worker::workflow(name = "bench.sequence")]
async fn sequence(ctx: WorkflowContext, body: String) -> Result<String, WorkflowError> {
    let mut body = body;
    for _ in 0..SEQUENCE {
        body = ctx.activity(Bench::echo, body).await?;
    }
    Ok(body)
}

#[dacapo_worker::workflow(name = "bench.fanout")]
async fn fanout(ctx: WorkflowContext, body: String) -> Result<usize, WorkflowError> {
    let all = try_join_all((0..FANOUT).map(|_| ctx.activity(Bench::echo, body.clone()))).await?;
    Ok(all.len())
}

/// The registry of a worker that is measured.
pub(super) fn registry() -> Registry {
    Registry::new().workflow(noop).workflow(sequence).workflow(fanout).activities(Bench)
}
