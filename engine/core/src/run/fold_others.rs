//! What the events of children, of business with other runs, of updates and attributes make of a run.

use std::sync::Arc;

use super::{
    PendingChild, Run,
    fold::{check, object},
};
use crate::{
    event::{Event, EventKind},
    ids::ChildId,
    payload::Payload,
    update::UpdateState,
};

impl Run {
    pub(super) fn fold_child(&mut self, event: &Event) -> Result<(), String> {
        match &event.event {
            EventKind::StartChildWorkflowExecutionInitiated(it) => {
                let child = PendingChild {
                    initiated: Arc::new((**it).clone()),
                    initiated_event_id: event.event_id,
                    started_event_id: None,
                    cancel_requested: false,
                };
                let before = self.rare_mut().children.insert(it.child_id, child);
                check(before.is_none(), || "the child id is in use")
            }
            EventKind::ChildWorkflowExecutionStarted(it) => {
                let child = self.pending_child(it.child_id, it.initiated_event_id)?;
                check(child.started_event_id.is_none(), || "the child runs already")?;
                check(child.initiated.run_id == it.run_id, || "it is another run than the one asked for")?;
                child.started_event_id = Some(event.event_id);
                self.unseen = true;
                Ok(())
            }
            EventKind::StartChildWorkflowExecutionFailed(it) => {
                let child = self.pending_child(it.child_id, it.initiated_event_id)?;
                check(child.started_event_id.is_none(), || "the child runs already")?;
                self.end_child(it.child_id);
                Ok(())
            }
            EventKind::ChildWorkflowExecutionCompleted(it) => self.close_child(it.child_id, it.initiated_event_id),
            EventKind::ChildWorkflowExecutionFailed(it) => self.close_child(it.child_id, it.initiated_event_id),
            EventKind::ChildWorkflowExecutionCanceled(it) => self.close_child(it.child_id, it.initiated_event_id),
            EventKind::ChildWorkflowExecutionTimedOut(it) => self.close_child(it.child_id, it.initiated_event_id),
            EventKind::ChildWorkflowExecutionTerminated(it) => self.close_child(it.child_id, it.initiated_event_id),
            other => Err(format!("{} is no event of a child", other.name())),
        }
    }

    fn pending_child(&mut self, child_id: ChildId, event_id: i64) -> Result<&mut PendingChild, String> {
        let children = self.rare.as_mut().map(|rare| &mut rare.children);
        children
            .and_then(|children| children.get_mut(&child_id))
            .filter(|child| child.initiated_event_id == event_id)
            .ok_or_else(|| format!("child {child_id} of event {event_id} is not pending"))
    }

    fn close_child(&mut self, child_id: ChildId, initiated_event_id: i64) -> Result<(), String> {
        let child = self.pending_child(child_id, initiated_event_id)?;
        check(child.started_event_id.is_some(), || "the child was not started")?;
        self.end_child(child_id);
        Ok(())
    }

    fn end_child(&mut self, child_id: ChildId) {
        self.rare_mut().children.remove(&child_id);
        self.unseen = true;
    }

    pub(super) fn fold_external(&mut self, event: &Event) -> Result<(), String> {
        let ended = match &event.event {
            EventKind::SignalExternalWorkflowExecutionInitiated(it) => {
                let before = self.rare_mut().external_signals.insert(it.signal_id, event.event_id);
                return check(before.is_none(), || "the signal id is in use");
            }
            EventKind::RequestCancelExternalWorkflowExecutionInitiated(it) => {
                let rare = self.rare_mut();
                if it.child {
                    let child = rare.children.get_mut(&it.cancel_id).ok_or("the child is not pending")?;
                    child.cancel_requested = true;
                }
                let before = rare.external_cancels.insert(it.cancel_id, event.event_id);
                return check(before.is_none(), || "the cancel id is in use");
            }
            EventKind::SignalExternalWorkflowExecutionFailed(it) => {
                (it.initiated_event_id, self.rare_mut().external_signals.remove(&it.signal_id))
            }
            EventKind::ExternalWorkflowExecutionSignaled(it) => {
                (it.initiated_event_id, self.rare_mut().external_signals.remove(&it.signal_id))
            }
            EventKind::RequestCancelExternalWorkflowExecutionFailed(it) => {
                (it.initiated_event_id, self.rare_mut().external_cancels.remove(&it.cancel_id))
            }
            EventKind::ExternalWorkflowExecutionCancelRequested(it) => {
                (it.initiated_event_id, self.rare_mut().external_cancels.remove(&it.cancel_id))
            }
            other => return Err(format!("{} is no event between runs", other.name())),
        };
        check(ended.1 == Some(ended.0), || format!("nothing of event {} is pending", ended.0))?;
        self.unseen = true;
        Ok(())
    }

    pub(super) fn fold_update(&mut self, event: &Event) -> Result<(), String> {
        match &event.event {
            EventKind::WorkflowExecutionUpdateAccepted(it) => {
                let state = UpdateState::Accepted { event_id: event.event_id };
                let before = self.rare_mut().updates.insert(it.request.update_id.clone(), state);
                check(before.is_none(), || "the update was accepted already")?;
                self.record(it.message_id)
            }
            EventKind::WorkflowExecutionUpdateCompleted(it) => {
                let state = self.rare_mut().updates.get_mut(&it.update_id).ok_or("no such update was accepted")?;
                let accepted = UpdateState::Accepted { event_id: it.accepted_event_id };
                check(*state == accepted, || "the update is not under way since that event")?;
                *state = UpdateState::Completed { event_id: event.event_id, outcome: it.outcome.clone() };
                Ok(())
            }
            other => Err(format!("{} is no event of an update", other.name())),
        }
    }

    pub(super) fn fold_note(&mut self, event: &Event) -> Result<(), String> {
        match &event.event {
            EventKind::MarkerRecorded(_) => {}
            EventKind::UpsertWorkflowSearchAttributes(it) => {
                let merged = merge(self.search_attributes(), &it.search_attributes)?;
                self.rare_mut().search_attributes = Some(merged);
            }
            EventKind::WorkflowPropertiesModified(it) => {
                let merged = merge(self.memo(), &it.upserted_memo)?;
                self.rare_mut().memo = Some(merged);
            }
            other => return Err(format!("{} is no note of the code", other.name())),
        }
        Ok(())
    }

    pub(super) fn fold_pause(&mut self, event: &Event) -> Result<(), String> {
        let message_id = match &event.event {
            EventKind::WorkflowExecutionPaused(it) => {
                let before = self.rare_mut().paused_event_id.replace(event.event_id);
                check(before.is_none(), || "the run is paused already")?;
                it.message_id
            }
            EventKind::WorkflowExecutionUnpaused(it) => {
                let before = self.rare_mut().paused_event_id.take();
                check(before.is_some(), || "the run is not paused")?;
                it.message_id
            }
            other => return Err(format!("{} pauses nothing", other.name())),
        };
        self.record(message_id)
    }
}

/// Lays the fields of one JSON object over another, as upserts of memo and search attributes do; `null` removes.
///
/// # Errors
/// In words, when one of the two is no object.
pub fn merge(before: Option<&Payload>, changes: &Payload) -> Result<Payload, String> {
    let mut merged = before.map(object).transpose()?.unwrap_or_default();
    for (name, value) in object(changes)? {
        if value.is_null() {
            merged.remove(&name);
        } else {
            merged.insert(name, value);
        }
    }
    Payload::encode("attributes", &merged).map_err(|error| error.to_string())
}
