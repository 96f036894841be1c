//! Activities that are completed from outside, by the token of their attempt.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

use std::time::Duration;

use dacapo::{
    ActivityError, WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout},
    testing::TestEnv,
    workflow,
};
use dacapo_core::{ActivityToken, RetryPolicy};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const SIGN: Activity<String, String, HasTimeout> = Activity::new("sign").start_to_close(WEEK);
const DAY: Duration = Duration::from_secs(24 * 3_600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

#[workflow]
async fn contract(ctx: WorkflowContext, text: String) -> Result<String, WorkflowError> {
    let policy = RetryPolicy::attempts(3).initial_interval(Duration::from_secs(60));
    Ok(ctx.activity(SIGN, text).retry(policy).await?)
}

/// An environment whose activity gives its token away and is completed from outside.
async fn env() -> (TestEnv, UnboundedReceiver<ActivityToken>) {
    let (letters, tokens) = unbounded_channel();
    let fake = move |ctx: dacapo::ActivityContext, _text| {
        let letters = letters.clone();
        async move {
            letters.send(ctx.token()).unwrap();
            Err(ctx.completes_later())
        }
    };
    (TestEnv::in_memory().workflow(contract).fake_async(SIGN, fake).start().await, tokens)
}

#[tokio::test]
async fn a_value_from_outside_days_later_is_the_result() {
    let (env, mut tokens) = env().await;
    let run = env.start(contract, "lease".to_owned()).await.unwrap();
    env.sleep(3 * DAY).await;
    let token = tokens.recv().await.unwrap();
    assert!(run.describe().await.unwrap().activities[0].asynchronous);
    // A token may be written down and read again.
    let token: ActivityToken = token.to_string().parse().unwrap();
    env.client().activity(token).complete("signed by ada").await.unwrap();
    env.client().activity(token).complete("signed by eve").await.unwrap();
    assert_eq!(run.result().await.unwrap(), "signed by ada", "the first end counts");
    assert_eq!(env.attempts(SIGN), 1);
    env.finish().await;
}

#[tokio::test]
async fn a_failure_from_outside_is_retried_and_a_final_one_is_not() {
    let (env, mut tokens) = env().await;
    let run = env.start(contract, "lease".to_owned()).await.unwrap();
    env.sleep(DAY).await;
    let first = tokens.recv().await.unwrap();
    env.client().activity(first).fail("the pen is empty").await.unwrap();
    env.sleep(DAY).await;
    let second = tokens.recv().await.unwrap();
    assert_eq!((first.attempt, second.attempt), (1, 2));
    let refused = ActivityError::new("Refused", "not these terms").non_retryable();
    env.client().activity(second).fail(refused).await.unwrap();
    let error = run.result().await.unwrap_err().to_string();
    assert!(error.contains("Refused: not these terms"), "{error}");
    env.finish().await;
}

#[tokio::test]
async fn what_nobody_completes_times_out() {
    let (env, mut tokens) = env().await;
    let began = env.now();
    let run = env.start(contract, "lease".to_owned()).await.unwrap();
    let error = run.result().await.unwrap_err().to_string();
    assert!(error.contains("start-to-close"), "{error}");
    assert_eq!(env.now().duration_since(began).unwrap(), 3 * WEEK + Duration::from_secs(60 + 120));
    while let Ok(token) = tokens.try_recv() {
        let late = env.client().activity(token).complete("too late").await.unwrap_err().to_string();
        assert!(late.contains("closed"), "{late}");
    }
    env.finish().await;
}
