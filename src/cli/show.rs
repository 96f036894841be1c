//! `show`: the history of a run.

use std::time::Duration;

use clap::Args;
use dacapo_core::{Event, Timestamp};
use serde_json::{Value, json};

use super::{
    Context,
    args::Target,
    exit::Stop,
    json as shown,
    output::{Output, Tone},
    time::{length, rfc3339},
};

/// How often `--follow` looks for new events.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The attributes of an event that a line shows; `--json` shows all.
const ATTRIBUTES_CHARS_MAX: usize = 140;

/// Prints the history of a workflow
#[derive(Debug, Clone, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    target: Target,
    /// Print new events as they come, until the run is closed; with `--json` one event a line
    #[arg(short, long)]
    follow: bool,
}

impl Show {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let client = connection.client();
        let info = client.resolve(&self.target.execution()).await?;
        let mut events = client.history(info.key, 1).await?;
        if context.output.json && !self.follow {
            // Read again, so that the status is not older than the last event.
            let info = client.resolve(&self.target.execution()).await.unwrap_or(info);
            let events: Vec<Value> = events.iter().map(shown::event).collect();
            context.output.value(&json!({"run": shown::run(&info), "events": events}))?;
            return connection.close().await;
        }
        let Some(began) = events.first().map(|event| event.event_time) else { return connection.close().await };
        if !context.output.json {
            let title = format!("{} {} {}", info.workflow_id, info.workflow_type, info.key.run_id);
            context.output.line(&format!("{title}, started {}", rfc3339(began)))?;
        }
        let mut next = 1;
        loop {
            for event in &events {
                print(context.output, event, began)?;
                next = event.event_id + 1;
            }
            if !self.follow || events.last().is_some_and(|event| event.event.closes()) {
                return connection.close().await;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                _ = tokio::signal::ctrl_c() => return connection.close().await,
            }
            events = client.history(info.key, next).await?;
        }
    }
}

fn print(output: Output, event: &Event, began: Timestamp) -> Result<(), Stop> {
    let value = shown::event(event);
    if output.json {
        return output.value(&value);
    }
    output.line(&line(output, event, &value["attributes"], began))
}

fn line(output: Output, event: &Event, attributes: &Value, began: Timestamp) -> String {
    let name = event.event.name();
    let since = format!("+{}", length(event.event_time.since(began)));
    let name = output.paint(tone(event), &format!("{name:<34}"));
    let text = format!("{:>5} {since:>9}  {name} {}", event.event_id, summary(attributes));
    text.trim_end().to_owned()
}

/// Gives the color of an event.
fn tone(event: &Event) -> Tone {
    let name = event.event.name();
    if name.ends_with("Failed") || name.ends_with("TimedOut") {
        Tone::Bad
    } else if event.event.closes() {
        Tone::Good
    } else if name.starts_with("WorkflowTask") {
        Tone::Faint
    } else {
        Tone::Active
    }
}

/// The attributes that a line leaves out: what the title says, or what only programs look for.
const NOT_SHOWN: [&str; 9] = [
    "correlation_id",
    "identity",
    "message_id",
    "namespace",
    "run_id",
    "scheduled_event_id",
    "semantics_version",
    "started_event_id",
    "workflow_id",
];

/// Writes attributes as `name=value`, cut to a line.
pub(crate) fn summary(attributes: &Value) -> String {
    let Value::Object(fields) = attributes else { return String::new() };
    let parts: Vec<String> = fields
        .iter()
        .filter(|(name, _)| !NOT_SHOWN.contains(&name.as_str()))
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    let text: String = parts.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(ATTRIBUTES_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use dacapo_core::{
        EventKind, Payload,
        event::{ActivityTaskCompleted, WorkflowTaskScheduled},
    };
    use expect_test::expect;

    use super::*;
    use crate::cli::args::ColorWhen;

    #[test]
    fn an_event_is_a_line() {
        let output = Output::new(false, ColorWhen::Never);
        let result = Payload::encode("result", &"x".repeat(200)).unwrap();
        let events = [
            EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled { attempt: 1 }),
            EventKind::ActivityTaskCompleted(ActivityTaskCompleted { activity_id: 1, scheduled_event_id: 5, result }),
        ];
        let lines: Vec<String> = (2..)
            .zip(events)
            .map(|(event_id, event)| Event { event_id, event_time: Timestamp(event_id * 1_000), event })
            .map(|event| format!("|{}", line(output, &event, &shown::event(&event)["attributes"], Timestamp(0))))
            .collect();
        expect![[r#"
            |    2      +2ms  WorkflowTaskScheduled              attempt=1
            |    3      +3ms  ActivityTaskCompleted              activity_id=1 result=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"#]]
        .assert_eq(&lines.join("\n"));
    }
}
