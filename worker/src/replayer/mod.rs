//! Stored histories against today's code: in tests, and as `dacapo replay` in front of a deployment.
//!
//! A history fits when the code, given the same events, asks for the same things in the same order. Nothing is run but
//! workflow code: no activity begins, nothing is written.

mod error;
mod history;
pub(crate) mod time;

use std::{
    fs,
    path::{Path, PathBuf},
};

use dacapo_core::{Event, Failure, Run, event::WorkflowTaskFailedCause, store::RunFilter};
use dacapo_runtime::{ClientError, WorkflowExecution};

pub use self::{
    error::{Divergence, ReplayError, ReplayedRun},
    history::history_to_json,
};
use crate::{
    client::Client,
    define::WorkflowFn,
    executor::{Prefixes, Verified, failure::Diverged, verify},
    registry::Registry,
};

/// The runs that one list of a replay reads.
const RUNS_AT_ONCE: i64 = 100_000;

/// Replays histories against the workflows that it has.
///
/// ```
/// # use dacapo_worker::{Replayer, ReplayError, WorkflowContext, WorkflowError, workflow};
/// # extern crate dacapo_worker as dacapo;
/// #[workflow]
/// async fn hello(_ctx: WorkflowContext, name: String) -> Result<String, WorkflowError> {
///     Ok(format!("hello {name}"))
/// }
///
/// # fn check(json: &str) -> Result<(), ReplayError> {
/// let replayed = Replayer::new().workflow(hello).replay_json(json)?;
/// println!("{}: {} events fit", replayed.run, replayed.events);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a replayer does nothing until it gets a history"]
pub struct Replayer {
    registry: Registry,
    every_prefix: bool,
}

/// A history that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The run.
    pub run: ReplayedRun,
    /// The events of its history.
    pub events: usize,
    /// The completed workflow tasks among them, each of which was compared.
    pub tasks: usize,
    /// The prefixes that were replayed beside the whole.
    pub prefixes: usize,
}

impl Replayer {
    /// Makes a replayer without workflows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a workflow: a function with `#[workflow]`.
    pub fn workflow<Marker, W: WorkflowFn<Marker>>(mut self, workflow: W) -> Self {
        self.registry = self.registry.workflow(workflow);
        self
    }

    /// Takes the workflows of a registry, in place of what was said before.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Replays every prefix of a history as well, as a worker would meet it that loads the run at that moment; of a
    /// history with more than 500 workflow tasks a sample with the first and the last.
    ///
    /// It finds code that behaves otherwise while it replays, or that remembers something outside of its variables.
    pub fn every_prefix(mut self) -> Self {
        self.every_prefix = true;
        self
    }

    /// Replays a history.
    ///
    /// # Errors
    /// [`ReplayError`] says where code and history part.
    pub fn replay_history(&self, events: &[Event]) -> Result<Replayed, ReplayError> {
        let workflows = self.registry.workflows()?;
        let run = Run::from_history(events).map_err(|error| ReplayError::NoHistory { problem: error.to_string() })?;
        let prefixes = if self.every_prefix { Prefixes::Every } else { Prefixes::WholeOnly };
        // Workflow code runs on threads with no tokio runtime entered, as in a worker.
        let verified = std::thread::scope(|scope| {
            let verifying = scope.spawn(|| {
                verify(workflows, &run, events, prefixes).map_err(|mut failure| {
                    let diverged = failure.take_diverged();
                    Box::new((failure.cause, diverged, failure.into_failure()))
                })
            });
            verifying.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let replayed = ReplayedRun {
            workflow_id: run.started.workflow_id.clone(),
            run_id: run.started.run_id,
            workflow_type: run.started.workflow_type.clone(),
        };
        let (cause, diverged, failure) = match verified {
            Ok(Verified { tasks, prefixes }) => {
                return Ok(Replayed { run: replayed, events: events.len(), tasks, prefixes });
            }
            Err(failed) => *failed,
        };
        let Failure { message, position, .. } = failure;
        Err(match (cause, diverged) {
            (WorkflowTaskFailedCause::NotRegistered, _) => ReplayError::NotRegistered { run: Box::new(replayed) },
            (_, Some(Diverged { event_id, event, command })) => ReplayError::Diverged(Box::new(Divergence {
                run: replayed,
                event_id,
                event,
                command,
                position,
                message,
            })),
            (cause, None) => ReplayError::Failed { run: Box::new(replayed), cause, message, position },
        })
    }

    /// Replays a history in JSON: what `dacapo export` and `dacapo show --json` write, or the array of events alone.
    ///
    /// # Errors
    /// As [`Replayer::replay_history`], and [`ReplayError::NoHistory`].
    pub fn replay_json(&self, json: &str) -> Result<Replayed, ReplayError> {
        let events = history::read(json).map_err(|problem| ReplayError::NoHistory { problem })?;
        self.replay_history(&events)
    }

    /// Replays the history in a file.
    ///
    /// # Errors
    /// As [`Replayer::replay_history`], and [`ReplayError::Unreadable`].
    pub fn replay_file(&self, path: impl AsRef<Path>) -> Result<Replayed, ReplayError> {
        let path = path.as_ref();
        let unreadable = |problem: String| ReplayError::Unreadable { path: path.to_owned(), problem };
        let json = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        self.replay_json(&json).map_err(|error| match error {
            ReplayError::NoHistory { problem } => unreadable(problem),
            other => other,
        })
    }

    /// Replays every `*.json` of a folder, in the order of the names; the first that does not fit ends it.
    ///
    /// # Errors
    /// As [`Replayer::replay_file`]; a folder without histories is [`ReplayError::Unreadable`] too.
    pub fn replay_folder(&self, folder: impl AsRef<Path>) -> Result<Vec<Replayed>, ReplayError> {
        let folder = folder.as_ref();
        let unreadable = |problem: String| ReplayError::Unreadable { path: folder.to_owned(), problem };
        let entries = fs::read_dir(folder).map_err(|error| unreadable(error.to_string()))?;
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(|error| unreadable(error.to_string()))?.path());
        }
        paths.retain(|path: &PathBuf| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort_unstable();
        if paths.is_empty() {
            return Err(unreadable("no history is there: write some with `dacapo export … -o FOLDER`".to_owned()));
        }
        paths.iter().map(|path| self.replay_file(path)).collect()
    }

    /// Replays the newest run of a workflow id from the database.
    ///
    /// # Errors
    /// As [`Replayer::replay_history`], and [`ReplayError::Client`] when it cannot be read.
    pub async fn replay_run(
        &self,
        client: &Client,
        workflow_id: impl Into<dacapo_core::WorkflowId>,
    ) -> Result<Replayed, ReplayError> {
        let client = client.untyped();
        let info = client.resolve(&WorkflowExecution::newest(workflow_id)).await?;
        self.replay_history(&client.history(info.key, 1).await?)
    }

    /// Replays every run of the client's namespace that a filter lets through, up to 100,000, newest first; gives what
    /// became of each.
    ///
    /// # Errors
    /// [`ClientError`] when runs cannot be read.
    pub async fn replay_runs(
        &self,
        client: &Client,
        filter: RunFilter,
    ) -> Result<Vec<Result<Replayed, ReplayError>>, ClientError> {
        let client = client.untyped();
        let mut replayed = Vec::new();
        for info in client.list(filter, RUNS_AT_ONCE).await? {
            replayed.push(self.replay_history(&client.history(info.key, 1).await?));
        }
        Ok(replayed)
    }
}
