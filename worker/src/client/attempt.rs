//! The end of an activity from outside: by whoever was given the token of its attempt.

use dacapo_core::{ActivityResult, ActivityToken, Payload};
use dacapo_runtime::ClientError;
use serde::Serialize;

use crate::errors::ActivityError;

/// An attempt of an activity that said [`completes_later`](crate::ActivityContext::completes_later).
///
/// A call for an attempt that is over, or a second end of one, changes nothing.
#[derive(Clone, Debug)]
pub struct ActivityAttempt {
    client: dacapo_runtime::Client,
    token: ActivityToken,
}

impl ActivityAttempt {
    pub(super) fn new(client: dacapo_runtime::Client, token: ActivityToken) -> Self {
        Self { client, token }
    }

    /// Ends it with a value, which has to be of the type that the activity gives.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a value that cannot be stored, [`ClientError::NotOpen`] when the run is closed,
    /// [`ClientError::Unavailable`].
    pub async fn complete<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), ClientError> {
        let value = self.encoded("result of an activity", value)?;
        self.client.complete_activity(self.token, ActivityResult::Completed(value)).await
    }

    /// Ends it with an error; its retry policy decides whether another attempt follows.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub async fn fail(&self, error: impl Into<ActivityError>) -> Result<(), ClientError> {
        let failure = error.into().into();
        self.client.complete_activity(self.token, ActivityResult::Failed(failure)).await
    }

    /// Ends it because it was asked to stop.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub async fn cancelled(&self) -> Result<(), ClientError> {
        self.client.complete_activity(self.token, ActivityResult::Canceled { details: None }).await
    }

    /// Says that it is alive, and what the next attempt should know of its progress.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub async fn heartbeat<T: Serialize + ?Sized>(&self, details: &T) -> Result<(), ClientError> {
        let details = self.encoded("details of a heartbeat", details)?;
        self.client.heartbeat_activity(self.token, Some(details)).await
    }

    fn encoded<T: Serialize + ?Sized>(&self, what: &str, value: &T) -> Result<Payload, ClientError> {
        let what = format!("{what} (token {})", self.token);
        Payload::encode(&what, value).map_err(|error| ClientError::Invalid { problem: error.to_string() })
    }
}
