//! The activity side by itself: what an attempt becomes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

use std::sync::Arc;

use dacapo::{Activities, ActivityContext, ActivityError, activities, define::ActivityTable};
use dacapo_core::{
    ActivityResult, FailureKind, Namespace, Payload, RunId, RunKey, Shard, Timestamp, transition::ActivityTask,
};
use dacapo_runtime::{ActivityControl, ActivityRunner};
use futures_util::FutureExt;

struct Host;

#[activities]
impl Host {
    #[activity(start_to_close = "1s")]
    async fn doubled(&self, _ctx: &ActivityContext, n: u32) -> Result<u32, ActivityError> {
        Ok(n * 2)
    }

    #[activity(start_to_close = "1s")]
    async fn resumes(&self, ctx: &ActivityContext) -> Result<(Option<u32>, u32, String), ActivityError> {
        let before = ctx.last_heartbeat::<u32>()?;
        ctx.heartbeat(&before.map_or(1, |done| done + 1))?;
        Ok((before, ctx.attempt(), ctx.idempotency_key()))
    }

    #[activity(start_to_close = "1s")]
    async fn declines(&self, _ctx: &ActivityContext) -> Result<(), ActivityError> {
        Err(ActivityError::new("CardDeclined", "no").non_retryable())
    }

    #[activity(start_to_close = "1s")]
    async fn stops(&self, ctx: &ActivityContext) -> Result<(), ActivityError> {
        if !ctx.is_cancelled() {
            return Err(ActivityError::cancelled());
        }
        ctx.cancelled().await;
        Err(ActivityError::cancelled().details(&"half")?)
    }
}

fn task(activity_type: &str, input: &str) -> ActivityTask {
    ActivityTask {
        run: RunKey { shard: Shard(0), run_id: RunId(uuid::Uuid::from_u128(9)) },
        namespace: Namespace::default_namespace(),
        workflow_id: "order".into(),
        workflow_type: "checkout".into(),
        activity_id: 3,
        activity_type: activity_type.into(),
        task_queue: "test".into(),
        input: Payload::from_json("input", input.to_owned()).unwrap(),
        attempt: 2,
        scheduled_at: Timestamp(0),
        attempt_scheduled_at: Timestamp(0),
        schedule_to_close_at: None,
        schedule_to_start_ms: None,
        start_to_close_ms: Some(1_000),
        heartbeat_ms: None,
        last_heartbeat: None,
        priority: 3,
        correlation_id: "c".to_owned(),
    }
}

fn run(task: ActivityTask, control: ActivityControl) -> ActivityResult {
    let mut table = ActivityTable::default();
    table.add_host(Host).unwrap();
    Activities::new(table).run(Arc::new(task), control).now_or_never().unwrap()
}

fn failure(result: ActivityResult) -> dacapo_core::Failure {
    match result {
        ActivityResult::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_value_completes_the_attempt() {
    let ActivityResult::Completed(value) = run(task("doubled", "4"), ActivityControl::detached()) else { panic!() };
    assert_eq!(value.as_json(), "8");
}

#[test]
fn an_attempt_knows_what_the_one_before_said_and_what_is_the_same_for_all() {
    let task = ActivityTask { last_heartbeat: Some(Payload::encode("x", &7).unwrap()), ..task("resumes", "null") };
    let ActivityResult::Completed(value) = run(task.clone(), ActivityControl::detached()) else { panic!() };
    let key = format!("order/{}/3", uuid::Uuid::from_u128(9));
    assert_eq!(value.decode::<(Option<u32>, u32, String)>("value").unwrap(), (Some(7), 2, key));

    let other = ActivityTask { last_heartbeat: Some(Payload::encode("x", "text").unwrap()), ..task };
    let failure = failure(run(other, ActivityControl::detached()));
    assert!(
        failure.message.contains("last heartbeat of activity `resumes` cannot be read as u32"),
        "{}",
        failure.message
    );
}

#[test]
fn errors_keep_their_type_and_their_line() {
    let failure = failure(run(task("declines", "null"), ActivityControl::detached()));
    assert_eq!((failure.error_type.as_str(), failure.non_retryable), ("CardDeclined", true));
    assert!(failure.position.unwrap().contains("activities.rs:"));
}

#[test]
fn an_input_of_another_type_is_never_tried_again_and_a_missing_activity_is() {
    let wrong = failure(run(task("doubled", "\"four\""), ActivityControl::detached()));
    assert!(wrong.non_retryable && wrong.message.contains("input of activity `doubled` cannot be read as u32"));
    let missing = failure(run(task("tripled", "4"), ActivityControl::detached()));
    assert!(!missing.non_retryable && missing.message.contains("has no activity `tripled`"), "{}", missing.message);
}

#[test]
fn an_attempt_is_cancelled_only_if_it_was_asked_to_stop() {
    let failure = failure(run(task("stops", "null"), ActivityControl::detached()));
    assert_eq!(failure.kind, FailureKind::Canceled);
    let control = ActivityControl::detached();
    control.canceled().cancel();
    let ActivityResult::Canceled { details } = run(task("stops", "null"), control) else { panic!() };
    assert_eq!(details.unwrap().as_json(), "\"half\"");
}
