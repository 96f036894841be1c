//! One thing that the code has begun and waits for: from its command to its outcome.

use std::{collections::BTreeMap, panic::Location, rc::Rc, task::Waker, time::Duration};

use dacapo_core::{
    ActivityOptions, ActivityType, CancellationType, ChildCancellationType, ChildWorkflowOptions, Command, Failure,
    Payload, RetryState, RunId, WorkflowId, WorkflowType,
    command::CancelTarget,
    ids::Sequence,
    outbox::{ExternalTarget, ExternalWorkflowExecutionFailedCause},
};
use dacapo_runtime::{LocalActivities, LocalActivityTask};

use super::{Made, Scope};

/// What a request to cancel a child says when the code has given the child up.
const GIVEN_UP: &str = "the parent has cancelled or given up the call";

/// What a durable future asks for at its first poll.
#[derive(Debug)]
pub(crate) enum Request {
    /// An activity.
    Activity {
        activity_type: ActivityType,
        input: Payload,
        options: Box<ActivityOptions>,
        cancellation: CancellationType,
    },
    /// A timer.
    Timer { after: Duration },
    /// A child.
    Child {
        workflow_id: Option<WorkflowId>,
        workflow_type: WorkflowType,
        input: Payload,
        options: Box<ChildWorkflowOptions>,
        cancellation: ChildCancellationType,
    },
    /// A signal to another run.
    Signal { target: ExternalTarget, signal_name: String, input: Payload },
    /// A request that another run cancel itself.
    Cancel { target: ExternalTarget, reason: String },
    /// An activity that runs beside the code.
    Local { activity_type: ActivityType, input: Payload, options: Box<ActivityOptions> },
}

impl Request {
    /// Makes the wish, and what is remembered of it.
    pub(super) fn split(self, sequence: Sequence, child_id: impl FnOnce() -> WorkflowId) -> (Wish, Kind) {
        let (command, kind) = match self {
            Self::Activity { activity_type, input, options, cancellation } => (
                Command::ScheduleActivityTask { activity_id: sequence, activity_type, input, options },
                Kind::Activity(cancellation),
            ),
            Self::Timer { after } => (Command::StartTimer { timer_id: sequence, after }, Kind::Timer),
            Self::Child { workflow_id, workflow_type, input, options, cancellation } => {
                let workflow_id = workflow_id.unwrap_or_else(child_id);
                let child = Child { workflow_id: workflow_id.clone(), first_run: None, cancellation, answered: false };
                let command = Command::StartChildWorkflowExecution {
                    child_id: sequence,
                    workflow_id,
                    workflow_type,
                    input,
                    options,
                };
                (command, Kind::Child(child))
            }
            Self::Signal { target, signal_name, input } => {
                let signal_id = sequence;
                (Command::SignalExternalWorkflowExecution { signal_id, target, signal_name, input }, Kind::External)
            }
            Self::Cancel { target, reason } => {
                let target = CancelTarget::External { cancel_id: sequence, target };
                (Command::RequestCancelExternalWorkflowExecution { target, reason }, Kind::External)
            }
            Self::Local { activity_type, input, options } => {
                let task =
                    LocalActivityTask { activity_id: sequence, activity_type: activity_type.clone(), input, options };
                return (Wish::Local(task), Kind::Local(activity_type));
            }
        };
        (Wish::Command(command), kind)
    }
}

/// What a first poll makes.
#[derive(Debug)]
pub(super) enum Wish {
    /// A command of this task.
    Command(Command),
    /// An activity to be run beside the code, as soon as no history knows how it ended.
    Local(LocalActivityTask),
}

/// What kind of operation it is.
#[derive(Debug)]
pub(super) enum Kind {
    Activity(CancellationType),
    Timer,
    Child(Child),
    /// A signal or a request to cancel; what is sent cannot be taken back.
    External,
    Local(ActivityType),
}

/// What is known of a child.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) workflow_id: WorkflowId,
    /// The first run of its chain, once it is started.
    pub(super) first_run: Option<RunId>,
    cancellation: ChildCancellationType,
    /// Whether the request to cancel it was delivered, or cannot be.
    answered: bool,
}

/// How an operation ended.
#[derive(Debug, Clone)]
pub(crate) enum Settled {
    /// The activity or the child gave a value.
    Completed(Payload),
    /// The activity or the child failed.
    Failed { failure: Box<Failure>, retry_state: Option<RetryState> },
    /// The child could not be started.
    NotStarted,
    /// The timer fired; the signal or the request to cancel arrived.
    Done,
    /// The signal or the request to cancel did not arrive.
    Undelivered(ExternalWorkflowExecutionFailedCause),
    /// The call was cancelled with its scope.
    Cancelled,
}

/// Where an operation is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its command was made in this task; history does not know of it.
    Requested,
    /// It is in history and has no outcome.
    Recorded,
    /// It was asked to stop, and its outcome is awaited.
    Canceling,
    /// It has an outcome that its future has not taken.
    Settled(Settled),
}

/// What a task makes. One operation makes at most one command in a task, under its number; what has no number of its
/// own stands behind the operation that was made last before it.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) commands: BTreeMap<(Sequence, u32), Made>,
    /// Notes since the task began.
    pub(super) notes: u32,
    /// Local activities that the runtime was not told of yet.
    pub(super) local: BTreeMap<Sequence, LocalActivityTask>,
    /// Those that it is to stop.
    pub(super) stopped: Vec<Sequence>,
}

impl Outgoing {
    pub(super) fn command(&mut self, sequence: Sequence, made: Made) {
        self.commands.insert((sequence, 0), made);
    }

    /// Takes what the runtime is to do about local activities.
    pub(super) fn take_local(&mut self) -> LocalActivities {
        let run = std::mem::take(&mut self.local).into_values().collect();
        LocalActivities { run, stop: std::mem::take(&mut self.stopped) }
    }
}

/// An operation in memory.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) phase: Phase,
    pub(super) at: &'static Location<'static>,
    pub(super) scope: Rc<Scope>,
    /// Whether its outcome comes later in the task that is being run.
    pub(super) announced: bool,
    pub(super) waker: Option<Waker>,
    pub(super) kind: Kind,
    /// Whether a child was asked to cancel itself.
    asked: bool,
}

impl Operation {
    pub(super) fn new(kind: Kind, at: &'static Location<'static>, scope: Rc<Scope>, waker: Waker) -> Self {
        Self { phase: Phase::Requested, at, scope, announced: false, waker: Some(waker), kind, asked: false }
    }

    /// Notes that its command is in history.
    pub(super) fn recorded(&mut self) {
        if let Phase::Requested = self.phase {
            self.phase = Phase::Recorded;
        }
    }

    /// Says whether it has an outcome.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Settled(_))
    }

    /// Takes the outcome, if it is the first; gives who is to be woken.
    pub(super) fn settle(&mut self, outcome: impl FnOnce() -> Settled) -> Option<Waker> {
        if self.is_settled() {
            return None;
        }
        self.phase = Phase::Settled(outcome());
        self.waker.take()
    }

    /// Notes that a child runs; gives who is to be woken.
    pub(super) fn child_started(&mut self, run_id: RunId) -> Option<Waker> {
        let Kind::Child(child) = &mut self.kind else { return None };
        child.first_run = Some(run_id);
        self.waker.clone()
    }

    /// Takes what became of a request to cancel; gives who is to be woken.
    pub(super) fn cancel_answered(&mut self, outcome: Settled) -> Option<Waker> {
        let Kind::Child(child) = &mut self.kind else { return self.settle(|| outcome) };
        child.answered = true;
        let waits_for_this = child.cancellation == ChildCancellationType::WaitCancellationRequested;
        if waits_for_this && matches!(self.phase, Phase::Canceling) { self.settle(|| Settled::Cancelled) } else { None }
    }

    /// Ends it because its scope is cancelled; gives who is to be woken.
    pub(super) fn cancel(&mut self, sequence: Sequence, out: &mut Outgoing) -> Option<Waker> {
        if matches!(self.phase, Phase::Settled(_) | Phase::Canceling) {
            return None;
        }
        let recorded = matches!(self.phase, Phase::Recorded);
        let waits = match &self.kind {
            Kind::Activity(cancellation) => *cancellation == CancellationType::WaitCancellationCompleted,
            Kind::Child(child) => match child.cancellation {
                ChildCancellationType::WaitCancellationCompleted => true,
                ChildCancellationType::WaitCancellationRequested => !child.answered,
                ChildCancellationType::TryCancel | ChildCancellationType::Abandon => false,
            },
            // The answer is on its way, and comes soon.
            Kind::External if recorded => return None,
            Kind::Timer | Kind::External | Kind::Local(_) => false,
        };
        // An announced outcome is as good as the one that the request would bring.
        self.give_up(sequence, out);
        if recorded && waits {
            self.phase = Phase::Canceling;
            return None;
        }
        self.phase = Phase::Settled(Settled::Cancelled);
        self.waker.take()
    }

    /// Makes the command that its end without an outcome needs, or takes back the one that began it.
    pub(super) fn give_up(&mut self, sequence: Sequence, out: &mut Outgoing) {
        let command = match (&self.phase, &self.kind) {
            (Phase::Settled(_) | Phase::Canceling, _) => return,
            (_, Kind::Local(_)) => {
                if out.local.remove(&sequence).is_none() {
                    out.stopped.push(sequence);
                }
                return;
            }
            (Phase::Requested, _) => return drop(out.commands.remove(&(sequence, 0))),
            // No row and no attempt is left to be told once the outcome is in, so the core would make no event.
            (Phase::Recorded, _) if self.announced => return,
            (Phase::Recorded, Kind::Activity(CancellationType::Abandon) | Kind::External) => return,
            (Phase::Recorded, Kind::Activity(_)) => Command::RequestCancelActivityTask { activity_id: sequence },
            (Phase::Recorded, Kind::Timer) => Command::CancelTimer { timer_id: sequence },
            (Phase::Recorded, Kind::Child(child)) => {
                if child.cancellation == ChildCancellationType::Abandon || self.asked {
                    return;
                }
                self.asked = true;
                cancel_child(sequence, GIVEN_UP.to_owned())
            }
        };
        out.command(sequence, Made::new(command, self.at));
    }

    /// Asks a child to cancel itself because the code says so; what it comes to is awaited as before.
    pub(super) fn ask_child(
        &mut self,
        sequence: Sequence,
        reason: String,
        at: &'static Location<'static>,
        out: &mut Outgoing,
    ) {
        let open = matches!(self.phase, Phase::Recorded | Phase::Canceling);
        if open && !self.announced && !std::mem::replace(&mut self.asked, true) {
            out.command(sequence, Made { explicit: true, ..Made::new(cancel_child(sequence, reason), at) });
        }
    }
}

fn cancel_child(child_id: Sequence, reason: String) -> Command {
    Command::RequestCancelExternalWorkflowExecution { target: CancelTarget::Child(child_id), reason }
}
