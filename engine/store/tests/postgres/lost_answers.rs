//! The answer lost between commit and reply: a proxy cuts the connection when the server has spoken.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dacapo_core::{
    ActivityOptions, ActivityOutcome, ActivityResult, EventKind, RunId, Store,
    branch::{BranchPlan, BranchRun, Reapply, Reset, ResetPoint},
    store::{
        ActivityClaim, ActivityReport, BranchOutcome, HandedStarts, ReportOutcome, RunsPart, SendOutcome, StartOutcome,
        StoreError, WriteOutcome,
    },
};
use dacapo_devpg::Cluster;
use dacapo_store::{PgStore, PgStoreOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use crate::common::*;

/// Stands between a store and the server. Armed with a needle, it waits for a connection whose client says it, swallows
/// what the server answers there, and hangs up.
struct Proxy {
    url: String,
    needle: Arc<Mutex<Option<Vec<u8>>>>,
    cuts: Arc<AtomicU64>,
    _folder: tempfile::TempDir,
}

impl Proxy {
    fn to(database: &Database) -> Self {
        let real = Cluster::shared_for_tests().unwrap().url_for("x");
        let host = real.split("host=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        let port = real.split("localhost:").nth(1).unwrap().split('/').next().unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(format!(".s.PGSQL.{port}"))).unwrap();
        let url = database.url.replace(&host, folder.path().to_str().unwrap());
        let server = PathBuf::from(host).join(format!(".s.PGSQL.{port}"));
        let (needle, cuts) = (Arc::new(Mutex::new(None)), Arc::new(AtomicU64::new(0)));
        let (look_for, count) = (Arc::clone(&needle), Arc::clone(&cuts));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&server).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&look_for), Arc::clone(&count)));
            }
        });
        Self { url, needle, cuts, _folder: folder }
    }

    async fn store(&self) -> PgStore {
        PgStore::connect(PgStoreOptions::new(&self.url)).await.unwrap()
    }

    fn arm(&self, needle: &str) {
        self.arm_bytes(needle.as_bytes());
    }

    fn arm_bytes(&self, needle: &[u8]) {
        *self.needle.lock().unwrap() = Some(needle.to_vec());
    }
}

async fn carry(client: UnixStream, server: UnixStream, needle: Arc<Mutex<Option<Vec<u8>>>>, cuts: Arc<AtomicU64>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let found = Arc::new(AtomicBool::new(false));
    let finds = Arc::clone(&found);
    let forth = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            let mut needle = needle
                .lock()
                .unwrap()
                .take_if(|needle| buffer[..count].windows(needle.len()).any(|window| window == needle.as_slice()));
            if needle.take().is_some() {
                finds.store(true, Ordering::SeqCst);
            }
            if to_server.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 65_536];
    while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
        if found.load(Ordering::SeqCst) {
            // The server answers a flush after its commit: what the answer says is true and nobody hears it.
            cuts.fetch_add(1, Ordering::SeqCst);
            break;
        }
        if to_client.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    forth.abort();
}

#[tokio::test]
async fn a_start_whose_answer_was_lost_is_started_once() {
    let database = Database::new().await;
    let proxy = Proxy::to(&database);
    let store = proxy.store().await;
    start(&store, request("warm")).await;
    let at = now(&store).await;
    let request = request("needle in a haystack");
    let transition = request.transition(at);
    let (reply, answer) = tokio::sync::oneshot::channel();
    let reply = dacapo_core::store::Reply::new(move |outcome| drop(reply.send(outcome)));
    proxy.arm("needle in a haystack");
    store.start(dacapo_core::store::StartWrite { request, transition, owner: None, ready_at: at }, reply);
    assert_eq!(answer.await.unwrap().unwrap(), StartOutcome::Started);
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 1);
    assert_eq!(database.count("dacapo.runs").await, 2);
    store.close().await;
    database.finish().await;
}

#[tokio::test]
async fn a_start_and_its_taking_whose_answers_were_lost_leave_the_run_with_its_worker() {
    let database = Database::new().await;
    let proxy = Proxy::to(&database);
    let store = proxy.store().await;
    let worker = register(&store).await;
    store.take_starts(worker, Some(std::time::Duration::from_secs(60))).await.unwrap();
    start(&store, request("warm")).await;
    assert_eq!(store.take_handed(worker, &HandedStarts::Oldest(1_000)).await.unwrap().runs.len(), 1);
    let request = request("needle in a haystack");
    let key = request.key();
    proxy.arm("needle in a haystack");
    assert_eq!(start(&store, request).await, StartOutcome::Started);
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 1);
    assert_eq!(database.count("dacapo.handed").await, 1, "once");

    proxy.arm_bytes(worker.0.as_bytes());
    assert!(store.take_handed(worker, &HandedStarts::Oldest(1_000)).await.is_err());
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 2);
    assert_eq!(database.count("dacapo.handed").await, 0);
    // It is the worker's, which finds it as it finds a run whose claim had no answer.
    let owned = store.owned_runs(worker, RunsPart::WHOLE).await.unwrap();
    assert!(owned.contains(&(key, 1)), "{owned:?}");
    store.close().await;
    database.finish().await;
}

#[tokio::test]
async fn a_signal_whose_answer_was_lost_arrives_once() {
    let database = Database::new().await;
    let proxy = Proxy::to(&database);
    let store = proxy.store().await;
    let request = request("a");
    start(&store, request.clone()).await;
    send(&store, request.key(), signal("warm")).await.unwrap();
    proxy.arm("needle in a haystack");
    assert_eq!(send(&store, request.key(), signal("needle in a haystack")).await.unwrap(), SendOutcome::Accepted);
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 1);
    assert_eq!(database.count("dacapo.inbox").await, 2);
    store.close().await;
    database.finish().await;
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_unknown_until_it_is_fenced() {
    let database = Database::new().await;
    let proxy = Proxy::to(&database);
    let store = proxy.store().await;
    let worker = register(&store).await;
    let mut owned = waiting_run(&store, worker, "a").await;
    let step = owned.step(&store, vec![signal("needle in a haystack")], vec![]).await;
    proxy.arm("needle in a haystack");
    assert!(matches!(owned.write(&store, step.clone()).await, WriteOutcome::Unknown));
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 1);
    let epoch = store.fence(worker, owned.key(), owned.epoch).await.unwrap().unwrap();
    let loaded = store.load(&[owned.key()]).await.unwrap().remove(0);
    assert_eq!(loaded.owner_epoch, epoch);
    let signals = loaded.events.iter().filter(|e| matches!(e.event, EventKind::WorkflowExecutionSignaled(_)));
    assert_eq!(signals.count(), 1, "it had been written");
    assert!(matches!(owned.write(&store, step).await, WriteOutcome::Fenced));
    store.close().await;
    database.finish().await;
}

#[tokio::test]
async fn an_activity_result_whose_answer_was_lost_is_recorded_once() {
    let database = Database::new().await;
    let proxy = Proxy::to(&database);
    let store = proxy.store().await;
    let worker = register(&store).await;
    let mut owned = waiting_run(&store, worker, "a").await;
    let wanted = ActivityClaim { namespace: "default".into(), queues: vec![QUEUE.into()], limit: 1 };
    for activity_id in 1..=2 {
        let step = owned.turn(&store, |turn| turn.message(signal("go"))).await;
        owned.write(&store, step).await;
        owned.offer(&store, activity_id, ActivityOptions::default()).await;
        let claimed = store.claim_activities(worker, &wanted).await.unwrap().remove(0);
        let outcome = ActivityOutcome {
            activity_id,
            attempt: 1,
            started_at: None,
            identity: if activity_id == 1 { "the first" } else { "the second" }.into(),
            last_heartbeat: None,
            result: ActivityResult::Completed(payload("1")),
        };
        if activity_id == 2 {
            proxy.arm("the second");
        }
        let report = ActivityReport { worker, claim: claimed.claim, outcome };
        assert_eq!(store.complete_activity(report).await.unwrap(), ReportOutcome::Accepted);
    }
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 1);
    assert_eq!(database.count("dacapo.inbox").await, 2);
    store.close().await;
    database.finish().await;
}

fn reset(source: dacapo_core::RunKey, request_id: &str) -> BranchRun {
    let (run_id, reapply) = (RunId(uuid::Uuid::now_v7()), Reapply::Messages);
    let plan = Reset { point: ResetPoint::FirstWorkflowTask, run_id, reason: String::new(), reapply };
    let (request_id, identity) = (request_id.to_owned(), String::new());
    BranchRun { source, plan: BranchPlan::Reset(plan), request_id, identity }
}

#[tokio::test]
async fn a_reset_that_is_cut_off_before_its_commit_never_was() {
    let database = Database::new().await;
    let proxy = Proxy::to(&database);
    let store = proxy.store().await;
    let worker = register(&store).await;
    let mut owned = waiting_run(&store, worker, "a").await;
    // Who asks is written with the end of the old run, before the request is remembered and all of it is committed.
    let asked = BranchRun { identity: "needle in a haystack".to_owned(), ..reset(owned.key(), "once") };
    proxy.arm("needle in a haystack");
    let cut = store.branch(&asked).await.unwrap_err();
    assert!(matches!(cut, StoreError::Unavailable { .. }), "{cut:?}");
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 1);
    for (table, rows) in [("runs_open", 1), ("runs_closed", 0), ("branches", 0), ("start_requests", 0)] {
        assert_eq!(database.count(&format!("dacapo.{table}")).await, rows, "{table}");
    }
    let again = store.branch(&asked).await.unwrap();
    assert!(matches!(again, BranchOutcome::Branched { .. }), "{again:?}");
    let late = owned.turn(&store, |turn| turn.message(signal("late"))).await;
    assert!(matches!(owned.write(&store, late).await, WriteOutcome::Fenced));
    store.close().await;
    database.finish().await;
}

#[tokio::test]
async fn a_reset_whose_answer_was_lost_is_made_once() {
    let database = Database::new().await;
    let proxy = Proxy::to(&database);
    let store = proxy.store().await;
    let worker = register(&store).await;
    let owned = waiting_run(&store, worker, "a").await;
    let asked = reset(owned.key(), "once");
    proxy.arm("COMMIT");
    let cut = store.branch(&asked).await.unwrap_err();
    assert!(matches!(cut, StoreError::Unavailable { .. }), "{cut:?}");
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 1);
    let run = dacapo_core::RunKey { run_id: asked.run_id(), ..owned.key() };
    assert_eq!(store.branch(&asked).await.unwrap(), BranchOutcome::Duplicate { run });
    let other = BranchRun { plan: reset(owned.key(), "").plan, ..asked };
    assert_eq!(store.branch(&other).await.unwrap(), BranchOutcome::Duplicate { run }, "whatever id the resend brings");
    assert_eq!(database.count("dacapo.runs").await, 2);
    store.close().await;
    database.finish().await;
}
