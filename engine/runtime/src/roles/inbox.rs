//! Brings messages from the inboxes of this process's runs to their threads.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dacapo_core::{MessageId, RunKey};
use tokio::sync::Notify;

use crate::owner::{Context, Owners};

/// The messages read at once.
const MESSAGES_AT_ONCE: i64 = 5_000;

/// The runs whose inboxes are read at once; with more, all of this process's are read, in turn.
const NAMED_RUNS_MAX: usize = 1_000;

/// The wait before an inbox that holds more than one read takes is read again: what was read is consumed meanwhile. Doubles
/// while nothing is.
const AGAIN: Duration = Duration::from_millis(10);

/// The longest such wait.
const AGAIN_MAX: Duration = Duration::from_secs(1);

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
    /// What was said to be wanted since [`Mail::begin_notes`].
    noted: Option<Notes>,
}

/// What was wanted while runs were on their way into this process: nobody here could have it.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    runs: BTreeSet<RunKey>,
    all: bool,
}

impl Notes {
    /// Of these runs, those that were wanted.
    pub(crate) fn of(&self, runs: impl Iterator<Item = RunKey>) -> Vec<RunKey> {
        runs.filter(|run| self.all || self.runs.contains(run)).collect()
    }
}

impl Mail {
    /// Says that runs have messages.
    pub(crate) fn wanted(&self, runs: &[RunKey]) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.runs.extend(runs);
        if wanted.runs.len() > NAMED_RUNS_MAX {
            wanted.all = true;
        }
        if let Some(noted) = &mut wanted.noted {
            noted.runs.extend(runs);
        }
        drop(wanted);
        self.changed.notify_one();
    }

    /// Says that any run may have messages.
    pub(crate) fn all_wanted(&self) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.all = true;
        if let Some(noted) = &mut wanted.noted {
            noted.all = true;
        }
        drop(wanted);
        self.changed.notify_one();
    }

    /// Notes from now on what is wanted.
    pub(crate) fn begin_notes(&self) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).noted = Some(Notes::default());
    }

    /// Gives what was wanted since [`Mail::begin_notes`].
    pub(crate) fn end_notes(&self) -> Notes {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).noted.take().unwrap_or_default()
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
        let noted = wanted.noted.take();
        let taken = std::mem::replace(&mut *wanted, Wanted { noted, ..Wanted::default() });
        (taken.all || !taken.runs.is_empty()).then_some(taken)
    }
}

/// Runs that alone have more messages than a read takes: the one with which the last read began, and how often in a row.
type Full = HashMap<RunKey, (MessageId, u32)>;

/// Reads inboxes for as long as it is polled.
pub(crate) async fn read_inboxes(context: Arc<Context>, owners: Owners, mail: Arc<Mail>) {
    let mut full = Full::new();
    loop {
        let mut runs = mail.next(&owners).await;
        runs.sort_unstable();
        for some in runs.chunks(NAMED_RUNS_MAX) {
            read(&context, &owners, &mail, some, &mut full).await;
        }
    }
}

/// Reads the inboxes of runs, which are sorted. What is read is in their order, too: a read that takes all it may ends in the
/// middle of a run, and the next one begins there. A run that alone has more than that is read again when it has consumed
/// some; one that consumes nothing is asked less and less often, and then left to the renewal of the lease.
async fn read(context: &Context, owners: &Owners, mail: &Arc<Mail>, mut runs: &[RunKey], full: &mut Full) {
    while !runs.is_empty() {
        let messages = match context.store.inbox(context.worker, runs, MESSAGES_AT_ONCE).await {
            Ok(messages) => messages,
            // The renewal of the lease looks at the inboxes again.
            Err(error) => return tracing::debug!(%error, "inboxes cannot be read"),
        };
        let is_full = messages.len() as i64 >= MESSAGES_AT_ONCE;
        let first = messages.first().map(|(run, message)| (*run, message.id));
        let last = messages.last().map(|(run, _)| *run);
        for (run, message) in messages {
            owners.message(run, message);
        }
        let (Some((run, message)), Some(last)) = (first.filter(|_| is_full), last) else {
            full.retain(|run, _| runs.binary_search(run).is_err());
            return;
        };
        if run < last {
            runs = &runs[runs.partition_point(|run| *run < last)..];
            continue;
        }
        let times = full.get(&run).filter(|(began, _)| *began == message).map_or(0, |(_, times)| times + 1);
        full.insert(run, (message, times));
        let wait = AGAIN * 2_u32.saturating_pow(times);
        if wait <= AGAIN_MAX {
            let mail = Arc::clone(mail);
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                mail.wanted(&[run]);
            });
        }
        runs = &runs[runs.partition_point(|it| *it <= run)..];
    }
}

#[cfg(test)]
mod tests {
    use dacapo_core::{RunId, Shard};

    use super::*;

    fn run(number: u128) -> RunKey {
        RunKey { shard: Shard(1), run_id: RunId(uuid::Uuid::from_u128(number)) }
    }

    #[test]
    fn what_is_wanted_while_runs_are_on_their_way_is_noted_and_no_longer() {
        let mail = Mail::default();
        mail.wanted(&[run(1)]);
        mail.begin_notes();
        mail.wanted(&[run(2), run(3)]);
        assert_eq!(mail.take().map(|wanted| wanted.runs.len()), Some(3), "it is read all the same");
        let coming = || [run(1), run(3), run(4)].into_iter();
        assert_eq!(mail.end_notes().of(coming()), [run(3)]);
        mail.wanted(&[run(4)]);
        assert!(mail.end_notes().of(coming()).is_empty());
        mail.begin_notes();
        mail.all_wanted();
        assert_eq!(mail.end_notes().of(coming()), coming().collect::<Vec<_>>());
    }
}
