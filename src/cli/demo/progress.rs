//! What the team does, for whoever watches: stages, subtasks, reviews.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use dacapo_runtime::{Client, WorkflowExecution};
use dacapo_workflows::multi_agent_task::{SubtaskStatus, TeamState};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::{Output, Tone};

/// How often the state is read: without a language model a stage takes a few milliseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How often the elapsed time is drawn anew.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// The name of the published state.
const STATE: &str = "state";

/// Shows what a task does.
pub(super) struct Progress<'a> {
    client: &'a Client,
    execution: &'a WorkflowExecution,
    /// Absent when nobody watches.
    bar: Option<ProgressBar>,
    seen: Seen,
}

impl<'a> Progress<'a> {
    /// Begins to show, if somebody watches.
    pub(super) fn new(output: Output, client: &'a Client, execution: &'a WorkflowExecution) -> Self {
        let bar = output.watched.then(|| {
            let bar = ProgressBar::new(100);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos:>3} %  {elapsed}  {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK_INTERVAL);
            bar
        });
        Self { client, execution, bar, seen: Seen::default() }
    }

    /// Shows what happens, until it is dropped.
    pub(super) async fn watch(&mut self) -> Infallible {
        loop {
            self.look().await;
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Shows what has happened since the last look.
    pub(super) async fn look(&mut self) {
        let Some(bar) = &self.bar else { return };
        // Progress is for people: when a look fails, the next one may not.
        let Ok(payload) = self.client.query(self.execution, STATE).await else { return };
        let Ok(state) = payload.decode::<TeamState>(STATE) else { return };
        for line in self.seen.news(&state) {
            bar.println(line);
        }
        bar.set_position(u64::from(state.progress));
        bar.set_message(working(&state));
    }
}

impl Drop for Progress<'_> {
    /// Leaves the terminal as it was, also when the watching is given up.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(stage: &str, status: &str, reviews: serde_json::Value) -> TeamState {
        serde_json::from_value(json!({
            "state": "SPECIALIST_EXECUTION", "status": "in_progress", "current_stage": stage, "progress": 20, "cycle": 0,
            "partial_completion": false, "specialists": ["analyst"], "phases": [["s1"]], "reviews": reviews,
            "subtasks": [{"subtask_id": "s1", "title": "Find it", "agent": "analyst", "status": status, "score": null,
                          "cycle": 1, "dependencies": []}],
        }))
        .unwrap()
    }

    #[test]
    fn only_what_is_new_is_shown() {
        let mut seen = Seen::default();
        let first = seen.news(&state("specialist_execution", "in_progress", json!([])));
        assert!(first[0].contains("specialist execution"), "{first:?}");
        assert_eq!(first[1..], ["  s1 analyst in progress: Find it"]);
        assert!(seen.news(&state("specialist_execution", "in_progress", json!([]))).is_empty());
        let review = json!([{"subtask_id": "s1", "agent": "analyst", "cycle": 0, "score": 8150, "verdict": "ACCEPTED",
                             "feedback": ""}]);
        let last = seen.news(&state("specialist_execution", "accepted", review));
        assert_eq!(last, ["  s1 analyst reviewed: accepted, 81.50 of 100"]);
    }
}
