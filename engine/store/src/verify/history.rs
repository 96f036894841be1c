//! What every history must be, and what the rows of its run must say: histories are read once, in order, one at a time.

use std::collections::{HashMap, HashSet};

use dacapo_core::{
    ActivityId, Event, EventKind, MessageId, Namespace, Run, RunId, RunKey, Shard, TaskQueue, TimerId, Timestamp,
    WorkflowId, WorkflowType, batch, ids::RUN_TIMEOUT_TIMER, run::RunStatus,
};
use futures_util::TryStreamExt;
use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use super::Violation;
use crate::{ownership::key, time::PgTime};

const HISTORIES: &str = "
SELECT r.shard, r.run_id, r.namespace, r.workflow_id, r.workflow_type, r.task_queue, r.status, r.started_at, r.events AS event_count,
       r.owner, r.owner_epoch, r.signals, r.ready, r.parked, h.first_event_id, h.owner_epoch AS row_epoch, h.written_at,
       h.events
  FROM (SELECT o.shard, o.run_id, o.namespace, o.workflow_id, o.workflow_type, o.task_queue, 'Running' AS status,
               o.started_at, o.next_event_id - 1 AS events, o.owner, o.owner_epoch, o.signals, o.parked,
               EXISTS (SELECT FROM dacapo.ready y WHERE y.shard = o.shard AND y.run_id = o.run_id) AS ready
          FROM dacapo.runs_open o
        UNION ALL
        SELECT c.shard, c.run_id, c.namespace, c.workflow_id, c.workflow_type, c.task_queue, c.status,
               c.started_at, c.events, NULL, c.owner_epoch, c.signals, false, false
          FROM dacapo.runs_closed c) r
  LEFT JOIN dacapo.transitions h ON h.shard = r.shard AND h.run_id = r.run_id
 ORDER BY r.run_id, r.shard, h.first_event_id";

const WAITING: &str = "
SELECT shard, run_id, 'a' AS kind, activity_id AS id, NULL::uuid AS message FROM dacapo.activities
UNION ALL SELECT shard, run_id, 't', timer_id, NULL FROM dacapo.timers
UNION ALL SELECT shard, run_id, 'm', NULL, message FROM dacapo.inbox
UNION ALL SELECT shard, run_id, 'o', NULL, message FROM dacapo.outbox";

/// The rows that belong to an open run.
#[derive(Debug, Default)]
struct Waiting {
    activities: HashSet<ActivityId>,
    timers: HashSet<TimerId>,
    messages: HashSet<MessageId>,
    /// Whether rows of the outbox wait: what they want may have no answer yet.
    outbox: bool,
}

/// A run's row, and what its history has shown so far.
struct Checked {
    key: RunKey,
    namespace: Namespace,
    workflow_id: WorkflowId,
    workflow_type: WorkflowType,
    task_queue: TaskQueue,
    status: String,
    started_at: Timestamp,
    event_count: i64,
    owned: bool,
    ready: bool,
    parked: bool,
    owner_epoch: i32,
    signals: i64,
    /// The run as folded; `None` before the first event, and after one that broke a rule.
    folded: Option<Run>,
    broken: bool,
    events: i64,
    last_epoch: i32,
    closing_events: u32,
    last_event_closes: bool,
    outcomes: HashSet<(&'static str, u64)>,
    messages: HashSet<MessageId>,
    fire_at: HashMap<TimerId, Timestamp>,
}

/// Checks every history.
pub(super) async fn check(connection: &mut PgConnection, found: &mut Vec<Violation>) -> Result<(), sqlx::Error> {
    let mut waiting: HashMap<RunKey, Waiting> = HashMap::new();
    let mut rows = sqlx::query(WAITING).fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        let of_run = waiting.entry(key(&row)).or_default();
        match row.try_get("kind")? {
            "a" => drop(of_run.activities.insert(row.try_get::<i64, _>("id")? as u64)),
            "t" => drop(of_run.timers.insert(row.try_get::<i64, _>("id")? as u64)),
            "o" => of_run.outbox = true,
            _ => drop(of_run.messages.insert(MessageId(row.try_get("message")?))),
        }
    }
    drop(rows);
    let mut current: Option<Checked> = None;
    let mut rows = sqlx::query(HISTORIES).fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        if current.as_ref().is_none_or(|checked| checked.key != key(&row)) {
            if let Some(done) = current.take() {
                done.finish(waiting.remove(&done.key).unwrap_or_default(), found);
            }
            current = Some(Checked::new(&row)?);
        }
        if let Some(checked) = &mut current {
            checked.take_row(&row, found)?;
        }
    }
    if let Some(done) = current {
        done.finish(waiting.remove(&done.key).unwrap_or_default(), found);
    }
    Ok(())
}

impl Checked {
    fn new(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            key: RunKey { shard: Shard(row.try_get("shard")?), run_id: RunId(row.try_get("run_id")?) },
            namespace: row.try_get::<String, _>("namespace")?.into(),
            workflow_id: row.try_get::<String, _>("workflow_id")?.into(),
            workflow_type: row.try_get::<String, _>("workflow_type")?.into(),
            task_queue: row.try_get::<String, _>("task_queue")?.into(),
            status: row.try_get("status")?,
            started_at: row.try_get::<PgTime, _>("started_at")?.0,
            event_count: row.try_get("event_count")?,
            owned: row.try_get::<Option<Uuid>, _>("owner")?.is_some(),
            ready: row.try_get("ready")?,
            parked: row.try_get("parked")?,
            owner_epoch: row.try_get("owner_epoch")?,
            signals: row.try_get("signals")?,
            folded: None,
            broken: false,
            events: 0,
            last_epoch: 0,
            closing_events: 0,
            last_event_closes: false,
            outcomes: HashSet::new(),
            messages: HashSet::new(),
            fire_at: HashMap::new(),
        })
    }

    fn report(&self, found: &mut Vec<Violation>, invariant: u8, name: &'static str, what: &str) {
        let detail = format!("run {} of workflow {}: {what}", self.key.run_id, self.workflow_id);
        found.push(Violation { invariant, name, detail });
    }

    fn take_row(&mut self, row: &PgRow, found: &mut Vec<Violation>) -> Result<(), sqlx::Error> {
        let Some(first_event_id) = row.try_get::<Option<i64>, _>("first_event_id")? else { return Ok(()) };
        let epoch: i32 = row.try_get("row_epoch")?;
        if epoch < self.last_epoch {
            let what = format!("epoch {epoch} wrote event {first_event_id} after epoch {}", self.last_epoch);
            self.report(found, 4, "epochs do not go back", &what);
        }
        self.last_epoch = self.last_epoch.max(epoch);
        let written_at = row.try_get::<PgTime, _>("written_at")?.0;
        let events = match batch::decode(self.key.run_id, first_event_id, row.try_get("events")?) {
            Ok(events) => events,
            Err(error) => {
                self.broken = true;
                self.report(found, 2, "history can be read", &format!("row {first_event_id}: {error}"));
                return Ok(());
            }
        };
        if first_event_id != self.events + 1 {
            let what = format!("a row begins with event {first_event_id} after event {}", self.events);
            self.report(found, 2, "event ids are dense", &what);
        }
        for event in &events {
            self.take_event(event, written_at, found);
        }
        Ok(())
    }

    fn take_event(&mut self, event: &Event, written_at: Timestamp, found: &mut Vec<Violation>) {
        self.events = event.event_id;
        self.last_event_closes = event.event.closes();
        self.closing_events += u32::from(self.last_event_closes);
        self.check_outcome(event, found);
        self.check_message(event, found);
        self.check_times(event, written_at, found);
        if self.broken {
            return;
        }
        let problem = match &mut self.folded {
            Some(run) => run.fold(event).err(),
            None => match Run::begin(event) {
                Ok(run) => {
                    self.folded = Some(run);
                    None
                }
                Err(error) => Some(error),
            },
        };
        if let Some(error) = problem {
            self.broken = true;
            self.report(found, 2, "history follows the rules", &error.to_string());
        }
    }

    fn check_outcome(&mut self, event: &Event, found: &mut Vec<Violation>) {
        let ended = match &event.event {
            EventKind::ActivityTaskCompleted(outcome) => ("activity", outcome.activity_id),
            EventKind::ActivityTaskFailed(outcome) => ("activity", outcome.activity_id),
            EventKind::ActivityTaskTimedOut(outcome) => ("activity", outcome.activity_id),
            EventKind::ActivityTaskCanceled(outcome) => ("activity", outcome.activity_id),
            EventKind::TimerFired(fired) => ("timer", fired.timer_id),
            EventKind::TimerCanceled(canceled) => ("timer", canceled.timer_id),
            EventKind::StartChildWorkflowExecutionFailed(outcome) => ("child", outcome.child_id),
            EventKind::ChildWorkflowExecutionCompleted(outcome) => ("child", outcome.child_id),
            EventKind::ChildWorkflowExecutionFailed(outcome) => ("child", outcome.child_id),
            EventKind::ChildWorkflowExecutionCanceled(outcome) => ("child", outcome.child_id),
            EventKind::ChildWorkflowExecutionTimedOut(outcome) => ("child", outcome.child_id),
            EventKind::ChildWorkflowExecutionTerminated(outcome) => ("child", outcome.child_id),
            EventKind::ExternalWorkflowExecutionSignaled(outcome) => ("external signal", outcome.signal_id),
            EventKind::SignalExternalWorkflowExecutionFailed(outcome) => ("external signal", outcome.signal_id),
            EventKind::ExternalWorkflowExecutionCancelRequested(outcome) => ("external cancel", outcome.cancel_id),
            EventKind::RequestCancelExternalWorkflowExecutionFailed(outcome) => ("external cancel", outcome.cancel_id),
            _ => return,
        };
        if !self.outcomes.insert(ended) {
            let what = format!("{} {} ends twice", ended.0, ended.1);
            self.report(found, 5, "one outcome each", &what);
        }
    }

    fn check_message(&mut self, event: &Event, found: &mut Vec<Violation>) {
        let message = match &event.event {
            EventKind::WorkflowExecutionSignaled(signaled) => signaled.message_id,
            EventKind::WorkflowExecutionCancelRequested(requested) => requested.message_id,
            _ => return,
        };
        if !self.messages.insert(message) {
            self.report(found, 6, "a message is recorded once", &format!("message {message} is recorded twice"));
        }
    }

    /// A timer's time is compared with the time at which the database wrote that it fired.
    fn check_times(&mut self, event: &Event, written_at: Timestamp, found: &mut Vec<Violation>) {
        let (due, what) = match &event.event {
            EventKind::TimerStarted(started) => {
                self.fire_at.insert(started.timer_id, started.fire_at);
                return;
            }
            EventKind::TimerFired(fired) => (self.fire_at.get(&fired.timer_id).copied(), fired.timer_id),
            EventKind::WorkflowExecutionTimedOut(_) => {
                (self.folded.as_ref().and_then(Run::deadline), RUN_TIMEOUT_TIMER)
            }
            _ => return,
        };
        if let Some(due) = due.filter(|due| written_at < *due) {
            let early = due.since(written_at).as_micros();
            self.report(found, 9, "no timer fires early", &format!("timer {what} fired {early} us before its time"));
        }
    }

    /// Compares the whole history with the run's row, and with the rows that wait for it.
    fn finish(&self, waiting: Waiting, found: &mut Vec<Violation>) {
        // Of a run that has an owner the row lags behind; no row is ahead.
        let behind = self.owned && self.event_count <= self.events;
        if self.events != self.event_count && !behind {
            let what = format!("the history has {} events, the row says {}", self.events, self.event_count);
            self.report(found, 2, "the row counts the events", &what);
        }
        if self.last_epoch > self.owner_epoch {
            let what = format!("epoch {} has written, the row says {}", self.last_epoch, self.owner_epoch);
            self.report(found, 4, "epochs do not go back", &what);
        }
        let closed = self.status != RunStatus::Running.as_str();
        let expected = u32::from(closed);
        if self.closing_events != expected || self.last_event_closes != closed {
            let what = format!("{} closing events in a run that is {}", self.closing_events, self.status);
            self.report(found, 3, "one closing event, last", &what);
        }
        let Some(run) = self.folded.as_ref().filter(|_| !self.broken) else { return };
        if run.status.as_str() != self.status {
            let what = format!("the history says {}, the row says {}", run.status.as_str(), self.status);
            self.report(found, 3, "the row agrees with the end", &what);
        }
        self.check_lists(run, found);
        if !closed {
            self.check_waiting(run, &waiting, found);
        }
    }

    fn check_lists(&self, run: &Run, found: &mut Vec<Violation>) {
        let started = &run.started;
        let agrees = started.namespace == self.namespace
            && started.workflow_id == self.workflow_id
            && started.workflow_type == self.workflow_type
            && started.task_queue == self.task_queue
            && run.key == self.key
            && run.started_at == self.started_at
            && run.signals as i64 == self.signals;
        if !agrees {
            self.report(found, 11, "the row agrees with the history", "what lists show is not what was started");
        }
    }

    /// What the run wanted of others is in the outbox, or has its answer in the inbox or the history.
    fn check_others(&self, run: &Run, waiting: &Waiting, found: &mut Vec<Violation>) {
        let Some(rare) = run.rare.as_deref().filter(|_| !waiting.outbox) else { return };
        let starting = rare.children.values().filter(|child| child.started_event_id.is_none());
        let asked = starting.map(|child| child.initiated_event_id);
        let asked = asked.chain(rare.external_signals.values().chain(rare.external_cancels.values()).copied());
        for event_id in asked {
            if !waiting.messages.contains(&MessageId::outbox_answer(self.key.run_id, event_id)) {
                let what = format!("event {event_id} wants something of another run, and nobody will do or answer it");
                self.report(found, 7, "what is wanted of others is waited for", &what);
            }
        }
    }

    fn check_waiting(&self, run: &Run, waiting: &Waiting, found: &mut Vec<Violation>) {
        for timer_id in run.timers.keys() {
            let due = MessageId::timer_due(self.key.run_id, *timer_id);
            if !waiting.timers.contains(timer_id) && !waiting.messages.contains(&due) {
                let what = format!("timer {timer_id} is pending and has neither a row nor a message");
                self.report(found, 7, "a pending timer is waited for", &what);
            }
        }
        for timer_id in waiting.timers.iter().filter(|id| !run.timers.contains_key(id)) {
            self.report(
                found,
                8,
                "a row waits for something",
                &format!("timer {timer_id} has a row and is not pending"),
            );
        }
        self.check_others(run, waiting, found);
        // An owner may run a first attempt that has no row; so may whoever takes a run that is ready.
        if !self.owned && !self.ready && !self.parked {
            if !run.is_paused() && (run.unseen || run.task.is_some()) && waiting.messages.is_empty() {
                let what = "it has no owner and something to do, and nothing will ever wake it";
                self.report(found, 7, "an unowned run waits for something", what);
            }
            for activity_id in run.activities.keys().filter(|id| !waiting.activities.contains(id)) {
                let what = format!("activity {activity_id} is pending and nobody knows of it");
                self.report(found, 7, "a pending activity is waited for", &what);
            }
        }
        for activity_id in waiting.activities.iter().filter(|id| !run.activities.contains_key(id)) {
            let what = format!("activity {activity_id} has a row and is not pending");
            self.report(found, 8, "a row waits for something", &what);
        }
    }
}
