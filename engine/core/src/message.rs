//! Messages to a run from outside its owner: they wait in its inbox until the owner moves them into history.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    activity::ActivityOutcome,
    child::ChildClosed,
    ids::{ActivityId, MessageId, RunId, TimerId},
    outbox::OutboxAnswer,
    payload::Payload,
    update::UpdateRequest,
};

/// A message with the identity that makes a resend harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Made by the sender (version 7 for callers, so that the order of one sender is the order of ids; derived from
    /// what it says for the engine's own).
    pub id: MessageId,
    /// What it says.
    pub body: MessageBody,
}

/// What a message says. Its JSON is a stored format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageBody {
    /// A signal.
    Signal {
        /// The signal's name.
        name: String,
        /// Its value.
        input: Payload,
        /// Who sent it.
        #[serde(default)]
        identity: String,
    },
    /// A request that the run cancel itself.
    Cancel {
        /// Why.
        #[serde(default)]
        reason: String,
        /// Who asked.
        #[serde(default)]
        identity: String,
    },
    /// An order that the run end at once.
    Terminate {
        /// Why.
        #[serde(default)]
        reason: String,
        /// Who ordered it.
        #[serde(default)]
        identity: String,
    },
    /// What became of an attempt that ran in another process, or that nobody watched any more.
    ActivityOutcome(Box<ActivityOutcome>),
    /// A timer's time has come.
    TimerDue {
        /// The timer.
        timer_id: TimerId,
    },
    /// What became of something that the run wanted of another.
    OutboxAnswer {
        /// The event that asked.
        event_id: i64,
        /// What became of it.
        answer: OutboxAnswer,
    },
    /// A child has closed.
    ChildClosed(Box<ChildClosed>),
    /// A request that the run's code validates and answers.
    Update(Box<UpdateRequest>),
    /// An order that no workflow task start.
    Pause {
        /// Why.
        #[serde(default)]
        reason: String,
        /// Who ordered it.
        #[serde(default)]
        identity: String,
    },
    /// An order that workflow tasks start again.
    Unpause {
        /// Why.
        #[serde(default)]
        reason: String,
        /// Who ordered it.
        #[serde(default)]
        identity: String,
    },
    /// An order that a failing workflow task be tried at once. Nothing of it is in the history.
    RetryWorkflowTask,
    /// An order that no further attempt of an activity begin.
    PauseActivity {
        /// The activity.
        activity_id: ActivityId,
    },
    /// An order that attempts of an activity begin again.
    UnpauseActivity {
        /// The activity.
        activity_id: ActivityId,
    },
    /// An order that a waiting attempt begin at once, and that attempts be counted from this one.
    ResetActivity {
        /// The activity.
        activity_id: ActivityId,
    },
    /// A sign of life of an attempt that completes asynchronously.
    ActivityHeartbeat {
        /// The activity.
        activity_id: ActivityId,
        /// The attempt.
        attempt: u32,
        /// What the next attempt should know.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        details: Option<Payload>,
    },
}

/// The name space of the ids that the engine derives for its own messages; a constant of the stored format.
const ENGINE_MESSAGES: Uuid = Uuid::from_u128(0xdaca_9000_0000_4000_8000_0000_0000_0001);

impl MessageId {
    /// Derives the id of "this timer of this run is due": the same however often it is sent.
    pub fn timer_due(run_id: RunId, timer_id: TimerId) -> Self {
        Self::derived(run_id, &[b"timer", &timer_id.to_be_bytes()])
    }

    /// Derives the id of "this is what became of this attempt": the same however often it is sent.
    pub fn activity_outcome(run_id: RunId, activity_id: ActivityId, attempt: u32) -> Self {
        Self::derived(run_id, &[b"activity", &activity_id.to_be_bytes(), &attempt.to_be_bytes()])
    }

    /// Derives the id of "this attempt will be completed from outside": another than that of its outcome.
    pub fn activity_asynchronous(run_id: RunId, activity_id: ActivityId, attempt: u32) -> Self {
        Self::derived(run_id, &[b"asynchronous", &activity_id.to_be_bytes(), &attempt.to_be_bytes()])
    }

    /// Derives the id of "this is what became of what this event wanted of another run".
    pub fn outbox_answer(run_id: RunId, event_id: i64) -> Self {
        Self::derived(run_id, &[b"answer", &event_id.to_be_bytes()])
    }

    fn derived(run_id: RunId, parts: &[&[u8]]) -> Self {
        let mut name = run_id.0.as_bytes().to_vec();
        for part in parts {
            name.extend_from_slice(part);
        }
        Self(Uuid::new_v5(&ENGINE_MESSAGES, &name))
    }
}
