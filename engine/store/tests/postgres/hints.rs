//! Hints between processes.

use std::{sync::Arc, time::Duration};

use dacapo_core::{
    RunKey, Store, WorkerId,
    store::{Hint, HintReceiver, ReleaseRun, WriteOutcome},
};
use dacapo_store::PgStore;
use sqlx::postgres::PgListener;

use crate::common::*;

#[tokio::test]
async fn other_processes_hear_of_work_messages_and_ends() {
    let database = Database::new().await;
    let far = database.another_apart().await;
    hears_of_work_messages_and_ends(&database, far).await;
    database.finish().await;
}

#[tokio::test]
async fn processes_of_one_machine_hear_of_work_messages_and_ends() {
    let database = Database::new().await;
    let far = database.another().await;
    hears_of_work_messages_and_ends(&database, far).await;
    database.finish().await;
}

async fn hears_of_work_messages_and_ends(database: &Database, far: Arc<PgStore>) {
    let near = &database.store;
    let mut heard = far.hints();
    let worker = register(&far).await;
    hear(&mut heard, |hint| *hint == Hint::Everything).await;
    let request = request("a");
    let key = request.key();
    start(near, request).await;
    hear(&mut heard, |hint| *hint == Hint::RunsReady(QUEUE.into())).await;
    let mut owned = Owned::claim(&far, worker).await;
    owned.go(&far, vec![], vec![]).await;
    send(near, key, signal("x")).await.unwrap();
    hear(&mut heard, |hint| *hint == Hint::Inbox(vec![key])).await;
    // Whoever waits hears of the end, and one that is small comes along.
    let mut waits = near.hints();
    assert!(!near.hear_closed());
    assert!(near.results(&[key]).await.unwrap().is_empty());
    hear(&mut waits, |hint| *hint == Hint::Everything).await;
    let inbox = far.inbox(worker, &[key], 10).await.unwrap();
    assert!(matches!(owned.go(&far, vec![inbox[0].1.clone()], vec![complete()]).await, WriteOutcome::Applied));
    let ends = |hint: &Hint| matches!(hint, Hint::Ended(ends) if ends[0].0 == key && ends[0].1.result.is_some());
    hear(&mut waits, ends).await;
    far.close().await;
}

/// What the server is asked to tell, as anybody hears it who listens to all channels.
struct Overheard {
    listener: PgListener,
}

impl Overheard {
    async fn of(database: &Database, worker: WorkerId) -> Self {
        let mut listener = PgListener::connect(&database.url).await.unwrap();
        let of_worker = format!("dacapo_w_{}", worker.0.simple());
        listener.listen_all([of_worker.as_str(), "dacapo_closed", "dacapo_updated", "until_here"]).await.unwrap();
        Self { listener }
    }

    /// How much has been told since the last look.
    async fn count(&mut self, database: &Database) -> usize {
        database.sql("NOTIFY until_here").await;
        let mut count = 0;
        while self.listener.recv().await.unwrap().channel() != "until_here" {
            count += 1;
        }
        count
    }
}

/// Closes a run of a worker's, and gives its key.
async fn close_one(store: &PgStore, worker: WorkerId, workflow_id: &str) -> RunKey {
    let request = request(workflow_id);
    let key = request.key();
    start_as(store, request, Some(worker)).await.unwrap();
    let mut owned = Owned::of(worker, &store.load(&[key]).await.unwrap()[0]);
    assert!(matches!(owned.go(store, vec![], vec![complete()]).await, WriteOutcome::Applied));
    key
}

/// Closes one run after the other until nobody hears of it through the server, and all who wait hear of it.
async fn until_unheard(database: &Database, far: &PgStore, worker: WorkerId, overheard: &mut Overheard) {
    let mut waits = database.store.hints();
    for number in 0.. {
        overheard.count(database).await;
        let key = close_one(far, worker, &format!("unheard-{}", uuid::Uuid::now_v7())).await;
        hear(&mut waits, |hint| matches!(hint, Hint::Ended(ends) if ends[0].0 == key)).await;
        if overheard.count(database).await == 0 {
            return;
        }
        assert!(number < 1_000, "the server is asked to tell all the time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Another process with a worker, whose runs this one waits for; the server hears nothing of their ends any more. With what
/// anybody can overhear, and what this process hears.
#[cfg(target_os = "linux")]
async fn unheard(database: &Database) -> (Arc<PgStore>, WorkerId, Overheard, HintReceiver) {
    let far = database.another().await;
    let worker = register(&far).await;
    let mut overheard = Overheard::of(database, worker).await;
    let mut waits = database.store.hints();
    database.store.hear_closed();
    hear(&mut waits, |hint| *hint == Hint::Everything).await;
    until_unheard(database, &far, worker, &mut overheard).await;
    (far, worker, overheard, waits)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn processes_of_one_machine_leave_the_server_out_as_long_as_nobody_waits_elsewhere() {
    let database = Database::new().await;
    let (far, worker, mut overheard, _) = unheard(&database).await;
    let near = &database.store;
    // Messages go to one worker only.
    let owned = waiting_run(&far, worker, "messages").await;
    let mut heard = far.hints();
    send(near, owned.key(), signal("x")).await.unwrap();
    hear(&mut heard, |hint| *hint == Hint::Inbox(vec![owned.key()])).await;
    assert_eq!(overheard.count(&database).await, 0);
    // Somebody waits on another machine, from one moment to the next.
    let elsewhere = database.another_apart().await;
    let mut waits = elsewhere.hints();
    elsewhere.hear_closed();
    hear(&mut waits, |hint| *hint == Hint::Everything).await;
    // The second look: whatever it was not told of before, it sees.
    hear(&mut waits, |hint| *hint == Hint::Everything).await;
    let key = close_one(&far, worker, "elsewhere").await;
    hear(&mut waits, |hint| matches!(hint, Hint::Ended(ends) if ends[0].0 == key)).await;
    assert_eq!(overheard.count(&database).await, 1);
    // It is gone, and the server hears nothing any more.
    elsewhere.close().await;
    until_unheard(&database, &far, worker, &mut overheard).await;
    far.close().await;
    database.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_neighbour_does_not_read_goes_through_the_server() {
    let database = Database::new().await;
    let far = database.another().await;
    let worker = register(&far).await;
    let owned = waiting_run(&far, worker, "a").await;
    let mut heard = far.hints();
    let mut overheard = Overheard::of(&database, worker).await;
    // Its socket is gone, as after a clean-up of the folder for temporary files.
    let name = format!("w_{}", worker.0.simple());
    std::fs::remove_file(folder_of(&name).join(&name)).unwrap();
    send(&database.store, owned.key(), signal("x")).await.unwrap();
    hear(&mut heard, |hint| *hint == Hint::Inbox(vec![owned.key()])).await;
    assert_eq!(overheard.count(&database).await, 1);
    far.close().await;
    database.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_waits_and_finds_its_socket_gone_says_so() {
    let database = Database::new().await;
    let (far, worker, _, mut waits) = unheard(&database).await;
    let mut says = PgListener::connect(&database.url).await.unwrap();
    says.listen("dacapo_listeners").await.unwrap();
    // The folder for temporary files is cleaned; it sees that when it is to answer to another name.
    std::fs::remove_dir_all(folder_of(&format!("w_{}", worker.0.simple()))).unwrap();
    register(&database.store).await;
    tokio::time::timeout(Duration::from_secs(60), says.recv()).await.unwrap().unwrap();
    let key = close_one(&far, worker, "anew").await;
    hear(&mut waits, |hint| matches!(hint, Hint::Ended(ends) if ends[0].0 == key)).await;
    far.close().await;
    database.finish().await;
}

/// The folder in which processes of this machine find somebody of this name.
#[cfg(target_os = "linux")]
fn folder_of(name: &str) -> std::path::PathBuf {
    let folders = std::env::temp_dir().join(format!("dacapo-{}", nix::unistd::geteuid()));
    let mut folders = std::fs::read_dir(folders).unwrap().map(|folder| folder.unwrap().path());
    folders.find(|folder| folder.join(name).exists()).unwrap()
}

#[tokio::test]
async fn a_hint_for_later_comes_then() {
    let database = Database::new().await;
    let store = &database.store;
    let mut heard = store.hints();
    let worker = register(store).await;
    hear(&mut heard, |hint| *hint == Hint::Everything).await;
    let owned = waiting_run(store, worker, "a").await;
    let at = now(store).await.plus(Duration::from_millis(300));
    let given = ReleaseRun {
        key: owned.key(),
        owner_epoch: owned.epoch,
        next_event_id: owned.run.next_event_id,
        ready_at: Some(at),
    };
    store.release(worker, vec![given]).await.unwrap();
    hear(&mut heard, |hint| *hint == Hint::RunsReady(QUEUE.into())).await;
    assert!(now(store).await >= at);
    assert_eq!(store.claim_runs(worker, &claim_of(1)).await.unwrap().runs.len(), 1);
    database.finish().await;
}

/// Whoever writes and leaves says so before: otherwise others would find out with the next renewal of a lease.
#[tokio::test]
async fn what_is_written_last_is_told_before_a_process_ends() {
    let database = Database::new().await;
    let mut heard = database.store.hints();
    register(&database.store).await;
    hear(&mut heard, |hint| *hint == Hint::Everything).await;
    for number in 0..20 {
        let leaves = database.another().await;
        // Two of them, because one start by itself takes its news along.
        let (first, second) = (request(&format!("a{number}")), request(&format!("b{number}")));
        tokio::join!(start(&leaves, first), start(&leaves, second));
        leaves.close().await;
        hear(&mut heard, |hint| *hint == Hint::RunsReady(QUEUE.into())).await;
    }
    database.finish().await;
}
