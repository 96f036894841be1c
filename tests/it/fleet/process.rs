//! A worker process, as the test that started it sees it. Dropping it kills it.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use super::worker::{SETTINGS, Settings};

/// A worker process.
pub(crate) struct WorkerChild {
    pub(crate) settings: Settings,
    child: Child,
    /// Held open: the worker ends when this end is gone, also when the test process was killed.
    _stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl WorkerChild {
    pub(crate) fn spawn(settings: Settings) -> Self {
        let log = settings.metrics.with_extension("log");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["fleet::worker::worker_process", "--exact", "--nocapture"])
            .env(SETTINGS, serde_json::to_string(&settings).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Self { settings, child, _stdin: stdin, log }
    }

    pub(crate) fn identity(&self) -> &str {
        &self.settings.identity
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Kills it at once and takes its remains.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended.
    pub(crate) async fn wait(&mut self, bound: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(began.elapsed() < bound, "{} has not ended within {bound:?}\n{}", self.identity(), self.log_end());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The value of a counter, summed over its labels, as the worker wrote it last.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(&self.settings.metrics).unwrap_or_default();
        let values = text.lines().filter_map(|line| {
            let (metric, value) = line.rsplit_once(' ')?;
            (metric.split('{').next() == Some(name)).then(|| value.parse::<f64>().unwrap())
        });
        values.sum::<f64>() as u64
    }

    /// The last lines of its log.
    pub(crate) fn log_end(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for WorkerChild {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the end of the log of worker {}:\n{}", self.identity(), self.log_end());
        }
    }
}
