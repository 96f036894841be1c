//! Resets and forks: what they end, what they begin, and what they leave alone, whoever else is at it.

use std::collections::BTreeSet;

use dacapo_core::{
    ActivityResult, Command, EventKind, Failure, Message, MessageBody, MessageId, ParentClosePolicy, Payload, RunId,
    RunKey, RunStatus, WorkerId,
    branch::{BranchPlan, BranchRun, Edit, Fork, InvalidBranch, Reapply, Reset, ResetPoint},
    lineage::BranchKind,
    store::{ActivityReport, BranchOutcome, Hint, ReportOutcome, RunResult, SendOutcome},
};
use uuid::Uuid;

use super::lab::*;

fn reset_as(source: RunKey, point: ResetPoint, request_id: &str) -> BranchRun {
    let (reason, reapply) = ("bad build".to_owned(), Reapply::Messages);
    let plan = BranchPlan::Reset(Reset { point, run_id: RunId(Uuid::now_v7()), reason, reapply });
    BranchRun { source, plan, request_id: request_id.to_owned(), identity: "tester".to_owned() }
}

fn reset(source: RunKey, point: ResetPoint) -> BranchRun {
    reset_as(source, point, &Uuid::now_v7().to_string())
}

fn fork(source: RunKey, workflow_id: &str, edits: Vec<Edit>) -> BranchRun {
    let point = edits.is_empty().then_some(ResetPoint::LastWorkflowTask);
    let (run_id, reason, reapply) = (RunId(Uuid::now_v7()), "what if".to_owned(), Reapply::Messages);
    let plan = BranchPlan::Fork(Fork { workflow_id: workflow_id.into(), run_id, point, edits, reason, reapply });
    BranchRun { source, plan, request_id: workflow_id.to_owned(), identity: "tester".to_owned() }
}

impl Lab {
    async fn branch(&self, branch: &BranchRun) -> BranchOutcome {
        self.store.branch(branch).await.unwrap()
    }

    async fn branched(&self, branch: &BranchRun) -> RunKey {
        match self.branch(branch).await {
            BranchOutcome::Branched { run, .. } => run,
            other => panic!("{other:?}"),
        }
    }

    async fn end_of(&self, run: RunKey) -> RunResult {
        self.store.results(&[run]).await.unwrap().pop().expect("the run is closed").1
    }

    /// The ids of the signals that a run has received or that wait for it.
    async fn signals(&self, run: RunKey) -> BTreeSet<MessageId> {
        let loaded = self.load(run).await;
        let recorded = loaded.events.iter().filter_map(|event| match &event.event {
            EventKind::WorkflowExecutionSignaled(it) => Some(it.message_id),
            _ => None,
        });
        recorded.chain(loaded.inbox.iter().map(|message| message.id)).collect()
    }
}

fn broken() -> Failure {
    Failure { non_retryable: true, ..Failure::application("Io", "broken") }
}

/// A run of a worker's whose first task has asked for an activity that is done, and whose second for one that is not.
async fn half_done<'a>(lab: &'a Lab, worker: WorkerId, id: &str) -> Owner<'a> {
    let mut owner = Owner::start(lab, worker, id).await;
    owner.write(offering(vec![schedule(1)])).await;
    finish_attempt(lab, worker, ActivityResult::Completed(text("one"))).await;
    owner.take_inbox().await;
    owner.write(offering(vec![schedule(2)])).await;
    owner
}

async fn finish_attempt(lab: &Lab, worker: WorkerId, result: ActivityResult) {
    let claimed = lab.claim_activities(worker).await.remove(0);
    let report = ActivityReport { worker, claim: claimed.claim, outcome: outcome(&claimed, result) };
    assert_eq!(lab.store.complete_activity(report).await.unwrap(), ReportOutcome::Accepted);
}

pub(crate) async fn a_reset_takes_the_place_of_a_run_that_somebody_owns(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = half_done(&lab, worker, "a").await;
    let old = owner.key();
    let unread = signal("unread");
    lab.send(old, unread.clone()).await;
    let mut hints = lab.store.hints();
    let asked = reset(old, ResetPoint::LastWorkflowTask);
    let new = lab.branched(&asked).await;
    lab.await_hint(&mut hints, |hint| matches!(hint, Hint::Closed(runs) | Hint::Replaced(runs) if runs == &[old]))
        .await;
    assert!(is_fenced(&owner.try_write(|turn| turn.message(signal("late"))).await), "a late owner writes nothing");
    let end = lab.end_of(old).await;
    assert_eq!((end.status, end.successor), (RunStatus::Terminated, Some(new.run_id)));
    assert_eq!(lab.event_names(old).await[11..], ["WorkflowExecutionSignaled", "WorkflowExecutionTerminated"]);
    assert_eq!(lab.signals(new).await, BTreeSet::from([unread.id]), "what the old run had not read is in the new one");

    let mut again = Owner::claim(&lab, worker).await;
    assert_eq!((again.key(), again.run.first_run_id()), (new, old.run_id));
    assert!(again.run.activities.is_empty(), "the second activity is asked for again");
    let from = again.run.started.lineage.as_ref().unwrap().branched_from.clone().unwrap();
    assert_eq!((from.kind, from.run_id, from.event_id), (BranchKind::Reset, old.run_id, 9));
    let described = lab.describe(old).await;
    let to: Vec<_> = described.branches.iter().map(|it| (it.kind, it.run_id, it.event_id)).collect();
    assert_eq!(to, [(BranchKind::Reset, new.run_id, 9)]);
    again.write(offering(vec![schedule(2)])).await;
    finish_attempt(&lab, worker, ActivityResult::Completed(text("two"))).await;
    again.take_inbox().await;
    again.write(task(vec![complete()])).await;
    assert_eq!(lab.end_of(new).await.status, RunStatus::Completed);
    assert_eq!(
        lab.branch(&asked).await,
        BranchOutcome::Duplicate { run: new },
        "the same request, whatever came since"
    );
}

pub(crate) async fn what_is_pending_at_the_point_is_for_others_to_do_again(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = half_done(&lab, worker, "a").await;
    lab.send(owner.key(), signal("go on")).await;
    owner.take_inbox().await;
    owner.write(task(vec![])).await;
    let claimed_before = lab.claim_activities(worker).await.remove(0);
    let new = lab.branched(&reset(owner.key(), ResetPoint::LastWorkflowTask)).await;
    let late = outcome(&claimed_before, ActivityResult::Completed(text("late")));
    let late = ActivityReport { worker, claim: claimed_before.claim, outcome: late };
    assert_eq!(lab.store.complete_activity(late).await.unwrap(), ReportOutcome::Stale, "its run is over");
    finish_attempt(&lab, worker, ActivityResult::Completed(text("two"))).await;
    let claimed = lab.claim(worker).await.runs.remove(0);
    assert_eq!(claimed.key, new);
    assert_eq!(claimed.activities.len(), 1, "the first claimer knows the row");
    assert_eq!(claimed.inbox.len(), 1);
    let mut again = Owner::load(&lab, worker, new).await;
    again.take_inbox().await;
    again.write(task(vec![complete()])).await;
}

pub(crate) async fn a_run_that_nobody_owns_is_reset(lab: Lab) {
    let worker = lab.worker().await;
    let owner = half_done(&lab, worker, "a").await;
    owner.release(None).await;
    lab.send(owner.key(), signal("wakes it")).await;
    let new = lab.branched(&reset(owner.key(), ResetPoint::FirstWorkflowTask)).await;
    let again = Owner::claim(&lab, worker).await;
    assert_eq!(again.key(), new, "nothing of the old run is ready");
    assert_eq!(again.run.signals, 1);
    let names = lab.event_names(new).await;
    assert_eq!(names[2..4], ["WorkflowTaskStarted", "WorkflowTaskFailed"]);
}

pub(crate) async fn a_closed_run_is_reset_and_keeps_its_end(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = half_done(&lab, worker, "a").await;
    finish_attempt(&lab, worker, ActivityResult::Failed(broken())).await;
    owner.take_inbox().await;
    owner.write(task(vec![Command::FailWorkflowExecution { failure: Box::new(broken()) }])).await;
    let old = owner.key();
    let before = lab.end_of(old).await;
    let new = lab.branched(&reset(old, ResetPoint::BeforeFailure(2))).await;
    assert_eq!(lab.end_of(old).await, before, "who asks for that run hears what it heard");
    assert_eq!(lab.describe(old).await.branches[0].run_id, new.run_id);
    finish_attempt(&lab, worker, ActivityResult::Completed(text("two"))).await;
    let mut again = Owner::claim(&lab, worker).await;
    again.take_inbox().await;
    again.write(task(vec![complete()])).await;
    let newest = lab.store.find_run(&dacapo_core::Namespace::default_namespace(), &"a".into(), None).await.unwrap();
    assert_eq!(newest.map(|run| run.key), Some(new), "of two with one start the branch is the newer one");
    let second = lab.branched(&reset(old, ResetPoint::FirstWorkflowTask)).await;
    let blocked = lab.branch(&reset(old, ResetPoint::FirstWorkflowTask)).await;
    assert_eq!(blocked, BranchOutcome::AlreadyOpen { run_id: second.run_id }, "an open run is not ended by the way");
}

pub(crate) async fn a_branch_that_cannot_be_changes_nothing(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = half_done(&lab, worker, "a").await;
    let wrong = lab.branch(&reset(owner.key(), ResetPoint::Event(1))).await;
    assert!(matches!(wrong, BranchOutcome::Refused(InvalidBranch::NoWorkflowTask { event_id: 1, .. })), "{wrong:?}");
    let wrong = lab.branch(&reset(owner.key(), ResetPoint::BeforeActivity("pay".to_owned()))).await;
    let BranchOutcome::Refused(problem) = wrong else { panic!("{wrong:?}") };
    assert_eq!(
        problem.to_string(),
        "nothing to go back to at the first activity `pay`: the history has activities act"
    );
    let nowhere = RunKey { run_id: RunId(Uuid::now_v7()), ..owner.key() };
    assert_eq!(lab.branch(&reset(nowhere, ResetPoint::FirstWorkflowTask)).await, BranchOutcome::NotFound);
    owner.write(|turn| turn.message(signal("still here"))).await;
    assert!(lab.describe(owner.key()).await.branches.is_empty());
}

pub(crate) async fn children_are_settled_before_a_branch_or_it_is_refused(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "parent").await;
    owner.write(task(vec![super::between::child(1, "child", ParentClosePolicy::Terminate)])).await;
    lab.store.deliver_outbox(10).await.unwrap();
    owner.take_inbox().await;
    owner.write(task(vec![])).await;
    let pending = lab.branch(&reset(owner.key(), ResetPoint::LastWorkflowTask)).await;
    assert!(matches!(pending, BranchOutcome::Refused(InvalidBranch::Pending { event_id: 5, .. })), "{pending:?}");
    let new = lab.branched(&reset(owner.key(), ResetPoint::FirstWorkflowTask)).await;
    assert!(lab.store.deliver_outbox(10).await.unwrap() > 0, "the old run's child gets its order");
    let claimed = lab.claim(worker).await.runs;
    let child = claimed.iter().find(|run| run.key != new).expect("the child was started");
    let mut child = Owner::load(&lab, worker, child.key).await;
    child.take_inbox().await;
    assert_eq!(lab.end_of(child.key()).await.status, RunStatus::Terminated);
    while lab.store.deliver_outbox(10).await.unwrap() > 0 {}
    let mut again = Owner::load(&lab, worker, new).await;
    again.write(task(vec![super::between::child(1, "child", ParentClosePolicy::Terminate)])).await;
    while lab.store.deliver_outbox(10).await.unwrap() > 0 {}
    again.take_inbox().await;
    assert_eq!(lab.event_names(new).await.last(), Some(&"ChildWorkflowExecutionStarted"));
}

pub(crate) async fn an_order_to_end_that_nobody_read_ends_the_old_run_alone(lab: Lab) {
    let worker = lab.worker().await;
    let owner = half_done(&lab, worker, "a").await;
    let order = terminate("enough");
    assert_eq!(lab.store.terminate(owner.key(), order.clone()).await.unwrap(), SendOutcome::Accepted);
    let new = lab.branched(&reset(owner.key(), ResetPoint::LastWorkflowTask)).await;
    let end = lab.end_of(owner.key()).await;
    assert_eq!((end.status, end.successor), (RunStatus::Terminated, Some(new.run_id)));
    assert_eq!(lab.send(owner.key(), order).await, SendOutcome::Accepted, "the order is in the history");
    assert_eq!(lab.load(new).await.inbox, []);
}

pub(crate) async fn racing_resets_make_one_run(lab: Lab) {
    let worker = lab.worker().await;
    let owner = half_done(&lab, worker, "a").await;
    let same = (0..4).map(|_| reset_as(owner.key(), ResetPoint::LastWorkflowTask, "same"));
    let outcomes = join_all(same.map(|asked| {
        let lab = &lab;
        async move { lab.branch(&asked).await }
    }))
    .await;
    let made: Vec<RunKey> = outcomes
        .iter()
        .filter_map(|it| if let BranchOutcome::Branched { run, .. } = it { Some(*run) } else { None })
        .collect();
    let [new] = made.as_slice() else { panic!("{outcomes:?}") };
    let others = outcomes.iter().filter(|it| **it == BranchOutcome::Duplicate { run: *new }).count();
    assert_eq!(others, 3, "{outcomes:?}");

    let different = (0..4).map(|_| reset(*new, ResetPoint::LastWorkflowTask));
    let outcomes = join_all(different.map(|asked| {
        let lab = &lab;
        async move { lab.branch(&asked).await }
    }))
    .await;
    let made = outcomes.iter().filter(|it| matches!(it, BranchOutcome::Branched { .. })).count();
    let late = outcomes.iter().filter(|it| matches!(it, BranchOutcome::AlreadyOpen { .. })).count();
    assert_eq!((made, late), (1, 3), "{outcomes:?}");
    assert_eq!(lab.claim(worker).await.runs.len(), 1);
}

pub(crate) async fn a_reset_and_the_runs_own_end_are_one_after_the_other(lab: Lab) {
    let worker = lab.worker().await;
    for round in 0..10 {
        let mut owner = half_done(&lab, worker, &format!("round-{round}")).await;
        owner.write(|turn| turn.message(signal("go on"))).await;
        let old = owner.key();
        let asked = reset(old, ResetPoint::FirstWorkflowTask);
        let (written, branched) = tokio::join!(owner.try_write(task(vec![complete()])), lab.branch(&asked));
        let BranchOutcome::Branched { run: new, .. } = branched else { panic!("{branched:?}") };
        let end = lab.end_of(old).await;
        match is_fenced(&written) {
            true => assert_eq!((end.status, end.successor), (RunStatus::Terminated, Some(new.run_id))),
            false => assert_eq!((end.status, end.successor), (RunStatus::Completed, None)),
        }
        assert_eq!(lab.signals(new).await.len(), 1);
    }
}

pub(crate) async fn no_signal_is_lost_while_a_run_is_reset(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = half_done(&lab, worker, "a").await;
    let mut run = owner.key();
    let mut acknowledged = BTreeSet::new();
    for _ in 0..5 {
        // One comes before the reset for certain; which of the others do is a matter of luck.
        let first = signal("first");
        acknowledged.insert(first.id);
        assert_eq!(lab.send(run, first).await, SendOutcome::Accepted);
        let sends = (0..20).map(|number| {
            let (lab, message) = (&lab, signal(&format!("s{number}")));
            async move { (message.id, lab.send(run, message).await) }
        });
        let asked = reset(run, ResetPoint::FirstWorkflowTask);
        let (sent, new) = tokio::join!(join_all(sends), lab.branched(&asked));
        acknowledged.extend(sent.into_iter().filter(|(_, it)| *it == SendOutcome::Accepted).map(|(id, _)| id));
        assert_eq!(
            lab.signals(new).await,
            acknowledged,
            "each is in the old run's history, and with it in the new one"
        );
        run = new;
    }
    assert!(is_fenced(&owner.try_write(|turn| turn.message(signal("late"))).await));
}

pub(crate) async fn a_fork_goes_its_own_way_and_leaves_its_source_alone(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = half_done(&lab, worker, "a").await;
    let source = owner.key();
    let before = lab.store.history(source, 1, 100).await.unwrap();
    let edit = Edit::ActivityResult { activity_id: 1, result: text("other") };
    let asked = fork(source, "b", vec![edit]);
    let new = lab.branched(&asked).await;
    let after = lab.store.history(source, 1, 100).await.unwrap();
    assert_eq!(format!("{after:?}"), format!("{before:?}"));
    assert_eq!(lab.branch(&asked).await, BranchOutcome::Duplicate { run: new });
    let taken = BranchRun { request_id: "another".to_owned(), ..asked.clone() };
    let taken = match taken.plan {
        BranchPlan::Fork(fork) => {
            let plan = BranchPlan::Fork(Fork { run_id: RunId(Uuid::now_v7()), ..fork });
            BranchRun { plan, request_id: "another".to_owned(), ..asked }
        }
        BranchPlan::Reset(_) => panic!("it is a fork"),
    };
    assert_eq!(lab.branch(&taken).await, BranchOutcome::AlreadyOpen { run_id: new.run_id });

    let mut forked = Owner::claim(&lab, worker).await;
    assert_eq!((forked.key(), forked.run.started.workflow_id.as_str()), (new, "b"));
    assert_eq!(forked.run.first_run_id(), new.run_id, "a chain of its own");
    let events = lab.load(new).await.events;
    let results: Vec<Payload> = events
        .iter()
        .filter_map(|event| match &event.event {
            EventKind::ActivityTaskCompleted(it) => Some(it.result.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(results, [text("other")]);
    forked.write(task(vec![complete()])).await;
    finish_attempt(&lab, worker, ActivityResult::Completed(text("two"))).await;
    owner.take_inbox().await;
    owner.write(task(vec![complete()])).await;
    assert_eq!(lab.describe(source).await.branches[0].workflow_id.as_str(), "b");
}

pub(crate) async fn a_request_for_a_branch_is_none_for_a_start(lab: Lab) {
    let worker = lab.worker().await;
    let owner = half_done(&lab, worker, "a").await;
    let new = lab.branched(&reset_as(owner.key(), ResetPoint::FirstWorkflowTask, "same")).await;
    let start = dacapo_core::StartWorkflow { request_id: Some("same".to_owned()), ..request("a") };
    let refused = dacapo_core::store::StartOutcome::AlreadyOpen { run_id: new.run_id };
    assert_eq!(lab.start(start).await.unwrap(), refused);
    let late = Message {
        id: MessageId(Uuid::now_v7()),
        body: MessageBody::Cancel { reason: String::new(), identity: String::new() },
    };
    assert_eq!(lab.send(owner.key(), late).await, SendOutcome::NotOpen);
}
