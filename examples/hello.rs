//! The smallest workflow: one activity, one result.
//!
//! `cargo run --features dev --example hello`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use dacapo::prelude::*;

struct Greeter;

#[activities]
impl Greeter {
    /// Greets by name.
    #[activity(start_to_close = "10s")]
    async fn greet(&self, _ctx: &ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(format!("Hello, {name}!"))
    }
}

#[workflow]
async fn hello(ctx: WorkflowContext, name: String) -> Result<String, WorkflowError> {
    Ok(ctx.activity(Greeter::greet, name).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dev = dacapo::dev::Dev::start().await?;
    let worker = Worker::new(dev.engine()).task_queue("hello").workflow(hello).activities(Greeter).start()?;

    let client = Client::new(dev.engine()).task_queue("hello");
    let greeting = client.start(hello, "world".to_owned()).await?.result().await?;
    println!("{greeting}");

    worker.stop();
    Ok(worker.stopped().await?)
}
