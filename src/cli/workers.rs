//! `workers`: the fleet.

use clap::Args;
use dacapo_core::{Timestamp, store::WorkerInfo};

use super::{
    Context,
    exit::Stop,
    json,
    output::Tone,
    table::{Cell, Table},
    time::{length, relative},
};

/// Lists the workers of all namespaces
#[derive(Debug, Clone, Args)]
pub(crate) struct Workers {}

impl Workers {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let workers = connection.client().workers().await?;
        if context.output.json {
            context.output.value(&workers.iter().map(json::worker).collect())?;
        } else {
            let (now, _) = connection.client().store().clock().await?;
            context.output.table(&table(&workers, now))?;
        }
        connection.close().await
    }
}

fn table(workers: &[WorkerInfo], now: Timestamp) -> Table {
    let mut table =
        Table::new(["WORKER", "QUEUES", "WORKFLOWS", "ACTIVITIES", "BUSY", "OWNED RUNS", "JOINED", "LEASE", "BUILD"]);
    for worker in workers {
        let lease = if worker.lease_until > now {
            Cell::from(length(worker.lease_until.since(now))).tone(Tone::Good)
        } else {
            Cell::from("lapsed").tone(Tone::Bad)
        };
        let queues: Vec<&str> = worker.queues.iter().map(|queue| queue.as_str()).collect();
        table.row([
            worker.identity.as_str().into(),
            queues.join(",").into(),
            worker.workflow_types.len().to_string().into(),
            worker.activity_types.len().to_string().into(),
            format!("{}/{}", worker.busy, worker.slots).into(),
            worker.owned.to_string().into(),
            relative(worker.started_at, now).into(),
            lease,
            worker.build_id.as_deref().unwrap_or("").into(),
        ]);
    }
    table
}
