//! Listens to other processes, and holds the presence locks of this one's workers.
//!
//! A lock is held by the session, so the server lets go of it the moment the process is gone: `beat` of another process
//! sees that before the lease lapses. The row of the worker is the fence all the same.

use std::{collections::BTreeSet, io, pin::pin, time::Duration};

use dacapo_core::{WorkerId, store::Hint};
use sqlx::{
    Row,
    postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Hints,
    neighbours::{Census, Ear},
    wire,
};

/// The wait before listening again after the connection was lost.
const RELISTEN_WAIT: Duration = Duration::from_millis(100);

const TRY_PRESENCE: &str = "SELECT pg_try_advisory_lock($1) AS held";
const DROP_PRESENCE: &str = "SELECT pg_advisory_unlock($1)";
const SET_PRESENCE: &str = "UPDATE dacapo.workers SET presence = $2 WHERE worker = $1";

/// Which database this is, among all that this machine's processes may reach: the server's start and the number of the database.
const DATABASE: &str = "SELECT to_hex((extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint) || '-'
    || to_hex(oid::bigint) AS database FROM pg_database WHERE datname = current_database()";

/// The locks of those who listen for runs have this as their first key, and the machine as their second.
const LISTENS: i32 = 0x0dac_a901;

const LOCK_LISTENS: &str = "SELECT pg_try_advisory_lock_shared($1, $2) AS held";
const SAY_LISTENS: &str = "SELECT pg_notify($1, '')";
const COUNT_LISTENERS: &str = "SELECT count(*) FILTER (WHERE l.objid::bigint = $2) AS here,
        count(*) FILTER (WHERE l.objid::bigint <> $2) AS elsewhere
   FROM pg_locks l
  WHERE l.locktype = 'advisory' AND l.classid::bigint = $1 AND l.objsubid = 2
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// After this time whoever begins to listen looks once more: by then everybody knows.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

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
    /// Whether it listens to neighbours as well.
    neighbours: bool,
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
        neighbours: bool,
        asks: mpsc::UnboundedReceiver<Ask>,
        stop: CancellationToken,
    ) -> Self {
        let (channels, workers) = (BTreeSet::from([wire::LISTENERS.to_owned()]), BTreeSet::new());
        Self { hints, options, neighbours, asks, stop, channels, workers, joining: Vec::new() }
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
        let mut ear = self.open_ear(&mut listener).await?;
        if self.listens_for_runs() {
            begin_to_wait(&mut listener, ear.as_ref()).await?;
        }
        self.hints.set_hears_closed(self.channels.contains(wire::CLOSED));
        let mut look_again = pin!(tokio::time::sleep(LOOK_AGAIN));
        let mut looks_again = self.listens_for_runs();
        // Whatever was said while nobody listened is lost.
        self.hints.publish_here(&Hint::Everything);
        self.hints.transaction_committed();
        let hints = self.hints.clone();
        loop {
            tokio::select! {
                ask = self.asks.recv() => match ask {
                    Some(ask) => {
                        if self.carry_out(&mut listener, &mut ear, ask).await? {
                            looks_again = true;
                            look_again.as_mut().reset(tokio::time::Instant::now() + LOOK_AGAIN);
                        }
                    }
                    None => return Ok(()),
                },
                heard = hear(&mut ear) => match heard {
                    Ok(heard) => heard.iter().for_each(|hint| self.hints.publish_here(hint)),
                    Err(error) => {
                        tracing::debug!(%error, "neighbours are not heard any more");
                        ear = None;
                        self.wait_anew(&mut listener, None).await?;
                    }
                },
                () = hints.shared.neighbours.census_wanted.notified() => {
                    if let Some(ear) = &ear
                        && let Some(census) = take_census(&mut listener, ear.machine).await?
                    {
                        self.hints.shared.neighbours.counted(census);
                    }
                }
                () = look_again.as_mut(), if looks_again => {
                    looks_again = false;
                    self.hints.publish_here(&Hint::Everything);
                }
                received = listener.try_recv() => match received? {
                    Some(notification) => self.hear_server(&notification),
                    None => return Ok(()),
                },
            }
        }
    }

    fn hear_server(&self, notification: &PgNotification) {
        if wire::is_of_transactions(notification.channel()) {
            self.hints.transaction_committed();
        } else if notification.channel() == wire::LISTENERS {
            self.hints.shared.neighbours.forget_census();
        } else if !self.hints.is_own(notification.process_id()) {
            for hint in wire::read(notification.channel(), notification.payload()) {
                self.hints.publish_here(&hint);
            }
        }
    }

    /// Opens the ear for neighbours, where there can be any.
    async fn open_ear(&self, listener: &mut PgListener) -> Result<Option<Ear>, sqlx::Error> {
        if !self.neighbours {
            return Ok(None);
        }
        let Some(database) = unless_refused(sqlx::query(DATABASE).fetch_one(&mut *listener).await)? else {
            return Ok(None);
        };
        let database: String = database.try_get("database")?;
        let opened = Ear::open(&self.hints, &database).and_then(|mut ear| {
            ear.answer_to(&self.workers, self.listens_for_runs())?;
            Ok(ear)
        });
        Ok(opened.inspect_err(|error| tracing::debug!(%error, "hints go through the server only")).ok())
    }

    fn listens_for_runs(&self) -> bool {
        self.channels.contains(wire::CLOSED) || self.channels.contains(wire::UPDATED)
    }

    /// Does what it is asked to do. Says whether this process begins to listen for runs.
    async fn carry_out(
        &mut self,
        listener: &mut PgListener,
        ear: &mut Option<Ear>,
        ask: Ask,
    ) -> Result<bool, sqlx::Error> {
        let (before, listened) = (self.channels.clone(), self.listens_for_runs());
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
        if let Some(open) = ear
            && let Err(error) = open.answer_to(&self.workers, self.listens_for_runs())
        {
            tracing::debug!(%error, "the folder of sockets has changed");
            *ear = None;
            *ear = self.open_ear(listener).await?;
            if listened {
                self.wait_anew(listener, ear.as_ref()).await?;
            }
        }
        let begins = |channel: &str| self.channels.contains(channel) && !before.contains(channel);
        let waits = begins(wire::CLOSED) || begins(wire::UPDATED);
        if waits {
            if !listened {
                begin_to_wait(listener, ear.as_ref()).await?;
            }
            self.hints.set_hears_closed(self.channels.contains(wire::CLOSED));
            // What is waited for may have come between the look that led here and this moment.
            self.hints.publish_here(&Hint::Everything);
        }
        Ok(waits)
    }

    /// Says that this process waits for runs and is not found where it was.
    async fn wait_anew(&self, listener: &mut PgListener, ear: Option<&Ear>) -> Result<(), sqlx::Error> {
        if self.listens_for_runs() {
            begin_to_wait(listener, ear).await?;
            // What was said to the socket that is gone.
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

/// What the server says, unless it refuses: hints are not worth the connection, which holds the presence of workers.
fn unless_refused<T>(said: Result<T, sqlx::Error>) -> Result<Option<T>, sqlx::Error> {
    match said {
        Err(sqlx::Error::Database(error)) => {
            tracing::debug!(%error, "the server refused what is for hints only");
            Ok(None)
        }
        said => said.map(Some),
    }
}

/// Says to all, and to those who ask later, that this process listens for runs.
async fn begin_to_wait(listener: &mut PgListener, ear: Option<&Ear>) -> Result<(), sqlx::Error> {
    let machine = ear.map_or(0, |ear| ear.machine);
    let locked = sqlx::query(LOCK_LISTENS).bind(LISTENS).bind(machine).fetch_one(&mut *listener).await;
    if !unless_refused(locked)?.is_some_and(|row| row.try_get("held").unwrap_or(false)) {
        tracing::warn!("other machines may not know that this process waits for runs; it looks once a second");
    }
    unless_refused(sqlx::query(SAY_LISTENS).bind(wire::LISTENERS).execute(&mut *listener).await).map(drop)
}

async fn take_census(listener: &mut PgListener, machine: i32) -> Result<Option<Census>, sqlx::Error> {
    let (class, machine) = (i64::from(LISTENS as u32), i64::from(machine as u32));
    let counted = sqlx::query(COUNT_LISTENERS).bind(class).bind(machine).fetch_one(&mut *listener).await;
    let Some(row) = unless_refused(counted)? else { return Ok(None) };
    Ok(Some(Census { here: row.try_get("here")?, elsewhere: row.try_get("elsewhere")? }))
}

async fn hear(ear: &mut Option<Ear>) -> io::Result<Vec<Hint>> {
    match ear {
        Some(ear) => ear.hear().await,
        None => std::future::pending().await,
    }
}

async fn take_presence(listener: &mut PgListener, worker: WorkerId) -> Result<(), sqlx::Error> {
    let key = presence_key(worker);
    let held: bool = sqlx::query(TRY_PRESENCE).bind(key).fetch_one(&mut *listener).await?.try_get("held")?;
    sqlx::query(SET_PRESENCE).bind(worker.0).bind(held).execute(&mut *listener).await.map(drop)
}
