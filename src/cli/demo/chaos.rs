//! Killing workers with SIGKILL while they work.
//!
//! The moments come from a seed: after each start of a worker, a random number of events of the run, and then a random
//! part of the time that writing one takes. So kills fall between and into whatever the worker does.

use std::{
    hash::{BuildHasher, RandomState},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use dacapo_runtime::{Client, WorkflowExecution};
use tokio::process::{Child, Command};

use crate::cli::{
    Context,
    exit::{Exit, Stop},
};

/// How often the run is looked at for the moment of the next kill.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The most events that a worker may write before it is killed; a task takes about a hundred.
const EVENTS_MAX: u64 = 12;

/// The most time that passes after those events, in microseconds; a transition takes about a millisecond.
const LATER_US_MAX: u64 = 3_000;

/// Kills the workers of a job.
pub(super) struct Chaos<'a> {
    pub(super) context: &'a Context,
    pub(super) url: &'a str,
    pub(super) queue: &'a str,
    pub(super) client: &'a Client,
    pub(super) execution: &'a WorkflowExecution,
}

impl Chaos<'_> {
    /// Starts workers one after the other and kills them, `kills` times; the last one lives until this is dropped.
    ///
    /// Gives what to stop with when a worker ends by itself.
    pub(super) async fn kill(&self, seed: u64, kills: u32) -> Result<Stop, Stop> {
        let output = self.context.output;
        let mut random = Random(seed);
        output.note(&format!("chaos with seed {seed}"));
        for kill in 1..=kills {
            let mut worker = self.start()?;
            let events = random.below(EVENTS_MAX) + 1;
            let later = Duration::from_micros(random.below(LATER_US_MAX));
            // A worker that is not killed yet is killed when it is dropped.
            let (at, ended) = tokio::select! {
                at = self.grown_by(events) => (at?, None),
                ended = worker.wait() => (0, Some(ended?)),
            };
            if let Some(status) = ended {
                return Ok(unexpected(status));
            }
            tokio::time::sleep(later).await;
            worker.kill().await?;
            output.note(&format!("killed worker {kill} of {kills} with SIGKILL after event {at}"));
        }
        let status = self.start()?.wait().await?;
        Ok(unexpected(status))
    }

    fn start(&self) -> Result<Child, Stop> {
        let program = std::env::current_exe()?;
        let child = Command::new(program)
            .args(["demo", "--serve", self.queue, "--namespace", &self.context.global.namespace, "--log", "error"])
            // Not on the command line, where a password would be seen by everybody on the machine.
            .env("DATABASE_URL", self.url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        Ok(child)
    }

    /// Waits until the run has so many more events, and gives their number.
    async fn grown_by(&self, events: u64) -> Result<i64, Stop> {
        let before = self.client.resolve(self.execution).await?.events;
        let wanted = before.saturating_add_unsigned(events);
        loop {
            let now = self.client.resolve(self.execution).await?.events;
            if now >= wanted {
                return Ok(now);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

fn unexpected(status: ExitStatus) -> Stop {
    Stop::new(Exit::Internal, format!("a worker ended by itself ({status}); what it said is above"))
}

/// Makes a seed that differs from run to run.
pub(super) fn fresh_seed() -> u64 {
    // A new state has new keys, so that even the hash of nothing differs.
    RandomState::new().hash_one(()) & u64::from(u32::MAX)
}

/// Numbers that a seed decides: Weyl sequence with the finalizer of SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_moments_again() {
        let moments = |seed| {
            let mut random = Random(seed);
            (0..8).map(|_| random.below(EVENTS_MAX)).collect::<Vec<_>>()
        };
        assert_eq!(moments(7), moments(7));
        assert_ne!(moments(7), moments(8));
        assert!(moments(9).into_iter().all(|events| events < EVENTS_MAX));
    }
}
