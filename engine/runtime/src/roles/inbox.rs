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

/// The runs that are read by name; with more, all inboxes of this process are read.
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

    fn take(&self) -> Option<Vec<RunKey>> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = std::mem::take(&mut wanted.runs);
        let all = std::mem::take(&mut wanted.all);
        if !all && runs.is_empty() {
            return None;
        }
        Some(if all { Vec::new() } else { runs.into_iter().collect() })
    }
}

/// Reads inboxes for as long as it is polled.
pub(crate) async fn deliver(context: Arc<Context>, owners: Owners, mail: Arc<Mail>) {
    loop {
        let Some(runs) = mail.take() else {
            mail.changed.notified().await;
            continue;
        };
        match context.store.inbox(context.worker, &runs, MESSAGES_AT_ONCE).await {
            Ok(messages) => {
                let more = messages.len() as i64 >= MESSAGES_AT_ONCE;
                for (run, message) in messages {
                    owners.message(run, message);
                }
                if more {
                    // What was read is not consumed yet; the next look is left to the lease's renewal.
                    tracing::debug!("inboxes hold more than one read takes");
                }
            }
            // The renewal of the lease looks at the inboxes again.
            Err(error) => tracing::debug!(%error, "inboxes cannot be read"),
        }
    }
}
