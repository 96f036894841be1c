//! Starts: policies, requests, first rows.

use dacapo_core::{
    Command, Failure, IdConflictPolicy, IdReusePolicy, RunStatus, StartWorkflow, WorkerId,
    store::{SendOutcome, StartOutcome},
};
use uuid::Uuid;

use super::lab::*;

/// Starts a run and ends it.
async fn closed(lab: &Lab, id: &str, command: Command) -> dacapo_core::RunKey {
    let worker = lab.worker().await;
    let mut owner = Owner::start(lab, worker, id).await;
    owner.write(task(vec![command])).await;
    owner.key()
}

fn fail() -> Command {
    Command::FailWorkflowExecution { failure: Box::new(Failure::application("No", "no")) }
}

pub(crate) async fn a_started_run_is_there_and_ready(lab: Lab) {
    let run = lab.open("a").await;
    let described = lab.describe(run).await;
    assert_eq!((described.owner, described.owner_epoch), (None, 0));
    assert!(described.ready_at.is_some());
    assert_eq!(described.info.status, RunStatus::Running);
    assert_eq!(lab.event_names(run).await, ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]);
}

pub(crate) async fn a_start_of_a_workers_own_is_owned_from_its_first_moment(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start_with(&lab, worker, request("a"), task(vec![schedule(1)])).await;
    let described = lab.describe(owner.key()).await;
    assert_eq!((described.owner, described.owner_epoch, described.ready_at), (Some(worker), 1, None));
    assert!(lab.claim(worker).await.runs.is_empty());
    owner.write(|turn| turn.message(signal("s"))).await;
}

pub(crate) async fn a_start_for_a_worker_that_is_gone_starts_nothing(lab: Lab) {
    let gone = lab.worker().await;
    lab.store.deregister(gone).await.unwrap();
    for owner in [gone, WorkerId(Uuid::now_v7())] {
        let request = request("a");
        let outcome = lab.start_with(request.clone(), Some(owner), |_| ()).await.unwrap();
        assert_eq!(outcome, StartOutcome::OwnerLost);
        assert_eq!(lab.store.describe(request.key()).await.unwrap().map(|it| it.info), None);
    }
    lab.open("a").await;
}

pub(crate) async fn the_same_start_again_is_a_duplicate(lab: Lab) {
    let worker = lab.worker().await;
    let request = request("a");
    let run = request.key();
    for expected in [StartOutcome::Started, StartOutcome::Duplicate { run, owned: true }] {
        assert_eq!(lab.start_with(request.clone(), Some(worker), |_| ()).await.unwrap(), expected);
    }
    let unowned = lab.start(request.clone()).await.unwrap();
    assert_eq!(unowned, StartOutcome::Duplicate { run, owned: false }, "nobody is named in this start");
    lab.store.fence(worker, run, 1).await.unwrap();
    let later = lab.start_with(request.clone(), Some(worker), |_| ()).await.unwrap();
    assert_eq!(later, StartOutcome::Duplicate { run, owned: false }, "not as the start left it");
    Owner::load(&lab, worker, run).await.write(task(vec![complete()])).await;
    let closed = lab.start_with(request, Some(worker), |_| ()).await.unwrap();
    assert_eq!(closed, StartOutcome::Duplicate { run, owned: false });
    assert_eq!(lab.event_names(run).await.len(), 5);
}

pub(crate) async fn the_same_request_leads_to_the_same_run(lab: Lab) {
    let worker = lab.worker().await;
    let asked = |id: &str| StartWorkflow { request_id: Some("r".to_owned()), ..request(id) };
    let first = asked("a");
    let run = first.key();
    let mut owner = Owner::start_with(&lab, worker, first, |_| ()).await;
    assert_eq!(lab.start(asked("a")).await.unwrap(), StartOutcome::Duplicate { run, owned: false });
    owner.write(task(vec![complete()])).await;
    assert_eq!(lab.start(asked("a")).await.unwrap(), StartOutcome::Duplicate { run, owned: false });
    assert_eq!(lab.start(asked("b")).await.unwrap(), StartOutcome::Started, "the request of another workflow id");
}

pub(crate) async fn an_open_workflow_id_refuses_a_second_start(lab: Lab) {
    let run = lab.open("a").await;
    let outcome = lab.start(request("a")).await.unwrap();
    assert_eq!(outcome, StartOutcome::AlreadyOpen { run_id: run.run_id });
    let elsewhere = StartWorkflow { namespace: "other".into(), ..request("a") };
    assert_eq!(lab.start(elsewhere).await.unwrap(), StartOutcome::Started, "ids are unique in a namespace");
}

pub(crate) async fn use_existing_answers_with_the_open_run_for_ever(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let run = owner.key();
    let plain = conflicting("a", IdConflictPolicy::UseExisting);
    let asked = StartWorkflow { request_id: Some("r".to_owned()), ..conflicting("a", IdConflictPolicy::UseExisting) };
    for start in [&plain, &asked] {
        assert_eq!(lab.start(start.clone()).await.unwrap(), StartOutcome::UsedExisting { run });
    }
    owner.write(task(vec![complete()])).await;
    assert_eq!(lab.start(plain).await.unwrap(), StartOutcome::UsedExisting { run }, "a resend of the same start");
    assert_eq!(lab.start(asked).await.unwrap(), StartOutcome::Duplicate { run, owned: false });
    let fresh = conflicting("a", IdConflictPolicy::UseExisting);
    assert_eq!(lab.start(fresh).await.unwrap(), StartOutcome::Started);
}

pub(crate) async fn terminate_existing_replaces_the_run_whoever_owns_it(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start_with(&lab, worker, request("a"), offering(vec![schedule(1)])).await;
    let old = owner.key();
    assert_eq!(lab.send(old, signal("last words")).await, SendOutcome::Accepted);
    let request = conflicting("a", IdConflictPolicy::TerminateExisting);
    let new = request.key();
    assert_eq!(lab.start(request.clone()).await.unwrap(), StartOutcome::Started);
    assert_eq!(lab.describe(old).await.info.status, RunStatus::Terminated);
    let names = lab.event_names(old).await;
    assert_eq!(names[names.len() - 2..], ["WorkflowExecutionSignaled", "WorkflowExecutionTerminated"]);
    assert!(is_fenced(&owner.try_write(|turn| turn.message(signal("s"))).await));
    assert!(lab.claim_activities(worker).await.is_empty(), "nothing of the old run is left");
    assert_eq!(lab.describe(new).await.info.status, RunStatus::Running);
    assert_eq!(lab.start(request).await.unwrap(), StartOutcome::Duplicate { run: new, owned: false });
    let gone = WorkerId(Uuid::now_v7());
    let never = lab.start_with(conflicting("a", IdConflictPolicy::TerminateExisting), Some(gone), |_| ()).await;
    assert_eq!(never.unwrap(), StartOutcome::OwnerLost);
    assert_eq!(lab.describe(new).await.info.status, RunStatus::Running, "both or neither");
}

pub(crate) async fn a_closed_workflow_id_is_used_again_as_the_policy_says(lab: Lab) {
    let completed = closed(&lab, "completed", complete()).await;
    let failed = closed(&lab, "failed", fail()).await;
    let reuse = |id: &str, reuse_policy| StartWorkflow { reuse_policy, ..request(id) };
    let refused = |run: dacapo_core::RunKey| StartOutcome::ReuseRefused { run_id: run.run_id };
    for (id, policy, expected) in [
        ("completed", IdReusePolicy::RejectDuplicate, refused(completed)),
        ("failed", IdReusePolicy::RejectDuplicate, refused(failed)),
        ("completed", IdReusePolicy::AllowDuplicateFailedOnly, refused(completed)),
        ("failed", IdReusePolicy::AllowDuplicateFailedOnly, StartOutcome::Started),
        ("completed", IdReusePolicy::AllowDuplicate, StartOutcome::Started),
    ] {
        assert_eq!(lab.start(reuse(id, policy)).await.unwrap(), expected, "{id} with {policy:?}");
    }
}

pub(crate) async fn a_signal_comes_with_the_start_or_to_the_run_that_is_there(lab: Lab) {
    let worker = lab.worker().await;
    let signaling = |policy| StartWorkflow { signal: Some(signal("s")), ..conflicting("a", policy) };
    let first = signaling(IdConflictPolicy::UseExisting);
    let mut owner = Owner::start_with(&lab, worker, first.clone(), task(vec![schedule(1)])).await;
    assert_eq!(owner.run.signals, 1);
    let run = owner.key();
    assert_eq!(lab.start(first).await.unwrap(), StartOutcome::Duplicate { run, owned: false });
    assert!(owner.inbox().await.is_empty(), "the signal of a start that was carried out is not sent again");

    let second = signaling(IdConflictPolicy::UseExisting);
    for _ in 0..2 {
        assert_eq!(lab.start(second.clone()).await.unwrap(), StartOutcome::UsedExisting { run });
    }
    owner.take_inbox().await;
    assert_eq!(owner.run.signals, 2, "once, however often the start is sent");

    let refused = lab.start(signaling(IdConflictPolicy::Fail)).await.unwrap();
    assert_eq!(refused, StartOutcome::AlreadyOpen { run_id: run.run_id });
    assert!(owner.inbox().await.is_empty());
}

pub(crate) async fn racing_starts_of_one_workflow_id_start_one_run(lab: Lab) {
    let starts = (0..16).map(|_| lab.start(conflicting("a", IdConflictPolicy::UseExisting)));
    let outcomes: Vec<StartOutcome> = join_all(starts).await.into_iter().map(Result::unwrap).collect();
    let started = outcomes.iter().filter(|outcome| **outcome == StartOutcome::Started).count();
    let used = outcomes.iter().filter(|outcome| matches!(outcome, StartOutcome::UsedExisting { .. })).count();
    assert_eq!((started, used), (1, 15), "{outcomes:?}");
}

pub(crate) async fn racing_replacements_leave_one_open_run(lab: Lab) {
    lab.open("a").await;
    let starts = (0..8).map(|_| lab.start(conflicting("a", IdConflictPolicy::TerminateExisting)));
    for outcome in join_all(starts).await {
        assert_eq!(outcome.unwrap(), StartOutcome::Started);
    }
    let filter = |status| dacapo_core::store::RunFilter { status: Some(status), ..Default::default() };
    assert_eq!(lab.store.count(&filter(RunStatus::Running)).await.unwrap(), 1);
    assert_eq!(lab.store.count(&filter(RunStatus::Terminated)).await.unwrap(), 8);
}
