//! A run in memory: its code as a future, and how events reach it.

use std::{
    fmt,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use dacapo_core::{
    Command, Event, EventKind, Failure, Payload, Timestamp,
    event::{WorkflowExecutionStarted, WorkflowTaskFailedCause},
    payload::PayloadError,
};
use dacapo_runtime::Activation;

use super::{
    failure::{TaskFailure, position},
    outcome_of, panics, quiet,
    wake::Alarm,
};
use crate::{
    context::WorkflowContext,
    define::{WorkflowDefinition, WorkflowFuture},
    errors::WorkflowError,
    state::{Made, RunState, Settled},
};

/// The polls that one event may cause; code that wakes itself more often waits for nothing durable.
const POLLS_MAX: u32 = 100_000;

/// The waiting calls that an error names.
const CALLS_SHOWN: usize = 3;

/// A run in memory.
#[derive(Debug)]
pub(super) struct Instance {
    definition: WorkflowDefinition,
    started: Arc<WorkflowExecutionStarted>,
    code: Code,
    pub(super) state: Rc<RunState>,
    alarm: Arc<Alarm>,
    waker: Waker,
    /// The span of live polls, and the attempt of the workflow task that it was made for.
    span: Option<(u32, tracing::Span)>,
    next_event_id: i64,
}

/// The code of a run.
enum Code {
    NotStarted,
    Running(WorkflowFuture),
    Ended(Command),
}

/// What a task made.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) commands: Vec<Command>,
    pub(super) published: Vec<(String, Payload)>,
    pub(super) closed: bool,
}

impl Instance {
    pub(super) fn new(definition: WorkflowDefinition, activation: &Activation<'_>) -> Self {
        let alarm = Alarm::new();
        Self {
            definition,
            started: Arc::clone(activation.started),
            code: Code::NotStarted,
            state: RunState::new(Arc::clone(activation.started)),
            waker: Waker::from(Arc::clone(&alarm)),
            alarm,
            span: None,
            next_event_id: 1,
        }
    }

    /// The id of the first event that the code has not seen, if nothing but its last commands was appended.
    pub(super) fn next_event_id(&self) -> i64 {
        self.next_event_id
    }

    /// Runs the task that has no outcome yet. A history that ends otherwise, such as a closed one, has none.
    pub(super) fn run_live(&mut self, events: &[Event]) -> Result<Done, TaskFailure> {
        let Some(last) = events.last().filter(|last| matches!(last.event, EventKind::WorkflowTaskStarted(_))) else {
            return Ok(Done { commands: Vec::new(), published: Vec::new(), closed: self.has_ended() });
        };
        let span = self.live_span(events);
        let made = span.in_scope(|| self.run_task(events, last.event_time, false))?;
        let commands: Vec<Command> = made.into_iter().map(|made| made.command).collect();
        // The task's completion comes first, then one event for each command.
        self.next_event_id = last.event_id + 2 + commands.len() as i64;
        Ok(Done { commands, published: self.state.take_published(), closed: self.has_ended() })
    }

    /// Runs one task that history knows the outcome of, with no traces; gives what the code asked for.
    pub(super) fn run_silently(
        &mut self,
        events: &[Event],
        now: Timestamp,
        replaying: bool,
    ) -> Result<Vec<Made>, TaskFailure> {
        quiet::silently(|| self.run_task(events, now, replaying))
    }

    /// Says whether the code has ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.code, Code::Ended(_))
    }

    /// Delivers the events of one task, one at a time, and gives the commands in the order of their numbers.
    fn run_task(&mut self, events: &[Event], now: Timestamp, replaying: bool) -> Result<Vec<Made>, TaskFailure> {
        let alarm = Arc::clone(&self.alarm);
        let _entered = alarm.enter();
        self.state.begin_task(now, replaying);
        for sequence in events.iter().filter_map(outcome_of) {
            self.state.announce(sequence);
        }
        for event in events {
            self.deliver(event)?;
            if self.has_ended() {
                break;
            }
        }
        self.check()?;
        let commands = self.state.take_commands();
        if let Code::Ended(command) = &self.code {
            // What the code gave up on its way out ends with the run; a command for each would only be noise.
            return Ok(vec![Made { command: command.clone(), at: None }]);
        }
        Ok(commands.into_values().collect())
    }

    fn deliver(&mut self, event: &Event) -> Result<(), TaskFailure> {
        match &event.event {
            EventKind::WorkflowExecutionStarted(started) => self.start(started)?,
            EventKind::WorkflowExecutionSignaled(signaled) => {
                self.state.signal(&signaled.signal_name, signaled.input.clone());
            }
            EventKind::WorkflowExecutionCancelRequested(_) => self.state.request_cancel(),
            EventKind::ActivityTaskCompleted(outcome) => {
                self.state.settle(outcome.activity_id, || Settled::Completed(outcome.result.clone()));
            }
            EventKind::ActivityTaskFailed(outcome) => self.state.settle(outcome.activity_id, || Settled::Failed {
                failure: Box::new(outcome.failure.clone()),
                retry_state: Some(outcome.retry_state),
            }),
            EventKind::ActivityTaskTimedOut(outcome) => self.state.settle(outcome.activity_id, || {
                let message = format!("the {} timeout passed", outcome.timeout_type.as_str());
                let failure = Failure::timeout(outcome.timeout_type, message);
                let failure = Failure { details: outcome.last_heartbeat.clone(), ..failure };
                Settled::Failed { failure: Box::new(failure), retry_state: Some(outcome.retry_state) }
            }),
            EventKind::ActivityTaskCanceled(outcome) => self.state.settle(outcome.activity_id, || {
                let failure = Failure::canceled("the activity was cancelled");
                let failure = Failure { details: outcome.details.clone(), ..failure };
                Settled::Failed { failure: Box::new(failure), retry_state: None }
            }),
            EventKind::TimerFired(fired) => self.state.settle(fired.timer_id, || Settled::Fired),
            EventKind::WorkflowTaskScheduled(_)
            | EventKind::WorkflowTaskStarted(_)
            | EventKind::WorkflowTaskCompleted(_)
            | EventKind::WorkflowTaskFailed(_)
            | EventKind::WorkflowTaskTimedOut(_)
            | EventKind::ActivityTaskScheduled(_)
            | EventKind::ActivityTaskStarted(_)
            | EventKind::ActivityTaskCancelRequested(_)
            | EventKind::TimerStarted(_)
            | EventKind::TimerCanceled(_)
            | EventKind::WorkflowExecutionCompleted(_)
            | EventKind::WorkflowExecutionFailed(_)
            | EventKind::WorkflowExecutionTimedOut(_)
            | EventKind::WorkflowExecutionCanceled(_)
            | EventKind::WorkflowExecutionTerminated(_)
            // No call of this SDK makes or awaits these.
            | EventKind::StartChildWorkflowExecutionInitiated(_)
            | EventKind::StartChildWorkflowExecutionFailed(_)
            | EventKind::ChildWorkflowExecutionStarted(_)
            | EventKind::ChildWorkflowExecutionCompleted(_)
            | EventKind::ChildWorkflowExecutionFailed(_)
            | EventKind::ChildWorkflowExecutionCanceled(_)
            | EventKind::ChildWorkflowExecutionTimedOut(_)
            | EventKind::ChildWorkflowExecutionTerminated(_)
            | EventKind::SignalExternalWorkflowExecutionInitiated(_)
            | EventKind::SignalExternalWorkflowExecutionFailed(_)
            | EventKind::ExternalWorkflowExecutionSignaled(_)
            | EventKind::RequestCancelExternalWorkflowExecutionInitiated(_)
            | EventKind::RequestCancelExternalWorkflowExecutionFailed(_)
            | EventKind::ExternalWorkflowExecutionCancelRequested(_)
            | EventKind::WorkflowExecutionUpdateAccepted(_)
            | EventKind::WorkflowExecutionUpdateCompleted(_)
            | EventKind::MarkerRecorded(_)
            | EventKind::UpsertWorkflowSearchAttributes(_)
            | EventKind::WorkflowPropertiesModified(_)
            | EventKind::WorkflowExecutionPaused(_)
            | EventKind::WorkflowExecutionUnpaused(_)
            | EventKind::WorkflowExecutionContinuedAsNew(_) => return Ok(()),
        }
        self.poll()
    }

    fn start(&mut self, started: &WorkflowExecutionStarted) -> Result<(), TaskFailure> {
        let context = WorkflowContext::new(&self.state);
        let future = panics::catch(|| self.definition.start(context, &started.input))
            .map_err(|caught| self.panicked(caught))?
            .map_err(|error| TaskFailure::payload(&error))?;
        self.code = Code::Running(future);
        Ok(())
    }

    /// Polls the code until it has nothing to do.
    fn poll(&mut self) -> Result<(), TaskFailure> {
        let mut polls = 0;
        while self.alarm.take_woken() {
            let Code::Running(future) = &mut self.code else { return Ok(()) };
            let mut context = Context::from_waker(&self.waker);
            let polled = panics::catch(|| future.as_mut().poll(&mut context));
            if let Some(failure) = self.state.take_failure() {
                return Err(failure);
            }
            match polled.map_err(|caught| self.panicked(caught))? {
                Poll::Ready(result) => {
                    self.state.close();
                    self.code = Code::Ended(self.closing_command(result)?);
                    return Ok(());
                }
                Poll::Pending => polls += 1,
            }
            if polls == POLLS_MAX {
                return Err(TaskFailure::new(
                    WorkflowTaskFailedCause::NoProgress,
                    format!(
                        "the code woke itself {POLLS_MAX} times without waiting for anything durable: wait with \
                         `ctx.sleep(…)` in loops that poll{}",
                        self.last_call()
                    ),
                ));
            }
        }
        Ok(())
    }

    fn closing_command(
        &self,
        result: Result<Result<Payload, WorkflowError>, PayloadError>,
    ) -> Result<Command, TaskFailure> {
        Ok(match result.map_err(|error| TaskFailure::payload(&error))? {
            Ok(result) => Command::CompleteWorkflowExecution { result },
            Err(error) if error.is_cancelled() && self.state.cancel_requested() => {
                Command::CancelWorkflowExecution { details: None }
            }
            Err(error) => Command::FailWorkflowExecution { failure: Box::new(error.into()) },
        })
    }

    /// Looks for what must not be after a task.
    fn check(&self) -> Result<(), TaskFailure> {
        if self.alarm.is_foreign() {
            return Err(TaskFailure::new(
                WorkflowTaskFailedCause::ForeignAwait,
                format!(
                    "workflow code was woken by something that history knows nothing of, such as a thread, a task or \
                     a channel whose other end is outside of the workflow: let an activity do the waiting, or send the \
                     run a signal{}",
                    self.last_call()
                ),
            ));
        }
        if matches!(self.code, Code::Running(_)) && !self.state.waits() {
            return Err(TaskFailure::new(
                WorkflowTaskFailedCause::NoProgress,
                format!(
                    "workflow code waits for something that is not durable, so nothing would ever go on: await only \
                     what the context gives (activities, `ctx.sleep`, `ctx.receive`) or what the workflow's own \
                     futures send each other{}",
                    self.last_call()
                ),
            ));
        }
        Ok(())
    }

    fn panicked(&self, caught: panics::Caught) -> TaskFailure {
        caught.into_failure(self.state.last_call())
    }

    fn last_call(&self) -> String {
        match self.state.last_call() {
            Some(at) => format!("; the last durable call was at {}", position(at)),
            None => "; it has made no durable call yet".to_owned(),
        }
    }

    /// Names the calls that wait.
    pub(super) fn waiting_calls(&self) -> Vec<String> {
        self.state.waits_at(CALLS_SHOWN).into_iter().map(position).collect()
    }

    /// Gives the span of a live task, made once for all tasks of the same attempt.
    fn live_span(&mut self, events: &[Event]) -> tracing::Span {
        let scheduled = events.iter().rev().find_map(|event| match &event.event {
            EventKind::WorkflowTaskScheduled(scheduled) => Some(scheduled.attempt),
            _ => None,
        });
        let attempt = scheduled.unwrap_or(1);
        if let Some((_, span)) = self.span.as_ref().filter(|(made_for, _)| *made_for == attempt) {
            return span.clone();
        }
        // An error span, so that the ids stand beside every event that is logged at all.
        let span = tracing::error_span!(
            "workflow",
            namespace = %self.started.namespace,
            workflow_type = %self.started.workflow_type,
            workflow_id = %self.started.workflow_id,
            run_id = %self.started.run_id,
            attempt,
            correlation_id = self.started.correlation_id.as_str(),
        );
        self.span = Some((attempt, span.clone()));
        span
    }
}

impl Drop for Instance {
    /// Throws the code away: dropping its futures asks for nothing and logs nothing.
    fn drop(&mut self) {
        self.state.close();
        let _entered = self.alarm.enter();
        let code = std::mem::replace(&mut self.code, Code::NotStarted);
        if let Err(caught) = quiet::silently(|| panics::catch(|| drop(code))) {
            tracing::warn!(?caught, run_id = %self.started.run_id, "workflow code panicked while it was dropped");
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str("NotStarted"),
            Self::Running(_) => f.write_str("Running"),
            Self::Ended(command) => f.debug_tuple("Ended").field(command).finish(),
        }
    }
}
