//! Messages to a run from outside its owner: they wait in its inbox until the owner moves them into history.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    activity::ActivityOutcome,
    ids::{ActivityId, MessageId, RunId, TimerId},
    payload::Payload,
};

/// A message with the identity that makes a resend harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    fn derived(run_id: RunId, parts: &[&[u8]]) -> Self {
        let mut name = run_id.0.as_bytes().to_vec();
        for part in parts {
            name.extend_from_slice(part);
        }
        Self(Uuid::new_v5(&ENGINE_MESSAGES, &name))
    }
}
