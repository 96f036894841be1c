//! Metrics and health of a worker process, from before it reaches its database until after it has left it.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use dacapo_core::Store;
use dacapo_runtime::{WorkerOptions, WorkerState};
use dacapo_server::{Probe, Recorder, Server};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Stop};

type Watched = Arc<OnceLock<watch::Receiver<WorkerState>>>;

/// The server of metrics and health; without an address, only the recorder.
pub(crate) struct Telemetry {
    address: Option<SocketAddr>,
    store: Arc<OnceLock<Arc<dyn Store>>>,
    worker: Watched,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Telemetry {
    /// Begins to record and to serve, before anything else is started: a process that waits for its database is alive.
    pub(crate) async fn begin(address: Option<SocketAddr>, options: &WorkerOptions) -> Result<Self, Stop> {
        let recorder = Recorder::install().map_err(Stop::because(Exit::Internal))?;
        let (store, worker) = (Arc::default(), Watched::default());
        let stop = CancellationToken::new();
        let mut telemetry = Self { address: None, store, worker, stop, tasks: JoinSet::new() };
        if let Some(address) = address {
            let server = Server::bind(address).await.map_err(Stop::because(Exit::Internal))?;
            let watched = Arc::clone(&telemetry.worker);
            let probe = Probe {
                store: Arc::clone(&telemetry.store),
                namespace: options.namespace.clone(),
                queues: options.queues.clone(),
                not_ready: Arc::new(move || not_ready(&watched).into_iter().collect()),
            };
            telemetry.address = Some(server.address());
            telemetry.tasks.spawn(server.serve(recorder, probe, telemetry.stop.clone()));
        }
        Ok(telemetry)
    }

    /// The address of the server, if there is one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Tells of the worker and its store from now on.
    pub(crate) fn attach(&self, store: &Arc<dyn Store>, worker: watch::Receiver<WorkerState>) {
        // A process runs one worker; what was attached first stays.
        let _ = self.store.set(Arc::clone(store));
        let _ = self.worker.set(worker);
    }

    /// Stops serving.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Says why the worker takes no work, if so.
fn not_ready(worker: &Watched) -> Option<&'static str> {
    match worker.get().map(|state| *state.borrow()) {
        Some(WorkerState::Serving) => None,
        None => Some("the worker has not begun"),
        Some(WorkerState::Joining) => Some("the worker holds no lease"),
        Some(WorkerState::Draining) => Some("the worker hands its work back"),
        Some(WorkerState::Stopped) => Some("the worker has stopped"),
    }
}
