//! A team's work as durable activities: the provider behind them, the documents by content address.
//!
//! The wrappers are all alike on purpose: bring the documents, ask the provider, translate its error. Timeouts are those of the
//! requirements; retries follow 1, 2, 4, 8, 16 s, which is six attempts.

use std::sync::Arc;

use dacapo_core::Store;
use dacapo_worker::{ActivityContext, ActivityError};

use crate::documents::{Corpus, DocumentCache, Unreadable};
use crate::model::{
    Aggregate, Aggregated, Analysis, AnalyzeTask, Decompose, DocumentRef, ExecuteSubtask, FinalAnswer, FinalReview,
    Plan, Review, ReviewFinal, ReviewSolution, SelectSpecialists, Selection, Solution, Synthesize,
};
use crate::provider::{Provider, ProviderError};

/// The members of a team, at work.
pub struct Team {
    provider: Arc<dyn Provider>,
    store: Arc<dyn Store>,
    documents: DocumentCache,
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("provider", &self.provider.label()).finish_non_exhaustive()
    }
}

impl Team {
    /// Makes a team that thinks with `provider` over documents in `store`.
    pub fn new(provider: Arc<dyn Provider>, store: Arc<dyn Store>) -> Self {
        Self { provider, store, documents: DocumentCache::default() }
    }

    async fn corpus(&self, documents: &[DocumentRef]) -> Result<Corpus, ActivityError> {
        self.documents.corpus(documents, |reference| self.bytes(reference)).await
    }

    async fn bytes(&self, reference: DocumentRef) -> Result<Vec<u8>, ActivityError> {
        let stored = self.store.get_blob(reference.sha256()).await?;
        stored.ok_or_else(|| {
            let message =
                format!("{} ({}) is not stored: store the document before the task", reference.doc, reference.blob);
            ActivityError::new("DocumentMissing", message).non_retryable()
        })
    }
}

/// What a team can work on, found before it begins.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LoadedTask {
    /// Documents that can be read.
    pub readable: Vec<String>,
    /// Documents that cannot, each with the reason.
    pub unreadable: Vec<Unreadable>,
}

#[dacapo_worker::activities(crate = "dacapo_worker")]
impl Team {
    /// Brings the documents of a task and says which can be read.
    #[activity(start_to_close = "30s", max_attempts = 5)]
    pub async fn load_task(
        &self,
        _ctx: &ActivityContext,
        documents: Vec<DocumentRef>,
    ) -> Result<LoadedTask, ActivityError> {
        let corpus = self.corpus(&documents).await?;
        for entry in corpus.entries() {
            // Citations of a document whose text was extracted are offsets into that text: it is kept beside the bytes.
            let document = &entry.document;
            if document.text_sha256 != document.sha256 {
                self.store.put_blob(&document.text_sha256, document.text.as_bytes()).await?;
            }
        }
        let readable = corpus.entries().iter().map(|entry| entry.doc.clone()).collect();
        Ok(LoadedTask { readable, unreadable: corpus.unreadable().to_vec() })
    }

    /// Finds out what a task asks for.
    #[activity(start_to_close = "2m", max_attempts = 6, max_interval = "16s")]
    pub async fn manager_analyze_task(
        &self,
        _ctx: &ActivityContext,
        input: AnalyzeTask,
    ) -> Result<Analysis, ActivityError> {
        let corpus = self.corpus(&input.task.documents).await?;
        self.provider.manager_analyze_task(&corpus, input).await.map_err(failed)
    }

    /// Chooses the team.
    #[activity(start_to_close = "1m", max_attempts = 6, max_interval = "16s")]
    pub async fn manager_select_specialists(
        &self,
        _ctx: &ActivityContext,
        input: SelectSpecialists,
    ) -> Result<Selection, ActivityError> {
        let corpus = self.corpus(&input.task.documents).await?;
        self.provider.manager_select_specialists(&corpus, input).await.map_err(failed)
    }

    /// Divides the work.
    #[activity(start_to_close = "3m", max_attempts = 6, max_interval = "16s")]
    pub async fn manager_decompose_task(
        &self,
        _ctx: &ActivityContext,
        input: Decompose,
    ) -> Result<Plan, ActivityError> {
        let corpus = self.corpus(&input.task.documents).await?;
        self.provider.manager_decompose_task(&corpus, input).await.map_err(failed)
    }

    /// Does one piece of the work.
    #[activity(start_to_close = "10m", max_attempts = 6, max_interval = "16s")]
    pub async fn specialist_execute(
        &self,
        _ctx: &ActivityContext,
        input: ExecuteSubtask,
    ) -> Result<Solution, ActivityError> {
        let corpus = self.corpus(&input.task.documents).await?;
        self.provider.specialist_execute(&corpus, input).await.map_err(failed)
    }

    /// Judges one solution.
    #[activity(start_to_close = "5m", max_attempts = 6, max_interval = "16s")]
    pub async fn manager_review_solution(
        &self,
        _ctx: &ActivityContext,
        input: ReviewSolution,
    ) -> Result<Review, ActivityError> {
        let corpus = self.corpus(&input.task.documents).await?;
        self.provider.manager_review_solution(&corpus, input).await.map_err(failed)
    }

    /// Orders and links what was accepted.
    #[activity(start_to_close = "5m", max_attempts = 6, max_interval = "16s")]
    pub async fn coordinator_aggregate(
        &self,
        _ctx: &ActivityContext,
        input: Aggregate,
    ) -> Result<Aggregated, ActivityError> {
        let corpus = self.corpus(&input.task.documents).await?;
        self.provider.coordinator_aggregate(&corpus, input).await.map_err(failed)
    }

    /// Writes the answer.
    #[activity(start_to_close = "10m", max_attempts = 6, max_interval = "16s")]
    pub async fn analyst_synthesize(
        &self,
        _ctx: &ActivityContext,
        input: Synthesize,
    ) -> Result<FinalAnswer, ActivityError> {
        let corpus = self.corpus(&input.task.documents).await?;
        self.provider.analyst_synthesize(&corpus, input).await.map_err(failed)
    }

    /// Judges the answer.
    #[activity(start_to_close = "3m", max_attempts = 6, max_interval = "16s")]
    pub async fn manager_review_final(
        &self,
        _ctx: &ActivityContext,
        input: ReviewFinal,
    ) -> Result<FinalReview, ActivityError> {
        let corpus = self.corpus(&input.task.documents).await?;
        self.provider.manager_review_final(&corpus, input).await.map_err(failed)
    }
}

/// Translates a provider's error; what it says of retries reaches the engine.
fn failed(error: ProviderError) -> ActivityError {
    let failure = ActivityError::new(error.error_type(), error.to_string());
    let failure = if error.is_retryable() { failure } else { failure.non_retryable() };
    match error {
        ProviderError::RateLimited { retry_after_ms } => {
            failure.next_retry_delay(std::time::Duration::from_millis(retry_after_ms))
        }
        _ => failure,
    }
}
