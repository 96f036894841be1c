//! A scenario under way: its engine, its queue, its workers, and the guard that never lets it hang.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail};
use dacapo_core::{
    Namespace, Payload, RunId, RunKey, RunStatus, StartWorkflow, Timestamp,
    store::{RunFilter, RunResult},
};
use dacapo_runtime::{Client, Engine, WorkflowExecution, process_identity};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use tokio_util::sync::CancellationToken;

use super::{
    Database, cpu,
    options::{BenchOptions, Plan},
    postgres::Observer,
    progress::{Lasts, Progress},
    samples::Memory,
    workers::{Fleet, Until, Workers},
    workflows::{SIGNAL, Steps, text},
};

/// How often the guard looks whether anything has completed.
const GUARD_INTERVAL: Duration = Duration::from_millis(200);

/// How long the guard may take to find out what is stuck.
const EXPLAIN_WITHIN: Duration = Duration::from_secs(15);

/// How often a wait looks into the database.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A wait for runs to end spends one part in so many on reading the table of open runs.
pub(super) const ASK_SHARE: u32 = 50;

/// Calls under way at once where runs are prepared or ended: enough for full flushes.
pub(super) const CALLS: usize = 1_000;

/// The connections of a process that is busy.
const CONNECTIONS: usize = 9;

/// The connections that busy processes may want and those that the server has, where these are fewer. Hardly ever do all
/// want theirs, so one process more is no reason to warn.
fn more_than(most: Option<usize>, processes: usize) -> Option<(usize, usize)> {
    let wanted = processes * CONNECTIONS;
    most.filter(|most| wanted > most + CONNECTIONS).map(|most| (wanted, most))
}

/// A scenario under way.
pub(super) struct Stage<'a> {
    pub(super) plan: Plan,
    pub(super) options: &'a BenchOptions,
    pub(super) namespace: Namespace,
    /// What worker processes are to log.
    log: Option<String>,
    /// Cancelled when the user wants no more.
    pub(super) interrupted: CancellationToken,
    /// The database, as worker processes are given it.
    pub(super) url: String,
    pub(super) engine: Engine,
    pub(super) queue: String,
    pub(super) observer: &'a Observer,
    pub(super) progress: &'a Arc<Progress>,
    workers: Mutex<Workers>,
}

/// Processor time spent so far, in microseconds.
#[derive(Debug, Clone)]
pub(super) struct Spent {
    pub(super) at: Instant,
    pub(super) client: u64,
    pub(super) workers: Vec<u64>,
    /// Nothing when the server is elsewhere.
    pub(super) postgres: Option<u64>,
}

impl Spent {
    /// What has been spent since an earlier look.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let workers = self.workers.iter().zip(&earlier.workers).map(|(now, then)| now.saturating_sub(*then));
        Self {
            at: self.at,
            client: self.client.saturating_sub(earlier.client),
            workers: workers.collect(),
            postgres: self.postgres.zip(earlier.postgres).map(|(now, then)| now.saturating_sub(then)),
        }
    }
}

impl<'a> Stage<'a> {
    /// Sets the stage; nothing runs yet.
    pub(super) fn new(
        (plan, options): (Plan, &'a BenchOptions),
        (database, url, engine): (&Database, String, Engine),
        (observer, progress): (&'a Observer, &'a Arc<Progress>),
    ) -> Self {
        let queue = format!("bench-{}-{}", plan.scenario.name(), uuid::Uuid::now_v7().simple());
        Self {
            plan,
            options,
            namespace: database.namespace.clone(),
            log: database.log.clone(),
            interrupted: database.interrupted.clone(),
            url,
            engine,
            queue,
            observer,
            progress,
            workers: Mutex::default(),
        }
    }

    /// A client in the namespace of the benchmark.
    pub(super) fn client(&self) -> Client {
        self.engine.client().with_namespace(self.namespace.clone())
    }

    /// Says so where busy workers may want more connections than the server has: those that get none wait.
    pub(super) fn warn_of_connections(&self, server: &BTreeMap<String, String>) {
        let processes = if self.options.in_process { 1 } else { self.plan.workers + 1 };
        let most = server.get("max_connections").and_then(|most| most.parse().ok());
        if let Some((wanted, most)) = more_than(most, processes) {
            self.progress.line(&format!(
                "{}: {} busy workers may want {wanted} connections, and the server takes {most} (max_connections): \
                 raise it, or measure fewer workers",
                self.plan.scenario.name(),
                self.plan.workers
            ));
        }
    }

    /// Starts the workers and waits for them.
    pub(super) async fn start_workers(&self, until: Until) -> anyhow::Result<()> {
        let many = if self.plan.workers == 1 { "worker".to_owned() } else { format!("{} workers", self.plan.workers) };
        self.phase(&format!("starting {many}"), Lasts::Sometime);
        let fleet = Fleet {
            url: &self.url,
            queue: &self.queue,
            namespace: self.namespace.as_str(),
            workflow_threads: self.options.workflow_threads(),
            apart: self.options.apart,
            log: self.log.as_deref(),
            until,
            processes: (!self.options.in_process).then_some(self.plan.workers),
        };
        let workers = Workers::start(&self.engine, fleet).await?;
        *self.lock() = workers;
        Ok(())
    }

    /// Stops the workers and waits until they have gone.
    pub(super) async fn stop_workers(&self) -> anyhow::Result<()> {
        let workers = std::mem::take(&mut *self.lock());
        workers.stop().await
    }

    /// Waits for something, and no longer than until the user wants no more.
    pub(super) async fn or_interrupted(&self, wait: impl Future<Output = ()>) {
        tokio::select! {
            () = wait => {}
            () = self.interrupted.cancelled() => {}
        }
    }

    /// The worker processes, if they are of their own.
    pub(super) fn worker_pids(&self) -> Vec<u32> {
        self.lock().pids()
    }

    /// The names under which Postgres knows the connections of the worker processes.
    pub(super) fn worker_applications(&self) -> Vec<String> {
        let own = process_identity();
        let host = own.rsplit_once(':').map_or(own.as_str(), |(host, _)| host);
        self.worker_pids().into_iter().map(|pid| format!("dacapo {host}:{pid}")).collect()
    }

    /// Begins a phase of the scenario.
    pub(super) fn phase(&self, text: &str, lasts: Lasts) {
        self.progress.phase(&format!("{}: {text}", self.plan.scenario.name()), lasts);
    }

    /// The processor time spent so far.
    pub(super) fn spent(&self) -> Spent {
        Spent {
            at: Instant::now(),
            client: cpu::micros(std::process::id()),
            workers: self.worker_pids().into_iter().map(cpu::micros).collect(),
            postgres: self.observer.server_pid.map(cpu::family_micros),
        }
    }

    /// The most memory that each process has held.
    pub(super) fn peak_memory(&self) -> Memory {
        let workers = self.worker_pids().into_iter().map(cpu::peak_memory).collect();
        Memory { client: cpu::peak_memory(std::process::id()), workers }
    }

    /// The input that the options ask for.
    pub(super) fn body(&self) -> String {
        text(self.options.payload(), 0)
    }

    /// Starts a workflow on the queue of the scenario.
    pub(super) async fn start(
        &self,
        workflow_type: &str,
        input: Payload,
    ) -> anyhow::Result<(RunKey, WorkflowExecution)> {
        start(&self.client(), workflow_type, &self.queue, input).await
    }

    /// Starts a workflow that waits for so many signals.
    pub(super) async fn start_waiter(&self, signals: u64) -> anyhow::Result<(RunKey, WorkflowExecution)> {
        let input = Steps { steps: signals, body: self.body() };
        self.start("bench.signals", Payload::encode("input", &input)?).await
    }

    /// Waits for the result of a run, which must have completed.
    pub(super) async fn result(&self, run: RunKey) -> anyhow::Result<RunResult> {
        completed(self.client().result_of(run).await?)
    }

    /// Sends the signal that measured workflows wait for.
    pub(super) async fn signal(&self, to: &WorkflowExecution, body: &Payload) -> anyhow::Result<()> {
        Ok(self.client().signal(to, SIGNAL, body.clone()).await?)
    }

    /// Does something that completes bit by bit, and gives up when nothing has completed for the time of the options.
    ///
    /// # Errors
    /// Besides those of `work`: what is stuck, and a worker process that ended.
    pub(super) async fn guarded<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let mut work = Box::pin(work);
        let mut ticks = tokio::time::interval(GUARD_INTERVAL);
        let (mut seen, mut since) = (self.progress.completed(), Instant::now());
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => {}
            }
            self.progress.draw();
            self.lock().check()?;
            let completed = self.progress.completed();
            if completed != seen {
                (seen, since) = (completed, Instant::now());
            } else if since.elapsed() > self.plan.stall {
                let stuck = tokio::time::timeout(EXPLAIN_WITHIN, self.stuck()).await;
                let stuck = stuck.unwrap_or_else(|_| Err(anyhow!("the database does not answer")));
                let said = stuck.unwrap_or_else(|error| format!("what is stuck cannot be told: {error:#}"));
                let (name, seconds) = (self.plan.scenario.name(), self.plan.stall.as_secs_f64());
                bail!(
                    "{name}: nothing completed for {seconds} s, so the run was given up (--stall SECONDS waits longer); {said}"
                );
            }
        }
    }

    /// Says what one of the open runs waits for.
    async fn stuck(&self) -> anyhow::Result<String> {
        let client = self.client();
        let queue = self.queue.as_str().into();
        let filter = RunFilter { task_queue: Some(queue), status: Some(RunStatus::Running), ..RunFilter::default() };
        let Some(run) = client.list(filter, 1).await?.pop() else {
            return Ok(format!("no run of the queue `{}` is open", self.queue));
        };
        let execution = WorkflowExecution::run(run.workflow_id.clone(), run.key.run_id);
        let description = client.describe(&execution).await?;
        let now = description.run.now;
        let at = |point: Timestamp| match point > now {
            true => format!("in {:.1} s", point.since(now).as_secs_f64()),
            false => format!("{:.1} s ago", now.since(point).as_secs_f64()),
        };
        let reasons: Vec<String> = description.reasons.iter().map(|reason| reason.sentence(&at)).collect();
        let (workflow_type, events) = (&run.workflow_type, description.run.info.events);
        Ok(format!("workflow {} ({workflow_type}, {events} events): {}", run.workflow_id, reasons.join("; ")))
    }

    /// Waits until nothing of the queue is open; counts what closes as completed. `closed_before` is what the database
    /// had closed before, `expected` how many are still to close.
    pub(super) async fn all_closed(&self, closed_before: u64, expected: u64) -> anyhow::Result<()> {
        let (mut seen, mut asked, mut ask_after) = (0, Instant::now(), Duration::ZERO);
        loop {
            let closed = self.observer.closed_so_far().await?.saturating_sub(closed_before);
            self.progress.complete(closed.saturating_sub(seen));
            seen = seen.max(closed);
            // The counters of connections that have fallen silent lag by ten seconds, and know of no queues. So the table
            // is asked as well, as rarely as it takes long to answer.
            if closed >= expected || asked.elapsed() > ask_after {
                asked = Instant::now();
                if !self.observer.unfinished(&self.queue).await? {
                    return Ok(());
                }
                ask_after = asked.elapsed() * ASK_SHARE;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Starts so many waiting runs and waits until each has taken its first step; gives them in the order of their starts.
    pub(super) async fn waiters(&self, runs: u64) -> anyhow::Result<Vec<(RunKey, WorkflowExecution)>> {
        self.phase(&format!("starting {runs} runs that wait"), Lasts::Completions(runs));
        let started = stream::iter(0..runs).map(|_| async {
            let started = self.start_waiter(1).await;
            self.progress.complete(1);
            started
        });
        let waiters = self.guarded(started.buffered(CALLS).try_collect()).await?;
        let ready = self.observer.ready(&self.queue).await?;
        self.phase("waiting for their first steps", Lasts::Completions(ready));
        self.guarded(self.first_steps(ready)).await?;
        Ok(waiters)
    }

    async fn first_steps(&self, mut ready: u64) -> anyhow::Result<()> {
        while ready > 0 {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let now = self.observer.ready(&self.queue).await?;
            self.progress.complete(ready.saturating_sub(now));
            ready = now;
        }
        Ok(())
    }

    /// Wakes waiting runs and waits until all runs of the queue have ended.
    pub(super) async fn release(&self, waiters: &[(RunKey, WorkflowExecution)]) -> anyhow::Result<()> {
        let expected = waiters.len() as u64;
        self.phase(&format!("ending {expected} runs"), Lasts::Completions(expected));
        let body = Payload::encode("signal", "go")?;
        let closed_before = self.observer.closed_so_far().await?;
        let signals = stream::iter(waiters).map(Ok).try_for_each_concurrent(CALLS, async |(_, waiter)| {
            self.signal(waiter, &body).await?;
            self.progress.complete(1);
            Ok(())
        });
        self.guarded(signals).await?;
        self.guarded(self.all_closed(closed_before, expected)).await
    }

    fn lock(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a workflow under an id of its own.
pub(super) async fn start(
    client: &Client,
    workflow_type: &str,
    queue: &str,
    input: Payload,
) -> anyhow::Result<(RunKey, WorkflowExecution)> {
    let run_id: RunId = Client::new_run_id();
    let workflow_id = run_id.to_string();
    let request = StartWorkflow::new(run_id, workflow_id.as_str().into(), workflow_type.into(), queue.into(), input);
    let started = client.start(request).await?;
    Ok((started.run, WorkflowExecution::run(workflow_id, run_id)))
}

/// Makes sure that a run completed.
pub(super) fn completed(result: RunResult) -> anyhow::Result<RunResult> {
    if result.status != RunStatus::Completed {
        bail!("a workflow of the benchmark ended as {}: {:?}", result.status.as_str(), result.failure);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::more_than;

    #[test]
    fn ten_workers_fit_into_a_server_as_it_is_installed_and_twelve_do_not() {
        assert_eq!(more_than(Some(100), 11), None);
        assert_eq!(more_than(Some(100), 13), Some((117, 100)));
        assert_eq!(more_than(None, 1_000), None);
    }
}
