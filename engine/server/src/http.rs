//! The HTTP side: `/metrics`, `/livez`, `/readyz`.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use dacapo_core::{Namespace, Store, TaskQueue};
use tokio::{net::TcpListener, sync::Mutex, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::Recorder;

/// The media type of Prometheus' text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How long the database may take to answer a probe: less than what probes are commonly given (Kubernetes: 1 s).
const PROBE_TIMEOUT: Duration = Duration::from_millis(800);

/// How long counted queue depths are shown again, so that many scrapers cost as much as one.
const DEPTHS_KEPT: Duration = Duration::from_secs(2);

/// How long requests that are under way at shutdown may take.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(200);

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another process listens at the address.
    #[error(
        "cannot serve metrics at {address}: another process listens there; choose another port with `--metrics-addr`, \
         port 0 takes a free one"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened at.
    #[error("cannot serve metrics at {address}: give another one with `--metrics-addr`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What the server asks about the process it is part of.
#[derive(Clone)]
pub struct Probe {
    /// Answers whether the database is reachable, and what waits on the queues; set once there is one.
    pub store: Arc<OnceLock<Arc<dyn Store>>>,
    /// The namespace that the process serves.
    pub namespace: Namespace,
    /// The queues that the process serves; the depths of others are not shown, so that labels stay bounded.
    pub queues: Vec<TaskQueue>,
    /// Says why the process is not ready to work, apart from the database: no lease, draining. Empty when it is.
    pub not_ready: Arc<dyn Fn() -> Vec<&'static str> + Send + Sync>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("queues", &self.queues).finish_non_exhaustive()
    }
}

struct Shared {
    recorder: Recorder,
    probe: Probe,
    counted_at: Mutex<Option<Instant>>,
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens at an address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServerError`] names the flag that chooses another address.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServerError::AddressInUse { address },
            _ => ServerError::Bind { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// The address it listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is told to stop, and then lets requests under way finish for a moment.
    pub async fn serve(self, recorder: Recorder, probe: Probe, stop: CancellationToken) {
        let shared = Arc::new(Shared { recorder, probe, counted_at: Mutex::new(None) });
        let app = Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(readyz))
            .with_state(shared);
        let stopped = stop.clone();
        let serving = axum::serve(self.listener, app).with_graceful_shutdown(stopped.cancelled_owned());
        let grace = async {
            stop.cancelled().await;
            tokio::time::sleep(SHUTDOWN_GRACE).await;
        };
        // A branch that loses is dropped: connections that did not finish within the grace are cut.
        tokio::select! {
            served = async { serving.await } => {
                if let Err(error) = served {
                    tracing::error!(%error, "metrics are not served any more");
                }
            }
            () = grace => {}
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    count_queues(&shared).await;
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], shared.recorder.render())
}

async fn readyz(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    let mut problems = (shared.probe.not_ready)();
    match shared.probe.store.get() {
        None => problems.push("the database has not been reached yet"),
        Some(store) => match timeout(PROBE_TIMEOUT, store.clock()).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => problems.push("the database cannot be reached"),
            Err(_) => problems.push("the database does not answer in time"),
        },
    }
    if problems.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", problems.join("; ")))
    }
}

/// Counts what waits on the queues; without an answer of the database the last counts stay.
async fn count_queues(shared: &Shared) {
    let mut counted_at = shared.counted_at.lock().await;
    if counted_at.is_some_and(|at| at.elapsed() < DEPTHS_KEPT) {
        return;
    }
    let Some(store) = shared.probe.store.get() else { return };
    let Ok(Ok(depths)) = timeout(PROBE_TIMEOUT, store.queue_depths()).await else { return };
    *counted_at = Some(Instant::now());
    for queue in &shared.probe.queues {
        let depth = depths.iter().find(|depth| depth.namespace == shared.probe.namespace && depth.task_queue == *queue);
        let (runs, activities) = depth.map_or((0, 0), |depth| (depth.runs, depth.activities));
        for (kind, count) in [("workflow", runs), ("activity", activities)] {
            ::metrics::gauge!("dacapo_queue_depth", "task_queue" => queue.to_string(), "kind" => kind)
                .set(count as f64);
        }
    }
}
