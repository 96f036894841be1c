//! An activity that fails twice and succeeds the third time, and one that must not be tried again.
//!
//! `cargo run --features dev --example retry`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use dacapo::prelude::*;

struct Bank;

#[activities]
impl Bank {
    /// Answers from the third attempt on.
    #[activity(start_to_close = "10s", initial_interval = "50ms")]
    async fn balance(&self, ctx: &ActivityContext) -> Result<u32, ActivityError> {
        match ctx.attempt() {
            attempt @ 1..=2 => Err(ActivityError::new("Unavailable", format!("attempt {attempt} met a closed door"))),
            attempt => Ok(attempt),
        }
    }

    /// Refuses for good.
    #[activity(start_to_close = "10s")]
    async fn withdraw(&self, _ctx: &ActivityContext, amount: u32) -> Result<(), ActivityError> {
        Err(ActivityError::new("InsufficientFunds", format!("{amount} is more than there is")).non_retryable())
    }
}

#[workflow]
async fn visit(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let attempts = ctx.activity(Bank::balance, ()).await?;
    let refused = match ctx.activity(Bank::withdraw, 1_000).await {
        Ok(()) => "nothing".to_owned(),
        Err(failure) => format!("{}: {}", failure.error_type(), failure.message()),
    };
    Ok(format!("the balance came at attempt {attempts}; {refused}"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dev = dacapo::dev::Dev::start().await?;
    let worker = Worker::new(dev.engine()).task_queue("retry").workflow(visit).activities(Bank).start()?;

    let client = Client::new(dev.engine()).task_queue("retry");
    println!("{}", client.start(visit, ()).await?.result().await?);

    worker.stop();
    Ok(worker.stopped().await?)
}
