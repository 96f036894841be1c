//! What most runs never have: children, business with other runs, updates, a pause, changed attributes. A run that has none
//! pays a pointer.

use std::{collections::BTreeMap, sync::Arc};

use super::Run;
use crate::{
    event::StartChildWorkflowExecutionInitiated,
    ids::{ChildId, ExternalId},
    payload::Payload,
    update::UpdateState,
};

/// A child that has not closed.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingChild {
    /// What the workflow asked for.
    pub initiated: Arc<StartChildWorkflowExecutionInitiated>,
    /// The event that holds it.
    pub initiated_event_id: i64,
    /// The event that says that it runs.
    pub started_event_id: Option<i64>,
    /// Whether the workflow asked it to cancel itself.
    pub cancel_requested: bool,
}

/// State that few runs have.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RareState {
    /// Children that have not closed.
    pub children: BTreeMap<ChildId, PendingChild>,
    /// Signals to other runs whose delivery is not known, with the events that asked.
    pub external_signals: BTreeMap<ExternalId, i64>,
    /// Requests to cancel other runs whose delivery is not known, with the events that asked.
    pub external_cancels: BTreeMap<ExternalId, i64>,
    /// Every update that was accepted.
    pub updates: BTreeMap<String, UpdateState>,
    /// The event that paused the run.
    pub paused_event_id: Option<i64>,
    /// The notes, once the workflow has changed them.
    pub memo: Option<Payload>,
    /// What lists filter by, once the workflow has changed it.
    pub search_attributes: Option<Payload>,
}

impl RareState {
    /// The updates that were accepted and have not ended.
    pub fn updates_in_flight(&self) -> impl Iterator<Item = &str> {
        let open = self.updates.iter().filter(|(_, state)| matches!(state, UpdateState::Accepted { .. }));
        open.map(|(update_id, _)| update_id.as_str())
    }
}

impl Run {
    pub(super) fn rare_mut(&mut self) -> &mut RareState {
        self.rare.get_or_insert_default()
    }

    /// Finds a child that has not closed.
    pub fn child(&self, child_id: ChildId) -> Option<&PendingChild> {
        self.rare.as_ref()?.children.get(&child_id)
    }

    /// Finds an update that was accepted.
    pub fn update(&self, update_id: &str) -> Option<&UpdateState> {
        self.rare.as_ref()?.updates.get(update_id)
    }

    /// Says whether no workflow task starts.
    pub fn is_paused(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.paused_event_id.is_some())
    }

    /// The notes as they are now: a JSON object.
    pub fn memo(&self) -> Option<&Payload> {
        self.rare.as_ref().and_then(|rare| rare.memo.as_ref()).or(self.started.memo.as_ref())
    }

    /// What lists filter by, as it is now: a JSON object of scalars.
    pub fn search_attributes(&self) -> Option<&Payload> {
        let changed = self.rare.as_ref().and_then(|rare| rare.search_attributes.as_ref());
        changed.or(self.started.search_attributes.as_ref())
    }
}
