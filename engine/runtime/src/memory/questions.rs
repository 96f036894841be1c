//! Questions to the code of runs, until whoever asked has the answer.

use dacapo_core::{
    RunKey, Timestamp, WorkerId,
    query::{Query, QueryAnswer},
    store::Hint,
};
use uuid::Uuid;

use super::state::State;

impl State {
    /// Puts a question before the owner of an open run, or finds the run one. `false`: the run is not open.
    pub(super) fn ask(&mut self, run: RunKey, query: &Query, now: Timestamp) -> bool {
        let Some(owner) = self.open.get(&run).map(|open| open.owner) else { return false };
        self.questions.entry((run, query.id)).or_insert_with(|| (query.clone(), None));
        match owner {
            Some(_) => self.hints.push(Hint::Asked(vec![run])),
            None => self.make_ready(run, now),
        }
        true
    }

    /// The questions without an answer to those of the runs that the worker owns.
    pub(super) fn questions(&self, worker: WorkerId, runs: &[RunKey]) -> Vec<(RunKey, Query)> {
        let owned = |run: &RunKey| self.open.get(run).is_some_and(|open| open.owner == Some(worker));
        let waiting = self.questions.iter().filter(|(_, (_, answer))| answer.is_none());
        let wanted = waiting.filter(|((run, _), _)| runs.contains(run) && owned(run));
        wanted.map(|((run, _), (query, _))| (*run, query.clone())).collect()
    }

    /// Answers a question, unless nobody waits any more.
    pub(super) fn answer(&mut self, run: RunKey, query: Uuid, answer: QueryAnswer) {
        if let Some((_, slot)) = self.questions.get_mut(&(run, query)) {
            *slot = Some(answer);
            self.hints.push(Hint::Updated(vec![run]));
        }
    }
}
