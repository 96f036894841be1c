//! Sends hints: to this process at once, to others as one NOTIFY statement for all that gathered meanwhile.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use dacapo_core::{RunKey, store::Hint};
use sqlx::{PgConnection, Row, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;

use super::{Hints, Outgoing, lock, wire};
use crate::connection;

const NOTIFY: &str = "SELECT pg_notify(k.channel, k.payload) FROM unnest($1::text[], $2::text[]) k (channel, payload)";
const OWN_PID: &str = "SELECT pg_backend_pid() AS pid";

/// A notification that is not sent by then is dropped: hints may be lost.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// The task that sends hints.
#[derive(Debug)]
pub(crate) struct Notifier {
    hints: Hints,
    options: PgConnectOptions,
    /// The server process of the sending connection, whose notifications this process does not need.
    own_pid: Arc<AtomicI32>,
    stop: CancellationToken,
}

impl Notifier {
    pub(crate) fn new(
        hints: Hints,
        options: &PgConnectOptions,
        own_pid: Arc<AtomicI32>,
        stop: CancellationToken,
    ) -> Self {
        // Nothing is written, so there is no commit record to wait for.
        let options = options.clone().options([("synchronous_commit", "off")]);
        Self { hints, options, own_pid, stop }
    }

    pub(crate) async fn run(self) {
        let mut connection = None;
        while let Some(outgoing) = self.next().await {
            self.tell_here(&outgoing);
            let (channels, payloads) = wire::notifications(&self.without_own(outgoing));
            if channels.is_empty() {
                continue;
            }
            let count = channels.len() as u64;
            let sent = tokio::time::timeout(SEND_TIMEOUT, self.send(&mut connection, channels, payloads)).await;
            match sent {
                Ok(Ok(())) => metrics::counter!("dacapo_hints_sent_total").increment(count),
                Ok(Err(error)) => {
                    connection = None;
                    metrics::counter!("dacapo_hints_lost_total").increment(count);
                    tracing::debug!(%error, "hints were lost; the renewals of leases make up for them");
                }
                Err(_) => {
                    connection = None;
                    metrics::counter!("dacapo_hints_lost_total").increment(count);
                }
            }
        }
    }

    /// Waits until there is something to tell. `None`: the store is closed.
    async fn next(&self) -> Option<Outgoing> {
        loop {
            let next_later = {
                let mut outgoing = lock(&self.hints.shared.outgoing);
                let now = self.hints.now();
                while let Some(entry) = outgoing.later.first_entry().filter(|entry| *entry.key() <= now) {
                    entry.remove().into_iter().for_each(|what| outgoing.add(what));
                }
                if !outgoing.is_empty() {
                    let later = mem::take(&mut outgoing.later);
                    return Some(mem::replace(&mut *outgoing, Outgoing { later, ..Outgoing::default() }));
                }
                outgoing.later.first_key_value().map(|(at, _)| at.since(now))
            };
            tokio::select! {
                () = self.hints.shared.filled.notified() => {}
                () = sleep(next_later) => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }

    fn tell_here(&self, outgoing: &Outgoing) {
        for queue in &outgoing.runs_ready {
            self.hints.publish_here(&Hint::RunsReady(queue.clone()));
        }
        for queue in &outgoing.activities_ready {
            self.hints.publish_here(&Hint::ActivitiesReady(queue.clone()));
        }
        let own = self.hints.own_workers();
        let inbox: Vec<RunKey> =
            own.iter().filter_map(|worker| outgoing.inbox.get(worker)).flatten().copied().collect();
        if !inbox.is_empty() {
            self.hints.publish_here(&Hint::Inbox(inbox));
        }
        if !outgoing.closed.is_empty() {
            self.hints.publish_here(&Hint::Closed(outgoing.closed.clone()));
        }
        if outgoing.worker_gone {
            self.hints.publish_here(&Hint::WorkerGone);
        }
        if outgoing.everything {
            self.hints.publish_here(&Hint::Everything);
        }
    }

    fn without_own(&self, mut outgoing: Outgoing) -> Outgoing {
        for worker in self.hints.own_workers() {
            outgoing.inbox.remove(&worker);
        }
        outgoing
    }

    async fn send(
        &self,
        connection: &mut Option<PgConnection>,
        channels: Vec<String>,
        payloads: Vec<String>,
    ) -> Result<(), sqlx::Error> {
        let open = match connection {
            Some(open) => open,
            None => {
                let open = connection.insert(connection::open(&self.options).await?);
                let pid: i32 = sqlx::query(OWN_PID).fetch_one(&mut *open).await?.try_get("pid")?;
                self.own_pid.store(pid, Ordering::Relaxed);
                open
            }
        };
        sqlx::query(NOTIFY).bind(channels).bind(payloads).execute(open).await.map(drop)
    }
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.runs_ready.is_empty()
            && self.activities_ready.is_empty()
            && self.inbox.is_empty()
            && self.closed.is_empty()
            && !self.worker_gone
            && !self.everything
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
