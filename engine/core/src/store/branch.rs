//! Branches of runs: what became of one, and what is kept of all.

use crate::{
    branch::InvalidBranch,
    ids::{RunId, RunKey, WorkflowId},
    lineage::BranchKind,
    time::Timestamp,
};

/// What became of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BranchOutcome {
    /// The new run exists, and an open source of a reset has ended.
    Branched {
        /// The new run.
        run: RunKey,
        /// The last event that was copied.
        event_id: i64,
    },
    /// The same request was carried out before; this is its run.
    Duplicate {
        /// The run of the request.
        run: RunKey,
    },
    /// There is no such source.
    NotFound,
    /// Another run is open under the new run's workflow id.
    AlreadyOpen {
        /// The open run.
        run_id: RunId,
    },
    /// The history cannot be branched as asked.
    Refused(InvalidBranch),
}

/// A run that was branched from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchInfo {
    /// How it stands to the other.
    pub kind: BranchKind,
    /// Its workflow id.
    pub workflow_id: WorkflowId,
    /// The run.
    pub run_id: RunId,
    /// The last event that was copied.
    pub event_id: i64,
    /// When.
    pub at: Timestamp,
}
