//! `describe`: what a run waits for, and why it does not move.

use clap::Args;
use dacapo_core::{RunStatus, Timestamp, lineage::BranchKind};
use dacapo_runtime::Description;

use super::{
    Context,
    args::Target,
    exit::Stop,
    json,
    list::status_tone,
    output::Output,
    table::Table,
    time::{length, relative, rfc3339},
};

/// Says what a workflow waits for, and why it does not move
#[derive(Debug, Clone, Args)]
pub(crate) struct Describe {
    #[command(flatten)]
    target: Target,
}

impl Describe {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let description = connection.client().describe(&self.target.execution()).await?;
        if context.output.json {
            context.output.value(&json::description(&description))?;
        } else {
            context.output.line(render(context.output, &description).trim_end())?;
        }
        connection.close().await
    }
}

fn render(output: Output, description: &Description) -> String {
    let stored = &description.run;
    let info = &stored.info;
    let now = stored.now;
    let at = |point: Timestamp| relative(point, now);
    let mut lines: Vec<(&str, String)> = vec![
        ("workflow id", info.workflow_id.to_string()),
        ("run id", info.key.run_id.to_string()),
        ("type", info.workflow_type.to_string()),
        ("queue", info.task_queue.to_string()),
        ("status", output.paint(status_tone(info.status), info.status.as_str())),
        ("started", format!("{} ({})", rfc3339(info.started_at), at(info.started_at))),
    ];
    if let Some(closed_at) = info.closed_at {
        lines.push(("closed", format!("{} after {}", rfc3339(closed_at), length(closed_at.since(info.started_at)))));
    }
    lines.push(("events", info.events.to_string()));
    if info.status == RunStatus::Running {
        let owner = match (&description.owner, &stored.owner_identity) {
            (Some(owner), _) => format!("{}, alive, heard of within its lease", owner.identity),
            (None, Some(identity)) => format!("{identity}, gone"),
            (None, None) => "nobody".to_owned(),
        };
        lines.push(("owner", owner));
        if let Some(deadline) = description.deadline {
            lines.push(("deadline", at(deadline)));
        }
    }
    if let Some(end) = &stored.result {
        if let Some(result) = &end.result {
            lines.push(("result", result.as_json().to_owned()));
        }
        if let Some(failure) = &end.failure {
            lines.push(("failure", format!("{}: {}", failure.error_type, failure.message)));
        }
    }
    for (name, value) in [("memo", &info.memo), ("attributes", &info.search_attributes)] {
        lines.extend(value.as_ref().map(|value| (name, value.as_json().to_owned())));
    }
    if let Some(from) = &description.branched_from {
        let what = kind(from.kind);
        let whence = format!("{what} of `{}`, run {}, event {}", from.workflow_id, from.run_id, from.event_id);
        let reason = if from.reason.is_empty() { String::new() } else { format!(": {}", from.reason) };
        lines.push(("branched", whence + &reason));
    }
    for branch in &stored.branches {
        let (what, id) = (kind(branch.kind), &branch.workflow_id);
        lines.push(("branches", format!("{what} `{id}`, run {}, at event {}", branch.run_id, branch.event_id)));
    }
    let waits = description.reasons.iter().map(|reason| ("waits for", reason.sentence(&at)));
    lines.extend(waits.filter(|_| info.status == RunStatus::Running));
    let mut text = String::new();
    let mut last = "";
    for (name, value) in lines {
        let label = if name == last { "" } else { name };
        text.push_str(&format!("{label:<12} {value}\n"));
        last = name;
    }
    text + &activities(output, description) + &timers(output, description)
}

fn kind(kind: BranchKind) -> &'static str {
    match kind {
        BranchKind::Reset => "reset",
        BranchKind::Fork => "fork",
    }
}

fn activities(output: Output, description: &Description) -> String {
    if description.activities.is_empty() {
        return String::new();
    }
    let now = description.run.now;
    let mut table = Table::new(["ACTIVITY", "TYPE", "ATTEMPT", "STATE", "LAST FAILURE"]);
    for activity in &description.activities {
        let mut state = match (activity.next_attempt_at, &activity.worker) {
            _ if activity.paused => "paused".to_owned(),
            _ if activity.asynchronous => "is completed from outside".to_owned(),
            (Some(next), _) => format!("next attempt {}", relative(next, now)),
            (None, Some(worker)) => format!("runs on {worker}"),
            (None, None) => "waits for a worker".to_owned(),
        };
        if activity.cancel_requested {
            state += ", cancel requested";
        }
        table.row([
            activity.activity_id.to_string().into(),
            activity.activity_type.as_str().into(),
            activity.attempt.to_string().into(),
            state.into(),
            activity.last_failure.as_ref().map_or(String::new(), |f| format!("{}: {}", f.error_type, f.message)).into(),
        ]);
    }
    format!("\n{}", table.render(output.color))
}

fn timers(output: Output, description: &Description) -> String {
    if description.timers.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["TIMER", "FIRES", "AT"]);
    for (timer_id, fire_at) in &description.timers {
        table.row([
            timer_id.to_string().into(),
            relative(*fire_at, description.run.now).into(),
            rfc3339(*fire_at).into(),
        ]);
    }
    format!("\n{}", table.render(output.color))
}
