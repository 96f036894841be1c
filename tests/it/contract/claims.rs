//! Claims, loads and releases of runs.

use std::{collections::BTreeMap, time::Duration};

use dacapo_core::{
    StartWorkflow, WorkerId,
    store::{ReleaseOutcome, RunClaim, RunsPart, StoreError},
};
use uuid::Uuid;

use super::lab::*;

pub(crate) async fn racing_claimers_take_each_run_once(lab: Lab) {
    let mut runs = Vec::new();
    for number in 0..60 {
        runs.push(lab.open(&format!("w{number}")).await);
    }
    let mut workers = Vec::new();
    for _ in 0..6 {
        workers.push(lab.worker().await);
    }
    let small = claim(7);
    let claiming = workers.iter().map(|worker| async {
        let mut mine = Vec::new();
        loop {
            let claimed = lab.store.claim_runs(*worker, &small).await.unwrap();
            assert!(claimed.runs.len() <= 7 && claimed.stale.is_empty());
            if claimed.runs.is_empty() && lab.describe(runs[59]).await.owner.is_some() {
                return mine;
            }
            assert!(claimed.runs.iter().all(|run| run.owner_epoch == 1 && run.events.len() == 2));
            mine.extend(claimed.runs.iter().map(|run| run.key));
        }
    });
    let mut claimed: Vec<_> = join_all(claiming).await.concat();
    for worker in &workers {
        claimed.extend(lab.claim(*worker).await.runs.iter().map(|run| run.key));
    }
    claimed.sort_unstable();
    runs.sort_unstable();
    assert_eq!(claimed, runs);
}

pub(crate) async fn a_claim_takes_only_what_it_asks_for(lab: Lab) {
    let worker = lab.worker().await;
    let wanted = lab.open("a").await;
    for other in [
        StartWorkflow { namespace: "other".into(), ..request("b") },
        StartWorkflow { task_queue: "other".into(), ..request("c") },
        StartWorkflow { workflow_type: "other".into(), ..request("d") },
    ] {
        lab.start(other).await.unwrap();
    }
    let keys: Vec<_> = lab.claim(worker).await.runs.iter().map(|run| run.key).collect();
    assert_eq!(keys, [wanted]);
    let both = RunClaim { queues: vec!["other".into(), QUEUE.into()], ..claim(10) };
    assert_eq!(lab.store.claim_runs(worker, &both).await.unwrap().runs.len(), 1);
    let all_types = RunClaim { workflow_types: vec!["other".into(), "flow".into()], ..claim(10) };
    assert_eq!(lab.store.claim_runs(worker, &all_types).await.unwrap().runs.len(), 1);
    let none = RunClaim { workflow_types: Vec::new(), ..claim(10) };
    assert!(lab.store.claim_runs(worker, &none).await.unwrap().runs.is_empty());
}

pub(crate) async fn claims_go_by_priority_then_by_age(lab: Lab) {
    let worker = lab.worker().await;
    let mut expected = BTreeMap::new();
    for (number, priority) in [3, 5, 1, 3, 1, 2].into_iter().enumerate() {
        let request = StartWorkflow { priority, ..request(&format!("w{number}")) };
        expected.insert((priority, number), request.key());
        lab.start(request).await.unwrap();
        lab.pass(Duration::from_millis(2)).await;
    }
    let mut order = Vec::new();
    for _ in 0..expected.len() {
        let claimed = lab.store.claim_runs(worker, &claim(1)).await.unwrap().runs;
        assert_eq!(claimed.len(), 1);
        order.push(claimed[0].key);
    }
    assert_eq!(order, expected.into_values().collect::<Vec<_>>());
}

pub(crate) async fn a_delayed_start_is_not_claimed_before_its_time(lab: Lab) {
    let worker = lab.worker().await;
    let delayed = StartWorkflow { start_delay_ms: Some(1_500), ..request("a") };
    let run = delayed.key();
    lab.start(delayed).await.unwrap();
    assert!(lab.claim(worker).await.runs.is_empty());
    let beat = lab.store.beat(worker, &interest(LONG)).await.unwrap();
    assert!(!beat.runs_ready);
    assert!(beat.next_due_at.is_some_and(|at| at > beat.now), "it is named for the look-out");
    lab.pass(Duration::from_millis(1_600)).await;
    let mut owner = Owner::claim(&lab, worker).await;
    assert_eq!(owner.key(), run);
    owner.write(task(vec![complete()])).await;
}

pub(crate) async fn a_message_ends_a_start_delay(lab: Lab) {
    let worker = lab.worker().await;
    let delayed = StartWorkflow { start_delay_ms: Some(3_600_000), ..request("a") };
    let run = delayed.key();
    lab.start(delayed).await.unwrap();
    lab.send(run, signal("s")).await;
    let mut owner = Owner::claim(&lab, worker).await;
    owner.take_inbox().await;
    owner.write(task(vec![complete()])).await;
}

pub(crate) async fn who_is_no_member_of_the_fleet_claims_nothing(lab: Lab) {
    lab.open("a").await;
    let left = lab.worker().await;
    lab.store.deregister(left).await.unwrap();
    let late = lab.worker_for(Duration::from_millis(100)).await;
    lab.pass(Duration::from_millis(150)).await;
    for worker in [left, late, WorkerId(Uuid::now_v7())] {
        let runs = lab.store.claim_runs(worker, &claim(10)).await;
        assert!(matches!(runs, Err(StoreError::LeaseLost { worker: it }) if it == worker), "{runs:?}");
        let activities = lab.store.claim_activities(worker, &activity_claim(10)).await;
        assert!(matches!(activities, Err(StoreError::LeaseLost { .. })), "{activities:?}");
    }
}

pub(crate) async fn a_load_holds_everything_of_a_run(lab: Lab) {
    let (worker, runner) = (lab.worker().await, lab.worker().await);
    let mut owner = Owner::start_with(&lab, worker, request("a"), offering(vec![schedule(1), schedule(2)])).await;
    owner.write(|turn| turn.offer_activity(2, true)).await;
    let claimed = lab.claim_activities(runner).await;
    let ids: Vec<u64> = claimed.iter().map(|it| it.claim.activity_id).collect();
    assert_eq!(ids, [1], "what the owner keeps is not offered");
    let (second, first) = (signal("second"), signal("first"));
    lab.send(owner.key(), second.clone()).await;
    lab.send(owner.key(), first.clone()).await;
    let loaded = lab.load(owner.key()).await;
    assert_eq!((loaded.owner, loaded.owner_epoch), (Some(worker), 1));
    assert_eq!(loaded.events.len(), 6);
    let mut messages = [second, first];
    messages.sort_by_key(|message| message.id);
    assert_eq!(loaded.inbox, messages, "in the order of their ids");
    let mut claimers: Vec<_> =
        loaded.activities.iter().map(|(row, by)| (row.activity_id, row.attempt, row.claimed_by_owner, *by)).collect();
    claimers.sort_unstable();
    assert_eq!(claimers, [(1, 1, false, Some(runner)), (2, 1, true, Some(worker))]);
    assert!(loaded.activities.iter().all(|(row, _)| row.task.activity_id == row.activity_id));
    let never = dacapo_core::RunKey { run_id: dacapo_core::RunId(Uuid::now_v7()), ..owner.key() };
    assert_eq!(lab.store.load(&[never, owner.key()]).await.unwrap().len(), 1, "what is gone is missing");
}

pub(crate) async fn a_released_run_is_there_for_others(lab: Lab) {
    let (worker, other) = (lab.worker().await, lab.worker().await);
    let owner = Owner::start(&lab, worker, "a").await;
    assert_eq!(lab.store.owned_runs(worker, RunsPart::WHOLE).await.unwrap(), [(owner.key(), 1)]);
    let now = lab.now().await;
    assert_eq!(owner.release(Some(now)).await, ReleaseOutcome::Released);
    assert!(lab.store.owned_runs(worker, RunsPart::WHOLE).await.unwrap().is_empty());
    assert_eq!(owner.release(Some(now)).await, ReleaseOutcome::Fenced, "it is given back already");
    let mut zombie = owner;
    let mut owner = Owner::claim(&lab, other).await;
    assert_eq!(owner.epoch, 2);
    assert!(is_fenced(&zombie.try_write(|turn| turn.message(signal("s"))).await));
    owner.write(|turn| turn.message(signal("s"))).await;
}

pub(crate) async fn a_run_released_for_later_is_claimed_then(lab: Lab) {
    let worker = lab.worker().await;
    let owner = Owner::start(&lab, worker, "a").await;
    let now = lab.now().await;
    owner.release(Some(now.plus_ms(1_500))).await;
    assert!(lab.claim(worker).await.runs.is_empty());
    lab.pass(Duration::from_millis(1_600)).await;
    assert_eq!(lab.claim(worker).await.runs.len(), 1);
}

pub(crate) async fn a_run_with_a_message_or_another_fence_is_not_released(lab: Lab) {
    let (worker, other) = (lab.worker().await, lab.worker().await);
    let mut owner = Owner::start(&lab, worker, "a").await;
    lab.send(owner.key(), signal("s")).await;
    assert_eq!(owner.release(None).await, ReleaseOutcome::InboxNotEmpty);
    let behind = Owner::load(&lab, worker, owner.key()).await;
    owner.take_inbox().await;
    assert_eq!(behind.release(None).await, ReleaseOutcome::Fenced, "the history has moved on");
    let stranger = Owner { worker: other, ..Owner::load(&lab, worker, owner.key()).await };
    assert_eq!(stranger.release(None).await, ReleaseOutcome::Fenced);
    let late = Owner { epoch: 0, ..Owner::load(&lab, worker, owner.key()).await };
    assert_eq!(late.release(None).await, ReleaseOutcome::Fenced);
    assert_eq!(lab.describe(owner.key()).await.owner, Some(worker));
    let now = lab.now().await;
    assert_eq!(owner.release(Some(now)).await, ReleaseOutcome::Released);
}

pub(crate) async fn a_run_that_waits_for_a_signal_alone_is_no_finding(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(task(Vec::new())).await;
    assert_eq!(owner.release(None).await, ReleaseOutcome::Released);
    assert_eq!(lab.store.sweep().await.unwrap(), [], "nobody need own a run that only waits for a signal");
    assert!(lab.claim(worker).await.runs.is_empty());
    lab.send(owner.key(), signal("s")).await;
    assert_eq!(Owner::claim(&lab, worker).await.key(), owner.key());
}
