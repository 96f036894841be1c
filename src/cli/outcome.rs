//! Waiting for a run's end in a terminal: progress on stderr, the result on stdout, the exit code.

use std::time::Duration;

use dacapo_core::{Event, EventKind, Failure, Run, RunKey, RunStatus, WorkflowId, store::RunResult};
use dacapo_runtime::Client;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    exit::{Exit, Stop},
    json,
    output::Output,
};

/// How often the progress looks at the history.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// How often somebody who does not watch is told of trouble.
const SLOW_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often the spinner turns.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// The activities that the progress names; more become a number.
const NAMED_ACTIVITIES: usize = 3;

/// Waits for a run with progress for whoever watches, prints its result, and stops with an exit code of its own when it
/// did not complete.
pub(crate) async fn await_result(
    output: Output,
    client: &Client,
    workflow_id: &WorkflowId,
    run: RunKey,
) -> Result<(), Stop> {
    // Dropping the branches that lose gives up a wait, a look and a signal handler; nothing depends on them.
    let result = tokio::select! {
        result = client.result_of(run) => result?,
        () = watch(output, client, run) => client.result_of(run).await?,
        _ = tokio::signal::ctrl_c() => {
            let goes_on = format!("the workflow goes on; its result: dacapo result {workflow_id} --run-id {}", run.run_id);
            return Err(Stop::new(Exit::Interrupted, goes_on));
        }
    };
    print(output, workflow_id, run, &result)
}

/// Prints the end of a run.
fn print(output: Output, workflow_id: &WorkflowId, run: RunKey, result: &RunResult) -> Result<(), Stop> {
    if output.json {
        output.value(&json::result(workflow_id.as_str(), run.run_id, result))?;
    } else if result.status == RunStatus::Completed {
        output.line(result.result.as_ref().map_or("null", |value| value.as_json()))?;
    } else {
        output.note(&ending(workflow_id, result));
    }
    match result.status {
        RunStatus::Completed => Ok(()),
        _ => Err(Stop::said(Exit::WorkflowFailed)),
    }
}

/// Says how a run ended that did not complete.
fn ending(workflow_id: &WorkflowId, result: &RunResult) -> String {
    let how = match result.status {
        RunStatus::TimedOut => "timed out",
        RunStatus::ContinuedAsNew => "continued as new",
        RunStatus::Canceled => "was canceled",
        RunStatus::Terminated => "was terminated",
        RunStatus::Running | RunStatus::Completed | RunStatus::Failed => "failed",
    };
    let mut text = format!("workflow `{workflow_id}` {how}");
    let mut failure = result.failure.as_ref();
    while let Some(Failure { message, error_type, cause, .. }) = failure {
        let kind = if error_type.is_empty() { String::new() } else { format!("{error_type}: ") };
        text = format!("{text}: {kind}{message}");
        failure = cause.as_deref();
    }
    text
}

/// Shows what a run does until it is closed; when nobody watches, only that its code cannot be run.
async fn watch(output: Output, client: &Client, key: RunKey) {
    let bar = if output.watched { spinner() } else { ProgressBar::hidden() };
    let interval = if output.watched { LOOK_INTERVAL } else { SLOW_LOOK_INTERVAL };
    let mut folded: Option<Run> = None;
    loop {
        let from = folded.as_ref().map_or(1, |run| run.next_event_id);
        // Progress is for people: when a look fails, the next one may not.
        if let Ok(events) = client.history(key, from).await {
            for event in &events {
                if let Some(trouble) = trouble(&event.event) {
                    bar.suspend(|| output.note(&trouble));
                }
            }
            fold(&mut folded, &events);
        }
        if let Some(run) = &folded {
            bar.set_message(progress(run));
            if run.status != RunStatus::Running {
                bar.finish_and_clear();
                return;
            }
        }
        tokio::time::sleep(interval).await;
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK_INTERVAL);
    bar
}

/// Says that a workflow's code cannot be run, so that whoever waits knows why nothing happens.
fn trouble(event: &EventKind) -> Option<String> {
    let (how, failure) = match event {
        EventKind::WorkflowTaskFailed(failed) => (format!("failed ({:?})", failed.cause), &failed.failure),
        EventKind::WorkflowTaskTimedOut(timed_out) => ("timed out".to_owned(), &timed_out.failure),
        _ => return None,
    };
    Some(format!("the workflow task {how} and is tried again: {}", failure.message))
}

fn fold(run: &mut Option<Run>, events: &[Event]) {
    for event in events {
        let folded = match run {
            None => Run::begin(event).map(|begun| *run = Some(begun)),
            Some(run) => run.fold(event),
        };
        if folded.is_err() {
            return;
        }
    }
}

/// Says in a line what a run waits for.
fn progress(run: &Run) -> String {
    let mut parts = vec![format!("{} events", run.next_event_id - 1)];
    let names: Vec<&str> = run
        .activities
        .values()
        .take(NAMED_ACTIVITIES)
        .map(|activity| activity.scheduled.activity_type.as_str())
        .collect();
    if !names.is_empty() {
        let more = run.activities.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(format!("{}{more}", names.join(", ")));
    }
    let timers = run.timers.values().filter(|timer| timer.started_event_id > 0).count();
    if timers > 0 {
        parts.push(format!("{timers} timers"));
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use dacapo_core::Timestamp;

    use super::*;

    #[test]
    fn a_failure_is_told_with_its_causes() {
        let mut failure = Failure::application("CardRefused", "no funds");
        failure.cause = Some(Box::new(Failure::application("Error", "code 51")));
        let result = RunResult {
            status: RunStatus::Failed,
            result: None,
            failure: Some(failure),
            closed_at: Timestamp(0),
            successor: None,
        };
        assert_eq!(
            ending(&"order-1".into(), &result),
            "workflow `order-1` failed: CardRefused: no funds: Error: code 51"
        );
    }
}
