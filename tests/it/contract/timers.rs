//! Durable timers: due ones that nobody watches become messages, once.

use std::time::Duration;

use dacapo_core::{Command, MessageBody, RunStatus, StartWorkflow};

use super::lab::*;

const SOON: Duration = Duration::from_millis(300);
const LATER: Duration = Duration::from_secs(3_600);

fn timer_of(body: &MessageBody) -> Option<u64> {
    match body {
        MessageBody::TimerDue { timer_id } => Some(*timer_id),
        _ => None,
    }
}

pub(crate) async fn a_due_timer_wakes_a_run_that_nobody_owns(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(task(vec![sleep(1, SOON), sleep(2, LATER)])).await;
    owner.release(None).await;
    assert_eq!(lab.store.move_due_timers(10).await.unwrap(), 0, "no timer fires early");
    let beat = lab.store.beat(worker, &interest(LATER)).await.unwrap();
    assert!(beat.next_due_at.is_some_and(|at| at.since(beat.now) <= SOON), "{beat:?}");
    assert_eq!(lab.store.next_timer_due(SOON).await.unwrap(), beat.next_due_at);
    lab.pass(SOON + Duration::from_millis(50)).await;
    assert_eq!(lab.store.move_due_timers(10).await.unwrap(), 1);
    assert_eq!(lab.store.move_due_timers(10).await.unwrap(), 0, "once");
    assert_eq!(lab.store.next_timer_due(SOON).await.unwrap(), None, "what is left is due much later");
    assert!(lab.store.next_timer_due(LATER).await.unwrap().is_some());
    let mut owner = Owner::claim(&lab, worker).await;
    let due: Vec<_> = owner.inbox().await.iter().filter_map(|message| timer_of(&message.body)).collect();
    assert_eq!(due, [1]);
    let waiting: Vec<u64> = lab.describe(owner.key()).await.timers.iter().map(|(id, _)| *id).collect();
    assert_eq!(waiting, [2]);
    owner.take_inbox().await;
    assert_eq!(lab.event_names(owner.key()).await.last(), Some(&"TimerFired"));
    owner.write(task(vec![complete()])).await;
}

pub(crate) async fn the_owner_of_a_run_fires_its_own_timers(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(task(vec![sleep(1, SOON)])).await;
    lab.pass(SOON + Duration::from_millis(50)).await;
    assert_eq!(lab.store.move_due_timers(10).await.unwrap(), 0, "it is left to the owner");
    owner.write(|turn| turn.timer_due(1)).await;
    assert!(lab.describe(owner.key()).await.timers.is_empty());
    assert_eq!(lab.event_names(owner.key()).await.last(), Some(&"TimerFired"));
}

pub(crate) async fn a_timer_that_its_owner_forgets_is_moved_after_a_while(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(task(vec![sleep(1, SOON)])).await;
    lab.pass(SOON + Duration::from_millis(1_100)).await;
    assert_eq!(lab.store.move_due_timers(10).await.unwrap(), 1);
    // The owner wakes up: both pieces of news make one event.
    let messages = owner.inbox().await;
    owner
        .write(|turn| {
            turn.timer_due(1);
            messages.into_iter().for_each(|message| turn.message(message));
        })
        .await;
    let fired = lab.event_names(owner.key()).await.iter().filter(|name| **name == "TimerFired").count();
    assert_eq!(fired, 1);
    assert!(owner.inbox().await.is_empty());
}

pub(crate) async fn a_timer_that_was_given_up_is_not_moved(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(task(vec![sleep(1, SOON)])).await;
    owner.write(|turn| turn.message(signal("s"))).await;
    owner.write(task(vec![Command::CancelTimer { timer_id: 1 }])).await;
    owner.release(None).await;
    lab.pass(SOON + Duration::from_millis(50)).await;
    assert_eq!(lab.store.move_due_timers(10).await.unwrap(), 0);
}

pub(crate) async fn timers_move_in_batches_earliest_first(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let timers = (1..=6).map(|id| sleep(id, Duration::from_millis(70 - 10 * id))).collect();
    owner.write(task(timers)).await;
    owner.release(None).await;
    lab.pass(Duration::from_millis(150)).await;
    let mut moved = Vec::new();
    for expected in [4, 2, 0] {
        assert_eq!(lab.store.move_due_timers(4).await.unwrap(), expected);
        moved.push(lab.describe(owner.key()).await.inbox);
        if expected == 4 {
            let left: Vec<u64> = lab.describe(owner.key()).await.timers.iter().map(|(id, _)| *id).collect();
            assert_eq!(left, [2, 1], "the latest are left");
        }
    }
    assert_eq!(moved, [4, 6, 6]);
}

pub(crate) async fn a_runs_timeout_is_a_timer_that_ends_it(lab: Lab) {
    let worker = lab.worker().await;
    let start = StartWorkflow { run_timeout_ms: Some(300), ..request("a") };
    let mut owner = Owner::start_with(&lab, worker, start, task(vec![schedule(1)])).await;
    owner.write(|turn| turn.offer_activity(1, false)).await;
    owner.release(None).await;
    lab.pass(Duration::from_millis(350)).await;
    assert_eq!(lab.store.move_due_timers(10).await.unwrap(), 1);
    let mut owner = Owner::claim(&lab, worker).await;
    owner.take_inbox().await;
    let described = lab.describe(owner.key()).await;
    assert_eq!((described.info.status, described.activities.len()), (RunStatus::TimedOut, 0));
    assert_eq!(lab.store.sweep().await.unwrap(), []);
}
