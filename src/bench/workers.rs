//! The workers that are measured: processes of their own, or a part of this one.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use dacapo_runtime::{Engine, WorkerProcess, WorkerState};
use dacapo_worker::Worker;

use super::{BenchOptions, Database, workflows};

/// How long workers may take to join.
const JOIN: Duration = Duration::from_secs(30);

/// How long workers may take to leave.
const LEAVE: Duration = Duration::from_secs(15);

pub(super) struct Workers {
    processes: Vec<Child>,
    inside: Option<WorkerProcess>,
}

impl Workers {
    /// Starts them and waits until they serve the queue.
    pub(super) async fn start(
        database: &Database,
        options: &BenchOptions,
        engine: &Engine,
        queue: &str,
    ) -> anyhow::Result<Self> {
        let mut workers = Self { processes: Vec::new(), inside: None };
        if options.in_process {
            let process = start_inside(engine, queue, options.workflow_threads)?;
            let mut state = process.state();
            state.wait_for(|state| *state == WorkerState::Serving).await?;
            workers.inside = Some(process);
            return Ok(workers);
        }
        for _ in 0..options.workers.max(1) {
            let child = Command::new(std::env::current_exe()?)
                .args(["bench-worker", "--queue", queue])
                .args(["--workflow-threads", &options.workflow_threads.to_string()])
                .env("DATABASE_URL", &database.url)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .context("a worker process cannot be started")?;
            workers.processes.push(child);
        }
        let joined = Instant::now();
        loop {
            let fleet = engine.store().workers().await?;
            let serving = fleet.iter().filter(|worker| worker.queues.iter().any(|served| served.as_str() == queue));
            if serving.count() == workers.processes.len() {
                return Ok(workers);
            }
            for child in &mut workers.processes {
                if let Some(status) = child.try_wait()? {
                    bail!("a worker process ended with {status} before it joined");
                }
            }
            if joined.elapsed() > JOIN {
                bail!("the worker processes did not join within {} s", JOIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().map(Child::id)
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
            tokio::time::sleep(Duration::from_millis(20)).await;
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
pub(crate) fn start_inside(engine: &Engine, queue: &str, workflow_threads: usize) -> anyhow::Result<WorkerProcess> {
    Ok(Worker::new(engine)
        .task_queue(queue)
        .workflow_threads(workflow_threads)
        .registry(workflows::registry())
        .start()?)
}
