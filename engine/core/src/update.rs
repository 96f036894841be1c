//! Updates: requests that a workflow's code validates, accepts and completes, with one answer for everyone who asks.

use serde::{Deserialize, Serialize};

use crate::{failure::Failure, ids::MessageId, payload::Payload};

/// A request that waits for the workflow's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateRequest {
    /// The caller's id for the update: a second request with it gets the answer of the first.
    pub update_id: String,
    /// Which update.
    pub name: String,
    /// Its input.
    pub input: Payload,
    /// Who asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
}

/// How an accepted update ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateOutcome {
    /// With a value.
    Completed(Payload),
    /// With a failure.
    Failed(Box<Failure>),
}

/// What became of a request so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateStage {
    /// It was refused, and is in no event.
    Rejected {
        /// Why.
        failure: Box<Failure>,
    },
    /// It is in the history, and under way.
    Accepted {
        /// The event that holds it.
        event_id: i64,
    },
    /// It has ended.
    Completed {
        /// The event that says so.
        event_id: i64,
        /// How.
        outcome: UpdateOutcome,
    },
    /// The run closed first.
    Aborted {
        /// In words.
        failure: Box<Failure>,
    },
}

impl UpdateStage {
    /// Says whether nothing follows it.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Accepted { .. })
    }

    /// Of what one request was told and what everyone was told, the one that says more.
    pub fn furthest(own: Option<Self>, everyones: Option<Self>) -> Option<Self> {
        match own {
            Some(own) if own.is_final() => Some(own),
            own => everyones.or(own),
        }
    }
}

/// News for those who wait for an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateProgress {
    /// The update.
    pub update_id: String,
    /// The request that is answered; absent for news of everyone who waits for the update.
    pub message_id: Option<MessageId>,
    /// What became of it.
    pub stage: UpdateStage,
}

/// What a run knows of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateState {
    /// The code has accepted it.
    Accepted {
        /// The event that holds it.
        event_id: i64,
    },
    /// It has ended.
    Completed {
        /// The event that says so.
        event_id: i64,
        /// How.
        outcome: UpdateOutcome,
    },
}

impl UpdateState {
    /// What those who wait are told.
    pub fn stage(&self) -> UpdateStage {
        match self {
            Self::Accepted { event_id } => UpdateStage::Accepted { event_id: *event_id },
            Self::Completed { event_id, outcome } => {
                UpdateStage::Completed { event_id: *event_id, outcome: outcome.clone() }
            }
        }
    }
}
