//! Hints: what changed, told to those who might wait for it. Never more than a hint.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Poll, Waker},
};

use crate::{
    ids::{RunKey, TaskQueue},
    store::{BroughtStarts, HandedId, RunResult},
};

/// Something that changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Hint {
    /// Runs wait on a queue.
    RunsReady(TaskQueue),
    /// Activities wait on a queue.
    ActivitiesReady(TaskQueue),
    /// Messages wait for runs of this process.
    Inbox(Vec<RunKey>),
    /// Runs closed.
    Closed(Vec<RunKey>),
    /// Runs closed, and this is how: what is small enough for a hint needs no look-up.
    Ended(Vec<(RunKey, RunResult)>),
    /// Starts wait that were handed to a worker of this process.
    Handed(Vec<HandedId>),
    /// Starts that were handed to a worker of this process, with all there is to know of them.
    Brought(Arc<BroughtStarts>),
    /// Rows of the outbox wait that this process wrote.
    Outbox,
    /// Questions wait for runs of this process.
    Asked(Vec<RunKey>),
    /// Updates of runs have moved on or questions have an answer.
    Updated(Vec<RunKey>),
    /// Runs of this process were ended, and others took their places, without its doing.
    Replaced(Vec<RunKey>),
    /// A worker left or died: look for what it owned.
    WorkerGone,
    /// Hints may have been lost: look at everything.
    Everything,
}

/// The hints that one receiver has not taken; more than this many become one [`Hint::Everything`].
const BACKLOG_MAX: usize = 1_024;

#[derive(Debug, Default)]
struct Mailbox {
    hints: VecDeque<Hint>,
    waker: Option<Waker>,
}

/// Spreads hints to every receiver. Cloning gives another handle on the same board.
#[derive(Debug, Clone, Default)]
pub struct HintBoard {
    receivers: Arc<Mutex<Vec<Weak<Mutex<Mailbox>>>>>,
}

impl HintBoard {
    /// Tells every receiver.
    pub fn publish(&self, hint: &Hint) {
        let mut receivers = lock(&self.receivers);
        receivers.retain(|receiver| {
            let Some(mailbox) = receiver.upgrade() else { return false };
            let mut mailbox = lock(&mailbox);
            if mailbox.hints.len() >= BACKLOG_MAX {
                mailbox.hints.clear();
                mailbox.hints.push_back(Hint::Everything);
            } else {
                mailbox.hints.push_back(hint.clone());
            }
            if let Some(waker) = mailbox.waker.take() {
                waker.wake();
            }
            true
        });
    }

    /// Makes a receiver of everything published from now on.
    pub fn subscribe(&self) -> HintReceiver {
        let mailbox = Arc::new(Mutex::new(Mailbox::default()));
        lock(&self.receivers).push(Arc::downgrade(&mailbox));
        HintReceiver { mailbox }
    }
}

/// Receives hints.
#[derive(Debug)]
pub struct HintReceiver {
    mailbox: Arc<Mutex<Mailbox>>,
}

impl HintReceiver {
    /// Waits for the next hint.
    ///
    /// # Cancel safety
    /// Dropping the future loses no hint.
    pub async fn next(&mut self) -> Hint {
        poll_fn(|context| {
            let mut mailbox = lock(&self.mailbox);
            match mailbox.hints.pop_front() {
                Some(hint) => Poll::Ready(hint),
                None => {
                    mailbox.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
