//! What the code writes down: values that must not be computed twice, changes to the code, attributes, answers.
//!
//! What has no number of its own must not use one up: a call of `patched` may go from the code one day, and a refused
//! update is in no history, so the numbers of everything else must not depend on them.

use std::panic::Location;

use dacapo_core::{Command, Marker, Payload, RunId, WorkflowId, ids::Sequence};

use super::{Made, RunState};

/// The workflow id of a child that was given none.
pub(crate) fn default_child_id(parent: RunId, child_id: Sequence) -> WorkflowId {
    WorkflowId::new(format!("{parent}/{child_id}"))
}

impl RunState {
    /// Makes a command that begins and ends nothing, behind everything that was made before it.
    pub(crate) fn note(&self, command: Command, at: &'static Location<'static>) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if inner.closed {
            return;
        }
        inner.attributes.note(&command);
        inner.out.notes += 1;
        let place = (inner.last_sequence, inner.out.notes);
        inner.out.commands.insert(place, Made::new(command, at));
    }

    /// Gives the value of a side effect: the recorded one, or a new one, which is recorded.
    pub(crate) fn side_effect(&self, at: &'static Location<'static>, compute: impl FnOnce() -> Payload) -> Payload {
        let marker_id = self.next_sequence(at);
        let recorded = self.inner.borrow().record.as_ref().and_then(|record| record.side_effect(marker_id).cloned());
        // Nothing is borrowed while the code computes.
        let value = recorded.unwrap_or_else(compute);
        let marker = Marker::SideEffect { value: value.clone() };
        let command = Command::RecordMarker { marker_id, marker };
        self.inner.borrow_mut().out.command(marker_id, Made::new(command, at));
        value
    }

    /// Says whether the run takes the new branch of a change, and records that it does. The first answer holds for the
    /// whole run, so that a loop does not change its course half-way.
    pub(crate) fn patched(&self, patch_id: &'static str, deprecated: bool, at: &'static Location<'static>) -> bool {
        self.called_at(at);
        let mut inner = self.inner.borrow_mut();
        if let Some(answer) = inner.patches.get(patch_id) {
            return *answer;
        }
        let before = inner.recorded_patches.contains(patch_id);
        let here = inner.record.as_ref().is_none_or(|record| record.has_patch(patch_id));
        inner.patches.insert(patch_id, before || here);
        drop(inner);
        if here && !before {
            let marker = Marker::Patch { patch_id: patch_id.to_owned(), deprecated };
            self.note(Command::RecordMarker { marker_id: 0, marker }, at);
        }
        before || here
    }

    /// Remembers what a task that is over has recorded.
    pub(crate) fn remember_patches(&self) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if let Some(record) = &inner.record {
            inner.recorded_patches.extend(record.patches().cloned());
        }
    }
}
