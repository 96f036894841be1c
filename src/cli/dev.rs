//! `dev`: everything that is needed to write workflows, in one process.

use std::net::SocketAddr;

use clap::Args;
use dacapo_core::WorkflowType;
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    Context,
    connect::{Connection, Database, Patience},
    exit::Stop,
    process::{WorkerArgs, serve, stop_on_signals},
    telemetry::Telemetry,
};

/// Runs a private Postgres and a worker in this folder, for development
///
/// With a database URL, that database is used instead. The data stays in the folder for the next start.
#[derive(Debug, Clone, Args)]
pub(crate) struct Dev {
    #[command(flatten)]
    worker: WorkerArgs,
    /// Where to serve /metrics, /livez and /readyz; port 0 takes a free one
    #[arg(long, env = "DACAPO_METRICS_ADDR", value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    metrics_addr: SocketAddr,
}

impl Dev {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let mut tasks = JoinSet::new();
        let stop = stop_on_signals(&mut tasks)?;
        let options = self.worker.options(context);
        let telemetry = Telemetry::begin(Some(self.metrics_addr), &options).await?;
        let address = telemetry.address();
        let database = Database::find(context, true).await?;
        let patience = if database.data_dir().is_some() { Patience::Short } else { Patience::Endless };
        // Giving up the wait for a database loses nothing: nothing has been taken yet.
        let connection = tokio::select! {
            connection = Connection::open(context, database, patience) => connection?,
            () = stop.cancelled() => return Ok(()),
        };
        let registry = context.registry(connection.engine())?;
        let types = registry.workflow_types();
        let ready = || self.announce(context, &connection, &types, address);
        serve(&connection, registry, options, &telemetry, &stop, ready).await?;
        telemetry.end().await;
        connection.close().await
    }

    fn announce(
        &self,
        context: &Context,
        connection: &Connection,
        types: &[WorkflowType],
        address: Option<SocketAddr>,
    ) -> Result<(), Stop> {
        let database = connection.database();
        let queues = self.worker.queues();
        if context.output.json {
            let ready = json!({"database_url": database.url, "metrics_addr": address, "queues": queues});
            return context.output.value(&ready);
        }
        let program = &context.program;
        let example = types.first().map_or("TYPE", |name| name.as_str());
        let place = match database.data_dir() {
            Some(folder) => format!("private Postgres in {}", folder.display()),
            None => "the Postgres of the given URL".to_owned(),
        };
        let metrics = address.map(|address| format!("http://{address}/metrics")).unwrap_or_default();
        let names: Vec<String> = types.iter().map(ToString::to_string).collect();
        context.output.note(&format!(
            "{place}\n\
             queues     {queues}\n\
             workflows  {}\n\
             metrics    {metrics}\n\
             sql        psql '{}'\n\n\
             In this folder, from another terminal:\n\
             \x20 {program} run {example} --id first -i 'null'   starts a workflow and waits for its result\n\
             \x20 {program} ls                                lists what runs and ran\n\
             \x20 {program} describe first                    says what it waits for\n\
             \x20 {program} show first                        prints its history\n\n\
             Ctrl-C stops; the data stays.",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") },
            database.url,
        ));
        Ok(())
    }
}
