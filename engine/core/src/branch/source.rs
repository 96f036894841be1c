//! A branch of a stored run: what a store is asked for, and what it is to write for it.

use super::{Fork, InvalidBranch, Reset, fork, reset};
use crate::{
    apply::Turn,
    event::{Event, EventKind},
    ids::{MessageId, Namespace, RunId, RunKey, WorkerId, WorkflowId},
    lineage::BranchKind,
    run::Run,
    store::LoadedRun,
    time::Timestamp,
    transition::{Successor, Transition},
};

/// How a run is branched.
#[derive(Clone, Debug)]
pub enum BranchPlan {
    /// Another run takes its place.
    Reset(Reset),
    /// Another run begins beside it.
    Fork(Fork),
}

/// A branch of a stored run.
#[derive(Clone, Debug)]
pub struct BranchRun {
    /// The run whose history is copied.
    pub source: RunKey,
    /// How.
    pub plan: BranchPlan,
    /// The caller's id for this request: the same one for the same workflow id always leads to the same run.
    pub request_id: String,
    /// Who asks.
    pub identity: String,
}

impl BranchRun {
    /// The new run's id.
    pub fn run_id(&self) -> RunId {
        match &self.plan {
            BranchPlan::Reset(reset) => reset.run_id,
            BranchPlan::Fork(fork) => fork.run_id,
        }
    }

    /// How the new run stands to its source.
    pub fn kind(&self) -> BranchKind {
        match self.plan {
            BranchPlan::Reset(_) => BranchKind::Reset,
            BranchPlan::Fork(_) => BranchKind::Fork,
        }
    }

    /// What the request is remembered by among the requests of starts, of which none has a control character.
    pub fn remembered_by(&self) -> String {
        format!("branch\n{}", self.request_id)
    }

    /// The namespace and workflow id of the new run.
    pub fn new_name(&self, source: &[Event]) -> Option<(Namespace, WorkflowId)> {
        let Some(EventKind::WorkflowExecutionStarted(started)) = source.first().map(|event| &event.event) else {
            return None;
        };
        let workflow_id = match &self.plan {
            BranchPlan::Reset(_) => started.workflow_id.clone(),
            BranchPlan::Fork(fork) => fork.workflow_id.clone(),
        };
        Some((started.namespace.clone(), workflow_id))
    }

    /// Plans the new run from the history of a run that it leaves as it is: the source of a fork, or a closed one.
    ///
    /// # Errors
    /// [`InvalidBranch`] says what is in the way.
    pub fn beside(&self, history: &[Event], now: Timestamp) -> Result<Box<Successor>, InvalidBranch> {
        match &self.plan {
            BranchPlan::Reset(asked) => reset(history, asked, now),
            BranchPlan::Fork(asked) => fork(history, asked, now),
        }
    }

    /// Plans the end of an open run together with the start of the new one. What waits in the inbox is recorded first, so
    /// that it is in the history that the new run takes later messages from. Gives the transition, and the owner and epoch
    /// under which it is to be written.
    ///
    /// # Errors
    /// [`InvalidBranch`] says what is in the way.
    pub fn in_place_of(
        &self,
        source: LoadedRun,
        now: Timestamp,
    ) -> Result<(Box<Transition>, Option<WorkerId>, i32), InvalidBranch> {
        let LoadedRun { owner, owner_epoch, mut events, inbox, activities, .. } = source;
        let mut run = Run::from_history(&events)?;
        activities.iter().for_each(|(row, _)| run.restore_activity(row));
        let mut turn = Turn::begin(&mut run, now);
        inbox.into_iter().for_each(|message| turn.message(message));
        events.extend_from_slice(turn.events());
        let successor = self.beside(&events, now)?;
        let reason = format!("reset to {}", successor_words(&successor));
        turn.replace(MessageId(self.run_id().0), reason, self.identity.clone(), successor);
        Ok((turn.finish(), owner, owner_epoch))
    }
}

/// The new run, and why, for the history of the old one.
fn successor_words(successor: &Successor) -> String {
    let run_id = successor.request.run_id;
    let from = successor.request.lineage.as_ref().and_then(|lineage| lineage.branched_from.as_ref());
    let (event_id, reason) = from.map_or((0, ""), |from| (from.event_id, from.reason.as_str()));
    match reason {
        "" => format!("event {event_id} as run {run_id}"),
        reason => format!("event {event_id} as run {run_id}: {reason}"),
    }
}
