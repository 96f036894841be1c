//! What a description of a run shows of waiting retries and failing workflow tasks, which write no events.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

use std::time::Duration;

use dacapo::{
    ActivityError, WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout},
    testing::TestEnv,
    workflow,
};
use dacapo_core::{RetryPolicy, event::WorkflowTaskFailedCause};
use dacapo_runtime::describe::Reason;

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(30));
const HOUR: Duration = Duration::from_secs(3_600);

#[workflow]
async fn patient(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    Ok(ctx.activity(WORK, 1).retry(RetryPolicy::default().initial_interval(HOUR)).await?)
}

#[tokio::test]
async fn a_waiting_retry_shows_its_attempt_its_last_failure_and_its_next_time() {
    let env = TestEnv::in_memory()
        .workflow(patient)
        .fake_with(WORK, |ctx, n| if ctx.attempt() == 1 { Err(ActivityError::new("Io", "no route")) } else { Ok(n) })
        .start()
        .await;
    let run = env.start(patient, ()).await.unwrap();
    env.sleep(Duration::from_secs(60)).await;
    let described = run.describe().await.unwrap();
    let activity = &described.activities[0];
    assert_eq!((activity.attempt, activity.last_failure.as_ref().unwrap().message.as_str()), (2, "no route"));
    let next = activity.next_attempt_at.unwrap();
    assert_eq!(next.since(activity.scheduled_at), HOUR);
    let Reason::ActivityRetries { attempt: 2, next_attempt_at, last_failure, .. } = &described.reasons[0] else {
        panic!("{:?}", described.reasons)
    };
    assert!(*next_attempt_at == next && last_failure.contains("no route"), "{last_failure}");
    let names: Vec<_> = run.history().await.unwrap().iter().map(|event| event.event.name()).collect();
    assert_eq!(names.last(), Some(&"ActivityTaskScheduled"), "a failed attempt writes no event");
    assert_eq!(run.result().await.unwrap(), 1);
    env.finish().await;
}

#[workflow]
async fn broken(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    panic!("that is a bug")
}

#[tokio::test]
async fn a_failing_workflow_task_shows_its_cause_and_its_next_try_and_is_tried_for_ever() {
    let env = TestEnv::in_memory().workflow(broken).start().await;
    let run = env.start(broken, ()).await.unwrap();
    env.sleep(24 * HOUR).await;
    let described = run.describe().await.unwrap();
    let Reason::WorkflowTaskFailing { cause, message, attempt, next_attempt_at } = &described.reasons[0] else {
        panic!("{:?}", described.reasons)
    };
    assert_eq!(*cause, WorkflowTaskFailedCause::Panic);
    assert!(message.contains("that is a bug") && message.contains("describe.rs"), "{message}");
    // Waits double up to ten minutes: about 6 tries an hour.
    assert!((140..200).contains(attempt), "{attempt}");
    assert!(next_attempt_at.since(described.run.now) <= Duration::from_secs(600));
    let failed = run.history().await.unwrap().iter().filter(|it| it.event.name() == "WorkflowTaskFailed").count();
    assert_eq!(failed, 1, "only the first of them is written");
    run.terminate("enough").await.unwrap();
    assert!(run.result().await.is_err());
    env.finish().await;
}
