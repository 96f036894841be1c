//! A durable timer: the workflow sleeps in the database, not in the process.
//!
//! `cargo run --features dev --example timer`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use dacapo::prelude::*;

const NEXT: Query<u32> = Query::new("next");

/// Counts down; whoever asks sees where it is.
#[workflow]
async fn countdown(ctx: WorkflowContext, from: u32) -> Result<String, WorkflowError> {
    for left in (1..=from).rev() {
        ctx.publish(&NEXT, &left);
        ctx.sleep(Duration::from_millis(300)).await?;
    }
    Ok("lift-off".to_owned())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dev = dacapo::dev::Dev::start().await?;
    let worker = Worker::new(dev.engine()).task_queue("timer").workflow(countdown).start()?;

    let client = Client::new(dev.engine()).task_queue("timer");
    let run = client.start(countdown, 3).await?;
    println!("{}", run.result().await?);
    println!("the last number published was {}", run.query(&NEXT).await?);

    worker.stop();
    Ok(worker.stopped().await?)
}
