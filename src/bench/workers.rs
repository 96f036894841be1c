//! The workers that are measured: processes of their own, or a part of this one.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use dacapo_runtime::{Engine, WorkerProcess, WorkerState};
use dacapo_worker::Worker;

use super::workflows;

/// How long workers may take to join.
const JOIN: Duration = Duration::from_secs(60);

/// How long workers may take to leave.
const LEAVE: Duration = Duration::from_secs(30);

/// How often they are looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What workers are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// They are members of the fleet.
    Serving,
    /// Starts may be handed to them: nothing waits on their queue.
    TakingStarts,
}

/// How workers are started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fleet<'a> {
    /// The database, for those that are processes.
    pub(super) url: &'a str,
    pub(super) queue: &'a str,
    pub(super) namespace: &'a str,
    pub(super) workflow_threads: usize,
    /// Whether those that are processes hear nothing but what goes through the server.
    pub(super) apart: bool,
    /// What those that are processes log.
    pub(super) log: Option<&'a str>,
    pub(super) until: Until,
    /// How many; none: one in this process.
    pub(super) processes: Option<usize>,
}

/// Workers that run.
#[derive(Default)]
pub(super) struct Workers {
    processes: Vec<Child>,
    inside: Option<WorkerProcess>,
}

impl Workers {
    /// Starts them and waits until they serve the queue.
    pub(super) async fn start(engine: &Engine, fleet: Fleet<'_>) -> anyhow::Result<Self> {
        let mut workers = Self::default();
        let Some(processes) = fleet.processes else {
            let process = start_inside(engine, fleet.queue, fleet.namespace, fleet.workflow_threads)?;
            let mut state = process.state();
            state.wait_for(|state| *state == WorkerState::Serving).await?;
            workers.inside = Some(process);
            return Ok(workers);
        };
        for _ in 0..processes {
            // Its stdin says when this process is gone, however it went.
            let child = Command::new(std::env::current_exe()?)
                .args(["bench-worker", "--queue", fleet.queue, "--namespace", fleet.namespace])
                .args(["--workflow-threads", &fleet.workflow_threads.to_string()])
                .args(fleet.apart.then_some("--apart"))
                .args(fleet.log.map(|log| ["--log", log]).into_iter().flatten())
                .env("DATABASE_URL", fleet.url)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .context("a worker process cannot be started")?;
            workers.processes.push(child);
        }
        let began = Instant::now();
        loop {
            let fleet_now = engine.store().workers().await?;
            let serving = fleet_now.iter().filter(|one| {
                let is_ready = fleet.until == Until::Serving || one.takes_starts;
                is_ready && one.queues.iter().any(|queue| queue.as_str() == fleet.queue)
            });
            if serving.count() == workers.processes.len() {
                return Ok(workers);
            }
            workers.check()?;
            if began.elapsed() > JOIN {
                bail!("the worker processes did not join within {} s", JOIN.as_secs());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The processes, if they are of their own.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Child::id).collect()
    }

    /// Makes sure that none has ended by itself.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        for child in &mut self.processes {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "worker process {} ended with {status} while it was measured; see above what it said",
                    child.id()
                );
            }
        }
        Ok(())
    }

    /// Tells them to stop, and waits until they have.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(inside) = self.inside.take() {
            inside.stop();
            inside.stopped().await?;
        }
        for child in &self.processes {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        }
        let told = Instant::now();
        while !self.processes.is_empty() && told.elapsed() < LEAVE {
            self.processes.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        if !self.processes.is_empty() {
            bail!("a worker process did not stop within {} s of SIGTERM", LEAVE.as_secs());
        }
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a worker of the measured workflows in this process.
pub(crate) fn start_inside(
    engine: &Engine,
    queue: &str,
    namespace: &str,
    workflow_threads: usize,
) -> anyhow::Result<WorkerProcess> {
    Ok(Worker::new(engine)
        .task_queue(queue)
        .namespace(namespace)
        .workflow_threads(workflow_threads)
        .registry(workflows::registry())
        .start()?)
}
