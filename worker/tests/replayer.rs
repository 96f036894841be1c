//! Stored histories against today's code: what fits, what does not, and what is said of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

mod harness;

use std::{fs, time::Duration, time::Instant};

use dacapo::{
    ReplayError, Replayer, WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout},
    history_to_json, workflow,
};
use dacapo_core::event::WorkflowTaskFailedCause;
use harness::{Env, Input, completed};
use serde_json::json;

const RESERVE: Activity<u64, u64, HasTimeout> = Activity::new("reserve").start_to_close(Duration::from_secs(10));
const CHARGE: Activity<u64, u64, HasTimeout> = Activity::new("charge").start_to_close(Duration::from_secs(10));
const BILL: Activity<u64, u64, HasTimeout> = Activity::new("bill").start_to_close(Duration::from_secs(10));

#[workflow]
async fn order(ctx: WorkflowContext, id: u64) -> Result<u64, WorkflowError> {
    let shelf = ctx.activity(RESERVE, id).await?;
    ctx.sleep(Duration::from_secs(60)).await?;
    Ok(ctx.activity(CHARGE, shelf).await?)
}

fn recorded() -> Env {
    let mut env = Env::start(workflows![order], "order", 7);
    env.first().commands();
    env.step([completed(1, 70_u64)]).commands();
    env.step([Input::TimerDue(2)]).commands();
    env.step([completed(3, 700_u64)]).commands();
    env
}

/// Declares another build of the workflow and replays the recorded history with it.
macro_rules! other_build {
    (|$ctx:ident, $id:ident| $body:block) => {{
        #[workflow(name = "order")]
        async fn other_build($ctx: WorkflowContext, $id: u64) -> Result<u64, WorkflowError> {
            $body
        }
        Replayer::new().workflow(other_build).replay_history(&recorded().history)
    }};
}

#[test]
fn code_that_did_not_change_fits_at_every_prefix() {
    let recorded = recorded();
    let replayed = Replayer::new().workflow(order).replay_history(&recorded.history).unwrap();
    assert_eq!((replayed.events, replayed.tasks, replayed.prefixes), (recorded.history.len(), 4, 0));
    assert_eq!(replayed.run.workflow_id.as_str(), "test");
    let replayed = Replayer::new().workflow(order).every_prefix().replay_history(&recorded.history).unwrap();
    assert_eq!((replayed.tasks, replayed.prefixes), (4, 4));
    // An open run fits as well, however far it got; the commands of a task are written with its completion.
    let ends = (1..recorded.history.len()).filter(|end| !recorded.history[*end].event.is_command());
    for end in ends {
        Replayer::new().workflow(order).every_prefix().replay_history(&recorded.history[..end]).unwrap();
    }
}

#[test]
fn the_first_event_that_differs_is_given_with_the_command_and_its_place() {
    let error = other_build!(|ctx, id| {
        let shelf = ctx.activity(RESERVE, id).await?;
        ctx.sleep(Duration::from_secs(60)).await?;
        Ok(ctx.activity(BILL, shelf).await?)
    })
    .unwrap_err();
    assert!(error.is_non_determinism());
    let ReplayError::Diverged(divergence) = error else { panic!("{error}") };
    assert_eq!(divergence.event_id, 16);
    assert_eq!(divergence.event.unwrap(), "event 16 ActivityTaskScheduled: activity 3 `charge` with input 70");
    assert_eq!(divergence.command.unwrap(), "ScheduleActivityTask: activity 3 `bill` with input 70");
    assert!(divergence.position.unwrap().starts_with("worker/tests/replayer.rs:"));
    assert!(divergence.message.contains("way out:"), "{}", divergence.message);
}

#[test]
fn a_command_that_history_has_not_is_given_after_the_last_event_that_fits() {
    let error = other_build!(|ctx, id| {
        let (shelf, _) = dacapo::join!(ctx.activity(RESERVE, id), ctx.activity(BILL, id));
        Ok(shelf?)
    })
    .unwrap_err();
    let ReplayError::Diverged(divergence) = error else { panic!("{error}") };
    assert_eq!((divergence.event_id, divergence.event), (5, None));
    assert!(divergence.command.unwrap().contains("`bill`"));
}

#[test]
fn code_that_panics_over_a_history_does_not_fit() {
    let error = other_build!(|ctx, id| {
        ctx.activity(RESERVE, id).await?;
        panic!("not implemented yet")
    })
    .unwrap_err();
    assert!(error.is_non_determinism());
    let ReplayError::Failed { cause, message, position, .. } = error else { panic!("{error}") };
    assert_eq!(cause, WorkflowTaskFailedCause::Panic);
    assert!(message.contains("not implemented yet"), "{message}");
    assert!(position.unwrap().starts_with("worker/tests/replayer.rs:"));
}

#[test]
fn a_workflow_that_is_not_there_is_no_non_determinism() {
    let error = Replayer::new().replay_history(&recorded().history).unwrap_err();
    assert!(matches!(&error, ReplayError::NotRegistered { run } if run.workflow_type.as_str() == "order"), "{error}");
    assert!(!error.is_non_determinism());
}

#[test]
fn histories_are_read_from_files() {
    let folder = std::env::temp_dir().join(format!("dacapo-replayer-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let replayer = Replayer::new().workflow(order);
    assert!(replayer.replay_folder(&folder).unwrap_err().to_string().contains("dacapo export"));
    let json = history_to_json(&json!({"workflow_id": "test"}), &recorded().history);
    fs::write(folder.join("order.json"), &json).unwrap();
    fs::write(folder.join("notes.txt"), "not a history").unwrap();
    assert_eq!(replayer.replay_folder(&folder).unwrap().len(), 1);
    assert_eq!(replayer.replay_json(&json).unwrap().tasks, 4);
    fs::write(folder.join("torn.json"), &json[..json.len() / 2]).unwrap();
    let torn = replayer.replay_folder(&folder).unwrap_err();
    assert!(matches!(&torn, ReplayError::Unreadable { path, .. } if path.ends_with("torn.json")), "{torn}");
    // A history without its middle is none.
    let mut events = recorded().history;
    events.remove(5);
    assert!(matches!(replayer.replay_history(&events), Err(ReplayError::NoHistory { .. })));
    fs::remove_dir_all(&folder).unwrap();
}

#[workflow]
async fn ticks(ctx: WorkflowContext, times: u32) -> Result<u32, WorkflowError> {
    for _ in 0..times {
        ctx.sleep(Duration::from_secs(60)).await?;
    }
    Ok(times)
}

#[test]
fn a_history_of_fifty_thousand_events_replays() {
    let mut env = Env::start(workflows![ticks], "ticks", 9_999_u32);
    env.first().commands();
    for timer in 1..=9_999 {
        env.step([Input::TimerDue(timer)]).commands();
    }
    assert!(env.history.len() >= 50_000, "{}", env.history.len());
    let began = Instant::now();
    let replayed = Replayer::new().workflow(ticks).replay_history(&env.history).unwrap();
    let whole = began.elapsed();
    let sampled = Replayer::new().workflow(ticks).every_prefix().replay_history(&env.history).unwrap();
    println!(
        "{} events replay in {whole:?}, with {} prefixes in {:?}",
        replayed.events,
        sampled.prefixes,
        began.elapsed() - whole
    );
    assert!((8..500).contains(&sampled.prefixes));
}
