//! Markers: what a workflow's code must not compute twice, kept in its history.

use serde::{Deserialize, Serialize};

use crate::{failure::Failure, ids::ActivityType, payload::Payload};

/// How a local activity ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LocalActivityOutcome {
    /// With a value.
    Completed(Payload),
    /// With a failure, after its last attempt.
    Failed(Box<Failure>),
}

/// What a marker holds. Its JSON is a stored format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Marker {
    /// A value that the code computed once.
    SideEffect {
        /// The value.
        value: Payload,
    },
    /// The outcome of an activity that ran beside the workflow's code.
    LocalActivity {
        /// Which activity.
        activity_type: ActivityType,
        /// The attempts that were made.
        attempts: u32,
        /// How the last one ended.
        outcome: LocalActivityOutcome,
    },
    /// The run takes the new branch of a change to the code.
    Patch {
        /// The change's name.
        patch_id: String,
        /// Whether the old branch is gone from the code.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        deprecated: bool,
    },
}

impl Marker {
    /// The marker's name as shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SideEffect { .. } => "SideEffect",
            Self::LocalActivity { .. } => "LocalActivity",
            Self::Patch { .. } => "Patch",
        }
    }

    /// The user data in it, in bytes.
    pub(crate) fn user_bytes(&self) -> usize {
        match self {
            Self::SideEffect { value } => value.as_json().len(),
            Self::LocalActivity { outcome: LocalActivityOutcome::Completed(value), .. } => value.as_json().len(),
            Self::LocalActivity { outcome: LocalActivityOutcome::Failed(failure), .. } => failure.stored_bytes(),
            Self::Patch { patch_id, .. } => patch_id.len(),
        }
    }
}
