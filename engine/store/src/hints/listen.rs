//! Listens to other processes, and holds the presence locks of this one's workers.
//!
//! A lock is held by the session, so the server lets go of it the moment the process is gone: `beat` of another process
//! sees that before the lease lapses. The row of the worker is the fence all the same.

use std::{collections::BTreeSet, time::Duration};

use dacapo_core::{WorkerId, store::Hint};
use sqlx::{
    Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Hints, wire};

/// The wait before listening again after the connection was lost.
const RELISTEN_WAIT: Duration = Duration::from_millis(100);

const TRY_PRESENCE: &str = "SELECT pg_try_advisory_lock($1) AS held";
const DROP_PRESENCE: &str = "SELECT pg_advisory_unlock($1)";
const SET_PRESENCE: &str = "UPDATE dacapo.workers SET presence = $2 WHERE worker = $1";

/// What the listener is asked to do.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Listen for closed runs.
    Closed,
    /// Listen for updates that move on, and for answers.
    Updated,
    /// Listen on the channel of transactions of users.
    Transactions(String),
    /// Listen for a worker's messages and hold its presence lock. Answered when tried.
    Join(WorkerId, oneshot::Sender<()>),
    /// Let go of a worker.
    Leave(WorkerId),
}

/// The key of a worker's presence lock: the random half of its id.
pub(crate) fn presence_key(worker: WorkerId) -> i64 {
    (worker.0.as_u128() as u64) as i64
}

/// The task that listens.
#[derive(Debug)]
pub(crate) struct Listener {
    hints: Hints,
    options: PgConnectOptions,
    asks: mpsc::UnboundedReceiver<Ask>,
    stop: CancellationToken,
    channels: BTreeSet<String>,
    workers: BTreeSet<WorkerId>,
    /// Those who wait for their presence lock to be tried.
    joining: Vec<oneshot::Sender<()>>,
}

impl Listener {
    pub(crate) fn new(
        hints: Hints,
        options: PgConnectOptions,
        asks: mpsc::UnboundedReceiver<Ask>,
        stop: CancellationToken,
    ) -> Self {
        let (channels, workers) = (BTreeSet::new(), BTreeSet::new());
        Self { hints, options, asks, stop, channels, workers, joining: Vec::new() }
    }

    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        // A process that neither waits nor works needs no connection for it.
        let first = tokio::select! {
            ask = self.asks.recv() => ask,
            () = stop.cancelled() => None,
        };
        let Some(first) = first else { return };
        self.note(first);
        loop {
            let lost = tokio::select! {
                lost = self.serve() => lost,
                () = stop.cancelled() => return,
            };
            self.hints.set_listening(false);
            self.hints.set_hears_closed(false);
            if let Err(error) = lost {
                tracing::warn!(%error, "the listening connection was lost");
            }
            tokio::time::sleep(RELISTEN_WAIT).await;
        }
    }

    /// Listens until the connection is lost. An error of the first statements counts as that.
    async fn serve(&mut self) -> Result<(), sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_with(self.options.clone())
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen_all(self.channels.iter().map(String::as_str)).await?;
        for worker in self.workers.clone() {
            take_presence(&mut listener, worker).await?;
        }
        self.answer_joining();
        self.hints.set_listening(true);
        self.hints.set_hears_closed(self.channels.contains(wire::CLOSED));
        // Whatever was said while nobody listened is lost.
        self.hints.publish_here(&Hint::Everything);
        self.hints.transaction_committed();
        loop {
            tokio::select! {
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.carry_out(&mut listener, ask).await?,
                    None => return Ok(()),
                },
                received = listener.try_recv() => match received? {
                    Some(notification) => {
                        if wire::is_of_transactions(notification.channel()) {
                            self.hints.transaction_committed();
                        } else if !self.hints.is_own(notification.process_id()) {
                            for hint in wire::read(notification.channel(), notification.payload()) {
                                self.hints.publish_here(&hint);
                            }
                        }
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    async fn carry_out(&mut self, listener: &mut PgListener, ask: Ask) -> Result<(), sqlx::Error> {
        let before = self.channels.clone();
        let leaving = if let Ask::Leave(worker) = &ask { Some(*worker) } else { None };
        let transactions = matches!(ask, Ask::Transactions(_));
        let joining = if let Ask::Join(worker, _) = &ask { Some(*worker) } else { None };
        self.note(ask);
        for channel in self.channels.difference(&before) {
            listener.listen(channel).await?;
        }
        for channel in before.difference(&self.channels) {
            listener.unlisten(channel).await?;
        }
        if let Some(worker) = leaving {
            sqlx::query(DROP_PRESENCE).bind(presence_key(worker)).execute(&mut *listener).await?;
        }
        if let Some(worker) = joining {
            take_presence(listener, worker).await?;
        }
        self.answer_joining();
        if transactions {
            // One may have committed before anybody listened.
            self.hints.transaction_committed();
        }
        let begins = |channel: &str| self.channels.contains(channel) && !before.contains(channel);
        if begins(wire::CLOSED) {
            self.hints.set_hears_closed(true);
        }
        if begins(wire::CLOSED) || begins(wire::UPDATED) {
            // What is waited for may have come between the look that led here and this moment.
            self.hints.publish_here(&Hint::Everything);
        }
        Ok(())
    }

    /// Changes what is listened to from now on.
    fn note(&mut self, ask: Ask) {
        match ask {
            Ask::Closed => drop(self.channels.insert(wire::CLOSED.to_owned())),
            Ask::Updated => drop(self.channels.insert(wire::UPDATED.to_owned())),
            Ask::Transactions(channel) => drop(self.channels.insert(channel)),
            Ask::Join(worker, tried) => {
                self.channels.insert(wire::QUEUES.to_owned());
                self.channels.insert(wire::worker_channel(worker));
                self.workers.insert(worker);
                self.joining.push(tried);
            }
            Ask::Leave(worker) => {
                self.channels.remove(&wire::worker_channel(worker));
                self.workers.remove(&worker);
            }
        }
    }

    fn answer_joining(&mut self) {
        for joining in self.joining.drain(..) {
            // Whoever waited may have given up.
            let _ = joining.send(());
        }
    }
}

async fn take_presence(listener: &mut PgListener, worker: WorkerId) -> Result<(), sqlx::Error> {
    let key = presence_key(worker);
    let held: bool = sqlx::query(TRY_PRESENCE).bind(key).fetch_one(&mut *listener).await?.try_get("held")?;
    sqlx::query(SET_PRESENCE).bind(worker.0).bind(held).execute(&mut *listener).await.map(drop)
}
