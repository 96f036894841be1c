//! Keeps the process a member of the fleet and the fleet whole: one statement every two seconds renews the lease and
//! says what there is to do; hints say it sooner.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use dacapo_core::{
    RunKey, Timestamp, WorkerId, limits,
    store::{Beat, BeatInterest, Hint, RunsPart, StoreError},
};
use tokio::sync::Notify;

use super::{
    Alarm,
    handed::{Handed, give_back},
    inbox::Mail,
};
use crate::owner::{Context, Owners};

/// The time between two sweeps of one process.
const SWEEP: Duration = Duration::from_secs(60);

/// The time between two looks at who else serves the queues.
const PEERS: Duration = Duration::from_secs(10);

/// The parts in which open runs are compared with this process's memory: with the usual renewals, all are through in a
/// minute.
const COMPARE_PARTS: u32 = 8;

/// The renewals of the lease from one comparison to the next. An idle process asks the database as little as it can.
const COMPARE_EVERY: u32 = 4;

/// The comparisons with all open runs at once after a claim without an answer, which may go through a little later.
const WHOLE_COMPARISONS: u32 = 3;

/// The wait before a lost beat is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What wakes the roles.
#[derive(Clone)]
pub(crate) struct Bells {
    pub(crate) runs: Arc<Notify>,
    pub(crate) activities: Arc<Notify>,
    pub(crate) timers: Arc<Alarm>,
    pub(crate) mail: Arc<Mail>,
    pub(crate) asked: Arc<Mail>,
    pub(crate) handed: Arc<Handed>,
    pub(crate) outbox: Arc<Notify>,
    pub(crate) gone: Arc<Notify>,
}

impl Bells {
    pub(crate) fn new(timers: Arc<Alarm>, mail: Arc<Mail>) -> Self {
        Self {
            runs: Arc::default(),
            activities: Arc::default(),
            timers,
            mail,
            asked: Arc::default(),
            handed: Arc::default(),
            outbox: Arc::default(),
            gone: Arc::default(),
        }
    }

    /// Rings them all.
    pub(crate) fn ring_all(&self) {
        self.runs.notify_one();
        self.activities.notify_one();
        self.timers.ring();
        self.mail.all_wanted();
        self.handed.all_wanted();
        self.outbox.notify_one();
        self.gone.notify_one();
    }
}

/// Turns hints into bells for as long as it is polled.
pub(crate) async fn listen(context: Arc<Context>, owners: Owners, bells: Bells) {
    let mut hints = context.store.hints();
    bells.ring_all();
    loop {
        match hints.next().await {
            Hint::RunsReady(queue) if context.options.queues.contains(&queue) => bells.runs.notify_one(),
            Hint::ActivitiesReady(queue) if context.options.queues.contains(&queue) => bells.activities.notify_one(),
            Hint::RunsReady(_) | Hint::ActivitiesReady(_) | Hint::Closed(_) | Hint::Ended(_) | Hint::Updated(_) => {}
            Hint::Inbox(runs) => bells.mail.wanted(&runs),
            Hint::Handed(handed) => bells.handed.wanted(&handed),
            Hint::Brought(brought) => bells.handed.brought(&context, brought),
            Hint::Asked(runs) => bells.asked.wanted(&runs),
            Hint::Replaced(runs) => runs.into_iter().for_each(|run| owners.replaced(run)),
            Hint::Outbox => bells.outbox.notify_one(),
            Hint::WorkerGone => bells.gone.notify_one(),
            Hint::Everything => bells.ring_all(),
        }
    }
}

/// Renews the lease until it is lost; returns then.
pub(crate) async fn keep(context: Arc<Context>, owners: Owners, bells: Bells) {
    let interest = |context: &Context| BeatInterest {
        lease: context.options.lease,
        namespace: context.options.namespace.clone(),
        queues: context.options.queues.clone(),
        busy: context.pool.busy(),
        owned: context.owned(),
        takes_starts: context.takes_starts(),
    };
    let mut comparison = Comparison::default();
    let mut swept = Instant::now();
    let mut peers_at: Option<Instant> = None;
    loop {
        let wait = match context.store.beat(context.worker, &interest(&context)).await {
            Ok(beat) => {
                context.clock.adjust(beat.now);
                heed(&context, &owners, &bells, &beat, &mut comparison).await;
                context.options.lease_renewal
            }
            Err(StoreError::LeaseLost { worker }) => {
                tracing::error!(%worker, "the lease was lost; everything owned under it is dropped");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the lease could not be renewed");
                RETRY
            }
        };
        if peers_at.is_none_or(|at| at.elapsed() >= PEERS) {
            peers_at = Some(Instant::now());
            learn_peers(&context).await;
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            sweep(&context).await;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = bells.gone.notified() => {}
        }
    }
}

async fn heed(context: &Context, owners: &Owners, bells: &Bells, beat: &Beat, comparison: &mut Comparison) {
    if beat.runs_ready {
        bells.runs.notify_one();
    } else if context.owned() < context.options.cached_runs {
        context.door.open();
    }
    if beat.starts_handed {
        bells.handed.all_wanted();
    }
    if beat.starts_untaken {
        let until = Instant::now() + context.options.lease_renewal;
        give_back(context, None, limits::HANDED_GRACE, until).await;
    }
    if beat.activities_ready {
        bells.activities.notify_one();
    }
    if beat.inbox_waiting {
        bells.mail.all_wanted();
    }
    if beat.outbox_waiting {
        bells.outbox.notify_one();
    }
    if let Some(at) = beat.next_due_at {
        bells.timers.set(at.max(Timestamp(1)));
        // A row that becomes visible later is claimed by whoever looks then.
        context.activity_due.set(at.max(Timestamp(1)));
        let (runs, clock_at) = (Arc::clone(&bells.runs), at.since(context.clock.now()));
        // Virtual time rings every bell when it moves.
        if clock_at < context.options.lease_renewal && context.clock.virtual_time().is_none() {
            context.tracker.spawn(async move {
                tokio::time::sleep(clock_at).await;
                runs.notify_one();
            });
        }
    }
    if beat.activities_overdue
        && let Err(error) = context.store.expire_activities(limits::SWEEP_BATCH).await
    {
        tracing::debug!(%error, "overdue activities cannot be handled");
    }
    let until = Instant::now() + context.options.lease_renewal;
    for dead in &beat.lapsed {
        take_over(context, *dead, until).await;
    }
    comparison.go_on(context, owners).await;
    metrics::gauge!("dacapo_owned_runs").set(context.owned() as f64);
    metrics::gauge!("dacapo_activities_busy").set(context.pool.busy() as f64);
}

/// Takes over what a dead process owned, batch by batch, as long as there is time: whoever is busy with the runs of others
/// must not forget its own lease. The next beat goes on.
async fn take_over(context: &Context, dead: WorkerId, until: Instant) {
    let mut moved = 0;
    while Instant::now() < until {
        match context.store.take_over(dead, limits::SWEEP_BATCH).await {
            Ok(0) => break,
            Ok(batch) => moved += batch,
            Err(error) => {
                tracing::warn!(%error, worker = %dead, "a take-over is interrupted; the next beat goes on");
                break;
            }
        }
    }
    if moved > 0 {
        tracing::warn!(worker = %dead, moved, "took over what a dead worker owned");
    }
}

/// The look for runs that name this process as their owner and that it does not know: an answer was lost.
#[derive(Debug, Default)]
struct Comparison {
    /// The renewals since the last look.
    renewals: u32,
    /// The part that is looked at next.
    next: u32,
    /// The looks at all parts at once that are still to be made.
    whole: u32,
    /// What the last look found unknown, with its owner epoch. What is still the same at the next look can not be under
    /// way any more.
    unknown: HashMap<RunKey, i32>,
}

impl Comparison {
    async fn go_on(&mut self, context: &Context, owners: &Owners) {
        if context.claim_lost.swap(false, Ordering::Relaxed) {
            self.whole = WHOLE_COMPARISONS;
        }
        self.take_up(context, owners).await;
        self.renewals += 1;
        if self.whole == 0 && self.renewals < COMPARE_EVERY {
            return;
        }
        self.renewals = 0;
        let part = if self.whole > 0 { RunsPart::WHOLE } else { RunsPart { index: self.next, of: COMPARE_PARTS } };
        let Ok(stored) = context.store.owned_runs(context.worker, part).await else { return };
        match self.whole {
            0 => self.next = (self.next + 1) % COMPARE_PARTS,
            _ => self.whole -= 1,
        }
        if !stored.is_empty() {
            let known = known(owners);
            self.unknown.extend(stored.into_iter().filter(|(run, epoch)| is_unknown(&known, *run, *epoch)));
        }
    }

    /// Reads and owns what is still unknown.
    async fn take_up(&mut self, context: &Context, owners: &Owners) {
        if self.unknown.is_empty() {
            return;
        }
        let known = known(owners);
        self.unknown.retain(|run, epoch| is_unknown(&known, *run, *epoch));
        let lost: Vec<RunKey> = self.unknown.keys().copied().collect();
        for batch in lost.chunks(limits::CLAIM_RUNS_MAX) {
            let Ok(mut loaded) = context.load_runs(batch).await else { return };
            loaded.retain(|run| {
                run.owner == Some(context.worker) && self.unknown.get(&run.key) == Some(&run.owner_epoch)
            });
            if !loaded.is_empty() {
                tracing::warn!(runs = loaded.len(), "found runs whose claim had no answer");
            }
            loaded.into_iter().for_each(|run| owners.claimed(run));
            self.unknown.retain(|run, _| !batch.contains(run));
        }
    }
}

/// The runs here, each with the highest epoch under which one of its copies is known: one may run code while another waits.
fn known(owners: &Owners) -> HashMap<RunKey, i32> {
    let mut known = HashMap::new();
    for (run, epoch) in owners.owned_runs() {
        let highest = known.entry(run).or_insert(epoch);
        *highest = epoch.max(*highest);
    }
    known
}

/// Whether a run that names this process is not known here under its epoch: a copy from before will never write again.
fn is_unknown(known: &HashMap<RunKey, i32>, run: RunKey, epoch: i32) -> bool {
    known.get(&run).is_none_or(|held| *held < epoch)
}

async fn learn_peers(context: &Context) {
    let Ok(workers) = context.store.workers().await else { return };
    let now = context.clock.now();
    let others = workers.into_iter().filter(|worker| {
        worker.worker != context.worker && !worker.activity_types.is_empty() && worker.lease_until > now
    });
    context.peers.learn(others.flat_map(|worker| worker.queues).collect());
}

async fn sweep(context: &Context) {
    match context.store.sweep().await {
        Ok(findings) => {
            for finding in findings {
                metrics::counter!("dacapo_sweep_repairs_total", "kind" => finding.kind).increment(finding.rows);
                tracing::error!(
                    kind = finding.kind,
                    rows = finding.rows,
                    "the sweeper repaired what should be impossible"
                );
            }
        }
        Err(error) => tracing::debug!(%error, "the sweep was not possible"),
    }
    match context.store.dead_letter_counts().await {
        Ok(counts) => {
            for (kind, letters) in counts {
                metrics::gauge!("dacapo_dead_letters", "kind" => kind.as_str()).set(letters as f64);
            }
        }
        Err(error) => tracing::debug!(%error, "dead letters cannot be counted"),
    }
    if context.exhausted.load(Ordering::Relaxed) {
        tracing::error!("workflow threads are exhausted");
    }
}

#[cfg(test)]
mod tests {
    use dacapo_core::{RunId, Shard};

    use super::*;

    #[test]
    fn a_run_that_is_known_under_an_older_epoch_is_unknown() {
        let run = |number| RunKey { shard: Shard(1), run_id: RunId(uuid::Uuid::from_u128(number)) };
        let known = HashMap::from([(run(1), 2), (run(2), i32::MAX)]);
        assert!(!is_unknown(&known, run(1), 2) && !is_unknown(&known, run(1), 1));
        assert!(is_unknown(&known, run(1), 3), "its fence went through and nobody heard of it");
        assert!(!is_unknown(&known, run(2), 9), "it is being read again");
        assert!(is_unknown(&known, run(3), 1));
    }
}
