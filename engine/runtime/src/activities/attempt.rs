//! One attempt of an activity: wait for a slot, run under its timeouts, say what became of it.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dacapo_core::{
    ActivityOutcome, ActivityResult, Failure, FailureKind, Payload, TimeoutType, Timestamp,
    store::{ActivityReport, StoreError},
    transition::ActivityTask,
};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{ActivityPool, Origin, heartbeat::Heartbeats};
use crate::executor::{ActivityControl, ActivityFuture, ClaimedAttempt, Heartbeat};

pub(super) struct Attempt {
    pub(super) pool: Arc<ActivityPool>,
    pub(super) task: Arc<ActivityTask>,
    pub(super) origin: Origin,
    /// Whether the run asked for it to stop.
    pub(super) asked: Arc<AtomicBool>,
    pub(super) canceled: CancellationToken,
    pub(super) abandoned: CancellationToken,
}

/// How an attempt ended, as seen from here.
enum Ended {
    With(ActivityResult),
    /// It may have begun, and nobody will learn what it did: the process stops or the attempt is not its any more.
    Abandoned,
    /// It never began: the process stops.
    NeverBegan,
    /// It recorded its end itself, whatever came after that.
    Recorded,
}

/// The wait before a report that the database could not take is sent again.
const REPORT_RETRY: Duration = Duration::from_millis(200);

impl Attempt {
    pub(super) async fn run(self) {
        // An error span, so that the ids stand beside every event that is logged at all.
        let span = tracing::error_span!(
            "activity",
            namespace = %self.task.namespace,
            workflow_id = %self.task.workflow_id,
            run_id = %self.task.run.run_id,
            activity_type = %self.task.activity_type,
            activity_id = self.task.activity_id,
            attempt = self.task.attempt,
            correlation_id = %self.task.correlation_id,
        );
        let (started_at, last_heartbeat, mut ended) = self.execute().instrument(span).await;
        let told_by_run = self.asked.load(Ordering::Relaxed) || !self.pool.slots.is_closed();
        if matches!(ended, Ended::With(ActivityResult::Canceled { .. })) && !told_by_run {
            // It stopped because this process does: to its run that is an attempt without an end.
            ended = Ended::Abandoned;
        }
        if let Some(started_at) = started_at {
            let seconds = self.pool.clock.now().since(started_at).as_secs_f64();
            let activity_type = self.task.activity_type.to_string();
            metrics::histogram!("dacapo_activity_seconds", "activity_type" => activity_type, "outcome" => label(&ended))
                .record(seconds);
        }
        // The end is forgotten only after it was told: a run that is loaded again meanwhile must find the attempt in one
        // of the two places, or it would begin the attempt a second time.
        self.tell(started_at, last_heartbeat, ended).await;
        self.pool.ended(&self.task);
    }

    async fn execute(&self) -> (Option<Timestamp>, Option<Payload>, Ended) {
        let permit = tokio::select! {
            biased;
            permit = self.pool.slots.acquire() => permit,
            () = self.abandoned.cancelled() => return (None, None, Ended::NeverBegan),
            () = self.canceled.cancelled() => return (None, None, Ended::With(ActivityResult::Canceled { details: None })),
            timeout = self.waited_too_long() => return (None, None, Ended::With(ActivityResult::TimedOut { timeout })),
        };
        let Ok(_permit) = permit else { return (None, None, Ended::NeverBegan) };
        if let Origin::Claimed(_) = self.origin
            && self.canceled.is_cancelled()
        {
            return (None, None, Ended::With(ActivityResult::Canceled { details: None }));
        }
        let started_at = self.pool.clock.now();
        let (heartbeats, heard) = tokio::sync::watch::channel(Heartbeat::default());
        let attempt = (self.task.run, self.task.activity_id, self.task.attempt);
        let clock = Some(Arc::clone(&self.pool.clock));
        let claimed = match self.origin {
            Origin::Claimed(claim) => Some(Arc::new(ClaimedAttempt {
                store: Arc::clone(&self.pool.store),
                worker: self.pool.worker,
                claim,
                identity: Arc::clone(&self.pool.identity),
                started_at,
                recorded: AtomicBool::new(false),
            })),
            Origin::Local => None,
        };
        let control = ActivityControl {
            canceled: self.canceled.clone(),
            heartbeats,
            attempt,
            clock,
            claimed: claimed.clone(),
            local: false,
        };
        let future = self.pool.runner.run(Arc::clone(&self.task), control);
        let mut heartbeats = Heartbeats::new(self, started_at, heard);
        let mut ended = self.drive(future, &mut heartbeats).await;
        if claimed.is_some_and(|claimed| claimed.is_recorded()) {
            ended = Ended::Recorded;
        }
        (Some(started_at), heartbeats.latest(), ended)
    }

    async fn drive(&self, future: ActivityFuture, heartbeats: &mut Heartbeats<'_>) -> Ended {
        let mut future = std::pin::pin!(AssertUnwindSafe(future).catch_unwind());
        tokio::select! {
            biased;
            result = &mut future => Ended::With(result.unwrap_or_else(|panic| ActivityResult::Failed(panicked(&*panic)))),
            () = self.abandoned.cancelled() => Ended::Abandoned,
            timeout = heartbeats.watch() => match timeout {
                Some(timeout) => Ended::With(ActivityResult::TimedOut { timeout }),
                None => Ended::Abandoned,
            },
        }
    }

    async fn waited_too_long(&self) -> TimeoutType {
        match self.task.waiting_deadline() {
            Some((at, timeout)) => {
                tokio::time::sleep(at.since(self.pool.clock.now())).await;
                timeout
            }
            None => std::future::pending().await,
        }
    }

    async fn tell(&self, started_at: Option<Timestamp>, last_heartbeat: Option<Payload>, ended: Ended) {
        let outcome = |result| ActivityOutcome {
            activity_id: self.task.activity_id,
            attempt: self.task.attempt,
            started_at,
            identity: Arc::clone(&self.pool.identity),
            last_heartbeat,
            result,
        };
        match (self.origin, ended) {
            (_, Ended::Recorded) => {}
            (Origin::Local, Ended::With(result)) => self.pool.tell_owner(self.task.run, outcome(result)),
            (Origin::Local, Ended::Abandoned) => self.pool.tell_owner_lost(&self.task),
            (Origin::Local, Ended::NeverBegan) => self.pool.tell_owner_never_began(&self.task),
            (Origin::Claimed(claim), Ended::With(result)) => {
                self.report(ActivityReport { worker: self.pool.worker, claim, outcome: outcome(result) }).await;
            }
            (Origin::Claimed(claim), Ended::NeverBegan) => {
                let returned = self.pool.store.return_activities(self.pool.worker, vec![claim]).await;
                if let Err(error) = returned {
                    tracing::warn!(%error, "could not give an activity back; its deadline or the lease will");
                }
            }
            (Origin::Claimed(claim), Ended::Abandoned) => {
                let failure = Failure {
                    next_retry_delay_ms: Some(0),
                    ..Failure::worker_lost("the worker stopped before the attempt had ended")
                };
                let outcome = outcome(ActivityResult::Failed(failure));
                self.report(ActivityReport { worker: self.pool.worker, claim, outcome }).await;
            }
        }
    }

    /// Reports a claimed attempt until the database has an answer; the claim's token makes a second report harmless.
    async fn report(&self, report: ActivityReport) {
        loop {
            match self.pool.store.complete_activity(report.clone()).await {
                Ok(_) => return,
                Err(StoreError::Unavailable { problem }) => {
                    tracing::warn!(problem, "an activity's outcome could not be stored yet");
                    tokio::time::sleep(REPORT_RETRY).await;
                }
                Err(error) => {
                    tracing::error!(%error, "an activity's outcome was refused; the attempt will be repeated");
                    return;
                }
            }
            if self.abandoned.is_cancelled() {
                return;
            }
        }
    }
}

/// Makes the failure of an attempt that panicked.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    Failure { kind: FailureKind::Panic, ..Failure::application("Panic", message) }
}

fn label(ended: &Ended) -> &'static str {
    match ended {
        Ended::With(ActivityResult::Completed(_)) | Ended::Recorded => "completed",
        Ended::With(ActivityResult::Failed(_)) => "failed",
        Ended::With(ActivityResult::TimedOut { .. }) => "timed_out",
        Ended::With(ActivityResult::Canceled { .. }) => "canceled",
        Ended::With(ActivityResult::CompletesAsynchronously) => "asynchronous",
        Ended::Abandoned | Ended::NeverBegan => "abandoned",
    }
}
