//! Takes starts that others handed to this process, and says whether it takes any.
//!
//! A start that is handed over is this process's from its first moment; until it takes the start, nobody works at it. So
//! others may hand starts to it only while it has room, finds nothing on its queues that waits for longer, and is quick.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dacapo_core::{
    RunKey, WorkerId, limits,
    store::{BroughtStarts, HandedId, HandedStarts},
};
use tokio::sync::Notify;

use super::inbox::Mail;
use crate::owner::{Context, Owners};

/// Flushes of starts that are taken at once, of up to 200 runs each; fewer where there is less room.
const TAKEN_AT_ONCE: usize = 16;

/// A process that takes starts later than this after they were handed over, or waits so long for the database to be told of
/// it, does not take any for some time.
const LATE: Duration = Duration::from_millis(500);

/// The time for which a process that had no room, or was late, takes no starts.
const CLOSED_FOR: Duration = Duration::from_secs(1);

/// The longest that a process which stops waits for the fleet to hear of it.
const SHUT_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest that a process without room gives starts back at a time; the renewals of leases do the rest.
const REFUSE_FOR: Duration = Duration::from_secs(1);

/// The time after which the store is told of starts that hints brought. Others give back what has lain for a second.
const SETTLE: Duration = Duration::from_millis(100);

/// The wait before starts are looked for after the database could not answer.
const RETRY: Duration = Duration::from_millis(250);

/// Whether others may hand starts to this process.
#[derive(Debug, Default)]
pub(crate) struct Door {
    state: Mutex<DoorState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct DoorState {
    is_open: bool,
    closed_at: Option<Instant>,
}

impl Door {
    /// Opens, unless it was closed a moment ago.
    pub(crate) fn open(&self) {
        self.open_at(Instant::now());
    }

    fn open_at(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_open && state.closed_at.is_none_or(|at| now.saturating_duration_since(at) >= CLOSED_FOR) {
            state.is_open = true;
            self.changed.notify_one();
        }
    }

    /// Closes.
    pub(crate) fn close(&self) {
        self.close_at(Instant::now());
    }

    fn close_at(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed_at = Some(now);
        if std::mem::take(&mut state.is_open) {
            self.changed.notify_one();
        }
    }

    fn is_open(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_open
    }
}

impl Context {
    /// For how long others may hand starts to this process; until its next renewal but one at the latest.
    pub(crate) fn takes_starts(&self) -> Option<Duration> {
        (self.door.is_open() && !self.is_draining()).then(|| self.options.lease_renewal * 3 / 2)
    }
}

/// Tells the fleet when the door opens or closes.
pub(crate) async fn keep_door(context: Arc<Context>) {
    loop {
        context.door.changed.notified().await;
        if let Err(error) = context.store.take_starts(context.worker, context.takes_starts()).await {
            // The next renewal of the lease says it.
            tracing::debug!(%error, "the fleet cannot be told whether this worker takes starts");
        }
    }
}

/// What was handed to this process.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    wanted: Mutex<Wanted>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    some: BTreeSet<HandedId>,
    all: bool,
    brought: VecDeque<Arc<BroughtStarts>>,
}

impl Handed {
    /// Says that starts were handed over.
    pub(crate) fn wanted(&self, handed: &[HandedId]) {
        self.lock().some.extend(handed);
        self.changed.notify_one();
    }

    /// Says that any may have been.
    pub(crate) fn all_wanted(&self) {
        self.lock().all = true;
        self.changed.notify_one();
    }

    /// Takes starts that a hint brought, if they are for this worker.
    pub(crate) fn brought(&self, context: &Context, brought: Arc<BroughtStarts>) {
        if brought.worker == context.worker {
            self.lock().brought.push_back(brought);
            self.changed.notify_one();
        }
    }

    /// Waits until starts wait.
    async fn lie(&self) {
        let waits = || {
            let wanted = self.lock();
            wanted.all || !wanted.some.is_empty() || !wanted.brought.is_empty()
        };
        while !waits() {
            self.changed.notified().await;
        }
    }

    fn next_brought(&self) -> Option<Arc<BroughtStarts>> {
        self.lock().brought.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to take next, where there is room for so many runs.
    fn take(&self, room: usize) -> Option<HandedStarts> {
        let at_once = (room / limits::FLUSH_ITEMS_MAX).clamp(1, TAKEN_AT_ONCE);
        let mut wanted = self.lock();
        if std::mem::take(&mut wanted.all) {
            return Some(HandedStarts::Oldest(at_once));
        }
        let mut some = Vec::new();
        while some.len() < at_once
            && let Some(id) = wanted.some.pop_first()
        {
            some.push(id);
        }
        (!some.is_empty()).then_some(HandedStarts::Some(some))
    }
}

/// Takes what is handed over for as long as it is polled.
pub(crate) async fn take_handed(context: Arc<Context>, owners: Owners, handed: Arc<Handed>, asked: Arc<Mail>) {
    let mut brought = Brought::default();
    loop {
        tokio::select! {
            () = handed.lie() => {}
            () = brought.settles() => {
                let (telling, here) = (Arc::clone(&context), std::mem::take(&mut brought.here));
                // What is brought meanwhile does not wait for it.
                context.tracker.spawn(async move { here.tell(&telling).await });
            }
        }
        let mut room = context.options.cached_runs.saturating_sub(context.owned());
        while let Some(starts) = handed.next_brought() {
            match room.checked_sub(starts.runs.len()) {
                Some(left) => {
                    brought.take(&context, &owners, &starts);
                    room = left;
                }
                None => handed.wanted(&[starts.handed]),
            }
        }
        let Some(which) = handed.take(room) else { continue };
        if room == 0 {
            refuse(&context, &owners, std::mem::take(&mut brought).here).await;
            continue;
        }
        match &which {
            // What is here need not be read.
            HandedStarts::Oldest(_) => std::mem::take(&mut brought).here.tell(&context).await,
            HandedStarts::Some(flushes) => brought.partly.retain(|flush, _| !flushes.contains(flush)),
        }
        match take(&context, &owners, &which, &asked).await {
            // There may be more than was asked for.
            Some(1..) if matches!(which, HandedStarts::Oldest(_)) => handed.all_wanted(),
            Some(_) => {}
            None => {
                tokio::time::sleep(RETRY).await;
                handed.all_wanted();
            }
        }
    }
}

/// What hints have brought and the store does not know to be here.
#[derive(Debug, Default)]
struct Brought {
    /// The runs that are missing of flushes of which a part has come.
    partly: HashMap<HandedId, usize>,
    here: Here,
}

/// Flushes of which all runs are here, and since when the first of them.
#[derive(Debug, Default)]
struct Here {
    flushes: Vec<HandedId>,
    since: Option<Instant>,
}

impl Brought {
    /// Brings runs to their threads.
    fn take(&mut self, context: &Context, owners: &Owners, starts: &BroughtStarts) {
        metrics::counter!("dacapo_handed_runs_total").increment(starts.runs.len() as u64);
        context.read_brought(starts).into_iter().for_each(|run| owners.claimed(run));
        let missing = self.partly.remove(&starts.handed).unwrap_or(starts.of).saturating_sub(starts.runs.len());
        if missing > 0 {
            self.partly.insert(starts.handed, missing);
        } else {
            self.here.flushes.push(starts.handed);
            self.here.since.get_or_insert_with(Instant::now);
        }
    }

    /// Waits until it is time to tell the store.
    async fn settles(&self) {
        match self.here.since {
            Some(since) => tokio::time::sleep_until((since + SETTLE).into()).await,
            None => std::future::pending().await,
        }
    }
}

impl Here {
    /// Tells the store. Where that fails, the next renewal of the lease finds the starts as something to take.
    async fn tell(self, context: &Context) {
        let Some(since) = self.since else { return };
        match closing_when_late(context, context.store.took_brought(context.worker, &self.flushes)).await {
            Ok(Some(handed_ago)) if handed_ago.saturating_sub(since.elapsed()) <= LATE => {}
            // It heard of them late, or so late that others gave them back meanwhile.
            Ok(_) => context.door.close(),
            Err(error) => {
                context.door.close();
                tracing::debug!(%error, "the store could not be told of starts that are here");
            }
        }
    }
}

/// Takes starts, and brings them to their threads. What came for them meanwhile (a signal, a question) was told to a
/// process that did not know them yet, and is looked for again. Gives how many; `None`: the database could not answer.
async fn take(context: &Context, owners: &Owners, which: &HandedStarts, asked: &Mail) -> Option<usize> {
    context.mail.begin_notes();
    asked.begin_notes();
    let taken = match closing_when_late(context, context.take_handed(which)).await {
        Ok(taken) => taken,
        Err(error) => {
            context.door.close();
            context.mail.end_notes();
            asked.end_notes();
            tracing::debug!(%error, "starts that were handed over cannot be taken");
            return None;
        }
    };
    if taken.waited > LATE {
        context.door.close();
    }
    metrics::counter!("dacapo_handed_runs_total").increment(taken.runs.len() as u64);
    let runs: Vec<RunKey> = taken.runs.iter().map(|run| run.key).collect();
    taken.runs.into_iter().for_each(|run| owners.claimed(run));
    for mail in [&*context.mail, asked] {
        let missed = mail.end_notes().of(runs.iter().copied());
        if !missed.is_empty() {
            mail.wanted(&missed);
        }
    }
    Some(runs.len())
}

/// Waits for the database, and keeps the door closed while that is late: whatever comes meanwhile lies.
async fn closing_when_late<T>(context: &Context, answer: impl Future<Output = T>) -> T {
    let mut answer = Box::pin(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            () = tokio::time::sleep(LATE) => context.door.close(),
        }
    }
}

/// Takes no starts any more, because the process stops.
pub(crate) async fn shut(context: &Context) {
    context.door.close();
    let told = context.store.take_starts(context.worker, None);
    // What is handed over all the same is given back when the worker leaves the fleet.
    if !matches!(tokio::time::timeout(SHUT_TIMEOUT, told).await, Ok(Ok(()))) {
        tracing::debug!("the fleet could not be told that this worker takes no more starts");
    }
}

/// Gives everything back that nobody here has room for; what is here stays.
async fn refuse(context: &Context, owners: &Owners, here: Here) {
    context.door.close();
    here.tell(context).await;
    owners.make_room(limits::CLAIM_RUNS_MAX);
    give_back(context, Some(context.worker), Duration::ZERO, Instant::now() + REFUSE_FOR).await;
}

/// Gives back what was handed to a worker, or to anybody, so long ago and not taken, as long as there is time.
pub(super) async fn give_back(context: &Context, worker: Option<WorkerId>, age: Duration, until: Instant) {
    while Instant::now() < until {
        match context.store.give_back_handed(worker, age).await {
            Ok(0) => return,
            Ok(flushes) => tracing::debug!(flushes, "starts that were not taken were given back"),
            // The next renewal of a lease does it.
            Err(error) => return tracing::debug!(%error, "starts cannot be given back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_that_was_closed_stays_so_for_a_while() {
        let (door, now) = (Door::default(), Instant::now());
        assert!(!door.is_open());
        door.open_at(now);
        assert!(door.is_open());
        door.close_at(now);
        door.open_at(now + CLOSED_FOR / 2);
        assert!(!door.is_open(), "it was closed a moment ago");
        door.open_at(now + CLOSED_FOR);
        assert!(door.is_open());
    }

    #[test]
    fn starts_are_taken_in_turn_and_in_bounded_numbers() {
        let handed = Handed::default();
        assert_eq!(handed.take(10_000), None);
        handed.wanted(&(1..=21).collect::<Vec<_>>());
        assert_eq!(handed.take(10_000), Some(HandedStarts::Some((1..=16).collect())));
        assert_eq!(handed.take(450), Some(HandedStarts::Some(vec![17, 18])));
        assert_eq!(handed.take(1), Some(HandedStarts::Some(vec![19])), "a flush cannot be taken in parts");
        handed.all_wanted();
        handed.wanted(&[22]);
        assert_eq!(handed.take(1_000), Some(HandedStarts::Oldest(5)));
        assert_eq!(handed.take(1_000), Some(HandedStarts::Some(vec![20, 21, 22])), "they may be none of the oldest");
        assert_eq!(handed.take(1_000), None);
    }
}
