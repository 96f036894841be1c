//! Brings messages from the inboxes of this process's runs to their threads.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use dacapo_core::RunKey;
use tokio::sync::Notify;

use crate::owner::{Context, Owners};

/// The messages read at once.
const MESSAGES_AT_ONCE: i64 = 5_000;

/// The runs whose inboxes are read at once; with more, all of this process's are read, in turn.
const NAMED_RUNS_MAX: usize = 1_000;

/// Which inboxes are to be read.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    wanted: Mutex<Wanted>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    runs: BTreeSet<RunKey>,
    all: bool,
}

impl Mail {
    /// Says that runs have messages.
    pub(crate) fn wanted(&self, runs: &[RunKey]) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.runs.extend(runs);
        if wanted.runs.len() > NAMED_RUNS_MAX {
            wanted.all = true;
        }
        drop(wanted);
        self.changed.notify_one();
    }

    /// Says that any run may have messages.
    pub(crate) fn all_wanted(&self) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).all = true;
        self.changed.notify_one();
    }

    /// Waits for runs that are wanted, and gives them all.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&self, owners: &Owners) -> Vec<RunKey> {
        loop {
            match self.take() {
                Some(wanted) if wanted.all => return owners.owned_runs().into_iter().map(|(run, _)| run).collect(),
                Some(wanted) => return wanted.runs.into_iter().collect(),
                None => self.changed.notified().await,
            }
        }
    }

    fn take(&self) -> Option<Wanted> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *wanted);
        (taken.all || !taken.runs.is_empty()).then_some(taken)
    }
}

/// Reads inboxes for as long as it is polled.
pub(crate) async fn read_inboxes(context: Arc<Context>, owners: Owners, mail: Arc<Mail>) {
    loop {
        let runs = mail.next(&owners).await;
        for some in runs.chunks(NAMED_RUNS_MAX) {
            read(&context, &owners, some).await;
        }
    }
}

async fn read(context: &Context, owners: &Owners, runs: &[RunKey]) {
    match context.store.inbox(context.worker, runs, MESSAGES_AT_ONCE).await {
        Ok(messages) => {
            if messages.len() as i64 >= MESSAGES_AT_ONCE {
                // What was read is not consumed yet; the next look is left to the lease's renewal.
                tracing::debug!("inboxes hold more than one read takes");
            }
            for (run, message) in messages {
                owners.message(run, message);
            }
        }
        // The renewal of the lease looks at the inboxes again.
        Err(error) => tracing::debug!(%error, "inboxes cannot be read"),
    }
}
