//! The worker process: this binary, run again with settings in its environment.

use std::{io::Read, path::PathBuf, sync::Arc, time::Duration};

use dacapo::{Client, Engine, PgStore, PgStoreOptions, Worker};
use dacapo_server::Recorder;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::code;

/// The variable with the [`Settings`] of a worker process.
pub(crate) const SETTINGS: &str = "DACAPO_TEST_WORKER";

/// The time between two writings of the metrics file.
const METRICS_INTERVAL: Duration = Duration::from_millis(100);

/// What a worker registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Serves {
    Everything,
    Workflows,
    Activities,
}

/// What a worker process is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) identity: String,
    pub(crate) queue: String,
    pub(crate) serves: Serves,
    /// Where it writes its metrics.
    pub(crate) metrics: PathBuf,
    pub(crate) lease: Option<Duration>,
    pub(crate) lease_renewal: Option<Duration>,
    pub(crate) cached_runs: Option<usize>,
    pub(crate) concurrent_activities: Option<usize>,
    pub(crate) workflow_threads: Option<usize>,
    /// Whether its code has a bug that another build has not.
    pub(crate) buggy: bool,
    pub(crate) workflow_task_timeout: Option<Duration>,
}

/// Not a test by itself: without settings it has nothing to do.
#[test]
fn worker_process() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    let settings: Settings = serde_json::from_str(&settings).unwrap();
    std::thread::spawn(leave_with_the_test);
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(std::env::var("RUST_LOG").unwrap_or_else(|_| "info,sqlx=warn".to_owned()))
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(serve(settings));
    // Workflow code that never returns must not keep the process.
    runtime.shutdown_background();
}

/// The other end of standard input is held by the test; when it is gone there is nobody to work for.
fn leave_with_the_test() {
    let mut nothing = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut nothing);
    std::process::exit(3);
}

async fn serve(settings: Settings) {
    let mut terminated = signal(SignalKind::terminate()).unwrap();
    let recorder = Recorder::install().unwrap();
    let store = Arc::new(PgStore::connect(PgStoreOptions::new(&settings.url)).await.unwrap());
    let engine = Engine::new(store).await.unwrap();
    let client = Client::new(&engine).task_queue(settings.queue.as_str());
    let metrics = tokio::spawn(write_metrics(recorder.clone(), settings.metrics.clone()));
    let mut worker = Worker::new(&engine)
        .task_queue(settings.queue.as_str())
        .identity(&settings.identity)
        .registry(code::registry(&settings, client))
        .configure(|options| {
            options.lease = settings.lease.unwrap_or(options.lease);
            options.lease_renewal = settings.lease_renewal.unwrap_or(options.lease_renewal);
            options.workflow_task_timeout = settings.workflow_task_timeout.unwrap_or(options.workflow_task_timeout);
        });
    if let Some(runs) = settings.cached_runs {
        worker = worker.cached_runs(runs);
    }
    if let Some(activities) = settings.concurrent_activities {
        worker = worker.concurrent_activities(activities);
    }
    if let Some(threads) = settings.workflow_threads {
        worker = worker.workflow_threads(threads);
    }
    worker.run(terminated.recv()).await.unwrap();
    engine.store().close().await;
    metrics.abort();
    let _ = metrics.await;
    store_metrics(&recorder, &settings.metrics);
}

async fn write_metrics(recorder: Recorder, file: PathBuf) {
    loop {
        store_metrics(&recorder, &file);
        tokio::time::sleep(METRICS_INTERVAL).await;
    }
}

/// Replaces the file in one step, so that a reader never finds half of it.
fn store_metrics(recorder: &Recorder, file: &PathBuf) {
    let written = file.with_extension("new");
    std::fs::write(&written, recorder.render()).unwrap();
    std::fs::rename(&written, file).unwrap();
}
