//! What operators make of runs and activities, completion from outside, updates and questions.

use std::time::Duration;

use dacapo_core::{
    ActivityOptions, ActivityOutcome, ActivityResult, Command, Failure, Message, MessageBody, Payload, UpdateOutcome,
    UpdateRequest,
    query::{Query, QueryAnswer},
    store::{ActivityReport, Hint, ReportOutcome, SendOutcome},
    update::UpdateStage,
};
use uuid::Uuid;

use super::lab::*;

fn asynchronous(claimed: &dacapo_core::store::ClaimedActivity, worker: dacapo_core::WorkerId) -> ActivityReport {
    let outcome = outcome(claimed, ActivityResult::CompletesAsynchronously);
    ActivityReport { worker, claim: claimed.claim, outcome }
}

pub(crate) async fn a_paused_activity_waits_until_it_is_let_go(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(offering(vec![schedule(1)])).await;
    owner.write(|turn| turn.message(message(MessageBody::PauseActivity { activity_id: 1 }))).await;
    assert!(lab.claim_activities(worker).await.is_empty());
    let again = Owner::load(&lab, worker, owner.key()).await;
    assert!(again.run.activities[&1].state.paused, "whoever reads the run knows");
    let mut hints = lab.store.hints();
    owner.write(|turn| turn.message(message(MessageBody::UnpauseActivity { activity_id: 1 }))).await;
    lab.await_hint(&mut hints, |hint| matches!(hint, Hint::ActivitiesReady(_))).await;
    let claimed = lab.claim_activities(worker).await;
    assert_eq!(claimed.len(), 1);
    // A claim is left as it is.
    owner.write(|turn| turn.message(message(MessageBody::PauseActivity { activity_id: 1 }))).await;
    let report = ActivityReport {
        worker,
        claim: claimed[0].claim,
        outcome: outcome(&claimed[0], ActivityResult::Failed(Failure::application("Io", "broken"))),
    };
    assert_eq!(lab.store.complete_activity(report).await.unwrap(), ReportOutcome::Accepted);
    owner.take_inbox().await;
    lab.pass(Duration::from_millis(1_100)).await;
    assert!(lab.claim_activities(worker).await.is_empty(), "the next attempt is held");
    owner.write(|turn| turn.message(message(MessageBody::UnpauseActivity { activity_id: 1 }))).await;
    assert_eq!(lab.claim_activities(worker).await[0].claim.attempt, 2);
}

pub(crate) async fn attempts_are_counted_from_a_reset_on(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(offering(vec![schedule(1)])).await;
    let claimed = lab.claim_activities(worker).await;
    let failed = outcome(&claimed[0], ActivityResult::Failed(Failure::application("Io", "broken")));
    let report = ActivityReport { worker, claim: claimed[0].claim, outcome: failed };
    lab.store.complete_activity(report).await.unwrap();
    owner.take_inbox().await;
    owner.write(|turn| turn.message(message(MessageBody::ResetActivity { activity_id: 1 }))).await;
    let claimed = lab.claim_activities(worker).await;
    assert_eq!(claimed[0].claim.attempt, 2, "it begins at once, and numbers do not go back");
    let again = Owner::load(&lab, worker, owner.key()).await;
    assert_eq!(again.run.activities[&1].state.attempts_before, 1);
}

pub(crate) async fn an_attempt_that_is_completed_from_outside_is_nobodys(lab: Lab) {
    let (worker, runner) = (lab.worker().await, lab.worker().await);
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(offering(vec![schedule(1)])).await;
    let claimed = lab.claim_activities(runner).await.remove(0);
    assert_eq!(lab.store.complete_activity(asynchronous(&claimed, runner)).await.unwrap(), ReportOutcome::Accepted);
    owner.take_inbox().await;
    lab.store.deregister(runner).await.unwrap();
    lab.take_over(runner).await;
    assert!(owner.inbox().await.is_empty(), "its former worker may go");
    assert!(lab.claim_activities(worker).await.is_empty());
    let again = Owner::load(&lab, worker, owner.key()).await;
    assert!(again.run.activities[&1].state.asynchronous_since.is_some());
    let completed = ActivityOutcome {
        started_at: None,
        identity: "outside".into(),
        ..outcome(&claimed, ActivityResult::Completed(text("done")))
    };
    let id = completed.message_id(owner.key().run_id);
    let body = MessageBody::ActivityOutcome(Box::new(completed));
    assert_eq!(lab.send(owner.key(), Message { id, body }).await, SendOutcome::Accepted);
    owner.take_inbox().await;
    assert_eq!(lab.event_names(owner.key()).await.last(), Some(&"ActivityTaskCompleted"));
    owner.write(task(vec![complete()])).await;
}

pub(crate) async fn a_promise_to_complete_later_has_its_timeouts(lab: Lab) {
    let worker = lab.worker().await;
    let options =
        ActivityOptions { start_to_close_ms: Some(60_000), heartbeat_ms: Some(700), ..ActivityOptions::default() };
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(offering(vec![schedule_with(1, options)])).await;
    let claimed = lab.claim_activities(worker).await.remove(0);
    lab.store.complete_activity(asynchronous(&claimed, worker)).await.unwrap();
    owner.take_inbox().await;
    lab.pass(Duration::from_millis(400)).await;
    let alive = MessageBody::ActivityHeartbeat { activity_id: 1, attempt: 1, details: Some(text("half")) };
    lab.send(owner.key(), message(alive)).await;
    owner.take_inbox().await;
    lab.pass(Duration::from_millis(450)).await;
    assert_eq!(lab.store.expire_activities(10).await.unwrap(), 0, "it has said that it lives");
    lab.pass(Duration::from_millis(400)).await;
    assert_eq!(lab.store.expire_activities(10).await.unwrap(), 1);
    owner.take_inbox().await;
    assert_eq!(owner.run.activities[&1].attempt, 2);
    assert_eq!(owner.run.activities[&1].last_heartbeat, Some(text("half")));
}

pub(crate) async fn what_lists_show_is_what_the_workflow_made_of_it(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let object = |json: &str| Payload::from_json("object", json.to_owned()).unwrap();
    owner
        .write(task(vec![
            Command::UpsertWorkflowSearchAttributes { search_attributes: object("{\"customer\":\"x\"}") },
            Command::ModifyWorkflowProperties { upserted_memo: object("{\"note\":1}") },
        ]))
        .await;
    let shown = lab.describe(owner.key()).await.info;
    assert_eq!(shown.search_attributes.unwrap().decode::<serde_json::Value>("it").unwrap()["customer"], "x");
    assert_eq!(shown.memo, Some(object("{\"note\":1}")));
    lab.send(owner.key(), signal("go on")).await;
    owner.take_inbox().await;
    owner
        .write(task(vec![
            Command::UpsertWorkflowSearchAttributes { search_attributes: object("{\"customer\":\"y\"}") },
            complete(),
        ]))
        .await;
    let shown = lab.describe(owner.key()).await.info;
    assert_eq!(shown.search_attributes.unwrap().decode::<serde_json::Value>("it").unwrap()["customer"], "y");
}

fn update(update_id: &str) -> Message {
    let request = UpdateRequest {
        update_id: update_id.to_owned(),
        name: "change".to_owned(),
        input: Payload::null(),
        identity: String::new(),
    };
    message(MessageBody::Update(Box::new(request)))
}

pub(crate) async fn who_waits_for_an_update_hears_how_far_it_is(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let (wanted, refused) = (update("wanted"), update("refused"));
    let stage = |of: &Message, id: &'static str| {
        let (store, run, message) = (lab.store.clone(), owner.key(), of.id);
        async move { store.update_stage(run, id, message).await.unwrap() }
    };
    let (of_wanted, of_refused) = (stage(&wanted, "wanted"), stage(&refused, "refused"));
    lab.send(owner.key(), wanted.clone()).await;
    lab.send(owner.key(), refused.clone()).await;
    assert_eq!((of_wanted.await, of_refused.await), (None, None));
    let accept = Command::AcceptWorkflowExecutionUpdate { update_id: "wanted".to_owned() };
    let failure = Box::new(Failure::application("Invalid", "no"));
    let reject = Command::RejectWorkflowExecutionUpdate { update_id: "refused".to_owned(), failure: failure.clone() };
    let messages = owner.inbox().await;
    let mut hints = lab.store.hints();
    owner
        .write(|turn| {
            messages.into_iter().for_each(|message| turn.message(message));
            task(vec![accept, reject])(turn);
        })
        .await;
    lab.await_hint(&mut hints, |hint| matches!(hint, Hint::Updated(_))).await;
    assert!(owner.inbox().await.is_empty(), "answered requests leave the inbox");
    let key = owner.key();
    let stage = |id: &'static str, message| lab.store.update_stage(key, id, message);
    assert!(matches!(stage("wanted", wanted.id).await.unwrap(), Some(UpdateStage::Accepted { .. })));
    assert_eq!(stage("refused", refused.id).await.unwrap(), Some(UpdateStage::Rejected { failure }));
    lab.send(key, signal("go on")).await;
    owner.take_inbox().await;
    let outcome = UpdateOutcome::Completed(text("changed"));
    let done = Command::CompleteWorkflowExecutionUpdate { update_id: "wanted".to_owned(), outcome: outcome.clone() };
    owner.write(task(vec![done])).await;
    let completed = stage("wanted", wanted.id).await.unwrap();
    assert!(matches!(completed, Some(UpdateStage::Completed { outcome: had, .. }) if had == outcome));
}

pub(crate) async fn a_run_that_closes_answers_its_updates(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let waiting = update("waiting");
    lab.send(owner.key(), waiting.clone()).await;
    let messages = owner.inbox().await;
    owner
        .write(|turn| {
            messages.into_iter().for_each(|message| turn.message(message));
            turn.message(terminate("enough"));
        })
        .await;
    let stage = lab.store.update_stage(owner.key(), "waiting", waiting.id).await.unwrap();
    assert!(matches!(stage, Some(UpdateStage::Aborted { .. })), "{stage:?}");
}

pub(crate) async fn a_question_reaches_the_owner_and_leaves_no_trace(lab: Lab) {
    let worker = lab.worker().await;
    let run = lab.open("a").await;
    let claimed = lab.claim(worker).await.runs;
    let owner = Owner::load(&lab, worker, claimed[0].key).await;
    let query = Query { id: Uuid::now_v7(), name: "status".to_owned(), input: Payload::null() };
    let mut hints = lab.store.hints();
    assert!(lab.store.ask(run, &query).await.unwrap());
    lab.await_hint(&mut hints, |hint| *hint == Hint::Asked(vec![run])).await;
    assert!(lab.store.ask(run, &query).await.unwrap(), "asked again it is the same question");
    let other = lab.worker().await;
    assert_eq!(lab.store.questions(other, &[run]).await.unwrap(), []);
    assert_eq!(lab.store.questions(worker, &[run]).await.unwrap(), [(run, query.clone())]);
    assert_eq!(lab.store.answer_to(run, query.id).await.unwrap(), None);
    let answer = QueryAnswer::Answered(text("fine"));
    lab.store.answer_question(run, query.id, answer.clone()).await.unwrap();
    assert_eq!(lab.store.questions(worker, &[run]).await.unwrap(), []);
    assert_eq!(lab.store.answer_to(run, query.id).await.unwrap(), Some(answer));
    lab.store.withdraw_question(run, query.id).await.unwrap();
    assert_eq!(lab.store.answer_to(run, query.id).await.unwrap(), None);
    assert_eq!(lab.event_names(run).await.len(), 2);
    assert!(owner.inbox().await.is_empty());
}

pub(crate) async fn a_question_wakes_a_run_that_nobody_owns(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(task(vec![sleep(1, Duration::from_secs(60))])).await;
    owner.release(None).await;
    assert!(lab.claim(worker).await.runs.is_empty());
    let query = Query { id: Uuid::now_v7(), name: "status".to_owned(), input: Payload::null() };
    assert!(lab.store.ask(owner.key(), &query).await.unwrap());
    assert_eq!(lab.claim(worker).await.runs.len(), 1);
    let closed = Owner::load(&lab, worker, owner.key()).await;
    let mut closed = closed;
    closed.write(|turn| turn.message(terminate("over"))).await;
    assert!(!lab.store.ask(owner.key(), &query).await.unwrap(), "a closed run has no code");
}
