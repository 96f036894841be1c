//! `update`: a request to a workflow's code, and its answer.

use clap::{Args, ValueEnum};
use dacapo_core::{UpdateOutcome, update::UpdateStage};
use dacapo_runtime::{SentUpdate, Update as Request, UpdateWait};
use serde_json::{Value, json};

use super::{
    Context,
    args::{Target, read_payload},
    exit::{Exit, Stop},
    json as shown,
};

/// How far to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wait {
    /// Until the workflow has accepted it, from when on it is in the history
    Accepted,
    /// Until the workflow has answered it
    Completed,
}

/// Sends an update to a workflow, waits for it and prints its answer
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  dacapo update order-42 change_address -i '{\"city\":\"Bonn\"}' --update-id move-1")]
pub(crate) struct Update {
    #[command(flatten)]
    target: Target,
    /// The update
    #[arg(value_name = "NAME")]
    name: String,
    /// Its input: JSON, `@file`, or `-` for stdin
    #[arg(short, long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// How far to wait
    #[arg(long, value_enum, default_value_t = Wait::Completed)]
    wait: Wait,
    /// The id of the update: sent again with it, it gets the answer of the first; a fresh one when absent
    #[arg(long, value_name = "ID")]
    update_id: Option<String>,
}

impl Update {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let input = read_payload("update input", self.input.as_deref())?;
        let connection = context.connect().await?;
        let client = connection.client();
        let request = Request { name: self.name, input, update_id: self.update_id };
        let sent = client.send_update(&self.target.execution(), request).await?;
        let wait = if self.wait == Wait::Accepted { UpdateWait::Accepted } else { UpdateWait::Completed };
        let stage = tokio::select! {
            stage = client.await_update(&sent, wait) => stage?,
            _ = tokio::signal::ctrl_c() => {
                let update_id = &sent.update_id;
                let goes_on = format!("the update goes on; the same command with `--update-id {update_id}` waits for it");
                return Err(Stop::new(Exit::Interrupted, goes_on));
            }
        };
        let ended = print(context, &sent, &stage);
        connection.close().await?;
        ended
    }
}

/// Prints how far an update has come, and stops when it has failed.
fn print(context: &Context, sent: &SentUpdate, stage: &UpdateStage) -> Result<(), Stop> {
    let output = context.output;
    let outcome = match stage {
        UpdateStage::Completed { outcome, .. } => Some(outcome),
        UpdateStage::Accepted { .. } | UpdateStage::Rejected { .. } | UpdateStage::Aborted { .. } => None,
    };
    let (result, failure) = match outcome {
        Some(UpdateOutcome::Completed(result)) => (Some(result), None),
        Some(UpdateOutcome::Failed(failure)) => (None, Some(failure)),
        None => (None, None),
    };
    if output.json {
        output.value(&json!({
            "workflow_id": sent.workflow_id,
            "run_id": sent.run.run_id,
            "update_id": sent.update_id,
            "stage": if outcome.is_some() { "completed" } else { "accepted" },
            "result": result.map_or(Value::Null, shown::payload),
            "failure": failure,
        }))?;
    } else if let Some(result) = result {
        output.line(result.as_json())?;
    } else if let Some(failure) = failure {
        output.note(&format!("update `{}` failed: {}: {}", sent.update_id, failure.error_type, failure.message));
    } else {
        output.note(&format!("accepted: update `{}` of {}", sent.update_id, sent.workflow_id));
    }
    if failure.is_some() { Err(Stop::said(Exit::WorkflowFailed)) } else { Ok(()) }
}
