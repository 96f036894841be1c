//! How the process ends: exit codes, and errors at the edge.

use std::{fmt, io, process::ExitCode};

use dacapo_core::store::StoreError;
use dacapo_runtime::ClientError;

/// The exit codes, as documented in `--help` and `docs/cli.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The workflow that was waited for did not complete.
    WorkflowFailed = 1,
    /// The command line, or what it names, is invalid.
    Invalid = 2,
    /// There is no such workflow, run or value.
    NotFound = 3,
    /// The workflow id is in use, or the run is closed.
    Conflict = 4,
    /// The database cannot be reached or used.
    Database = 5,
    /// `db verify` found violations.
    Violations = 6,
    /// The process cannot go on: a port is taken, stored data is corrupt, the machine refuses something.
    Internal = 7,
    /// `replay` found code that does not fit a history.
    NonDeterminism = 8,
    /// Ctrl-C while waiting; 128 plus the number of SIGINT, as shells have it.
    Interrupted = 130,
}

/// The exit codes as a table for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done; for `run` and `result`: the workflow completed
  1    the workflow, or the update, failed, timed out, was canceled or terminated
  2    the command line, an input or an option is invalid
  3    no such workflow, run, activity or published value
  4    conflict: the workflow id is in use, the run is closed, the update was refused
  5    the database cannot be reached or used
  6    `db verify` found violations
  7    anything else: a port is taken, stored data is corrupt
  8    `replay` found code that does not fit a history
  130  interrupted while waiting";

/// Why a verb ends before it is done.
#[derive(Debug)]
pub(crate) struct Stop {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What to say on stderr; nothing when all has been said.
    pub(crate) message: Option<String>,
    /// Whether whoever reads stdout has gone away, which is no error.
    quiet: bool,
}

impl Stop {
    /// Stops with a message.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: Some(message.to_string()), quiet: false }
    }

    /// Stops when everything has been said on stdout.
    pub(crate) fn said(exit: Exit) -> Self {
        Self { exit, message: None, quiet: false }
    }

    /// Makes a closure for `map_err` that writes an error with its causes.
    pub(crate) fn because<E: std::error::Error>(exit: Exit) -> impl Fn(E) -> Self {
        move |error| Self::new(exit, chain(&error))
    }

    /// Gives the exit code of the process.
    pub(crate) fn code(&self) -> ExitCode {
        if self.quiet { ExitCode::SUCCESS } else { ExitCode::from(self.exit as u8) }
    }
}

/// Writes an error with its causes in one line, without saying the same twice.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Invalid { .. } => Exit::Invalid,
            ClientError::NotFound { .. } | ClientError::NotPublished { .. } | ClientError::QueryUnknown { .. } => {
                Exit::NotFound
            }
            ClientError::AlreadyOpen { .. }
            | ClientError::ReuseRefused { .. }
            | ClientError::NotOpen { .. }
            | ClientError::Branch { .. }
            | ClientError::MovedOn { .. }
            | ClientError::TooManySignals { .. }
            | ClientError::UpdateRejected { .. }
            | ClientError::UpdateAborted { .. }
            | ClientError::QueryFailed { .. }
            | ClientError::QueryTimedOut { .. } => Exit::Conflict,
            ClientError::Unavailable { .. } => Exit::Database,
            ClientError::Stuck { .. } => Exit::Internal,
            ClientError::Store(error) => return error.clone().into(),
        };
        Self::new(exit, chain(&error))
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Unavailable { .. } => Exit::Database,
            StoreError::Rejected { .. } => Exit::Invalid,
            StoreError::Corrupt { .. } | StoreError::LeaseLost { .. } => Exit::Internal,
        };
        Self::new(exit, chain(&error))
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self { exit: Exit::Internal, message: (!quiet).then(|| format!("cannot write the output: {error}")), quiet }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help() {
        for exit in [
            Exit::WorkflowFailed,
            Exit::Invalid,
            Exit::NotFound,
            Exit::Conflict,
            Exit::Database,
            Exit::Violations,
            Exit::Internal,
            Exit::NonDeterminism,
            Exit::Interrupted,
        ] {
            let line = format!("  {:<5}", exit as u8);
            assert!(EXIT_CODES.lines().any(|text| text.starts_with(&line)), "{exit:?}");
        }
    }

    #[test]
    fn a_client_error_ends_the_process_with_its_kind() {
        let gone = ClientError::Unavailable { problem: "no route".to_owned(), tried_for: std::time::Duration::ZERO };
        assert_eq!(Stop::from(gone).exit, Exit::Database);
        let conflict =
            ClientError::NotOpen { workflow_id: "order-1".into(), run_id: dacapo_runtime::Client::new_run_id() };
        assert_eq!(Stop::from(conflict).exit, Exit::Conflict);
        let corrupt = ClientError::Store(StoreError::Corrupt { problem: "event 3".to_owned() });
        assert_eq!(Stop::from(corrupt).exit, Exit::Internal);
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let stop = Stop::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(stop.message.is_none());
        assert_eq!(format!("{:?}", stop.code()), format!("{:?}", ExitCode::SUCCESS));
    }
}
