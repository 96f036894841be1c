//! What runs want of each other: rows of the outbox, their delivery, the answers; runs that follow runs.

use std::{collections::BTreeMap, time::Duration};

use dacapo_core::{
    ChildWorkflowOptions, Command, Failure, MessageBody, ParentClosePolicy, Payload, RetryPolicy, RunId, RunKey,
    RunStatus, StartWorkflow,
    command::{CancelTarget, ContinueAsNew},
    outbox::{ExternalTarget, TargetRun},
    store::{Hint, RunClaim, RunResult, WriteOutcome},
};
use uuid::Uuid;

use super::lab::*;

pub(crate) fn child(child_id: u64, workflow_id: &str, parent_close_policy: ParentClosePolicy) -> Command {
    let options = ChildWorkflowOptions { parent_close_policy, ..ChildWorkflowOptions::default() };
    Command::StartChildWorkflowExecution {
        child_id,
        workflow_id: workflow_id.into(),
        workflow_type: "flow".into(),
        input: Payload::null(),
        options: Box::new(options),
    }
}

fn signal_to(signal_id: u64, workflow_id: &str, signal_name: &str) -> Command {
    let target = ExternalTarget {
        namespace: dacapo_core::Namespace::default_namespace(),
        workflow_id: workflow_id.into(),
        run: TargetRun::Open,
    };
    Command::SignalExternalWorkflowExecution {
        signal_id,
        target,
        signal_name: signal_name.to_owned(),
        input: Payload::null(),
    }
}

fn continue_as_new() -> Command {
    Command::ContinueAsNewWorkflowExecution { successor: Box::new(ContinueAsNew::new(text("next"))) }
}

impl Lab {
    /// Delivers everything.
    async fn deliver(&self) -> u64 {
        let mut delivered = 0;
        loop {
            match self.store.deliver_outbox(7).await.unwrap() {
                0 => return delivered,
                rows => delivered += rows,
            }
        }
    }

    async fn newest(&self, id: &str) -> RunKey {
        let namespace = dacapo_core::Namespace::default_namespace();
        self.store.find_run(&namespace, &id.into(), None).await.unwrap().expect("there is a run").key
    }

    async fn end(&self, run: RunKey) -> RunResult {
        self.store.results(&[run]).await.unwrap().pop().expect("the run is closed").1
    }
}

impl Owner<'_> {
    /// Takes what waits in the inbox, and lets the code react with commands.
    async fn react(&mut self, commands: Vec<Command>) {
        let messages = self.inbox().await;
        self.write(|turn| {
            messages.into_iter().for_each(|message| turn.message(message));
            task(commands)(turn);
        })
        .await;
    }
}

pub(crate) async fn a_child_is_started_and_its_parent_told(lab: Lab) {
    let worker = lab.worker().await;
    let mut parent = Owner::start(&lab, worker, "parent").await;
    let mut hints = lab.store.hints();
    parent.write(task(vec![child(1, "child", ParentClosePolicy::Terminate)])).await;
    lab.await_hint(&mut hints, |hint| *hint == Hint::Outbox).await;
    assert_eq!(lab.deliver().await, 1);
    assert_eq!(lab.deliver().await, 0, "delivered is removed");
    let mut owner = Owner::claim(&lab, worker).await;
    assert_eq!(owner.run.started.workflow_id.as_str(), "child");
    parent.take_inbox().await;
    let names = lab.event_names(parent.key()).await;
    assert_eq!(names.last(), Some(&"ChildWorkflowExecutionStarted"));
    owner.write(task(vec![complete()])).await;
    lab.deliver().await;
    parent.take_inbox().await;
    let names = lab.event_names(parent.key()).await;
    assert_eq!(names.last(), Some(&"ChildWorkflowExecutionCompleted"));
    parent.write(task(vec![complete()])).await;
}

pub(crate) async fn a_child_under_a_taken_id_is_refused(lab: Lab) {
    let worker = lab.worker().await;
    let taken = lab.open("taken").await;
    let mut parent = Owner::start(&lab, worker, "parent").await;
    parent.write(task(vec![child(1, "taken", ParentClosePolicy::Terminate)])).await;
    lab.deliver().await;
    parent.take_inbox().await;
    assert_eq!(lab.event_names(parent.key()).await.last(), Some(&"StartChildWorkflowExecutionFailed"));
    assert_eq!(lab.newest("taken").await, taken);
}

pub(crate) async fn a_write_that_is_fenced_wants_nothing_of_others(lab: Lab) {
    let worker = lab.worker().await;
    let parent = Owner::start(&lab, worker, "parent").await;
    let mut zombie = Owner { epoch: 9, ..Owner::load(&lab, worker, parent.key()).await };
    assert!(is_fenced(&zombie.try_write(task(vec![child(1, "child", ParentClosePolicy::Abandon)])).await));
    assert_eq!(lab.deliver().await, 0);
}

pub(crate) async fn a_start_and_its_first_step_want_something_together(lab: Lab) {
    let worker = lab.worker().await;
    let step = task(vec![child(1, "child", ParentClosePolicy::Abandon)]);
    let parent = Owner::start_with(&lab, worker, request("parent"), step).await;
    assert_eq!(lab.deliver().await, 1);
    assert_eq!(parent.inbox().await.len(), 1);
    assert_eq!(lab.claim(worker).await.runs.len(), 1);
}

pub(crate) async fn signals_between_runs_arrive_in_order_and_are_answered(lab: Lab) {
    let worker = lab.worker().await;
    let target = Owner::start(&lab, worker, "target").await;
    let mut sender = Owner::start(&lab, worker, "sender").await;
    let names: Vec<String> = (0..20).map(|number| format!("s{number:02}")).collect();
    let signals = |at: std::ops::Range<usize>| {
        at.map(|number| signal_to(number as u64 + 1, "target", &names[number])).collect::<Vec<_>>()
    };
    sender.write(task(signals(0..10))).await;
    lab.send(sender.key(), signal("go on")).await;
    sender.react(signals(10..20)).await;
    lab.deliver().await;
    let arrived: Vec<String> = target
        .inbox()
        .await
        .into_iter()
        .map(|message| match message.body {
            MessageBody::Signal { name, .. } => name,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(arrived, names);
    sender.take_inbox().await;
    let told = lab.event_names(sender.key()).await;
    assert_eq!(told.iter().filter(|name| **name == "ExternalWorkflowExecutionSignaled").count(), 20);
}

pub(crate) async fn a_signal_to_nobody_fails_in_the_senders_history(lab: Lab) {
    let worker = lab.worker().await;
    let mut sender = Owner::start(&lab, worker, "sender").await;
    sender.write(task(vec![signal_to(1, "nobody", "s")])).await;
    lab.deliver().await;
    sender.take_inbox().await;
    assert_eq!(lab.event_names(sender.key()).await.last(), Some(&"SignalExternalWorkflowExecutionFailed"));
}

pub(crate) async fn what_a_closed_run_wanted_is_done_all_the_same(lab: Lab) {
    let worker = lab.worker().await;
    let target = Owner::start(&lab, worker, "target").await;
    let mut sender = Owner::start(&lab, worker, "sender").await;
    sender.write(task(vec![signal_to(1, "target", "last words"), complete()])).await;
    assert_eq!(lab.deliver().await, 1);
    assert_eq!(target.inbox().await.len(), 1);
}

pub(crate) async fn a_parent_that_closes_does_to_its_children_what_it_said(lab: Lab) {
    let worker = lab.worker().await;
    let mut parent = Owner::start(&lab, worker, "parent").await;
    let policies = [ParentClosePolicy::Terminate, ParentClosePolicy::RequestCancel, ParentClosePolicy::Abandon];
    let ids = ["terminated", "canceled", "abandoned"];
    let commands = (1..).zip(ids).zip(policies).map(|((child_id, id), policy)| child(child_id, id, policy));
    parent.write(task(commands.collect())).await;
    // The parent closes before anybody has started its children: start and order go together.
    parent.write(|turn| turn.message(terminate("enough"))).await;
    assert_eq!(lab.deliver().await, 5);
    let claimed = lab.claim(worker).await.runs;
    let inboxes: BTreeMap<String, usize> = claimed.iter().map(|run| (id_of(run), run.inbox.len())).collect();
    assert_eq!(inboxes, BTreeMap::from([("abandoned".into(), 0), ("canceled".into(), 1), ("terminated".into(), 1)]));
    for run in claimed.iter().filter(|run| !run.inbox.is_empty()) {
        let ordered = matches!(run.inbox[0].body, MessageBody::Terminate { .. });
        assert_eq!(ordered, id_of(run) == "terminated");
    }
}

fn id_of(run: &dacapo_core::store::LoadedRun) -> String {
    dacapo_core::Run::from_history(&run.events).unwrap().started.workflow_id.to_string()
}

pub(crate) async fn racing_deliveries_deliver_each_row_once_and_in_order(lab: Lab) {
    const RUNS: usize = 8;
    const SIGNALS: u64 = 25;
    let worker = lab.worker().await;
    let target = Owner::start(&lab, worker, "target").await;
    let mut senders = Vec::new();
    for number in 0..RUNS {
        let mut sender = Owner::start(&lab, worker, &format!("sender-{number}")).await;
        let signals = (1..=SIGNALS).map(|id| signal_to(id, "target", &format!("{number}")));
        sender.write(task(signals.collect())).await;
        senders.push(sender);
    }
    let delivered = join_all((0..6).map(|_| lab.deliver())).await;
    lab.deliver().await;
    assert!(delivered.iter().sum::<u64>() >= RUNS as u64 * SIGNALS, "{delivered:?}");
    assert_eq!(target.inbox().await.len(), RUNS * SIGNALS as usize);
    for sender in &mut senders {
        sender.take_inbox().await;
        let told = lab.event_names(sender.key()).await;
        let answers = told.iter().filter(|name| **name == "ExternalWorkflowExecutionSignaled").count();
        assert_eq!(answers as u64, SIGNALS);
    }
}

pub(crate) async fn what_nobody_delivers_is_found_by_a_beat(lab: Lab) {
    let worker = lab.worker().await;
    let mut sender = Owner::start(&lab, worker, "sender").await;
    sender.write(task(vec![signal_to(1, "nobody", "s")])).await;
    assert!(!lab.store.beat(worker, &interest(LONG)).await.unwrap().outbox_waiting, "its writer is at it");
    lab.pass(Duration::from_millis(2_200)).await;
    assert!(lab.store.beat(worker, &interest(LONG)).await.unwrap().outbox_waiting);
    lab.deliver().await;
    assert!(!lab.store.beat(worker, &interest(LONG)).await.unwrap().outbox_waiting);
}

pub(crate) async fn a_run_ends_and_its_successor_begins_in_one_write(lab: Lab) {
    let worker = lab.worker().await;
    let mut first = Owner::start(&lab, worker, "chain").await;
    first.write(task(vec![continue_as_new()])).await;
    let end = lab.end(first.key()).await;
    assert_eq!(end.status, RunStatus::ContinuedAsNew);
    let second = lab.newest("chain").await;
    assert_eq!(end.successor, Some(second.run_id));
    let mut owner = Owner::claim(&lab, worker).await;
    assert_eq!((owner.key(), owner.epoch), (second, 1));
    assert_eq!(owner.run.first_run_id(), first.key().run_id);
    owner.write(task(vec![complete()])).await;
    assert_eq!(lab.end(second).await.successor, None);
}

pub(crate) async fn a_fenced_end_has_no_successor(lab: Lab) {
    let worker = lab.worker().await;
    let first = Owner::start(&lab, worker, "chain").await;
    let mut zombie = Owner { epoch: 9, ..Owner::load(&lab, worker, first.key()).await };
    assert!(is_fenced(&zombie.try_write(task(vec![continue_as_new()])).await));
    lab.send(first.key(), signal("unread")).await;
    let mut unread = Owner::load(&lab, worker, first.key()).await;
    let refused = unread.try_write(task(vec![continue_as_new()])).await;
    assert!(matches!(refused, WriteOutcome::InboxNotEmpty), "{refused:?}");
    assert_eq!(lab.newest("chain").await, first.key());
    assert!(lab.claim(worker).await.runs.is_empty());
}

pub(crate) async fn a_successor_stays_with_its_writer_while_that_lives(lab: Lab) {
    let worker = lab.worker().await;
    let mut first = Owner::start(&lab, worker, "kept").await;
    let mut write = first.step(task(vec![continue_as_new()])).await;
    write.transition.successor.as_mut().unwrap().owned = true;
    assert!(matches!(lab.put(write).await, WriteOutcome::Applied));
    assert!(lab.claim(worker).await.runs.is_empty());
    let mut second = Owner::load(&lab, worker, lab.newest("kept").await).await;
    assert_eq!(second.epoch, 1);
    let mut write = second.step(task(vec![continue_as_new()])).await;
    write.transition.successor.as_mut().unwrap().owned = true;
    lab.store.deregister(worker).await.unwrap();
    assert!(matches!(lab.put(write).await, WriteOutcome::Applied));
    let other = lab.worker().await;
    let third = Owner::claim(&lab, other).await;
    assert_eq!(third.key(), lab.newest("kept").await);
    lab.take_over(worker).await;
}

pub(crate) async fn a_failed_run_is_retried_after_its_wait(lab: Lab) {
    let worker = lab.worker().await;
    let policy = RetryPolicy { maximum_attempts: 2, ..RetryPolicy::default() };
    let request = StartWorkflow { retry_policy: Some(Box::new(policy)), ..request("retried") };
    let fail = || Command::FailWorkflowExecution { failure: Box::new(Failure::application("Broken", "no")) };
    let mut first = Owner::start_with(&lab, worker, request, |_| ()).await;
    first.write(task(vec![fail()])).await;
    let end = lab.end(first.key()).await;
    let second = lab.newest("retried").await;
    assert_eq!((end.status, end.successor), (RunStatus::Failed, Some(second.run_id)));
    assert!(lab.claim(worker).await.runs.is_empty(), "the policy says to wait");
    lab.pass(Duration::from_millis(1_100)).await;
    let mut second = Owner::claim(&lab, worker).await;
    second.write(task(vec![fail()])).await;
    let end = lab.end(second.key()).await;
    assert_eq!((end.status, end.successor), (RunStatus::Failed, None));
}

pub(crate) async fn a_chain_is_followed_and_a_stranger_left_alone(lab: Lab) {
    let worker = lab.worker().await;
    let mut parent = Owner::start(&lab, worker, "parent").await;
    parent.write(task(vec![child(1, "child", ParentClosePolicy::Terminate)])).await;
    lab.deliver().await;
    let mut owner = Owner::claim(&lab, worker).await;
    owner.write(task(vec![continue_as_new()])).await;
    parent.react(vec![cancel_child()]).await;
    lab.deliver().await;
    let second = Owner::claim(&lab, worker).await;
    let asked = second.inbox().await;
    assert!(matches!(asked.as_slice(), [message] if matches!(message.body, MessageBody::Cancel { .. })), "{asked:?}");
    // The chain ends from outside, and somebody takes the workflow id for something else.
    let mut second = second;
    second.take_inbox().await;
    second.write(|turn| turn.message(terminate("over"))).await;
    let stranger = lab.open("child").await;
    parent.take_inbox().await;
    parent.write(|turn| turn.message(terminate("over"))).await;
    lab.deliver().await;
    assert_eq!(lab.describe(stranger).await.inbox, 0);
}

fn cancel_child() -> Command {
    Command::RequestCancelExternalWorkflowExecution { target: CancelTarget::Child(1), reason: "late".to_owned() }
}

pub(crate) async fn a_thousand_children_are_started_and_answered(lab: Lab) {
    const CHILDREN: u64 = 1_000;
    let worker = lab.worker().await;
    let mut parent = Owner::start(&lab, worker, "parent").await;
    let children = (1..=CHILDREN).map(|id| child(id, &format!("child-{id}"), ParentClosePolicy::Abandon));
    parent.write(task(children.collect())).await;
    while lab.store.deliver_outbox(200).await.unwrap() > 0 {}
    let claim = RunClaim { limit: 2_000, ..claim(0) };
    let claimed = lab.store.claim_runs(worker, &claim).await.unwrap().runs;
    assert_eq!(claimed.len() as u64, CHILDREN);
    parent.take_inbox().await;
    assert!(parent.run.rare.as_ref().unwrap().children.values().all(|it| it.started_event_id.is_some()));
    for run in claimed {
        let mut child = Owner::load(&lab, worker, run.key).await;
        child.write(task(vec![complete()])).await;
    }
    while lab.store.deliver_outbox(200).await.unwrap() > 0 {}
    parent.take_inbox().await;
    assert!(parent.run.rare.as_ref().unwrap().children.is_empty());
}

pub(crate) async fn a_run_that_is_terminated_by_anybody_tells_its_relatives(lab: Lab) {
    let worker = lab.worker().await;
    let mut parent = Owner::start(&lab, worker, "parent").await;
    parent.write(task(vec![child(1, "child", ParentClosePolicy::Terminate)])).await;
    lab.deliver().await;
    parent.take_inbox().await;
    let child = lab.newest("child").await;
    lab.store.terminate(child, terminate("by hand")).await.unwrap();
    assert_eq!(lab.end(child).await.status, RunStatus::Terminated);
    lab.deliver().await;
    parent.take_inbox().await;
    assert_eq!(lab.event_names(parent.key()).await.last(), Some(&"ChildWorkflowExecutionTerminated"));
}

pub(crate) async fn a_message_to_a_run_that_never_was_is_not_found(lab: Lab) {
    let worker = lab.worker().await;
    let mut sender = Owner::start(&lab, worker, "sender").await;
    let target = ExternalTarget {
        namespace: dacapo_core::Namespace::default_namespace(),
        workflow_id: "sender".into(),
        run: TargetRun::Run(RunId(Uuid::now_v7())),
    };
    let command = Command::SignalExternalWorkflowExecution {
        signal_id: 1,
        target,
        signal_name: "s".to_owned(),
        input: Payload::null(),
    };
    sender.write(task(vec![command])).await;
    assert_eq!(lab.deliver().await, 1);
    sender.take_inbox().await;
    assert_eq!(lab.event_names(sender.key()).await.last(), Some(&"SignalExternalWorkflowExecutionFailed"));
}
