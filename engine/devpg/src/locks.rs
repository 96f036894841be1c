//! The two file locks that serialise starts and stops, and tell who is the last user.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::child::POLL;
use crate::error::DevPostgresError;

/// Whether a lock admits others of its kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

/// A lock on a file, held until dropped or until the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock, waiting at most `limit` for those who hold it.
    pub(crate) fn acquire(path: &Path, mode: Mode, limit: Duration) -> Result<Self, DevPostgresError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(DevPostgresError::io("open", path))?;
        let lock = Self { file, path: path.to_owned() };
        let deadline = Instant::now() + limit;
        while !lock.try_take(mode)? {
            if Instant::now() >= deadline {
                return Err(DevPostgresError::LockTimeout { path: lock.path, waited_s: limit.as_secs() });
            }
            thread::sleep(POLL);
        }
        Ok(lock)
    }

    /// Gives a shared lock up and takes it exclusively, if nobody else holds it; else it is given up.
    pub(crate) fn become_last(self) -> Result<Option<Self>, DevPostgresError> {
        self.file.unlock().map_err(DevPostgresError::io("unlock", &self.path))?;
        Ok(self.try_take(Mode::Exclusive)?.then_some(self))
    }

    fn try_take(&self, mode: Mode) -> Result<bool, DevPostgresError> {
        let taken = match mode {
            Mode::Shared => self.file.try_lock_shared(),
            Mode::Exclusive => self.file.try_lock(),
        };
        match taken {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(source)) => Err(DevPostgresError::io("lock", &self.path)(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_holder_of_a_shared_lock_becomes_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let first = FileLock::acquire(&path, Mode::Shared, Duration::ZERO).unwrap();
        let second = FileLock::acquire(&path, Mode::Shared, Duration::ZERO).unwrap();
        assert!(first.become_last().unwrap().is_none());
        assert!(second.become_last().unwrap().is_some());
    }

    #[test]
    fn a_lock_held_elsewhere_is_waited_for_no_longer_than_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let _held = FileLock::acquire(&path, Mode::Exclusive, Duration::ZERO).unwrap();
        let refused = FileLock::acquire(&path, Mode::Exclusive, Duration::from_millis(30));
        assert!(matches!(refused, Err(DevPostgresError::LockTimeout { .. })));
    }
}
