//! Branches: what is copied, what is recorded again, and what is refused.

use std::time::Duration;

use expect_test::{Expect, expect};
use uuid::Uuid;

use super::*;
use crate::{
    activity::{ActivityOptions, ActivityOutcome, ActivityResult},
    apply::Turn,
    child::{ChildClosed, ChildOutcome, ChildWorkflowOptions, ParentRun},
    command::Command,
    event::EventKind,
    failure::Failure,
    ids::MessageId,
    lineage::Lineage,
    message::{Message, MessageBody},
    run::{Run, RunStatus},
    start::StartWorkflow,
    update::UpdateRequest,
};

const START: Timestamp = Timestamp(1_000_000_000);

/// A run with its whole history.
struct Source {
    run: Run,
    events: Vec<Event>,
    now: Timestamp,
}

impl Source {
    fn begin(change: impl FnOnce(&mut StartWorkflow)) -> Self {
        let run_id = RunId(Uuid::from_u128(1));
        let mut start =
            StartWorkflow::new(run_id, "order-42".into(), "checkout".into(), "queue".into(), Payload::null());
        change(&mut start);
        let events = start.transition(START).events;
        Self { run: Run::from_history(&events).unwrap(), events, now: START }
    }

    fn turn(mut self, step: impl FnOnce(&mut Turn<'_>)) -> Self {
        let mut turn = Turn::begin(&mut self.run, self.now);
        step(&mut turn);
        self.events.extend(turn.finish().events);
        self.now = self.now.plus_ms(1_000);
        self
    }

    fn task(self, commands: Vec<Command>) -> Self {
        self.turn(|turn| {
            assert!(turn.start_task("worker", None));
            turn.complete_task(commands, Vec::new()).unwrap();
        })
    }

    fn ends(self, activity_id: ActivityId, result: ActivityResult) -> Self {
        let identity = "runner".into();
        let started_at = Some(START);
        let outcome = ActivityOutcome { activity_id, attempt: 1, started_at, identity, last_heartbeat: None, result };
        self.turn(|turn| turn.activity_outcome(outcome))
    }
}

fn activity(activity_id: ActivityId) -> Command {
    let options = ActivityOptions { schedule_to_close_ms: Some(60_000), ..ActivityOptions::default() };
    let (activity_type, input) = ("charge".into(), Payload::null());
    Command::ScheduleActivityTask { activity_id, activity_type, input, options: Box::new(options) }
}

fn sleep(timer_id: u64) -> Command {
    Command::StartTimer { timer_id, after: Duration::from_secs(3_600) }
}

fn signal(number: u128) -> Message {
    let (name, input, identity) = (format!("s{number}"), Payload::null(), String::new());
    Message { id: MessageId(Uuid::from_u128(number)), body: MessageBody::Signal { name, input, identity } }
}

fn complete() -> Command {
    Command::CompleteWorkflowExecution { result: Payload::null() }
}

fn json(text: &str) -> Payload {
    Payload::from_json("test", text.to_owned()).unwrap()
}

/// Two activities one after the other, a timer that waits, a signal in between, and the end.
fn closed() -> Source {
    let source = Source::begin(|start| start.run_timeout_ms = Some(7_200_000));
    let source = source.task(vec![activity(1), sleep(9)]).ends(1, ActivityResult::Completed(json("1")));
    let source = source.task(vec![activity(2)]).turn(|turn| turn.message(signal(5)));
    source.ends(2, ActivityResult::Completed(json("2"))).task(vec![complete()])
}

fn new_run() -> RunId {
    RunId(Uuid::from_u128(2))
}

fn reset_to(event_id: i64) -> Reset {
    Reset {
        point: ResetPoint::Event(event_id),
        run_id: new_run(),
        reason: "bad build".to_owned(),
        reapply: Reapply::Messages,
    }
}

fn fork_with(event_id: Option<i64>, edits: Vec<Edit>) -> Fork {
    let (workflow_id, reason) = ("order-42-again".into(), "what if".to_owned());
    Fork {
        workflow_id,
        run_id: new_run(),
        point: event_id.map(ResetPoint::Event),
        edits,
        reason,
        reapply: Reapply::Messages,
    }
}

fn tell(branch: &Successor) -> String {
    let transition = &branch.transition;
    let mut told = String::new();
    for event in &transition.events {
        let detail = match &event.event {
            EventKind::ActivityTaskCompleted(it) => format!(" {} = {:?}", it.activity_id, it.result),
            EventKind::WorkflowExecutionStarted(it) => format!(" {} with {:?}", it.workflow_id, it.input),
            EventKind::WorkflowTaskFailed(it) => format!(" {:?}", it.cause),
            _ => String::new(),
        };
        told.push_str(&format!("{:<2} {}{detail}\n", event.event_id, event.event.name()));
    }
    for row in &transition.activities {
        let ends = row.task.schedule_to_close_at.unwrap().since(START);
        told.push_str(&format!("+ activity {} attempt {} until {ends:?}\n", row.activity_id, row.attempt));
    }
    for row in &transition.timers {
        told.push_str(&format!("+ timer {} at {:?}\n", row.timer_id, row.fire_at.since(START)));
    }
    for message in &transition.inbox {
        told.push_str(&format!("+ message {:?}\n", message.body));
    }
    told
}

fn check(branch: &Successor, expected: Expect) {
    let run = Run::from_history(&branch.transition.events).expect("a branch is a history");
    assert_eq!(run.key, branch.request.key());
    assert_eq!(branch.transition.key, run.key);
    assert_eq!((branch.transition.first_event_id, branch.transition.signals), (1, run.signals));
    expected.assert_eq(&tell(branch));
}

#[test]
fn a_reset_runs_a_task_again_over_what_is_copied_with_later_signals() {
    let source = closed();
    let completed = source.events.iter().filter(|event| event.event.name() == "WorkflowTaskCompleted").nth(1).unwrap();
    let branch = reset(&source.events, &reset_to(completed.event_id), source.now).unwrap();
    check(
        &branch,
        expect![[r#"
            1  WorkflowExecutionStarted order-42 with null
            2  WorkflowTaskScheduled
            3  WorkflowTaskStarted
            4  WorkflowTaskCompleted
            5  ActivityTaskScheduled
            6  TimerStarted
            7  ActivityTaskStarted
            8  ActivityTaskCompleted 1 = 1
            9  WorkflowTaskScheduled
            10 WorkflowTaskStarted
            11 WorkflowTaskFailed ResetWorkflow
            12 WorkflowExecutionSignaled
            13 WorkflowTaskScheduled
            + timer 0 at 7206s
            + timer 9 at 3600s
        "#]],
    );
    let from = branch.request.lineage.as_ref().unwrap().branched_from.clone().unwrap();
    assert_eq!((from.kind, from.run_id, from.reason.as_str()), (BranchKind::Reset, source.run.key.run_id, "bad build"));
    assert_eq!(branch.transition.events[from.event_id as usize - 1].event.name(), "WorkflowTaskStarted");
    let started = reset(&source.events, &reset_to(from.event_id), source.now).unwrap();
    assert_eq!(started, branch, "the start and the end of a task are one point");
    let alone = Reset { reapply: Reapply::Nothing, ..reset_to(from.event_id) };
    assert_eq!(reset(&source.events, &alone, source.now).unwrap().transition.signals, 0);
}

#[test]
fn activities_without_an_outcome_at_the_point_are_scheduled_again_with_all_their_time() {
    let source = Source::begin(|_| ()).task(vec![activity(1)]).turn(|turn| turn.message(signal(5))).task(vec![]);
    let point = source.events.last().unwrap().event_id;
    let branch = reset(&source.events, &reset_to(point), START.plus_ms(500_000)).unwrap();
    check(
        &branch,
        expect![[r#"
            1  WorkflowExecutionStarted order-42 with null
            2  WorkflowTaskScheduled
            3  WorkflowTaskStarted
            4  WorkflowTaskCompleted
            5  ActivityTaskScheduled
            6  WorkflowExecutionSignaled
            7  WorkflowTaskScheduled
            8  WorkflowTaskStarted
            9  WorkflowTaskFailed ResetWorkflow
            10 WorkflowTaskScheduled
            + activity 1 attempt 1 until 560s
        "#]],
    );
}

#[test]
fn a_reset_takes_the_place_of_an_open_run_in_one_transition() {
    let parent = ParentRun {
        namespace: crate::Namespace::default_namespace(),
        workflow_id: "parent".into(),
        run_id: RunId(Uuid::from_u128(9)),
        child_id: 3,
        initiated_event_id: 5,
    };
    let lineage = Lineage { parent: Some(parent.clone()), ..Lineage::default() };
    let mut source = Source::begin(|start| start.lineage = Some(Box::new(lineage))).task(vec![activity(1)]);
    let branch = reset(&source.events, &reset_to(3), source.now).unwrap();
    assert_eq!(
        branch.request.lineage.as_ref().unwrap().first_run_id,
        Some(source.run.key.run_id),
        "orders of the parent reach it"
    );
    let mut turn = Turn::begin(&mut source.run, source.now);
    turn.replace(MessageId(new_run().0), "reset".to_owned(), String::new(), branch.clone());
    let transition = turn.finish();
    assert_eq!((transition.closes, transition.successor), (Some(RunStatus::Terminated), Some(branch.clone())));
    assert!(transition.outbox.is_empty(), "the parent goes on waiting, for the run that follows");
    assert_eq!(branch.request.lineage.unwrap().parent, Some(parent));
}

#[test]
fn a_fork_with_another_input_keeps_nothing_but_the_start() {
    let source = closed();
    let branch = fork(&source.events, &fork_with(None, vec![Edit::Input(json("7"))]), source.now).unwrap();
    check(
        &branch,
        expect![[r#"
            1  WorkflowExecutionStarted order-42-again with 7
            2  WorkflowTaskScheduled
            3  WorkflowTaskStarted
            4  WorkflowTaskFailed ResetWorkflow
            5  WorkflowExecutionSignaled
            6  WorkflowTaskScheduled
            + timer 0 at 7206s
        "#]],
    );
    assert_eq!(branch.request.input, json("7"));
    assert_eq!(branch.request.lineage.unwrap().first_run_id, None, "a chain of its own");
}

#[test]
fn a_fork_with_another_result_keeps_everything_before_the_task_that_sees_it() {
    let source = closed();
    let edit = Edit::ActivityResult { activity_id: 1, result: json("100") };
    let before = source.events.clone();
    let branch = fork(&source.events, &fork_with(None, vec![edit]), source.now).unwrap();
    assert_eq!(source.events, before, "the source is left alone");
    check(
        &branch,
        expect![[r#"
            1  WorkflowExecutionStarted order-42-again with null
            2  WorkflowTaskScheduled
            3  WorkflowTaskStarted
            4  WorkflowTaskCompleted
            5  ActivityTaskScheduled
            6  TimerStarted
            7  ActivityTaskStarted
            8  ActivityTaskCompleted 1 = 100
            9  WorkflowTaskScheduled
            10 WorkflowTaskStarted
            11 WorkflowTaskFailed ResetWorkflow
            12 WorkflowExecutionSignaled
            13 WorkflowTaskScheduled
            + timer 0 at 7206s
            + timer 9 at 3600s
        "#]],
    );
}

#[test]
fn a_fork_may_turn_a_failure_into_a_value_that_nobody_has_seen_yet() {
    let failure = Failure { non_retryable: true, ..Failure::application("Io", "broken pipe") };
    let source = Source::begin(|_| ()).task(vec![activity(1)]).ends(1, ActivityResult::Failed(failure));
    let edit = Edit::ActivityResult { activity_id: 1, result: json("1") };
    let branch = fork(&source.events, &fork_with(None, vec![edit]), source.now).unwrap();
    check(
        &branch,
        expect![[r#"
            1  WorkflowExecutionStarted order-42-again with null
            2  WorkflowTaskScheduled
            3  WorkflowTaskStarted
            4  WorkflowTaskCompleted
            5  ActivityTaskScheduled
            6  ActivityTaskStarted
            7  ActivityTaskCompleted 1 = 1
            8  WorkflowTaskScheduled
        "#]],
    );
}

#[test]
fn updates_that_were_accepted_later_wait_again() {
    let request = UpdateRequest {
        update_id: "u".to_owned(),
        name: "amend".to_owned(),
        input: Payload::null(),
        identity: String::new(),
    };
    let asked = Message { id: MessageId(Uuid::from_u128(6)), body: MessageBody::Update(Box::new(request)) };
    let source = Source::begin(|_| ()).task(vec![]).turn(|turn| {
        turn.message(asked.clone());
        assert!(turn.start_task("worker", None));
        let accept = Command::AcceptWorkflowExecutionUpdate { update_id: "u".to_owned() };
        turn.complete_task(vec![accept], Vec::new()).unwrap();
    });
    assert_eq!(reset(&source.events, &reset_to(3), source.now).unwrap().transition.inbox, [asked]);
}

#[test]
fn a_child_gives_a_branch_the_outcome_that_it_gave_the_source() {
    let start = Command::StartChildWorkflowExecution {
        child_id: 1,
        workflow_id: "child".into(),
        workflow_type: "ship".into(),
        input: Payload::null(),
        options: Box::new(ChildWorkflowOptions::default()),
    };
    let source = Source::begin(|_| ()).task(vec![start]).turn(|turn| turn.message(signal(5))).task(vec![]);
    let point = source.events.last().unwrap().event_id;
    let open = reset(&source.events, &reset_to(point), source.now).unwrap_err();
    expect!["a child workflow of event 5 has no outcome yet: choose a point before it was asked for, or wait until it has ended"].assert_eq(&open.to_string());
    let outcome = ChildOutcome::Completed(json("3"));
    let closed = ChildClosed { child_id: 1, initiated_event_id: 5, run_id: RunId(Uuid::from_u128(8)), outcome };
    let body = MessageBody::ChildClosed(Box::new(closed));
    let source = source.turn(|turn| turn.message(Message { id: MessageId(Uuid::from_u128(7)), body }));
    let branch = reset(&source.events, &reset_to(point), source.now).unwrap();
    check(
        &branch,
        expect![[r#"
            1  WorkflowExecutionStarted order-42 with null
            2  WorkflowTaskScheduled
            3  WorkflowTaskStarted
            4  WorkflowTaskCompleted
            5  StartChildWorkflowExecutionInitiated
            6  WorkflowExecutionSignaled
            7  WorkflowTaskScheduled
            8  WorkflowTaskStarted
            9  WorkflowTaskFailed ResetWorkflow
            10 ChildWorkflowExecutionStarted
            11 ChildWorkflowExecutionCompleted
            12 WorkflowTaskScheduled
        "#]],
    );
}

#[test]
fn what_cannot_be_branched_is_refused_with_the_way_out() {
    let source = closed();
    let activity = |activity_id| Edit::ActivityResult { activity_id, result: json("1") };
    let refused = |point, edits| fork(&source.events, &fork_with(point, edits), source.now).unwrap_err().to_string();
    let never_began = {
        let waiting = Source::begin(|_| ()).task(vec![activity_with_queue_timeout()]);
        let timed_out = ActivityOutcome {
            activity_id: 1,
            attempt: 1,
            started_at: None,
            identity: "".into(),
            last_heartbeat: None,
            result: ActivityResult::TimedOut { timeout: crate::TimeoutType::ScheduleToStart },
        };
        let source = waiting.turn(|turn| turn.activity_outcome(timed_out));
        fork(&source.events, &fork_with(None, vec![activity(1)]), source.now).unwrap_err().to_string()
    };
    let all = [
        reset(&source.events, &reset_to(5), source.now).unwrap_err().to_string(),
        reset(&source.events, &reset_to(0), source.now).unwrap_err().to_string(),
        reset(&source.events, &reset_to(999), source.now).unwrap_err().to_string(),
        refused(None, vec![]),
        refused(None, vec![activity(77)]),
        refused(None, vec![activity(1), activity(2)]),
        refused(Some(3), vec![activity(1)]),
        never_began,
    ];
    expect![[r#"
        event 5 is no start or end of a workflow task: try event 3
        event 0 is no start or end of a workflow task: try event 3
        event 999 is no start or end of a workflow task: try event 17
        a fork needs a point or an edit: without one it would be the same run again
        activity 77 has no outcome in the history: fork at an event instead, and it is run again
        activity 2 has its outcome after event 10, where the copy ends: leave out one of the two edits
        activity 1 has its outcome after event 3, where the copy ends: leave out one of the two edits
        activity 1 never began: fork before it was scheduled instead"#]]
    .assert_eq(&all.join("\n"));
}

fn activity_with_queue_timeout() -> Command {
    let options = ActivityOptions {
        schedule_to_start_ms: Some(1_000),
        schedule_to_close_ms: Some(60_000),
        ..ActivityOptions::default()
    };
    let (activity_type, input) = ("charge".into(), Payload::null());
    Command::ScheduleActivityTask { activity_id: 1, activity_type, input, options: Box::new(options) }
}

#[test]
fn a_branch_can_be_branched_again() {
    let source = closed();
    let branch = reset(&source.events, &reset_to(3), source.now).unwrap();
    let again = Reset { run_id: RunId(Uuid::from_u128(3)), ..reset_to(3) };
    let second = reset(&branch.transition.events, &again, source.now).unwrap();
    let lineage = second.request.lineage.clone().unwrap();
    assert_eq!(lineage.branched_from.unwrap().run_id, new_run());
    assert_eq!(lineage.first_run_id, Some(source.run.key.run_id));
    Run::from_history(&second.transition.events).unwrap();
}

fn reset_at(point: ResetPoint) -> Reset {
    Reset { point, ..reset_to(0) }
}

#[test]
fn points_are_named_as_people_know_them() {
    let source = closed();
    let at = |point| {
        let branch = reset(&source.events, &reset_at(point), source.now).unwrap();
        branch.request.lineage.unwrap().branched_from.unwrap().event_id
    };
    assert_eq!((at(ResetPoint::FirstWorkflowTask), at(ResetPoint::Event(4))), (3, 3));
    assert_eq!(at(ResetPoint::LastWorkflowTask), 17);
    assert_eq!(at(ResetPoint::BeforeActivity("charge".to_owned())), 3);
    let refused = |point| reset(&source.events, &reset_at(point), source.now).unwrap_err().to_string();
    expect!["nothing to go back to at the first activity `pay`: the history has activities charge"]
        .assert_eq(&refused(ResetPoint::BeforeActivity("pay".to_owned())));
    expect!["nothing to go back to at the failure of activity 1: that activity has not failed: name another one, or reset to an event"]
        .assert_eq(&refused(ResetPoint::BeforeFailure(1)));
    let young = Source::begin(|_| ());
    let refused = reset(&young.events, &reset_at(ResetPoint::LastWorkflowTask), young.now).unwrap_err();
    assert!(refused.to_string().contains("has no workflow task yet"), "{refused}");
}

#[test]
fn an_activity_that_failed_gets_all_its_attempts_once_more_and_nothing_else_is_done_again() {
    let failure = Failure { non_retryable: true, ..Failure::application("Io", "broken pipe") };
    let source = Source::begin(|_| ()).task(vec![activity(1), activity(2)]);
    let source = source.ends(1, ActivityResult::Completed(json("1"))).ends(2, ActivityResult::Failed(failure.clone()));
    let source = source.task(vec![Command::FailWorkflowExecution { failure: Box::new(failure) }]);
    let branch = reset(&source.events, &reset_at(ResetPoint::BeforeFailure(2)), START.plus_ms(500_000)).unwrap();
    check(
        &branch,
        expect![[r#"
            1  WorkflowExecutionStarted order-42 with null
            2  WorkflowTaskScheduled
            3  WorkflowTaskStarted
            4  WorkflowTaskCompleted
            5  ActivityTaskScheduled
            6  ActivityTaskScheduled
            7  ActivityTaskStarted
            8  ActivityTaskCompleted 1 = 1
            9  WorkflowTaskScheduled
            + activity 2 attempt 1 until 560s
        "#]],
    );
}

#[test]
fn an_order_to_end_that_comes_with_a_reset_keeps_its_words() {
    let mut source = Source::begin(|_| ()).task(vec![]);
    let branch = reset(&source.events, &reset_to(3), source.now).unwrap();
    let mut turn = Turn::begin(&mut source.run, source.now);
    let order = MessageBody::Terminate { reason: "enough".to_owned(), identity: "operator".to_owned() };
    turn.message(Message { id: MessageId(Uuid::from_u128(7)), body: order });
    turn.replace(MessageId(new_run().0), "reset".to_owned(), String::new(), branch);
    let transition = turn.finish();
    assert!(transition.successor.is_some());
    assert_eq!(transition.consumed, [MessageId(Uuid::from_u128(7))]);
    let Some(EventKind::WorkflowExecutionTerminated(ended)) = transition.events.last().map(|it| it.event.clone())
    else {
        panic!("it ends: {transition:?}")
    };
    assert_eq!((ended.reason.as_str(), ended.message_id), ("enough", MessageId(Uuid::from_u128(7))));
}
