//! Writes of owned runs: the fence, what is consumed, what a close leaves behind.

use std::time::Duration;

use dacapo_core::{
    Failure, RunStatus,
    event::WorkflowTaskFailedCause,
    store::{SendOutcome, WriteOutcome},
};

use super::lab::*;

pub(crate) async fn a_write_appends_what_it_says(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(task(vec![schedule(1), sleep(1, Duration::from_secs(9))])).await;
    owner.write(|turn| turn.message(signal("s"))).await;
    let stored = lab.store.history(owner.key(), 1, 100).await.unwrap();
    let sizes: Vec<usize> = stored.iter().map(|it| it.events.len()).collect();
    assert_eq!(sizes, [2, 4, 1], "one row per transition");
    assert!(stored.iter().all(|it| it.owner_epoch == 1));
    let loaded = lab.load(owner.key()).await;
    assert_eq!(dacapo_core::Run::from_history(&loaded.events).unwrap(), owner.run);
}

pub(crate) async fn a_write_at_a_place_that_is_taken_is_fenced(lab: Lab) {
    let worker = lab.worker().await;
    let owner = Owner::start(&lab, worker, "a").await;
    let mut behind = Owner::load(&lab, worker, owner.key()).await;
    let mut closing = Owner::load(&lab, worker, owner.key()).await;
    let mut other = Owner::start(&lab, worker, "b").await;
    let mut ahead = Owner::load(&lab, worker, owner.key()).await;
    // A step that changes nothing of the run's row.
    ahead.write(task(vec![])).await;
    let late = behind.step(task(vec![])).await;
    let beside = other.step(task(vec![])).await;
    let (late, beside) = tokio::join!(lab.put(late), lab.put(beside));
    assert!(is_fenced(&late), "{late:?}");
    assert!(matches!(beside, WriteOutcome::Applied), "it is not kept from what was flushed with it");
    assert!(is_fenced(&closing.try_write(task(vec![complete()])).await), "what closes lies elsewhere");
    let mut behind = Owner::load(&lab, worker, owner.key()).await;
    behind.write(|turn| turn.message(signal("first"))).await;
    assert!(is_fenced(&ahead.try_write(|turn| turn.message(signal("second"))).await));
    ahead = Owner::load(&lab, worker, owner.key()).await;
    ahead.write(task(vec![complete()])).await;
}

pub(crate) async fn a_write_of_another_owner_or_epoch_is_fenced(lab: Lab) {
    let (worker, other) = (lab.worker().await, lab.worker().await);
    let mut owner = Owner::start(&lab, worker, "a").await;
    let mut write = owner.step(|turn| turn.message(signal("s"))).await;
    write.owner = other;
    assert!(is_fenced(&lab.put(write).await));
    let mut owner = Owner::load(&lab, worker, owner.key()).await;
    owner.epoch = 2;
    assert!(is_fenced(&owner.try_write(|turn| turn.message(signal("s"))).await));
    owner.epoch = 0;
    let mut again = Owner::load(&lab, worker, owner.key()).await;
    again.write(task(vec![complete()])).await;
    assert!(is_fenced(&owner.try_write(|turn| turn.message(signal("s"))).await), "closed");
}

pub(crate) async fn a_write_without_an_event_is_fenced_too(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(task(vec![schedule(1)])).await;
    let mut zombie = Owner { epoch: 7, ..Owner::load(&lab, worker, owner.key()).await };
    assert!(is_fenced(&zombie.try_write(|turn| turn.offer_activity(1, false)).await));
    assert!(lab.claim_activities(worker).await.is_empty());
    owner.write(|turn| turn.offer_activity(1, false)).await;
    assert_eq!(lab.claim_activities(worker).await.len(), 1);
    assert_eq!(lab.store.history(owner.key(), 1, 10).await.unwrap().len(), 2, "no row of history without an event");
}

pub(crate) async fn a_fencing_write_ends_what_was_on_its_way(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let on_its_way = owner.step(|turn| turn.message(signal("s"))).await;
    assert_eq!(lab.store.fence(worker, owner.key(), 1).await.unwrap(), Some(2));
    assert!(is_fenced(&lab.put(on_its_way).await));
    assert_eq!(lab.store.fence(worker, owner.key(), 1).await.unwrap(), None, "the epoch has moved");
    let other = lab.worker().await;
    assert_eq!(lab.store.fence(other, owner.key(), 2).await.unwrap(), None, "not the owner");
    let mut owner = Owner::load(&lab, worker, owner.key()).await;
    assert_eq!(owner.epoch, 2);
    owner.write(task(vec![complete()])).await;
    assert_eq!(lab.store.fence(worker, owner.key(), 2).await.unwrap(), None, "closed");
}

pub(crate) async fn of_two_writes_for_one_place_one_is_applied(lab: Lab) {
    let worker = lab.worker().await;
    let owner = Owner::start(&lab, worker, "a").await;
    let mut writes = Vec::new();
    for name in ["a", "b", "c", "d"] {
        writes.push(Owner::load(&lab, worker, owner.key()).await.step(|turn| turn.message(signal(name))).await);
    }
    let outcomes = join_all(writes.into_iter().map(|write| lab.put(write))).await;
    let applied = outcomes.iter().filter(|outcome| matches!(outcome, WriteOutcome::Applied)).count();
    let fenced = outcomes.iter().filter(|outcome| is_fenced(outcome)).count();
    assert_eq!((applied, fenced), (1, 3), "{outcomes:?}");
    assert_eq!(lab.event_names(owner.key()).await.len(), 3);
}

pub(crate) async fn only_messages_that_were_taken_leave_the_inbox(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let (first, second) = (signal("first"), signal("second"));
    assert_eq!(lab.send(owner.key(), first.clone()).await, SendOutcome::Accepted);
    assert_eq!(lab.send(owner.key(), second.clone()).await, SendOutcome::Accepted);
    owner.write(|turn| turn.message(first)).await;
    assert_eq!(owner.inbox().await, [second]);
}

pub(crate) async fn a_fenced_write_consumes_nothing(lab: Lab) {
    let worker = lab.worker().await;
    let owner = Owner::start(&lab, worker, "a").await;
    let message = signal("s");
    lab.send(owner.key(), message.clone()).await;
    let mut zombie = Owner { epoch: 9, ..Owner::load(&lab, worker, owner.key()).await };
    assert!(is_fenced(&zombie.try_write(|turn| turn.message(message.clone())).await));
    assert_eq!(owner.inbox().await, [message]);
}

pub(crate) async fn a_run_is_not_closed_over_a_message_it_has_not_taken(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    lab.send(owner.key(), signal("wait")).await;
    let refused = owner.try_write(task(vec![complete()])).await;
    assert!(matches!(refused, WriteOutcome::InboxNotEmpty), "{refused:?}");
    assert_eq!(lab.event_names(owner.key()).await.len(), 2, "nothing of it was written");
    lab.send(owner.key(), signal("wait too")).await;
    let mut owner = Owner::load(&lab, worker, owner.key()).await;
    let first = owner.inbox().await.remove(0);
    let refused = owner
        .try_write(|turn| {
            // Read twice, it is taken twice, and still is only one of the two.
            turn.message(first.clone());
            turn.message(first);
            task(vec![complete()])(turn);
        })
        .await;
    assert!(matches!(refused, WriteOutcome::InboxNotEmpty), "{refused:?}");
    let mut owner = Owner::load(&lab, worker, owner.key()).await;
    let waiting = owner.inbox().await;
    owner
        .write(|turn| {
            waiting.into_iter().for_each(|message| turn.message(message));
            task(vec![complete()])(turn);
        })
        .await;
    assert_eq!(lab.describe(owner.key()).await.info.status, RunStatus::Completed);
    let mut zombie = Owner { epoch: 5, ..owner };
    zombie.run.status = RunStatus::Running;
    assert!(is_fenced(&zombie.try_write(|turn| turn.message(signal("s"))).await));
}

pub(crate) async fn a_closed_run_leaves_no_row_behind(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(offering(vec![schedule(1), schedule(2), sleep(1, Duration::from_secs(9))])).await;
    lab.send(owner.key(), terminate("enough")).await;
    owner.take_inbox().await;
    let described = lab.describe(owner.key()).await;
    assert_eq!((described.activities.len(), described.timers.len(), described.inbox), (0, 0, 0));
    assert_eq!((described.owner, described.ready_at), (None, None));
    assert!(lab.claim_activities(worker).await.is_empty());
    assert!(lab.store.owned_runs(worker, dacapo_core::store::RunsPart::WHOLE).await.unwrap().is_empty());
    assert!(lab.store.load(&[owner.key()]).await.unwrap().is_empty());
    assert_eq!(lab.store.sweep().await.unwrap(), []);
}

pub(crate) async fn why_a_run_does_not_move_is_shown_until_it_does(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    for attempt in 1..=2 {
        owner
            .write(|turn| {
                assert!(turn.start_task("tester", None));
                let failure = Failure::application("Panic", "index out of bounds");
                turn.fail_task(WorkflowTaskFailedCause::Panic, failure, attempt);
            })
            .await;
        let problem = lab.describe(owner.key()).await.problem.expect("it fails");
        assert_eq!((problem.cause, problem.attempt), (WorkflowTaskFailedCause::Panic, attempt));
    }
    owner.write(task(vec![schedule(1)])).await;
    assert_eq!(lab.describe(owner.key()).await.problem, None);
}

pub(crate) async fn published_values_outlive_the_run(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let publish = |values: Vec<(&'static str, &'static str)>, commands| {
        move |turn: &mut dacapo_core::apply::Turn<'_>| {
            assert!(turn.start_task("tester", None));
            let values = values.into_iter().map(|(name, value)| (name.to_owned(), text(value)));
            turn.complete_task(commands, values.collect()).unwrap();
        }
    };
    owner.write(publish(vec![("status", "new"), ("plan", "p"), ("status", "newer")], vec![schedule(1)])).await;
    assert_eq!(lab.store.published(owner.key(), "status").await.unwrap(), Some(text("newer")));
    owner.write(|turn| turn.message(signal("s"))).await;
    owner.write(publish(vec![("status", "last")], vec![complete()])).await;
    assert_eq!(lab.store.published(owner.key(), "status").await.unwrap(), Some(text("last")));
    assert_eq!(lab.store.published_names(owner.key()).await.unwrap(), ["plan", "status"]);
    assert_eq!(lab.store.published(owner.key(), "none").await.unwrap(), None);
}
