//! Local activities: attempt after attempt in the process that owns the run, without a row and without an event.
//!
//! Invariant: a call is begun after the commit of the task that asked for it, and its run is told of its end once,
//! unless nobody waits for it any more. What is told is not durable before the run's next task has recorded it. Here
//! the retry policy is carried out, since no row counts the attempts; they begin at 1 in every process.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dacapo_core::{
    ActivityId, ActivityResult, Failure, Payload, RetryPolicy, RunKey, TimeoutType, marker::LocalActivityOutcome,
    retry::RetryDecision, transition::ActivityTask,
};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{ActivityPool, attempt::panicked};
use crate::{
    executor::{ActivityControl, Heartbeat, LocalActivityEnded},
    virtual_time::AttemptKey,
};

/// Names one call of a local activity in this process; one that a run asks for again has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LocalId(u64);

#[derive(Debug)]
struct Running {
    run: RunKey,
    activity_id: ActivityId,
    attempt: u32,
    /// Whether its run does not wait for it any more.
    given_up: Arc<AtomicBool>,
    canceled: CancellationToken,
    abandoned: CancellationToken,
}

/// The calls under way.
#[derive(Debug, Default)]
pub(super) struct LocalCalls {
    running: Mutex<HashMap<LocalId, Running>>,
    begun: AtomicU64,
}

impl LocalCalls {
    /// The attempt that each call is at, and whether it was told to stop.
    pub(super) fn attempts(&self) -> Vec<(AttemptKey, bool)> {
        let running = self.lock();
        running.values().map(|it| ((it.run, it.activity_id, it.attempt), it.canceled.is_cancelled())).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn cancel_all(&self) {
        self.lock().values().for_each(|running| running.canceled.cancel());
    }

    pub(super) fn abandon_all(&self) {
        self.lock().values().for_each(|running| running.abandoned.cancel());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LocalId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ActivityPool {
    /// Begins a local activity, after the commit of the task that asked for it.
    pub(crate) fn begin_local(self: &Arc<Self>, task: ActivityTask, policy: RetryPolicy) -> LocalId {
        let id = LocalId(self.local.begun.fetch_add(1, Ordering::Relaxed));
        let running = Running {
            run: task.run,
            activity_id: task.activity_id,
            attempt: task.attempt,
            given_up: Arc::default(),
            canceled: CancellationToken::new(),
            abandoned: CancellationToken::new(),
        };
        let call = LocalCall {
            pool: Arc::clone(self),
            id,
            policy,
            given_up: Arc::clone(&running.given_up),
            canceled: running.canceled.clone(),
            abandoned: running.abandoned.clone(),
        };
        self.local.lock().insert(id, running);
        self.tracker.spawn_on(call.run(task), &self.handle);
        id
    }

    /// Tells a call that nobody waits for it any more: it hears of it, no attempt follows, and nobody is told of its end.
    pub(crate) fn give_up_local(&self, id: LocalId) {
        if let Some(running) = self.local.lock().get(&id) {
            running.given_up.store(true, Ordering::Relaxed);
            running.canceled.cancel();
        }
    }

    /// Ends a call of a run that is not this process's any more.
    pub(crate) fn abandon_local(&self, id: LocalId) {
        if let Some(running) = self.local.lock().get(&id) {
            running.canceled.cancel();
            running.abandoned.cancel();
        }
    }

    /// Whether a call is under way.
    pub(crate) fn runs_local(&self, id: LocalId) -> bool {
        self.local.lock().contains_key(&id)
    }
}

/// A call of a local activity.
struct LocalCall {
    pool: Arc<ActivityPool>,
    id: LocalId,
    policy: RetryPolicy,
    given_up: Arc<AtomicBool>,
    canceled: CancellationToken,
    abandoned: CancellationToken,
}

impl LocalCall {
    async fn run(self, task: ActivityTask) {
        let (run, activity_id) = (task.run, task.activity_id);
        let ended = self.attempts(task).await;
        // As with other attempts, it is forgotten only after its end was told.
        if let Some(owners) = self.pool.owners.get()
            && !self.given_up.load(Ordering::Relaxed)
        {
            let ended = ended.map(|(attempts, outcome)| LocalActivityEnded { activity_id, attempts, outcome });
            owners.local_ended(run, activity_id, self.id, ended);
        }
        self.pool.local.lock().remove(&self.id);
        self.pool.clock.rested();
    }

    /// Makes attempts until the policy ends them; `None` when the process or the run gives up before.
    async fn attempts(&self, mut task: ActivityTask) -> Option<(u32, LocalActivityOutcome)> {
        loop {
            let attempt = Arc::new(task.clone());
            let failure = match self.attempt(Arc::clone(&attempt)).await? {
                Ok(value) => return Some((attempt.attempt, LocalActivityOutcome::Completed(value))),
                Err(failure) => failure,
            };
            let now = self.pool.clock.now();
            let at = match self.policy.decide(task.attempt, &failure, now, task.schedule_to_close_at) {
                RetryDecision::GiveUp(_) => {
                    return Some((task.attempt, LocalActivityOutcome::Failed(Box::new(failure))));
                }
                RetryDecision::RetryAt(at) => at,
            };
            task.attempt += 1;
            task.attempt_scheduled_at = at;
            if let Some(running) = self.pool.local.lock().get_mut(&self.id) {
                running.attempt = task.attempt;
            }
            tokio::select! {
                biased;
                () = self.abandoned.cancelled() => return None,
                () = self.canceled.cancelled() => return None,
                () = self.pool.clock.sleep_before((task.run, task.activity_id, task.attempt), at) => {}
            }
        }
    }

    /// Makes one attempt; `None` when it will not say what it did.
    async fn attempt(&self, task: Arc<ActivityTask>) -> Option<Result<Payload, Failure>> {
        // An error span, so that the ids stand beside every event that is logged at all.
        let span = tracing::error_span!(
            "activity",
            namespace = %task.namespace,
            workflow_id = %task.workflow_id,
            run_id = %task.run.run_id,
            activity_type = %task.activity_type,
            activity_id = task.activity_id,
            attempt = task.attempt,
            local = true,
            correlation_id = %task.correlation_id,
        );
        let began = self.pool.clock.now();
        let result = self.execute(Arc::clone(&task)).instrument(span).await;
        let result = result?;
        let seconds = self.pool.clock.now().since(began).as_secs_f64();
        let labels = [("activity_type", task.activity_type.to_string()), ("outcome", label(&result).to_owned())];
        metrics::histogram!("dacapo_local_activity_seconds", &labels).record(seconds);
        match result {
            ActivityResult::Completed(value) => Some(Ok(value)),
            ActivityResult::Failed(failure) => Some(Err(failure)),
            ActivityResult::TimedOut { timeout } => {
                let message = format!("the {} timeout passed in attempt {}", timeout.as_str(), task.attempt);
                Some(Err(Failure::timeout(timeout, message)))
            }
            // Told to stop because nobody waits for it, or because the process stops: either way it did not end.
            ActivityResult::Canceled { .. } if self.canceled.is_cancelled() => None,
            ActivityResult::Canceled { details } => {
                let message = "the activity stopped as if it had been asked to";
                Some(Err(Failure { details, ..Failure::canceled(message) }))
            }
            ActivityResult::CompletesAsynchronously => Some(Err(completes_elsewhere())),
        }
    }

    async fn execute(&self, task: Arc<ActivityTask>) -> Option<ActivityResult> {
        let in_all = task.schedule_to_close_at;
        let permit = tokio::select! {
            biased;
            permit = self.pool.local_slots.acquire() => permit,
            () = self.abandoned.cancelled() => return None,
            () = self.canceled.cancelled() => return None,
            () = self.pool.clock.sleep_until(in_all) => {
                return Some(ActivityResult::TimedOut { timeout: TimeoutType::ScheduleToClose });
            }
        };
        // Closed: the process stops.
        let _permit = permit.ok()?;
        let started_at = self.pool.clock.now();
        let deadline = task.running_deadline(started_at, started_at);
        // Told on its own before its time is up, so that other attempts of the call do not hear of it.
        let canceled = self.canceled.child_token();
        let control = ActivityControl {
            canceled: canceled.clone(),
            heartbeats: tokio::sync::watch::channel(Heartbeat::default()).0,
            attempt: (task.run, task.activity_id, task.attempt),
            clock: Some(Arc::clone(&self.pool.clock)),
            local: true,
            claimed: None,
        };
        let future = self.pool.runner.run(task, control);
        let future = std::pin::pin!(AssertUnwindSafe(future).catch_unwind());
        tokio::select! {
            biased;
            result = future => Some(result.unwrap_or_else(|panic| ActivityResult::Failed(panicked(&*panic)))),
            () = self.abandoned.cancelled() => None,
            () = self.pool.clock.sleep_until(deadline.map(|(at, _)| at)) => {
                canceled.cancel();
                deadline.map(|(_, timeout)| ActivityResult::TimedOut { timeout })
            }
        }
    }
}

fn completes_elsewhere() -> Failure {
    Failure {
        non_retryable: true,
        ..Failure::application(
            "LocalActivityCannotWait",
            "a local activity cannot be completed from outside, because nothing but its process knows of it: call it \
             with `ctx.activity(…)`",
        )
    }
}

fn label(result: &ActivityResult) -> &'static str {
    match result {
        ActivityResult::Completed(_) => "completed",
        ActivityResult::Failed(_) | ActivityResult::CompletesAsynchronously => "failed",
        ActivityResult::TimedOut { .. } => "timed_out",
        ActivityResult::Canceled { .. } => "canceled",
    }
}
