//! Where a run comes from: the parent that started it, the run that it follows, the run that it was branched from.

use serde::{Deserialize, Serialize};

use crate::{
    child::ParentRun,
    failure::Failure,
    ids::{RunId, WorkflowId},
    time::Timestamp,
};

/// Why a run follows another under the same workflow id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContinueAsNewInitiator {
    /// The workflow's code asked for it.
    Workflow,
    /// The run before failed and its retry policy asks for another.
    Retry,
}

/// The run that a run follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContinuedFrom {
    /// The run before.
    pub run_id: RunId,
    /// Why there is another.
    pub initiator: ContinueAsNewInitiator,
    /// How the run before failed, for a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How a run was branched from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BranchKind {
    /// In place of the other, under its workflow id.
    Reset,
    /// Beside the other, which goes on.
    Fork,
}

/// The run that a run was branched from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchedFrom {
    /// How.
    pub kind: BranchKind,
    /// The other's workflow id.
    pub workflow_id: WorkflowId,
    /// The other run.
    pub run_id: RunId,
    /// The run that the first copy of this history was made of, where the other is a branch itself; `run_id` when
    /// absent. What the copied code drew at random follows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_run_id: Option<RunId>,
    /// The last event that was copied.
    pub event_id: i64,
    /// When: the timeouts of the run and of what is pending in the copy begin here.
    pub at: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl BranchedFrom {
    /// The run that the first of all copies was made of.
    pub fn original_run_id(&self) -> RunId {
        self.original_run_id.unwrap_or(self.run_id)
    }
}

/// Where a run comes from; a run that a client started has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The run that waits for its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentRun>,
    /// The first run of the chain; the run itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_run_id: Option<RunId>,
    /// The run before this one in the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued_from: Option<ContinuedFrom>,
    /// Which attempt of the workflow's retry policy it is, from 1.
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    /// When the execution timeout of the whole chain passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_deadline: Option<Timestamp>,
    /// The run whose history it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branched_from: Option<BranchedFrom>,
}

fn first_attempt() -> u32 {
    1
}

impl Default for Lineage {
    fn default() -> Self {
        Self {
            parent: None,
            first_run_id: None,
            continued_from: None,
            attempt: first_attempt(),
            execution_deadline: None,
            branched_from: None,
        }
    }
}
