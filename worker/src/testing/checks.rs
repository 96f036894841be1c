//! What is checked when a test is over: every history replays, and no workflow task fails unheard.

use dacapo_core::store::RunFilter;
use dacapo_runtime::WorkflowExecution;

use super::schedule::Schedule;
use crate::{client::Client, registry::Registry, replayer::Replayer};

/// The runs that one test may start and have checked.
const RUNS_MAX: i64 = 1_000_000;

/// What the end of a test has checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// The runs whose histories were replayed.
    pub runs: usize,
    /// The events of those histories.
    pub events: usize,
    /// The prefixes that were replayed beside the whole histories.
    pub prefixes: usize,
}

/// Replays every run of the client's namespace; gives what was checked and what went wrong.
pub(super) async fn check(client: &Client, registry: &Registry, schedule: &Schedule) -> (Checked, Vec<String>) {
    let mut checked = Checked::default();
    let mut problems = Vec::new();
    let replayer = Replayer::new().registry(registry.clone()).every_prefix();
    let untyped = client.untyped();
    let runs = match untyped.list(RunFilter::default(), RUNS_MAX).await {
        Ok(runs) => runs,
        Err(error) => return (checked, vec![format!("the runs cannot be listed: {error}")]),
    };
    for run in runs {
        let events = match untyped.history(run.key, 1).await {
            Ok(events) => events,
            Err(error) => {
                problems.push(format!("the history of `{}` cannot be read: {error}", run.workflow_id));
                continue;
            }
        };
        match replayer.replay_history(&events) {
            Ok(replayed) => {
                checked.runs += 1;
                checked.events += replayed.events;
                checked.prefixes += replayed.prefixes;
            }
            Err(error) => problems.push(error.to_string()),
        }
        let execution = WorkflowExecution::run(run.workflow_id.clone(), run.key.run_id);
        if !schedule.was_told(run.key)
            && let Ok(description) = untyped.describe(&execution).await
            && let Some(problem) = description.run.problem
        {
            let message = problem.failure.message;
            problems.push(format!("the workflow task of `{}` fails: {message}", run.workflow_id));
        }
    }
    (checked, problems)
}

/// Panics with everything that went wrong.
#[track_caller]
pub(super) fn report((checked, mut problems): (Checked, Vec<String>), planned: Vec<String>) -> Checked {
    problems.extend(planned);
    assert!(problems.is_empty(), "the test is over, and not all is well:\n{}", problems.join("\n"));
    checked
}
