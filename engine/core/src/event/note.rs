//! What the workflow's code writes down: markers, attributes.

use serde::{Deserialize, Serialize};

use crate::{ids::Sequence, marker::Marker, payload::Payload};

/// Attributes of [`EventKind::MarkerRecorded`](super::EventKind::MarkerRecorded).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkerRecorded {
    /// The workflow's number for it.
    pub marker_id: Sequence,
    /// What it holds.
    pub marker: Marker,
}

/// Attributes of [`EventKind::UpsertWorkflowSearchAttributes`](super::EventKind::UpsertWorkflowSearchAttributes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpsertWorkflowSearchAttributes {
    /// The changed ones: a JSON object of scalars, where `null` removes.
    pub search_attributes: Payload,
}

/// Attributes of [`EventKind::WorkflowPropertiesModified`](super::EventKind::WorkflowPropertiesModified).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowPropertiesModified {
    /// The changed notes: a JSON object, where `null` removes.
    pub upserted_memo: Payload,
}
