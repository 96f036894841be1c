//! Decisions: history in, inputs and commands in, one transition out; after every step the fold of all events (with the
//! rows of `activities`) is the run.

mod activities;
mod children;
mod externals;
mod limits;
mod messages;
mod notes;
mod pauses;
mod random;
mod successors;
mod tasks;
mod timers;
mod transitions;
mod updates;
mod world;

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use expect_test::Expect;
use uuid::Uuid;

use super::Turn;
use crate::{
    activity::{ActivityOptions, ActivityOutcome, ActivityResult},
    child::{ChildClosed, ChildOutcome, ChildWorkflowOptions, ParentClosePolicy},
    command::{CancelTarget, Command, ContinueAsNew},
    event::{Event, EventKind},
    failure::Failure,
    ids::{ActivityId, MessageId, RunId, TimerId},
    message::{Message, MessageBody},
    outbox::{Delivered, ExternalTarget, OutboxBody, OutboxRow, TargetRun},
    payload::Payload,
    retry::RetryPolicy,
    run::Run,
    start::StartWorkflow,
    time::Timestamp,
    transition::{ActivityRow, ProblemChange, Transition},
    update::{UpdateOutcome, UpdateRequest, UpdateStage},
};

const START: Timestamp = Timestamp(1_000_000_000);

/// A run from its start on, beside the tables that its transitions fill.
struct Story {
    run: Run,
    now: Timestamp,
    events: Vec<Event>,
    rows: BTreeMap<ActivityId, ActivityRow>,
    timers: BTreeMap<TimerId, Timestamp>,
    outbox: Vec<OutboxRow>,
    told: String,
}

impl Story {
    fn begin() -> Self {
        Self::begin_with(|_| ())
    }

    fn begin_with(options: impl FnOnce(&mut StartWorkflow)) -> Self {
        let mut start = StartWorkflow::new(
            RunId(Uuid::from_u128(1)),
            "order-42".into(),
            "checkout".into(),
            "queue".into(),
            Payload::null(),
        );
        options(&mut start);
        start.validate().unwrap();
        let first = start.transition(START);
        let run = Run::from_history(&first.events).unwrap();
        let mut story = Self {
            run,
            now: START,
            events: Vec::new(),
            rows: BTreeMap::new(),
            timers: BTreeMap::new(),
            outbox: Vec::new(),
            told: String::new(),
        };
        story.write(first);
        story
    }

    /// Forgets what was told so far.
    fn quiet(mut self) -> Self {
        self.told.clear();
        self
    }

    fn after(mut self, ms: u64) -> Self {
        self.now = self.now.plus_ms(ms);
        self
    }

    /// Makes one step.
    fn turn(mut self, step: impl FnOnce(&mut Turn<'_>)) -> Self {
        let mut turn = Turn::begin(&mut self.run, self.now);
        step(&mut turn);
        let transition = turn.finish();
        self.write(*transition);
        self
    }

    /// Makes one step that runs the code, which asks for these commands.
    fn task(self, commands: Vec<Command>) -> Self {
        self.turn(|turn| {
            assert!(turn.start_task("worker", None), "the workflow has something to react to");
            turn.complete_task(commands, Vec::new()).unwrap();
        })
    }

    /// Does with a transition what a store does, and checks what always holds.
    fn write(&mut self, transition: Transition) {
        self.tell(&transition);
        let Transition { first_event_id, events, closes, .. } = transition;
        assert_eq!(first_event_id, self.events.len() as i64 + 1, "a transition follows the one before");
        self.events.extend(events);
        for row in transition.activities {
            self.rows.insert(row.activity_id, row);
        }
        for id in &transition.dropped_activities {
            self.rows.remove(id);
        }
        assert!(
            transition.canceled_activities.iter().all(|id| self.rows.contains_key(id)),
            "only a row is told to stop"
        );
        for change in transition.activity_changes {
            let row = self.rows.get_mut(&change.activity_id).expect("only a row is changed");
            row.change(change);
        }
        assert!(transition.outbox.is_sorted_by_key(|row| row.event_id), "rows are in the order of their events");
        self.outbox.extend(transition.outbox);
        if let Some(successor) = &transition.successor {
            let run = Run::from_history(&successor.transition.events).expect("a successor begins with a history");
            assert_eq!(run.key, successor.request.key());
        }
        for row in transition.timers {
            assert_eq!(self.timers.insert(row.timer_id, row.fire_at), None, "a timer is written once");
        }
        for id in &transition.dropped_timers {
            self.timers.remove(id);
        }
        self.check(closes.is_some());
    }

    fn check(&self, closed: bool) {
        let mut folded = Run::from_history(&self.events).expect("what a turn writes is a history");
        self.rows.values().for_each(|row| folded.restore_activity(row));
        let mut run = self.run.clone();
        if closed {
            // Which attempt was under way at the end is nobody's business any more: its row is gone.
            folded.activities.clear();
            run.activities.clear();
        }
        assert_eq!(folded, run, "the fold of what was written is the run");
        assert_eq!(closed, self.run.status != crate::RunStatus::Running);
        if closed {
            assert!(self.rows.is_empty() && self.timers.is_empty(), "no row points at a closed run");
            return;
        }
        let timers: BTreeMap<_, _> = self.run.timers.iter().map(|(id, timer)| (*id, timer.fire_at)).collect();
        assert_eq!(self.timers, timers, "every pending timer has its row and no other has one");
        for (id, pending) in &self.run.activities {
            assert_eq!(pending.has_row, self.rows.contains_key(id), "a run knows which of its activities have a row");
        }
        assert!(self.rows.keys().all(|id| self.run.activities.contains_key(id)), "a row belongs to a pending activity");
    }

    fn tell(&mut self, transition: &Transition) {
        let since = |at: Timestamp| format!("{:?}", at.since(START));
        let told = &mut self.told;
        for event in &transition.events {
            let _ = writeln!(told, "{:<2} {:<8} {}", event.event_id, since(event.event_time), describe(&event.event));
        }
        for row in &transition.activities {
            let kept = if row.claimed_by_owner { "kept" } else { "offered" };
            let _ = writeln!(
                told,
                "+ {kept} activity {} attempt {} at {}",
                row.activity_id,
                row.attempt,
                since(row.visible_at)
            );
        }
        for id in &transition.dropped_activities {
            let _ = writeln!(told, "- activity {id}");
        }
        for id in &transition.canceled_activities {
            let _ = writeln!(told, "! stop activity {id}");
        }
        for row in &transition.timers {
            let _ = writeln!(told, "+ timer {} at {}", row.timer_id, since(row.fire_at));
        }
        for id in &transition.dropped_timers {
            let _ = writeln!(told, "- timer {id}");
        }
        for task in &transition.attempts {
            let _ = writeln!(told, "> activity {} attempt {}", task.activity_id, task.attempt);
        }
        for id in &transition.consumed {
            let _ = writeln!(told, "- message {}", id.0.as_u128() & 0xffff);
        }
        match &transition.problem {
            ProblemChange::Keep => {}
            ProblemChange::Clear => told.push_str("no problem\n"),
            ProblemChange::Set(problem) => {
                let next = since(problem.next_attempt_at);
                let _ = writeln!(told, "problem: {:?}, attempt {}, next at {next}", problem.cause, problem.attempt);
            }
        }
        tell_others(told, transition);
        if let Some(status) = transition.closes {
            let _ = writeln!(told, "closes {}", status.as_str());
        }
        told.push_str("--\n");
    }
}

/// What a transition wants of others, and tells them.
fn tell_others(told: &mut String, transition: &Transition) {
    let since = |at: Timestamp| format!("{:?}", at.since(START));
    for change in &transition.activity_changes {
        let (id, state) = (change.activity_id, change.state);
        let held = if state.is_held() { "held" } else { "let go" };
        let _ = writeln!(told, "~ activity {id} {held}, {} attempts before", state.attempts_before);
    }
    for row in &transition.outbox {
        let what = match &row.body {
            OutboxBody::Start(start) => format!("start {}", start.workflow_type),
            OutboxBody::Message(body) => body_name(body),
        };
        let _ = writeln!(told, "@ {what} to {} for {:?} of event {}", row.target.workflow_id, row.asker, row.event_id);
    }
    for progress in &transition.updates {
        let stage = match &progress.stage {
            UpdateStage::Rejected { failure } => format!("rejected: {}", failure.message),
            UpdateStage::Accepted { event_id } => format!("accepted in event {event_id}"),
            UpdateStage::Completed { event_id, .. } => format!("completed in event {event_id}"),
            UpdateStage::Aborted { failure } => failure.message.clone(),
        };
        let whom = progress.message_id.map_or("everyone".to_owned(), |id| format!("{}", id.0.as_u128() & 0xffff));
        let _ = writeln!(told, "? update {} for {whom}: {stage}", progress.update_id);
    }
    if let Some(attributes) = &transition.attributes {
        let _ = writeln!(told, "memo {:?}, search attributes {:?}", attributes.memo, attributes.search_attributes);
    }
    if let Some(successor) = &transition.successor {
        let _ = writeln!(told, "successor {} at {}", successor.request.workflow_type, since(successor.ready_at));
        for event in &successor.transition.events {
            let _ = writeln!(told, "    {:<2} {}", event.event_id, describe(&event.event));
        }
    }
}

fn body_name(body: &MessageBody) -> String {
    match body {
        MessageBody::Signal { name, .. } => format!("signal {name}"),
        MessageBody::Cancel { .. } => "cancel".to_owned(),
        MessageBody::Terminate { .. } => "terminate".to_owned(),
        MessageBody::ChildClosed(closed) => {
            let outcome = format!("{:?}", closed.outcome);
            format!("child closed, {}", outcome.split(['(', ' ']).next().unwrap_or_default())
        }
        other => format!("{other:?}"),
    }
}

fn describe(event: &EventKind) -> String {
    let name = event.name();
    match event {
        EventKind::ActivityTaskScheduled(it) => format!("{name} {}", it.activity_id),
        EventKind::ActivityTaskStarted(it) => {
            format!("{name} {} attempt {} by {}", it.activity_id, it.attempt, it.identity)
        }
        EventKind::ActivityTaskCompleted(it) => format!("{name} {}", it.activity_id),
        EventKind::ActivityTaskFailed(it) => {
            format!("{name} {} {}, {}", it.activity_id, it.failure.error_type, it.retry_state)
        }
        EventKind::ActivityTaskTimedOut(it) => {
            format!("{name} {} {}, {}", it.activity_id, it.timeout_type.as_str(), it.retry_state)
        }
        EventKind::ActivityTaskCancelRequested(it) => format!("{name} {}", it.activity_id),
        EventKind::ActivityTaskCanceled(it) => format!("{name} {}", it.activity_id),
        EventKind::TimerStarted(it) => format!("{name} {}", it.timer_id),
        EventKind::TimerFired(it) => format!("{name} {}", it.timer_id),
        EventKind::TimerCanceled(it) => format!("{name} {}", it.timer_id),
        EventKind::WorkflowTaskScheduled(it) => format!("{name} attempt {}", it.attempt),
        EventKind::WorkflowExecutionTimedOut(it) => format!("{name} after {} ms", it.timeout_ms),
        EventKind::WorkflowExecutionSignaled(it) => format!("{name} {}", it.signal_name),
        EventKind::StartChildWorkflowExecutionInitiated(it) => format!("{name} {} {}", it.child_id, it.workflow_id),
        EventKind::StartChildWorkflowExecutionFailed(it) => format!("{name} {} {:?}", it.child_id, it.cause),
        EventKind::ChildWorkflowExecutionStarted(it) => format!("{name} {}", it.child_id),
        EventKind::ChildWorkflowExecutionCompleted(it) => format!("{name} {}", it.child_id),
        EventKind::ChildWorkflowExecutionFailed(it) => format!("{name} {} {}", it.child_id, it.failure.error_type),
        EventKind::ChildWorkflowExecutionTerminated(it) => format!("{name} {} {}", it.child_id, it.reason),
        EventKind::SignalExternalWorkflowExecutionFailed(it) => format!("{name} {} {:?}", it.signal_id, it.cause),
        EventKind::RequestCancelExternalWorkflowExecutionFailed(it) => {
            format!("{name} {} {:?}", it.cancel_id, it.cause)
        }
        EventKind::WorkflowExecutionUpdateAccepted(it) => format!("{name} {}", it.request.update_id),
        EventKind::WorkflowExecutionUpdateCompleted(it) => format!("{name} {}", it.update_id),
        EventKind::MarkerRecorded(it) => format!("{name} {} {}", it.marker_id, it.marker.name()),
        _ => name.to_owned(),
    }
}

fn check(story: &Story, expected: Expect) {
    expected.assert_eq(&story.told);
}

fn options() -> ActivityOptions {
    ActivityOptions { start_to_close_ms: Some(30_000), ..ActivityOptions::default() }
}

fn schedule_with(activity_id: ActivityId, options: ActivityOptions) -> Command {
    let (activity_type, input) = ("charge".into(), Payload::null());
    Command::ScheduleActivityTask { activity_id, activity_type, input, options: Box::new(options) }
}

fn schedule(activity_id: ActivityId) -> Command {
    schedule_with(activity_id, options())
}

fn retrying(attempts: u32) -> ActivityOptions {
    ActivityOptions { retry_policy: RetryPolicy::attempts(attempts), ..options() }
}

fn stop(activity_id: ActivityId) -> Command {
    Command::RequestCancelActivityTask { activity_id }
}

fn sleep(timer_id: TimerId, seconds: u64) -> Command {
    Command::StartTimer { timer_id, after: Duration::from_secs(seconds) }
}

fn complete() -> Command {
    Command::CompleteWorkflowExecution { result: Payload::null() }
}

fn child_with(child_id: u64, options: ChildWorkflowOptions) -> Command {
    let (workflow_id, workflow_type) = (format!("child-{child_id}").into(), "ship".into());
    let options = Box::new(options);
    Command::StartChildWorkflowExecution { child_id, workflow_id, workflow_type, input: Payload::null(), options }
}

fn child(child_id: u64) -> Command {
    child_with(child_id, ChildWorkflowOptions::default())
}

fn cancel_child(child_id: u64) -> Command {
    let reason = "no more".to_owned();
    Command::RequestCancelExternalWorkflowExecution { target: CancelTarget::Child(child_id), reason }
}

fn other(workflow_id: &str) -> ExternalTarget {
    let namespace = crate::Namespace::default_namespace();
    ExternalTarget { namespace, workflow_id: workflow_id.into(), run: TargetRun::Open }
}

fn signal_other(signal_id: u64, workflow_id: &str) -> Command {
    let (target, signal_name, input) = (other(workflow_id), format!("e{signal_id}"), Payload::null());
    Command::SignalExternalWorkflowExecution { signal_id, target, signal_name, input }
}

fn cancel_other(cancel_id: u64, workflow_id: &str) -> Command {
    let target = CancelTarget::External { cancel_id, target: other(workflow_id) };
    Command::RequestCancelExternalWorkflowExecution { target, reason: String::new() }
}

fn fail(error_type: &str) -> Command {
    Command::FailWorkflowExecution { failure: Box::new(Failure::application(error_type, "no")) }
}

fn update(number: u128, update_id: &str) -> Message {
    let (update_id, name, input) = (update_id.to_owned(), "amend".to_owned(), Payload::null());
    message(number, MessageBody::Update(Box::new(UpdateRequest { update_id, name, input, identity: String::new() })))
}

fn json(text: &str) -> Payload {
    Payload::from_json("test", text.to_owned()).unwrap()
}

fn outcome(activity_id: ActivityId, attempt: u32, result: ActivityResult) -> ActivityOutcome {
    let identity = "runner".into();
    ActivityOutcome { activity_id, attempt, started_at: Some(START), identity, last_heartbeat: None, result }
}

fn done() -> ActivityResult {
    ActivityResult::Completed(Payload::null())
}

fn broken() -> ActivityResult {
    ActivityResult::Failed(Failure::application("Io", "broken pipe"))
}

fn message(number: u128, body: MessageBody) -> Message {
    Message { id: MessageId(Uuid::from_u128(number)), body }
}

fn signal(number: u128) -> Message {
    let (name, input, identity) = (format!("s{number}"), Payload::null(), String::new());
    message(number, MessageBody::Signal { name, input, identity })
}

fn cancel(number: u128) -> Message {
    message(number, MessageBody::Cancel { reason: String::new(), identity: String::new() })
}

fn terminate(number: u128) -> Message {
    message(number, MessageBody::Terminate { reason: "enough".to_owned(), identity: "me".to_owned() })
}
