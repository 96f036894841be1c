//! Commands of workflow code: checked all together first, then each makes its one event.

use std::collections::BTreeSet;

use super::Turn;
use crate::{
    activity::ActivityOptions,
    command::Command,
    event::{
        ActivityTaskScheduled, EventKind, TimerStarted, WorkflowExecutionCanceled, WorkflowExecutionCompleted,
        WorkflowExecutionFailed, WorkflowTaskFailedCause,
    },
    ids::{self, ActivityType, RUN_TIMEOUT_TIMER},
    limits,
    transition::TimerRow,
};

/// Why commands are refused; nothing of them is appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct RefusedCommand {
    /// The cause to fail the task with.
    pub cause: WorkflowTaskFailedCause,
    /// What is wrong, the limit, and the way out.
    pub problem: String,
}

impl RefusedCommand {
    pub(super) fn bad(problem: String) -> Self {
        Self { cause: WorkflowTaskFailedCause::BadCommand, problem }
    }
}

impl Turn<'_> {
    /// Checks commands against the run and the limits, as if they were applied one after the other.
    pub(super) fn check_commands(&self, commands: &[Command]) -> Result<(), RefusedCommand> {
        let mut activities: BTreeSet<_> = self.run.activities.keys().copied().collect();
        let mut timers: BTreeSet<_> = self.run.timers.keys().copied().collect();
        let mut bytes = self.run.history_bytes;
        for (index, command) in commands.iter().enumerate() {
            if command.closes() && index + 1 != commands.len() {
                return Err(RefusedCommand::bad(format!("{} is followed by other commands", command.name())));
            }
            match command {
                Command::ScheduleActivityTask { activity_id, activity_type, input, options } => {
                    check_options(activity_type, options)?;
                    bytes += input.as_json().len() as u64;
                    if !activities.insert(*activity_id) {
                        return Err(RefusedCommand::bad(format!("activity id {activity_id} is in use")));
                    }
                }
                Command::StartTimer { timer_id, .. } => {
                    if *timer_id == RUN_TIMEOUT_TIMER || !timers.insert(*timer_id) {
                        return Err(RefusedCommand::bad(format!("timer id {timer_id} is in use")));
                    }
                }
                Command::CancelTimer { timer_id } => {
                    if *timer_id == RUN_TIMEOUT_TIMER {
                        return Err(RefusedCommand::bad("timer 0 is the run's own timeout".to_owned()));
                    }
                }
                Command::RequestCancelActivityTask { .. }
                | Command::CompleteWorkflowExecution { .. }
                | Command::FailWorkflowExecution { .. }
                | Command::CancelWorkflowExecution { .. } => {}
            }
        }
        if commands.last().is_some_and(Command::closes) {
            return self.check_close();
        }
        let events = (self.run.next_event_id + commands.len() as i64).unsigned_abs();
        check_limit("activities without an outcome", activities.len() as u64, limits::PENDING_ACTIVITIES_MAX as u64)?;
        check_limit("timers that have not fired", timers.len() as u64, limits::PENDING_TIMERS_MAX as u64)?;
        check_limit("events in its history", events, limits::HISTORY_EVENTS_MAX.unsigned_abs())?;
        check_limit("bytes in its history", bytes, limits::HISTORY_BYTES_MAX)
    }

    /// A run is not closed over something that its code was not given.
    fn check_close(&self) -> Result<(), RefusedCommand> {
        if !self.run.unseen {
            return Ok(());
        }
        let problem = "something happened while the code ended the run; it is run again with it".to_owned();
        Err(RefusedCommand { cause: WorkflowTaskFailedCause::UnhandledCommand, problem })
    }

    /// Applies one checked command.
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::ScheduleActivityTask { activity_id, activity_type, input, options } => {
                let scheduled = ActivityTaskScheduled { activity_id, activity_type, input, options: *options };
                self.push(EventKind::ActivityTaskScheduled(Box::new(scheduled)));
                self.out.attempts.extend(self.activity_task(activity_id, self.now));
            }
            Command::RequestCancelActivityTask { activity_id } => self.request_cancel(activity_id),
            Command::StartTimer { timer_id, after } => {
                let fire_at = self.now.plus(after);
                self.push(EventKind::TimerStarted(TimerStarted { timer_id, fire_at }));
                self.out.timers.push(TimerRow { timer_id, fire_at });
            }
            Command::CancelTimer { timer_id } => self.cancel_timer(timer_id),
            Command::CompleteWorkflowExecution { result } => {
                self.close(EventKind::WorkflowExecutionCompleted(WorkflowExecutionCompleted { result }));
            }
            Command::FailWorkflowExecution { failure } => {
                self.close(EventKind::WorkflowExecutionFailed(WorkflowExecutionFailed { failure: *failure }));
            }
            Command::CancelWorkflowExecution { details } => {
                self.close(EventKind::WorkflowExecutionCanceled(WorkflowExecutionCanceled { details }));
            }
        }
    }
}

fn check_options(activity_type: &ActivityType, options: &ActivityOptions) -> Result<(), RefusedCommand> {
    let bad = |problem: String| Err(RefusedCommand::bad(format!("activity `{activity_type}` {problem}")));
    if let Err(error) = ids::validate("activity type", activity_type.as_str()) {
        return Err(RefusedCommand::bad(error.to_string()));
    }
    if let Some(Err(error)) = options.task_queue.as_ref().map(|queue| ids::validate("task queue", queue.as_str())) {
        return bad(format!("cannot be offered: {error}"));
    }
    if options.start_to_close_ms.is_none() && options.schedule_to_close_ms.is_none() {
        return bad("has no timeout: give it start-to-close or schedule-to-close".to_owned());
    }
    let timeouts =
        [options.start_to_close_ms, options.schedule_to_close_ms, options.schedule_to_start_ms, options.heartbeat_ms];
    if timeouts.contains(&Some(0)) {
        return bad("has a timeout of zero: leave it out for none, or give at least 1 ms".to_owned());
    }
    if !(1..=5).contains(&options.priority) {
        return bad(format!("has priority {}: choose 1 (first) to 5 (last)", options.priority));
    }
    Ok(())
}

fn check_limit(what: &str, count: u64, limit: u64) -> Result<(), RefusedCommand> {
    if count <= limit {
        return Ok(());
    }
    Err(RefusedCommand::bad(format!(
        "the run would have {count} {what}, the limit is {limit}: work in smaller batches, or split the work over \
         several workflows"
    )))
}
