//! `trace`: a run as a tree, with its activities, timers, updates, children and the runs that go on for it.

use std::{
    io::{IsTerminal, stdout},
    time::Duration,
};

use clap::Args;
use dacapo_core::RunStatus;
use dacapo_runtime::Client;
use serde_json::{Value, json};

use super::{
    Context,
    args::Target,
    exit::Stop,
    output::{Output, Tone},
    span::{Kind, Span, Tracer},
    time::{length, rfc3339},
};

/// How often `--follow` looks: often enough to see activities come and go, little work for the database.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Draws what a workflow has done and does, with its children, as a tree
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  dacapo trace order-42 --follow")]
pub(crate) struct Trace {
    #[command(flatten)]
    target: Target,
    /// Draw it again as it changes, until all of it is closed; where stdout is no terminal, draw it once at the end
    #[arg(long)]
    follow: bool,
    /// The runs that are drawn at most, with children and children of children
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

impl Trace {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let client = connection.client();
        let output = context.output;
        let live = self.follow && !output.json && stdout().is_terminal();
        loop {
            let spans = self.look(client).await?;
            let ended = spans.iter().all(Span::has_ended);
            if live {
                // Everything is drawn anew from the upper left corner of an empty screen.
                output.line(&format!("\u{1b}[2J\u{1b}[H{}", render(output, &spans).trim_end()))?;
            }
            if ended || !self.follow {
                if output.json {
                    output.value(&spans.iter().map(as_json).collect())?;
                } else if !live {
                    output.line(render(output, &spans).trim_end())?;
                }
                return connection.close().await;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                _ = tokio::signal::ctrl_c() => return connection.close().await,
            }
        }
    }

    async fn look(&self, client: &Client) -> Result<Vec<Span>, Stop> {
        let info = client.resolve(&self.target.execution()).await?;
        let (now, _) = client.store().clock().await?;
        Tracer::new(client, now, self.limit).chain(info).await
    }
}

fn render(output: Output, spans: &[Span]) -> String {
    let mut text = String::new();
    for span in spans {
        text.push_str(&line(output, span));
        text.push('\n');
        push_children(output, &span.children, "", &mut text);
    }
    text
}

fn push_children(output: Output, spans: &[Span], indent: &str, text: &mut String) {
    for (index, span) in spans.iter().enumerate() {
        let is_last = index + 1 == spans.len();
        let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let branch = output.paint(Tone::Faint, &format!("{indent}{branch}"));
        text.push_str(&format!("{branch}{}\n", line(output, span)));
        push_children(output, &span.children, &format!("{indent}{below}"), text);
    }
}

fn line(output: Output, span: &Span) -> String {
    let what = match span.kind {
        Kind::Workflow => format!("{} {}", span.id, span.name),
        Kind::Activity => format!("{} #{}", span.name, span.id),
        Kind::Timer => format!("timer #{}", span.id),
        Kind::Update => format!("update {} {}", span.name, span.id),
        Kind::Signal => format!("signal {}", span.name),
        Kind::More => span.name.clone(),
    };
    let mut parts = vec![what];
    if !span.status.is_empty() {
        parts.push(output.paint(tone(span), &span.status));
    }
    if span.attempt > 1 {
        parts.push(format!("attempt {}", span.attempt));
    }
    if let Some(took) = span.took {
        parts.push(length(took));
    }
    if !span.note.is_empty() {
        parts.push(output.paint(Tone::Faint, &span.note));
    }
    // Nothing that users wrote may move the rest of the tree.
    parts.join("  ").chars().map(|c| if c.is_control() && c != '\u{1b}' { ' ' } else { c }).collect()
}

fn tone(span: &Span) -> Tone {
    match span.status.as_str() {
        "Completed" | "Fired" | "Sent" => Tone::Good,
        "Failed" | "TimedOut" | "Rejected" => Tone::Bad,
        status if RunStatus::parse(status).is_some_and(|it| it != RunStatus::Running) => Tone::Odd,
        _ => Tone::Active,
    }
}

fn as_json(span: &Span) -> Value {
    json!({
        "kind": span.kind.as_str(),
        "id": span.id,
        "run_id": span.run_id,
        "name": span.name,
        "status": span.status,
        "attempt": span.attempt,
        "started_at": span.started_at.map(rfc3339),
        "took_ms": span.took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        "note": span.note,
        "children": span.children.iter().map(as_json).collect::<Vec<_>>(),
    })
}
