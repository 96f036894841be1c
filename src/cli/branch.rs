//! `reset` and `fork`: another run that begins with a part of a run's history.

use clap::Args;
use dacapo_core::{
    ActivityId, WorkflowId,
    branch::{Edit, Reapply, ResetPoint},
};
use dacapo_runtime::{Branched, ForkOptions, ResetOptions};
use serde_json::json;

use super::{
    Context,
    args::{Target, read_payload},
    exit::Stop,
};

/// Where the new run begins.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
struct Point {
    /// At a start or end of a workflow task, which is run again
    #[arg(long, value_name = "EVENT_ID")]
    to_event: Option<i64>,
    /// At the first workflow task: everything is done again
    #[arg(long)]
    to_first: bool,
    /// At the last workflow task that was completed
    #[arg(long)]
    to_last: bool,
    /// At the workflow task that asked for the first activity of this type
    #[arg(long, value_name = "TYPE")]
    before_activity: Option<String>,
    /// Right before the failure of this activity, which gets all its attempts once more
    #[arg(long, value_name = "ACTIVITY_ID")]
    before_failure: Option<ActivityId>,
}

impl Point {
    fn into_point(self) -> Option<ResetPoint> {
        let Self { to_event, to_first, to_last, before_activity, before_failure } = self;
        to_event
            .map(ResetPoint::Event)
            .or(to_first.then_some(ResetPoint::FirstWorkflowTask))
            .or(to_last.then_some(ResetPoint::LastWorkflowTask))
            .or(before_activity.map(ResetPoint::BeforeActivity))
            .or(before_failure.map(ResetPoint::BeforeFailure))
    }
}

/// What both say beside the point.
#[derive(Debug, Clone, Args)]
struct Terms {
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Leave the signals and updates behind that the run got after the point
    #[arg(long)]
    no_reapply: bool,
    /// The id of this request: sent again, it leads to the same run
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl Terms {
    fn reapply(&self) -> Reapply {
        if self.no_reapply { Reapply::Nothing } else { Reapply::Messages }
    }
}

/// Lets a workflow go on from an earlier point as another run; what was done up to there is not done again
#[derive(Debug, Clone, Args)]
#[command(
    group = clap::ArgGroup::new("where").args(["to_event", "to_first", "to_last", "before_activity", "before_failure"]).required(true),
    after_help = "Example:\n  dacapo reset order-42 --before-activity charge --reason 'the bank was down'"
)]
pub(crate) struct Reset {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    point: Point,
    #[command(flatten)]
    terms: Terms,
}

impl Reset {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        // One of them is there: the command line is refused without.
        let point = self.point.into_point().unwrap_or(ResetPoint::LastWorkflowTask);
        let connection = context.connect().await?;
        let options = ResetOptions { reapply: self.terms.reapply(), request_id: self.terms.request_id };
        let execution = self.target.execution();
        let branched = connection.client().reset(&execution, point, &self.terms.reason, options).await?;
        announce(context, &branched)?;
        connection.close().await
    }
}

/// Begins another workflow with a part of a workflow's history, with other values if wanted; the source is left alone
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  dacapo fork order-42 --as order-42-what-if --result 3='{\"approved\":false}'\n\nWithout a point \
                  the copy ends where the first change is seen."
)]
pub(crate) struct Fork {
    #[command(flatten)]
    target: Target,
    /// The new workflow's id; a fresh one when absent
    #[arg(long = "as", value_name = "NEW_ID")]
    new_id: Option<String>,
    #[command(flatten)]
    point: Point,
    /// Another input: JSON, `@file`, or `-` for stdin
    #[arg(short, long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// Another result of an activity: its number, `=`, and JSON, `@file` or `-`; may be repeated
    #[arg(long = "result", value_name = "ACTIVITY_ID=JSON|@FILE", value_parser = parse_result)]
    results: Vec<(ActivityId, String)>,
    #[command(flatten)]
    terms: Terms,
}

fn parse_result(text: &str) -> Result<(ActivityId, String), String> {
    let (activity_id, result) = text.split_once('=').ok_or("is no `ACTIVITY_ID=JSON`")?;
    let activity_id = activity_id.parse().map_err(|_| format!("`{activity_id}` is no number of an activity"))?;
    Ok((activity_id, result.to_owned()))
}

impl Fork {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let mut edits = Vec::new();
        if let Some(input) = &self.input {
            edits.push(Edit::Input(read_payload("input", Some(input))?));
        }
        for (activity_id, result) in &self.results {
            let result = read_payload(&format!("result of activity {activity_id}"), Some(result))?;
            edits.push(Edit::ActivityResult { activity_id: *activity_id, result });
        }
        let connection = context.connect().await?;
        let options = ForkOptions {
            workflow_id: self.new_id.map(WorkflowId::from),
            point: self.point.into_point(),
            edits,
            reapply: self.terms.reapply(),
            reason: self.terms.reason,
            request_id: self.terms.request_id,
        };
        let branched = connection.client().fork(&self.target.execution(), options).await?;
        announce(context, &branched)?;
        connection.close().await
    }
}

fn announce(context: &Context, branched: &Branched) -> Result<(), Stop> {
    let Branched { workflow_id, run, new } = branched;
    if context.output.json {
        return context.output.value(&json!({"workflow_id": workflow_id, "run_id": run.run_id, "new": new}));
    }
    context.output.line(&format!("{workflow_id} {}", run.run_id))?;
    if !new {
        context.output.note("no new run: the request was carried out before");
    }
    Ok(())
}
