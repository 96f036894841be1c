//! Brings questions to the threads of the runs that they are about.

use std::sync::Arc;

use super::inbox::Mail;
use crate::owner::{Context, Owners};

/// Reads questions for as long as it is polled.
pub(crate) async fn read_questions(context: Arc<Context>, owners: Owners, asked: Arc<Mail>) {
    loop {
        let runs = asked.next(&owners).await;
        match context.store.questions(context.worker, &runs).await {
            Ok(questions) => questions.into_iter().for_each(|(run, query)| owners.ask(run, query)),
            // Whoever asks does so again.
            Err(error) => tracing::debug!(%error, "questions cannot be read"),
        }
    }
}
