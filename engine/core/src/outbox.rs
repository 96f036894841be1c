//! What a transition wants of other runs: rows written with it and carried out afterwards, as often as it takes.
//!
//! A row is the same whoever delivers it and however often: the id of its message (of a start: the run id) is derived
//! from the event that asked, so that a target takes it once. What delivering came to goes back to the run that asked
//! as a message of its own. `docs/workflow-model.md` says what may crash between. Transactions of users write such rows,
//! too, under a source of their own (`docs/transactions.md`).

use serde::{Deserialize, Serialize};

use uuid::Uuid;

use crate::{
    ids::{ChildId, ExternalId, MessageId, Namespace, RunId, RunKey, Shard, WorkflowId},
    message::{Message, MessageBody},
    start::StartWorkflow,
    store::{SendOutcome, StartOutcome},
};

/// The name space of the sources of users' transactions; a constant of the stored format.
const TRANSACTIONS: Uuid = Uuid::from_u128(0xdaca_9000_0000_4000_8000_0000_0000_0003);

/// Which run of a workflow id is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum TargetRun {
    /// The one that is open.
    #[default]
    Open,
    /// This one.
    Run(RunId),
    /// The one that is open, if its chain of retries and continuations began with this one.
    Chain(RunId),
}

impl TargetRun {
    /// Says whether any open run will do.
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

/// Another run, as a workflow names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalTarget {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its workflow id.
    pub workflow_id: WorkflowId,
    /// Which run of it.
    #[serde(default, skip_serializing_if = "TargetRun::is_open")]
    pub run: TargetRun,
}

impl ExternalTarget {
    /// The shard of its rows.
    pub fn shard(&self) -> Shard {
        Shard::of(&self.namespace, &self.workflow_id)
    }

    /// The source of rows that transactions of users write for this workflow id; no run has the id. One source for each
    /// workflow id keeps the order of what is asked of it, and lets the rest go on.
    pub fn transaction_source(&self) -> RunKey {
        let mut name = self.namespace.as_str().as_bytes().to_vec();
        name.push(0);
        name.extend_from_slice(self.workflow_id.as_str().as_bytes());
        RunKey { shard: self.shard(), run_id: RunId(Uuid::new_v5(&TRANSACTIONS, &name)) }
    }
}

/// Who waits for the answer to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asker {
    /// Nobody.
    Nobody,
    /// A child that is to start.
    Child(ChildId),
    /// A signal.
    Signal(ExternalId),
    /// A request to cancel.
    Cancel(ExternalId),
    /// Whoever committed the transaction that wrote the row. What cannot be delivered is kept for him.
    Transaction,
}

/// What is to be done at the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutboxBody {
    /// A run is to be started.
    Start(Box<StartWorkflow>),
    /// A message is to be put into the inbox of a run.
    Message(MessageBody),
}

/// One row: something to be done to another run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// The row's id and that of the message that it delivers. The ids of one run are in the order of its events.
    pub id: MessageId,
    /// The other run.
    pub target: ExternalTarget,
    /// What is to be done there.
    pub body: OutboxBody,
    /// Who waits for the answer.
    pub asker: Asker,
    /// The event that asked.
    pub event_id: i64,
}

/// What delivering a row came to, once that is definite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It is done, or was done before.
    Done,
    /// There is no such open run, and none that has taken the message.
    NotFound,
    /// The target has received as many signals as a run may.
    TooManySignals,
    /// The workflow id is in use, or its reuse is refused.
    AlreadyExists,
}

impl Delivered {
    /// Reads what became of a message.
    pub fn of_send(outcome: &SendOutcome) -> Self {
        match outcome {
            SendOutcome::Accepted => Self::Done,
            SendOutcome::NotOpen => Self::NotFound,
            SendOutcome::TooManySignals => Self::TooManySignals,
        }
    }

    /// Reads what became of the start of a row, made without an owner. `None`: nothing definite, try again.
    pub fn of_start(outcome: &StartOutcome) -> Option<Self> {
        match outcome {
            StartOutcome::Started | StartOutcome::Duplicate { .. } => Some(Self::Done),
            StartOutcome::AlreadyOpen { .. }
            | StartOutcome::ReuseRefused { .. }
            | StartOutcome::UsedExisting { .. } => Some(Self::AlreadyExists),
            StartOutcome::OwnerLost => None,
        }
    }
}

/// Why a child could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartChildWorkflowExecutionFailedCause {
    /// An open run has the workflow id, or its reuse is refused.
    WorkflowAlreadyExists,
}

/// Why a signal or a request to cancel did not reach another run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExternalWorkflowExecutionFailedCause {
    /// There is no such open run.
    ExternalWorkflowExecutionNotFound,
    /// It has received as many signals as a run may.
    SignalCountLimitExceeded,
}

/// What delivering a row came to, for the run that asked. One that nothing waits for any more is only removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutboxAnswer {
    /// A child runs.
    ChildStarted {
        /// The child.
        child_id: ChildId,
    },
    /// A child could not be started.
    StartChildFailed {
        /// The child.
        child_id: ChildId,
        /// Why.
        cause: StartChildWorkflowExecutionFailedCause,
    },
    /// A signal is in the other's inbox.
    Signaled {
        /// The signal.
        signal_id: ExternalId,
    },
    /// A signal did not arrive.
    SignalFailed {
        /// The signal.
        signal_id: ExternalId,
        /// Why.
        cause: ExternalWorkflowExecutionFailedCause,
    },
    /// A request to cancel is in the other's inbox.
    CancelRequested {
        /// The request.
        cancel_id: ExternalId,
    },
    /// A request to cancel did not arrive.
    CancelFailed {
        /// The request.
        cancel_id: ExternalId,
        /// Why.
        cause: ExternalWorkflowExecutionFailedCause,
    },
}

impl OutboxRow {
    /// The message that the row puts into the target's inbox; a start has none.
    pub fn message(&self) -> Option<Message> {
        match &self.body {
            OutboxBody::Start(_) => None,
            OutboxBody::Message(body) => Some(Message { id: self.id, body: body.clone() }),
        }
    }

    /// What the run `source`, whose row this is, is told: the same message however often it is delivered.
    pub fn answer(&self, source: RunId, delivered: Delivered) -> Option<Message> {
        let done = delivered == Delivered::Done;
        let cause = match delivered {
            Delivered::TooManySignals => ExternalWorkflowExecutionFailedCause::SignalCountLimitExceeded,
            Delivered::Done | Delivered::NotFound | Delivered::AlreadyExists => {
                ExternalWorkflowExecutionFailedCause::ExternalWorkflowExecutionNotFound
            }
        };
        let answer = match self.asker {
            Asker::Nobody | Asker::Transaction => return None,
            Asker::Child(child_id) if done => OutboxAnswer::ChildStarted { child_id },
            Asker::Child(child_id) => {
                let cause = StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists;
                OutboxAnswer::StartChildFailed { child_id, cause }
            }
            Asker::Signal(signal_id) if done => OutboxAnswer::Signaled { signal_id },
            Asker::Signal(signal_id) => OutboxAnswer::SignalFailed { signal_id, cause },
            Asker::Cancel(cancel_id) if done => OutboxAnswer::CancelRequested { cancel_id },
            Asker::Cancel(cancel_id) => OutboxAnswer::CancelFailed { cancel_id, cause },
        };
        let id = MessageId::outbox_answer(source, self.event_id);
        Some(Message { id, body: MessageBody::OutboxAnswer { event_id: self.event_id, answer } })
    }
}
