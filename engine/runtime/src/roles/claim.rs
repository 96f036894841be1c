//! Claims runs and activities that wait for a worker, as many as there is room for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dacapo_core::{
    limits,
    store::{ActivityClaim, RunClaim, StoreError},
};
use tokio::sync::Notify;

use super::{Alarm, inbox::Mail};
use crate::owner::{Context, Owners};

/// The wait after the database could not answer.
const RETRY: Duration = Duration::from_millis(250);

/// The wait for room when every run in memory has something to do.
const ROOM_WAIT: Duration = Duration::from_millis(50);

/// A worker whose claim found nothing pauses so many times as long as the claim took: news reaches all workers, one of them
/// takes what there is, and the others must not look for it all the time.
const EMPTY_PAUSE: u32 = 2;

/// The longest such pause.
const EMPTY_PAUSE_MAX: Duration = Duration::from_millis(10);

/// The pause between two moves of timers: what is due meanwhile is moved together.
const MOVE_PAUSE: Duration = Duration::from_millis(20);

/// Claims runs whenever `wake` rings.
pub(crate) async fn claim_runs(context: Arc<Context>, owners: Owners, wake: Arc<Notify>, mail: Arc<Mail>) {
    let claim = RunClaim {
        namespace: context.options.namespace.clone(),
        queues: context.options.queues.clone(),
        workflow_types: context.factory.workflow_types(),
        limit: 0,
    };
    if claim.workflow_types.is_empty() {
        return std::future::pending().await;
    }
    loop {
        wake.notified().await;
        loop {
            let room = context.options.cached_runs.saturating_sub(context.owned());
            if room == 0 {
                context.door.close();
                owners.make_room(limits::CLAIM_RUNS_MAX);
                let _ = tokio::time::timeout(ROOM_WAIT, context.room.notified()).await;
            }
            let limit = room.min(limits::CLAIM_RUNS_MAX);
            if limit == 0 {
                continue;
            }
            let begun = Instant::now();
            match claim_once(&context, &owners, &mail, RunClaim { limit, ..claim.clone() }).await {
                Ok(0) => {
                    context.door.open();
                    tokio::time::sleep((begun.elapsed() * EMPTY_PAUSE).min(EMPTY_PAUSE_MAX)).await;
                    break;
                }
                // Fewer than asked for: there are no more, and what comes later is hinted.
                Ok(taken) if taken < limit => {
                    context.door.open();
                    break;
                }
                // What waits there goes before what others start now.
                Ok(_) => context.door.close(),
                Err(error) => {
                    tracing::debug!(%error, "runs cannot be claimed");
                    tokio::time::sleep(RETRY).await;
                    break;
                }
            }
        }
    }
}

async fn claim_once(context: &Context, owners: &Owners, mail: &Mail, claim: RunClaim) -> Result<usize, StoreError> {
    let claimed = context.claim_runs(&claim).await?;
    let mine: Vec<_> =
        claimed.stale.iter().filter(|(_, owner)| *owner == context.worker).map(|(run, _)| *run).collect();
    if !mine.is_empty() {
        mail.wanted(&mine);
    }
    let taken = claimed.runs.len() + claimed.stale.len() + claimed.skipped;
    claimed.runs.into_iter().for_each(|run| owners.claimed(run));
    Ok(taken)
}

/// Claims activities whenever `wake` rings and slots are free.
pub(crate) async fn claim_activities(context: Arc<Context>, wake: Arc<Notify>) {
    let claim = ActivityClaim {
        namespace: context.options.namespace.clone(),
        queues: context.options.queues.clone(),
        limit: 0,
    };
    loop {
        tokio::select! {
            () = wake.notified() => {}
            () = context.activity_due.rung(&context.clock) => {}
        }
        loop {
            let limit = context.pool.room();
            if limit == 0 {
                context.pool.freed.notified().await;
                continue;
            }
            match context.store.claim_activities(context.worker, &ActivityClaim { limit, ..claim.clone() }).await {
                Ok(claimed) if claimed.is_empty() => break,
                Ok(claimed) => claimed.into_iter().for_each(|claimed| context.pool.start_claimed(claimed)),
                Err(error) => {
                    tracing::debug!(%error, "activities cannot be claimed");
                    tokio::time::sleep(RETRY).await;
                    break;
                }
            }
        }
    }
}

/// Moves due timers into the inboxes of their runs whenever the alarm rings.
pub(crate) async fn move_timers(context: Arc<Context>, alarm: Arc<Alarm>) {
    loop {
        alarm.rung(&context.clock).await;
        loop {
            match context.store.move_due_timers(limits::SWEEP_BATCH).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "timers cannot be moved");
                    break;
                }
            }
        }
        // A renewal of the lease names the next time alone; those behind it are due before the next renewal.
        match context.store.next_timer_due(context.options.lease_renewal).await {
            Ok(due) => due.into_iter().for_each(|at| alarm.set(at)),
            Err(error) => tracing::debug!(%error, "the next timer is not known"),
        }
        tokio::time::sleep(MOVE_PAUSE).await;
    }
}
