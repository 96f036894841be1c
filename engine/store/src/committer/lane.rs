//! A lane: a queue, a task with a connection that flushes it, and what is done when a flush goes wrong.
//!
//! A lane may have a second task, which flushes beside the first only what has become a crowd. Many small flushes at the
//! same time cost the database several times what few large ones do, and the more processes there are the smaller they
//! would be.
//!
//! What waits for a lock of a stranger's goes to a side lane, so that it holds up nobody else for longer than that wait.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use dacapo_core::{
    limits::FLUSH_ITEMS_MAX,
    store::{Reply, StoreError},
};
use sqlx::{PgConnection, postgres::PgConnectOptions};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::pace::{LARGE, Pace};
use crate::{
    connection,
    error::{Trouble, trouble},
    hints::{Hints, Speaker, Turn},
};

/// The time after which a flush counts as lost; far above what a flush takes on a server that lives.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(20);

/// The time for which items that may be repeated are repeated while the database is away, or somebody holds what they need.
const REPEAT_FOR: Duration = Duration::from_secs(30);

/// The time after which a lane that has nothing to flush gives its connection back. Opening one takes some milliseconds.
const UNUSED_CONNECTION: Duration = Duration::from_secs(120);

/// The items that must wait for the second task of a lane to flush beside the first: a flush of its own. Where several
/// processes share a database's cores, less makes more flushes and no more progress.
const CROWD_ITEMS: usize = FLUSH_ITEMS_MAX;

/// The first wait before connecting again; doubles up to [`RECONNECT_WAIT_MAX`].
const RECONNECT_WAIT: Duration = Duration::from_millis(20);

/// The longest wait before connecting again: a server that starts again is found within a second.
const RECONNECT_WAIT_MAX: Duration = Duration::from_millis(500);

/// Something to be written, with its caller.
pub(crate) struct Entry<F: Flush> {
    /// What is to be written.
    pub(crate) work: F::Work,
    reply: Reply<F::Outcome>,
    /// Since when somebody holds what it needs.
    held_since: Option<Instant>,
}

impl<F: Flush> Entry<F> {
    /// Tells the caller.
    pub(crate) fn answer(self, outcome: F::Outcome) {
        self.reply.send(outcome);
    }
}

/// What one kind of lane does with its work.
pub(crate) trait Flush: fmt::Debug + Send + Sync + Sized + 'static {
    /// What is written.
    type Work: Send + Sync;
    /// What the database says of it.
    type Answer: Send;
    /// What the caller hears.
    type Outcome: Send;
    /// The lane's name in metrics.
    const LANE: &'static str;
    /// Whether an item may be written after others that came later.
    const MAY_BE_OVERTAKEN: bool;
    /// Whether a small flush that was held up is followed by a pause, in which more gathers for the next.
    const GATHERS: bool = false;
    /// Whether the processes of a machine flush one after the other, while their flushes are large.
    const TAKES_TURNS: bool = false;

    /// Takes what the next flush writes out of a queue that is not empty, in the order in which it is locked.
    fn take(&self, queue: &mut VecDeque<Entry<Self>>) -> Vec<Entry<Self>>;

    /// Writes; gives an answer for each.
    fn flush(
        &self,
        connection: &mut PgConnection,
        works: &[&Self::Work],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, sqlx::Error>> + Send;

    /// Tells the callers, and hints to others what has changed.
    fn answer(&self, answered: Vec<(Entry<Self>, Self::Answer)>);

    /// What a caller hears whose work cannot be written, or when the database is away for too long.
    fn refusal(&self, error: StoreError) -> Self::Outcome;

    /// Takes note that an answer was lost. `None`: the work carries an id by which the database knows it, and is flushed
    /// again; otherwise what the caller hears.
    fn lost(&self, work: &mut Self::Work) -> Option<Self::Outcome>;
}

struct Queue<F: Flush> {
    entries: VecDeque<Entry<F>>,
    closed: bool,
}

/// A queue that one task flushes over one connection, and a second one beside it when there is much.
pub(crate) struct Lane<F: Flush> {
    flush: Arc<F>,
    queue: Mutex<Queue<F>>,
    filled: Notify,
    /// Wakes the second task.
    crowded: Notify,
    options: PgConnectOptions,
    hints: Hints,
    /// Where items wait that somebody holds up, if others may overtake them.
    side: Option<Arc<Self>>,
    /// The tasks that may still put items there.
    running: AtomicUsize,
}

impl<F: Flush> fmt::Debug for Lane<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("flush", &self.flush).finish_non_exhaustive()
    }
}

impl<F: Flush> Lane<F> {
    /// Makes a lane and spawns its tasks, which end after [`Lane::close`]. With more than one, what belongs together must be
    /// in order by itself: a run has at most one write under way.
    pub(crate) fn spawn(
        flush: F,
        connections: usize,
        options: &PgConnectOptions,
        hints: &Hints,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let flush = Arc::new(flush);
        let side = F::MAY_BE_OVERTAKEN
            .then(|| Self::make(Arc::clone(&flush), 1, &connection::of_the_held(options), hints, None, tasks));
        Self::make(flush, connections, options, hints, side, tasks)
    }

    fn make(
        flush: Arc<F>,
        connections: usize,
        options: &PgConnectOptions,
        hints: &Hints,
        side: Option<Arc<Self>>,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let lane = Arc::new(Self {
            flush,
            queue: Mutex::new(Queue { entries: VecDeque::new(), closed: false }),
            filled: Notify::new(),
            crowded: Notify::new(),
            options: options.clone(),
            hints: hints.clone(),
            side,
            running: AtomicUsize::new(connections),
        });
        for connection in 0..connections {
            tasks.spawn(Arc::clone(&lane).run(if connection == 0 { 1 } else { CROWD_ITEMS }));
        }
        lane
    }

    /// Hands work over.
    pub(crate) fn put(&self, work: F::Work, reply: Reply<F::Outcome>) {
        let entry = Entry { work, reply, held_since: None };
        let mut queue = self.lock();
        if queue.closed {
            drop(queue);
            let problem = "this store is closed".to_owned();
            return entry.answer(self.flush.refusal(StoreError::Unavailable { problem }));
        }
        queue.entries.push_back(entry);
        let waiting = queue.entries.len();
        drop(queue);
        // Only an empty queue can have a first task that waits for it; the second one waits for the crowd.
        match waiting {
            1 => self.filled.notify_one(),
            CROWD_ITEMS => self.crowded.notify_one(),
            _ => {}
        }
    }

    /// Takes no further work; the task ends when the queue is empty.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
        self.crowded.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue<F>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, at_least: usize) {
        let mut connection = None;
        let mut pace = F::GATHERS.then(Pace::default);
        // A second task has a full flush, which is worth its price; and a side lane has what few others wait for.
        let takes_turns = F::TAKES_TURNS && at_least == 1 && self.side.is_some();
        let mut items = 0;
        loop {
            // Cancel safe: nothing is taken from the queue, and a wake-up is followed by a look in the same poll.
            match tokio::time::timeout(UNUSED_CONNECTION, self.filled_with(at_least)).await {
                Ok(true) => {
                    let turn = if takes_turns && items >= LARGE { self.hints.turn().await } else { None };
                    let Some(batch) = self.take(at_least) else { continue };
                    items = batch.len();
                    let begun = Instant::now();
                    Box::pin(self.carry_out(&mut connection, batch, turn)).await;
                    if let Some(pause) = pace.as_mut().and_then(|pace| pace.pause(items, begun.elapsed())) {
                        tokio::time::sleep(pause).await;
                    }
                }
                Ok(false) => break,
                Err(_) if connection.is_some() => disconnect::<F>(&mut connection).await,
                Err(_) => {}
            }
        }
        disconnect::<F>(&mut connection).await;
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(side) = &self.side
        {
            side.close();
        }
    }

    /// Waits until so many items are there. False: there will be none.
    async fn filled_with(&self, at_least: usize) -> bool {
        loop {
            {
                let queue = self.lock();
                if queue.entries.len() >= at_least {
                    return true;
                }
                if queue.closed {
                    return false;
                }
            }
            if at_least == 1 { self.filled.notified().await } else { self.crowded.notified().await }
        }
    }

    /// Takes the next flush; nothing if the lane's other task was quicker.
    fn take(&self, at_least: usize) -> Option<Vec<Entry<F>>> {
        let mut queue = self.lock();
        let waiting = queue.entries.len();
        (waiting >= at_least).then(|| {
            metrics::gauge!("dacapo_lane_backlog_items", "lane" => F::LANE).set(waiting as f64);
            self.flush.take(&mut queue.entries)
        })
    }

    /// Flushes a batch, in parts where it must be, until every caller has an answer.
    async fn carry_out(&self, connection: &mut Option<Speaker>, batch: Vec<Entry<F>>, turn: Option<Turn>) {
        let begun = Instant::now();
        let mut wait = RECONNECT_WAIT;
        // What takes longer than one attempt is nothing that others should wait for.
        let mut turn = turn.filter(|_| connection.is_some());
        // The last one is next, so that the order survives a split.
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let open = match self.connected(connection).await {
                Ok(open) => open,
                // Nothing was sent, so nothing is in doubt: it waits for a connection as it would for its turn.
                Err(error) if begun.elapsed() < REPEAT_FOR => {
                    if wait == RECONNECT_WAIT {
                        tracing::warn!(lane = F::LANE, items = part.len(), %error, "no connection; it is tried again");
                    }
                    parts.push(part);
                    tokio::time::sleep(jitter(wait)).await;
                    wait = (wait * 2).min(RECONNECT_WAIT_MAX);
                    continue;
                }
                Err(error) => {
                    let again = self.lost(part, &error, begun);
                    parts.extend((!again.is_empty()).then_some(again));
                    continue;
                }
            };
            let works = part.iter().map(|entry| &entry.work).collect();
            let attempted = self.attempt(open, works).await;
            drop(turn.take());
            let error = match attempted {
                Ok(answers) => {
                    wait = RECONNECT_WAIT;
                    self.flush.answer(part.into_iter().zip(answers).collect());
                    continue;
                }
                Err(error) => error,
            };
            match trouble(&error) {
                Trouble::Repeat => {
                    metrics::counter!("dacapo_flush_repeats_total", "lane" => F::LANE).increment(1);
                    tokio::time::sleep(jitter(wait)).await;
                    parts.push(part);
                }
                Trouble::Held => self.held_up(part, &error, &mut parts),
                Trouble::Data if part.len() > 1 => split(part, &mut parts),
                Trouble::Data => self.refuse(part, &data(&error)),
                Trouble::Lost => {
                    *connection = None;
                    let again = self.lost(part, &error, begun);
                    if !again.is_empty() {
                        tokio::time::sleep(jitter(wait)).await;
                        wait = (wait * 2).min(RECONNECT_WAIT_MAX);
                        parts.push(again);
                    }
                }
            }
        }
    }

    /// Sees to it that what is held up holds up nothing else: it goes to the side lane, and comes last there, or where it
    /// may not be overtaken.
    fn held_up(&self, mut part: Vec<Entry<F>>, error: &sqlx::Error, parts: &mut Vec<Vec<Entry<F>>>) {
        metrics::counter!("dacapo_flush_repeats_total", "lane" => F::LANE).increment(1);
        let now = Instant::now();
        let since = part.iter_mut().map(|entry| *entry.held_since.get_or_insert(now)).min();
        match &self.side {
            Some(side) => side.put_back(part),
            None if part.len() > 1 => split(part, parts),
            None if since.is_some_and(|since| since.elapsed() > REPEAT_FOR) => self.refuse(part, &given_up(error)),
            None if F::MAY_BE_OVERTAKEN => self.put_back(part),
            None => parts.insert(0, part),
        }
    }

    /// Puts what was not written behind all that waits, even when no further work is taken.
    fn put_back(&self, part: Vec<Entry<F>>) {
        self.lock().entries.extend(part);
        self.filled.notify_one();
    }

    fn refuse(&self, part: Vec<Entry<F>>, error: &StoreError) {
        for entry in part {
            entry.answer(self.flush.refusal(error.clone()));
        }
    }

    /// Answers where that is all there is to do; gives back what is to be flushed again.
    fn lost(&self, part: Vec<Entry<F>>, error: &sqlx::Error, begun: Instant) -> Vec<Entry<F>> {
        metrics::counter!("dacapo_flush_unknown_outcomes_total", "lane" => F::LANE).increment(part.len() as u64);
        tracing::warn!(lane = F::LANE, items = part.len(), %error, "the answer to a flush was lost");
        let mut again = Vec::new();
        for mut entry in part {
            match self.flush.lost(&mut entry.work) {
                Some(outcome) => entry.answer(outcome),
                None => again.push(entry),
            }
        }
        if begun.elapsed() > REPEAT_FOR {
            self.refuse(std::mem::take(&mut again), &given_up(error));
        }
        again
    }

    async fn connected<'a>(&self, connection: &'a mut Option<Speaker>) -> Result<&'a mut Speaker, sqlx::Error> {
        match connection {
            Some(open) => Ok(open),
            None => Ok(connection.insert(self.hints.speaker(&self.options).await?)),
        }
    }

    async fn attempt(&self, open: &mut Speaker, works: Vec<&F::Work>) -> Result<Vec<F::Answer>, sqlx::Error> {
        let begun = Instant::now();
        let flushed = tokio::time::timeout(FLUSH_TIMEOUT, self.flush.flush(&mut open.connection, &works)).await;
        let answers = flushed.unwrap_or_else(|_| {
            // The flush was dropped in the middle of its exchange with the server; the caller drops the connection.
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer to a flush in 20 s")))
        })?;
        assert_eq!(answers.len(), works.len(), "a flush answers every item");
        metrics::histogram!("dacapo_flush_seconds", "lane" => F::LANE).record(begun.elapsed().as_secs_f64());
        metrics::histogram!("dacapo_flush_items", "lane" => F::LANE).record(works.len() as f64);
        metrics::counter!("dacapo_flushes_total", "lane" => F::LANE).increment(1);
        Ok(answers)
    }
}

/// Flushes two halves one after the other, in their order.
fn split<F: Flush>(mut part: Vec<Entry<F>>, parts: &mut Vec<Vec<Entry<F>>>) {
    let second = part.split_off(part.len() / 2);
    parts.push(second);
    parts.push(part);
}

async fn disconnect<F: Flush>(connection: &mut Option<Speaker>) {
    let Some(speaker) = connection.take() else { return };
    let closed: Result<(), sqlx::Error> = sqlx::Connection::close(speaker.connection).await;
    if let Err(error) = closed {
        tracing::debug!(lane = F::LANE, %error, "closing a connection failed");
    }
}

/// Spreads a wait over half to all of it, so that processes that failed together do not come back together.
fn jitter(wait: Duration) -> Duration {
    let part = u32::from(uuid::Uuid::now_v7().as_bytes()[15]);
    wait / 2 + wait * part / 512
}

fn data(error: &sqlx::Error) -> StoreError {
    StoreError::Rejected { problem: format!("the database refuses a value: {error}") }
}

fn given_up(error: &sqlx::Error) -> StoreError {
    let problem =
        format!("no definite answer within {} s ({error}); sending the same id again is safe", REPEAT_FOR.as_secs());
    StoreError::Unavailable { problem }
}
