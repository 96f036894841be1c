//! Child processes that are given a bounded time.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long every wait in this crate sleeps between two looks: short beside a start (about 100 ms), cheap beside a core.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Runs a command to its end, or kills it when the time is over; gives its status (`None`: killed) and what it printed.
pub(crate) fn run(command: &mut Command, limit: Duration) -> io::Result<(Option<ExitStatus>, String)> {
    // A file rather than a pipe: it never fills, and a grandchild that keeps it open cannot hold us up.
    let mut printed = tempfile::tempfile()?;
    let mut child = command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed.try_clone()?).spawn()?;
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(POLL);
    };
    Ok((status, read_from_start(&mut printed)?))
}

/// Waits for a long-lived child in a thread, so that it leaves no zombie when another process ends it.
pub(crate) fn reap(mut child: Child) -> io::Result<()> {
    thread::Builder::new().name("devpg-reaper".to_owned()).spawn(move || child.wait()).map(drop)
}

fn read_from_start(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
