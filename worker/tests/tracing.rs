//! What workflow code traces: once, with the ids of its run. The only test of its process, since subscribers are global.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

mod harness;

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use dacapo::{WorkflowContext, WorkflowError, workflow};
use harness::{Env, Input};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct SaysGoodbye;

impl Drop for SaysGoodbye {
    fn drop(&mut self) {
        tracing::info!("goodbye");
    }
}

#[workflow]
async fn talks(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let _guard = SaysGoodbye;
    tracing::info!("before");
    ctx.sleep(SECOND).await?;
    tracing::info!("after");
    Ok(())
}

#[workflow(name = "changing")]
async fn is_silent(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.sleep(SECOND).await
}

#[workflow(name = "changing")]
async fn speaks(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    tracing::info!("a new line");
    ctx.sleep(SECOND).await
}

#[test]
fn every_line_is_written_once_with_the_ids_of_its_run() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).init();

    let mut env = Env::start(workflows![talks], "talks", ());
    env.first().commands();
    env.evict();
    env.step([Input::TimerDue(1)]).commands();
    let text = lines.take();
    for line in ["before", "after", "goodbye"] {
        assert_eq!(text.matches(line).count(), 1, "{line} in: {text}");
    }
    for field in ["namespace=default", "workflow_id=test", "run_id=00000000-", "attempt=1", "correlation_id="] {
        assert!(text.lines().all(|line| line.contains(field)), "{field} is not in: {text}");
    }

    // A line that this process first meets in a replay is silent there, and not for ever.
    let mut env = Env::start(workflows![is_silent], "changing", ());
    env.first().commands();
    env.deploy(workflows![speaks]);
    env.step([Input::TimerDue(1)]).commands();
    assert_eq!(lines.take(), "");
    Env::start(workflows![speaks], "changing", ()).first().commands();
    assert_eq!(lines.take().matches("a new line").count(), 1);
}
