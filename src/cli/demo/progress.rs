//! What the team does, for whoever watches: stages, subtasks, reviews.

use std::{collections::BTreeMap, time::Duration};

use dacapo_runtime::{Client, WorkflowExecution};
use dacapo_workflows::multi_agent_task::{SubtaskStatus, TeamState};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::{Output, Tone};

/// How often the state is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The name of the published state.
const STATE: &str = "state";

/// Shows what a task does until it is dropped.
pub(super) async fn watch(output: Output, client: &Client, execution: &WorkflowExecution) {
    if !output.watched {
        return std::future::pending().await;
    }
    let bar = ProgressBar::new(100);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos:>3} %  {elapsed}  {msg}") {
        bar.set_style(style);
    }
    let _clear = ClearOnDrop(bar.clone());
    bar.enable_steady_tick(LOOK_INTERVAL);
    let mut seen = Seen::default();
    loop {
        // Progress is for people: when a look fails, the next one may not.
        if let Ok(payload) = client.query(execution, STATE).await
            && let Ok(state) = payload.decode::<TeamState>(STATE)
        {
            for line in seen.news(&state) {
                bar.println(line);
            }
            bar.set_position(u64::from(state.progress));
            bar.set_message(working(&state));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Leaves the terminal as it was, also when the watching is given up.
struct ClearOnDrop(ProgressBar);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What has been shown.
#[derive(Default)]
struct Seen {
    stage: Option<String>,
    subtasks: BTreeMap<String, SubtaskStatus>,
    reviews: usize,
}

impl Seen {
    /// Says what is new, a line each.
    fn news(&mut self, state: &TeamState) -> Vec<String> {
        let mut lines = Vec::new();
        let stage = word(&state.current_stage);
        if self.stage.as_ref() != Some(&stage) {
            let cycle = if state.cycle > 0 { format!(", cycle {}", state.cycle) } else { String::new() };
            lines.push(Tone::Active.paint(&format!("{stage}{cycle}")));
            self.stage = Some(stage);
        }
        for subtask in &state.subtasks {
            let before = self.subtasks.insert(subtask.subtask_id.clone(), subtask.status);
            let begun = matches!(subtask.status, SubtaskStatus::InProgress | SubtaskStatus::Failed);
            if before != Some(subtask.status) && begun {
                let status = word(&subtask.status);
                lines.push(format!("  {} {} {status}: {}", subtask.subtask_id, subtask.agent, subtask.title));
            }
        }
        for review in state.reviews.get(self.reviews..).unwrap_or_default() {
            let score = format!("{}.{:02} of 100", review.score / 100, review.score % 100);
            let verdict = word(&review.verdict);
            lines.push(format!("  {} {} reviewed: {verdict}, {score}", review.subtask_id, review.agent));
        }
        self.reviews = state.reviews.len();
        lines
    }
}

fn working(state: &TeamState) -> String {
    let busy: Vec<&str> = state
        .subtasks
        .iter()
        .filter(|subtask| subtask.status == SubtaskStatus::InProgress)
        .map(|subtask| subtask.agent.as_str())
        .collect();
    if busy.is_empty() { word(&state.current_stage) } else { busy.join(", ") }
}

/// Writes a stored word with blanks.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " ").to_lowercase(),
        _ => String::new(),
    }
}
