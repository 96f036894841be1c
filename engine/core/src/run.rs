//! A run as its owner knows it: the fold of its history, plus the attempts that write no events.
//!
//! Only [`Run::fold`] changes what comes from events, so the state after an append is the state after a reload. What
//! failed attempts leave behind (attempt number, last failure, whether a row in `activities` exists) is no event; it is
//! kept in [`PendingActivity`] and brought back by [`Run::restore_activity`].

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

mod fold;
mod fold_others;
mod rare;

#[cfg(test)]
mod tests;

pub use fold_others::merge;
pub use rare::{PendingChild, RareState};

use crate::{
    event::{ActivityTaskScheduled, Event, EventKind, WorkflowExecutionStarted},
    failure::Failure,
    ids::{ActivityId, MessageId, RUN_TIMEOUT_TIMER, RunId, RunKey, Shard, TimerId},
    payload::Payload,
    time::Timestamp,
    transition::{ActivityRow, AttemptState},
};

/// Where a run is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunStatus {
    /// Open.
    Running,
    /// Closed with a value.
    Completed,
    /// Closed with a failure.
    Failed,
    /// Closed by its run or execution timeout.
    TimedOut,
    /// Closed by itself after a request to cancel.
    Canceled,
    /// Closed from outside.
    Terminated,
    /// Closed by itself, and followed by another run.
    ContinuedAsNew,
}

impl RunStatus {
    /// The status as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::TimedOut => "TimedOut",
            Self::Canceled => "Canceled",
            Self::Terminated => "Terminated",
            Self::ContinuedAsNew => "ContinuedAsNew",
        }
    }

    /// Every status, in the order of [`RunStatus`].
    pub const ALL: [Self; 7] = [
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::TimedOut,
        Self::Canceled,
        Self::Terminated,
        Self::ContinuedAsNew,
    ];

    /// Reads a status, in any case of letters.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text))
    }
}

/// An activity that has no outcome yet.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingActivity {
    /// What the workflow asked for.
    pub scheduled: Arc<ActivityTaskScheduled>,
    /// The event that holds it.
    pub scheduled_event_id: i64,
    /// When it was asked for.
    pub scheduled_at: Timestamp,
    /// The attempt that runs, or that comes next, from 1.
    pub attempt: u32,
    /// How the attempt before failed.
    pub last_failure: Option<Failure>,
    /// The details of the last heartbeat that was recorded.
    pub last_heartbeat: Option<Payload>,
    /// The event that says that an attempt began; it stands right before the outcome.
    pub started_event_id: Option<i64>,
    /// Whether the workflow asked it to stop.
    pub cancel_requested: bool,
    /// Whether a row in `activities` exists, so that the outcome must remove it.
    pub has_row: bool,
    /// What operators and the attempt itself have made of it, kept in the row.
    pub state: AttemptState,
}

/// A timer that has not fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingTimer {
    /// The event that set it; 0 for the run's own timeout.
    pub started_event_id: i64,
    /// When it is due.
    pub fire_at: Timestamp,
}

/// A workflow task that is scheduled and not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingTask {
    /// The event that scheduled it.
    pub scheduled_event_id: i64,
    /// The event that started it, between start and end.
    pub started_event_id: Option<i64>,
}

/// An open or just closed run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The address of its rows.
    pub key: RunKey,
    /// What it was started with.
    pub started: Arc<WorkflowExecutionStarted>,
    /// When.
    pub started_at: Timestamp,
    /// The id that the next event gets.
    pub next_event_id: i64,
    /// The time of the last event.
    pub last_event_time: Timestamp,
    /// Where it is in its life.
    pub status: RunStatus,
    /// The workflow task that waits or runs.
    pub task: Option<PendingTask>,
    /// Whether something happened that the workflow's code was not given yet.
    pub unseen: bool,
    /// Whether the last event completed a workflow task or is a command of it, so that (further) commands may follow.
    pub commanding: bool,
    /// The local activities that the code waits for, as far as history knows.
    pub local_activities: u32,
    /// How often the current workflow task failed in a row, as far as history knows (0 or 1).
    pub task_failures: u32,
    /// When the first of the failures was that the current workflow task had in a row.
    pub task_failing_since: Option<Timestamp>,
    /// Activities without an outcome.
    pub activities: BTreeMap<ActivityId, PendingActivity>,
    /// Timers that have not fired.
    pub timers: BTreeMap<TimerId, PendingTimer>,
    /// Whether somebody asked the run to cancel itself.
    pub cancel_requested: bool,
    /// Signals received.
    pub signals: u64,
    /// The size of the history: see [`EventKind::stored_bytes`].
    pub history_bytes: u64,
    /// Messages recorded; a resend of one is dropped.
    pub recorded_messages: HashSet<MessageId>,
    /// What few runs have.
    pub rare: Option<Box<RareState>>,
}

/// What the scheduling and the start of a workflow task change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskState {
    next_event_id: i64,
    last_event_time: Timestamp,
    task: Option<PendingTask>,
    unseen: bool,
    commanding: bool,
    history_bytes: u64,
}

/// A history that breaks the rules of histories; the run is stopped, others go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("history of run {run} is corrupt at event {event_id}: {problem}")]
pub struct CorruptHistory {
    /// The run.
    pub run: String,
    /// The event where it shows.
    pub event_id: i64,
    /// What is wrong.
    pub problem: String,
}

impl Run {
    /// Folds a history.
    ///
    /// # Errors
    /// [`CorruptHistory`] when it does not begin with a start, or an event contradicts those before it.
    pub fn from_history<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Self, CorruptHistory> {
        let mut events = events.into_iter();
        let first = events.next().ok_or_else(|| corrupt("?", 1, "it is empty"))?;
        let mut run = Self::begin(first)?;
        for event in events {
            run.fold(event)?;
        }
        Ok(run)
    }

    /// Makes the run of a history's first event.
    ///
    /// # Errors
    /// [`CorruptHistory`] when that event is not number 1 and a start.
    pub fn begin(first: &Event) -> Result<Self, CorruptHistory> {
        let EventKind::WorkflowExecutionStarted(started) = &first.event else {
            return Err(corrupt("?", first.event_id, "the first event is no WorkflowExecutionStarted"));
        };
        if first.event_id != 1 {
            return Err(corrupt(&started.run_id.to_string(), first.event_id, "the first event is not number 1"));
        }
        let mut timers = BTreeMap::new();
        let begins_at = begun_at(started, first.event_time);
        let begins_at = begins_at.plus_ms(started.first_workflow_task_backoff_ms.unwrap_or(0));
        let run_ends_at = started.workflow_run_timeout_ms.map(|ms| begins_at.plus_ms(ms));
        let ends = [run_ends_at, execution_deadline(started, begins_at)];
        if let Some(fire_at) = ends.into_iter().flatten().min() {
            timers.insert(RUN_TIMEOUT_TIMER, PendingTimer { started_event_id: 0, fire_at });
        }
        Ok(Self {
            key: RunKey { shard: Shard::of(&started.namespace, &started.workflow_id), run_id: started.run_id },
            started: Arc::new((**started).clone()),
            started_at: first.event_time,
            next_event_id: 2,
            last_event_time: first.event_time,
            status: RunStatus::Running,
            task: None,
            unseen: true,
            commanding: false,
            local_activities: 0,
            task_failures: 0,
            task_failing_since: None,
            activities: BTreeMap::new(),
            timers,
            cancel_requested: false,
            signals: 0,
            history_bytes: first.event.stored_bytes(),
            recorded_messages: HashSet::new(),
            rare: None,
        })
    }

    pub(crate) fn task_state(&self) -> TaskState {
        TaskState {
            next_event_id: self.next_event_id,
            last_event_time: self.last_event_time,
            task: self.task,
            unseen: self.unseen,
            commanding: self.commanding,
            history_bytes: self.history_bytes,
        }
    }

    /// Goes back to before a workflow task that was scheduled and started since, and nothing else.
    pub(crate) fn restore_task_state(&mut self, before: TaskState) {
        let TaskState { next_event_id, last_event_time, task, unseen, commanding, history_bytes } = before;
        self.next_event_id = next_event_id;
        self.last_event_time = last_event_time;
        self.task = task;
        self.unseen = unseen;
        self.commanding = commanding;
        self.history_bytes = history_bytes;
    }

    /// Brings back what failed attempts of an activity left behind.
    pub fn restore_activity(&mut self, row: &ActivityRow) {
        if let Some(pending) = self.activities.get_mut(&row.activity_id) {
            pending.attempt = row.attempt;
            pending.last_failure.clone_from(&row.last_failure);
            pending.last_heartbeat.clone_from(&row.last_heartbeat);
            pending.has_row = true;
            pending.state = row.state;
        }
    }

    /// Says whether the workflow has something to react to and is allowed to by now.
    pub fn wants_task(&self, now: Timestamp) -> bool {
        (self.unseen || self.task.is_some()) && self.may_task(now)
    }

    /// Says whether the workflow's code may be run by now.
    pub fn may_task(&self, now: Timestamp) -> bool {
        self.status == RunStatus::Running && now >= self.first_task_at() && !self.is_paused()
    }

    /// The time before which the first workflow task does not begin; a signal or a request to cancel ends the delay.
    pub fn first_task_at(&self) -> Timestamp {
        match self.started.first_workflow_task_backoff_ms {
            Some(ms) if self.signals == 0 && !self.cancel_requested => self.started_at.plus_ms(ms),
            _ => self.started_at,
        }
    }

    /// The time at which its whole chain of runs ends by the execution timeout.
    pub fn execution_deadline(&self) -> Option<Timestamp> {
        let begins_at = self.begun_at().plus_ms(self.started.first_workflow_task_backoff_ms.unwrap_or(0));
        execution_deadline(&self.started, begins_at)
    }

    /// The first run of its chain.
    pub fn first_run_id(&self) -> RunId {
        let first = self.started.lineage.as_ref().and_then(|lineage| lineage.first_run_id);
        first.unwrap_or(self.key.run_id)
    }

    /// Which attempt of the workflow's retry policy it is, from 1.
    pub fn attempt(&self) -> u32 {
        self.started.lineage.as_ref().map_or(1, |lineage| lineage.attempt)
    }

    /// When the run, as opposed to what it was branched from, began.
    fn begun_at(&self) -> Timestamp {
        begun_at(&self.started, self.started_at)
    }

    /// The time at which the run ends by its timeout.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.timers.get(&RUN_TIMEOUT_TIMER).map(|timer| timer.fire_at)
    }
}

fn begun_at(started: &WorkflowExecutionStarted, first_event_time: Timestamp) -> Timestamp {
    let branched = started.lineage.as_ref().and_then(|lineage| lineage.branched_from.as_ref());
    branched.map_or(first_event_time, |branched| branched.at)
}

fn execution_deadline(started: &WorkflowExecutionStarted, begins_at: Timestamp) -> Option<Timestamp> {
    let inherited = started.lineage.as_ref().and_then(|lineage| lineage.execution_deadline);
    inherited.or_else(|| started.workflow_execution_timeout_ms.map(|ms| begins_at.plus_ms(ms)))
}

fn corrupt(run: &str, event_id: i64, problem: &str) -> CorruptHistory {
    CorruptHistory { run: run.to_owned(), event_id, problem: problem.to_owned() }
}
