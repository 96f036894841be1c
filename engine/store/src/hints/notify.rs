//! Tells other processes: one NOTIFY statement for all that gathered while the last one was on its way.

use std::{mem, time::Duration};

use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use super::{Hints, News, Speaker, lock, wire};

const NOTIFY: &str = "SELECT pg_notify(k.channel, k.payload) FROM unnest($1::text[], $2::text[]) k (channel, payload)";

/// A notification that is not sent by then is dropped: hints may be lost.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// The task that sends hints.
#[derive(Debug)]
pub(crate) struct Notifier {
    hints: Hints,
    options: PgConnectOptions,
    stop: CancellationToken,
}

impl Notifier {
    pub(crate) fn new(hints: Hints, options: &PgConnectOptions, stop: CancellationToken) -> Self {
        // Nothing is written, so there is no commit record to wait for.
        let options = options.clone().options([("synchronous_commit", "off")]);
        Self { hints, options, stop }
    }

    pub(crate) async fn run(self) {
        let mut speaker = None;
        while let Some(outgoing) = self.next().await {
            let (channels, payloads) = wire::notifications(&outgoing, wire::PAYLOAD_BYTES_MAX);
            if channels.is_empty() {
                continue;
            }
            let count = channels.len() as u64;
            let sent = tokio::time::timeout(SEND_TIMEOUT, self.send(&mut speaker, channels, payloads)).await;
            match sent {
                Ok(Ok(())) => metrics::counter!("dacapo_hints_sent_total").increment(count),
                Ok(Err(error)) => {
                    speaker = None;
                    metrics::counter!("dacapo_hints_lost_total").increment(count);
                    tracing::debug!(%error, "hints were lost; the renewals of leases make up for them");
                }
                Err(_) => {
                    speaker = None;
                    metrics::counter!("dacapo_hints_lost_total").increment(count);
                }
            }
        }
    }

    /// Waits until there is something to tell. `None`: the store is closed.
    async fn next(&self) -> Option<News> {
        loop {
            let next_later = self.hints.ripen();
            let outgoing = mem::take(&mut *lock(&self.hints.shared.outgoing));
            if !outgoing.is_empty() {
                return Some(outgoing);
            }
            // What was said last before the end is sent, too.
            tokio::select! {
                biased;
                () = self.hints.shared.filled.notified() => {}
                () = sleep(next_later) => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }

    async fn send(
        &self,
        speaker: &mut Option<Speaker>,
        channels: Vec<String>,
        payloads: Vec<String>,
    ) -> Result<(), sqlx::Error> {
        let open = match speaker {
            Some(open) => open,
            None => speaker.insert(self.hints.speaker(&self.options).await?),
        };
        sqlx::query(NOTIFY).bind(channels).bind(payloads).execute(&mut open.connection).await.map(drop)
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
