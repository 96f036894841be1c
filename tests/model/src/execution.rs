//! One statement under READ COMMITTED: what it sees, which row locks it takes, when it waits.
//!
//! A statement reads its snapshot. To lock a row it needs the row *in the snapshot* with the predicate true there; then it waits while
//! another transaction holds a conflicting lock. After the wait Postgres looks again only if the row was changed since the snapshot: the
//! predicate is checked on the new version, and a row that is gone or does not match any more drops out. A row that was only locked is
//! taken as the snapshot shows it, and everything else (subqueries, other CTEs) stays in the snapshot whatever happened.
//!
//! `KEY SHARE` has a subtlety of its own, observed on Postgres 15: an update of non-key columns does not conflict with it, so it is not noticed
//! either, not even when it is committed, and the old version is returned. An update under a lock taken with `FOR UPDATE` is noticed.
//!
//! Statements are replayed from their beginning at every step: the locks taken so far are remembered with the version that they showed.
//! A step ends before the second and every later row lock, so that all orders of locking are explored. Inserted keys are taken
//! together with the row lock before them: no statement holds such a key while it waits for a row that a holder of that row wants.

use std::collections::BTreeMap;

use crate::rule::Rules;
use crate::session::SessionId;
use crate::tables::{Row, RowKey, RunId, Tables, Write};

/// Is the strength of a row lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LockMode {
    KeyShare,
    NoKeyUpdate,
    Update,
}

impl LockMode {
    fn conflicts(self, other: LockMode) -> bool {
        !matches!(
            (self, other),
            (LockMode::KeyShare, LockMode::KeyShare | LockMode::NoKeyUpdate)
                | (LockMode::NoKeyUpdate, LockMode::KeyShare)
        )
    }
}

/// Says how a row was changed since a snapshot was taken, the strongest change last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Change {
    /// Updated without a key lock: invisible to `KEY SHARE`.
    Updated,
    /// Updated by a transaction that held the row `FOR UPDATE`.
    KeyUpdated,
    /// Deleted; what has the key now, if anything, is another row.
    Replaced,
}

/// Is what became of an attempt to lock a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Taken {
    pub(crate) key: RowKey,
    /// The lock, unless the row was skipped or gone.
    pub(crate) mode: Option<LockMode>,
    /// The version that the statement goes on with.
    pub(crate) seen: Option<Row>,
}

/// Is why a statement does not go on now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It waits for these sessions.
    Wait(Vec<SessionId>),
    /// It has taken a lock, and others may act before it takes the next.
    Pause,
}

/// Gives a statement its snapshot, its locks and its writes.
pub(crate) struct Execution<'a> {
    pub(crate) rules: Rules,
    /// What the statement sees.
    pub(crate) snapshot: &'a Tables,
    /// What is committed now.
    pub(crate) now: &'a Tables,
    pub(crate) changed: &'a BTreeMap<RowKey, Change>,
    /// Locks of the other transactions.
    pub(crate) others: Vec<(SessionId, RowKey, LockMode)>,
    /// What the statements before it in its transaction have locked.
    pub(crate) locked_before: &'a [Taken],
    /// What this statement has locked before; it grows.
    pub(crate) taken: Vec<Taken>,
    /// The next entry of `taken` to be replayed.
    pub(crate) cursor: usize,
    /// Whether this step has taken a row lock.
    pub(crate) acquired: bool,
    pub(crate) writes: Vec<Write>,
}

impl Execution<'_> {
    /// Locks a row, waiting for it if need be; none if no row matches.
    pub(crate) fn lock(
        &mut self,
        key: RowKey,
        mode: LockMode,
        matches: impl Fn(&Row) -> bool,
    ) -> Result<Option<Row>, Stop> {
        self.take(key, mode, false, matches)
    }

    /// Locks a row or skips it if another transaction has it; none if skipped or no row matches.
    pub(crate) fn lock_or_skip(&mut self, key: RowKey, mode: LockMode, matches: impl Fn(&Row) -> bool) -> Option<Row> {
        self.take(key, mode, true, matches).ok().flatten()
    }

    fn take(
        &mut self,
        key: RowKey,
        mode: LockMode,
        skip: bool,
        matches: impl Fn(&Row) -> bool,
    ) -> Result<Option<Row>, Stop> {
        let Some(old) = self.snapshot.row(key).filter(|row| matches(row)) else { return Ok(None) };
        if let Some(taken) = self.replay(key) {
            return Ok(taken.seen);
        }
        if self.acquired && !skip {
            return Err(Stop::Pause);
        }
        let holders = self.holders(key, mode);
        if !holders.is_empty() {
            if !skip {
                return Err(Stop::Wait(holders));
            }
            self.remember(Taken { key, mode: None, seen: None });
            return Ok(None);
        }
        let (mode, seen) = match self.changed.get(&key) {
            None => (Some(mode), Some(old)),
            Some(Change::Updated) if mode == LockMode::KeyShare => (Some(mode), Some(old)),
            Some(Change::Updated | Change::KeyUpdated) => (Some(mode), self.now.row(key).filter(|row| matches(row))),
            Some(Change::Replaced) => (None, None),
        };
        self.acquired = true;
        self.remember(Taken { key, mode, seen });
        Ok(seen)
    }

    /// Inserts a key unless it exists (`ON CONFLICT DO NOTHING`); waits for a transaction that is inserting or deleting it.
    pub(crate) fn insert(&mut self, key: RowKey, row: Row) -> Result<bool, Stop> {
        let inserted = match self.replay(key) {
            Some(taken) => taken.mode.is_some(),
            None => {
                let holders = self.holders(key, LockMode::Update);
                if !holders.is_empty() {
                    return Err(Stop::Wait(holders));
                }
                let mode = self.now.row(key).is_none().then_some(LockMode::Update);
                self.remember(Taken { key, mode, seen: None });
                mode.is_some()
            }
        };
        if inserted {
            self.writes.push(Write::Put(key, row));
        }
        Ok(inserted)
    }

    /// Makes sure that a run has a ready row (`ON CONFLICT DO UPDATE`, which locks the row even if it leaves it alone).
    pub(crate) fn make_ready(&mut self, run: RunId) -> Result<(), Stop> {
        let key = RowKey::Ready(run);
        if self.replay(key).is_none() {
            let holders = self.holders(key, LockMode::NoKeyUpdate);
            if !holders.is_empty() {
                return Err(Stop::Wait(holders));
            }
            self.remember(Taken { key, mode: Some(LockMode::NoKeyUpdate), seen: None });
        }
        self.writes.push(Write::Put(key, Row::Key));
        Ok(())
    }

    /// Deletes a row that the snapshot shows and nobody has deleted since; waits for who has it locked.
    pub(crate) fn delete(&mut self, key: RowKey) -> Result<(), Stop> {
        if self.snapshot.row(key).is_none() {
            return Ok(());
        }
        let gone = match self.replay(key) {
            Some(taken) => taken.mode.is_none(),
            None => {
                let holders = self.holders(key, LockMode::Update);
                if !holders.is_empty() {
                    return Err(Stop::Wait(holders));
                }
                let gone = self.changed.get(&key) == Some(&Change::Replaced);
                self.remember(Taken { key, mode: (!gone).then_some(LockMode::Update), seen: None });
                gone
            }
        };
        if !gone {
            self.writes.push(Write::Delete(key));
        }
        Ok(())
    }

    /// Tells whether a statement before this one, in the same transaction, has locked a row.
    pub(crate) fn has_locked(&self, key: RowKey) -> bool {
        self.locked_before.iter().any(|taken| taken.key == key && taken.mode.is_some())
    }

    /// Adds a change that needs no lock of its own.
    pub(crate) fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    fn replay(&mut self, key: RowKey) -> Option<Taken> {
        let taken = *self.taken.get(self.cursor)?;
        assert_eq!(taken.key, key, "a statement repeats its locks in the same order");
        self.cursor += 1;
        Some(taken)
    }

    fn remember(&mut self, taken: Taken) {
        self.taken.push(taken);
        self.cursor += 1;
    }

    fn holders(&self, key: RowKey, mode: LockMode) -> Vec<SessionId> {
        let conflicting = self.others.iter().filter(|(_, row, held)| *row == key && mode.conflicts(*held));
        conflicting.map(|(session, ..)| *session).collect()
    }
}
