//! Why a workflow task fails: never the run's fault, always the code's or its build's, and never the end of the run.

use std::panic::Location;

use dacapo_core::{Failure, FailureKind, event::WorkflowTaskFailedCause};

/// What fails a workflow task.
#[derive(Debug)]
pub(crate) struct TaskFailure {
    pub(crate) cause: WorkflowTaskFailedCause,
    message: String,
    position: Option<String>,
    diverged: Option<Diverged>,
}

/// Where code and history part.
#[derive(Debug, Clone)]
pub(crate) struct Diverged {
    /// The event that the code does not make; the last one that fits when the code makes more than there is.
    pub(crate) event_id: i64,
    /// The event in words, if the history has one in this place.
    pub(crate) event: Option<String>,
    /// The command in words, if the code made one in this place.
    pub(crate) command: Option<String>,
}

impl TaskFailure {
    pub(crate) fn new(cause: WorkflowTaskFailedCause, message: String) -> Self {
        Self { cause, message, position: None, diverged: None }
    }

    /// Adds the place in the code.
    pub(crate) fn at(mut self, at: &Location<'_>) -> Self {
        self.position = Some(position(at));
        self
    }

    /// Adds the place in the code, where it is known.
    pub(crate) fn at_position(mut self, position: Option<String>) -> Self {
        self.position = position;
        self
    }

    /// Adds where code and history part.
    pub(crate) fn diverged(mut self, diverged: Diverged) -> Self {
        self.diverged = Some(diverged);
        self
    }

    /// Takes out where code and history part, if that is what failed.
    pub(crate) fn take_diverged(&mut self) -> Option<Diverged> {
        self.diverged.take()
    }

    /// Gives the failure as it is stored.
    pub(crate) fn into_failure(self) -> Failure {
        let error_type = match self.cause {
            WorkflowTaskFailedCause::NonDeterministic => "NonDeterministic",
            WorkflowTaskFailedCause::Panic => "Panic",
            WorkflowTaskFailedCause::ForeignAwait => "ForeignAwait",
            WorkflowTaskFailedCause::NoProgress => "NoProgress",
            WorkflowTaskFailedCause::BadCommand => "BadCommand",
            WorkflowTaskFailedCause::BadPayload => "BadPayload",
            WorkflowTaskFailedCause::UnhandledCommand => "UnhandledCommand",
            WorkflowTaskFailedCause::NotRegistered => "NotRegistered",
            WorkflowTaskFailedCause::ResetWorkflow => "ResetWorkflow",
        };
        let kind = match self.cause {
            WorkflowTaskFailedCause::Panic => FailureKind::Panic,
            WorkflowTaskFailedCause::NonDeterministic
            | WorkflowTaskFailedCause::ForeignAwait
            | WorkflowTaskFailedCause::NoProgress
            | WorkflowTaskFailedCause::BadCommand
            | WorkflowTaskFailedCause::BadPayload
            | WorkflowTaskFailedCause::UnhandledCommand
            | WorkflowTaskFailedCause::NotRegistered
            | WorkflowTaskFailedCause::ResetWorkflow => FailureKind::Application,
        };
        let message = match &self.position {
            Some(position) => format!("{} (at {position})", self.message),
            None => self.message,
        };
        Failure { kind, position: self.position, ..Failure::application(error_type, message) }
    }
}

/// Writes a place in the code as histories store it.
pub(crate) fn position(at: &Location<'_>) -> String {
    format!("{}:{}", at.file(), at.line())
}
