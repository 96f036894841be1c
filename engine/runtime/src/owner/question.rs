//! Questions to the code: answered between steps, from the state that the last committed step left.

use dacapo_core::{
    Event, Failure, RunKey,
    query::{Query, QueryAnswer},
};

use super::{
    ToOwner,
    actor::Phase,
    thread::{Shared, State, WorkflowThread},
};
use crate::executor::{Queried, QueryActivation};

/// A question with the history to answer it from, once that was read.
#[derive(Debug)]
pub(crate) struct Question {
    pub(super) run: RunKey,
    pub(super) query: Query,
    pub(super) events: Option<Vec<Event>>,
}

/// The questions that wait for a thread at most; whoever asks does so again.
const QUESTIONS_MAX: usize = 1_000;

impl State {
    /// Takes a question, unless it waits already.
    pub(super) fn take_question(&mut self, question: Question) {
        let known = self.questions.iter().any(|waiting| waiting.query.id == question.query.id);
        if !known && self.questions.len() < QUESTIONS_MAX {
            self.questions.push_back(question);
        }
    }

    /// The next question to a run that rests. One to a run that is not here goes: its asker finds out who owns it.
    pub(super) fn next_question(&mut self) -> Option<Question> {
        let actors = &self.actors;
        self.questions.retain(|question| actors.contains_key(&question.run));
        let rests = |run| actors.get(run).is_some_and(|actor| matches!(actor.phase, Phase::Idle));
        let place = self.questions.iter().position(|question| rests(&question.run))?;
        self.questions.remove(place)
    }
}

impl WorkflowThread {
    /// Lets the code of a run answer.
    pub(super) fn answer_question(&mut self, question: Question) {
        let shared = std::sync::Arc::clone(&self.shared);
        let key = question.run;
        let mut state = shared.lock();
        // As with a step, the run is with the thread as long as its code runs.
        let Some(actor) = state.actors.remove(&key) else { return };
        state.running = Some(self.running(&actor, &[]));
        drop(state);
        let activation = QueryActivation {
            run: key,
            started: &actor.run.started,
            events: question.events.as_deref().unwrap_or_default(),
            name: &question.query.name,
            input: &question.query.input,
        };
        let queried = self.executor.query(activation);
        let mut state = shared.lock();
        if state.generation != self.generation {
            return;
        }
        state.running = None;
        state.actors.insert(key, actor);
        drop(state);
        match queried {
            Queried::Answered(value) => self.tell_answer(&question, QueryAnswer::Answered(value)),
            Queried::Unknown { known } => self.tell_answer(&question, QueryAnswer::Unknown { known }),
            Queried::Failed(failure) => self.tell_answer(&question, QueryAnswer::Failed(failure)),
            Queried::NeedsHistory if question.events.is_none() => read_history(&shared, question),
            Queried::NeedsHistory => {
                let failure = Failure::application("QueryFailed", "the code cannot be replayed from the run's history");
                self.tell_answer(&question, QueryAnswer::Failed(Box::new(failure)));
            }
        }
    }

    fn tell_answer(&self, question: &Question, answer: QueryAnswer) {
        let context = std::sync::Arc::clone(&self.shared.context);
        let (run, query) = (question.run, question.query.id);
        let task = async move {
            if let Err(error) = context.store.answer_question(run, query, answer).await {
                tracing::debug!(%error, "an answer cannot be written; the question will be asked again");
            }
        };
        self.shared.context.tracker.spawn_on(task, &self.shared.context.handle);
    }
}

/// Reads a run's history on the side and puts the question again.
fn read_history(shared: &Shared, question: Question) {
    let context = std::sync::Arc::clone(&shared.context);
    let sender = shared.sender.clone();
    let task = async move {
        match context.store.load(&[question.run]).await {
            Ok(loaded) => {
                let events = loaded.into_iter().next().map(|loaded| loaded.events);
                if let Some(events) = events {
                    let _ = sender.send(ToOwner::Ask(Box::new(Question { events: Some(events), ..question })));
                }
            }
            Err(error) => tracing::debug!(%error, "a run cannot be read to answer a question"),
        }
    };
    shared.context.tracker.spawn_on(task, &shared.context.handle);
}
