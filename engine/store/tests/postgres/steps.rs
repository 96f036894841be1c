//! Steps of runs lock their run's row instead of changing it: what others find who come in the middle of one or after it.

use std::time::Duration;

use dacapo_core::{
    Message, MessageBody, MessageId, Namespace, RunKey, Store, Transition,
    command::Command,
    store::{LoadedRun, ReleaseOutcome, ReleaseRun, RunFilter, RunsPart, WriteOutcome},
};
use dacapo_store::PgStore;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::common::*;

const AT_ONCE: Duration = Duration::ZERO;

fn cancel() -> Message {
    let body = MessageBody::Cancel { reason: String::new(), identity: String::new() };
    Message { id: MessageId(Uuid::now_v7()), body }
}

async fn load(store: &PgStore, run: RunKey) -> LoadedRun {
    store.load(&[run]).await.unwrap().remove(0)
}

/// A step that has an event and nothing that the run's row says.
async fn wait(store: &PgStore, owned: &mut Owned) -> Box<Transition> {
    let timer_id = owned.run.next_event_id as u64;
    let commands = vec![Command::StartTimer { timer_id, after: Duration::from_secs(3_600) }];
    let step = owned.turn(store, |turn| {
        turn.wake();
        assert!(turn.start_task("test@1", None));
        turn.complete_task(commands, Vec::new()).unwrap();
    });
    step.await
}

async fn write_wait(store: &PgStore, owned: &mut Owned) -> WriteOutcome {
    let step = wait(store, owned).await;
    owned.write(store, step).await
}

/// Which version of a run's row there is, and what it says of the next event.
async fn row(database: &Database, run: RunKey) -> (String, i64) {
    let mut connection = <PgConnection as sqlx::Connection>::connect(&database.url).await.unwrap();
    let query = sqlx::query_as("SELECT ctid::text, next_event_id FROM dacapo.runs_open WHERE run_id = $1");
    query.bind(run.run_id.0).fetch_one(&mut connection).await.unwrap()
}

/// Lets a step of a run stand still in the middle: it has locked the run, written its history, and wants to remove the
/// message that it has taken in, which somebody else holds. Gives what others make of that, which may wait for the step,
/// and what became of the step.
async fn in_the_middle<T>(
    database: &Database,
    owned: &mut Owned,
    others: impl Future<Output = T>,
) -> (T, WriteOutcome) {
    let store = &database.store;
    send(store, owned.key(), cancel()).await.unwrap();
    let message = load(store, owned.key()).await.inbox.remove(0);
    let held = format!("SELECT FROM dacapo.inbox WHERE message = '{}' FOR UPDATE", message.id.0);
    let mut holder = blocked(database, &held).await;
    let step = owned.step(store, vec![message], vec![]).await;
    let (done, step) = tokio::join!(
        async {
            until_somebody_waits(database).await;
            let let_go = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
            };
            tokio::join!(others, let_go).0
        },
        owned.write(store, step)
    );
    (done, step)
}

fn release(owned: &Owned, next_event_id: i64) -> ReleaseRun {
    ReleaseRun { key: owned.key(), owner_epoch: owned.epoch, next_event_id, ready_at: None }
}

#[tokio::test]
async fn a_step_leaves_its_runs_row_as_it_is_but_for_signals_and_problems() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let before = row(&database, owned.key()).await;
    assert_eq!(before.1, 3, "what the start wrote");
    for _ in 0..3 {
        assert!(matches!(write_wait(store, &mut owned).await, WriteOutcome::Applied));
    }
    assert_eq!(row(&database, owned.key()).await, before);
    assert_eq!(load(store, owned.key()).await.events.len() as i64 + 1, owned.run.next_event_id);

    assert!(matches!(owned.go(store, vec![signal("x")], vec![]).await, WriteOutcome::Applied));
    let counted = row(&database, owned.key()).await;
    assert_eq!(counted.1, owned.run.next_event_id);
    assert_eq!(database.count("dacapo.runs_open WHERE signals = 1").await, 1);
    // The same in a flush of two, which another function writes.
    let mut other = waiting_run(store, worker, "b").await;
    for signals in [1, 2] {
        let one = match signals {
            1 => wait(store, &mut owned).await,
            _ => owned.step(store, vec![signal("y")], vec![]).await,
        };
        let two = other.step(store, vec![signal("z")], vec![]).await;
        let held = format!("SELECT FROM dacapo.runs_open WHERE run_id = '{}' FOR UPDATE", other.key().run_id);
        let mut holder = blocked(&database, &held).await;
        let let_go = async {
            until_somebody_waits(&database).await;
            sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
        };
        let (one, two, ()) = tokio::join!(owned.write(store, one), other.write(store, two), let_go);
        assert!(matches!((one, two), (WriteOutcome::Applied, WriteOutcome::Applied)));
        assert_eq!(row(&database, owned.key()).await == counted, signals == 1);
        let said = format!("dacapo.runs_open WHERE signals = {signals} AND run_id = '{}'", owned.key().run_id);
        assert_eq!(database.count(&said).await, 1);
    }
    database.finish().await;
}

#[tokio::test]
async fn lists_and_descriptions_count_the_events_that_the_history_has() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    waiting_run(store, worker, "b").await;
    assert!(matches!(write_wait(store, &mut owned).await, WriteOutcome::Applied));
    let events = owned.run.next_event_id - 1;
    assert!(row(&database, owned.key()).await.1 <= events, "the row lags behind");
    let listed = store.list(&RunFilter::default(), 10).await.unwrap();
    let of = |id: &str| listed.iter().find(|run| run.workflow_id.as_str() == id).unwrap().events;
    assert_eq!((of("a"), of("b")), (events, 4));
    let filter = RunFilter::parse("HistoryLength > 5").unwrap();
    assert_eq!(store.count(&filter).await.unwrap(), 1);
    assert_eq!(store.describe(owned.key()).await.unwrap().unwrap().info.events, events);
    database.finish().await;
}

#[tokio::test]
async fn a_run_with_rows_of_an_older_schema_is_counted_by_its_own_row() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let events = owned.run.next_event_id - 1;
    let older = "UPDATE dacapo.runs_open SET next_event_id = dacapo.next_event_v1(shard, run_id, next_event_id); \
        UPDATE dacapo.history SET next_event_id = NULL";
    database.sql(older).await;
    assert_eq!(
        store.find_run(&Namespace::default_namespace(), &"a".into(), None).await.unwrap().unwrap().events,
        events
    );
    assert!(matches!(write_wait(store, &mut owned).await, WriteOutcome::Applied));
    let listed = store.list(&RunFilter::default(), 10).await.unwrap();
    assert_eq!(listed.iter().map(|run| run.events).max(), Some(owned.run.next_event_id - 1));
    // The rows of history were changed by hand, which `finish` would report.
    store.close().await;
}

#[tokio::test]
async fn a_release_that_was_decided_before_a_step_is_refused() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let early = release(&owned, owned.run.next_event_id);
    assert!(matches!(write_wait(store, &mut owned).await, WriteOutcome::Applied));
    assert_eq!(store.release(worker, vec![early]).await.unwrap(), [(owned.key(), ReleaseOutcome::Fenced)]);
    assert_eq!(load(store, owned.key()).await.owner, Some(worker));

    let early = release(&owned, owned.run.next_event_id);
    let (released, step) = in_the_middle(&database, &mut owned, store.release(worker, vec![early])).await;
    assert_eq!(released.unwrap(), [(owned.key(), ReleaseOutcome::Busy)]);
    assert!(matches!(step, WriteOutcome::Applied), "{step:?}");

    let now = release(&owned, owned.run.next_event_id);
    assert_eq!(store.release(worker, vec![now]).await.unwrap(), [(owned.key(), ReleaseOutcome::Released)]);
    assert_eq!(row(&database, owned.key()).await.1, owned.run.next_event_id, "nobody owns it, so the row says it all");
    assert!(matches!(write_wait(store, &mut owned).await, WriteOutcome::Fenced));
    database.finish().await;
}

#[tokio::test]
async fn a_raised_epoch_waits_for_the_step_and_the_load_after_it_has_it() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    let key = owned.key();
    let raised = async {
        assert_eq!(store.fence(worker, key, 1).await.unwrap(), Some(2));
        load(store, key).await
    };
    let (loaded, step) = in_the_middle(&database, &mut owned, raised).await;
    assert!(matches!(step, WriteOutcome::Applied), "{step:?}");
    assert_eq!(loaded.events.len() as i64 + 1, owned.run.next_event_id);
    assert!(matches!(write_wait(store, &mut owned).await, WriteOutcome::Fenced));
    database.finish().await;
}

#[tokio::test]
async fn what_was_handed_over_stays_with_an_owner_in_the_middle_of_its_first_step() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    store.take_starts(worker, Some(Duration::from_secs(60))).await.unwrap();
    let request = request("a");
    let key = request.key();
    start(store, request).await;
    assert_eq!(database.count("dacapo.handed").await, 1);
    let mut owned = Owned::of(worker, &load(store, key).await);
    let (given, step) = in_the_middle(&database, &mut owned, store.give_back_handed(None, AT_ONCE)).await;
    assert_eq!(given.unwrap(), 1, "one flush is done with");
    assert!(matches!(step, WriteOutcome::Applied), "{step:?}");
    assert_eq!(database.count("dacapo.ready").await, 0);
    let loaded = load(store, key).await;
    assert_eq!((loaded.owner, loaded.owner_epoch), (Some(worker), 1));
    database.finish().await;
}

#[tokio::test]
async fn a_take_over_notes_how_far_the_history_is_and_that_it_got_on() {
    let database = Database::new().await;
    let store = &database.store;
    let worker = register(store).await;
    let mut owned = waiting_run(store, worker, "a").await;
    assert!(matches!(write_wait(store, &mut owned).await, WriteOutcome::Applied));
    lapse(&database, worker).await;
    // Nothing to take while the late owner writes; the run comes afterwards, with what it wrote.
    let (_, step) = in_the_middle(&database, &mut owned, store.take_over(worker, 10)).await;
    assert!(matches!(step, WriteOutcome::Applied), "{step:?}");
    take_all(store, worker).await;
    assert_eq!(row(&database, owned.key()).await.1, owned.run.next_event_id);
    assert!(matches!(write_wait(store, &mut owned).await, WriteOutcome::Fenced));

    // Without a step in between it is a strike, with one it is none.
    for (steps, strikes) in [(false, 2), (false, 3), (true, 1), (false, 2)] {
        let worker = register(store).await;
        let mut owned = Owned::claim(store, worker).await;
        if steps {
            assert!(matches!(write_wait(store, &mut owned).await, WriteOutcome::Applied));
        }
        lapse(&database, worker).await;
        take_all(store, worker).await;
        let said =
            format!("dacapo.runs_open WHERE takeovers = {strikes} AND next_event_id = {}", owned.run.next_event_id);
        assert_eq!(database.count(&said).await, 1, "{said}");
    }
    assert_eq!(store.owned_runs(worker, RunsPart::WHOLE).await.unwrap(), []);
    database.finish().await;
}
