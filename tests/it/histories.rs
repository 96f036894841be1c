//! Histories that earlier builds wrote, replayed by this one: `tests/histories/`, one file for each scenario here and
//! two of the main job.
//!
//! Every scenario runs each time as well, in virtual time. With `DACAPO_RECORD_HISTORIES` set (`make histories`) those
//! without a file are recorded; a file that is there is never written again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use dacapo::{
    Registry, Replayer, history_to_json,
    prelude::*,
    testing::{TestEnv, TestSetup},
};
use dacapo_core::CancellationType;
use serde_json::json;

use crate::database;

const MINUTE: Duration = Duration::from_secs(60);
const GO: Signal<u64> = Signal::new("go");
const WORK: Activity<u64, u64, dacapo::define::HasTimeout> = Activity::new("work").start_to_close(MINUTE);

#[workflow(name = "sample_activities")]
async fn activities_in_turn_and_at_once(ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    let first = ctx.activity(WORK, n).await?;
    let (a, b, c) = try_join!(ctx.activity(WORK, first), ctx.activity(WORK, first + 1), ctx.activity(WORK, first + 2))?;
    Ok(a + b + c)
}

#[workflow(name = "sample_retries")]
async fn retries(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let came = ctx.activity(WORK, 3).retry(RetryPolicy::attempts(5)).await?;
    let Err(failure) = ctx.activity(WORK, 0).retry(RetryPolicy::attempts(2)).await else {
        return Err(WorkflowError::failed("Unexpected", "work of 0 fails"));
    };
    Ok(format!("{came}, {}", failure.error_type()))
}

#[workflow(name = "sample_timers")]
async fn timers(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let mut slept = 0;
    for minutes in 1..=5_u32 {
        ctx.sleep(minutes * MINUTE).await?;
        slept += u64::from(minutes);
    }
    let _ = select! {
        _ = ctx.sleep(MINUTE) => 1,
        _ = ctx.sleep(2 * MINUTE) => 2,
    };
    Ok(slept)
}

#[workflow(name = "sample_signals")]
async fn signals(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let mut sum = 0;
    while sum < 100 {
        sum += ctx.receive(&GO).await?;
    }
    Ok(sum)
}

#[workflow(name = "sample_approval")]
async fn approval(ctx: WorkflowContext) -> Result<String, WorkflowError> {
    let by = select! {
        by = ctx.receive(&GO) => by?,
        _ = ctx.sleep(60 * MINUTE) => return Err(WorkflowError::failed("Expired", "nobody approved")),
    };
    Ok(format!("approved by {by}"))
}

#[workflow(name = "sample_cancellation")]
async fn cancellation(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let slow = ctx.activity(WORK, 1_000).cancellation(CancellationType::WaitCancellationCompleted);
    match slow.await {
        Err(failure) if ctx.is_cancel_requested() => {
            ctx.shielded(ctx.activity(WORK, 2)).await?;
            Err(failure.into())
        }
        other => Ok(other?),
    }
}

#[workflow(name = "sample_local")]
async fn local(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let first = ctx.local_activity(WORK, 7).await?;
    let policy = RetryPolicy::attempts(2).initial_interval(Duration::from_secs(1));
    let (second, failed) = join!(ctx.local_activity(WORK, first), ctx.local_activity(WORK, 0).retry(policy));
    ctx.sleep(MINUTE).await?;
    let third = select! {
        third = ctx.local_activity(WORK, 3) => third?,
        _ = ctx.sleep(MINUTE) => 0,
    };
    Ok(second? + u64::from(failed.is_err()) + third)
}

/// The workflows of the scenarios, to which a build adds and from which none takes away.
fn samples(registry: Registry) -> Registry {
    let registry = registry.workflow(activities_in_turn_and_at_once).workflow(retries).workflow(timers);
    registry.workflow(signals).workflow(approval).workflow(cancellation).workflow(local)
}

/// Work that fails for 0, needs three attempts for 3, and takes long for 1,000.
fn env() -> TestSetup {
    TestEnv::in_memory().registry(samples(Registry::new())).fake_async(WORK, |ctx, n| async move {
        match (n, ctx.attempt()) {
            (0, _) | (3, 1..=2) => Err(ActivityError::new("Unavailable", "nobody works")),
            (1_000, _) => {
                ctx.cancelled().await;
                Err(ActivityError::cancelled())
            }
            (n, _) => Ok(n * 10),
        }
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

fn records() -> bool {
    std::env::var_os("DACAPO_RECORD_HISTORIES").is_some_and(|it| !it.is_empty())
}

/// Records the history of a scenario, if that is wanted and it is not there yet.
async fn record<R>(scenario: &str, run: &dacapo::WorkflowHandle<R>) {
    let path = folder().join(format!("{scenario}.json"));
    if records() && !path.exists() {
        let events = run.history().await.unwrap();
        fs::write(path, history_to_json(&json!({"workflow_id": run.workflow_id()}), &events)).unwrap();
    }
}

#[tokio::test]
async fn activities_retries_and_timers() {
    let env = env().start().await;
    let run = env.start(activities_in_turn_and_at_once, 7).id("activities").await.unwrap();
    assert_eq!(run.result().await.unwrap(), 2_130);
    record("activities", &run).await;
    let run = env.start(retries, ()).id("retries").await.unwrap();
    assert_eq!(run.result().await.unwrap(), "30, Unavailable");
    record("retries", &run).await;
    let run = env.start(timers, ()).id("timers").await.unwrap();
    assert_eq!(run.result().await.unwrap(), 15);
    record("timers", &run).await;
    env.finish().await;
}

#[tokio::test]
async fn local_activities() {
    let env = env().start().await;
    let run = env.start(local, ()).id("local").await.unwrap();
    assert_eq!(run.result().await.unwrap(), 731);
    record("local_activities", &run).await;
    env.finish().await;
}

#[tokio::test]
async fn signals_races_failures_and_cancellation() {
    let env = env().start().await;
    let run = env.start(signals, ()).id("signals").await.unwrap();
    for seconds in 1..=4 {
        env.at(Duration::from_secs(seconds)).signal(&run, &GO, 30);
    }
    assert_eq!(run.result().await.unwrap(), 120);
    record("signals", &run).await;
    let run = env.start(approval, ()).id("approval").await.unwrap();
    env.at(MINUTE).signal(&run, &GO, 5);
    assert_eq!(run.result().await.unwrap(), "approved by 5");
    record("approval", &run).await;
    let run = env.start(approval, ()).id("expired").await.unwrap();
    assert!(run.result().await.is_err());
    record("failure", &run).await;
    let run = env.start(cancellation, ()).id("cancellation").await.unwrap();
    run.cancel("enough").await.unwrap();
    assert!(run.result().await.is_err());
    record("cancellation", &run).await;
    let run = env.start(approval, ()).id("open").await.unwrap();
    env.sleep(MINUTE).await;
    record("open", &run).await;
    env.finish().await;
}

/// Runs the main job on a task and records its history.
async fn main_job(task: &str) {
    let path = folder().join(format!("main-job-{task}.json"));
    if path.exists() {
        return;
    }
    let database = database::fresh("record").await;
    let call = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dacapo"));
        command.args(arguments).env("DATABASE_URL", &database.url).current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    call(&["demo", "--json", "--docs", "examples/documents", "--task", &format!("examples/tasks/{task}.md")]);
    fs::write(path, call(&["export", "--type", "multi_agent_task", "-o", "-"])).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_history_replays() {
    if records() {
        main_job("throughput").await;
        main_job("crash-safety").await;
    }
    let engine = Engine::in_virtual_time().0;
    let replayer = Replayer::new().registry(samples(dacapo::workflows::registry(&engine))).every_prefix();
    let replayed = replayer.replay_folder(folder()).unwrap_or_else(|error| panic!("{error}"));
    assert!(records() || replayed.len() >= 10, "the samples are there: {replayed:?}");
}
