//! Messages: an acknowledged one is in the inbox or in the history, once, in order; ends from outside.

use dacapo_core::{
    MessageBody, RunId, RunKey, RunStatus,
    limits::SIGNALS_MAX,
    store::{Hint, SendOutcome},
};
use uuid::Uuid;

use super::lab::*;

pub(crate) async fn a_message_to_an_owned_run_waits_for_its_owner(lab: Lab) {
    let worker = lab.worker().await;
    let owner = Owner::start(&lab, worker, "a").await;
    let quiet = Owner::start(&lab, worker, "b").await;
    let mut hints = lab.store.hints();
    let message = signal("s");
    assert_eq!(lab.send(owner.key(), message.clone()).await, SendOutcome::Accepted);
    lab.await_hint(&mut hints, |hint| *hint == Hint::Inbox(vec![owner.key()])).await;
    let all = lab.store.inbox(worker, &[owner.key(), quiet.key()], 10).await.unwrap();
    assert_eq!(all, [(owner.key(), message)]);
    assert!(lab.store.inbox(worker, &[quiet.key()], 10).await.unwrap().is_empty());
    let other = lab.worker().await;
    assert!(lab.store.inbox(other, &[owner.key()], 10).await.unwrap().is_empty(), "not the owner");
    assert!(lab.claim(other).await.runs.is_empty(), "an owned run is not offered");
}

pub(crate) async fn a_message_wakes_a_run_that_nobody_owns(lab: Lab) {
    let worker = lab.worker().await;
    let owner = Owner::start(&lab, worker, "a").await;
    owner.release(None).await;
    assert!(lab.claim(worker).await.runs.is_empty(), "it waits for something");
    let mut hints = lab.store.hints();
    lab.send(owner.key(), signal("s")).await;
    lab.await_hint(&mut hints, |hint| *hint == Hint::RunsReady(QUEUE.into())).await;
    let mut owner = Owner::claim(&lab, worker).await;
    owner.take_inbox().await;
    assert_eq!((owner.epoch, owner.run.signals), (2, 1));
}

pub(crate) async fn a_resent_message_is_recorded_once(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let message = signal("s");
    for _ in 0..3 {
        assert_eq!(lab.send(owner.key(), message.clone()).await, SendOutcome::Accepted);
    }
    assert_eq!(owner.inbox().await.len(), 1);
    owner.take_inbox().await;
    assert_eq!(lab.send(owner.key(), message.clone()).await, SendOutcome::Accepted);
    owner.take_inbox().await;
    assert_eq!(owner.run.signals, 1);
    assert!(owner.inbox().await.is_empty());
    owner.write(task(vec![complete()])).await;
    assert_eq!(lab.send(owner.key(), message).await, SendOutcome::Accepted, "the history holds it");
    assert_eq!(lab.send(owner.key(), signal("late")).await, SendOutcome::NotOpen);
}

pub(crate) async fn a_run_that_never_was_takes_no_message(lab: Lab) {
    let shard = lab.open("a").await.shard;
    let never = RunKey { shard, run_id: RunId(Uuid::now_v7()) };
    assert_eq!(lab.send(never, signal("s")).await, SendOutcome::NotOpen);
    assert_eq!(lab.store.terminate(never, terminate("x")).await.unwrap(), SendOutcome::NotOpen);
}

pub(crate) async fn messages_of_one_sender_stay_in_order(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let names: Vec<String> = (0..200).map(|number| format!("{number}")).collect();
    // Handed over one after the other, without waiting for the answers.
    let sends: Vec<_> = names.iter().map(|name| lab.send(owner.key(), signal(name))).collect();
    assert!(join_all(sends).await.iter().all(|outcome| *outcome == SendOutcome::Accepted));
    while !owner.inbox().await.is_empty() {
        let some: Vec<_> = owner.inbox().await.into_iter().take(70).collect();
        owner.write(|turn| some.into_iter().for_each(|message| turn.message(message))).await;
    }
    let loaded = lab.load(owner.key()).await;
    let recorded: Vec<String> = loaded
        .events
        .iter()
        .filter_map(|event| match &event.event {
            dacapo_core::EventKind::WorkflowExecutionSignaled(it) => Some(it.signal_name.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(recorded, names);
}

pub(crate) async fn a_run_takes_no_more_signals_than_the_limit(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let known = signal("known");
    owner
        .write(|turn| {
            turn.message(known.clone());
            (2..SIGNALS_MAX).for_each(|_| turn.message(signal("s")));
        })
        .await;
    let waiting = signal("the last");
    assert_eq!(lab.send(owner.key(), waiting.clone()).await, SendOutcome::Accepted);
    assert_eq!(lab.send(owner.key(), signal("too many")).await, SendOutcome::TooManySignals);
    assert_eq!(lab.send(owner.key(), waiting).await, SendOutcome::Accepted, "a resend of one that waits");
    assert_eq!(lab.send(owner.key(), known).await, SendOutcome::Accepted, "a resend of one that is recorded");
    let cancel = message(MessageBody::Cancel { reason: String::new(), identity: String::new() });
    assert_eq!(lab.send(owner.key(), cancel).await, SendOutcome::Accepted, "only signals are counted");
    let start = dacapo_core::StartWorkflow {
        signal: Some(signal("with a start")),
        ..conflicting("a", dacapo_core::IdConflictPolicy::UseExisting)
    };
    assert!(matches!(lab.start(start).await, Err(dacapo_core::store::StoreError::Rejected { .. })));
}

pub(crate) async fn anybody_ends_a_run_that_nobody_owns(lab: Lab) {
    let run = lab.open("a").await;
    lab.send(run, signal("before")).await;
    let order = terminate("enough");
    assert_eq!(lab.store.terminate(run, order.clone()).await.unwrap(), SendOutcome::Accepted);
    assert_eq!(
        lab.event_names(run).await,
        [
            "WorkflowExecutionStarted",
            "WorkflowTaskScheduled",
            "WorkflowExecutionSignaled",
            "WorkflowExecutionTerminated"
        ]
    );
    assert_eq!(lab.describe(run).await.info.status, RunStatus::Terminated);
    assert_eq!(lab.store.terminate(run, order).await.unwrap(), SendOutcome::Accepted, "a resend");
    assert_eq!(lab.store.terminate(run, terminate("again")).await.unwrap(), SendOutcome::NotOpen);
    let worker = lab.worker().await;
    assert!(lab.claim(worker).await.runs.is_empty());
    assert_eq!(lab.store.sweep().await.unwrap(), []);
}

pub(crate) async fn the_owner_ends_a_run_that_is_owned(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let order = terminate("enough");
    assert_eq!(lab.store.terminate(owner.key(), order.clone()).await.unwrap(), SendOutcome::Accepted);
    assert_eq!(lab.describe(owner.key()).await.info.status, RunStatus::Running);
    assert_eq!(owner.inbox().await, [order]);
    owner.take_inbox().await;
    assert_eq!(lab.describe(owner.key()).await.info.status, RunStatus::Terminated);
}

pub(crate) async fn no_message_is_lost_while_its_run_changes_hands(lab: Lab) {
    let (one, two) = (lab.worker().await, lab.worker().await);
    let run = Owner::start(&lab, one, "a").await.key();
    let sending = async {
        for number in 0..60 {
            assert_eq!(lab.send(run, signal(&number.to_string())).await, SendOutcome::Accepted);
        }
    };
    let owning = async {
        let mut owner = Owner::load(&lab, one, run).await;
        while owner.run.signals < 60 {
            if !owner.inbox().await.is_empty() {
                owner.take_inbox().await;
            }
            if owner.run.unseen {
                owner.write(task(Vec::new())).await;
            }
            if owner.release(None).await != dacapo_core::store::ReleaseOutcome::Released {
                continue;
            }
            if owner.run.signals == 60 {
                return;
            }
            let next = if owner.worker == one { two } else { one };
            while lab.claim(next).await.runs.is_empty() {
                tokio::task::yield_now().await;
            }
            owner = Owner::load(&lab, next, run).await;
        }
    };
    let both = async { tokio::join!(sending, owning) };
    tokio::time::timeout(std::time::Duration::from_secs(60), both).await.expect("every message arrives");
    let recorded = lab.event_names(run).await.iter().filter(|name| **name == "WorkflowExecutionSignaled").count();
    assert_eq!(recorded, 60);
    assert_eq!(lab.store.sweep().await.unwrap(), []);
}
