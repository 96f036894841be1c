//! `run`: starts a workflow, shows what it does, and waits for its result.

use clap::Args;

use super::{Context, exit::Stop, outcome::await_result, start::Start};

/// Starts a workflow, waits for it, and prints its result
#[derive(Debug, Clone, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    start: Start,
}

impl Run {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let (workflow_id, started) = self.start.start(connection.client()).await?;
        await_result(context.output, connection.client(), &workflow_id, started.run).await?;
        connection.close().await
    }
}
