//! Starts that are handed to a worker at once: to whom, how they are taken, and what becomes of them where they are not.

use std::{sync::Arc, time::Duration};

use dacapo_core::{
    IdConflictPolicy, Namespace, RunKey, StartWorkflow, Store, WorkerId,
    outbox::OutboxBody,
    store::{
        BeatInterest, BroughtRun, BroughtStarts, HandedId, HandedStarts, Hint, HintReceiver, LoadedRun, SendOutcome,
        StartOutcome, WorkerRegistration, WriteOutcome,
    },
};
use dacapo_store::PgStore;

use crate::common::*;

const WHILE: Option<Duration> = Some(Duration::from_secs(60));
const AT_ONCE: Duration = Duration::ZERO;

/// A worker that takes starts.
async fn taker(store: &PgStore) -> WorkerId {
    let worker = register(store).await;
    store.take_starts(worker, WHILE).await.unwrap();
    worker
}

/// A worker of another process that takes starts and hears of them.
async fn far_taker(database: &Database) -> (Arc<PgStore>, WorkerId, HintReceiver) {
    let far = database.another().await;
    let mut heard = far.hints();
    let worker = taker(&far).await;
    hear(&mut heard, |hint| *hint == Hint::Everything).await;
    (far, worker, heard)
}

async fn take(store: &PgStore, worker: WorkerId) -> Vec<LoadedRun> {
    store.take_handed(worker, &HandedStarts::Oldest(1_000)).await.unwrap().runs
}

async fn start_together(database: &Database, requests: Vec<StartWorkflow>) -> Vec<StartOutcome> {
    behind_a_held_start(database, requests.into_iter().map(|request| start(&database.store, request)).collect()).await
}

/// Who owns a run, under which epoch, and whether it is ready for others.
async fn state(database: &Database, run: RunKey) -> (Option<WorkerId>, i32, bool) {
    let loaded = database.store.load(&[run]).await.unwrap().remove(0);
    let ready = database.count(&format!("dacapo.ready WHERE run_id = '{}'", run.run_id)).await > 0;
    (loaded.owner, loaded.owner_epoch, ready)
}

#[tokio::test]
async fn a_lone_start_goes_to_a_worker_that_takes_starts_and_to_nobody_else() {
    let database = Database::new().await;
    let near = &database.store;
    let (far, worker, mut heard) = far_taker(&database).await;
    let (request, second) = (request("a"), request("b"));
    let (key, second_key) = (request.key(), second.key());
    assert_eq!(start(near, request.clone()).await, StartOutcome::Started);
    let brought = loop {
        match heard.next().await {
            Hint::Brought(brought) => break brought,
            Hint::RunsReady(queue) => panic!("{queue} has nothing to claim"),
            _ => {}
        }
    };
    let handed = vec![brought.handed];
    assert_eq!(state(&database, key).await, (Some(worker), 1, false));
    assert_eq!(start(near, second).await, StartOutcome::Started);
    let taken = far.take_handed(worker, &HandedStarts::Some(handed.clone())).await.unwrap();
    assert_eq!(taken.runs.iter().map(|run| run.key).collect::<Vec<_>>(), [key], "only those that were named");
    assert_eq!((taken.runs[0].owner, taken.runs[0].owner_epoch, taken.runs[0].events.len()), (Some(worker), 1, 2));
    assert!(taken.waited < Duration::from_secs(60));
    let oldest = far.take_handed(worker, &HandedStarts::Oldest(0)).await.unwrap();
    assert!(oldest.runs.is_empty(), "no more than was asked for");
    let again = far.take_handed(worker, &HandedStarts::Some(handed)).await.unwrap();
    assert!(again.runs.is_empty(), "each is taken once");
    assert_eq!(take(&far, worker).await[0].key, second_key);
    assert!(far.claim_runs(worker, &claim_of(10)).await.unwrap().runs.is_empty());
    // It is the run's owner in every respect, and a start that is sent again finds the run.
    let mut owned = Owned::of(worker, &taken.runs[0]);
    assert!(matches!(owned.go(&far, vec![], vec![complete()]).await, WriteOutcome::Applied));
    assert!(matches!(start(near, request).await, StartOutcome::Duplicate { run, .. } if run == key));
    assert_eq!(database.count("dacapo.handed").await, 0);
    far.close().await;
    database.finish().await;
}

/// Waits until a hint has brought all runs of some flush.
async fn brought_to(heard: &mut HintReceiver) -> (HandedId, Vec<Arc<BroughtStarts>>) {
    let mut parts: Vec<Arc<BroughtStarts>> = Vec::new();
    loop {
        match heard.next().await {
            Hint::Brought(brought) => parts.push(brought),
            Hint::Handed(numbers) => panic!("{numbers:?} have to be read"),
            _ => {}
        }
        let Some(last) = parts.last() else { continue };
        let (handed, of) = (last.handed, last.of);
        let come = parts.iter().filter(|part| part.handed == handed).map(|part| part.runs.len()).sum::<usize>();
        if come == of {
            parts.retain(|part| part.handed == handed);
            return (handed, parts);
        }
    }
}

#[tokio::test]
async fn starts_are_brought_to_their_worker_which_need_not_read_them() {
    let database = Database::new().await;
    let (far, worker, mut heard) = far_taker(&database).await;
    // More than one notification holds.
    let input = payload(&format!("{:?}", "ü".repeat(300)));
    let of = |id: String| StartWorkflow { input: input.clone(), ..request(&id) };
    let requests: Vec<StartWorkflow> = (0..60).map(|number| of(format!("run-{number}"))).collect();
    let (first, rest) = (requests[0].clone(), requests[1..].to_vec());
    assert_eq!(start(&database.store, first).await, StartOutcome::Started);
    let (lone, mut parts) = brought_to(&mut heard).await;
    start_together(&database, rest).await;
    let mut flushes = vec![lone];
    while parts.iter().map(|part| part.runs.len()).sum::<usize>() < 61 {
        let (flush, more) = brought_to(&mut heard).await;
        flushes.push(flush);
        parts.extend(more);
    }
    assert!(parts.len() > flushes.len(), "one flush came in parts");
    assert!(parts.iter().all(|part| part.worker == worker));
    let runs: Vec<&BroughtRun> = parts.iter().flat_map(|part| &part.runs).collect();
    for request in &requests {
        let run = runs.iter().find(|run| run.key == request.key()).expect("it was brought");
        let (brought, read) = (run.load(worker).unwrap(), far.load(&[run.key]).await.unwrap().remove(0));
        assert_eq!((brought.owner, brought.owner_epoch), (read.owner, read.owner_epoch));
        assert_eq!(brought.events, read.events);
        let mut owned = Owned::of(worker, &brought);
        assert!(matches!(owned.go(&far, vec![], vec![complete()]).await, WriteOutcome::Applied));
    }
    // Those that are not here yet wait for their worker, or for others.
    let (known, unknown) = flushes.split_at(1);
    assert!(far.took_brought(worker, known).await.unwrap().is_some_and(|ago| ago < Duration::from_secs(60)));
    let left = database.count("dacapo.handed").await;
    assert_eq!(left, unknown.len() as i64);
    // A worker that hears of one too late is told so.
    assert_eq!(far.took_brought(worker, &flushes).await.unwrap(), None, "one is not there any more");
    assert_eq!(database.count("dacapo.handed").await, 0);
    far.close().await;
    database.finish().await;
}

#[tokio::test]
async fn what_is_too_large_to_bring_is_read_by_its_worker() {
    let database = Database::new().await;
    let (far, worker, mut heard) = far_taker(&database).await;
    let large = StartWorkflow { input: payload(&format!("{:?}", "x".repeat(9_000))), ..request("large") };
    assert_eq!(start(&database.store, large.clone()).await, StartOutcome::Started);
    let handed = loop {
        match heard.next().await {
            Hint::Handed(handed) => break handed,
            Hint::Brought(brought) => panic!("{} runs came along", brought.of),
            _ => {}
        }
    };
    let taken = far.take_handed(worker, &HandedStarts::Some(handed)).await.unwrap();
    assert_eq!(taken.runs.iter().map(|run| run.key).collect::<Vec<_>>(), [large.key()]);
    far.close().await;
    database.finish().await;
}

#[tokio::test]
async fn a_flush_of_starts_goes_to_one_worker_without_those_that_were_there() {
    let database = Database::new().await;
    let worker = taker(&database.store).await;
    let there = request("there");
    assert_eq!(start(&database.store, there.clone()).await, StartOutcome::Started);
    assert_eq!(take(&database.store, worker).await.len(), 1);
    let new: Vec<StartWorkflow> = (0..20).map(|number| request(&number.to_string())).collect();
    // One whose run has a time limit has a row beside its history.
    let limited = StartWorkflow { run_timeout_ms: Some(60_000), ..request("limited") };
    let mut keys: Vec<RunKey> = new.iter().chain([&limited]).map(StartWorkflow::key).collect();
    let requests = new.into_iter().chain([limited, request("there")]).collect();
    let outcomes = start_together(&database, requests).await;
    assert!(outcomes[..21].iter().all(|outcome| *outcome == StartOutcome::Started), "{outcomes:?}");
    assert_eq!(outcomes[21], StartOutcome::AlreadyOpen { run_id: there.run_id });
    assert_eq!(database.count("dacapo.ready").await, 0);
    // The first start of the lane was one by itself, those that gathered behind it are one.
    assert_eq!(database.count("dacapo.handed").await, 2);
    let mut taken: Vec<RunKey> = take(&database.store, worker).await.into_iter().map(|run| run.key).collect();
    taken.retain(|key| keys.contains(key));
    taken.sort_unstable();
    keys.sort_unstable();
    assert_eq!(taken, keys);
    assert_eq!(database.count("dacapo.timers").await, 1);
    database.finish().await;
}

#[tokio::test]
async fn workers_that_may_not_have_a_start_do_not_get_it() {
    let database = Database::new().await;
    let store = &database.store;
    let elsewhere = [
        WorkerRegistration { namespace: Namespace::new("other"), ..registration() },
        WorkerRegistration { queues: vec!["other".into()], ..registration() },
        WorkerRegistration { workflow_types: vec!["other".into()], ..registration() },
    ];
    for other in &elsewhere {
        store.register(other).await.unwrap();
        store.take_starts(other.worker, WHILE).await.unwrap();
    }
    let (shut, dead, lapsed) = (taker(store).await, taker(store).await, taker(store).await);
    store.take_starts(shut, None).await.unwrap();
    database.sql(&format!("UPDATE dacapo.workers SET dead = true WHERE worker = '{dead}'")).await;
    lapse(&database, lapsed).await;
    let silent = taker(store).await;
    let past = "clock_timestamp() - interval '1 s'";
    database.sql(&format!("UPDATE dacapo.workers SET takes_until = {past} WHERE worker = '{silent}'")).await;
    let first = request("a");
    assert_eq!(start(store, first.clone()).await, StartOutcome::Started);
    assert_eq!(state(&database, first.key()).await, (None, 0, true));

    // A start for later is nobody's yet, and one that is for a worker itself is that worker's.
    let live = taker(store).await;
    let (later, own) = (request("later"), request("own"));
    let at = now(store).await.plus(Duration::from_secs(60));
    assert_eq!(start_at(store, later.clone(), None, at).await.unwrap(), StartOutcome::Started);
    assert_eq!(state(&database, later.key()).await, (None, 0, true));
    assert_eq!(start_as(store, own.clone(), Some(shut)).await.unwrap(), StartOutcome::Started);
    assert_eq!(state(&database, own.key()).await, (Some(shut), 1, false));
    // A flush of types of which nobody serves all is for anybody.
    let mixed = vec![request("b"), StartWorkflow { workflow_type: "other".into(), ..request("c") }];
    let keys: Vec<RunKey> = mixed.iter().map(StartWorkflow::key).collect();
    start_together(&database, mixed).await;
    assert_eq!(state(&database, keys[0]).await, (None, 0, true));
    assert_eq!(state(&database, keys[1]).await, (None, 0, true));
    assert_eq!(take(store, live).await.len(), 1, "that which held up the flush");
    database.finish().await;
}

#[tokio::test]
async fn what_is_not_taken_is_given_back_to_everybody_unless_its_owner_works_at_it() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = taker(store).await;
    let (untaken, begun) = (request("untaken"), request("begun"));
    let (untaken_key, begun_key) = (untaken.key(), begun.key());
    start(store, untaken).await;
    start(store, begun).await;
    // The owner may have found the run in another way, by comparing the table with its memory.
    let mut owned = Owned::of(worker, &store.load(&[begun_key]).await.unwrap()[0]);
    assert!(matches!(owned.go(store, vec![], vec![]).await, WriteOutcome::Applied));
    let mut late = Owned::of(worker, &store.load(&[untaken_key]).await.unwrap()[0]);

    assert_eq!(store.give_back_handed(Some(worker), Duration::from_secs(60)).await.unwrap(), 0, "it has time");
    let mut heard = store.hints();
    assert_eq!(store.give_back_handed(None, AT_ONCE).await.unwrap(), 2, "both flushes are done with");
    hear(&mut heard, |hint| *hint == Hint::RunsReady(QUEUE.into())).await;
    assert_eq!(state(&database, untaken_key).await, (None, 2, true));
    assert_eq!(state(&database, begun_key).await, (Some(worker), 1, false));
    assert!(take(store, worker).await.is_empty());
    assert!(matches!(late.go(store, vec![], vec![complete()]).await, WriteOutcome::Fenced));
    let another = Owned::claim(store, register(store).await).await;
    assert_eq!((another.key(), another.epoch), (untaken_key, 3));
    assert!(matches!(owned.go(store, vec![], vec![complete()]).await, WriteOutcome::Applied));
    database.finish().await;
}

#[tokio::test]
async fn a_worker_that_renews_its_lease_hears_of_what_it_and_others_have_not_taken() {
    let database = Database::new().await;
    let store = &database.store;
    let (worker, peer) = (register(store).await, register(store).await);
    let takes = BeatInterest { takes_starts: WHILE, ..interest() };
    assert!(!store.beat(worker, &takes).await.unwrap().starts_handed);
    start(store, request("a")).await;
    database.sql("UPDATE dacapo.handed SET handed_at = clock_timestamp() + interval '1 minute'").await;
    assert!(!store.beat(worker, &takes).await.unwrap().starts_handed, "its news are on their way");
    database.sql("UPDATE dacapo.handed SET handed_at = clock_timestamp() - interval '300 ms'").await;
    let beat = store.beat(worker, &takes).await.unwrap();
    assert!(beat.starts_handed);
    database.sql("UPDATE dacapo.handed SET handed_at = clock_timestamp()").await;
    assert!(!store.beat(peer, &takes).await.unwrap().starts_untaken);
    let beat = store.beat(peer, &interest()).await.unwrap();
    assert!(!beat.starts_handed && !beat.starts_untaken);
    database.sql("UPDATE dacapo.handed SET handed_at = handed_at - interval '2 s'").await;
    let beat = store.beat(peer, &interest()).await.unwrap();
    assert!(!beat.starts_handed && beat.starts_untaken);
    // A renewal without it ends what the last one said.
    store.beat(worker, &interest()).await.unwrap();
    let second = request("b");
    start(store, second.clone()).await;
    assert_eq!(state(&database, second.key()).await, (None, 0, true));
    database.finish().await;
}

#[tokio::test]
async fn what_was_handed_to_a_worker_that_dies_or_leaves_is_for_others_and_no_strike_against_it() {
    let database = Database::new().await;
    let store = &database.store;
    let dies = taker(store).await;
    // One after the other, each is a row that says what is handed over.
    let first = request("a");
    start(store, first.clone()).await;
    for number in 1..60 {
        start(store, request(&format!("a{number}"))).await;
    }
    lapse(&database, dies).await;
    while store.take_over(dies, 100).await.unwrap() > 0 {}
    assert_eq!(state(&database, first.key()).await, (None, 2, true));
    assert_eq!(database.count("dacapo.ready").await, 60);
    assert_eq!(database.count("dacapo.runs_open WHERE takeovers > 0").await, 0);
    assert_eq!(database.count("dacapo.workers").await, 0);

    let leaves = taker(store).await;
    let second = request("b");
    start(store, second.clone()).await;
    // A row of which nothing comes back is not the end.
    let moved_on = format!(
        "UPDATE dacapo.handed SET handed_at = handed_at - interval '1 s', nexts = '{{99}}'
        WHERE worker = '{leaves}' AND runs = ARRAY['{}'::uuid]",
        second.key().run_id
    );
    let third = request("c");
    start(store, third.clone()).await;
    database.sql(&moved_on).await;
    store.deregister(leaves).await.unwrap();
    assert_eq!(state(&database, second.key()).await, (Some(leaves), 1, false), "its owner works at it");
    assert_eq!(state(&database, third.key()).await, (None, 2, true));
    assert_eq!(database.count("dacapo.handed").await, 0);
    database.finish().await;
}

/// Whoever waits for a workflow id has chosen a worker and keeps it from being declared dead, for a moment and no longer.
#[tokio::test]
async fn a_start_that_somebody_holds_up_holds_up_no_take_over() {
    let database = Database::new().await;
    let (store, other) = (&database.store, database.another().await);
    let dies = taker(store).await;
    let mut holder = held_id(&database, "held").await;
    let held = start(store, request("held"));
    let meanwhile = async {
        until_somebody_waits(&database).await;
        let past = "clock_timestamp() - interval '1 s'";
        database.sql(&format!("UPDATE dacapo.workers SET lease_until = {past}, takes_until = {past}")).await;
        let began = std::time::Instant::now();
        while other.take_over(dies, 100).await.map_or(true, |moved| moved > 0) {
            assert!(began.elapsed() < Duration::from_secs(15), "the take-over waits for a start");
        }
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(held, meanwhile);
    assert_eq!(outcome, StartOutcome::Started);
    assert_eq!(database.count("dacapo.workers").await, 0);
    database.finish().await;
}

#[tokio::test]
async fn a_message_for_a_run_that_was_not_taken_yet_comes_with_it() {
    let database = Database::new().await;
    let (near, far) = (&database.store, database.another().await);
    let mut heard = far.hints();
    let worker = taker(&far).await;
    let request = request("a");
    let key = request.key();
    start(near, request).await;
    assert_eq!(send(near, key, signal("x")).await.unwrap(), SendOutcome::Accepted);
    hear(&mut heard, |hint| *hint == Hint::Inbox(vec![key])).await;
    let taken = take(&far, worker).await;
    assert_eq!(taken[0].inbox.len(), 1);
    // One that ends before it is taken is not there any more.
    let gone = crate::common::request("b");
    let gone_key = gone.key();
    start(near, gone).await;
    let mut owned = Owned::of(worker, &near.load(&[gone_key]).await.unwrap()[0]);
    assert!(matches!(owned.go(near, vec![], vec![complete()]).await, WriteOutcome::Applied));
    assert!(take(&far, worker).await.is_empty());
    // Nor is one that its owner has found in another way and fenced since: what it knows is newer.
    let fenced = crate::common::request("c");
    let fenced_key = fenced.key();
    start(near, fenced).await;
    assert_eq!(far.fence(worker, fenced_key, 1).await.unwrap(), Some(2));
    assert!(take(&far, worker).await.is_empty());
    far.close().await;
    database.finish().await;
}

/// A parent that wants three children started, of which `there` is the workflow id of another run.
async fn parent_of_three(database: &Database, worker: WorkerId, if_open: IdConflictPolicy) -> Owned {
    let store = &database.store;
    assert_eq!(start_as(store, request("there"), Some(worker)).await.unwrap(), StartOutcome::Started);
    let mut parent = waiting_run(store, worker, "parent").await;
    let children = ["first", "second", "there"].into_iter().zip(1..).map(|(id, child_id)| start_child(child_id, id));
    let mut transition = parent.step(store, vec![signal("go")], children.collect()).await;
    for row in &mut transition.outbox {
        if let OutboxBody::Start(start) = &mut row.body {
            start.conflict_policy = if_open;
        }
    }
    assert!(matches!(parent.write(store, transition).await, WriteOutcome::Applied));
    parent
}

#[tokio::test]
async fn what_a_run_wants_started_goes_to_a_worker_too_without_what_was_there() {
    let database = Database::new().await;
    let near = &database.store;
    let parent = parent_of_three(&database, register(near).await, IdConflictPolicy::Fail).await;
    let (far, worker, mut heard) = far_taker(&database).await;
    assert_eq!(near.deliver_outbox(200).await.unwrap(), 3);
    hear(&mut heard, |hint| matches!(hint, Hint::Brought(brought) if brought.runs.len() == brought.of)).await;
    let taken = take(&far, worker).await;
    assert_eq!(taken.len(), 2, "the third workflow id was another's");
    for run in &taken {
        assert_eq!(state(&database, run.key).await, (Some(worker), 1, false));
        let mut child = Owned::of(worker, run);
        assert!(matches!(child.go(&far, vec![], vec![complete()]).await, WriteOutcome::Applied));
    }
    assert_eq!(near.load(&[parent.key()]).await.unwrap()[0].inbox.len(), 3, "each start has its answer");
    assert_eq!(near.deliver_outbox(200).await.unwrap(), 2);
    far.close().await;
    database.finish().await;
}

#[tokio::test]
async fn a_delivery_that_fails_hands_nothing_over_and_nobody_hears_of_it() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = taker(store).await;
    // One of them ends a run, of which nobody may hear either.
    parent_of_three(&database, worker, IdConflictPolicy::TerminateExisting).await;
    let runs = database.count("dacapo.runs_open").await;
    database
        .sql(
            "CREATE FUNCTION dacapo.breaks() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE SQLSTATE '57014'; END $$;
             CREATE TRIGGER breaks BEFORE DELETE ON dacapo.outbox EXECUTE FUNCTION dacapo.breaks()",
        )
        .await;
    let mut heard = store.hints();
    assert!(store.deliver_outbox(200).await.is_err());
    assert_eq!(database.count("dacapo.runs_open").await, runs);
    assert_eq!(database.count("dacapo.handed").await, 0);
    // Whatever else is said next must not bring news of starts that there are not.
    let mut other = waiting_run(store, worker, "other").await;
    assert!(matches!(other.go(store, vec![signal("x")], vec![complete()]).await, WriteOutcome::Applied));
    loop {
        match heard.next().await {
            Hint::Handed(_) | Hint::Brought(_) | Hint::RunsReady(_) | Hint::Outbox => {
                panic!("there is nothing to take")
            }
            Hint::Closed(runs) => assert_eq!(runs, [other.key()]),
            Hint::Ended(ends) => {
                assert_eq!(ends[0].0, other.key());
                break;
            }
            _ => {}
        }
    }
    database.sql("DROP FUNCTION dacapo.breaks CASCADE").await;
    assert_eq!(store.deliver_outbox(200).await.unwrap(), 3);
    // That which took another's place is nobody's, and everybody hears of it.
    hear(&mut heard, |hint| matches!(hint, Hint::Brought(_))).await;
    assert_eq!(take(store, worker).await.len(), 2);
    assert_eq!(store.claim_runs(worker, &claim_of(10)).await.unwrap().runs.len(), 1);
    database.finish().await;
}

#[tokio::test]
async fn a_start_that_takes_anothers_place_is_heard_of_beside_those_that_are_handed_over() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = taker(store).await;
    parent_of_three(&database, worker, IdConflictPolicy::TerminateExisting).await;
    let mut heard = store.hints();
    assert_eq!(store.deliver_outbox(200).await.unwrap(), 3);
    let (mut handed, mut ready, mut closed) = (false, false, false);
    let all = async {
        while !(handed && ready && closed) {
            match heard.next().await {
                Hint::Brought(_) => handed = true,
                Hint::RunsReady(_) => ready = true,
                Hint::Closed(_) => closed = true,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("everybody hears of what became of them");
    database.finish().await;
}

/// Whoever is slow to commit makes no worker late, and takes nothing from it.
#[tokio::test]
async fn starts_lie_from_the_end_of_their_delivery_on() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = taker(store).await;
    let parent = parent_of_three(&database, worker, IdConflictPolicy::Fail).await;
    let by = format!("SELECT FROM dacapo.runs_open WHERE run_id = '{}' FOR UPDATE", parent.key().run_id);
    let mut holder = blocked(&database, &by).await;
    let let_go = async {
        until_somebody_waits(&database).await;
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    };
    assert_eq!(tokio::join!(store.deliver_outbox(200), let_go).0.unwrap(), 3);
    let taken = store.take_handed(worker, &HandedStarts::Oldest(1_000)).await.unwrap();
    assert_eq!(taken.runs.len(), 2);
    assert!(taken.waited < Duration::from_millis(1_000), "{:?}", taken.waited);
    database.finish().await;
}

#[tokio::test]
async fn what_a_run_wants_started_is_for_anybody_where_no_worker_takes_it() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    parent_of_three(&database, worker, IdConflictPolicy::Fail).await;
    let mut heard = store.hints();
    assert_eq!(store.deliver_outbox(200).await.unwrap(), 3);
    hear(&mut heard, |hint| *hint == Hint::RunsReady(QUEUE.into())).await;
    assert_eq!(database.count("dacapo.handed").await, 0);
    assert_eq!(store.claim_runs(worker, &claim_of(10)).await.unwrap().runs.len(), 2);
    database.finish().await;
}

/// Starts without end, a worker that takes them and one that leaves and comes back: every run is exactly one worker's, and
/// nothing is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn starts_takes_and_returns_at_the_same_time_lose_no_run() {
    let database = Database::new().await;
    let (near, far) = (Arc::clone(&database.store), database.another().await);
    let steady = taker(&far).await;
    let starting = async {
        for round in 0..40 {
            let some = (0..25).map(|number| start(&near, request(&format!("{round}-{number}"))));
            let outcomes = futures_util::future::join_all(some.collect::<Vec<_>>()).await;
            assert!(outcomes.iter().all(|outcome| *outcome == StartOutcome::Started));
        }
    };
    let coming_and_going = async {
        for _ in 0..20 {
            let worker = taker(&far).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            let (taken, given) = tokio::join!(
                far.take_handed(worker, &HandedStarts::Oldest(1_000)),
                near.give_back_handed(None, AT_ONCE)
            );
            assert!(taken.is_ok() && given.is_ok());
            near.give_back_handed(Some(steady), AT_ONCE).await.unwrap();
            far.deregister(worker).await.unwrap();
            while far.take_over(worker, 100).await.unwrap() > 0 {}
        }
    };
    tokio::join!(starting, coming_and_going);
    let mut runs: Vec<RunKey> = take(&far, steady).await.into_iter().map(|run| run.key).collect();
    loop {
        let claimed = far.claim_runs(steady, &claim_of(200)).await.unwrap().runs;
        if claimed.is_empty() {
            break;
        }
        runs.extend(claimed.into_iter().map(|run| run.key));
    }
    runs.sort_unstable();
    runs.dedup();
    assert_eq!(runs.len(), 1_000);
    assert_eq!(database.count("dacapo.handed").await, 0);
    far.close().await;
    database.finish().await;
}
