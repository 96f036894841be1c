//! Memo and search attributes of a run as its code has left them.

use dacapo_core::{Command, Payload, event::WorkflowExecutionStarted, run::merge};

/// What the run was started with and what its code has changed since: the same at every replay, since the code itself
/// makes the changes.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) memo: Option<Payload>,
    pub(super) search_attributes: Option<Payload>,
}

impl Attributes {
    pub(super) fn of(started: &WorkflowExecutionStarted) -> Self {
        Self { memo: started.memo.clone(), search_attributes: started.search_attributes.clone() }
    }

    /// Takes a change. One that cannot be made is refused with the command, so it changes nothing here.
    pub(super) fn note(&mut self, command: &Command) {
        match command {
            Command::UpsertWorkflowSearchAttributes { search_attributes: changes } => {
                change(&mut self.search_attributes, changes);
            }
            Command::ModifyWorkflowProperties { upserted_memo } => change(&mut self.memo, upserted_memo),
            _ => {}
        }
    }
}

fn change(attributes: &mut Option<Payload>, changes: &Payload) {
    if let Ok(merged) = merge(attributes.as_ref(), changes) {
        *attributes = Some(merged);
    }
}
