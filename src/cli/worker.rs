//! `worker`: one process of the fleet.

use std::net::SocketAddr;

use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    Context,
    connect::{Connection, Database, Patience, redact},
    exit::Stop,
    process::{WorkerArgs, serve, stop_on_signals},
    telemetry::Telemetry,
};

/// Runs a worker: one process of the fleet that serves task queues
///
/// SIGTERM and Ctrl-C make it hand its work back and leave; once more ends it at once.
#[derive(Debug, Clone, Args)]
pub(crate) struct Worker {
    #[command(flatten)]
    worker: WorkerArgs,
    /// Where to serve /metrics, /livez and /readyz, such as 0.0.0.0:9464; nowhere when absent
    #[arg(long, env = "DACAPO_METRICS_ADDR", value_name = "ADDRESS")]
    metrics_addr: Option<SocketAddr>,
}

impl Worker {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let mut tasks = JoinSet::new();
        let stop = stop_on_signals(&mut tasks)?;
        let options = self.worker.options(context);
        let telemetry = Telemetry::begin(self.metrics_addr, &options).await?;
        let address = telemetry.address();
        let database = Database::find(context, false).await?;
        let shown = redact(&database.url);
        // Giving up the wait for a database loses nothing: nothing has been taken yet.
        let connection = tokio::select! {
            connection = Connection::open(context, database, Patience::Endless) => connection?,
            () = stop.cancelled() => return Ok(()),
        };
        let registry = context.registry(connection.engine())?;
        let queues = self.worker.queues();
        let ready = || {
            if context.output.json {
                return context.output.value(&json!({"metrics_addr": address, "queues": queues}));
            }
            tracing::info!(database = shown, queues, metrics = ?address, "ready");
            Ok(())
        };
        serve(&connection, registry, options, &telemetry, &stop, ready).await?;
        telemetry.end().await;
        connection.close().await
    }
}
