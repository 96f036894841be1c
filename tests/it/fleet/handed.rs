//! Starts that a client hands to a worker at once: the worker that has one and does nothing with it keeps nobody waiting.

use std::time::Duration;

use dacapo::core::{
    Payload, RunId, RunKey, StartWorkflow, Store, WorkerId,
    store::{Reply, StartOutcome, StartWrite},
};
use nix::sys::signal::Signal;

use super::{
    code::{VALUE, gatherer, sequence, stuck},
    harness::{Fleet, PATIENCE, QUEUE, eventually, within},
    worker::Settings,
};

/// Longer than any test: nobody is declared dead for its silence.
fn long_lease(settings: &mut Settings) {
    settings.lease = Some(Duration::from_secs(600));
}

async fn until_all_take_starts(fleet: &Fleet) {
    until_so_many_take_starts(fleet, fleet.workers.len()).await;
}

async fn until_so_many_take_starts(fleet: &Fleet, workers: usize) {
    eventually(&format!("{workers} workers take starts"), PATIENCE, async || {
        let taking = fleet.database.count("dacapo.workers WHERE takes_until > clock_timestamp()").await;
        (taking == workers as i64).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_worker_that_stands_still_does_not_take_is_given_to_others() {
    let mut fleet = Fleet::on_shared_server().await;
    let stands = fleet.worker(long_lease).await;
    let goes_on = fleet.worker(long_lease).await;
    until_all_take_starts(&fleet).await;
    let before = fleet.client.start(sequence, (1, 1)).id("before").await.unwrap();
    assert_eq!(within("the run ends", PATIENCE, before.result()).await.unwrap(), 1);

    fleet.workers[stands].signal(Signal::SIGSTOP);
    let mut runs = Vec::new();
    for number in 0..150 {
        runs.push(fleet.client.start(sequence, (1, 1)).id(format!("sequence-{number}")).await.unwrap());
    }
    for run in &runs {
        assert_eq!(within("the run ends", PATIENCE, run.result()).await.unwrap(), 1);
    }
    assert!(fleet.member("w1").await.is_some(), "nobody took it for dead");
    assert_eq!(fleet.database.count("dacapo.runs_open").await, 0);
    let given_back = fleet.workers[goes_on].counted("dacapo_handed_back_runs_total");
    eprintln!("{given_back} of {} starts were given back", runs.len());
    fleet.workers[stands].signal(Signal::SIGCONT);
    fleet.check_effects(&runs).await;
    fleet.finish().await;
}

/// Starts a run that a worker owns and has heard nothing of. Gives the id of its next event, too.
async fn start_quietly(fleet: &Fleet, worker: WorkerId, id: &str, workflow: &str, input: &str) -> (RunKey, i64) {
    let input = Payload::from_json("input", input.to_owned()).unwrap();
    let run_id = RunId(uuid::Uuid::now_v7());
    let request = StartWorkflow::new(run_id, id.into(), workflow.into(), QUEUE.into(), input);
    let (key, at) = (request.key(), fleet.store.clock().await.unwrap().0);
    let transition = request.transition(at);
    let next = transition.next_event_id();
    let (reply, answer) = tokio::sync::oneshot::channel();
    let reply = Reply::new(move |outcome| drop(reply.send(outcome)));
    fleet.store.start(StartWrite { request, transition, owner: Some(worker), ready_at: at }, reply);
    assert_eq!(answer.await.unwrap().unwrap(), StartOutcome::Started);
    (key, next)
}

#[tokio::test]
async fn a_message_that_comes_before_the_run_that_is_brought_is_not_forgotten() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet
        .worker(|settings| {
            long_lease(settings);
            // No renewal comes in time to look for anything.
            settings.lease_renewal = Some(Duration::from_secs(300));
        })
        .await;
    until_all_take_starts(&fleet).await;
    let worker = fleet.member("w1").await.unwrap().worker;
    let (key, next) = start_quietly(&fleet, worker, "late", "fleet.gatherer", "1").await;
    let late = fleet.client.handle(gatherer, "late");
    late.signal(&VALUE, 7).await.unwrap();
    // The worker is told of the message alone, and cannot do anything about it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let notify = "SELECT pg_notify('dacapo_w_' || replace($1::text, '-', ''),
            '<1/1;' || lpad(to_hex($2::int), 2, '0') || replace($3::text, '-', '') || to_hex($4::bigint) || ':'
                || octet_length(h.events) || ':' || convert_from(h.events, 'UTF8'))
        FROM dacapo.history h WHERE h.shard = $2 AND h.run_id = $3";
    let notify = sqlx::query(notify).bind(worker.0).bind(key.shard.0).bind(key.run_id.0).bind(next);
    notify.execute(&fleet.database.pool).await.unwrap();
    assert_eq!(within("the run ends", Duration::from_secs(60), late.result()).await.unwrap(), [7]);
    // Nothing says any more that it was handed over, as where others have given it back: the worker heard of it too late.
    until_so_many_take_starts(&fleet, 0).await;
    fleet.finish().await;
}

#[tokio::test]
async fn what_waits_for_the_thread_of_a_worker_counts_as_kept_by_it() {
    let mut fleet = Fleet::on_shared_server().await;
    let blocked = fleet
        .worker(|settings| {
            long_lease(settings);
            settings.cached_runs = Some(4);
            settings.workflow_threads = Some(1);
            settings.workflow_task_timeout = Some(Duration::from_secs(8));
        })
        .await;
    until_all_take_starts(&fleet).await;
    let mut runs = vec![fleet.client.start(stuck, ()).id("stuck").await.unwrap()];
    for number in 0..20 {
        runs.push(fleet.client.start(sequence, (1, 1)).id(format!("sequence-{number}")).await.unwrap());
    }
    fleet.worker(long_lease).await;
    for (number, run) in runs.iter().enumerate() {
        let result = within("the run ends", PATIENCE, run.result()).await.unwrap();
        assert_eq!(result, if number == 0 { 2 } else { 1 });
    }
    let handed = fleet.workers[blocked].counted("dacapo_handed_runs_total");
    assert!((1..=4).contains(&handed), "{handed} runs, of which it keeps 4 at most");
    fleet.check_effects(&runs).await;
    fleet.finish().await;
}

#[tokio::test]
async fn a_start_of_which_its_worker_heard_nothing_is_found_by_it() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(long_lease).await;
    let worker = fleet.member("w1").await.unwrap().worker;
    // What a client leaves that dies between its commit and its word to the worker.
    let (key, next) = start_quietly(&fleet, worker, "quiet", "fleet.sequence", "[1, 1]").await;
    let statement =
        "INSERT INTO dacapo.handed (worker, shards, runs, nexts) VALUES ($1, ARRAY[$2], ARRAY[$3], ARRAY[$4])";
    let insert = sqlx::query(statement).bind(worker.0).bind(key.shard.0).bind(key.run_id.0).bind(next);
    insert.execute(&fleet.database.pool).await.unwrap();
    let quiet = fleet.client.handle(sequence, "quiet");
    assert_eq!(within("the run ends", PATIENCE, quiet.result()).await.unwrap(), 1);
    assert_eq!(fleet.database.count("dacapo.handed").await, 0);
    fleet.finish().await;
}

#[tokio::test]
async fn a_worker_that_cannot_take_what_it_is_handed_is_handed_nothing_more() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(long_lease).await;
    until_all_take_starts(&fleet).await;
    // Only to take does nobody wait for the disk.
    let broken = "CREATE FUNCTION dacapo.broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF current_setting('synchronous_commit') = 'off' THEN RAISE 'nothing can be taken'; END IF; RETURN OLD; END $$;
        CREATE TRIGGER broken BEFORE DELETE ON dacapo.handed FOR EACH ROW EXECUTE FUNCTION dacapo.broken()";
    sqlx::raw_sql(broken).execute(&fleet.database.pool).await.unwrap();
    let first = fleet.client.start(sequence, (1, 1)).id("first").await.unwrap();
    until_so_many_take_starts(&fleet, 0).await;
    assert_eq!(
        within("the run ends", PATIENCE, first.result()).await.unwrap(),
        1,
        "it was brought, or is given back and claimed"
    );
    sqlx::raw_sql("DROP TRIGGER broken ON dacapo.handed").execute(&fleet.database.pool).await.unwrap();
    until_all_take_starts(&fleet).await;
    fleet.finish().await;
}
