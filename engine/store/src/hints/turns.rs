//! Turns: processes that share the cores of a machine flush one after the other.
//!
//! Several that flush large batches at the same time slow each other down: each flush takes longer, costs the database as
//! much whatever is in it, and holds less, because the work is spread over more of them. Whoever waits for a turn meanwhile
//! gathers more. There are as many turns as half the cores: where a machine has two cores for each process, nobody waits.
//!
//! A turn is a lock on a file in the folder of the database. It is about speed alone: who gets none in time goes without.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use super::lock;

/// What the names of the files begin with.
pub(super) const TURN: &str = "t_";

/// How long anybody waits for a turn; several flushes of a busy machine.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// How often a turn is tried for; tokio's timer knows no shorter time.
const TRY_AGAIN: Duration = Duration::from_millis(1);

/// How long a process goes without turns after it waited in vain: one that has a turn may stand still.
const DO_WITHOUT: Duration = Duration::from_secs(1);

/// The turns of a folder, as one process takes part in them.
#[derive(Debug)]
pub(super) struct Turns {
    files: Vec<File>,
    /// When this process last waited in vain.
    in_vain: Mutex<Option<Instant>>,
}

/// A process's turn, until it is dropped. A process has one at a time.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    index: usize,
}

impl Turns {
    /// Takes part in the turns of a folder.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        Self::open_some(folder, Self::count())
    }

    /// How many there are.
    pub(super) fn count() -> usize {
        (thread::available_parallelism().map_or(1, usize::from) / 2).max(1)
    }

    fn open_some(folder: &Path, count: usize) -> io::Result<Self> {
        let open = |index| {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o1600).open(folder.join(format!("{TURN}{index}")))
        };
        Ok(Self { files: (0..count).map(open).collect::<io::Result<_>>()?, in_vain: Mutex::default() })
    }

    /// Waits for a turn; nothing if it does not come in time.
    pub(super) async fn take(self: Arc<Self>) -> Option<Turn> {
        if lock(&self.in_vain).is_some_and(|when| when.elapsed() < DO_WITHOUT) {
            return None;
        }
        let began = Instant::now();
        loop {
            if let Some(index) = self.files.iter().position(|file| file.try_lock().is_ok()) {
                return Some(Turn { turns: self, index });
            }
            if began.elapsed() > WAIT_MAX {
                *lock(&self.in_vain) = Some(Instant::now());
                return None;
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The system does the same when the process ends.
        let _ = self.turns.files[self.index].unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_while_all_turns_are_taken_waits_for_one_and_at_last_goes_without() {
        let folder = tempfile::tempdir().unwrap();
        let process = || Arc::new(Turns::open_some(folder.path(), 2).unwrap());
        let (first, second, third) = (process(), process(), process());
        let one = Arc::clone(&first).take().await.unwrap();
        let two = second.take().await.unwrap();
        assert_ne!(one.index, two.index);
        // It comes with the end of somebody else's.
        let waits = tokio::spawn(Arc::clone(&third).take());
        tokio::time::sleep(TRY_AGAIN * 5).await;
        assert!(!waits.is_finished());
        drop(one);
        let three = waits.await.unwrap().unwrap();
        // It does not come, and is not waited for again for a while.
        assert!(Arc::clone(&first).take().await.is_none());
        drop((two, three));
        assert!(Arc::clone(&first).take().await.is_none());
        *lock(&first.in_vain) = None;
        assert!(first.take().await.is_some());
    }
}
