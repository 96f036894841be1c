//! `replay`: stored histories against this binary's workflows, as a gate in front of a deployment.

use std::{fs, io::Read, path::Path};

use clap::Args;
use dacapo_runtime::{Engine, WorkflowExecution};
use dacapo_worker::{ReplayError, Replayed, ReplayedRun, Replayer};
use serde_json::{Value, json};

use super::{
    Context,
    exit::{Exit, Stop, chain},
    output::Tone,
    selection::Selection,
};

/// Replays histories against the workflows of this binary; exit code 8 when one does not fit
#[derive(Debug, Clone, Args)]
pub(crate) struct Replay {
    /// Files that `export` or `show --json` wrote, folders of them, `-` for stdin, or workflow ids
    #[arg(value_name = "FILE|ID")]
    targets: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Replay every prefix of each history too, which finds code that remembers something outside of its variables
    #[arg(long)]
    every_prefix: bool,
}

/// What became of one history.
struct Outcome {
    /// The file or the workflow id.
    source: String,
    replayed: Result<Replayed, ReplayError>,
}

/// How many histories fit.
#[derive(Default)]
struct Tally {
    fit: usize,
    diverged: usize,
    /// Of a workflow type that the binary has not, and that nobody asked for by name.
    skipped: usize,
    unusable: usize,
}

impl Replay {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        if self.targets.is_empty() && !self.selection.is_wanted() {
            let problem = "nothing is chosen: name files, workflow ids, a filter such as `--type`, or `--all`";
            return Err(Stop::new(Exit::Invalid, problem));
        }
        let (files, ids): (Vec<_>, Vec<_>) = self.targets.iter().cloned().partition(|target| is_file(target));
        let mut tally = Tally::default();
        let mut shown = Vec::new();
        let mut take = |outcome: Outcome, by_name: bool| tell(context, outcome, by_name, &mut tally, &mut shown);
        if ids.is_empty() && !self.selection.is_wanted() {
            // Workflow code needs no database, and what its activities need is not used.
            let registry = context.registry(&Engine::in_virtual_time().0)?;
            let replayer = replayer(registry, self.every_prefix);
            files.iter().try_for_each(|file| replay_path(&replayer, file, &mut take))?;
        } else {
            let connection = context.connect().await?;
            let replayer = replayer(context.registry(connection.engine())?, self.every_prefix);
            files.iter().try_for_each(|file| replay_path(&replayer, file, &mut take))?;
            let client = connection.client();
            for (index, run) in self.selection.runs(client, &ids).await?.into_iter().enumerate() {
                let execution = WorkflowExecution::run(run.workflow_id.clone(), run.key.run_id);
                let events = client.history(run.key, 1).await?;
                let outcome =
                    Outcome { source: execution.workflow_id.to_string(), replayed: replayer.replay_history(&events) };
                take(outcome, index < ids.len())?;
            }
            connection.close().await?;
        }
        tally.end(context, shown)
    }
}

fn replayer(registry: dacapo_worker::Registry, every_prefix: bool) -> Replayer {
    let replayer = Replayer::new().registry(registry);
    if every_prefix { replayer.every_prefix() } else { replayer }
}

/// Whether a target names a file: one that is there, or that can be no workflow id of sense.
fn is_file(target: &str) -> bool {
    target == "-" || Path::new(target).extension().is_some_and(|it| it == "json") || Path::new(target).exists()
}

fn replay_path(
    replayer: &Replayer,
    target: &str,
    take: &mut impl FnMut(Outcome, bool) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let cannot_read = |error: std::io::Error| Stop::new(Exit::Invalid, format!("cannot read {target}: {error}"));
    if target == "-" {
        let mut json = String::new();
        std::io::stdin().read_to_string(&mut json).map_err(cannot_read)?;
        return take(Outcome { source: "stdin".to_owned(), replayed: replayer.replay_json(&json) }, true);
    }
    let mut paths = vec![target.into()];
    if Path::new(target).is_dir() {
        let entries = fs::read_dir(target).map_err(cannot_read)?.collect::<Result<Vec<_>, _>>().map_err(cannot_read)?;
        paths = entries.into_iter().map(|entry| entry.path()).collect();
        paths.retain(|path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "json"));
        paths.sort_unstable();
        if paths.is_empty() {
            return Err(Stop::new(
                Exit::NotFound,
                format!("no history is in {target}: `dacapo export … -o {target}` writes some"),
            ));
        }
    }
    for path in paths {
        take(Outcome { source: path.display().to_string(), replayed: replayer.replay_file(&path) }, true)?;
    }
    Ok(())
}

/// Says what became of a history, and counts it.
fn tell(
    context: &Context,
    Outcome { source, replayed }: Outcome,
    by_name: bool,
    tally: &mut Tally,
    shown: &mut Vec<Value>,
) -> Result<(), Stop> {
    let output = context.output;
    let (verdict, tone) = match &replayed {
        Ok(_) => {
            tally.fit += 1;
            ("fits", Tone::Good)
        }
        Err(ReplayError::NotRegistered { .. }) if !by_name => {
            tally.skipped += 1;
            ("skipped", Tone::Faint)
        }
        Err(error) if error.is_non_determinism() => {
            tally.diverged += 1;
            ("diverged", Tone::Bad)
        }
        Err(_) => {
            tally.unusable += 1;
            ("unusable", Tone::Bad)
        }
    };
    if output.json {
        shown.push(as_json(&source, verdict, &replayed));
        return Ok(());
    }
    let detail = match &replayed {
        Ok(replayed) => format!("{} {} events", replayed.run.workflow_type, replayed.events),
        Err(ReplayError::Diverged(it)) => format!("{} at event {}: {}", it.run.workflow_type, it.event_id, it.message),
        Err(error) => chain(error),
    };
    output.line(&format!("{} {source} {detail}", output.paint(tone, &format!("{verdict:<8}"))))
}

fn as_json(source: &str, verdict: &str, replayed: &Result<Replayed, ReplayError>) -> Value {
    let run = |run: &ReplayedRun| json!({"workflow_id": run.workflow_id, "run_id": run.run_id, "workflow_type": run.workflow_type});
    let (run, more) = match replayed {
        Ok(it) => (run(&it.run), json!({"events": it.events, "tasks": it.tasks, "prefixes": it.prefixes})),
        Err(ReplayError::Diverged(it)) => (
            run(&it.run),
            json!({
                "event_id": it.event_id, "event": it.event, "command": it.command,
                "position": it.position, "message": it.message,
            }),
        ),
        Err(ReplayError::Failed { run: it, cause, message, position }) => {
            (run(it), json!({"cause": cause, "position": position, "message": message}))
        }
        Err(ReplayError::NotRegistered { run: it }) => {
            (run(it), json!({"message": "the workflow is not in this binary"}))
        }
        Err(error) => (Value::Null, json!({"message": chain(error)})),
    };
    let mut value = json!({"source": source, "verdict": verdict, "run": run});
    if let (Value::Object(fields), Value::Object(more)) = (&mut value, more) {
        fields.extend(more);
    }
    value
}

impl Tally {
    /// Says how many fit, and ends with the exit code that says the same.
    fn end(self, context: &Context, shown: Vec<Value>) -> Result<(), Stop> {
        let Self { fit, diverged, skipped, unusable } = self;
        if context.output.json {
            context.output.value(&json!({
                "fit": fit, "diverged": diverged, "skipped": skipped, "unusable": unusable, "histories": shown,
            }))?;
        } else {
            let mut summary = format!("{fit} of {} histories fit", fit + diverged + unusable);
            if skipped > 0 {
                summary.push_str(&format!("; {skipped} skipped, whose workflows are not in this binary"));
            }
            context.output.note(&summary);
        }
        if diverged > 0 {
            Err(Stop::said(Exit::NonDeterminism))
        } else if unusable > 0 {
            Err(Stop::said(Exit::Invalid))
        } else if fit == 0 {
            Err(Stop::new(Exit::NotFound, "nothing was replayed: no history is of a workflow of this binary"))
        } else {
            Ok(())
        }
    }
}
