//! What history knows of a task that is run again: what its code must be given in place of what it would compute.

use std::collections::{BTreeMap, BTreeSet};

use dacapo_core::{
    Event, EventKind, Marker, Payload, UpdateRequest, WorkflowId, ids::Sequence, marker::LocalActivityOutcome,
};

/// What the commands of a task have put into history.
#[derive(Debug, Default)]
pub(crate) struct TaskRecord {
    side_effects: BTreeMap<Sequence, Payload>,
    patches: BTreeSet<String>,
    child_ids: BTreeMap<Sequence, WorkflowId>,
    /// Local activities whose outcome the code was given in this task, with their attempts, by number.
    pub(crate) ended: Vec<(Sequence, u32, LocalActivityOutcome)>,
    /// Updates that the code took on in this task, in this order.
    pub(crate) accepted: Vec<UpdateRequest>,
}

impl TaskRecord {
    /// Reads the events that the commands of a task made.
    pub(crate) fn of(commands: &[&Event]) -> Self {
        let mut record = Self::default();
        for event in commands {
            match &event.event {
                EventKind::MarkerRecorded(recorded) => match &recorded.marker {
                    Marker::SideEffect { value } => {
                        record.side_effects.insert(recorded.marker_id, value.clone());
                    }
                    Marker::LocalActivity { attempts, outcome, .. } => {
                        record.ended.push((recorded.marker_id, *attempts, outcome.clone()));
                    }
                    Marker::Patch { patch_id, .. } => {
                        record.patches.insert(patch_id.clone());
                    }
                },
                EventKind::StartChildWorkflowExecutionInitiated(child) => {
                    record.child_ids.insert(child.child_id, child.workflow_id.clone());
                }
                EventKind::WorkflowExecutionUpdateAccepted(update) => record.accepted.push(update.request.clone()),
                _ => {}
            }
        }
        record
    }

    pub(super) fn side_effect(&self, sequence: Sequence) -> Option<&Payload> {
        self.side_effects.get(&sequence)
    }

    pub(super) fn has_patch(&self, patch_id: &str) -> bool {
        self.patches.contains(patch_id)
    }

    pub(super) fn patches(&self) -> impl Iterator<Item = &String> {
        self.patches.iter()
    }

    /// The workflow id that a child was started under: in a branch of a history, one that names the other run.
    pub(super) fn child_id(&self, sequence: Sequence) -> Option<WorkflowId> {
        self.child_ids.get(&sequence).cloned()
    }
}
