//! Drives one run with the engine's rules and the worker's executor, and without a store: what a test says happens,
//! happens, in the order in which it says so.

#![allow(dead_code, unused_macros, reason = "each test binary uses its own part")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use dacapo_core::{
    ActivityOutcome, ActivityResult, Command, Event, EventKind, Failure, Message, MessageBody, MessageId, Payload, Run,
    RunId, StartWorkflow, TaskQueue, Timestamp, Transition, UpdateRequest, WorkflowId, WorkflowType,
    apply::Turn,
    child::{ChildClosed, ChildOutcome},
    command::CancelTarget,
    event::WorkflowTaskFailedCause,
    marker::LocalActivityOutcome,
    outbox::OutboxAnswer,
};
use dacapo_runtime::{
    Activated, Activation, Executor, ExecutorFactory, LocalActivities, LocalActivityEnded, Queried, QueryActivation,
};
use dacapo_worker::{WorkflowExecutors, define::WorkflowTable};
use serde::Serialize;
use uuid::Uuid;

/// Something that happens to the run.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Completed(u64, Payload),
    Failed(u64, Failure),
    Canceled(u64),
    Signal(&'static str, Payload),
    Cancel,
    TimerDue(u64),
    /// What became of a child, a signal or a request to cancel that an event asked for.
    Answer(u64, fn(u64) -> OutboxAnswer),
    ChildClosed(u64, ChildOutcome),
    Update(&'static str, &'static str, Payload),
    /// A local activity ended: the code is woken with it.
    LocalEnded(u64, LocalActivityOutcome),
}

pub(crate) fn json<T: Serialize>(value: T) -> Payload {
    Payload::encode("value", &value).unwrap()
}

pub(crate) fn completed<T: Serialize>(activity_id: u64, value: T) -> Input {
    Input::Completed(activity_id, json(value))
}

/// A failure that is not tried again.
pub(crate) fn failed(activity_id: u64, error_type: &str) -> Input {
    Input::Failed(activity_id, Failure { non_retryable: true, ..Failure::application(error_type, "it went wrong") })
}

pub(crate) fn signal<T: Serialize>(name: &'static str, value: T) -> Input {
    Input::Signal(name, json(value))
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Task {
    /// The code ran and asked for these.
    Completed { commands: Vec<Command>, published: Vec<(String, Payload)>, local: LocalActivities },
    /// The code could not be run.
    Failed { cause: WorkflowTaskFailedCause, failure: Failure },
}

impl Task {
    #[track_caller]
    pub(crate) fn commands(self) -> Vec<Command> {
        match self {
            Self::Completed { commands, .. } => commands,
            Self::Failed { cause, failure } => panic!("the task failed: {cause:?}: {}", failure.message),
        }
    }

    #[track_caller]
    pub(crate) fn failure(self) -> (WorkflowTaskFailedCause, Failure) {
        match self {
            Self::Failed { cause, failure } => (cause, failure),
            Self::Completed { commands, .. } => panic!("the task completed: {commands:?}"),
        }
    }
}

/// A run.
pub(crate) struct Env {
    factory: WorkflowExecutors,
    executor: Box<dyn Executor>,
    pub(crate) run: Run,
    pub(crate) history: Vec<Event>,
    /// Where the events begin that the executor has not seen; `None` when it does not know the run.
    seen: Option<usize>,
    now: Timestamp,
    messages: u128,
    tasks: Vec<Recorded>,
    /// What the last step wanted beside its events.
    pub(crate) last: Option<Transition>,
    /// The local activities that run.
    pub(crate) local: BTreeSet<u64>,
}

/// A completed task.
struct Recorded {
    /// The length of history at its start.
    started_at: usize,
    /// What it was given beside its events.
    updates: Vec<UpdateRequest>,
    ended: Vec<LocalActivityEnded>,
    /// What it asked for.
    commands: Vec<Command>,
}

impl Env {
    /// Starts a run; nothing of its code has run.
    pub(crate) fn start<T: Serialize>(table: WorkflowTable, workflow_type: &str, input: T) -> Self {
        let start = StartWorkflow::new(
            RunId(Uuid::from_u128(7)),
            WorkflowId::new("test"),
            WorkflowType::new(workflow_type),
            TaskQueue::new("test"),
            json(input),
        );
        Self::of_history(table, start.transition(Timestamp(1_000_000)).events)
    }

    /// Goes on with a run that has a history already.
    pub(crate) fn of_history(table: WorkflowTable, history: Vec<Event>) -> Self {
        let now = history.last().unwrap().event_time;
        let factory = WorkflowExecutors::new(table);
        let run = Run::from_history(&history).unwrap();
        Self {
            executor: factory.make(),
            factory,
            run,
            history,
            seen: None,
            now,
            messages: 0,
            tasks: Vec::new(),
            last: None,
            local: BTreeSet::new(),
        }
    }

    /// Replaces the code, as a new build does; the executor knows nothing of the run any more.
    pub(crate) fn deploy(&mut self, table: WorkflowTable) {
        self.factory = WorkflowExecutors::new(table);
        self.executor = self.factory.make();
        self.seen = None;
    }

    /// Throws the run out of the executor's memory.
    pub(crate) fn evict(&mut self) {
        self.executor.evict(self.run.key);
        self.seen = None;
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    /// Lets things happen and runs the code once over all of them.
    #[track_caller]
    pub(crate) fn step(&mut self, inputs: impl IntoIterator<Item = Input>) -> Task {
        self.try_step(inputs).expect("nothing happened that the workflow should react to")
    }

    /// Lets things happen and runs the code, if it has something to react to.
    pub(crate) fn try_step(&mut self, inputs: impl IntoIterator<Item = Input>) -> Option<Task> {
        self.now = self.now.plus(Duration::from_millis(1));
        let mut turn = Turn::begin(&mut self.run, self.now);
        let mut ended = Vec::new();
        for input in inputs {
            self.messages += 1;
            if let Input::LocalEnded(activity_id, outcome) = input {
                self.local.remove(&activity_id);
                ended.push(LocalActivityEnded { activity_id, attempts: 1, outcome });
                turn.wake();
            } else {
                take(&mut turn, input, MessageId(Uuid::from_u128(self.messages)));
            }
        }
        if !turn.start_task("test", None) {
            self.history.extend(turn.finish().events);
            return None;
        }
        self.history.extend_from_slice(turn.events());
        let from = self.seen.unwrap_or(0);
        let started = Arc::clone(&turn.run().started);
        let updates: Vec<UpdateRequest> = turn.updates().map(|(_, request)| request.clone()).collect();
        let activation = Activation {
            run: turn.run().key,
            started: &started,
            events: &self.history[from..],
            from_start: self.seen.is_none(),
            updates: &updates,
            ended: &ended,
        };
        let started_at = self.history.len();
        let before = turn.events().len();
        let task = match self.executor.activate(activation) {
            Activated::Completed { commands, published, local } => {
                turn.complete_task(commands.clone(), published.clone()).unwrap();
                self.local.extend(local.run.iter().map(|task| task.activity_id));
                self.local.retain(|id| !local.stop.contains(id));
                self.tasks.push(Recorded { started_at, updates, ended, commands: commands.clone() });
                Task::Completed { commands, published, local }
            }
            Activated::Failed { cause, failure } => {
                turn.fail_task(cause, failure.clone(), 1);
                Task::Failed { cause, failure }
            }
            Activated::NeedsHistory => panic!("the executor has forgotten the run"),
        };
        let transition = turn.finish();
        // A second failure in a row leaves nothing, not even its start; nor does a task that only refused requests.
        self.history.truncate(started_at - before);
        self.history.extend_from_slice(&transition.events);
        if self.history.len() < started_at {
            self.tasks.retain(|task| task.started_at < started_at);
        }
        self.last = Some(*transition);
        self.seen = matches!(task, Task::Completed { .. }).then_some(self.history.len());
        Some(task)
    }

    /// Runs the code until the end of a task without an input.
    pub(crate) fn first(&mut self) -> Task {
        self.step([])
    }

    /// Activates a fresh executor with the history up to `length`.
    pub(crate) fn replay(&self, length: usize) -> Activated {
        self.replay_with(length, &[], &[])
    }

    fn replay_with(&self, length: usize, updates: &[UpdateRequest], ended: &[LocalActivityEnded]) -> Activated {
        let (run, started) = (self.run.key, &self.run.started);
        let events = &self.history[..length];
        self.factory.make().activate(Activation { run, started, events, from_start: true, updates, ended })
    }

    /// Replays the history up to the start of every completed task, and compares the commands.
    #[track_caller]
    pub(crate) fn replays_at_every_prefix(&self) {
        assert_eq!(Run::from_history(&self.history).as_ref(), Ok(&self.run), "the history makes the run");
        for Recorded { started_at, updates, ended, commands: expected } in &self.tasks {
            match self.replay_with(*started_at, updates, ended) {
                Activated::Completed { commands, .. } => assert_eq!(&commands, expected, "at event {started_at}"),
                other => panic!("at event {started_at}: {other:?}"),
            }
        }
        let whole = self.replay(self.history.len());
        assert!(matches!(whole, Activated::Completed { .. }), "the whole history: {whole:?}");
    }

    /// Asks the code, in memory or by a replay of what is there.
    pub(crate) fn query<T: Serialize>(&mut self, name: &str, argument: T) -> Queried {
        let input = json(argument);
        let ask = |executor: &mut Box<dyn Executor>, events: &[Event]| {
            let (run, started) = (self.run.key, &self.run.started);
            executor.query(QueryActivation { run, started, events, name, input: &input })
        };
        match ask(&mut self.executor, &[]) {
            Queried::NeedsHistory => ask(&mut self.executor, &self.history),
            answered => answered,
        }
    }

    /// The names of the events.
    pub(crate) fn event_names(&self) -> Vec<&'static str> {
        self.history.iter().map(|event| event.event.name()).collect()
    }

    /// The value that the run ended with.
    #[track_caller]
    pub(crate) fn result<T: serde::de::DeserializeOwned>(&self) -> T {
        match &self.history.last().unwrap().event {
            EventKind::WorkflowExecutionCompleted(completed) => completed.result.decode("result").unwrap(),
            other => panic!("the run ended with {other:?}"),
        }
    }
}

fn take(turn: &mut Turn<'_>, input: Input, id: MessageId) {
    let result = |result| move |activity_id| (activity_id, result);
    let (activity_id, result) = match input {
        Input::Completed(activity_id, value) => result(ActivityResult::Completed(value))(activity_id),
        Input::Failed(activity_id, failure) => result(ActivityResult::Failed(failure))(activity_id),
        Input::Canceled(activity_id) => result(ActivityResult::Canceled { details: None })(activity_id),
        Input::Signal(name, input) => {
            let body = MessageBody::Signal { name: name.to_owned(), input, identity: String::new() };
            return turn.message(Message { id, body });
        }
        Input::Cancel => {
            let body = MessageBody::Cancel { reason: String::new(), identity: String::new() };
            return turn.message(Message { id, body });
        }
        Input::TimerDue(timer_id) => return turn.message(Message { id, body: MessageBody::TimerDue { timer_id } }),
        Input::Answer(number, answer) => {
            let event_id = asked_at(turn.run(), number);
            let body = MessageBody::OutboxAnswer { event_id, answer: answer(number) };
            return turn.message(Message { id, body });
        }
        Input::ChildClosed(child_id, outcome) => {
            let child = turn.run().child(child_id).expect("the child is open");
            let (initiated_event_id, run_id) = (child.initiated_event_id, child.initiated.run_id);
            let closed = ChildClosed { child_id, initiated_event_id, run_id, outcome };
            return turn.message(Message { id, body: MessageBody::ChildClosed(Box::new(closed)) });
        }
        Input::Update(name, update_id, input) => {
            let (name, update_id) = (name.to_owned(), update_id.to_owned());
            let request = UpdateRequest { update_id, name, input, identity: String::new() };
            return turn.message(Message { id, body: MessageBody::Update(Box::new(request)) });
        }
        Input::LocalEnded(..) => unreachable!("no message brings it"),
    };
    turn.activity_outcome(ActivityOutcome {
        activity_id,
        attempt: 1,
        started_at: Some(turn.now()),
        identity: "test".into(),
        last_heartbeat: None,
        result,
    });
}

/// The event that asked for what has a number: a child, a signal, a request to cancel.
fn asked_at(run: &Run, number: u64) -> i64 {
    let rare = run.rare.as_deref().expect("the run has something to do with others");
    let signals = rare.external_signals.get(&number).or_else(|| rare.external_cancels.get(&number));
    let child = rare.children.get(&number).map(|child| child.initiated_event_id);
    signals.copied().or(child).expect("it is pending")
}

/// A child runs.
pub(crate) fn child_started(child_id: u64) -> Input {
    Input::Answer(child_id, |child_id| OutboxAnswer::ChildStarted { child_id })
}

/// A child gave a value.
pub(crate) fn child_completed<T: Serialize>(child_id: u64, value: T) -> Input {
    Input::ChildClosed(child_id, ChildOutcome::Completed(json(value)))
}

/// Somebody asks for an update.
pub(crate) fn update<T: Serialize>(name: &'static str, update_id: &'static str, value: T) -> Input {
    Input::Update(name, update_id, json(value))
}

/// Makes a table of workflows.
#[macro_export]
macro_rules! workflows {
    ($($workflow:expr),* $(,)?) => {{
        let mut table = dacapo_worker::define::WorkflowTable::default();
        $(table.add($workflow).unwrap();)*
        table
    }};
}

/// Which activity or timer a command begins or ends, in short: `+3` and `-3`, with `end` for the end of the run.
pub(crate) fn short(commands: &[Command]) -> Vec<String> {
    commands
        .iter()
        .map(|command| match command {
            Command::ScheduleActivityTask { activity_id, .. } => format!("+{activity_id}"),
            Command::StartTimer { timer_id, .. } => format!("+{timer_id}"),
            Command::RequestCancelActivityTask { activity_id } => format!("-{activity_id}"),
            Command::CancelTimer { timer_id } => format!("-{timer_id}"),
            Command::StartChildWorkflowExecution { child_id, .. } => format!("+{child_id}"),
            Command::SignalExternalWorkflowExecution { signal_id, .. } => format!("+{signal_id}"),
            Command::RequestCancelExternalWorkflowExecution { target: CancelTarget::Child(child_id), .. } => {
                format!("-{child_id}")
            }
            Command::RequestCancelExternalWorkflowExecution {
                target: CancelTarget::External { cancel_id, .. },
                ..
            } => {
                format!("+{cancel_id}")
            }
            Command::RecordMarker { marker_id, marker } => format!("{}{marker_id}", marker.name()),
            Command::AcceptWorkflowExecutionUpdate { update_id } => format!("accept {update_id}"),
            Command::RejectWorkflowExecutionUpdate { update_id, .. } => format!("reject {update_id}"),
            Command::CompleteWorkflowExecutionUpdate { update_id, .. } => format!("answer {update_id}"),
            Command::CompleteWorkflowExecution { .. } => "complete".to_owned(),
            Command::FailWorkflowExecution { .. } => "fail".to_owned(),
            Command::CancelWorkflowExecution { .. } => "cancel".to_owned(),
            other => other.name().to_owned(),
        })
        .collect()
}
