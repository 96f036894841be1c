//! A run in memory: its code as a future, and how events reach it.

use std::{
    fmt,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use dacapo_core::{
    Command, Event, EventKind, Payload, UpdateRequest,
    event::{WorkflowExecutionStarted, WorkflowTaskFailedCause},
    marker::LocalActivityOutcome,
    payload::PayloadError,
};
use dacapo_runtime::{Activation, LocalActivities};

use super::{
    deliver::{is_branch, outcome_of},
    failure::{TaskFailure, position},
    panics, quiet,
    wake::{Alarm, Entered},
};
use crate::{
    context::WorkflowContext,
    define::{WorkflowDefinition, WorkflowFuture},
    errors::WorkflowError,
    state::{Made, RunState, TaskRecord},
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
    /// The same if the last task left no trace.
    next_if_forgotten: Option<i64>,
}

/// The code of a run.
enum Code {
    NotStarted,
    Running(WorkflowFuture),
    Ended(Box<Command>),
}

/// What a task made.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) commands: Vec<Command>,
    pub(super) published: Vec<(String, Payload)>,
    pub(super) local: LocalActivities,
    pub(super) closed: bool,
}

/// One task as the code meets it.
struct Task<'a> {
    /// The events that it delivers; the last is its start.
    events: &'a [Event],
    /// Whether values for queries are known to the store already.
    replaying: bool,
    /// What the history knows of its end.
    record: Option<TaskRecord>,
    /// Requests that wait for an answer.
    updates: Vec<UpdateRequest>,
    /// Local activities that ended.
    ended: Vec<(u64, u32, LocalActivityOutcome)>,
}

impl Instance {
    pub(super) fn new(definition: WorkflowDefinition, activation: &Activation<'_>) -> Self {
        let alarm = Alarm::new();
        let waker = Waker::from(Arc::clone(&alarm));
        let state = RunState::new(Arc::clone(activation.started));
        state.wake_with(&waker);
        Self {
            definition,
            started: Arc::clone(activation.started),
            code: Code::NotStarted,
            state,
            waker,
            alarm,
            span: None,
            next_event_id: 1,
            next_if_forgotten: None,
        }
    }

    /// Says whether an event is the first that the code has not seen, if nothing but its last commands was appended.
    pub(super) fn goes_on_at(&self, event_id: i64) -> bool {
        self.next_event_id == event_id || self.next_if_forgotten == Some(event_id)
    }

    /// Makes the run current on this thread until the guard is dropped.
    pub(super) fn enter(&self) -> Entered {
        self.alarm.enter()
    }

    /// Runs the task that has no outcome yet. A history that ends otherwise, such as a closed one, has none.
    pub(super) fn run_live(&mut self, events: &[Event], activation: &Activation<'_>) -> Result<Done, TaskFailure> {
        let Some(last) = events.last().filter(|last| matches!(last.event, EventKind::WorkflowTaskStarted(_))) else {
            let local = LocalActivities::default();
            return Ok(Done { commands: Vec::new(), published: Vec::new(), local, closed: self.has_ended() });
        };
        let mut ended: Vec<_> =
            activation.ended.iter().map(|it| (it.activity_id, it.attempts, it.outcome.clone())).collect();
        // In the order in which a replay finds them.
        ended.sort_by_key(|(activity_id, ..)| *activity_id);
        let updates = activation.updates.to_vec();
        let (attempt, span) = self.live_span(events);
        let made = span.in_scope(|| self.run_task(Task { events, replaying: false, record: None, updates, ended }))?;
        self.span = Some((attempt, span));
        let commands: Vec<Command> = made.into_iter().map(|made| made.command).collect();
        let refused = |command: &&Command| matches!(command, Command::RejectWorkflowExecutionUpdate { .. });
        let refusals = commands.iter().filter(refused).count();
        // The task's completion comes first, then one event for each command but refusals. A task that does nothing else
        // may not be written at all, neither its scheduling, nor its start.
        self.next_event_id = last.event_id + 2 + (commands.len() - refusals) as i64;
        self.next_if_forgotten = (refusals == commands.len()).then_some(last.event_id - 1);
        let closed = self.has_ended();
        let local = if closed { LocalActivities::default() } else { self.state.take_local() };
        Ok(Done { commands, published: self.state.take_published(), local, closed })
    }

    /// Runs one task that history knows the outcome of, with no traces; gives what the code asked for.
    pub(super) fn run_silently(
        &mut self,
        events: &[Event],
        mut record: TaskRecord,
        replaying: bool,
    ) -> Result<Vec<Made>, TaskFailure> {
        let (updates, ended) = (std::mem::take(&mut record.accepted), std::mem::take(&mut record.ended));
        quiet::silently(|| self.run_task(Task { events, replaying, record: Some(record), updates, ended }))
    }

    /// Says whether the code has ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.code, Code::Ended(_))
    }

    /// Delivers what one task brings, one thing at a time, and gives the commands in the order of their numbers.
    fn run_task(&mut self, task: Task<'_>) -> Result<Vec<Made>, TaskFailure> {
        let Task { events, replaying, record, updates, ended } = task;
        let alarm = Arc::clone(&self.alarm);
        let _entered = alarm.enter();
        let (now, suggested) = match events.last() {
            Some(Event { event_time, event: EventKind::WorkflowTaskStarted(started), .. }) => {
                (*event_time, started.continue_as_new_suggested)
            }
            last => (last.map(|last| last.event_time).unwrap_or_default(), false),
        };
        self.state.begin_task(now, replaying, suggested, record);
        // Before the code is run, since it is given what the task of the source was given.
        for branch in events.iter().filter(|event| is_branch(event)) {
            self.state.branched(branch.event_id, branch.event_time);
        }
        for sequence in events.iter().filter_map(outcome_of) {
            self.state.announce(sequence);
        }
        for event in events {
            if self.has_ended() {
                self.keep_signal(event);
            } else if self.deliver(event)? {
                self.poll()?;
            }
        }
        // All at once: which of them the code takes, and in which order, is then the same where a replay gives it only
        // those that it took.
        self.state.give_updates(updates);
        self.poll()?;
        for (activity_id, attempts, outcome) in ended {
            if !self.has_ended() {
                self.state.end_local(activity_id, attempts, outcome);
                self.poll()?;
            }
        }
        self.check()?;
        self.state.remember_patches();
        let mut commands = self.state.take_commands();
        if let Code::Ended(end) = &mut self.code {
            // What the code gave up on its way out ends with the run; a command for each would only be noise.
            commands.retain(Made::outlives_its_run);
            if let Command::ContinueAsNewWorkflowExecution { successor } = &mut **end {
                successor.signals = self.state.take_signals();
            }
            commands.push(Made { command: (**end).clone(), at: None, explicit: true });
        }
        Ok(commands)
    }

    /// Keeps a signal that came with the end of the code, for a run that goes on as another.
    fn keep_signal(&self, event: &Event) {
        if let EventKind::WorkflowExecutionSignaled(signaled) = &event.event {
            self.state.signal(signaled.clone());
        }
    }

    pub(super) fn start(&mut self, started: &WorkflowExecutionStarted) -> Result<(), TaskFailure> {
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
            let polled = panics::catch(|| {
                let polled = future.as_mut().poll(&mut context);
                if polled.is_pending() {
                    self.state.poll_tasks();
                }
                polled
            });
            if let Some(failure) = self.state.take_failure() {
                return Err(failure);
            }
            match polled.map_err(|caught| self.panicked(caught))? {
                Poll::Ready(result) => {
                    self.state.close();
                    self.code = Code::Ended(Box::new(self.closing_command(result)?));
                    // What was spawned ends with the code; it is user code that is dropped here.
                    panics::catch(|| self.state.clear_tasks()).map_err(|caught| self.panicked(caught))?;
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
            Err(WorkflowError::ContinueAsNew(next)) => {
                Command::ContinueAsNewWorkflowExecution { successor: next.into_command() }
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

    /// Takes the span of a live task, made once for all tasks of the same attempt, with that attempt.
    fn live_span(&mut self, events: &[Event]) -> (u32, tracing::Span) {
        let scheduled = events.iter().rev().find_map(|event| match &event.event {
            EventKind::WorkflowTaskScheduled(scheduled) => Some(scheduled.attempt),
            _ => None,
        });
        let attempt = scheduled.unwrap_or(1);
        if let Some(made) = self.span.take().filter(|(made_for, _)| *made_for == attempt) {
            return made;
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
        (attempt, span)
    }
}

impl Drop for Instance {
    /// Throws the code away: dropping its futures asks for nothing and logs nothing.
    fn drop(&mut self) {
        self.state.close();
        let _entered = self.alarm.enter();
        let code = std::mem::replace(&mut self.code, Code::NotStarted);
        let state = Rc::clone(&self.state);
        let thrown_away = || {
            drop(code);
            state.clear();
        };
        if let Err(caught) = quiet::silently(|| panics::catch(thrown_away)) {
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
