//! One activity or timer that the code has begun: from its command to its outcome.

use std::{collections::BTreeMap, panic::Location, task::Waker, time::Duration};

use dacapo_core::{
    ActivityOptions, ActivityType, CancellationType, Command, Failure, Payload, RetryState, ids::Sequence,
};

use super::Made;

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
}

impl Request {
    /// Makes the command, and what is remembered of it.
    pub(super) fn split(self, sequence: Sequence) -> (Command, Kind) {
        match self {
            Self::Activity { activity_type, input, options, cancellation } => (
                Command::ScheduleActivityTask { activity_id: sequence, activity_type, input, options },
                Kind::Activity(cancellation),
            ),
            Self::Timer { after } => (Command::StartTimer { timer_id: sequence, after }, Kind::Timer),
        }
    }
}

/// What kind of operation it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Activity(CancellationType),
    Timer,
}

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum Settled {
    /// The activity gave a value.
    Completed(Payload),
    /// The activity failed.
    Failed { failure: Box<Failure>, retry_state: Option<RetryState> },
    /// The timer fired.
    Fired,
    /// The call was cancelled with the run.
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

/// An operation in memory.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) phase: Phase,
    pub(super) at: &'static Location<'static>,
    pub(super) shielded: bool,
    /// Whether its outcome comes later in the task that is being run.
    pub(super) announced: bool,
    pub(super) waker: Option<Waker>,
    kind: Kind,
}

impl Operation {
    pub(super) fn new(kind: Kind, at: &'static Location<'static>, shielded: bool, waker: Waker) -> Self {
        Self { phase: Phase::Requested, at, shielded, announced: false, waker: Some(waker), kind }
    }

    /// Notes that its command is in history.
    pub(super) fn recorded(&mut self) {
        if let Phase::Requested = self.phase {
            self.phase = Phase::Recorded;
        }
    }

    /// Takes the outcome, if it is the first; gives who is to be woken.
    pub(super) fn settle(&mut self, outcome: impl FnOnce() -> Settled) -> Option<Waker> {
        if let Phase::Settled(_) = self.phase {
            return None;
        }
        self.phase = Phase::Settled(outcome());
        self.waker.take()
    }

    /// Ends it because the run is cancelled; gives who is to be woken.
    pub(super) fn cancel(&mut self, sequence: Sequence, commands: &mut BTreeMap<Sequence, Made>) -> Option<Waker> {
        match (&self.phase, self.kind) {
            (Phase::Settled(_) | Phase::Canceling, _) => return None,
            (Phase::Recorded, Kind::Activity(CancellationType::WaitCancellationCompleted)) => {
                // The announced outcome is as good as the one that the request would bring.
                self.give_up(sequence, commands);
                self.phase = Phase::Canceling;
                return None;
            }
            (Phase::Requested | Phase::Recorded, _) => self.give_up(sequence, commands),
        }
        self.phase = Phase::Settled(Settled::Cancelled);
        self.waker.take()
    }

    /// Makes the command that its end without an outcome needs, or takes back the one that began it.
    pub(super) fn give_up(&mut self, sequence: Sequence, commands: &mut BTreeMap<Sequence, Made>) {
        let command = match (&self.phase, self.kind) {
            (Phase::Settled(_) | Phase::Canceling, _) => return,
            (Phase::Requested, _) => return drop(commands.remove(&sequence)),
            (Phase::Recorded, Kind::Activity(CancellationType::Abandon)) => return,
            // No row and no attempt is left to be told once the outcome is in, so the core would make no event.
            (Phase::Recorded, _) if self.announced => return,
            (Phase::Recorded, Kind::Activity(_)) => Command::RequestCancelActivityTask { activity_id: sequence },
            (Phase::Recorded, Kind::Timer) => Command::CancelTimer { timer_id: sequence },
        };
        commands.insert(sequence, Made { command, at: Some(self.at) });
    }
}
