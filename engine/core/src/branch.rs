//! Branches of a history: a reset goes on in place of a run, a fork beside it. Nothing in the part that is copied is run
//! again; `docs/workflow-model.md` says what is copied, what is recorded again, and what is dropped.

mod plan;
mod point;
mod source;

#[cfg(test)]
mod tests;

pub use self::{
    point::ResetPoint,
    source::{BranchPlan, BranchRun},
};
use crate::{
    event::Event,
    ids::{ActivityId, RunId, WorkflowId},
    lineage::BranchKind,
    payload::Payload,
    run::CorruptHistory,
    time::Timestamp,
    transition::Successor,
};

/// What becomes of the messages that the source got after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reapply {
    /// Signals are recorded again, accepted updates wait in the inbox again.
    #[default]
    Messages,
    /// They are left behind.
    Nothing,
}

/// A reset: the run goes on from an earlier point as another run under the same workflow id.
#[derive(Clone, Debug)]
pub struct Reset {
    /// Where the new run begins.
    pub point: ResetPoint,
    /// The new run: a fresh version 7 uuid.
    pub run_id: RunId,
    /// Why.
    pub reason: String,
    /// What becomes of later messages.
    pub reapply: Reapply,
}

/// A change to what is copied; what comes after the first workflow task that would see it is dropped.
#[derive(Clone, Debug)]
pub enum Edit {
    /// The workflow's input.
    Input(Payload),
    /// The outcome of an activity becomes this value.
    ActivityResult {
        /// The activity.
        activity_id: ActivityId,
        /// The value.
        result: Payload,
    },
}

/// A fork: another run begins with a part of a run's history, which itself is left alone.
#[derive(Clone, Debug)]
pub struct Fork {
    /// The new run's workflow id.
    pub workflow_id: WorkflowId,
    /// The new run: a fresh version 7 uuid.
    pub run_id: RunId,
    /// Where the new run begins; where the first edit is seen when absent.
    pub point: Option<ResetPoint>,
    /// What is changed.
    pub edits: Vec<Edit>,
    /// Why.
    pub reason: String,
    /// What becomes of later messages.
    pub reapply: Reapply,
}

/// Why a history cannot be branched as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBranch {
    /// The history breaks a rule.
    #[error(transparent)]
    Corrupt(#[from] CorruptHistory),
    /// The point is no start or end of a workflow task.
    #[error("event {event_id} is no start or end of a workflow task: {hint}")]
    NoWorkflowTask {
        /// The event asked for.
        event_id: i64,
        /// Which one is near.
        hint: String,
    },
    /// The history has no such point.
    #[error("nothing to go back to at {point}: {problem}")]
    NoSuchPoint {
        /// The point asked for.
        point: ResetPoint,
        /// What is missing, and the way out.
        problem: String,
    },
    /// Neither a point nor an edit was given.
    #[error("a fork needs a point or an edit: without one it would be the same run again")]
    NoPoint,
    /// An edited activity has no outcome that could be another.
    #[error("activity {activity_id} {problem}")]
    NotEditable {
        /// The activity.
        activity_id: ActivityId,
        /// What is wrong, and the way out.
        problem: String,
    },
    /// Something of another run is under way at the point, and how it ended is not known.
    #[error(
        "{what} of event {event_id} has no outcome yet: choose a point before it was asked for, or wait until it has \
         ended"
    )]
    Pending {
        /// What.
        what: &'static str,
        /// The event that asked for it.
        event_id: i64,
    },
}

/// Plans a reset. The caller ends an open source with the plan as its successor ([`crate::apply::Turn::replace`]), and
/// starts the plan by itself for a closed one.
///
/// # Errors
/// [`InvalidBranch`] says what is in the way; nothing was changed.
pub fn reset(history: &[Event], reset: &Reset, now: Timestamp) -> Result<Box<Successor>, InvalidBranch> {
    let cut = point::cut_at(history, &reset.point)?;
    let branch = plan::Branch {
        kind: BranchKind::Reset,
        workflow_id: None,
        run_id: reset.run_id,
        reason: &reset.reason,
        reapply: reset.reapply,
    };
    branch.make(history, history[..cut].to_vec(), now)
}

/// Plans a fork, to be started like any other run.
///
/// # Errors
/// [`InvalidBranch`] says what is in the way; nothing was changed.
pub fn fork(history: &[Event], fork: &Fork, now: Timestamp) -> Result<Box<Successor>, InvalidBranch> {
    let mut edited = history.to_vec();
    let mut cuts: Vec<usize> =
        fork.point.iter().map(|point| point::cut_at(history, point)).collect::<Result<_, _>>()?;
    let mut places = Vec::new();
    for edit in &fork.edits {
        let place = plan::apply(&mut edited, edit)?;
        cuts.push(plan::seen_at(history, place));
        places.push((place, edit));
    }
    let cut = cuts.into_iter().min().ok_or(InvalidBranch::NoPoint)?;
    for (place, edit) in places {
        if let (true, Edit::ActivityResult { activity_id, .. }) = (place >= cut, edit) {
            let problem =
                format!("has its outcome after event {cut}, where the copy ends: leave out one of the two edits");
            return Err(InvalidBranch::NotEditable { activity_id: *activity_id, problem });
        }
    }
    edited.truncate(cut);
    let branch = plan::Branch {
        kind: BranchKind::Fork,
        workflow_id: Some(&fork.workflow_id),
        run_id: fork.run_id,
        reason: &fork.reason,
        reapply: fork.reapply,
    };
    branch.make(history, edited, now)
}
