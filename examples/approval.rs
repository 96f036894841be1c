//! A person decides, or time does: a signal races a timer.
//!
//! `cargo run --features dev --example approval`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use dacapo::prelude::*;

/// What the person says.
#[dacapo::data]
pub struct Decision {
    by: String,
    approved: bool,
}

const DECIDE: Signal<Decision> = Signal::new("decide");

#[workflow]
async fn approval(ctx: WorkflowContext, patience_ms: u64) -> Result<String, WorkflowError> {
    let decision = select! {
        decision = ctx.receive(&DECIDE) => decision?,
        _ = ctx.sleep(Duration::from_millis(patience_ms)) => return Ok("nobody decided in time".to_owned()),
    };
    let verb = if decision.approved { "approved" } else { "refused" };
    Ok(format!("{} {verb}", decision.by))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dev = dacapo::dev::Dev::start().await?;
    let worker = Worker::new(dev.engine()).task_queue("approval").workflow(approval).start()?;
    let client = Client::new(dev.engine()).task_queue("approval");

    let decided = client.start(approval, 60_000).await?;
    decided.signal(&DECIDE, Decision { by: "Ada".to_owned(), approved: true }).await?;
    println!("{}", decided.result().await?);

    let forgotten = client.start(approval, 200).await?;
    println!("{}", forgotten.result().await?);

    worker.stop();
    Ok(worker.stopped().await?)
}
