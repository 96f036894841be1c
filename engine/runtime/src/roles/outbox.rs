//! Delivers what transitions want of other runs: what this process wrote at once, what others left behind when the
//! renewal of the lease finds it.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use crate::owner::Context;

/// The rows that one delivery takes: enough to spread its few statements over, few enough to hold nobody up.
const ROWS_AT_ONCE: i64 = 200;

/// The wait after the database could not answer.
const RETRY: Duration = Duration::from_millis(250);

/// Delivers whenever `wake` rings, until nothing is left.
pub(crate) async fn deliver(context: Arc<Context>, wake: Arc<Notify>) {
    loop {
        wake.notified().await;
        loop {
            match context.store.deliver_outbox(ROWS_AT_ONCE).await {
                Ok(0) => break,
                Ok(rows) => metrics::counter!("dacapo_outbox_deliveries_total").increment(rows),
                Err(error) => {
                    // Nothing was delivered, or it was removed with its delivery: the same again is safe.
                    tracing::debug!(%error, "rows of the outbox cannot be delivered yet");
                    tokio::time::sleep(RETRY).await;
                    wake.notify_one();
                    break;
                }
            }
        }
        context.clock.rested();
    }
}
