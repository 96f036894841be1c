//! The trait a provider implements: the team's thinking, behind one interface.
//!
//! The workflow never knows which provider answered. A provider that calls a language model does network I/O, so the methods are
//! async; the documents are handed in, so that every provider can cite and every citation can be checked.

use async_trait::async_trait;
use thiserror::Error;

use crate::documents::Corpus;
use crate::model::{
    Aggregate, Aggregated, Analysis, AnalyzeTask, Decompose, ExecuteSubtask, FinalAnswer, FinalReview, Plan, Review,
    ReviewFinal, ReviewSolution, SelectSpecialists, Selection, Solution, Synthesize,
};

/// Says why a provider could not do its work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProviderError {
    /// Too many requests; try again after the time the provider names.
    #[error("the provider limits requests: try again in {retry_after_ms} ms")]
    RateLimited {
        /// How long to wait.
        retry_after_ms: u64,
    },
    /// No answer in time.
    #[error("the provider did not answer in time")]
    Timeout,
    /// The provider cannot be reached or failed by itself.
    #[error("the provider is unavailable: {reason}")]
    Unavailable {
        /// What was seen.
        reason: String,
    },
    /// The request cannot be served as it is.
    #[error("the request cannot be served: {reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// The provider does not accept the credentials.
    #[error("the provider does not accept the credentials: check the key of {provider}")]
    Auth {
        /// Which provider.
        provider: String,
    },
    /// The answer does not have the form asked for.
    #[error("the answer does not have the form asked for: {reason}")]
    SchemaViolation {
        /// What is wrong with it.
        reason: String,
    },
}

impl ProviderError {
    /// Gives the name under which retry policies and histories know the error.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::RateLimited { .. } => "RateLimited",
            Self::Timeout => "Timeout",
            Self::Unavailable { .. } => "Unavailable",
            Self::BadRequest { .. } => "BadRequest",
            Self::Auth { .. } => "Auth",
            Self::SchemaViolation { .. } => "SchemaViolation",
        }
    }

    /// Tells whether the same request can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Timeout | Self::Unavailable { .. })
    }
}

/// The work of a team's members, one method per activity.
///
/// Equal inputs over equal documents may give different answers from a language model; the local provider gives equal bytes.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Gives the name that stands in every usage record.
    fn label(&self) -> &str;

    /// Finds out what a task asks for.
    async fn manager_analyze_task(&self, corpus: &Corpus, input: AnalyzeTask) -> Result<Analysis, ProviderError>;

    /// Chooses the team.
    async fn manager_select_specialists(
        &self,
        corpus: &Corpus,
        input: SelectSpecialists,
    ) -> Result<Selection, ProviderError>;

    /// Divides the work.
    async fn manager_decompose_task(&self, corpus: &Corpus, input: Decompose) -> Result<Plan, ProviderError>;

    /// Does one piece of it.
    async fn specialist_execute(&self, corpus: &Corpus, input: ExecuteSubtask) -> Result<Solution, ProviderError>;

    /// Judges a solution.
    async fn manager_review_solution(&self, corpus: &Corpus, input: ReviewSolution) -> Result<Review, ProviderError>;

    /// Orders and links what was accepted.
    async fn coordinator_aggregate(&self, corpus: &Corpus, input: Aggregate) -> Result<Aggregated, ProviderError>;

    /// Writes the answer.
    async fn analyst_synthesize(&self, corpus: &Corpus, input: Synthesize) -> Result<FinalAnswer, ProviderError>;

    /// Judges the answer.
    async fn manager_review_final(&self, corpus: &Corpus, input: ReviewFinal) -> Result<FinalReview, ProviderError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_retried() {
        let reason = || "x".to_owned();
        let all = [
            (ProviderError::RateLimited { retry_after_ms: 5 }, true),
            (ProviderError::Timeout, true),
            (ProviderError::Unavailable { reason: reason() }, true),
            (ProviderError::BadRequest { reason: reason() }, false),
            (ProviderError::Auth { provider: reason() }, false),
            (ProviderError::SchemaViolation { reason: reason() }, false),
        ];
        for (error, retryable) in all {
            assert_eq!(error.is_retryable(), retryable, "{}", error.error_type());
        }
    }
}
