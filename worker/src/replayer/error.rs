//! Why a history does not fit the code, or could not be replayed at all.

use std::{fmt, path::PathBuf};

use dacapo_core::{RunId, WorkflowId, WorkflowType, event::WorkflowTaskFailedCause};
use dacapo_runtime::ClientError;

use crate::define::RegistrationError;

/// The run whose history was replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedRun {
    /// The caller's name for the work.
    pub workflow_id: WorkflowId,
    /// The execution.
    pub run_id: RunId,
    /// The workflow.
    pub workflow_type: WorkflowType,
}

impl fmt::Display for ReplayedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}, run {})", self.workflow_id, self.workflow_type, self.run_id)
    }
}

/// The first place where code and history part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// The run.
    pub run: ReplayedRun,
    /// The event that the code does not make; the last one that fits, when the code makes more than there is.
    pub event_id: i64,
    /// The event in words; `None` when the history has none in this place.
    pub event: Option<String>,
    /// The command that the code made, in words; `None` when it made none in this place.
    pub command: Option<String>,
    /// The place in the code that made the command, as `file:line`.
    pub position: Option<String>,
    /// All of it with the likely cause and the way out, in lines.
    pub message: String,
}

/// Why a replay did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The code does something else than the history says.
    #[error("the history of {} does not replay: {}", .0.run, .0.message)]
    Diverged(Box<Divergence>),
    /// The code could not be run over the history: it panics, awaits what is not durable, or cannot read a value.
    #[error("the history of {run} does not replay: {message}")]
    Failed {
        /// The run.
        run: Box<ReplayedRun>,
        /// What went wrong.
        cause: WorkflowTaskFailedCause,
        /// In words, with the place and the way out.
        message: String,
        /// The place in the code, as `file:line`, where it is known.
        position: Option<String>,
    },
    /// The replayer has no workflow of this type.
    #[error("workflow `{}` of {run} is not registered: add it with `.workflow(…)`", .run.workflow_type)]
    NotRegistered {
        /// The run.
        run: Box<ReplayedRun>,
    },
    /// What was read is no history.
    #[error("{problem}")]
    NoHistory {
        /// Why.
        problem: String,
    },
    /// A file is no history.
    #[error("{}: {problem}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A workflow is registered twice, or under a name that cannot be stored.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// The run could not be read.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl ReplayError {
    /// Tells whether the code is at fault: it does not fit the history, or fails over it.
    pub fn is_non_determinism(&self) -> bool {
        matches!(self, Self::Diverged(_) | Self::Failed { .. })
    }
}
