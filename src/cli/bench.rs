//! `bench`: what an engine carries on this machine and this Postgres.

use std::sync::Arc;

use clap::Args;
use dacapo_runtime::WorkerState;
use dacapo_store::PgStore;
use tokio::task::JoinSet;

use super::{
    Context,
    connect::{Connection, Database, Patience},
    exit::{Exit, Stop},
    process::stop_on_signals,
    table::{Cell, Table},
};
use crate::bench::{self, BenchOptions, Progress, Report};

/// Measures throughput and latency on this machine and this Postgres
///
/// Without a database URL it starts a private Postgres in this folder, with its default settings and fsync on. The runs
/// it makes stay in the database, closed. After each scenario everything that is stored is verified; exit code 6 if
/// there are violations. Ctrl-C ends the measurement of a flow, and shows what there is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    options: BenchOptions,
}

impl Bench {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let plans = self.options.plan().map_err(|problem| Stop::new(Exit::Invalid, problem))?;
        let mut tasks = JoinSet::new();
        let interrupted = stop_on_signals(&mut tasks)?;
        let database = Database::find(context, true).await?;
        let options = database.options();
        let connection = Connection::open(context, database, Patience::Short).await?;
        let store = PgStore::connect(options.clone()).await?;
        let measured = bench::Database {
            options,
            store: Arc::new(store),
            namespace: context.global.namespace(),
            server_pid: connection.database().server_pid(),
            log: context.global.log.clone(),
            interrupted: interrupted.clone(),
        };
        let progress = Arc::new(Progress::new(context.output.watched));
        let mut reports = Vec::new();
        let ran = bench::run(&measured, &self.options, plans, &progress, &mut reports).await;
        drop(progress);
        // What was measured before something went wrong took its time, and is not lost.
        if ran.is_ok() || !reports.is_empty() {
            show(context, &reports)?;
        }
        let exit = if interrupted.is_cancelled() { Exit::Interrupted } else { Exit::Internal };
        ran.map_err(|error| Stop::new(exit, format!("{error:#}")))?;
        connection.close().await?;
        let violations: Vec<&str> = reports.iter().flat_map(Report::violations).map(String::as_str).collect();
        if violations.is_empty() {
            let stopped = "interrupted: the last scenario took less time than it was to, and others may be missing";
            return if interrupted.is_cancelled() { Err(Stop::new(Exit::Interrupted, stopped)) } else { Ok(()) };
        }
        Err(Stop::new(Exit::Violations, format!("violations after the last scenario:\n{}", violations.join("\n"))))
    }
}

fn show(context: &Context, reports: &[Report]) -> Result<(), Stop> {
    let output = context.output;
    if output.json {
        return output.value(&serde_json::to_value(reports).map_err(Stop::because(Exit::Internal))?);
    }
    let mut table = Table::new(Report::HEADS);
    reports.iter().for_each(|report| table.row(report.row().map(Cell::from)));
    output.table(&table)?;
    let mut details = Table::new(["SCENARIO", "FIGURE", "VALUE"]);
    reports.iter().flat_map(Report::details).for_each(|detail| details.row(detail.map(Cell::from)));
    output.line("")?;
    output.table(&details)
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
    /// Tell others what has changed, and hear of it, through the server only
    #[arg(long)]
    apart: bool,
}

impl BenchWorker {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let mut tasks = JoinSet::new();
        let stop = stop_on_signals(&mut tasks)?;
        let database = Database::find(context, false).await?;
        let mut options = database.options();
        options.neighbours = !self.apart;
        let connection = Connection::open_with(context, database, options, Patience::Short).await?;
        let namespace = context.global.namespace();
        let worker = bench::start_inside(connection.engine(), &self.queue, namespace.as_str(), self.workflow_threads)
            .map_err(|error| Stop::new(Exit::Internal, format!("{error:#}")))?;
        let mut state = worker.state();
        tokio::select! {
            () = stop.cancelled() => worker.stop(),
            () = orphaned() => worker.stop(),
            _ = state.wait_for(|state| *state == WorkerState::Stopped) => {}
        }
        worker.stopped().await.map_err(Stop::because(Exit::Internal))?;
        connection.close().await
    }
}

/// Waits until whoever measures is gone: it holds the other end of stdin and never writes.
async fn orphaned() {
    // A thread that still reads when the process ends does not keep it.
    let read = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    if let Ok(Err(error)) = read.await {
        tracing::debug!(%error, "stdin cannot be read, which is taken for its end");
    }
}
