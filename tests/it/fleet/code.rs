//! The workflows and activities of the worker processes.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use dacapo::{ActivityContext, ActivityError, Client, WorkflowError, core::RetryPolicy, prelude::*};
use nix::{
    sys::signal::{self, Signal as Unix},
    unistd::Pid,
};
use sqlx::{PgPool, postgres::PgPoolOptions};

use super::{
    money::{Bank, shop, transfers},
    worker::{Serves, Settings},
};

/// Lets a [`mixed`] run go on to its last activity.
pub(crate) const GO: Signal<u64> = Signal::new("go");

/// A value for a [`collector`] or a [`partner`].
pub(crate) const VALUE: Signal<u64> = Signal::new("value");

/// Ends a [`collector`].
pub(crate) const STOP: Signal<()> = Signal::new("stop");

/// What activities need.
pub(crate) struct Host {
    effects: PgPool,
    client: Client,
}

/// An activity that takes a while, in all its attempts or only in the first.
#[dacapo::data]
#[derive(Clone, Copy)]
pub(crate) struct Work {
    pub(crate) value: u64,
    pub(crate) ms: u64,
}

/// A value for another run.
#[dacapo::data]
pub(crate) struct Letter {
    pub(crate) to: String,
    pub(crate) value: u64,
}

/// Where a resumed activity began, and in which attempt.
#[dacapo::data]
pub(crate) struct Resumed {
    pub(crate) from: u64,
    pub(crate) attempt: u32,
}

#[activities]
impl Host {
    /// Leaves its effect, and ends some time later.
    #[activity(name = "fleet.work", start_to_close = "120s")]
    async fn work(&self, ctx: &ActivityContext, work: Work) -> Result<u64, ActivityError> {
        self.leave_effect(ctx).await?;
        tokio::time::sleep(Duration::from_millis(work.ms)).await;
        Ok(work.value + 1)
    }

    /// As `work`, but only the first attempt takes its time.
    #[activity(name = "fleet.slow_once", start_to_close = "120s")]
    async fn slow_once(&self, ctx: &ActivityContext, work: Work) -> Result<u32, ActivityError> {
        self.leave_effect(ctx).await?;
        if ctx.attempt() == 1 {
            tokio::time::sleep(Duration::from_millis(work.ms)).await;
        }
        Ok(ctx.attempt())
    }

    /// Takes its time and says all the while that it lives.
    #[activity(name = "fleet.beating", start_to_close = "120s", heartbeat = "2s")]
    async fn beating(&self, ctx: &ActivityContext, work: Work) -> Result<u32, ActivityError> {
        self.leave_effect(ctx).await?;
        for done in 0..work.ms / 20 {
            ctx.heartbeat(&done)?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(ctx.attempt())
    }

    /// Fails as long as there is no flour.
    #[activity(name = "fleet.bake", start_to_close = "120s")]
    async fn bake(&self, ctx: &ActivityContext, value: u64) -> Result<u64, ActivityError> {
        let flour: i64 =
            sqlx::query_scalar("SELECT count(*) FROM effects WHERE key = 'flour'").fetch_one(&self.effects).await?;
        if flour == 0 {
            return Err(ActivityError::new("Supply", "there is no flour"));
        }
        self.leave_effect(ctx).await?;
        Ok(value + 1)
    }

    /// Kills its own process in its first attempt, after the effect and before anybody can learn of it.
    #[activity(name = "fleet.dies_after_effect", start_to_close = "120s")]
    async fn dies_after_effect(&self, ctx: &ActivityContext) -> Result<u32, ActivityError> {
        self.leave_effect(ctx).await?;
        if ctx.attempt() == 1 {
            signal::kill(Pid::this(), Unix::SIGKILL)?;
        }
        Ok(ctx.attempt())
    }

    /// Sends a signal to another run.
    #[activity(name = "fleet.write_to", start_to_close = "120s")]
    async fn write_to(&self, ctx: &ActivityContext, letter: Letter) -> Result<(), ActivityError> {
        self.leave_effect(ctx).await?;
        self.client.handle(partner, letter.to.as_str()).signal(&VALUE, letter.value).await?;
        Ok(())
    }

    /// Gets three steps far in its first attempt and then beats on; later attempts go on where it was.
    #[activity(name = "fleet.resumes", start_to_close = "120s", heartbeat = "1s")]
    async fn resumes(&self, ctx: &ActivityContext, steps: u64) -> Result<Resumed, ActivityError> {
        self.leave_effect(ctx).await?;
        let from = ctx.last_heartbeat::<u64>()?.unwrap_or(0);
        for step in from..steps {
            ctx.heartbeat(&(step + 1))?;
            while ctx.attempt() == 1 && step + 1 == 3 {
                ctx.heartbeat(&(step + 1))?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(Resumed { from, attempt: ctx.attempt() })
    }

    /// Runs until it hears that it should not.
    #[activity(name = "fleet.runs_until_cancelled", start_to_close = "120s", heartbeat = "500ms")]
    async fn runs_until_cancelled(&self, ctx: &ActivityContext) -> Result<(), ActivityError> {
        self.leave_effect(ctx).await?;
        while !ctx.is_cancelled() {
            ctx.heartbeat(&"alive")?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sqlx::query("INSERT INTO effects (key, attempt, pid) VALUES ('cancelled', 1, $1)")
            .bind(Pid::this().as_raw())
            .execute(&self.effects)
            .await?;
        Err(ActivityError::cancelled().details(&"heard of it")?)
    }
}

impl Host {
    /// Does what must not be lost and must not be recorded twice.
    async fn leave_effect(&self, ctx: &ActivityContext) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO effects (key, attempt, pid) VALUES ($1, $2, $3)")
            .bind(ctx.idempotency_key())
            .bind(i32::try_from(ctx.attempt()).unwrap())
            .bind(Pid::this().as_raw())
            .execute(&self.effects)
            .await?;
        Ok(())
    }
}

/// Retries soon, because a test waits.
fn soon() -> RetryPolicy {
    RetryPolicy::default().initial_interval(Duration::from_millis(100)).backoff_coefficient(1.0)
}

/// Three activities, a timer, a signal, another activity.
#[workflow(name = "fleet.mixed")]
pub(crate) async fn mixed(ctx: WorkflowContext, work: Work) -> Result<u64, WorkflowError> {
    let Work { mut value, ms } = work;
    for _ in 0..3 {
        value = ctx.activity(Host::work, Work { value, ms }).retry(soon()).await?;
    }
    ctx.sleep(Duration::from_millis(ms)).await?;
    value += ctx.receive(&GO).await?;
    Ok(ctx.activity(Host::work, Work { value, ms: 0 }).retry(soon()).await?)
}

/// So many activities one after the other.
#[workflow(name = "fleet.sequence")]
pub(crate) async fn sequence(ctx: WorkflowContext, (count, ms): (u64, u64)) -> Result<u64, WorkflowError> {
    let mut value = 0;
    for _ in 0..count {
        value = ctx.activity(Host::work, Work { value, ms }).retry(soon()).await?;
    }
    Ok(value)
}

/// One activity whose first attempt takes long.
#[workflow(name = "fleet.slow")]
pub(crate) async fn slow(ctx: WorkflowContext, work: Work) -> Result<u32, WorkflowError> {
    Ok(ctx.activity(Host::slow_once, work).await?)
}

/// One activity that takes long and beats, on the given queue or on the run's own.
#[workflow(name = "fleet.long")]
pub(crate) async fn long(ctx: WorkflowContext, (ms, queue): (u64, Option<String>)) -> Result<u32, WorkflowError> {
    let call = ctx.activity(Host::beating, Work { value: 0, ms });
    Ok(match queue {
        Some(queue) => call.task_queue(queue).await?,
        None => call.await?,
    })
}

/// An activity that takes its worker with it, under so many attempts (0: without a bound).
#[workflow(name = "fleet.deadly")]
pub(crate) async fn deadly(ctx: WorkflowContext, attempts: u32) -> Result<u32, WorkflowError> {
    match ctx.activity(Host::dies_after_effect, ()).retry(RetryPolicy::attempts(attempts)).await {
        Ok(attempt) => Ok(attempt),
        Err(failure) => Err(WorkflowError::failed(failure.error_type(), failure.message())),
    }
}

/// Waits for one signal.
#[workflow(name = "fleet.waiter")]
pub(crate) async fn waiter(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    ctx.receive(&GO).await
}

/// Waits for a time, then works.
#[workflow(name = "fleet.sleeper")]
pub(crate) async fn sleeper(ctx: WorkflowContext, ms: u64) -> Result<u64, WorkflowError> {
    ctx.sleep(Duration::from_millis(ms)).await?;
    Ok(ms)
}

/// Takes values in the order of their arrival until it is stopped.
#[workflow(name = "fleet.collector")]
pub(crate) async fn collector(ctx: WorkflowContext) -> Result<Vec<u64>, WorkflowError> {
    let mut values = Vec::new();
    loop {
        select! {
            value = ctx.receive(&VALUE) => values.push(value?),
            stop = ctx.receive(&STOP) => {
                stop?;
                return Ok(values);
            }
        }
    }
}

/// Takes so many values in the order of their arrival.
#[workflow(name = "fleet.gatherer")]
pub(crate) async fn gatherer(ctx: WorkflowContext, count: usize) -> Result<Vec<u64>, WorkflowError> {
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        values.push(ctx.receive(&VALUE).await?);
    }
    Ok(values)
}

/// As [`gatherer`], in runs of so many values each.
#[workflow(name = "fleet.relay")]
pub(crate) async fn relay(
    ctx: WorkflowContext,
    (mut values, count, each): (Vec<u64>, usize, usize),
) -> Result<Vec<u64>, WorkflowError> {
    for _ in 0..each {
        values.push(ctx.receive(&VALUE).await?);
        if values.len() == count {
            return Ok(values);
        }
    }
    ctx.continue_as_new((values, count, each)).into()
}

/// Exchanges so many values with another run and closes with what it received.
#[workflow(name = "fleet.partner")]
pub(crate) async fn partner(ctx: WorkflowContext, (other, rounds): (String, u64)) -> Result<Vec<u64>, WorkflowError> {
    let mut received = Vec::new();
    for round in 0..rounds {
        ctx.activity(Host::write_to, Letter { to: other.clone(), value: round }).await?;
        received.push(ctx.receive(&VALUE).await?);
    }
    Ok(received)
}

/// An activity of another queue that goes on from its heartbeat.
#[workflow(name = "fleet.remote")]
pub(crate) async fn remote(ctx: WorkflowContext, queue: String) -> Result<Resumed, WorkflowError> {
    Ok(ctx.activity(Host::resumes, 6).task_queue(queue).await?)
}

/// An activity of another queue that runs until it is cancelled; the run says what it said.
#[workflow(name = "fleet.cancellable")]
pub(crate) async fn cancellable(ctx: WorkflowContext, queue: String) -> Result<String, WorkflowError> {
    let call = ctx.activity(Host::runs_until_cancelled, ()).task_queue(queue);
    match call.cancellation(dacapo::core::CancellationType::WaitCancellationCompleted).await {
        Ok(()) => Ok("it ended".to_owned()),
        Err(failure) if failure.is_cancelled() => {
            let said = failure.details::<String>()?.unwrap_or_default();
            Ok(format!("it was cancelled: {said}"))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// An activity of a queue that nobody serves.
#[workflow(name = "fleet.unserved")]
pub(crate) async fn unserved(ctx: WorkflowContext, queue: String) -> Result<String, WorkflowError> {
    let call = ctx.activity(Host::resumes, 1).task_queue(queue).schedule_to_start(Duration::from_millis(500));
    match call.await {
        Ok(_) => Ok("it ran".to_owned()),
        Err(failure) => Ok(format!("{:?}", failure.timeout())),
    }
}

/// Never comes back to an await the first time that its process runs it.
#[workflow(name = "fleet.stuck")]
pub(crate) async fn stuck(ctx: WorkflowContext) -> Result<u64, WorkflowError> {
    static RAN: AtomicBool = AtomicBool::new(false);
    if !RAN.swap(true, Ordering::Relaxed) {
        loop {
            // Not a spin: the processors belong to the other runs of the test.
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    Ok(ctx.activity(Host::work, Work { value: 1, ms: 0 }).await?)
}

/// A local activity, then a signal.
#[workflow(name = "fleet.local_then_go")]
pub(crate) async fn local_then_go(ctx: WorkflowContext, work: Work) -> Result<u64, WorkflowError> {
    let value = ctx.local_activity(Host::work, work).await?;
    Ok(value + ctx.receive(&GO).await?)
}

/// So many local activities one after the other.
#[workflow(name = "fleet.local_sequence")]
pub(crate) async fn local_sequence(ctx: WorkflowContext, (count, ms): (u64, u64)) -> Result<u64, WorkflowError> {
    let mut value = 0;
    for _ in 0..count {
        value = ctx.local_activity(Host::work, Work { value, ms }).retry(soon()).await?;
    }
    Ok(value)
}

/// Two activities, and then a turn that was never meant.
#[workflow(name = "fleet.priced")]
async fn priced_by_a_bug(ctx: WorkflowContext, mut value: u64) -> Result<u64, WorkflowError> {
    for _ in 0..2 {
        value = ctx.activity(Host::work, Work { value, ms: 0 }).retry(soon()).await?;
    }
    ctx.sleep(Duration::from_secs(3_600)).await?;
    Ok(value)
}

/// Three activities and a signal: what [`priced_by_a_bug`] should be.
#[workflow(name = "fleet.priced")]
pub(crate) async fn priced(ctx: WorkflowContext, mut value: u64) -> Result<u64, WorkflowError> {
    for _ in 0..3 {
        value = ctx.activity(Host::work, Work { value, ms: 0 }).retry(soon()).await?;
    }
    Ok(value + ctx.receive(&GO).await?)
}

/// Ends soon for small values and takes two more steps for large ones.
#[workflow(name = "fleet.routed")]
pub(crate) async fn routed(ctx: WorkflowContext, value: u64) -> Result<u64, WorkflowError> {
    let value = ctx.activity(Host::work, Work { value, ms: 0 }).retry(soon()).await?;
    if value < 100 {
        return Ok(value);
    }
    let value = ctx.activity(Host::work, Work { value, ms: 1_500 }).retry(soon()).await?;
    Ok(ctx.activity(Host::work, Work { value, ms: 0 }).retry(soon()).await?)
}

/// An activity that works, and one that gives up after two attempts unless it is supplied.
#[workflow(name = "fleet.supplied")]
pub(crate) async fn supplied(ctx: WorkflowContext, value: u64) -> Result<u64, WorkflowError> {
    let value = ctx.activity(Host::work, Work { value, ms: 0 }).retry(soon()).await?;
    Ok(ctx
        .activity(Host::bake, value)
        .retry(RetryPolicy::attempts(2).initial_interval(Duration::from_millis(100)))
        .await?)
}

/// What a worker process serves.
pub(crate) fn registry(settings: &Settings, client: Client) -> Registry {
    let mut registry = Registry::new();
    if settings.serves != Serves::Activities {
        registry = registry
            .workflow(mixed)
            .workflow(sequence)
            .workflow(slow)
            .workflow(long)
            .workflow(deadly)
            .workflow(waiter)
            .workflow(sleeper)
            .workflow(collector)
            .workflow(gatherer)
            .workflow(relay)
            .workflow(partner)
            .workflow(remote)
            .workflow(cancellable)
            .workflow(unserved)
            .workflow(transfers)
            .workflow(shop)
            .workflow(stuck)
            .workflow(local_then_go)
            .workflow(local_sequence)
            .workflow(routed)
            .workflow(supplied);
        registry = if settings.buggy { registry.workflow(priced_by_a_bug) } else { registry.workflow(priced) };
    }
    if settings.serves != Serves::Workflows {
        let effects = PgPoolOptions::new().max_connections(2).connect_lazy(&settings.url).unwrap();
        let bank = Bank { pool: effects.clone(), client: client.clone() };
        registry = registry.activities(Host { effects, client }).activities(bank);
    }
    registry
}
