//! `result`: waits for a run and prints its result.

use clap::Args;

use super::{Context, args::Target, exit::Stop, outcome::await_result};

/// Waits until a workflow is closed and prints its result
#[derive(Debug, Clone, Args)]
pub(crate) struct ResultOf {
    #[command(flatten)]
    target: Target,
}

impl ResultOf {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let info = connection.client().resolve(&self.target.execution()).await?;
        await_result(context.output, connection.client(), &info.workflow_id, info.key).await?;
        connection.close().await
    }
}
