//! Every way a task can go that the provider alone never takes.

use std::collections::BTreeMap;

use dacapo_activities::model::{Scores, Tenths};
use dacapo_workflows::multi_agent_task::{RetryScope, Stage, State, Status, SubtaskStatus, TeamError, orchestrate};

use super::support::{
    Files, Script, Team, check_citations, example_files, example_task, files, input, run, solve, solve_with,
};

const TASK: &str = "crash-safety.md";

fn fails(name: &'static str, times: u32) -> Script {
    Script { fails: BTreeMap::from([(name, times)]), ..Script::default() }
}

#[test]
fn an_ordinary_task_goes_through_the_states_in_order() {
    let (result, team) = solve_with(&example_task("throughput.md"), &example_files(), Script::default());
    assert!(result.is_ok());
    use State::{
        Completed, Coordination, ManagerFinalReview, ManagerReview, Pending, SpecialistExecution, SpecialistSelection,
        Synthesis, TaskAnalysis, TaskDecomposition,
    };
    let expected = [
        Pending,
        TaskAnalysis,
        SpecialistSelection,
        TaskDecomposition,
        SpecialistExecution,
        ManagerReview,
        Coordination,
        Synthesis,
        ManagerFinalReview,
        Completed,
    ];
    assert_eq!(team.states(), expected);
    let seen = team.seen.borrow();
    assert!(seen.windows(2).all(|w| w[0].progress <= w[1].progress));
    assert_eq!(seen.last().unwrap().progress, 100);
}

#[test]
fn subtasks_run_at_once_and_dependents_wait() {
    let script = Script { delays: vec![3], ..Script::default() };
    let (result, team) = solve_with(&example_task(TASK), &example_files(), script);
    assert!(result.is_ok());
    // Six subtasks, one of which compares what others find.
    assert_eq!(team.running_max.get(), 5);
    let seen = team.seen.borrow();
    let last = seen.last().unwrap();
    assert_eq!(last.phases.len(), 2);
    assert_eq!(last.phases[1], ["s5"]);
    let order = team.calls_of("execute");
    let at = |id: &str| order.iter().position(|c| c.starts_with(id)).unwrap();
    for dependency in &last.subtasks[4].dependencies {
        assert!(at(dependency) < at("s5"));
    }
    assert!(!last.subtasks[4].dependencies.is_empty());
}

#[test]
fn a_circle_in_the_plan_is_named_and_then_planned_around() {
    let script = Script {
        plan: Some(|mut plan| {
            plan.subtasks[0].dependencies = vec!["s2".to_owned()];
            plan.subtasks[1].dependencies = vec!["s1".to_owned()];
            plan
        }),
        ..Script::default()
    };
    let files = example_files();
    let (result, team) = solve_with(&example_task(TASK), &files, script);
    let result = result.unwrap();
    let planned = team.calls.borrow().iter().filter(|c| c.starts_with("decompose")).cloned().collect::<Vec<_>>();
    assert_eq!(planned.len(), 2);
    assert!(planned[1].contains("waits for itself"), "{planned:?}");
    // One subtask per specialist, nobody waits.
    let seen = team.seen.borrow();
    let last = seen.last().unwrap();
    assert_eq!(last.phases.len(), 1);
    assert_eq!(result.subtasks.len(), last.specialists.len());
    check_citations(&result, &files);
}

#[test]
fn who_always_scores_six_is_asked_three_times_and_left_out() {
    let six = |id: &str, _: &_, scores: Scores| {
        let tenths = Tenths::new(60);
        if id == "s1" {
            Scores { completeness: tenths, accuracy: tenths, relevance: tenths, quality: tenths }
        } else {
            scores
        }
    };
    let (result, team) =
        solve_with(&example_task("throughput.md"), &example_files(), Script { judge: Some(six), ..Script::default() });
    let result = result.unwrap();
    assert_eq!(team.calls_of("execute").iter().filter(|c| c.starts_with("s1 ")).count(), 3);
    assert_eq!(team.calls_of("execute").iter().filter(|c| c.starts_with("s2 ")).count(), 1);
    assert!(result.partial_completion);
    let [failed] = &result.failed_parts[..] else { panic!("{:?}", result.failed_parts) };
    assert_eq!((failed.subtask_id.as_str(), failed.retry_with.scope), ("s1", RetryScope::SpecificSubtasks));
    assert_eq!(failed.retry_with.specific_areas, ["What is the mean throughput of the designs?"]);
    assert_eq!((result.subtasks[0].status, result.subtasks[0].score), (SubtaskStatus::NeedsRevision, 6_000));
    // The same specialist was asked each time: 6.0 is worth a revision.
    let seen = team.seen.borrow();
    let agents: Vec<&str> =
        seen.last().unwrap().reviews.iter().filter(|r| r.subtask_id == "s1").map(|r| r.agent.as_str()).collect();
    assert!(agents.windows(2).all(|w| w[0] == w[1]), "{agents:?}");
    assert!(team.states().contains(&State::RevisionRequired));
}

#[test]
fn who_is_rejected_is_replaced_by_the_next_best() {
    let reject = |id: &str, solution: &dacapo_activities::model::Solution, scores: Scores| {
        if id == "s1" && solution.solution_id.starts_with("s1/0/") { Scores::default() } else { scores }
    };
    let (result, team) = solve_with(
        &example_task("throughput.md"),
        &example_files(),
        Script { judge: Some(reject), ..Script::default() },
    );
    let result = result.unwrap();
    let tried: Vec<String> = team.calls_of("execute").into_iter().filter(|c| c.starts_with("s1 ")).collect();
    assert_eq!(tried.len(), 2);
    let agent = |call: &str| call.rsplit(' ').next().unwrap().to_owned();
    assert_ne!(agent(&tried[0]), agent(&tried[1]));
    assert_eq!(result.subtasks[0].agent, agent(&tried[1]));
    assert!(!result.partial_completion && result.failed_parts.is_empty());
    assert_eq!(result.revision_cycles, 1);
}

#[test]
fn a_specialist_that_fails_is_replaced_and_one_that_always_fails_is_left_out() {
    let (result, team) = solve_with(&example_task("throughput.md"), &example_files(), fails("execute", 1));
    assert!(!result.unwrap().partial_completion);
    assert_eq!(team.calls_of("execute").len(), 4);

    let (result, _) = solve_with(&example_task("throughput.md"), &example_files(), fails("execute", 100));
    let error = result.unwrap_err().to_string();
    assert!(error.contains("failed after 3 executions: Unavailable: execute is told to fail"), "{error}");
}

#[test]
fn a_review_that_fails_counts_as_not_accepted() {
    let (result, team) = solve_with(&example_task("throughput.md"), &example_files(), fails("review", 1));
    assert_eq!(result.unwrap().revision_cycles, 1);
    assert_eq!(team.calls_of("review").len(), 4);
}

#[test]
fn without_coordinator_analyst_or_final_reviewer_the_findings_are_still_given() {
    let files = example_files();
    for (name, who) in [("aggregate", "coordinator"), ("synthesize", "analyst"), ("review_final", "final reviewer")] {
        let (result, team) = solve_with(&example_task(TASK), &files, fails(name, 100));
        let result = result.unwrap();
        check_citations(&result, &files);
        assert!(result.partial_completion);
        assert!(result.final_answer.limitations.iter().any(|l| l.starts_with(&format!("The {who} failed"))), "{name}");
        assert!(result.final_answer.limitations.iter().any(|l| l.contains("carpet")), "{name}");
        assert_eq!(result.final_answer.main_content.len(), 5, "{name}");
        assert_eq!(*team.states().last().unwrap(), State::Completed);
    }
}

#[test]
fn what_cannot_be_replaced_fails_the_task_in_its_state() {
    for (name, stage) in [
        ("analyze", Stage::TaskAnalysis),
        ("select", Stage::SpecialistSelection),
        ("decompose", Stage::TaskDecomposition),
    ] {
        let (result, team) = solve_with(&example_task(TASK), &example_files(), fails(name, 100));
        assert!(matches!(result, Err(TeamError::Failed { error_type, .. }) if error_type == "Unavailable"), "{name}");
        let seen = team.seen.borrow();
        let last = seen.last().unwrap();
        assert_eq!((last.state, last.current_stage), (State::Failed, stage));
    }
}

#[test]
fn an_answer_that_is_never_approved_is_given_after_two_more_tries_and_says_so() {
    let script = Script { approve: Some(false), ..Script::default() };
    let (result, team) = solve_with(&example_task("throughput.md"), &example_files(), script);
    let result = result.unwrap();
    assert_eq!(team.calls.borrow().iter().filter(|c| *c == "synthesize").count(), 3);
    assert!(result.partial_completion);
    assert!(result.final_answer.limitations.iter().any(|l| l.starts_with("Not approved by the final review")));
}

#[test]
fn a_task_can_be_called_off_in_every_state() {
    let endless = |_: &str, _: &_, _: Scores| Scores {
        relevance: Tenths::new(100),
        accuracy: Tenths::new(100),
        ..Scores::default()
    };
    for state in State::ALL.into_iter().filter(|s| !s.is_final()) {
        let judge: Option<fn(&str, &_, Scores) -> Scores> =
            if state == State::RevisionRequired { Some(endless) } else { None };
        let script = Script { cancel_in: Some(state), delays: vec![2], judge, ..Script::default() };
        let (result, team) = solve_with(&example_task("throughput.md"), &example_files(), script);
        assert_eq!(result.unwrap_err(), TeamError::Cancelled { reason: "nobody wants it".to_owned() }, "{state:?}");
        let seen = team.seen.borrow();
        let last = seen.last().unwrap();
        assert_eq!((last.state, last.status), (State::Cancelled, Status::Cancelled), "{state:?}");
        assert!(last.progress < 100);
    }
}

#[test]
fn an_invalid_input_calls_nobody() {
    let files: Files = example_files();
    let team = Team::new(&files, Script::default());
    let mut wrong = input(&example_task(TASK), &files);
    wrong.title = String::new();
    assert!(matches!(run(orchestrate(&team, &wrong)), Err(TeamError::Invalid(_))));
    assert!(team.calls.borrow().is_empty() && team.seen.borrow().is_empty());
}

#[test]
fn without_revision_cycles_everything_is_tried_once() {
    let files = example_files();
    let team = Team::new(&files, Script::default());
    let mut once = input(&example_task(TASK), &files);
    once.options.max_revision_cycles = 0;
    let result = run(orchestrate(&team, &once)).unwrap();
    assert!(result.subtasks.iter().all(|s| s.cycles == 1));
    assert_eq!((result.revision_cycles, result.failed_parts.len()), (0, 1));
}

#[test]
fn only_the_named_types_work() {
    let files = example_files();
    let team = Team::new(&files, Script::default());
    let mut named = input(&example_task(TASK), &files);
    named.agent_types = Some(vec!["developer".to_owned()]);
    assert!(run(orchestrate(&team, &named)).is_ok());
    let agents: Vec<String> =
        team.calls_of("execute").iter().map(|c| c.rsplit(' ').next().unwrap().to_owned()).collect();
    assert!(agents.iter().all(|a| a == "developer" || a == "generalist"), "{agents:?}");
}

#[test]
fn who_builds_on_a_changed_solution_is_asked_again_and_others_are_not() {
    let documents = files(&[(
        "a.md",
        "# A\n\nLeases protect the runs of a worker.\n\nTimers fire by the clock of the database.\n\nLeases are better than timers for ownership of runs.\n",
    )]);
    let task = "# A\n\n- What do leases protect for a worker?\n- By which clock do timers fire?\n- Compare leases with ownership of runs.\n";
    let first_rejected = |id: &str, solution: &dacapo_activities::model::Solution, scores: Scores| {
        if id == "s1" && solution.solution_id.starts_with("s1/0/") { Scores::default() } else { scores }
    };
    let (result, team) = solve_with(task, &documents, Script { judge: Some(first_rejected), ..Script::default() });
    result.unwrap();
    let order = team.calls_of("execute");
    let count = |id: &str| order.iter().filter(|c| c.starts_with(id)).count();
    assert_eq!((count("s1 "), count("s2 "), count("s3 ")), (2, 1, 2), "{order:?}");
}

#[test]
fn the_order_in_which_calls_finish_changes_nothing() {
    let files = example_files();
    let expected = serde_json::to_string(&solve(&example_task(TASK), &files)).unwrap();
    for delays in
        [vec![1], vec![7, 0, 3, 1, 5], vec![0, 9], vec![2, 4, 6, 8, 1, 3, 5], vec![9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]
    {
        let (result, _) =
            solve_with(&example_task(TASK), &files, Script { delays: delays.clone(), ..Script::default() });
        assert_eq!(serde_json::to_string(&result.unwrap()).unwrap(), expected, "{delays:?}");
    }
}
