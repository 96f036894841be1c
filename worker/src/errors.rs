//! The errors that user code returns, and those that it gets back: [`ActivityError`], [`WorkflowError`],
//! [`ActivityFailure`], and [`ChildFailure`] and [`ExternalFailure`] for other runs.
//!
//! An activity may return whatever error it meets: everything that converts into a boxed `std` error becomes an
//! [`ActivityError`], which is why that one is no `std` error itself. Workflow code decides over what happened, so its
//! [`WorkflowError`] is an ordinary error with a variant for each thing that can be behind it. Both become a
//! [`Failure`], the form that histories store.

use std::{error::Error as StdError, fmt, panic::Location, time::Duration};

use dacapo_core::{
    Failure, FailureKind, RetryState, TimeoutType,
    payload::{Payload, PayloadError},
};
use serde::{Serialize, de::DeserializeOwned};

mod other_runs;

pub use other_runs::{ChildFailure, ExternalFailure};

use crate::continue_as_new::ContinueAsNew;

/// The error type of errors that have no name of their own, such as texts and boxed errors.
const UNNAMED: &str = "Error";

/// The causes of an error that are kept; longer chains repeat themselves.
const CAUSES_MAX: usize = 16;

/// Why an attempt of an activity failed.
///
/// `?` makes one of every `std` error, of `anyhow::Error` and of texts: an application failure that is retried, whose
/// error type is the Rust type's name without its modules (`std::io::Error` is `Error`).
pub struct ActivityError(Box<Failure>);

impl ActivityError {
    /// Makes a failure of an error type, the name that retry policies and workflows look at.
    #[track_caller]
    pub fn new(error_type: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::located(Failure::application(error_type, message.to_string()), Location::caller())
    }

    /// Makes the answer of an activity that stopped because it was asked to.
    #[track_caller]
    pub fn cancelled() -> Self {
        Self::located(Failure::canceled("the activity was cancelled"), Location::caller())
    }

    /// Says that another attempt is pointless, whatever the retry policy says.
    #[must_use]
    pub fn non_retryable(mut self) -> Self {
        self.0.non_retryable = true;
        self
    }

    /// Sets the wait before the next attempt in place of the policy's.
    #[must_use]
    pub fn next_retry_delay(mut self, delay: Duration) -> Self {
        self.0.next_retry_delay_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Attaches data that the workflow can read.
    ///
    /// # Errors
    /// When the data cannot be stored; `?` works on it in an activity.
    pub fn details<T: Serialize + ?Sized>(mut self, details: &T) -> Result<Self, PayloadError> {
        self.0.details = Some(Payload::encode("details of an activity's error", details)?);
        Ok(self)
    }

    /// Gives the failure as it is stored.
    pub fn failure(&self) -> &Failure {
        &self.0
    }

    fn located(mut failure: Failure, at: &Location<'_>) -> Self {
        failure.position = Some(format!("{}:{}", at.file(), at.line()));
        Self(Box::new(failure))
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for ActivityError {
    #[track_caller]
    fn from(error: E) -> Self {
        let error: Box<dyn StdError + Send + Sync> = error.into();
        let mut failure = Failure::application(short_type_name::<E>(), error.to_string());
        failure.cause = cause(error.source(), CAUSES_MAX);
        Self::located(failure, Location::caller())
    }
}

impl From<ActivityError> for Failure {
    fn from(error: ActivityError) -> Self {
        *error.0
    }
}

impl fmt::Display for ActivityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for ActivityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Gives the name of a type without modules and parameters.
fn short_type_name<E>() -> &'static str {
    let full = std::any::type_name::<E>();
    let path = full.split_once('<').map_or(full, |(path, _)| path);
    match path.rsplit("::").next().unwrap_or(path) {
        "&str" | "String" | "Box" | "Cow" => UNNAMED,
        name => name,
    }
}

/// Turns the chain of an error's sources into causes.
fn cause(source: Option<&(dyn StdError + 'static)>, depth: usize) -> Option<Box<Failure>> {
    let source = source.filter(|_| depth > 0)?;
    let mut failure = Failure::application(UNNAMED, source.to_string());
    failure.cause = cause(source.source(), depth - 1);
    Some(Box::new(failure))
}

/// An activity that ended without a result, as its workflow sees it: after all attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityFailure(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    activity_type: String,
    failure: Failure,
    retry_state: Option<RetryState>,
}

impl ActivityFailure {
    /// Makes the failure of an activity from its last attempt's; `retry_state` says why none followed.
    pub fn new(activity_type: impl Into<String>, failure: Failure, retry_state: Option<RetryState>) -> Self {
        Self(Box::new(Inner { activity_type: activity_type.into(), failure, retry_state }))
    }

    /// Gives the name of the activity.
    pub fn activity_type(&self) -> &str {
        &self.0.activity_type
    }

    /// Gives the error type of the last attempt's failure, as in `ActivityError::new("CardDeclined", …)`.
    pub fn error_type(&self) -> &str {
        &self.0.failure.error_type
    }

    /// Gives the message of the last attempt's failure.
    pub fn message(&self) -> &str {
        &self.0.failure.message
    }

    /// Gives the last attempt's failure with everything that is stored of it.
    pub fn failure(&self) -> &Failure {
        &self.0.failure
    }

    /// Tells why no further attempt followed, where a retry was considered.
    pub fn retry_state(&self) -> Option<RetryState> {
        self.0.retry_state
    }

    /// Tells whether the activity was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.failure.kind == FailureKind::Canceled
    }

    /// Tells which timeout passed, when one did.
    pub fn timeout(&self) -> Option<TimeoutType> {
        match self.0.failure.kind {
            FailureKind::Timeout(timeout) => Some(timeout),
            FailureKind::Application
            | FailureKind::Panic
            | FailureKind::Canceled
            | FailureKind::Terminated
            | FailureKind::WorkerLost
            | FailureKind::ChildWorkflow => None,
        }
    }

    /// Reads the data that the activity attached; `None` when it attached none.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn details<T: DeserializeOwned>(&self) -> Result<Option<T>, PayloadError> {
        let what = || format!("details of activity `{}`", self.activity_type());
        self.0.failure.details.as_ref().map(|details| details.decode(&what())).transpose()
    }
}

impl fmt::Display for ActivityFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { activity_type, failure, retry_state } = &*self.0;
        write!(f, "activity `{activity_type}` failed: {}: {}", failure.error_type, failure.message)?;
        match retry_state {
            Some(state) => write!(f, " ({state})"),
            None => Ok(()),
        }
    }
}

impl StdError for ActivityFailure {}

/// Why a workflow failed; returned by its code, it closes the run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowError {
    /// The workflow decided to fail.
    #[error("{error_type}: {message}")]
    Failed {
        /// The name that callers and retry policies look at.
        error_type: String,
        /// What happened, for people.
        message: String,
        /// Data for the caller.
        details: Option<Payload>,
        /// Whether another run of a workflow with a retry policy is pointless.
        non_retryable: bool,
    },
    /// An activity ended without a result.
    #[error(transparent)]
    Activity(#[from] ActivityFailure),
    /// A child workflow ended without a result.
    #[error(transparent)]
    Child(#[from] ChildFailure),
    /// A signal or a request to cancel did not reach another run.
    #[error(transparent)]
    External(#[from] ExternalFailure),
    /// The run was asked to cancel, and did.
    #[error("the workflow was cancelled")]
    Cancelled,
    /// No failure: the run ends and goes on as another, with a history of its own.
    #[error("the workflow continues as new")]
    ContinueAsNew(#[from] ContinueAsNew),
}

impl WorkflowError {
    /// Makes a failure of an error type.
    pub fn failed(error_type: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::Failed {
            error_type: error_type.into(),
            message: message.to_string(),
            details: None,
            non_retryable: false,
        }
    }

    /// Tells whether cancellation is behind it, of the run or of the activity that it waited for.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::ContinueAsNew(_) => false,
            Self::Activity(failure) => failure.is_cancelled(),
            Self::Child(failure) => failure.is_cancelled(),
            Self::External(failure) => matches!(failure, ExternalFailure::Cancelled { .. }),
            Self::Cancelled => true,
        }
    }
}

impl From<PayloadError> for WorkflowError {
    fn from(error: PayloadError) -> Self {
        Self::failed(short_type_name::<PayloadError>(), error)
    }
}

impl From<WorkflowError> for Failure {
    fn from(error: WorkflowError) -> Self {
        let message = error.to_string();
        match error {
            WorkflowError::Failed { error_type, message, details, non_retryable } => {
                Self { details, non_retryable, ..Self::application(error_type, message) }
            }
            WorkflowError::Activity(failure) => Self {
                cause: Some(Box::new(failure.0.failure)),
                ..Self::application(short_type_name::<ActivityFailure>(), message)
            },
            WorkflowError::Child(failure) => failure.into(),
            WorkflowError::External(ExternalFailure::Cancelled { .. }) | WorkflowError::Cancelled => {
                Self::canceled(message)
            }
            WorkflowError::External(failure) => Self::application(failure.error_type(), message),
            // Only the executor can make the successor: elsewhere, such as in an answer to a request, it is a mistake.
            WorkflowError::ContinueAsNew(_) => {
                let message = "continue-as-new can only be returned by the workflow itself";
                Self::application("ContinueAsNew", message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the card was declined")]
    struct CardDeclined {
        source: std::num::ParseIntError,
    }

    fn declined() -> CardDeclined {
        CardDeclined { source: "x".parse::<u8>().unwrap_err() }
    }

    fn failure(result: Result<(), ActivityError>) -> Failure {
        result.unwrap_err().into()
    }

    #[test]
    fn a_std_error_keeps_its_name_its_causes_and_the_line_of_its_question_mark() {
        let line = line!() + 2;
        let failure = failure((|| {
            Err(declined())?;
            Ok(())
        })());
        assert_eq!((failure.error_type.as_str(), failure.message.as_str()), ("CardDeclined", "the card was declined"));
        assert_eq!(failure.cause.unwrap().message, "invalid digit found in string");
        assert_eq!(failure.position, Some(format!("{}:{line}", file!())));
        assert!(!failure.non_retryable && failure.kind == FailureKind::Application);
    }

    #[test]
    fn texts_boxes_and_anyhow_errors_are_taken() {
        let text = failure(Err("no".into()));
        let string = failure(Err(format!("no {}", 1).into()));
        let boxed = failure(Err(Box::<dyn StdError + Send + Sync>::from("no").into()));
        let anyhow = failure(Err(anyhow::Error::from(declined()).context("while charging").into()));
        for failure in [&text, &string, &boxed, &anyhow] {
            assert_eq!(failure.error_type, "Error");
        }
        assert_eq!(anyhow.message, "while charging");
        assert_eq!(anyhow.cause.unwrap().message, "the card was declined");
    }

    #[test]
    fn an_activity_error_passes_a_question_mark_as_it_is() {
        let error = ActivityError::new("RateLimited", "slow down").next_retry_delay(Duration::from_secs(7));
        let before = error.failure().clone();
        let after = failure((|| {
            Err(error)?;
            Ok(())
        })());
        assert_eq!(after, before);
        assert_eq!(after.next_retry_delay_ms, Some(7_000));
    }

    #[test]
    fn what_an_activity_attaches_reaches_the_workflow() {
        let error = ActivityError::new("CardDeclined", "no").non_retryable().details(&vec![1, 2]).unwrap();
        let failure = ActivityFailure::new("charge", error.into(), Some(RetryState::NonRetryableFailure));
        assert_eq!(failure.details::<Vec<u8>>().unwrap(), Some(vec![1, 2]));
        assert!(failure.details::<String>().unwrap_err().to_string().contains("details of activity `charge`"));
        assert_eq!(failure.to_string(), "activity `charge` failed: CardDeclined: no (the failure is not retryable)");
    }

    #[test]
    fn kinds_are_told_apart() {
        let timeout = ActivityFailure::new("charge", Failure::timeout(TimeoutType::Heartbeat, "silent"), None);
        assert_eq!(timeout.timeout(), Some(TimeoutType::Heartbeat));
        assert!(!WorkflowError::from(timeout).is_cancelled());
        let cancelled = ActivityFailure::new("charge", ActivityError::cancelled().into(), None);
        assert_eq!((cancelled.timeout(), cancelled.is_cancelled()), (None, true));
        assert!(WorkflowError::from(cancelled).is_cancelled() && WorkflowError::Cancelled.is_cancelled());
    }

    #[test]
    fn a_workflow_error_is_stored_with_what_is_behind_it() {
        let cause = Failure::application("CardDeclined", "no");
        let stored = Failure::from(WorkflowError::from(ActivityFailure::new("charge", cause.clone(), None)));
        assert_eq!(stored.error_type, "ActivityFailure");
        assert_eq!(stored.cause.as_deref(), Some(&cause));
        let failed = Failure::from(WorkflowError::failed("Expired", "nobody approved"));
        assert_eq!(failed, Failure::application("Expired", "nobody approved"));
        assert_eq!(Failure::from(WorkflowError::Cancelled).kind, FailureKind::Canceled);
    }
}
