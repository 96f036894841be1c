//! `activity …`: what operators do to a single activity, and its completion from outside.

use clap::{Args, Subcommand};
use dacapo_core::{ActivityId, ActivityResult, ActivityToken, Failure, RunId};
use dacapo_runtime::{Client, WorkflowExecution};
use serde_json::json;

use super::{
    Context,
    args::read_payload,
    exit::{Exit, Stop},
};

/// Completes, fails, retries, pauses or unpauses an activity that has not ended
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  dacapo activity retry order-42 3\n\n`dacapo describe order-42` lists the activities with their ids."
)]
pub(crate) struct Activity {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Ends it with a value: one that completes from outside, or one whose worker will not
    #[command(after_help = "Example:\n  dacapo activity complete order-42 3 -i '{\"approved\":true}'")]
    Complete {
        #[command(flatten)]
        which: Which,
        /// The value: JSON, `@file`, or `-` for stdin
        #[arg(short, long, value_name = "JSON|@FILE|-")]
        input: Option<String>,
    },
    /// Lets its attempt fail; another one follows if its retry policy has one
    #[command(after_help = "Example:\n  dacapo activity fail order-42 3 --message 'the bank said no' --non-retryable")]
    Fail {
        #[command(flatten)]
        which: Which,
        /// What went wrong, in words
        #[arg(long, value_name = "TEXT")]
        message: String,
        /// The type of the failure, which retry policies and workflows know it by
        #[arg(long = "type", value_name = "TYPE", default_value = "Operator")]
        error_type: String,
        /// Let no other attempt follow
        #[arg(long)]
        non_retryable: bool,
        /// More for the workflow: JSON, `@file`, or `-` for stdin
        #[arg(long, value_name = "JSON|@FILE|-")]
        details: Option<String>,
    },
    /// Begins the attempt at once that waits for its time, and counts attempts from there
    #[command(after_help = "Example:\n  dacapo activity retry order-42 3")]
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Holds its next attempt; one that runs goes on
    #[command(after_help = "Example:\n  dacapo activity pause order-42 3")]
    Pause {
        #[command(flatten)]
        which: Which,
    },
    /// Lets its attempts begin again, a waiting one at once
    #[command(after_help = "Example:\n  dacapo activity unpause order-42 3")]
    Unpause {
        #[command(flatten)]
        which: Which,
    },
}

/// Which activity: by workflow id and number, or by the token that its attempt was given.
#[derive(Debug, Clone, Args)]
struct Which {
    /// The workflow id
    #[arg(value_name = "ID", required_unless_present = "token", requires = "activity_id")]
    workflow_id: Option<String>,
    /// The activity's number in it
    #[arg(value_name = "ACTIVITY_ID")]
    activity_id: Option<ActivityId>,
    /// One run of it instead of the newest
    #[arg(long, value_name = "RUN_ID", conflicts_with = "token")]
    run_id: Option<RunId>,
    /// The token of an attempt, instead of both
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["workflow_id", "activity_id"])]
    token: Option<ActivityToken>,
}

/// An activity that has not ended.
struct Found {
    run: WorkflowExecution,
    token: ActivityToken,
}

impl Which {
    /// Finds the activity, and sees to it that it has not ended.
    async fn find(&self, client: &Client) -> Result<Found, Stop> {
        let (execution, activity_id) = match (&self.token, &self.workflow_id, self.activity_id) {
            (Some(token), ..) => {
                let described = client.store().describe(token.run).await?;
                let info = described.map(|run| run.info).filter(|info| info.namespace == *client.namespace());
                let Some(info) = info else {
                    let problem = format!("no run in namespace `{}` has given the token {token}", client.namespace());
                    return Err(Stop::new(Exit::NotFound, problem));
                };
                (WorkflowExecution::run(info.workflow_id, token.run.run_id), token.activity_id)
            }
            (None, Some(id), Some(activity_id)) => {
                (WorkflowExecution { run_id: self.run_id, ..WorkflowExecution::newest(id.as_str()) }, activity_id)
            }
            (None, ..) => return Err(Stop::new(Exit::Invalid, "name a workflow id and an activity id, or a token")),
        };
        let description = client.describe(&execution).await?;
        let info = &description.run.info;
        let workflow_id = &info.workflow_id;
        let pending = description.activities.iter().find(|activity| activity.activity_id == activity_id);
        let Some(pending) = pending else {
            let known: Vec<String> = description.activities.iter().map(|it| it.activity_id.to_string()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let problem =
                format!("workflow `{workflow_id}` has no activity {activity_id} that has not ended; it has {known}");
            return Err(Stop::new(Exit::NotFound, problem));
        };
        if let Some(token) = self.token.filter(|token| token.attempt != pending.attempt) {
            let (given, current) = (token.attempt, pending.attempt);
            let problem = format!(
                "attempt {given} of activity {activity_id} of workflow `{workflow_id}` is over, attempt {current} is the \
                 current one: name the activity by `{workflow_id} {activity_id}`"
            );
            return Err(Stop::new(Exit::Conflict, problem));
        }
        let token = ActivityToken { run: info.key, activity_id, attempt: pending.attempt };
        Ok(Found { run: WorkflowExecution::run(workflow_id.clone(), info.key.run_id), token })
    }
}

impl Activity {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        // What can be wrong without a database is refused before one is asked.
        let (which, act) = match self.action {
            Action::Complete { which, input } => {
                let result = read_payload("activity result", input.as_deref())?;
                (which, Act::End("completed", ActivityResult::Completed(result)))
            }
            Action::Fail { which, message, error_type, non_retryable, details } => {
                let details = details.map(|it| read_payload("failure details", Some(&it))).transpose()?;
                let failure = Failure { non_retryable, details, ..Failure::application(error_type, message) };
                (which, Act::End("failed", ActivityResult::Failed(failure)))
            }
            Action::Retry { which } => (which, Act::Retry),
            Action::Pause { which } => (which, Act::Pause),
            Action::Unpause { which } => (which, Act::Unpause),
        };
        let connection = context.connect().await?;
        let client = connection.client();
        let Found { run, token } = which.find(client).await?;
        let what = match act {
            Act::End(what, result) => {
                client.complete_activity(token, result).await?;
                what
            }
            Act::Retry => {
                client.retry_activity(&run, token.activity_id).await?;
                "retried"
            }
            Act::Pause => {
                client.pause_activity(&run, token.activity_id).await?;
                "paused"
            }
            Act::Unpause => {
                client.unpause_activity(&run, token.activity_id).await?;
                "unpaused"
            }
        };
        let WorkflowExecution { workflow_id, run_id, .. } = &run;
        let (activity_id, attempt) = (token.activity_id, token.attempt);
        if context.output.json {
            context.output.value(&json!({
                "workflow_id": workflow_id, "run_id": run_id, "activity_id": activity_id, "attempt": attempt, "done": what,
            }))?;
        } else {
            context.output.note(&format!("{what}: activity {activity_id} of {workflow_id}, attempt {attempt}"));
        }
        connection.close().await
    }
}

/// What is done to an activity.
enum Act {
    /// Its attempt ends.
    End(&'static str, ActivityResult),
    Retry,
    Pause,
    Unpause,
}
