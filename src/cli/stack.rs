//! `stack`: what a workflow's code awaits, and where in the code.

use std::time::Duration;

use clap::Args;
use dacapo_core::query::{Awaited, AwaitedKind};
use dacapo_runtime::{Description, QUERY_TIMEOUT, WorkflowExecution};
use serde_json::{Value, json};

use super::{
    Context,
    args::Target,
    exit::Stop,
    json as shown,
    table::Table,
    time::{parse_length, relative, rfc3339},
};

/// Says what a workflow's code awaits, and where in the code; a worker answers, which replays the run if it must
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  dacapo stack order-42")]
pub(crate) struct Stack {
    #[command(flatten)]
    target: Target,
    /// How long to wait for a worker's answer; 10s when absent
    #[arg(long, value_name = "TIME", value_parser = parse_length)]
    timeout: Option<Duration>,
}

impl Stack {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let client = connection.client();
        let info = client.resolve(&self.target.execution()).await?;
        let run = WorkflowExecution::run(info.workflow_id.clone(), info.key.run_id);
        let stack = client.stack(&run, self.timeout.unwrap_or(QUERY_TIMEOUT)).await?;
        let description = client.describe(&run).await?;
        if context.output.json {
            let awaits: Vec<Value> = stack.awaits.iter().map(|awaited| as_json(awaited, &description)).collect();
            context.output.value(&json!({"run": shown::run(&info), "awaits": awaits}))?;
        } else if stack.awaits.is_empty() {
            context.output.note("the workflow's code awaits nothing: it is about to run, or has come to its end");
        } else {
            let mut table = Table::new(["AWAITS", "ID", "NAME", "STATE", "AT"]);
            for awaited in &stack.awaits {
                table.row([
                    awaited.kind.as_str().into(),
                    awaited.id.map_or_else(String::new, |id| id.to_string()).into(),
                    name(awaited, &description).unwrap_or_default().into(),
                    state(awaited, &description).into(),
                    awaited.position.as_str().into(),
                ]);
            }
            context.output.table(&table)?;
        }
        connection.close().await
    }
}

/// Gives the name of what is awaited: what the code does not keep is known from the run.
fn name(awaited: &Awaited, description: &Description) -> Option<String> {
    let activity = description.activities.iter().find(|activity| Some(activity.activity_id) == awaited.id);
    let of_activity = activity.filter(|_| awaited.kind == AwaitedKind::Activity).map(|it| it.activity_type.clone());
    awaited.name.clone().or(of_activity)
}

/// Says how it is with what is awaited.
fn state(awaited: &Awaited, description: &Description) -> String {
    let now = description.run.now;
    let mut state = match awaited.kind {
        AwaitedKind::Activity => {
            let activity = description.activities.iter().find(|activity| Some(activity.activity_id) == awaited.id);
            activity.map_or_else(String::new, |it| match (&it.worker, it.next_attempt_at) {
                _ if it.paused => format!("attempt {} is paused", it.attempt),
                _ if it.asynchronous => format!("attempt {} is completed from outside", it.attempt),
                (_, Some(next)) => format!("attempt {} {}", it.attempt, relative(next, now)),
                (Some(worker), None) => format!("attempt {} on {worker}", it.attempt),
                (None, None) => format!("attempt {} waits for a worker", it.attempt),
            })
        }
        AwaitedKind::Timer => fires(awaited, description).map_or_else(String::new, |at| relative(at, now)),
        AwaitedKind::LocalActivity
        | AwaitedKind::Child
        | AwaitedKind::Delivery
        | AwaitedKind::Signal
        | AwaitedKind::Update
        | AwaitedKind::Cancellation => String::new(),
    };
    if awaited.canceling {
        state = if state.is_empty() { "canceling".to_owned() } else { format!("{state}, canceling") };
    }
    state
}

fn fires(awaited: &Awaited, description: &Description) -> Option<dacapo_core::Timestamp> {
    description.timers.iter().find(|(id, _)| Some(*id) == awaited.id).map(|(_, at)| *at)
}

fn as_json(awaited: &Awaited, description: &Description) -> Value {
    json!({
        "kind": awaited.kind,
        "id": awaited.id,
        "name": name(awaited, description),
        "canceling": awaited.canceling,
        "position": awaited.position,
        "fires_at": fires(awaited, description).filter(|_| awaited.kind == AwaitedKind::Timer).map(rfc3339),
    })
}
