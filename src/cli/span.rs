//! The parts of a run that take time, read from its history: what `trace` draws.

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use dacapo_core::{
    Event, EventKind, Marker, RunId, RunStatus, Timestamp, UpdateOutcome, WorkflowId, marker::LocalActivityOutcome,
    store::RunInfo,
};
use dacapo_runtime::{Client, ClientError, Description, WorkflowExecution};

use super::{exit::Stop, time::relative};

/// What a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A run.
    Workflow,
    /// An activity with all its attempts.
    Activity,
    /// A timer.
    Timer,
    /// An update.
    Update,
    /// A signal that the run received.
    Signal,
    /// What is not drawn.
    More,
}

impl Kind {
    /// The kind as JSON has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Activity => "activity",
            Self::Timer => "timer",
            Self::Update => "update",
            Self::Signal => "signal",
            Self::More => "more",
        }
    }
}

/// A part of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    /// What it is.
    pub(crate) kind: Kind,
    /// The workflow id, or the number of an activity or timer.
    pub(crate) id: String,
    /// The run, of a workflow.
    pub(crate) run_id: Option<RunId>,
    /// The type, or the name.
    pub(crate) name: String,
    /// Where it is in its life.
    pub(crate) status: String,
    /// The attempts so far; 0 for what has none.
    pub(crate) attempt: u32,
    /// When it began.
    pub(crate) started_at: Option<Timestamp>,
    /// How long it took, or has taken so far.
    pub(crate) took: Option<Duration>,
    /// Why it failed, who runs it, what it waits for.
    pub(crate) note: String,
    /// Its parts, in the order in which they began.
    pub(crate) children: Vec<Span>,
}

impl Span {
    fn new(kind: Kind, id: impl ToString, name: impl ToString, started_at: Timestamp) -> Self {
        Self {
            kind,
            id: id.to_string(),
            run_id: None,
            name: name.to_string(),
            status: String::new(),
            attempt: 0,
            started_at: Some(started_at),
            took: None,
            note: String::new(),
            children: Vec::new(),
        }
    }

    fn end(&mut self, status: &str, at: Timestamp, note: impl Into<String>) {
        self.status = status.to_owned();
        self.took = self.started_at.map(|began| at.since(began));
        let note = note.into();
        if !note.is_empty() {
            self.note = note;
        }
    }

    /// Whether nothing of it will change.
    pub(crate) fn has_ended(&self) -> bool {
        let runs = self.kind == Kind::Workflow && self.status == RunStatus::Running.as_str();
        !runs && self.children.iter().all(Self::has_ended)
    }
}

/// Reads runs with their children.
pub(crate) struct Tracer<'a> {
    client: &'a Client,
    now: Timestamp,
    /// The runs that may still be read.
    left: u32,
}

/// What of a run's tree is drawn in another run's history.
struct Child {
    workflow_id: WorkflowId,
    run_id: RunId,
    at: usize,
}

type Reading<'b, T> = Pin<Box<dyn Future<Output = Result<T, Stop>> + Send + 'b>>;

impl<'a> Tracer<'a> {
    /// Reads at most `limit` runs, as they are at `now`.
    pub(crate) fn new(client: &'a Client, now: Timestamp, limit: u32) -> Self {
        Self { client, now, left: limit }
    }

    /// Reads a run and those that go on for it, each with its children.
    pub(crate) fn chain(&mut self, mut info: RunInfo) -> Reading<'_, Vec<Span>> {
        Box::pin(async move {
            let mut chain = Vec::new();
            loop {
                if self.left == 0 {
                    chain.push(more(&info.workflow_id));
                    return Ok(chain);
                }
                self.left -= 1;
                let (span, successor) = self.run(&info).await?;
                chain.push(span);
                let Some(run_id) = successor else { return Ok(chain) };
                let next = WorkflowExecution::run(info.workflow_id.clone(), run_id);
                match self.client.resolve(&next).await {
                    Ok(next) => info = next,
                    Err(ClientError::NotFound { .. }) => return Ok(chain),
                    Err(error) => return Err(error.into()),
                }
            }
        })
    }

    async fn run(&mut self, info: &RunInfo) -> Result<(Span, Option<RunId>), Stop> {
        let events = self.client.history(info.key, 1).await?;
        let execution = WorkflowExecution::run(info.workflow_id.clone(), info.key.run_id);
        let description = match info.status {
            RunStatus::Running => Some(self.client.describe(&execution).await?),
            _ => None,
        };
        let mut parts = Parts::read(&events, self.now);
        if let Some(description) = &description {
            parts.add_pending(description);
        }
        let Parts { mut run, mut spans, children, successor, .. } = parts;
        run.id = info.workflow_id.to_string();
        run.run_id = Some(info.key.run_id);
        run.name = info.workflow_type.to_string();
        let mut read = Vec::new();
        for child in children {
            let execution = WorkflowExecution::run(child.workflow_id.clone(), child.run_id);
            match self.client.resolve(&execution).await {
                Ok(info) => read.push((child.at, self.chain(info).await?)),
                // It is not started yet, or never will be: what the parent knows of it stays.
                Err(ClientError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // From the last on, so that the places before it stay what they are.
        for (at, chain) in read.into_iter().rev() {
            spans.splice(at..=at, chain);
        }
        run.children = spans;
        Ok((run, successor))
    }
}

fn more(workflow_id: &WorkflowId) -> Span {
    Span {
        started_at: None,
        ..Span::new(Kind::More, workflow_id, format!("… {workflow_id} and more: raise `--limit`"), Timestamp(0))
    }
}

/// A run, read event by event.
struct Parts {
    now: Timestamp,
    run: Span,
    spans: Vec<Span>,
    activities: BTreeMap<u64, usize>,
    timers: BTreeMap<u64, usize>,
    child_numbers: BTreeMap<u64, usize>,
    updates: BTreeMap<String, usize>,
    children: Vec<Child>,
    successor: Option<RunId>,
}

impl Parts {
    fn read(events: &[Event], now: Timestamp) -> Self {
        let began = events.first().map_or(now, |event| event.event_time);
        let mut parts = Self {
            now,
            run: Span::new(Kind::Workflow, "", "", began),
            spans: Vec::new(),
            activities: BTreeMap::new(),
            timers: BTreeMap::new(),
            child_numbers: BTreeMap::new(),
            updates: BTreeMap::new(),
            children: Vec::new(),
            successor: None,
        };
        parts.run.status = RunStatus::Running.as_str().to_owned();
        for event in events {
            parts.take_activity(event);
            parts.take_child(event);
            parts.take_other(event);
            parts.take_end(event);
        }
        // What had not ended when the run did has taken as long as the run, and what is open has taken until now.
        let until = events.last().filter(|event| event.event.closes()).map_or(now, |event| event.event_time);
        for span in parts.spans.iter_mut().chain([&mut parts.run]) {
            span.took = span.took.or_else(|| span.started_at.map(|began| until.since(began)));
        }
        parts
    }

    fn push(&mut self, span: Span) -> usize {
        self.spans.push(span);
        self.spans.len() - 1
    }

    fn take_activity(&mut self, event: &Event) {
        let at = event.event_time;
        match &event.event {
            EventKind::ActivityTaskScheduled(it) => {
                let mut span = Span::new(Kind::Activity, it.activity_id, &it.activity_type, at);
                "Scheduled".clone_into(&mut span.status);
                let index = self.push(span);
                self.activities.insert(it.activity_id, index);
            }
            EventKind::ActivityTaskStarted(it) => {
                if let Some(span) = self.activity(it.activity_id) {
                    span.attempt = it.attempt;
                    span.note = it.identity.to_string();
                }
            }
            EventKind::ActivityTaskCompleted(it) => self.end_activity(it.activity_id, "Completed", at, ""),
            EventKind::ActivityTaskFailed(it) => {
                let note = format!("{}: {}", it.failure.error_type, it.failure.message);
                self.end_activity(it.activity_id, "Failed", at, &note);
            }
            EventKind::ActivityTaskTimedOut(it) => {
                self.end_activity(it.activity_id, "TimedOut", at, it.timeout_type.as_str());
            }
            EventKind::ActivityTaskCanceled(it) => self.end_activity(it.activity_id, "Canceled", at, ""),
            _ => {}
        }
    }

    fn activity(&mut self, activity_id: u64) -> Option<&mut Span> {
        self.activities.get(&activity_id).and_then(|index| self.spans.get_mut(*index))
    }

    fn end_activity(&mut self, activity_id: u64, status: &str, at: Timestamp, note: &str) {
        if let Some(span) = self.activity(activity_id) {
            span.end(status, at, note);
        }
    }

    fn take_child(&mut self, event: &Event) {
        let at = event.event_time;
        let (child_id, status, note) = match &event.event {
            EventKind::StartChildWorkflowExecutionInitiated(it) => {
                let mut span = Span::new(Kind::Workflow, &it.workflow_id, &it.workflow_type, at);
                "Initiated".clone_into(&mut span.status);
                let index = self.push(span);
                self.child_numbers.insert(it.child_id, index);
                self.children.push(Child { workflow_id: it.workflow_id.clone(), run_id: it.run_id, at: index });
                return;
            }
            EventKind::StartChildWorkflowExecutionFailed(it) => (it.child_id, "Failed", format!("{:?}", it.cause)),
            EventKind::ChildWorkflowExecutionCompleted(it) => (it.child_id, "Completed", String::new()),
            EventKind::ChildWorkflowExecutionFailed(it) => (it.child_id, "Failed", it.failure.message.clone()),
            EventKind::ChildWorkflowExecutionCanceled(it) => (it.child_id, "Canceled", String::new()),
            EventKind::ChildWorkflowExecutionTimedOut(it) => (it.child_id, "TimedOut", String::new()),
            EventKind::ChildWorkflowExecutionTerminated(it) => (it.child_id, "Terminated", it.reason.clone()),
            _ => return,
        };
        if let Some(span) = self.child_numbers.get(&child_id).and_then(|index| self.spans.get_mut(*index)) {
            span.end(status, at, note);
        }
    }

    fn take_other(&mut self, event: &Event) {
        let at = event.event_time;
        match &event.event {
            EventKind::TimerStarted(it) => {
                let mut span = Span::new(Kind::Timer, it.timer_id, "", at);
                "Waits".clone_into(&mut span.status);
                let index = self.push(span);
                self.timers.insert(it.timer_id, index);
            }
            EventKind::TimerFired(it) => self.end_timer(it.timer_id, "Fired", at),
            EventKind::TimerCanceled(it) => self.end_timer(it.timer_id, "Canceled", at),
            EventKind::WorkflowExecutionSignaled(it) => {
                let mut span = Span::new(Kind::Signal, it.message_id, &it.signal_name, at);
                span.end("Received", at, it.identity.as_str());
                self.push(span);
            }
            EventKind::WorkflowExecutionUpdateAccepted(it) => {
                let mut span = Span::new(Kind::Update, &it.request.update_id, &it.request.name, at);
                "Accepted".clone_into(&mut span.status);
                let index = self.push(span);
                self.updates.insert(it.request.update_id.clone(), index);
            }
            EventKind::WorkflowExecutionUpdateCompleted(it) => {
                let (status, note) = match &it.outcome {
                    UpdateOutcome::Completed(_) => ("Completed", String::new()),
                    UpdateOutcome::Failed(failure) => ("Failed", failure.message.clone()),
                };
                if let Some(span) = self.updates.get(&it.update_id).and_then(|index| self.spans.get_mut(*index)) {
                    span.end(status, at, note);
                }
            }
            EventKind::MarkerRecorded(it) => {
                if let Marker::LocalActivity { activity_type, attempts, outcome } = &it.marker {
                    let (status, note) = match outcome {
                        LocalActivityOutcome::Completed(_) => ("Completed", "local".to_owned()),
                        LocalActivityOutcome::Failed(failure) => ("Failed", format!("local; {}", failure.message)),
                    };
                    let mut span = Span::new(Kind::Activity, it.marker_id, activity_type, at);
                    span.attempt = *attempts;
                    span.end(status, at, note);
                    self.push(span);
                }
            }
            EventKind::WorkflowExecutionPaused(it) => self.run.note = format!("paused: {}", it.reason),
            EventKind::WorkflowExecutionUnpaused(_) => self.run.note.clear(),
            _ => {}
        }
    }

    fn end_timer(&mut self, timer_id: u64, status: &str, at: Timestamp) {
        if let Some(span) = self.timers.get(&timer_id).and_then(|index| self.spans.get_mut(*index)) {
            span.end(status, at, "");
        }
    }

    fn take_end(&mut self, event: &Event) {
        let at = event.event_time;
        let (status, note, successor) = match &event.event {
            EventKind::WorkflowExecutionCompleted(_) => (RunStatus::Completed, String::new(), None),
            EventKind::WorkflowExecutionFailed(it) => {
                (RunStatus::Failed, format!("{}: {}", it.failure.error_type, it.failure.message), it.new_run_id)
            }
            EventKind::WorkflowExecutionTimedOut(it) => (RunStatus::TimedOut, String::new(), it.new_run_id),
            EventKind::WorkflowExecutionCanceled(_) => (RunStatus::Canceled, String::new(), None),
            EventKind::WorkflowExecutionTerminated(it) => (RunStatus::Terminated, it.reason.clone(), None),
            EventKind::WorkflowExecutionContinuedAsNew(it) => {
                (RunStatus::ContinuedAsNew, String::new(), Some(it.new_run_id))
            }
            _ => return,
        };
        self.successor = successor;
        self.run.end(status.as_str(), at, note);
    }

    /// Adds what the rows of an open run say of what has not ended.
    fn add_pending(&mut self, description: &Description) {
        for pending in &description.activities {
            let now = self.now;
            let Some(span) = self.activity(pending.activity_id) else { continue };
            span.attempt = pending.attempt;
            let (status, note) = match (&pending.worker, pending.next_attempt_at) {
                _ if pending.paused => ("Paused", String::new()),
                _ if pending.asynchronous => ("Waits", "completed from outside".to_owned()),
                (Some(worker), None) => ("Runs", format!("on {worker}")),
                (_, Some(next)) => ("Retries", relative(next, now)),
                (None, None) => ("Scheduled", String::new()),
            };
            let why = pending.last_failure.as_ref().map(|failure| failure.message.clone());
            status.clone_into(&mut span.status);
            span.note =
                [Some(note), why].into_iter().flatten().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(", ");
        }
        for (timer_id, fire_at) in &description.timers {
            let now = self.now;
            if let Some(span) = self.timers.get(timer_id).and_then(|index| self.spans.get_mut(*index)) {
                span.note = format!("fires {}", relative(*fire_at, now));
            }
        }
        if self.run.note.is_empty()
            && let Some(reason) = description.reasons.first()
        {
            self.run.note = reason.sentence(&|at| relative(at, self.now));
        }
    }
}
