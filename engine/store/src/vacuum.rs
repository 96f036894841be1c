//! Vacuums the tables that are queues.
//!
//! Whoever takes from the beginning of a queue walks over everything that was taken since the last vacuum: it stays in the
//! queue's index. Autovacuum looks once a minute by default, and a minute of work is a million dead entries; so those who
//! take have the table vacuumed after some ten thousand rows, which takes some milliseconds. So it is with the inbox, through
//! which every renewal of a lease looks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The rows of a queue that this process removes between two vacuums.
const ROWS_BETWEEN: u64 = 10_000;

/// As [`ROWS_BETWEEN`], where each row names up to 200 runs.
const BATCHES_BETWEEN: u64 = 1_000;

/// The time between two vacuums, as a multiple of what they take: at most so large a part of one core.
const TIMES_AS_LONG: u32 = 20;

/// The wait after a vacuum that could not be.
const RETRY: Duration = Duration::from_secs(10);

/// A table from whose beginning rows are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Queue {
    Ready,
    Activities,
    Timers,
    Outbox,
    Handed,
    Inbox,
}

const QUEUES: [Queue; 6] = [Queue::Ready, Queue::Activities, Queue::Timers, Queue::Outbox, Queue::Handed, Queue::Inbox];

impl Queue {
    fn table(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Activities => "activities",
            Self::Timers => "timers",
            Self::Outbox => "outbox",
            Self::Handed => "handed",
            Self::Inbox => "inbox",
        }
    }

    fn rows_between(self) -> u64 {
        match self {
            Self::Handed => BATCHES_BETWEEN,
            Self::Ready | Self::Activities | Self::Timers | Self::Outbox | Self::Inbox => ROWS_BETWEEN,
        }
    }

    /// Another process that vacuums the table, or a user who may not, makes it a warning. Truncating the table would lock
    /// it; and the index is what matters, however small its part of the rows is.
    fn statement(self) -> AssertSqlSafe<String> {
        // The names are those above.
        let table = self.table();
        AssertSqlSafe(format!("VACUUM (SKIP_LOCKED, TRUNCATE false, INDEX_CLEANUP on, PARALLEL 0) dacapo.{table}"))
    }
}

/// What this process has removed from each queue since it vacuumed it. Cloning gives another handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Removed {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    rows: [AtomicU64; QUEUES.len()],
    /// Wakes the task.
    enough: Notify,
}

impl Removed {
    /// Notes that rows were taken out of a queue.
    pub(crate) fn note(&self, queue: Queue, rows: usize) {
        let before = self.shared.rows[queue as usize].fetch_add(rows as u64, Ordering::Relaxed);
        if before < queue.rows_between() && before + rows as u64 >= queue.rows_between() {
            self.shared.enough.notify_one();
        }
    }

    /// Of the queues that are due, the one that has gathered most, so that none waits for ever behind another.
    fn due(&self) -> Option<Queue> {
        let times = |queue: &Queue| self.shared.rows[*queue as usize].load(Ordering::Relaxed) / queue.rows_between();
        QUEUES.into_iter().max_by_key(times).filter(|queue| times(queue) > 0)
    }
}

/// Vacuums what is due until it is told to stop.
pub(crate) async fn vacuum_queues(pool: PgPool, removed: Removed, stop: CancellationToken) {
    loop {
        while let Some(queue) = removed.due() {
            removed.shared.rows[queue as usize].store(0, Ordering::Relaxed);
            let begun = Instant::now();
            let vacuumed = tokio::select! {
                vacuumed = sqlx::query(queue.statement()).execute(&pool) => vacuumed,
                () = stop.cancelled() => return,
            };
            let wait = match vacuumed {
                Ok(_) => {
                    metrics::counter!("dacapo_vacuums_total", "table" => queue.table()).increment(1);
                    begun.elapsed() * TIMES_AS_LONG
                }
                Err(error) => {
                    tracing::debug!(%error, table = queue.table(), "a queue cannot be vacuumed now");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
        tokio::select! {
            () = removed.shared.enough.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_queue_waits_for_ever_behind_another() {
        let removed = Removed::default();
        removed.note(Queue::Ready, 15_000);
        removed.note(Queue::Handed, 999);
        assert!(matches!(removed.due(), Some(Queue::Ready)));
        removed.note(Queue::Inbox, 40_000);
        assert!(matches!(removed.due(), Some(Queue::Inbox)), "more of it lies there than of the first");
        let none = Removed::default();
        none.note(Queue::Inbox, 9_999);
        assert!(none.due().is_none());
    }
}
