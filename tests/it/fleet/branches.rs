//! Resets, forks and dead letters among real processes that are killed: what is copied is not run again, and what waits
//! for somebody is found and goes on.

use std::{collections::HashMap, time::Duration};

use dacapo::{
    ResetPoint, WorkflowHandle,
    core::{
        lineage::BranchKind,
        store::{DeadLetter, DeadLetterFilter, DeadLetterKind},
    },
    runtime::Retried,
};

use super::{
    code::{GO, priced, routed, supplied, waiter},
    harness::{Fleet, PATIENCE, eventually, within},
    worker::Settings,
};

fn buggy(settings: &mut Settings) {
    settings.buggy = true;
    watchful(settings);
}

/// Looks at the others often, so that a test with a death stays short.
fn watchful(settings: &mut Settings) {
    settings.lease = Some(Duration::from_secs(2));
    settings.lease_renewal = Some(Duration::from_millis(300));
}

impl Fleet {
    /// How many attempts of each activity of a run took place.
    async fn attempts<R>(&self, run: &WorkflowHandle<R>) -> HashMap<u64, usize> {
        let prefix = format!("{}/{}/", run.workflow_id(), run.run_id().unwrap());
        let effects = self.database.effects().await;
        let of_run = effects.into_iter().filter_map(|(key, done)| Some((key.strip_prefix(&prefix)?.to_owned(), done)));
        of_run.map(|(id, done)| (id.parse().unwrap(), done.len())).collect()
    }

    async fn dead(&self, kind: DeadLetterKind) -> Option<DeadLetter> {
        let filter = DeadLetterFilter { kind: Some(kind), ..DeadLetterFilter::default() };
        let letters = self.client.untyped().dead_letters(filter, 10).await.unwrap();
        assert!(letters.len() <= 1, "{letters:?}");
        letters.into_iter().next()
    }
}

#[tokio::test]
async fn a_run_whose_code_had_a_bug_is_reset_after_the_fix_and_ends_well() {
    let mut fleet = Fleet::on_shared_server().await;
    let worker = fleet.worker(buggy).await;
    let run = fleet.client.start(priced, 10).id("order").await.unwrap();
    eventually("the bug has taken the wrong turn", PATIENCE, async || {
        let history = run.history().await.unwrap();
        history.iter().any(|event| event.event.name() == "TimerStarted").then_some(())
    })
    .await;
    fleet.kill(worker);
    fleet.worker(watchful).await;
    let waits = tokio::spawn({
        let run = run.clone();
        async move { run.result().await }
    });

    // The new code does not fit the old history: the run waits for somebody.
    run.signal(&GO, 1).await.unwrap();
    let letter = eventually("the run is among the dead letters", PATIENCE, async || {
        fleet.dead(DeadLetterKind::WorkflowTask).await.filter(|letter| letter.attempts >= 3)
    })
    .await;
    assert_eq!((letter.workflow_id.as_str(), Some(letter.run_id)), ("order", run.run_id()));
    assert!(letter.failure.message.contains("TimerStarted") || letter.failure.message.contains("timer"), "{letter:?}");
    let retried = fleet.client.untyped().retry_dead_letter(&letter, "once more").await.unwrap();
    assert_eq!(retried, Retried::Woken);
    eventually("it is tried at once, and fails again", Duration::from_secs(20), async || {
        let letter_now = fleet.dead(DeadLetterKind::WorkflowTask).await?;
        assert_eq!(letter_now.since, letter.since, "it fails since then");
        (letter_now.attempts > letter.attempts).then_some(())
    })
    .await;

    let again = run.reset(ResetPoint::LastWorkflowTask).reason("wrong turn").request_id("fix-1").await.unwrap();
    let result = within("the run ends", PATIENCE, again.result()).await.unwrap();
    assert_eq!(result, 14, "three activities and the signal, which is recorded again");
    let waited = within("who waited for the old run hears of the new one", PATIENCE, waits).await.unwrap();
    assert_eq!(waited.unwrap(), 14);
    let same = run.reset(ResetPoint::LastWorkflowTask).request_id("fix-1").await.unwrap();
    assert_eq!((same.run_id(), same.is_new()), (again.run_id(), false));
    assert_eq!(fleet.attempts(&run).await, HashMap::from([(1, 1), (2, 1)]));
    assert_eq!(fleet.attempts(&again).await.keys().copied().collect::<Vec<_>>(), [3], "nothing is done again");
    assert_eq!(fleet.dead(DeadLetterKind::WorkflowTask).await, None);
    let described = again.describe().await.unwrap();
    let from = described.branched_from.unwrap();
    assert_eq!((from.kind, Some(from.run_id), from.reason.as_str()), (BranchKind::Reset, run.run_id(), "wrong turn"));
    let source = fleet.client.handle_of_run(priced, "order", run.run_id().unwrap());
    let branches = source.describe().await.unwrap().run.branches;
    assert_eq!(branches.iter().map(|it| Some(it.run_id)).collect::<Vec<_>>(), [again.run_id()]);
    fleet.finish().await;
}

#[tokio::test]
async fn a_live_owner_drops_a_run_that_is_reset() {
    let mut fleet = Fleet::on_shared_server().await;
    let worker = fleet.worker(watchful).await;
    let run = fleet.client.start(waiter, ()).id("waits").await.unwrap();
    eventually("the code has run", PATIENCE, async || {
        let history = run.history().await.unwrap();
        history.iter().any(|event| event.event.name() == "WorkflowTaskCompleted").then_some(())
    })
    .await;
    assert!(fleet.owner(&run).await.is_some());
    let again = run.reset(ResetPoint::FirstWorkflowTask).await.unwrap();
    eventually("the new run is owned", PATIENCE, async || fleet.owner(&again).await).await;
    eventually("the old run is in no memory any more", PATIENCE, async || {
        (fleet.workers[worker].counted("dacapo_owned_runs") == 1).then_some(())
    })
    .await;
    let old = fleet.client.handle_of_run(waiter, "waits", run.run_id().unwrap());
    let refused = old.signal(&GO, 1).await.unwrap_err();
    assert!(refused.to_string().contains("is closed"), "{refused}");
    run.signal(&GO, 5).await.unwrap();
    assert_eq!(within("who holds the old handle hears it", PATIENCE, run.result()).await.unwrap(), 5);
    assert_eq!(within("and so does who holds the new one", PATIENCE, again.result()).await.unwrap(), 5);
    fleet.finish().await;
}

#[tokio::test]
async fn a_fork_with_another_result_goes_another_way_while_its_worker_is_killed() {
    let mut fleet = Fleet::on_shared_server().await;
    let worker = fleet.worker(watchful).await;
    let run = fleet.client.start(routed, 10).id("parcel").await.unwrap();
    assert_eq!(within("the source ends", PATIENCE, run.result()).await.unwrap(), 11);
    let fork = run.fork().activity_result(1, &1_000_u64).id("parcel-express").reason("what if").await.unwrap();
    eventually("the other way is taken", PATIENCE, async || fleet.attempts(&fork).await.contains_key(&2).then_some(()))
        .await;
    fleet.kill(worker);
    fleet.worker(watchful).await;
    assert_eq!(within("the fork ends", PATIENCE, fork.result()).await.unwrap(), 1_002);
    assert_eq!(fleet.attempts(&run).await, HashMap::from([(1, 1)]));
    let forked = fleet.attempts(&fork).await;
    assert_eq!(forked.get(&1), None, "the copied activity is not run again: {forked:?}");
    assert_eq!((forked[&2], forked[&3]), (2, 1), "the attempt that was killed, and another");
    assert_eq!(run.result().await.unwrap(), 11, "the source is as it was");

    let other = run.fork().input(&200_u64).await.unwrap();
    assert!(other.workflow_id().as_str().starts_with("parcel-fork-"));
    assert_eq!(within("a fork with another input ends", PATIENCE, other.result()).await.unwrap(), 203);
    fleet.finish().await;
}

#[tokio::test]
async fn an_activity_that_used_up_its_attempts_is_retried_by_hand() {
    let mut fleet = Fleet::on_shared_server().await;
    fleet.worker(watchful).await;
    let run = fleet.client.start(supplied, 10).id("bread").await.unwrap();
    let failed = within("the run fails", PATIENCE, run.result()).await.unwrap_err();
    assert!(failed.to_string().contains("no flour"), "{failed}");
    let letter = fleet.dead(DeadLetterKind::Activity).await.expect("the activity is among the dead letters");
    assert_eq!((letter.activity_id, letter.attempts), (Some(2), 2));
    assert_eq!(letter.activity_type.as_deref(), Some("fleet.bake"));
    assert!(letter.failure.message.contains("no flour") && letter.way_out().contains("activity 2"));

    fleet.database.leave("flour").await;
    let retried = fleet.client.untyped().retry_dead_letter(&letter, "there is flour").await.unwrap();
    let Retried::Reset(branched) = retried else { panic!("{retried:?}") };
    let again = fleet.client.handle_of_run(supplied, "bread", branched.run.run_id);
    assert_eq!(within("the run ends", PATIENCE, again.result()).await.unwrap(), 12);
    assert_eq!(fleet.attempts(&again).await, HashMap::from([(2, 1)]), "only what had failed is done again");
    assert_eq!(fleet.dead(DeadLetterKind::Activity).await, None);
    fleet.finish().await;
}
