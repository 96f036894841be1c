//! Fan out and join: a hundred activities at once.
//!
//! `cargo run --features dev --example parallel`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use dacapo::prelude::*;
use futures_util::future::try_join_all;

struct Arithmetic;

#[activities]
impl Arithmetic {
    /// Squares a number.
    #[activity(start_to_close = "10s")]
    async fn square(&self, _ctx: &ActivityContext, n: u64) -> Result<u64, ActivityError> {
        Ok(n * n)
    }
}

#[workflow]
async fn sum_of_squares(ctx: WorkflowContext, up_to: u64) -> Result<u64, WorkflowError> {
    let squares = try_join_all((1..=up_to).map(|n| ctx.activity(Arithmetic::square, n))).await?;
    Ok(squares.iter().sum())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dev = dacapo::dev::Dev::start().await?;
    let worker =
        Worker::new(dev.engine()).task_queue("parallel").workflow(sum_of_squares).activities(Arithmetic).start()?;

    let client = Client::new(dev.engine()).task_queue("parallel");
    println!("{}", client.start(sum_of_squares, 100).await?.result().await?);

    worker.stop();
    Ok(worker.stopped().await?)
}
