//! Commands of workflow code: checked all together first, then each makes its one event.

use std::collections::BTreeSet;

use super::Turn;
use crate::{
    command::Command,
    event::{
        ActivityTaskCancelRequested, ActivityTaskScheduled, EventKind, TimerCanceled, TimerStarted,
        WorkflowExecutionCanceled, WorkflowExecutionCompleted, WorkflowExecutionFailed,
    },
    ids, limits,
    transition::TimerRow,
};

/// Why commands are refused; nothing of them is appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct RefusedCommand {
    /// What is wrong, the limit, and the way out.
    pub problem: String,
}

impl RefusedCommand {
    pub(super) fn new(problem: String) -> Self {
        Self { problem }
    }
}

impl Turn<'_> {
    /// Checks commands against the run and the limits, as if they were applied one after the other.
    pub(super) fn check_commands(&self, commands: &[Command]) -> Result<(), RefusedCommand> {
        let mut activities: BTreeSet<_> = self.run.activities.keys().copied().collect();
        let mut timers: BTreeSet<_> = self.run.timers.keys().copied().collect();
        for (index, command) in commands.iter().enumerate() {
            if command.closes() && index + 1 != commands.len() {
                return Err(RefusedCommand::new(format!("{} is followed by other commands", command.name())));
            }
            match command {
                Command::ScheduleActivityTask { activity_id, activity_type, options, .. } => {
                    ids::validate("activity type", activity_type.as_str())
                        .map_err(|error| RefusedCommand::new(error.to_string()))?;
                    if options.start_to_close_ms.is_none() && options.schedule_to_close_ms.is_none() {
                        return Err(RefusedCommand::new(format!(
                            "activity `{activity_type}` has no timeout: give it start-to-close or schedule-to-close"
                        )));
                    }
                    if !activities.insert(*activity_id) {
                        return Err(RefusedCommand::new(format!("activity id {activity_id} is in use")));
                    }
                }
                Command::StartTimer { timer_id, .. } => {
                    if !timers.insert(*timer_id) {
                        return Err(RefusedCommand::new(format!("timer id {timer_id} is in use")));
                    }
                }
                Command::CancelTimer { timer_id } => drop(timers.remove(timer_id)),
                Command::RequestCancelActivityTask { .. }
                | Command::CompleteWorkflowExecution { .. }
                | Command::FailWorkflowExecution { .. }
                | Command::CancelWorkflowExecution { .. } => {}
            }
        }
        check_limit("activities without an outcome", activities.len(), limits::PENDING_ACTIVITIES_MAX)?;
        check_limit("timers that have not fired", timers.len(), limits::PENDING_TIMERS_MAX)?;
        let events = self.run.next_event_id + commands.len() as i64;
        let closes = commands.last().is_some_and(Command::closes);
        if events > limits::HISTORY_EVENTS_MAX && !closes {
            return Err(RefusedCommand::new(format!(
                "the history would have {events} events, the limit is {}: split the work over several workflows",
                limits::HISTORY_EVENTS_MAX
            )));
        }
        Ok(())
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

    /// Asks an activity to stop. An attempt that this very step asked for never begins.
    fn request_cancel(&mut self, activity_id: ids::ActivityId) {
        let Some(pending) = self.run.activities.get(&activity_id) else { return };
        let (scheduled_event_id, has_row) = (pending.scheduled_event_id, pending.has_row);
        let requested = ActivityTaskCancelRequested { activity_id, scheduled_event_id };
        self.push(EventKind::ActivityTaskCancelRequested(requested));
        let unplaced = self.out.attempts.iter().any(|task| task.activity_id == activity_id);
        if unplaced {
            self.canceled(activity_id, None, "", None);
        } else if has_row {
            self.out.canceled_activities.push(activity_id);
        }
    }

    fn cancel_timer(&mut self, timer_id: ids::TimerId) {
        let Some(timer) = self.run.timers.get(&timer_id).copied() else { return };
        let canceled = TimerCanceled { timer_id, started_event_id: timer.started_event_id };
        self.push(EventKind::TimerCanceled(canceled));
        let unwritten = self.out.timers.iter().position(|row| row.timer_id == timer_id);
        match unwritten {
            Some(index) => drop(self.out.timers.remove(index)),
            None => self.out.dropped_timers.push(timer_id),
        }
    }
}

fn check_limit(what: &str, count: usize, limit: usize) -> Result<(), RefusedCommand> {
    if count <= limit {
        return Ok(());
    }
    Err(RefusedCommand::new(format!(
        "the run would have {count} {what}, the limit is {limit}: work in smaller batches"
    )))
}
