//! Metrics and health as a scraper and a probe see them, over plain TCP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dacapo_core::{Payload, StartWorkflow, Store};
use dacapo_runtime::{Client, Engine, memory::MemoryStore};
use dacapo_server::{METRICS, Probe, Recorder, Server, ServerError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// The recorder is the process's; tests share it.
static RECORDER: LazyLock<Mutex<Recorder>> = LazyLock::new(|| Mutex::new(Recorder::install().unwrap()));

struct Running {
    address: SocketAddr,
    draining: Arc<AtomicBool>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

async fn serve(store: Arc<dyn Store>) -> Running {
    serve_with(Arc::new(OnceLock::from(store))).await
}

async fn serve_with(store: Arc<OnceLock<Arc<dyn Store>>>) -> Running {
    let recorder = RECORDER.lock().unwrap().clone();
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    let draining = Arc::new(AtomicBool::new(false));
    let stop = CancellationToken::new();
    let asked = Arc::clone(&draining);
    let probe = Probe {
        store,
        namespace: "default".into(),
        queues: vec!["orders".into()],
        not_ready: Arc::new(move || {
            if asked.load(Ordering::Relaxed) { vec!["the worker hands its work back"] } else { Vec::new() }
        }),
    };
    let serving = tokio::spawn(server.serve(recorder, probe, stop.clone()));
    Running { address, draining, stop, serving }
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn metrics_have_help_types_buckets_and_bounded_labels() {
    let store = Arc::new(MemoryStore::new());
    let running = serve(Arc::clone(&store) as _).await;
    let client = Engine::new(store).await.unwrap().client();
    for (id, queue) in [("a", "orders"), ("b", "orders"), ("c", "elsewhere")] {
        let run_id = Client::new_run_id();
        client.start(StartWorkflow::new(run_id, id.into(), "w".into(), queue.into(), Payload::null())).await.unwrap();
    }
    metrics::histogram!("dacapo_flush_seconds", "lane" => "append").record(0.0004);
    let (status, text) = get(running.address, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "# TYPE dacapo_workflow_starts_total counter",
        "# HELP dacapo_fenced_writes_total ",
        "dacapo_fenced_writes_total 0",
        "dacapo_owned_runs 0",
        "dacapo_flush_seconds_bucket{lane=\"append\",le=\"0.0005\"} 1",
        "dacapo_queue_depth{task_queue=\"orders\",kind=\"workflow\"} 2",
        "dacapo_queue_depth{task_queue=\"orders\",kind=\"activity\"} 0",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "`{line}` is missing in\n{text}");
    }
    assert!(!text.contains("elsewhere"), "a queue that is not served here must not become a label");
    for metric in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = metric.split(' ').next().unwrap();
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name} is not in METRICS");
    }
}

#[tokio::test]
async fn probes_tell_alive_from_ready() {
    let running = serve(Arc::new(MemoryStore::new())).await;
    assert_eq!(get(running.address, "/livez").await, (200, "alive\n".to_owned()));
    assert_eq!(get(running.address, "/readyz").await, (200, "ready\n".to_owned()));
    running.draining.store(true, Ordering::Relaxed);
    let (status, text) = get(running.address, "/readyz").await;
    assert_eq!((status, text.as_str()), (503, "not ready: the worker hands its work back\n"));
    assert_eq!(get(running.address, "/livez").await.0, 200);
    assert_eq!(get(running.address, "/nothing").await.0, 404);
}

#[tokio::test]
async fn a_process_that_waits_for_its_database_is_alive() {
    let store = Arc::new(OnceLock::new());
    let running = serve_with(Arc::clone(&store)).await;
    assert_eq!(get(running.address, "/livez").await.0, 200);
    assert_eq!(get(running.address, "/metrics").await.0, 200);
    let (status, text) = get(running.address, "/readyz").await;
    assert_eq!((status, text.as_str()), (503, "not ready: the database has not been reached yet\n"));
    let reached: Arc<dyn Store> = Arc::new(MemoryStore::new());
    assert!(store.set(reached).is_ok());
    assert_eq!(get(running.address, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_taken_port_names_the_flag() {
    let taken = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Server::bind(taken.address()).await.unwrap_err();
    assert!(matches!(error, ServerError::AddressInUse { .. }));
    assert!(error.to_string().contains("--metrics-addr"), "{error}");
    let foreign = Server::bind("203.0.113.1:9".parse().unwrap()).await.unwrap_err();
    assert!(matches!(foreign, ServerError::Bind { .. }) && foreign.to_string().contains("--metrics-addr"));
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_client_that_says_nothing() {
    let running = serve(Arc::new(MemoryStore::new())).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    silent.write_all(b"GET /metrics HTT").await.unwrap();
    assert_eq!(get(running.address, "/livez").await.0, 200);
    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running.serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}
