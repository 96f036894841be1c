//! `signal`, `query`, `cancel`, `terminate`, `pause`, `unpause`: what is said to a run, and asked of it.

use clap::Args;
use serde_json::json;

use super::{
    Context,
    args::{Target, read_payload},
    exit::Stop,
    json as shown,
};

/// Sends a signal to a workflow
#[derive(Debug, Clone, Args)]
pub(crate) struct Signal {
    #[command(flatten)]
    target: Target,
    /// The signal
    #[arg(value_name = "NAME")]
    name: String,
    /// Its value: JSON, `@file`, or `-` for stdin
    #[arg(short, long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
}

impl Signal {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let input = read_payload("signal input", self.input.as_deref())?;
        let connection = context.connect().await?;
        connection.client().signal(&self.target.execution(), &self.name, input).await?;
        done(context, &self.target, "signaled")?;
        connection.close().await
    }
}

/// Reads a value that a workflow publishes
#[derive(Debug, Clone, Args)]
pub(crate) struct Query {
    #[command(flatten)]
    target: Target,
    /// The value; without one, the names of all values are printed
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl Query {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let execution = self.target.execution();
        match &self.name {
            Some(name) => {
                let value = connection.client().query(&execution, name).await?;
                if context.output.json {
                    context.output.value(&shown::payload(&value))?;
                } else {
                    context.output.line(value.as_json())?;
                }
            }
            None => {
                let names = connection.client().published_names(&execution).await?;
                if context.output.json {
                    context.output.value(&json!(names))?;
                } else {
                    names.iter().try_for_each(|name| context.output.line(name))?;
                }
            }
        }
        connection.close().await
    }
}

/// Asks a workflow to cancel itself
#[derive(Debug, Clone, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    target: Target,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

impl Cancel {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        connection.client().cancel(&self.target.execution(), &self.reason).await?;
        done(context, &self.target, "cancel requested")?;
        connection.close().await
    }
}

/// Ends a workflow at once, without asking its code
#[derive(Debug, Clone, Args)]
pub(crate) struct Terminate {
    #[command(flatten)]
    target: Target,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

impl Terminate {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        connection.client().terminate(&self.target.execution(), &self.reason).await?;
        done(context, &self.target, "terminated")?;
        connection.close().await
    }
}

/// Holds a workflow: its code does not run until `unpause`; signals, timers and activities go on and are recorded
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  dacapo pause order-42 --reason 'the bank is down'")]
pub(crate) struct Pause {
    #[command(flatten)]
    target: Target,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

impl Pause {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        connection.client().pause(&self.target.execution(), &self.reason).await?;
        done(context, &self.target, "paused")?;
        connection.close().await
    }
}

/// Lets a workflow go on that is paused
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  dacapo unpause order-42")]
pub(crate) struct Unpause {
    #[command(flatten)]
    target: Target,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

impl Unpause {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        connection.client().unpause(&self.target.execution(), &self.reason).await?;
        done(context, &self.target, "unpaused")?;
        connection.close().await
    }
}

fn done(context: &Context, target: &Target, what: &str) -> Result<(), Stop> {
    if context.output.json {
        return context.output.value(&json!({"workflow_id": target.workflow_id, "done": what}));
    }
    context.output.note(&format!("{what}: {}", target.workflow_id));
    Ok(())
}
