//! A worker process of the command line: worker, metrics, signals.

use std::{net::SocketAddr, sync::Arc};

use clap::Args;
use dacapo_core::TaskQueue;
use dacapo_runtime::{WorkerOptions, WorkerState};
use dacapo_server::{Probe, Recorder, Server};
use dacapo_worker::{DEFAULT_TASK_QUEUE, Registry, Worker};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Context,
    connect::Connection,
    exit::{Exit, Stop},
};

/// How a worker is set up.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerArgs {
    /// The task queues to serve; may be repeated, or separated by commas
    #[arg(short, long = "queue", value_name = "QUEUE", default_value = DEFAULT_TASK_QUEUE, value_delimiter = ',')]
    queues: Vec<String>,
    /// Activities that run at once
    #[arg(long, value_name = "N", default_value_t = dacapo_core::limits::CONCURRENT_ACTIVITIES)]
    slots: usize,
    /// Runs that are kept in memory
    #[arg(long, value_name = "N", default_value_t = dacapo_core::limits::CACHED_RUNS)]
    cached_runs: usize,
    /// Threads that run workflow code; one per core up to 4 when absent
    #[arg(long, value_name = "N")]
    workflow_threads: Option<usize>,
    /// The build of the code, shown in histories and in `workers`
    #[arg(long, env = "DACAPO_BUILD_ID", value_name = "ID")]
    build_id: Option<String>,
    /// The name of this process, for people; host and process id when absent
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    identity: String,
}

impl WorkerArgs {
    /// The queues, for people.
    pub(crate) fn queues(&self) -> String {
        self.queues.join(", ")
    }

    fn options(&self, context: &Context) -> WorkerOptions {
        let defaults = WorkerOptions::default();
        WorkerOptions {
            namespace: context.global.namespace(),
            queues: self.queues.iter().map(|queue| TaskQueue::new(queue.as_str())).collect(),
            identity: self.identity.clone(),
            build_id: self.build_id.clone(),
            cached_runs: self.cached_runs.max(1),
            concurrent_activities: self.slots,
            workflow_threads: self.workflow_threads.unwrap_or(defaults.workflow_threads).max(1),
            ..defaults
        }
    }
}

/// The server of metrics and health, before there is anything to tell.
#[derive(Debug)]
pub(crate) struct Telemetry {
    recorder: Recorder,
    server: Option<Server>,
}

impl Telemetry {
    /// Begins to record, and takes the port, before anything else is started.
    pub(crate) async fn begin(address: Option<SocketAddr>) -> Result<Self, Stop> {
        let recorder = Recorder::install().map_err(Stop::because(Exit::Internal))?;
        let server = match address {
            Some(address) => Some(Server::bind(address).await.map_err(Stop::because(Exit::Internal))?),
            None => None,
        };
        Ok(Self { recorder, server })
    }

    /// The address of the server, if there is one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Server::address)
    }
}

/// Makes a token that SIGINT and SIGTERM cancel; the second of them ends the process at once.
pub(crate) fn stop_on_signals(tasks: &mut JoinSet<()>) -> Result<CancellationToken, Stop> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tasks.spawn(async move {
        for first in [true, false] {
            let code = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            };
            if first {
                tracing::info!("stopping: work is handed back; once more stops at once");
                told.cancel();
            } else {
                std::process::exit(code);
            }
        }
    });
    Ok(stop)
}

/// Runs a worker until `stop`, serving metrics beside it; `ready` is told when it takes work.
pub(crate) async fn serve(
    context: &Context,
    connection: &Connection,
    registry: Registry,
    args: &WorkerArgs,
    telemetry: Telemetry,
    stop: &CancellationToken,
    ready: impl FnOnce() -> Result<(), Stop>,
) -> Result<(), Stop> {
    let options = args.options(context);
    let configured = options.clone();
    let worker = Worker::new(connection.engine()).registry(registry).configure(|options| *options = configured);
    let worker = worker.start().map_err(Stop::because(Exit::Invalid))?;
    let mut state = worker.state();
    let server_stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    if let Some(server) = telemetry.server {
        let probe = Probe {
            store: Arc::clone(connection.engine().store()),
            namespace: options.namespace,
            queues: options.queues,
            not_ready: not_ready(worker.state()),
        };
        tasks.spawn(server.serve(telemetry.recorder, probe, server_stop.clone()));
    }
    // A wait that loses is dropped; the state stays with its receiver.
    let serving = tokio::select! {
        joined = state.wait_for(|state| *state == WorkerState::Serving) => joined.is_ok(),
        () = stop.cancelled() => false,
    };
    let announced = if serving { ready() } else { Ok(()) };
    if announced.is_ok() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = ended(&mut state) => {}
        }
    }
    worker.stop();
    let stopped = worker.stopped().await.map_err(Stop::because(Exit::Internal));
    server_stop.cancel();
    while tasks.join_next().await.is_some() {}
    announced.and(stopped)
}

/// Waits until the worker has ended by itself.
async fn ended(state: &mut watch::Receiver<WorkerState>) {
    // An error says that nobody will change the state any more, which is an end as well.
    let _ = state.wait_for(|state| *state == WorkerState::Stopped).await;
}

fn not_ready(state: watch::Receiver<WorkerState>) -> Arc<dyn Fn() -> Vec<&'static str> + Send + Sync> {
    Arc::new(move || match *state.borrow() {
        WorkerState::Serving => Vec::new(),
        WorkerState::Joining => vec!["the worker holds no lease"],
        WorkerState::Draining => vec!["the worker hands its work back"],
        WorkerState::Stopped => vec!["the worker has stopped"],
    })
}
