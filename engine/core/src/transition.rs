//! What one decision wants to be true: events to append, rows to write, attempts to start. Plain data; one place, the
//! store, writes it, in one statement, under the fence of the run.

use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, EventKind, WorkflowTaskFailedCause, WorkflowTaskScheduled},
    failure::{Failure, TimeoutType},
    ids::{
        ActivityId, ActivityType, MessageId, Namespace, RUN_TIMEOUT_TIMER, RunKey, TaskQueue, TimerId, WorkflowId,
        WorkflowType,
    },
    message::{Message, MessageBody},
    outbox::OutboxRow,
    payload::Payload,
    run::{Run, RunStatus},
    start::StartWorkflow,
    time::Timestamp,
    update::UpdateProgress,
};

/// One attempt of an activity: everything that whoever runs it must know. Its JSON is stored in `activities`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivityTask {
    /// The run that asked for it.
    pub run: RunKey,
    /// The run's namespace.
    pub namespace: Namespace,
    /// The run's workflow id.
    pub workflow_id: WorkflowId,
    /// The run's workflow type.
    pub workflow_type: WorkflowType,
    /// The workflow's number for it.
    pub activity_id: ActivityId,
    /// Which activity.
    pub activity_type: ActivityType,
    /// On which queue.
    pub task_queue: TaskQueue,
    /// Its input.
    pub input: Payload,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When the workflow asked for it.
    pub scheduled_at: Timestamp,
    /// When this attempt may begin.
    pub attempt_scheduled_at: Timestamp,
    /// When all attempts end: schedule-to-close, capped to the run's timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_to_close_at: Option<Timestamp>,
    /// The wait of this attempt for a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_to_start_ms: Option<u64>,
    /// The length of this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_to_close_ms: Option<u64>,
    /// The longest silence of this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<u64>,
    /// What the last recorded heartbeat of an earlier attempt said.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub last_heartbeat: Option<Payload>,
    /// 1 (first) to 5 (last).
    pub priority: u8,
    /// What ties together everything that one outer request caused.
    pub correlation_id: String,
}

impl ActivityTask {
    /// The key that stays the same over all attempts: `{workflow_id}/{run_id}/{activity_id}`.
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}/{}", self.workflow_id, self.run.run_id, self.activity_id)
    }

    /// The timeout that passes first for an attempt that waits for a worker.
    pub fn waiting_deadline(&self) -> Option<(Timestamp, TimeoutType)> {
        let start =
            self.schedule_to_start_ms.map(|ms| (self.attempt_scheduled_at.plus_ms(ms), TimeoutType::ScheduleToStart));
        earliest([start, self.schedule_to_close_at.map(|at| (at, TimeoutType::ScheduleToClose))])
    }

    /// The timeout that passes first for an attempt that began at `started_at` and was last heard of at `heard_at`.
    pub fn running_deadline(&self, started_at: Timestamp, heard_at: Timestamp) -> Option<(Timestamp, TimeoutType)> {
        earliest([
            self.start_to_close_ms.map(|ms| (started_at.plus_ms(ms), TimeoutType::StartToClose)),
            self.heartbeat_ms.map(|ms| (heard_at.plus_ms(ms), TimeoutType::Heartbeat)),
            self.schedule_to_close_at.map(|at| (at, TimeoutType::ScheduleToClose)),
        ])
    }
}

fn earliest<const N: usize>(deadlines: [Option<(Timestamp, TimeoutType)>; N]) -> Option<(Timestamp, TimeoutType)> {
    deadlines.into_iter().flatten().min_by_key(|(at, _)| *at)
}

/// What operators and an attempt itself make of an activity. No event holds it; it is kept in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttemptState {
    /// Whether no further attempt may begin; one that runs goes on.
    pub paused: bool,
    /// Attempts that the retry policy does not count, because somebody reset the activity after them.
    pub attempts_before: u32,
    /// When the attempt began that is completed from outside: no worker has it, none may take it, no take-over gives it
    /// back, and its deadline is that of a running one.
    pub asynchronous_since: Option<Timestamp>,
}

impl AttemptState {
    /// Says whether no worker may take the row, so that it is written as visible at [`Timestamp::MAX`].
    pub fn is_held(&self) -> bool {
        self.paused || self.asynchronous_since.is_some()
    }
}

/// A change to a row of `activities` whoever has it, which leaves a claim as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivityRowChange {
    /// The activity.
    pub activity_id: ActivityId,
    /// The new state.
    pub state: AttemptState,
    /// Not before, if nobody has claimed the row.
    pub visible_at: Timestamp,
}

/// What is shown of a run in lists, after the workflow has changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAttributes {
    /// The notes.
    pub memo: Option<Payload>,
    /// What lists filter by.
    pub search_attributes: Option<Payload>,
}

/// The run that begins with the end of another, under the same workflow id: the store writes both or neither.
#[derive(Clone, Debug, PartialEq)]
pub struct Successor {
    /// Its ids and policies.
    pub request: StartWorkflow,
    /// Its first rows.
    pub transition: Transition,
    /// Not before, for a successor without an owner.
    pub ready_at: Timestamp,
    /// Whether the owner of the run that ends owns it from its first moment.
    pub owned: bool,
}

/// A row of `activities`: an attempt that waits for a worker or for its time, or that a worker has claimed.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivityRow {
    /// The activity.
    pub activity_id: ActivityId,
    /// Which attempt.
    pub attempt: u32,
    /// Not before.
    pub visible_at: Timestamp,
    /// Whether the writing owner keeps the attempt for itself; else it is offered to every worker of the queue.
    pub claimed_by_owner: bool,
    /// How the attempt before failed.
    pub last_failure: Option<Failure>,
    /// What the last recorded heartbeat said.
    pub last_heartbeat: Option<Payload>,
    /// What operators and the attempt itself have made of it.
    pub state: AttemptState,
    /// What whoever runs it must know.
    pub task: Box<ActivityTask>,
}

impl ActivityRow {
    /// Changes a row that is not written yet.
    pub(crate) fn change(&mut self, change: ActivityRowChange) {
        self.state = change.state;
        if !self.claimed_by_owner {
            self.visible_at = change.visible_at;
        }
    }
}

/// A row of `timers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerRow {
    /// The timer.
    pub timer_id: TimerId,
    /// When it is due.
    pub fire_at: Timestamp,
}

/// Why a run does not move: its workflow task keeps failing. Shown by `describe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Why the task failed.
    pub cause: WorkflowTaskFailedCause,
    /// In words, with the way out.
    pub failure: Failure,
    /// How often in a row.
    pub attempt: u32,
    /// When it is tried again.
    pub next_attempt_at: Timestamp,
    /// When the first of these failures was.
    #[serde(default)]
    pub since: Timestamp,
}

/// An activity that has used up its attempts or its time.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadActivity {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its type.
    pub activity_type: ActivityType,
    /// Its attempts.
    pub attempts: u32,
    /// When the last one ended.
    pub died_at: Timestamp,
    /// How.
    pub failure: Failure,
}

/// A change to what is shown of a run's problem.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ProblemChange {
    /// None.
    #[default]
    Keep,
    /// The problem is over.
    Clear,
    /// There is one.
    Set(Box<Problem>),
}

/// What one decision wants to be true.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The run.
    pub key: RunKey,
    /// The id of the first event to append; the fence says that no other event may have it.
    pub first_event_id: i64,
    /// Events to append, possibly none.
    pub events: Vec<Event>,
    /// The status that the events close the run with.
    pub closes: Option<RunStatus>,
    /// Signals in the run after the events.
    pub signals: u64,
    /// Inbox messages that the events hold, or that say nothing new.
    pub consumed: Vec<MessageId>,
    /// Rows to write (insert, or replace the one with the same id).
    pub activities: Vec<ActivityRow>,
    /// Rows to remove.
    pub dropped_activities: Vec<ActivityId>,
    /// Rows whose worker is to be told to stop the attempt, noted after the rows above are written. One that nobody has
    /// claimed becomes visible at once: whoever takes it finds the request and reports the cancellation; one that is
    /// completed from outside stays as it is, and is told with its heartbeat.
    pub canceled_activities: Vec<ActivityId>,
    /// Rows to write.
    pub timers: Vec<TimerRow>,
    /// Rows to remove.
    pub dropped_timers: Vec<TimerId>,
    /// Values for queries.
    pub published: Vec<(String, Payload)>,
    /// What is shown of the run's problem.
    pub problem: ProblemChange,
    /// First attempts that the events ask for, for the owner to place: run at once after the commit, or offered by a
    /// row in `activities`.
    pub attempts: Vec<ActivityTask>,
    /// Changes to rows, noted after the rows above are written.
    pub activity_changes: Vec<ActivityRowChange>,
    /// What is wanted of other runs, in this order.
    pub outbox: Vec<OutboxRow>,
    /// Messages that a run finds in its inbox when it begins.
    pub inbox: Vec<Message>,
    /// News for those who wait for updates.
    pub updates: Vec<UpdateProgress>,
    /// What lists show, when it has changed.
    pub attributes: Option<Box<RunAttributes>>,
    /// Activities that have used up their attempts or their time, for whoever looks after them.
    pub dead_activities: Vec<DeadActivity>,
    /// The run that begins with the end of this one.
    pub successor: Option<Box<Successor>>,
}

impl Transition {
    /// Makes an empty transition for a run.
    pub fn new(run: &Run) -> Self {
        Self {
            key: run.key,
            first_event_id: run.next_event_id,
            events: Vec::new(),
            closes: None,
            signals: run.signals,
            consumed: Vec::new(),
            activities: Vec::new(),
            dropped_activities: Vec::new(),
            canceled_activities: Vec::new(),
            timers: Vec::new(),
            dropped_timers: Vec::new(),
            published: Vec::new(),
            problem: ProblemChange::Keep,
            attempts: Vec::new(),
            activity_changes: Vec::new(),
            outbox: Vec::new(),
            inbox: Vec::new(),
            updates: Vec::new(),
            dead_activities: Vec::new(),
            attributes: None,
            successor: None,
        }
    }

    /// Makes the transition that begins a run: its start and, with it, signals (an update waits in the inbox); the run's
    /// timeout as a timer.
    pub(crate) fn start(started: EventKind, messages: &[Message], now: Timestamp) -> Self {
        let first = Event { event_id: 1, event_time: now, event: started };
        let mut run = Run::begin(&first).expect("the event is a start with number 1");
        let mut transition = Self { first_event_id: 1, events: vec![first], ..Self::new(&run) };
        if let Some(timer) = run.timers.get(&RUN_TIMEOUT_TIMER) {
            transition.timers.push(TimerRow { timer_id: RUN_TIMEOUT_TIMER, fire_at: timer.fire_at });
        }
        for message in messages {
            let Message { id, body: MessageBody::Signal { name, input, identity } } = message else {
                transition.inbox.push(message.clone());
                continue;
            };
            let signaled = crate::event::WorkflowExecutionSignaled {
                message_id: *id,
                signal_name: name.clone(),
                input: input.clone(),
                identity: identity.clone(),
            };
            let event_id = transition.next_event_id();
            let event = Event { event_id, event_time: now, event: EventKind::WorkflowExecutionSignaled(signaled) };
            run.fold(&event).expect("a signal may follow a start");
            transition.signals = run.signals;
            transition.events.push(event);
        }
        if run.first_task_at() <= now {
            let scheduled = EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled { attempt: 1 });
            transition.events.push(Event { event_id: transition.next_event_id(), event_time: now, event: scheduled });
        }
        transition
    }

    /// Makes one transition of two that follow each other, neither of which may close the run.
    #[must_use]
    pub fn followed_by(mut self, next: Self) -> Self {
        assert!(self.closes.is_none() && next.closes.is_none(), "a run is not closed in the middle of a transition");
        assert_eq!(self.next_event_id(), next.first_event_id, "transitions follow each other without a gap");
        // One statement writes both: what the second takes away from the first must not be written at all.
        let replaced =
            |id| next.dropped_activities.contains(&id) || next.activities.iter().any(|row| row.activity_id == id);
        self.activities.retain(|row| !replaced(row.activity_id));
        self.attempts.retain(|task| !replaced(task.activity_id));
        self.activity_changes.retain(|change| !replaced(change.activity_id));
        self.timers.retain(|row| !next.dropped_timers.contains(&row.timer_id));
        self.events.extend(next.events);
        self.signals = next.signals;
        self.consumed.extend(next.consumed);
        self.activities.extend(next.activities);
        self.dropped_activities.extend(next.dropped_activities);
        self.canceled_activities.extend(next.canceled_activities);
        self.timers.extend(next.timers);
        self.dropped_timers.extend(next.dropped_timers);
        self.published.extend(next.published);
        self.attempts.extend(next.attempts);
        for change in next.activity_changes {
            match self.activities.iter_mut().find(|row| row.activity_id == change.activity_id) {
                Some(unwritten) => unwritten.change(change),
                None => self.activity_changes.push(change),
            }
        }
        self.outbox.extend(next.outbox);
        self.inbox.extend(next.inbox);
        self.updates.extend(next.updates);
        self.dead_activities.extend(next.dead_activities);
        self.attributes = next.attributes.or(self.attributes);
        if next.problem != ProblemChange::Keep {
            self.problem = next.problem;
        }
        self
    }

    /// The id after the last event.
    pub fn next_event_id(&self) -> i64 {
        self.first_event_id + self.events.len() as i64
    }

    /// The activities that the events ask to stop.
    pub fn cancel_requests(&self) -> impl Iterator<Item = ActivityId> {
        self.events.iter().filter_map(|event| match &event.event {
            EventKind::ActivityTaskCancelRequested(requested) => Some(requested.activity_id),
            _ => None,
        })
    }

    /// Says whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.consumed.is_empty()
            && self.activities.is_empty()
            && self.dropped_activities.is_empty()
            && self.canceled_activities.is_empty()
            && self.timers.is_empty()
            && self.dropped_timers.is_empty()
            && self.published.is_empty()
            && self.problem == ProblemChange::Keep
            && self.activity_changes.is_empty()
            && self.outbox.is_empty()
            && self.inbox.is_empty()
            && self.updates.is_empty()
            && self.attributes.is_none()
    }

    /// Names the first part that only a store with an outbox, successors and updates can write.
    pub fn part_between_runs(&self) -> Option<&'static str> {
        let parts = [
            (!self.outbox.is_empty(), "rows for other runs"),
            (self.successor.is_some(), "a successor"),
            (!self.inbox.is_empty(), "messages with a start"),
            (!self.updates.is_empty(), "news of updates"),
            (!self.activity_changes.is_empty(), "changes to activity rows"),
            (self.attributes.is_some(), "changed attributes"),
        ];
        parts.into_iter().find_map(|(present, part)| present.then_some(part))
    }
}
