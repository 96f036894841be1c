//! The hot calls: writes of owned runs, starts, messages.

use std::fmt;

use super::StoreError;
use crate::{
    ids::{RunId, RunKey, WorkerId},
    message::Message,
    start::StartWorkflow,
    time::Timestamp,
    transition::Transition,
};

/// Where the answer to a hot call goes; called once, from the store's tasks, and must not block.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    /// Makes a reply of what is to be done with the answer.
    pub fn new(answer: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(answer))
    }

    /// Answers.
    pub fn send(self, answer: T) {
        (self.0)(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// The transition of an owned run with the fence it must pass.
#[derive(Debug)]
pub struct RunWrite {
    /// The writer.
    pub owner: WorkerId,
    /// The run's owner epoch under which the writer owns it.
    pub owner_epoch: i32,
    /// What to write. That its place in the history is taken is found out and fenced; that an event is missing before it is
    /// not, so nothing is made on top of a write whose answer is not there yet.
    pub transition: Box<Transition>,
}

/// What became of a write.
#[derive(Debug, Clone)]
pub enum WriteOutcome {
    /// It is committed.
    Applied,
    /// The run is not the writer's any more, or is elsewhere in its history. Drop it.
    Fenced,
    /// The run was not closed, because its inbox holds messages that the transition does not consume. Take them first.
    InboxNotEmpty,
    /// The connection was lost: nobody knows yet. Resolve it by [`super::Store::fence`].
    Unknown,
    /// The database refuses this very item, for ever (a value it cannot store, for example).
    Rejected(StoreError),
}

/// A start with the first rows of the run.
#[derive(Debug)]
pub struct StartWrite {
    /// What the caller asked for: ids, policies.
    pub request: StartWorkflow,
    /// The first transition; it does not close the run.
    pub transition: Transition,
    /// The worker that owns the run from its first moment; without one it is ready for whoever claims it.
    pub owner: Option<WorkerId>,
    /// Not before, for a run without an owner.
    pub ready_at: Timestamp,
}

/// What became of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartOutcome {
    /// The run exists, under its owner with owner epoch 1 if the start named one.
    Started,
    /// The same request was carried out before; this is its run. `owned` says that it is the very run of this start and
    /// still belongs to the worker that the start named.
    Duplicate {
        /// The run of the request.
        run: RunKey,
        /// Whether the worker named in the start owns it.
        owned: bool,
    },
    /// A run with the workflow id is open and the conflict policy says to use it. A signal that came with the start is
    /// in its inbox.
    UsedExisting {
        /// The open run.
        run: RunKey,
    },
    /// A run with the workflow id is open and the conflict policy says to fail.
    AlreadyOpen {
        /// The open run.
        run_id: RunId,
    },
    /// The reuse policy forbids the workflow id after its last run.
    ReuseRefused {
        /// The closed run.
        run_id: RunId,
    },
    /// The worker that was to own the run is no member of the fleet any more; nothing was started.
    OwnerLost,
}

/// A message to a run.
#[derive(Debug)]
pub struct SendMessage {
    /// The run.
    pub run: RunKey,
    /// The message.
    pub message: Message,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// It is in the inbox, or was recorded before; for a termination: the run is closed.
    Accepted,
    /// The run is closed (or never was) and does not hold the message.
    NotOpen,
    /// The run has received as many signals as a run may.
    TooManySignals,
}

/// What catching up with committed transactions came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaughtUp {
    /// The rows that were delivered.
    pub delivered: u64,
    /// Why the start that was asked about was refused: [`StartOutcome::AlreadyOpen`] or [`StartOutcome::ReuseRefused`].
    pub refused: Option<StartOutcome>,
}
