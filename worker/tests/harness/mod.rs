//! Drives one run with the engine's rules and the worker's executor, and without a store: what a test says happens,
//! happens, in the order in which it says so.

#![allow(dead_code, unused_macros, reason = "each test binary uses its own part")]

use std::{sync::Arc, time::Duration};

use dacapo_core::{
    ActivityOutcome, ActivityResult, Command, Event, EventKind, Failure, Message, MessageBody, MessageId, Payload, Run,
    RunId, StartWorkflow, TaskQueue, Timestamp, WorkflowId, WorkflowType, apply::Turn, event::WorkflowTaskFailedCause,
};
use dacapo_runtime::{Activated, Activation, Executor, ExecutorFactory};
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
    Completed { commands: Vec<Command>, published: Vec<(String, Payload)> },
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
    /// The completed tasks: the length of history at their start, and what they asked for.
    tasks: Vec<(usize, Vec<Command>)>,
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
        let now = Timestamp(1_000_000);
        let history = start.transition(now).events;
        let factory = WorkflowExecutors::new(table);
        let run = Run::from_history(&history).unwrap();
        Self { executor: factory.make(), factory, run, history, seen: None, now, messages: 0, tasks: Vec::new() }
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
    pub(crate) fn step(&mut self, inputs: impl IntoIterator<Item = Input>) -> Task {
        self.now = self.now.plus(Duration::from_millis(1));
        let mut turn = Turn::begin(&mut self.run, self.now);
        for input in inputs {
            self.messages += 1;
            take(&mut turn, input, MessageId(Uuid::from_u128(self.messages)));
        }
        assert!(turn.start_task("test", None), "nothing happened that the workflow should react to");
        self.history.extend_from_slice(turn.events());
        let from = self.seen.unwrap_or(0);
        let started = Arc::clone(&turn.run().started);
        let activation = Activation {
            run: turn.run().key,
            started: &started,
            events: &self.history[from..],
            from_start: self.seen.is_none(),
        };
        let started_at = self.history.len();
        let before = turn.events().len();
        let task = match self.executor.activate(activation) {
            Activated::Completed { commands, published } => {
                turn.complete_task(commands.clone(), published.clone()).unwrap();
                self.tasks.push((started_at, commands.clone()));
                Task::Completed { commands, published }
            }
            Activated::Failed { cause, failure } => {
                turn.fail_task(cause, failure.clone(), 1);
                Task::Failed { cause, failure }
            }
            Activated::NeedsHistory => panic!("the executor has forgotten the run"),
        };
        let written = turn.finish().events;
        // A second failure in a row leaves nothing, not even its start.
        self.history.truncate(started_at - before);
        self.history.extend(written);
        self.seen = matches!(task, Task::Completed { .. }).then_some(self.history.len());
        task
    }

    /// Runs the code until the end of a task without an input.
    pub(crate) fn first(&mut self) -> Task {
        self.step([])
    }

    /// Activates a fresh executor with the history up to `length`.
    pub(crate) fn replay(&self, length: usize) -> Activated {
        let activation = Activation {
            run: self.run.key,
            started: &self.run.started,
            events: &self.history[..length],
            from_start: true,
        };
        self.factory.make().activate(activation)
    }

    /// Replays the history up to the start of every completed task, and compares the commands.
    #[track_caller]
    pub(crate) fn replays_at_every_prefix(&self) {
        assert_eq!(Run::from_history(&self.history).as_ref(), Ok(&self.run), "the history makes the run");
        for (started_at, expected) in &self.tasks {
            match self.replay(*started_at) {
                Activated::Completed { commands, .. } => assert_eq!(&commands, expected, "at event {started_at}"),
                other => panic!("at event {started_at}: {other:?}"),
            }
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
    };
    turn.activity_outcome(ActivityOutcome {
        activity_id,
        attempt: 1,
        started_at: Some(turn.now()),
        identity: "test".to_owned(),
        last_heartbeat: None,
        result,
    });
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
            Command::CompleteWorkflowExecution { .. } => "complete".to_owned(),
            Command::FailWorkflowExecution { .. } => "fail".to_owned(),
            Command::CancelWorkflowExecution { .. } => "cancel".to_owned(),
            other => other.name().to_owned(),
        })
        .collect()
}
