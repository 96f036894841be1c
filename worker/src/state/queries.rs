//! Queries that the code answers from its state.

use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc};

use dacapo_core::{Payload, payload::PayloadError};

use super::RunState;

/// Answers one query.
pub(crate) type Answer = dyn Fn(&Payload) -> Result<Payload, PayloadError>;

/// The queries of a run, by name.
#[derive(Default)]
pub(super) struct Queries(RefCell<BTreeMap<&'static str, Rc<Answer>>>);

impl Queries {
    pub(super) fn clear(&self) {
        let queries = std::mem::take(&mut *self.0.borrow_mut());
        drop(queries);
    }
}

impl fmt::Debug for Queries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.borrow().keys()).finish()
    }
}

impl RunState {
    /// Sets who answers a query; replaces whoever did before.
    pub(crate) fn on_query(&self, name: &'static str, answer: Rc<Answer>) {
        let before = self.queries.0.borrow_mut().insert(name, answer);
        drop(before);
    }

    /// Finds who answers a query.
    pub(crate) fn query(&self, name: &str) -> Option<Rc<Answer>> {
        self.queries.0.borrow().get(name).cloned()
    }

    /// Names the queries that the code answers.
    pub(crate) fn query_names(&self) -> Vec<String> {
        self.queries.0.borrow().keys().map(|&name| name.to_owned()).collect()
    }

    /// Runs code that may look at the run and must leave no trace.
    pub(crate) fn answering<R>(&self, code: impl FnOnce() -> R) -> R {
        struct Over<'a>(&'a RunState);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.answering.set(false);
            }
        }
        self.answering.set(true);
        let _over = Over(self);
        code()
    }

    /// Stops code that would leave a trace where it must not.
    pub(super) fn refuse_while_answering(&self) {
        assert!(
            !self.answering.get(),
            "a query or a validator made a durable call: it may only look at the workflow's own state, because no \
             history would know of the call"
        );
    }
}
