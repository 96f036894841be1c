//! `dead`: what goes on by itself no more, or only fails, and its retry by hand.

use std::collections::HashSet;

use clap::{Args, Subcommand};
use dacapo_core::{
    ActivityId,
    store::{DeadLetter, DeadLetterFilter, DeadLetterKind},
};
use dacapo_runtime::{Client, Retried};
use serde_json::{Value, json};

use super::{
    Context,
    exit::{Exit, Stop},
    output::Tone,
    table::{Cell, Table},
    time::{relative, rfc3339},
};

/// The dead letters that one read takes.
const PAGE: i64 = 500;

/// Lists what goes on by itself no more, or only fails, with the way out, and retries it
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = "Example:\n  dacapo dead\n  dacapo dead retry order-42")]
pub(crate) struct Dead {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    ls: Ls,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Lists them, oldest run first; `dacapo dead` does the same
    #[command(after_help = "Example:\n  dacapo dead ls --kind activity --type checkout")]
    Ls(Ls),
    /// Retries them: a workflow task at once, a parked run on another worker, an activity by a reset to before its failure
    #[command(after_help = "Example:\n  dacapo dead retry order-42 --reason 'the bank is back'")]
    Retry(Retry),
}

#[derive(Debug, Clone, Args)]
struct Which {
    /// Only of this kind: workflowtask, parkedrun, activity
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    kind: Option<DeadLetterKind>,
    /// Only of runs of this workflow type
    #[arg(long = "type", value_name = "TYPE")]
    workflow_type: Option<String>,
    /// Only of runs on this queue
    #[arg(short, long, value_name = "QUEUE")]
    queue: Option<String>,
}

impl Which {
    fn filter(&self, workflow_id: Option<&str>) -> DeadLetterFilter {
        DeadLetterFilter {
            namespace: None,
            kind: self.kind,
            workflow_type: self.workflow_type.as_deref().map(Into::into),
            task_queue: self.queue.as_deref().map(Into::into),
            workflow_id: workflow_id.map(Into::into),
            after: None,
        }
    }
}

fn parse_kind(text: &str) -> Result<DeadLetterKind, String> {
    DeadLetterKind::parse(text).ok_or_else(|| {
        let known: Vec<String> = DeadLetterKind::ALL.iter().map(|kind| kind.as_str().to_lowercase()).collect();
        format!("is none of {}", known.join(", "))
    })
}

#[derive(Debug, Clone, Args)]
struct Ls {
    #[command(flatten)]
    which: Which,
    /// Only of this workflow id
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How many at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    limit: i64,
}

#[derive(Debug, Clone, Args)]
struct Retry {
    /// The workflow id
    #[arg(value_name = "ID", required_unless_present = "all")]
    workflow_id: Option<String>,
    /// Only this activity of it
    #[arg(long, value_name = "ACTIVITY_ID", requires = "workflow_id")]
    activity: Option<ActivityId>,
    /// Everything that the filters let through, instead of one workflow
    #[arg(long, conflicts_with = "workflow_id")]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "retried by hand")]
    reason: String,
}

impl Dead {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        match self.action.unwrap_or(Action::Ls(self.ls)) {
            Action::Ls(ls) => ls.run(context).await,
            Action::Retry(retry) => retry.run(context).await,
        }
    }
}

impl Ls {
    async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let client = connection.client();
        let filter = self.which.filter(self.id.as_deref());
        // One more than is shown, to know whether there are more.
        let mut letters = client.dead_letters(filter, self.limit + 1).await?;
        let more = i64::try_from(letters.len()).is_ok_and(|found| found > self.limit);
        letters.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        if context.output.json {
            context.output.value(&letters.iter().map(as_json).collect())?;
            return connection.close().await;
        }
        let (now, _) = client.store().clock().await?;
        let mut table = Table::new(["KIND", "WORKFLOW ID", "TYPE", "ACTIVITY", "SINCE", "ATTEMPTS", "FAILURE"]);
        for letter in &letters {
            let activity =
                letter.activity_id.map(|id| format!("{} #{id}", letter.activity_type.as_deref().unwrap_or("")));
            table.row([
                Cell::from(letter.kind.as_str()).tone(Tone::Bad),
                letter.workflow_id.to_string().into(),
                letter.workflow_type.to_string().into(),
                activity.unwrap_or_default().into(),
                relative(letter.since, now).into(),
                letter.attempts.to_string().into(),
                format!("{}: {}", letter.failure.error_type, letter.failure.message).into(),
            ]);
        }
        context.output.table(&table)?;
        let mut said = HashSet::new();
        for letter in letters.iter().filter(|letter| said.insert(letter.kind)) {
            context.output.note(&format!("{}: {}", letter.kind.as_str(), letter.way_out()));
        }
        if more {
            context.output.note(&format!("there are more than {}: see them with `--limit`, or filter", self.limit));
        }
        connection.close().await
    }
}

impl Retry {
    async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let client = connection.client();
        let mut letters = self.letters(client).await?;
        // A reset for the activity that failed first takes back those that failed after it in the same run.
        letters.sort_by_key(|letter| letter.since);
        let mut retried = HashSet::new();
        let mut shown = Vec::new();
        for letter in letters.iter().filter(|letter| retried.insert(letter.run_id)) {
            let (done, run_id) = match client.retry_dead_letter(letter, &self.reason).await? {
                Retried::Woken => ("woken", letter.run_id),
                Retried::Reset(branched) => ("reset", branched.run.run_id),
            };
            if !context.output.json {
                context.output.line(&format!("{done} {} {run_id}", letter.workflow_id))?;
            }
            shown.push(json!({"workflow_id": letter.workflow_id, "run_id": run_id, "done": done}));
        }
        if context.output.json {
            context.output.value(&shown.into())?;
        }
        connection.close().await
    }

    async fn letters(&self, client: &Client) -> Result<Vec<DeadLetter>, Stop> {
        let mut filter = self.which.filter(self.workflow_id.as_deref());
        let mut letters = Vec::new();
        loop {
            let page = client.dead_letters(filter.clone(), PAGE).await?;
            let Some(last) = page.last() else { break };
            filter.after = Some(last.place());
            letters.extend(page);
        }
        letters.retain(|letter| self.activity.is_none_or(|activity_id| letter.activity_id == Some(activity_id)));
        if letters.is_empty() {
            let whose = self.workflow_id.as_ref().map(|id| format!(" of `{id}`")).unwrap_or_default();
            let problem = format!("there is no dead letter{whose} to retry: see what there is with `dacapo dead`");
            return Err(Stop::new(Exit::NotFound, problem));
        }
        Ok(letters)
    }
}

fn as_json(letter: &DeadLetter) -> Value {
    json!({
        "kind": letter.kind.as_str(),
        "workflow_id": letter.workflow_id,
        "run_id": letter.run_id,
        "workflow_type": letter.workflow_type,
        "task_queue": letter.task_queue,
        "status": letter.status.as_str(),
        "activity_id": letter.activity_id,
        "activity_type": letter.activity_type,
        "since": rfc3339(letter.since),
        "attempts": letter.attempts,
        "failure": letter.failure,
        "way_out": letter.way_out(),
    })
}
