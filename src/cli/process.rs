//! A worker process of the command line: its options, its signals, its life.

use clap::Args;
use dacapo_core::TaskQueue;
use dacapo_runtime::{WorkerOptions, WorkerState};
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
    telemetry::Telemetry,
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
    /// Threads that run workflow code; half of the cores, 1 to 4, when absent
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

    /// Gives the options of the worker.
    pub(crate) fn options(&self, context: &Context) -> WorkerOptions {
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

/// Runs a worker until `stop`; `ready` is told when it takes work.
pub(crate) async fn serve(
    connection: &Connection,
    registry: Registry,
    options: WorkerOptions,
    telemetry: &Telemetry,
    stop: &CancellationToken,
    ready: impl FnOnce() -> Result<(), Stop>,
) -> Result<(), Stop> {
    let worker = Worker::new(connection.engine()).registry(registry).configure(|configured| *configured = options);
    let worker = worker.start().map_err(Stop::because(Exit::Invalid))?;
    telemetry.attach(connection.engine().store(), worker.state());
    let mut state = worker.state();
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
    announced.and(stopped)
}

/// Waits until the worker has ended by itself.
async fn ended(state: &mut watch::Receiver<WorkerState>) {
    // An error says that nobody will change the state any more, which is an end as well.
    let _ = state.wait_for(|state| *state == WorkerState::Stopped).await;
}
