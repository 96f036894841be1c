//! What lies before a member of the team: the task's requirements and its documents, indexed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::index::Index;
use super::requirements;
use crate::documents::{Corpus, digest};
use crate::model::{Requirement, Task};

/// Desks kept: the activities of a few tasks run side by side in one worker, and an index is rebuilt in milliseconds.
const DESKS_MAX: usize = 8;

/// A task's requirements and the index over its documents.
#[derive(Debug)]
pub(crate) struct Desk {
    /// What the task asks for.
    pub(crate) requirements: Vec<Requirement>,
    /// The documents that share a word with it.
    pub(crate) index: Index,
}

/// The desks last used, by what they were made of.
#[derive(Debug, Default)]
pub(crate) struct Desks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    desks: BTreeMap<String, Arc<Desk>>,
    order: VecDeque<String>,
}

impl Desk {
    fn of(corpus: &Corpus, task: &Task) -> Self {
        let requirements = requirements::parse(task);
        let index = Index::build(corpus, &requirements);
        Self { requirements, index }
    }
}

impl Desks {
    /// Gives the desk of a task over a corpus, made now or before.
    pub(crate) fn of(&self, corpus: &Corpus, task: &Task) -> Arc<Desk> {
        let key = digest(format!("{}\0{}", corpus.digest(), task.description).as_bytes());
        if let Some(desk) = self.0.lock().unwrap_or_else(PoisonError::into_inner).desks.get(&key) {
            return Arc::clone(desk);
        }
        let desk = Arc::new(Desk::of(corpus, task));
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.desks.insert(key.clone(), Arc::clone(&desk)).is_none() {
            state.order.push_back(key);
        }
        while state.order.len() > DESKS_MAX
            && let Some(oldest) = state.order.pop_front()
        {
            state.desks.remove(&oldest);
        }
        desk
    }
}
