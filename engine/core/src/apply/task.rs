//! The workflow task: one run of the workflow's code over the events it has not seen.

use std::{collections::BTreeSet, sync::Arc};

use super::{RefusedCommand, Turn};
use crate::{
    command::Command,
    event::{
        EventKind, WorkflowTaskCompleted, WorkflowTaskFailed, WorkflowTaskFailedCause, WorkflowTaskScheduled,
        WorkflowTaskStarted, WorkflowTaskTimedOut,
    },
    failure::Failure,
    limits,
    payload::Payload,
    run::PendingTask,
    time::Timestamp,
    transition::{Problem, ProblemChange},
};

/// What to go back to when a task fails whose failure is not written.
#[derive(Debug)]
pub(super) struct BeforeTask {
    run: crate::run::TaskState,
    events: usize,
    /// Whether the code was run for what no event says: if it does nothing, the task never was.
    traceless: bool,
}

impl Turn<'_> {
    /// Schedules and starts the workflow task if the workflow has something to react to. Says whether it did.
    pub fn start_task(&mut self, identity: impl Into<Arc<str>>, build_id: Option<&str>) -> bool {
        let wanted = self.run.wants_task(self.now);
        let traceless = !wanted && (self.awake || !self.updates.is_empty()) && self.run.may_task(self.now);
        if self.ending.is_some() || !(wanted || traceless) {
            return false;
        }
        let before = BeforeTask { run: self.run.task_state(), events: self.out.events.len(), traceless };
        let scheduled_event_id = match self.run.task {
            Some(PendingTask { scheduled_event_id, started_event_id: None }) => scheduled_event_id,
            Some(PendingTask { started_event_id: Some(_), .. }) => return false,
            None => self.schedule_task(),
        };
        self.push(EventKind::WorkflowTaskStarted(WorkflowTaskStarted {
            scheduled_event_id,
            identity: identity.into(),
            build_id: build_id.map(str::to_owned),
            continue_as_new_suggested: self.run.next_event_id >= limits::HISTORY_EVENTS_WARN
                || self.run.history_bytes >= limits::HISTORY_BYTES_WARN,
        }));
        self.before_task = Some(before);
        true
    }

    /// Schedules the workflow task, for whoever runs it later.
    pub fn schedule_task(&mut self) -> i64 {
        let attempt = self.run.task_failures + 1;
        self.push(EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled { attempt }))
    }

    /// Completes the started task with the commands of the workflow's code, each of which makes one event; only a
    /// cancellation of what has ended meanwhile makes none.
    ///
    /// # Errors
    /// [`RefusedCommand`] when a command is impossible or passes a limit; nothing is appended, and the task is to be
    /// failed with what the error says.
    pub fn complete_task(
        &mut self,
        commands: Vec<Command>,
        published: Vec<(String, Payload)>,
    ) -> Result<(), RefusedCommand> {
        let Some(PendingTask { scheduled_event_id, started_event_id: Some(started_event_id) }) = self.run.task else {
            return Err(RefusedCommand::bad("the workflow task was not started".to_owned()));
        };
        self.check_commands(&commands)?;
        check_published(&published)?;
        if self.run.task_failures > 0 {
            self.out.problem = ProblemChange::Clear;
        }
        let refusals = |command: &Command| matches!(command, Command::RejectWorkflowExecutionUpdate { .. });
        let traceless = self.before_task.take().filter(|before| before.traceless && commands.iter().all(refusals));
        if let Some(before) = traceless {
            self.forget_task(before);
        } else {
            let local_activities = self.local_activities;
            let completed = WorkflowTaskCompleted { scheduled_event_id, started_event_id, local_activities };
            self.push(EventKind::WorkflowTaskCompleted(completed));
        }
        self.out.published.extend(published);
        for command in commands {
            self.command(command);
        }
        Ok(())
    }

    /// Fails the started task. Only the first failure in a row is written as events; `attempt` counts them all, and
    /// the run's problem shows the latest. Gives the time of the next try.
    pub fn fail_task(&mut self, cause: WorkflowTaskFailedCause, failure: Failure, attempt: u32) -> Timestamp {
        self.end_task(
            |scheduled_event_id, started_event_id, failure| {
                EventKind::WorkflowTaskFailed(WorkflowTaskFailed {
                    scheduled_event_id,
                    started_event_id,
                    cause,
                    failure,
                })
            },
            &failure,
        );
        self.show_problem(cause, failure, attempt)
    }

    /// Ends the started task because the code did not come back in time, as [`Turn::fail_task`] does.
    pub fn time_out_task(&mut self, failure: Failure, attempt: u32) -> Timestamp {
        self.end_task(
            |scheduled_event_id, started_event_id, failure| {
                EventKind::WorkflowTaskTimedOut(WorkflowTaskTimedOut { scheduled_event_id, started_event_id, failure })
            },
            &failure,
        );
        self.show_problem(WorkflowTaskFailedCause::NoProgress, failure, attempt)
    }

    /// Shows why the workflow task fails. Gives the time of the next try.
    pub(super) fn show_problem(&mut self, cause: WorkflowTaskFailedCause, failure: Failure, attempt: u32) -> Timestamp {
        let next_attempt_at = self.now.plus(backoff(attempt));
        self.out.problem = ProblemChange::Set(Box::new(Problem {
            cause,
            failure,
            attempt,
            next_attempt_at,
            since: self.run.task_failing_since.unwrap_or(self.now),
        }));
        next_attempt_at
    }

    /// Writes the end of the started task if it is the first of its kind in a row; else the task never was.
    fn end_task(&mut self, ended: impl FnOnce(i64, i64, Failure) -> EventKind, failure: &Failure) {
        let Some(PendingTask { scheduled_event_id, started_event_id: Some(started_event_id) }) = self.run.task else {
            return;
        };
        let nothing_since = started_event_id + 1 == self.run.next_event_id;
        match self.before_task.take().filter(|_| nothing_since && self.run.task_failures > 0) {
            Some(before) => self.forget_task(before),
            None => drop(self.push(ended(scheduled_event_id, started_event_id, failure.clone()))),
        }
    }
}

impl Turn<'_> {
    /// Goes back to before the task that was scheduled and started in this step, and nothing else.
    fn forget_task(&mut self, before: BeforeTask) {
        self.out.events.truncate(before.events);
        self.run.restore_task_state(before.run);
    }
}

fn check_published(published: &[(String, Payload)]) -> Result<(), RefusedCommand> {
    let names: BTreeSet<&str> = published.iter().map(|(name, _)| name.as_str()).collect();
    if names.len() > limits::PUBLISHED_VALUES_MAX {
        return Err(RefusedCommand::bad(format!(
            "the code published {} values at once, the limit is {}: publish one value that holds the others",
            names.len(),
            limits::PUBLISHED_VALUES_MAX
        )));
    }
    for (name, _) in published {
        crate::ids::validate("name of a published value", name)
            .map_err(|error| RefusedCommand::bad(error.to_string()))?;
    }
    Ok(())
}

/// The wait after the `attempt`-th failure in a row.
fn backoff(attempt: u32) -> std::time::Duration {
    limits::WORKFLOW_TASK_BACKOFF
        .saturating_mul(1 << attempt.saturating_sub(1).min(16))
        .min(limits::WORKFLOW_TASK_BACKOFF_MAX)
}
