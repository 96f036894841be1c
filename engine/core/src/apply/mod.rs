//! The decisions: what follows from an input, given what the run is.
//!
//! A [`Turn`] is one step of a run's life: inputs go in one after the other, each making events that are folded at
//! once; then, if the workflow has something to react to, its task is started and completed (or failed); what comes out
//! is one [`Transition`], written as one history row. The run is changed in place, so a transition that could not be
//! written means that the run is thrown away and loaded again, and the inputs are given to it once more: each decision
//! ignores what the history holds already.
//!
//! What ends a run from outside (termination, timeout) is recorded when the step is finished, after everything else
//! that came in: an acknowledged signal beside it is in the history, not lost.

mod activity;
mod check;
mod child;
mod close;
mod command;
mod external;
mod message;
mod pause;
mod successor;
mod task;
mod timer;
mod update;

#[cfg(test)]
mod tests;

pub use command::RefusedCommand;
use task::BeforeTask;

use crate::{
    event::{Event, EventKind, WorkflowExecutionTerminated},
    ids::MessageId,
    run::{Run, RunStatus},
    time::Timestamp,
    transition::{ActivityTask, Successor, Transition},
    update::UpdateRequest,
};

/// What ends a run from outside.
#[derive(Debug)]
enum Ending {
    /// Somebody's order, and the run that takes its place.
    Terminated(WorkflowExecutionTerminated, Option<Box<Successor>>),
    /// Its timeout.
    TimedOut,
}

/// One step of a run's life.
#[derive(Debug)]
pub struct Turn<'run> {
    run: &'run mut Run,
    now: Timestamp,
    out: Box<Transition>,
    /// What ends the run from outside with this step.
    ending: Option<Ending>,
    /// Requests that wait in the inbox for an answer of the code.
    updates: Vec<(MessageId, UpdateRequest)>,
    /// Whether the code has something to do that no event says.
    awake: bool,
    /// The local activities that the code waits for after its task.
    local_activities: u32,
    /// What was before the workflow task began.
    before_task: Option<BeforeTask>,
}

impl<'run> Turn<'run> {
    /// Begins a step at `now`, by the estimate of the database clock.
    pub fn begin(run: &'run mut Run, now: Timestamp) -> Self {
        let out = Box::new(Transition::new(run));
        let now = now.max(run.last_event_time);
        let local_activities = run.local_activities;
        Self { run, now, out, ending: None, updates: Vec::new(), awake: false, local_activities, before_task: None }
    }

    /// The run as it is after everything so far.
    pub fn run(&self) -> &Run {
        self.run
    }

    /// The time of this step: never before an event of the run.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The events so far.
    pub fn events(&self) -> &[Event] {
        &self.out.events
    }

    /// What the step wants so far.
    pub fn transition(&self) -> &Transition {
        &self.out
    }

    /// Ends the step. A workflow task that it started must have been completed or failed.
    pub fn finish(mut self) -> Box<Transition> {
        match self.ending.take().filter(|_| self.is_open()) {
            Some(Ending::Terminated(terminated, successor)) => {
                self.close(EventKind::WorkflowExecutionTerminated(terminated), successor);
            }
            Some(Ending::TimedOut) => self.time_out_run(),
            None => {}
        }
        let running = self.run.task.is_some_and(|task| task.started_event_id.is_some());
        assert!(!running, "a workflow task ends in the step that started it");
        self.out
    }

    /// Takes the news that something ended in this process that only the code's next commands will say: it is run.
    pub fn wake(&mut self) {
        self.awake = true;
    }

    /// Takes note of how many local activities the code waits for once its task is completed, which the completion says.
    pub fn awaits_local_activities(&mut self, count: usize) {
        self.local_activities = u32::try_from(count).unwrap_or(u32::MAX);
    }

    fn is_open(&self) -> bool {
        self.run.status == RunStatus::Running
    }

    /// Records a fact that another history holds already, for a branch of it.
    pub(crate) fn record(&mut self, event: EventKind) {
        self.push(event);
    }

    /// Appends a fact and folds it. Decisions make only facts that fit, so a misfit is a mistake in this crate.
    fn push(&mut self, event: EventKind) -> i64 {
        let event = Event { event_id: self.run.next_event_id, event_time: self.now, event };
        self.run.fold(&event).expect("decisions make only events that fit the run");
        self.out.signals = self.run.signals;
        self.out.events.push(event);
        self.run.next_event_id - 1
    }

    /// Describes the current attempt of a pending activity for whoever runs it.
    fn activity_task(&self, activity_id: u64, attempt_scheduled_at: Timestamp) -> Option<ActivityTask> {
        let pending = self.run.activities.get(&activity_id)?;
        let started = &self.run.started;
        let options = &pending.scheduled.options;
        let schedule_to_close = options.schedule_to_close_ms.map(|ms| pending.scheduled_at.plus_ms(ms));
        Some(ActivityTask {
            run: self.run.key,
            namespace: started.namespace.clone(),
            workflow_id: started.workflow_id.clone(),
            workflow_type: started.workflow_type.clone(),
            activity_id,
            activity_type: pending.scheduled.activity_type.clone(),
            task_queue: options.task_queue.clone().unwrap_or_else(|| started.task_queue.clone()),
            input: pending.scheduled.input.clone(),
            attempt: pending.attempt,
            scheduled_at: pending.scheduled_at,
            attempt_scheduled_at,
            schedule_to_close_at: [schedule_to_close, self.run.deadline()].into_iter().flatten().min(),
            schedule_to_start_ms: options.schedule_to_start_ms,
            start_to_close_ms: options.start_to_close_ms,
            heartbeat_ms: options.heartbeat_ms,
            last_heartbeat: pending.last_heartbeat.clone(),
            priority: options.priority,
            correlation_id: started.correlation_id.clone(),
        })
    }
}
