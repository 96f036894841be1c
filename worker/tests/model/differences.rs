//! Code that differs from the history: what the error says of calls between runs, notes and answers.

use std::time::Duration;

use dacapo::{
    WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, SearchAttribute, Signal, Update, Workflow, WorkflowTable},
    workflow,
};
use dacapo_core::{event::WorkflowTaskFailedCause as Cause, marker::LocalActivityOutcome, outbox::OutboxAnswer};

use crate::{
    harness::{Env, Input, child_completed, completed, json, update},
    workflows,
};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const CHECK: Activity<u64, u64, HasTimeout> = Activity::new("check").start_to_close(Duration::from_secs(10));
const PACK: Workflow<u64, u64> = Workflow::new("pack");
const WRAP: Workflow<u64, u64> = Workflow::new("wrap");
const GO: Signal<u64> = Signal::new("go");
const ADD: Update<u64, u64> = Update::new("add");
const CUSTOMER: SearchAttribute<String> = SearchAttribute::new("Customer");

/// Declares two builds of a workflow, whose history is made with the first and the inputs, one step each, up to an
/// activity that both await last; gives what is said when the second meets it.
macro_rules! builds {
    ([$($input:expr),* $(,)?], |$first:ident| $first_body:block, |$second:ident| $second_body:block) => {{
        mod first {
            use super::*;
            #[workflow(name = "order")]
            pub(super) async fn build($first: WorkflowContext) -> Result<(), WorkflowError> {
                $first_body
                $first.activity(WORK, 9).await?;
                Ok(())
            }
        }
        mod second {
            use super::*;
            #[workflow(name = "order")]
            pub(super) async fn build($second: WorkflowContext) -> Result<(), WorkflowError> {
                $second_body
                $second.activity(WORK, 9).await?;
                Ok(())
            }
        }
        deploy(workflows![first::build], workflows![second::build], vec![$($input),*])
    }};
}

fn deploy(first: WorkflowTable, second: WorkflowTable, inputs: Vec<Input>) -> Option<String> {
    let mut env = Env::start(first, "order", ());
    env.first().commands();
    for input in inputs {
        env.step([input]).commands();
    }
    env.replays_at_every_prefix();
    env.deploy(second);
    let last = *env.run.activities.keys().next_back().unwrap();
    match env.step([completed(last, 1)]) {
        crate::harness::Task::Completed { .. } => None,
        crate::harness::Task::Failed { cause, failure } => {
            assert_eq!(cause, Cause::NonDeterministic, "{}", failure.message);
            Some(failure.message)
        }
    }
}

#[track_caller]
fn says(message: Option<String>, words: &[&str]) {
    let message = message.expect("the difference is found");
    for word in words.iter().chain(&["way out: ", "ctx.patched(…)"]) {
        assert!(message.contains(word), "`{word}` is not in:\n{message}");
    }
}

#[test]
fn a_renamed_child_is_shown_with_both_names() {
    let message = builds!(
        [child_completed(1, 5)],
        |ctx| {
            ctx.child(PACK, 1).id("parcel").await?;
        },
        |ctx| {
            ctx.child(WRAP, 1).id("parcel").await?;
        }
    );
    says(
        message,
        &[
            "StartChildWorkflowExecutionInitiated: child 1 `pack` (parcel) with input 1",
            "StartChildWorkflowExecution: child 1 `wrap` (parcel) with input 1, made at worker/tests/model/differences.rs:",
            "likely:  the child workflow was renamed or replaced",
        ],
    );
}

#[test]
fn another_id_or_input_of_a_child_is_found_and_other_options_may_change() {
    let id = builds!(
        [child_completed(1, 5)],
        |ctx| {
            ctx.child(PACK, 1).id("a").await?;
        },
        |ctx| {
            ctx.child(PACK, 1).id("b").await?;
        }
    );
    says(id, &["likely:  the other workflow's id is computed differently"]);
    let input = builds!(
        [child_completed(1, 5)],
        |ctx| {
            ctx.child(PACK, 1).await?;
        },
        |ctx| {
            ctx.child(PACK, 2).await?;
        }
    );
    says(input, &["likely:  the input of the call is computed differently"]);
    let options = builds!(
        [child_completed(1, 5)],
        |ctx| {
            ctx.child(PACK, 1).await?;
        },
        |ctx| {
            ctx.child(PACK, 1).task_queue("elsewhere").run_timeout(Duration::from_secs(5)).await?;
        }
    );
    assert_eq!(options, None);
}

#[test]
fn a_child_that_went_from_the_code_is_named() {
    let message = builds!(
        [child_completed(1, 5)],
        |ctx| {
            ctx.child(PACK, 1).await?;
        },
        |_ctx| {}
    );
    says(message, &["history: event", "child 1 `pack`", "code:    ScheduleActivityTask: activity 1 `work`"]);
}

#[test]
fn a_signal_to_another_run_is_compared_by_name_target_and_value() {
    let arrived = Input::Answer(1, |signal_id| OutboxAnswer::Signaled { signal_id });
    let target = builds!(
        [arrived.clone()],
        |ctx| {
            ctx.external("a").signal(&GO, 1).await?;
        },
        |ctx| {
            ctx.external("b").signal(&GO, 1).await?;
        }
    );
    says(target, &["signal 1 `go` to workflow `a` with 1", "signal 1 `go` to workflow `b` with 1"]);
    let value = builds!(
        [arrived],
        |ctx| {
            ctx.external("a").signal(&GO, 1).await?;
        },
        |ctx| {
            ctx.external("a").signal(&GO, 2).await?;
        }
    );
    says(value, &["likely:  the input of the call is computed differently"]);
}

#[test]
fn a_request_to_cancel_in_place_of_a_signal_is_a_replaced_call() {
    let arrived = Input::Answer(1, |cancel_id| OutboxAnswer::CancelRequested { cancel_id });
    let message = builds!(
        [arrived],
        |ctx| {
            ctx.external("a").cancel("").await?;
        },
        |ctx| {
            ctx.external("a").signal(&GO, 1).await?;
        }
    );
    says(message, &["request 1 to workflow `a`", "likely:  calls were replaced by others"]);
}

#[test]
fn side_effects_and_local_activities_that_went_or_came_are_found() {
    let gone = builds!(
        [],
        |ctx| {
            ctx.side_effect(|| 5);
        },
        |_ctx| {}
    );
    says(gone, &["MarkerRecorded: side effect 1 with 5", "a call was removed before this one"]);
    let came = builds!([], |_ctx| {}, |ctx| {
        ctx.side_effect(|| 5);
    });
    says(came, &["RecordMarker: side effect 1 with 5", "a call was added before this one"]);
    let ended = Input::LocalEnded(1, LocalActivityOutcome::Completed(json(3)));
    let renamed = builds!(
        [ended],
        |ctx| {
            ctx.local_activity(WORK, 1).await?;
        },
        |ctx| {
            ctx.local_activity(CHECK, 1).await?;
        }
    );
    says(renamed, &["local activity 1 `work`", "local activity 1 `check`", "was renamed or replaced"]);
}

#[test]
fn changed_attributes_and_answers_are_found() {
    let attribute = builds!(
        [],
        |ctx| {
            ctx.upsert(&CUSTOMER, "x".to_owned());
        },
        |ctx| {
            ctx.upsert(&CUSTOMER, "y".to_owned());
        }
    );
    says(attribute, &[r#"UpsertWorkflowSearchAttributes: {"Customer":"x"}"#, r#"{"Customer":"y"}"#]);
    let memo = builds!(
        [],
        |ctx| {
            ctx.set_memo("a", &1);
        },
        |ctx| {
            ctx.set_memo("a", &2);
        }
    );
    says(memo, &[r#"WorkflowPropertiesModified: {"a":1}"#, r#"ModifyWorkflowProperties: {"a":2}"#]);
    let answer = builds!(
        [update("add", "u1", 1)],
        |ctx| {
            let request = ctx.requests(&ADD).next().await.ok_or(WorkflowError::Cancelled)?;
            request.reply(1);
        },
        |ctx| {
            let request = ctx.requests(&ADD).next().await.ok_or(WorkflowError::Cancelled)?;
            request.reply(2);
        }
    );
    says(answer, &["update u1: 1", "update u1: 2", "the outcome is computed differently"]);
    let unheard = builds!(
        [update("add", "u1", 1)],
        |ctx| {
            let request = ctx.requests(&ADD).next().await.ok_or(WorkflowError::Cancelled)?;
            request.reply(1);
        },
        |_ctx| {}
    );
    says(unheard, &["no further command in this task", "ScheduleActivityTask: activity 1 `work`"]);
}
