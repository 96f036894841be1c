//! The client against the in-memory store: every outcome that a caller can act on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use dacapo_core::{
    IdConflictPolicy, IdReusePolicy, Payload, RunId, RunStatus, StartWorkflow, Timestamp, WorkerId,
    store::{RunFilter, WorkerRegistration},
};
use dacapo_runtime::{Client, ClientError, Engine, WorkflowExecution, describe::Reason, memory::MemoryStore};

async fn engine() -> Engine {
    Engine::new(Arc::new(MemoryStore::new())).await.unwrap()
}

fn request(id: &str) -> StartWorkflow {
    StartWorkflow::new(Client::new_run_id(), id.into(), "checkout".into(), "orders".into(), Payload::null())
}

fn newest(id: &str) -> WorkflowExecution {
    WorkflowExecution::newest(id)
}

#[tokio::test]
async fn the_same_request_leads_to_the_same_run() {
    let client = engine().await.client();
    let with_request_id = || StartWorkflow { request_id: Some("r-1".to_owned()), ..request("order-1") };
    let first = client.start(with_request_id()).await.unwrap();
    let again = client.start(with_request_id()).await.unwrap();
    assert!(first.new && !again.new);
    assert_eq!(first.run, again.run);
}

#[tokio::test]
async fn an_open_workflow_id_is_refused_used_or_replaced() {
    let client = engine().await.client();
    let first = client.start(request("order-1")).await.unwrap();
    let with = |conflict_policy| StartWorkflow { conflict_policy, ..request("order-1") };
    match client.start(with(IdConflictPolicy::Fail)).await.unwrap_err() {
        ClientError::AlreadyOpen { run_id, .. } => assert_eq!(run_id, first.run.run_id),
        other => panic!("{other}"),
    }
    let used = client.start(with(IdConflictPolicy::UseExisting)).await.unwrap();
    assert_eq!((used.run, used.new), (first.run, false));
    let replaced = client.start(with(IdConflictPolicy::TerminateExisting)).await.unwrap();
    assert!(replaced.new && replaced.run != first.run);
    assert_eq!(client.result_of(first.run).await.unwrap().status, RunStatus::Terminated);
}

#[tokio::test]
async fn a_closed_workflow_id_is_used_again_as_its_policy_says() {
    let client = engine().await.client();
    let first = client.start(request("order-1")).await.unwrap();
    client.terminate(&newest("order-1"), "wrong order").await.unwrap();
    let refused =
        client.start(StartWorkflow { reuse_policy: IdReusePolicy::RejectDuplicate, ..request("order-1") }).await;
    assert!(matches!(refused, Err(ClientError::ReuseRefused { run_id, .. }) if run_id == first.run.run_id));
    let again = StartWorkflow { reuse_policy: IdReusePolicy::AllowDuplicateFailedOnly, ..request("order-1") };
    assert!(client.start(again).await.unwrap().new);
}

#[tokio::test]
async fn bad_requests_are_refused_before_anything_is_written() {
    let client = engine().await.client();
    let large = Some(Payload::encode("memo", &serde_json::json!({"note": "x".repeat(33_000)})).unwrap());
    for (bad, word) in [
        (StartWorkflow { memo: large, ..request("x") }, "the limit is 32768"),
        (StartWorkflow { workflow_id: "".into(), ..request("x") }, "workflow id is empty"),
        (StartWorkflow { workflow_id: "a\nb".into(), ..request("x") }, "control character"),
        (StartWorkflow { workflow_id: "x".repeat(1_001).into(), ..request("x") }, "the limit is 1000"),
        (StartWorkflow { priority: 9, ..request("x") }, "choose 1 (first) to 5 (last)"),
    ] {
        match client.start(bad).await.unwrap_err() {
            ClientError::Invalid { problem } => assert!(problem.contains(word), "{problem}"),
            other => panic!("{other}"),
        }
    }
    let unnamed = client.signal_with_start(request("x"), "", Payload::null()).await.unwrap_err();
    assert!(unnamed.to_string().contains("signal name is empty"), "{unnamed}");
    assert_eq!(client.count(RunFilter::default()).await.unwrap(), 0);
}

#[tokio::test]
async fn messages_say_when_nobody_can_receive_them() {
    let client = engine().await.client();
    let missing = client.signal(&newest("order-1"), "approve", Payload::null()).await.unwrap_err();
    assert!(matches!(missing, ClientError::NotFound { .. }));
    let no_run = WorkflowExecution::run("order-1", RunId(uuid::Uuid::now_v7()));
    assert!(matches!(client.cancel(&no_run, "").await.unwrap_err(), ClientError::NotFound { .. }));
    let started = client.start(request("order-1")).await.unwrap();
    client.signal(&newest("order-1"), "approve", Payload::null()).await.unwrap();
    client.terminate(&newest("order-1"), "").await.unwrap();
    for target in [newest("order-1"), WorkflowExecution::run("order-1", started.run.run_id)] {
        let closed = client.signal(&target, "approve", Payload::null()).await.unwrap_err();
        assert!(matches!(closed, ClientError::NotOpen { run_id, .. } if run_id == started.run.run_id), "{closed}");
    }
}

#[tokio::test]
async fn a_signal_goes_with_the_start_or_to_the_open_run() {
    let client = engine().await.client();
    let first = client.signal_with_start(request("cart"), "add", Payload::null()).await.unwrap();
    let second = client.signal_with_start(request("cart"), "add", Payload::null()).await.unwrap();
    assert!(first.new && !second.new);
    assert_eq!(first.run, second.run);
    let names: Vec<_> = client.history(first.run, 1).await.unwrap().iter().map(|event| event.event.name()).collect();
    assert_eq!(names[..2], ["WorkflowExecutionStarted", "WorkflowExecutionSignaled"]);
    assert_eq!(client.describe(&newest("cart")).await.unwrap().run.inbox, 1);
}

#[tokio::test]
async fn a_query_names_what_is_published() {
    let client = engine().await.client();
    client.start(request("order-1")).await.unwrap();
    let error = client.query(&newest("order-1"), "status").await.unwrap_err();
    assert_eq!(error.to_string(), "workflow `order-1` has published no value `status`; it has published none");
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let engine = engine().await;
    let (a, b) = (engine.client().with_namespace("a".into()), engine.client().with_namespace("b".into()));
    a.start(request("order-1")).await.unwrap();
    assert!(matches!(b.resolve(&newest("order-1")).await.unwrap_err(), ClientError::NotFound { .. }));
    assert_eq!(b.list(RunFilter::default(), 10).await.unwrap(), []);
    assert_eq!(a.list(RunFilter::default(), 10).await.unwrap().len(), 1);
    assert!(b.start(request("order-1")).await.unwrap().new);
}

fn registration(queue: &str, types: &[&str]) -> WorkerRegistration {
    WorkerRegistration {
        worker: WorkerId(uuid::Uuid::now_v7()),
        identity: "host:1".to_owned(),
        build_id: None,
        namespace: "default".into(),
        queues: vec![queue.into()],
        workflow_types: types.iter().map(|name| (*name).into()).collect(),
        activity_types: Vec::new(),
        lease: std::time::Duration::from_secs(60),
        slots: 1,
    }
}

#[tokio::test]
async fn describe_says_that_nobody_serves_the_queue_or_the_type() {
    let engine = engine().await;
    let client = engine.client();
    client.start(request("order-1")).await.unwrap();
    let reasons = client.describe(&newest("order-1")).await.unwrap().reasons;
    assert_eq!(reasons[0], Reason::NoWorkerServesQueue { task_queue: "orders".into() });
    engine.store().register(&registration("orders", &["refund"])).await.unwrap();
    let reasons = client.describe(&newest("order-1")).await.unwrap().reasons;
    let told = reasons[0].sentence(&|_: Timestamp| String::new());
    assert!(told.contains("has the workflow type `checkout` (known: refund)"), "{told}");
    engine.store().register(&registration("orders", &["checkout"])).await.unwrap();
    let reasons = client.describe(&newest("order-1")).await.unwrap().reasons;
    assert!(matches!(reasons[0], Reason::WaitsForClaim { .. }), "{reasons:?}");
    client.terminate(&newest("order-1"), "").await.unwrap();
    let reasons = client.describe(&newest("order-1")).await.unwrap().reasons;
    assert_eq!(reasons, [Reason::Closed { status: RunStatus::Terminated }]);
}

#[tokio::test]
async fn describe_says_that_a_start_is_delayed() {
    let client = engine().await.client();
    client.start(StartWorkflow { start_delay_ms: Some(60_000), ..request("later") }).await.unwrap();
    let reasons = client.describe(&newest("later")).await.unwrap().reasons;
    assert!(reasons.iter().any(|reason| matches!(reason, Reason::StartDelayed { .. })), "{reasons:?}");
    assert!(!reasons.iter().any(|reason| matches!(reason, Reason::WaitsForClaim { .. })), "{reasons:?}");
}
