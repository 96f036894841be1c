//! The provider that needs no key and no network: extractive, deterministic, no language model.
//!
//! Every statement it makes is a span of a document, word for word, or a figure computed from cells that are all cited. What the
//! documents do not answer is reported as unanswered and is never accepted. Equal tasks over equal documents give equal bytes, on
//! every machine: integers only, ordered maps only, ties settled by document and offset.
//!
//! One file per activity; `Desk` is what lies before each of them.

mod agents;
mod aggregate;
mod analyze;
mod arithmetic;
mod counts;
mod decompose;
mod desk;
mod evidence;
mod execute;
mod figures;
mod final_review;
mod index;
mod marks;
mod number;
mod rank;
mod requirements;
mod review;
mod select;
mod synthesize;

pub use agents::{GENERALIST, agent_types};

use async_trait::async_trait;

use crate::documents::Corpus;
use crate::model::{
    Aggregate, Aggregated, Analysis, AnalyzeTask, Decompose, ExecuteSubtask, FinalAnswer, FinalReview, Plan, Review,
    ReviewFinal, ReviewSolution, SelectSpecialists, Selection, Solution, Synthesize,
};
use crate::provider::{Provider, ProviderError};

/// The name in every usage record; the number changes when the same inputs would give other outputs.
pub const LABEL: &str = "local-extractive/1";

/// The local provider.
///
/// Its only state is a memory of indexes, which changes how fast an answer comes and never what it is.
#[derive(Debug, Default)]
pub struct LocalExtractive {
    desks: desk::Desks,
}

#[async_trait]
impl Provider for LocalExtractive {
    fn label(&self) -> &str {
        LABEL
    }

    async fn manager_analyze_task(&self, corpus: &Corpus, input: AnalyzeTask) -> Result<Analysis, ProviderError> {
        analyze::analyze(corpus, &self.desks.of(corpus, &input.task), &input)
    }

    async fn manager_select_specialists(
        &self,
        corpus: &Corpus,
        input: SelectSpecialists,
    ) -> Result<Selection, ProviderError> {
        Ok(select::select(&self.desks.of(corpus, &input.task), &input))
    }

    async fn manager_decompose_task(&self, _corpus: &Corpus, input: Decompose) -> Result<Plan, ProviderError> {
        Ok(decompose::decompose(&input))
    }

    async fn specialist_execute(&self, corpus: &Corpus, input: ExecuteSubtask) -> Result<Solution, ProviderError> {
        Ok(execute::execute(&self.desks.of(corpus, &input.task), &input))
    }

    async fn manager_review_solution(&self, corpus: &Corpus, input: ReviewSolution) -> Result<Review, ProviderError> {
        Ok(review::review(corpus, &self.desks.of(corpus, &input.task), &input))
    }

    async fn coordinator_aggregate(&self, corpus: &Corpus, input: Aggregate) -> Result<Aggregated, ProviderError> {
        Ok(aggregate::aggregate(&self.desks.of(corpus, &input.task), &input))
    }

    async fn analyst_synthesize(&self, corpus: &Corpus, input: Synthesize) -> Result<FinalAnswer, ProviderError> {
        Ok(synthesize::synthesize(&self.desks.of(corpus, &input.task), &input))
    }

    async fn manager_review_final(&self, corpus: &Corpus, input: ReviewFinal) -> Result<FinalReview, ProviderError> {
        Ok(final_review::review_final(corpus, &self.desks.of(corpus, &input.task), &input))
    }
}
