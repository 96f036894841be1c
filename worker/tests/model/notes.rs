//! What the code writes down: side effects, local activities, changes to the code, attributes, random numbers.

use std::{cell::Cell, time::Duration};

use dacapo::{
    Replayer, Saga, WorkflowContext, WorkflowError,
    define::{Activity, HasTimeout, SearchAttribute, Signal},
    join, select, workflow,
};
use dacapo_core::{
    Command, Failure, RetryPolicy, event::WorkflowTaskFailedCause as Cause, marker::LocalActivityOutcome,
};

use crate::{
    harness::{Env, Input, Task, completed, json, short, signal},
    workflows,
};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const GO: Signal<u64> = Signal::new("go");
const CUSTOMER: SearchAttribute<String> = SearchAttribute::new("Customer");
const AMOUNT: SearchAttribute<u64> = SearchAttribute::new("Amount");

thread_local! {
    static COMPUTED: Cell<u64> = const { Cell::new(0) };
}

#[workflow]
async fn computes_once(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    let computed = ctx.side_effect(|| {
        COMPUTED.set(COMPUTED.get() + 1);
        7
    });
    ctx.activity(WORK, computed).await?;
    ctx.receive(&GO).await?;
    Ok(computed)
}

#[test]
fn a_side_effect_is_computed_once_and_read_from_history_ever_after() {
    let mut env = Env::start(workflows![computes_once], "computes_once", ());
    assert_eq!(short(&env.first().commands()), ["SideEffect1", "+2"]);
    env.evict();
    env.step([completed(2, 1)]).commands();
    env.evict();
    env.step([signal("go", 1)]).commands();
    assert_eq!((env.result::<u64>(), COMPUTED.get()), (7, 1), "by no replay");
    env.replays_at_every_prefix();
}

#[workflow]
async fn checks(ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    let (checked, signalled) = join!(
        ctx.local_activity(WORK, n).retry(RetryPolicy::attempts(3)).start_to_close(Duration::from_secs(2)),
        ctx.receive(&GO),
    );
    Ok(checked? + signalled?)
}

fn local(task: Task) -> (Vec<u64>, Vec<u64>, Vec<Command>) {
    let Task::Completed { commands, local, .. } = task else { panic!("{task:?}") };
    (local.run.iter().map(|task| task.activity_id).collect(), local.stop, commands)
}

#[test]
fn a_local_activity_is_asked_of_the_process_and_its_end_is_recorded() {
    let mut env = Env::start(workflows![checks], "checks", 4);
    let Task::Completed { commands, local: asked, .. } = env.first() else { panic!() };
    assert_eq!(commands, []);
    let [task] = &asked.run[..] else { panic!("{asked:?}") };
    assert_eq!((task.activity_type.as_str(), task.input.as_json()), ("work", "4"));
    assert_eq!((task.options.start_to_close_ms, task.options.retry_policy.maximum_attempts), (Some(2_000), 3));
    // A process that has forgotten the run asks again, as no history knows how it ended.
    env.evict();
    assert_eq!(local(env.step([signal("go", 1)])), (vec![1], vec![], vec![]));
    let ended = Input::LocalEnded(1, LocalActivityOutcome::Completed(json(40)));
    assert_eq!(short(&env.step([ended]).commands()), ["LocalActivity1", "complete"]);
    assert_eq!(env.result::<u64>(), 41);
    env.replays_at_every_prefix();
}

#[workflow]
async fn many_checks(ctx: WorkflowContext) -> Result<Vec<u64>, WorkflowError> {
    let order = std::cell::RefCell::new(Vec::new());
    let one = async |n| {
        let value = ctx.local_activity(WORK, n).await.unwrap_or(0);
        order.borrow_mut().push(value);
    };
    join!(one(1), one(2), one(3));
    ctx.activity(WORK, 4).await?;
    Ok(order.into_inner())
}

#[test]
fn ends_of_local_activities_that_come_together_come_in_one_order() {
    let mut env = Env::start(workflows![many_checks], "many_checks", ());
    assert_eq!(local(env.first()).0, [1, 2, 3]);
    let failure = Box::new(Failure::application("Unlucky", "no"));
    let ends = [
        Input::LocalEnded(3, LocalActivityOutcome::Completed(json(30))),
        Input::LocalEnded(1, LocalActivityOutcome::Completed(json(10))),
    ];
    assert_eq!(short(&env.step(ends).commands()), ["LocalActivity1", "LocalActivity3"]);
    env.evict();
    assert_eq!(
        short(&env.step([Input::LocalEnded(2, LocalActivityOutcome::Failed(failure))]).commands())[0],
        "LocalActivity2"
    );
    env.evict();
    env.step([completed(4, 1)]).commands();
    assert_eq!(env.result::<Vec<u64>>(), [10, 30, 0]);
    env.replays_at_every_prefix();
}

#[workflow]
async fn gives_up_a_check(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    select! {
        _ = ctx.local_activity(WORK, 1) => Ok(1),
        value = ctx.receive(&GO) => {
            ctx.receive(&GO).await?;
            value
        }
    }
}

#[test]
fn a_local_activity_that_is_given_up_is_stopped_and_leaves_nothing() {
    let mut env = Env::start(workflows![gives_up_a_check], "gives_up_a_check", ());
    assert_eq!(local(env.first()).0, [1]);
    assert_eq!(local(env.step([signal("go", 5)])), (vec![], vec![1], vec![]));
    let before = env.history.len();
    let late = Input::LocalEnded(1, LocalActivityOutcome::Completed(json(1)));
    assert_eq!(env.step([late]).commands(), [], "it ended all the same");
    assert_eq!(env.history.len(), before, "a task that did nothing never was");
    env.step([signal("go", 6)]).commands();
    assert_eq!(env.result::<u64>(), 5);
    env.replays_at_every_prefix();
}

mod builds {
    use super::*;

    #[workflow(name = "order")]
    pub(super) async fn first(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
        let mut sum = 0;
        for n in 0..3 {
            ctx.receive(&GO).await?;
            sum += ctx.activity(WORK, n).await?;
        }
        Ok(sum)
    }

    #[workflow(name = "order")]
    pub(super) async fn second(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
        let mut sum = 0;
        for n in 0..3 {
            ctx.receive(&GO).await?;
            if ctx.patched("pause-between") {
                ctx.sleep(Duration::from_secs(n + 1)).await?;
            }
            sum += ctx.activity(WORK, n).await?;
        }
        Ok(sum)
    }

    #[workflow(name = "order")]
    pub(super) async fn third(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
        let mut sum = 0;
        for n in 0..3 {
            ctx.receive(&GO).await?;
            ctx.deprecate_patch("pause-between");
            ctx.sleep(Duration::from_secs(n + 1)).await?;
            sum += ctx.activity(WORK, n).await?;
        }
        Ok(sum)
    }

    #[workflow(name = "order")]
    pub(super) async fn fourth(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
        let mut sum = 0;
        for n in 0..3 {
            ctx.receive(&GO).await?;
            ctx.sleep(Duration::from_secs(n + 1)).await?;
            sum += ctx.activity(WORK, n).await?;
        }
        Ok(sum)
    }
}

/// Runs to the end of the first round of a build.
fn first_round(mut env: Env, pauses: bool) -> Env {
    env.first().commands();
    env.step([signal("go", 1)]).commands();
    if pauses {
        env.step([Input::TimerDue(1)]).commands();
    }
    env.step([completed(1 + u64::from(pauses), 5)]).commands();
    env
}

#[test]
fn a_run_that_has_passed_a_change_keeps_its_old_course_for_its_whole_life() {
    let mut env = first_round(Env::start(workflows![builds::first], "order", ()), false);
    env.deploy(workflows![builds::second]);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["+2"], "also in later rounds");
    env.evict();
    env.step([completed(2, 5)]).commands();
    env.step([signal("go", 1)]).commands();
    env.step([completed(3, 5)]).commands();
    assert_eq!(env.result::<u64>(), 15);
    // What the first build recorded is given to the second as it was, task by task.
    let replayer = Replayer::new().workflow(builds::second).every_prefix();
    assert_eq!(replayer.replay_history(&env.history).unwrap().prefixes, 7);
}

#[test]
fn a_run_that_comes_to_a_change_takes_the_new_course_and_records_it_once() {
    let mut env = Env::start(workflows![builds::first], "order", ());
    env.first().commands();
    env.deploy(workflows![builds::second]);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["Patch0", "+1"]);
    env.evict();
    env.step([Input::TimerDue(1)]).commands();
    env.step([completed(2, 5)]).commands();
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["+3"]);
    env.replays_at_every_prefix();
}

#[test]
fn a_change_may_be_deprecated_and_then_forgotten() {
    let mut env = first_round(Env::start(workflows![builds::second], "order", ()), true);
    env.deploy(workflows![builds::third]);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["+3"]);
    Replayer::new().workflow(builds::third).every_prefix().replay_history(&env.history).unwrap();
    let mut env = first_round(Env::start(workflows![builds::third], "order", ()), true);
    assert!(env.event_names().contains(&"MarkerRecorded"));
    env.deploy(workflows![builds::fourth]);
    assert_eq!(short(&env.step([signal("go", 1)]).commands()), ["+3"], "the numbers of all else stay the same");
    env.deploy(workflows![builds::third]);
    assert_eq!(short(&env.step([Input::TimerDue(3)]).commands()), ["+4"], "and back again");
}

#[test]
fn a_change_that_goes_from_the_code_too_early_is_named() {
    let mut env = first_round(Env::start(workflows![builds::second], "order", ()), true);
    env.deploy(workflows![builds::fourth]);
    let (cause, failure) = env.step([signal("go", 1)]).failure();
    assert_eq!(cause, Cause::NonDeterministic);
    let expected = r#"`ctx.patched("pause-between")` went from the code: put `ctx.deprecate_patch(…)` in its place"#;
    assert!(failure.message.contains(expected), "{}", failure.message);
}

#[workflow]
async fn notes_attributes(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.upsert(&CUSTOMER, "x".to_owned());
    ctx.upsert(&AMOUNT, 5);
    ctx.set_memo("note", &vec!["a", "b"]);
    ctx.activity(WORK, 1).await?;
    ctx.upsert(&CUSTOMER, None);
    Ok(())
}

#[test]
fn attributes_and_memo_are_changed_in_order_and_removed() {
    let mut env = Env::start(workflows![notes_attributes], "notes_attributes", ());
    let commands = env.first().commands();
    let names: Vec<_> = commands.iter().map(Command::name).collect();
    let upsert = "UpsertWorkflowSearchAttributes";
    assert_eq!(names, [upsert, upsert, "ModifyWorkflowProperties", "ScheduleActivityTask"]);
    assert_eq!(env.run.search_attributes().unwrap().as_json(), r#"{"Amount":5,"Customer":"x"}"#);
    assert_eq!(env.run.memo().unwrap().as_json(), r#"{"note":["a","b"]}"#);
    env.evict();
    assert_eq!(short(&env.step([completed(1, 1)]).commands()), [upsert, "complete"]);
    assert_eq!(env.run.search_attributes().unwrap().as_json(), r#"{"Amount":5}"#);
    env.replays_at_every_prefix();
}

#[workflow]
async fn reads_attributes(ctx: WorkflowContext) -> Result<Vec<String>, WorkflowError> {
    let mut seen = Vec::new();
    let mut see = |ctx: &WorkflowContext| {
        let note: Option<Vec<u64>> = ctx.memo_value("note");
        seen.push(format!("{:?} {:?} {note:?}", ctx.search_attribute(&CUSTOMER), ctx.search_attribute(&AMOUNT)));
    };
    see(&ctx);
    ctx.upsert(&CUSTOMER, "x".to_owned());
    ctx.upsert(&AMOUNT, 5);
    ctx.set_memo("note", &[1, 2]);
    see(&ctx);
    ctx.activity(WORK, 1).await?;
    ctx.upsert(&CUSTOMER, None);
    ctx.set_memo("note", &Option::<u64>::None);
    see(&ctx);
    ctx.activity(WORK, 2).await?;
    let all = [ctx.search_attributes(), ctx.memo()];
    seen.extend(all.into_iter().flatten().map(|all| all.as_json().to_owned()));
    Ok(seen)
}

#[test]
fn the_code_reads_what_it_has_changed_also_when_it_is_replayed() {
    let mut env = Env::start(workflows![reads_attributes], "reads_attributes", ());
    env.first().commands();
    env.evict();
    env.step([completed(1, 1)]).commands();
    env.evict();
    env.step([completed(2, 1)]).commands();
    let seen = env.result::<Vec<String>>();
    let expected =
        ["None None None", r#"Some("x") Some(5) Some([1, 2])"#, "None Some(5) None", r#"{"Amount":5}"#, "{}"];
    assert_eq!(seen, expected);
    env.replays_at_every_prefix();
}

#[workflow]
async fn misreads_attributes(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.set_memo("note", &"a text");
    let _: Option<u64> = ctx.memo_value("note");
    Ok(())
}

#[test]
fn a_note_of_another_type_fails_the_task_and_says_which() {
    let (cause, failure) = Env::start(workflows![misreads_attributes], "misreads_attributes", ()).first().failure();
    assert_eq!(cause, Cause::BadPayload);
    assert!(failure.message.contains("memo `note`") && failure.message.contains("a text"), "{}", failure.message);
}

#[workflow]
async fn draws(ctx: WorkflowContext) -> Result<(Vec<u64>, String), WorkflowError> {
    let random = ctx.random();
    let drawn = vec![random.u64(), random.range(0..1_000), (random.f64() * 1e9) as u64];
    ctx.activity(WORK, drawn[1]).await?;
    Ok((drawn, ctx.uuid().to_string()))
}

#[test]
fn random_numbers_are_the_same_at_every_replay() {
    let mut env = Env::start(workflows![draws], "draws", ());
    env.first().commands();
    env.evict();
    env.step([completed(1, 1)]).commands();
    let (drawn, uuid) = env.result::<(Vec<u64>, String)>();
    assert!(drawn[0] != drawn[1] && drawn[1] < 1_000 && uuid.as_bytes()[14] == b'4', "{drawn:?} {uuid}");
    env.replays_at_every_prefix();
}

#[workflow]
async fn undoes(ctx: WorkflowContext, last_fails: bool) -> Result<u64, WorkflowError> {
    let mut saga = Saga::new(&ctx);
    let steps = async {
        for n in 1..=3 {
            saga.compensate(move |ctx| async move {
                ctx.activity(WORK, 100 + n).await?;
                Ok(())
            });
            ctx.activity(WORK, n).await?;
        }
        if last_fails { Err(WorkflowError::failed("Late", "changed its mind")) } else { Ok(6) }
    };
    let done = steps.await;
    saga.end(done).await
}

#[test]
fn a_saga_undoes_its_steps_in_reverse_and_out_of_reach_of_a_cancellation() {
    let mut env = Env::start(workflows![undoes], "undoes", true);
    env.first().commands();
    env.step([completed(1, 1)]).commands();
    assert_eq!(short(&env.step([Input::Cancel]).commands()), ["-2", "+3"]);
    let inputs = |env: &Env| -> Vec<String> {
        env.run.activities.values().map(|pending| pending.scheduled.input.as_json().to_owned()).collect()
    };
    assert_eq!(inputs(&env).last().unwrap(), "102", "the step that may have been done, first");
    assert_eq!(short(&env.step([crate::harness::failed(3, "Unlucky")]).commands()), ["+4"]);
    assert_eq!(inputs(&env).last().unwrap(), "101", "all the same");
    env.evict();
    assert_eq!(short(&env.step([completed(4, 1)]).commands()), ["cancel"]);
    env.replays_at_every_prefix();
}

#[test]
fn a_saga_that_succeeds_undoes_nothing() {
    let mut env = Env::start(workflows![undoes], "undoes", false);
    env.first().commands();
    for n in 1..=3 {
        env.step([completed(n, n)]).commands();
    }
    assert_eq!(env.result::<u64>(), 6);
    env.replays_at_every_prefix();
}
