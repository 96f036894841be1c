//! `bench`: what an engine carries on this machine and this Postgres.

use std::sync::Arc;

use clap::Args;
use dacapo_core::Store;
use dacapo_runtime::WorkerState;
use tokio::task::JoinSet;

use super::{
    Context,
    connect::{Connection, Database, Patience},
    exit::{Exit, Stop},
    process::stop_on_signals,
    table::{Cell, Table},
};
use crate::bench::{self, BenchOptions, Report};

/// Measures throughput and latency on this machine and this Postgres
///
/// Without a database URL it starts a private Postgres in this folder, with its default settings and fsync on. The runs
/// it makes stay in the database.
#[derive(Debug, Clone, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    options: BenchOptions,
}

impl Bench {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let database = Database::find(context, true).await?;
        let connection = Connection::open(context, database, Patience::Short).await?;
        let measured = bench::Database {
            store: Arc::clone(connection.engine().store()) as Arc<dyn Store>,
            url: connection.database().url.clone(),
            server_pid: connection.database().server_pid(),
        };
        let tell = |text: &str| context.output.note(text);
        let reports = bench::run(&measured, &self.options, &tell).await;
        let reports = reports.map_err(|error| Stop::new(Exit::Internal, format!("{error:#}")))?;
        if context.output.json {
            context.output.value(&serde_json::to_value(&reports).map_err(Stop::because(Exit::Internal))?)?;
        } else {
            let mut table = Table::new(Report::HEADS);
            reports.iter().for_each(|report| table.row(report.row().map(Cell::from)));
            context.output.table(&table)?;
        }
        connection.close().await
    }
}

/// Runs a worker of the measured workflows
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchWorker {
    /// The queue to serve
    #[arg(long)]
    queue: String,
    /// Threads for workflow code
    #[arg(long, default_value_t = 1)]
    workflow_threads: usize,
}

impl BenchWorker {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let mut tasks = JoinSet::new();
        let stop = stop_on_signals(&mut tasks)?;
        let connection = context.connect().await?;
        let worker = bench::start_inside(connection.engine(), &self.queue, self.workflow_threads)
            .map_err(|error| Stop::new(Exit::Internal, format!("{error:#}")))?;
        let mut state = worker.state();
        tokio::select! {
            () = stop.cancelled() => worker.stop(),
            _ = state.wait_for(|state| *state == WorkerState::Stopped) => {}
        }
        worker.stopped().await.map_err(Stop::because(Exit::Internal))?;
        connection.close().await
    }
}
