//! `export`: the histories of runs as files, for replays that need no database.

use std::{collections::HashSet, fs, path::PathBuf};

use clap::Args;
use dacapo_core::store::RunInfo;
use dacapo_worker::history_to_json;
use serde_json::json;

use super::{
    Context,
    exit::{Exit, Stop},
    json as shown,
    selection::Selection,
};

/// Writes the histories of workflows to files, one for each run
#[derive(Debug, Clone, Args)]
pub(crate) struct Export {
    /// Workflow ids: the newest run of each
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// The folder to write to, made if it is not there; `-` for stdout
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

impl Export {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        if self.ids.is_empty() && !self.selection.is_wanted() {
            return Err(Stop::new(
                Exit::Invalid,
                "nothing is chosen: name workflow ids, a filter such as `--type`, or `--all`",
            ));
        }
        let connection = context.connect().await?;
        let client = connection.client();
        let to_stdout = self.output.as_os_str() == "-";
        if !to_stdout {
            fs::create_dir_all(&self.output).map_err(|error| cannot_write(&self.output, &error))?;
        }
        let mut written = Vec::new();
        let mut names = HashSet::new();
        for run in self.selection.runs(client, &self.ids).await? {
            let events = client.history(run.key, 1).await?;
            let text = history_to_json(&shown::run(&run), &events);
            if to_stdout {
                context.output.line(text.trim_end())?;
                continue;
            }
            let path = self.output.join(file_name(&run, &mut names));
            fs::write(&path, text).map_err(|error| cannot_write(&path, &error))?;
            if !context.output.json {
                context.output.line(&path.display().to_string())?;
            }
            written.push(json!({
                "workflow_id": run.workflow_id,
                "run_id": run.key.run_id,
                "events": events.len(),
                "path": path.to_string_lossy(),
            }));
        }
        if context.output.json && !to_stdout {
            context.output.value(&written.into())?;
        }
        connection.close().await
    }
}

fn cannot_write(path: &std::path::Path, error: &std::io::Error) -> Stop {
    Stop::new(Exit::Invalid, format!("cannot write {}: {error}", path.display()))
}

/// Names the file of a run after its workflow id; a further run of the same id carries its run id too.
fn file_name(run: &RunInfo, taken: &mut HashSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let id: String = run.workflow_id.as_str().chars().map(plain).collect();
    // A name that begins with a dot is hidden, or is the folder itself.
    let id = if id.starts_with('.') { format!("_{id}") } else { id };
    let name = format!("{id}.json");
    if taken.insert(name.clone()) { name } else { format!("{id}.{}.json", run.key.run_id) }
}

#[cfg(test)]
mod tests {
    use dacapo_core::{Namespace, RunKey, RunStatus, Shard, Timestamp};

    use super::*;

    fn run(id: &str) -> RunInfo {
        RunInfo {
            key: RunKey { shard: Shard(1), run_id: "0199d5f2-0000-7000-8000-000000000001".parse().unwrap() },
            namespace: Namespace::default_namespace(),
            workflow_id: id.into(),
            workflow_type: "checkout".into(),
            task_queue: "default".into(),
            status: RunStatus::Completed,
            started_at: Timestamp(0),
            closed_at: None,
            events: 1,
            memo: None,
            search_attributes: None,
        }
    }

    #[test]
    fn a_file_is_named_after_the_workflow_and_stays_in_its_folder() {
        let mut taken = HashSet::new();
        assert_eq!(file_name(&run("order-42"), &mut taken), "order-42.json");
        assert_eq!(file_name(&run("order-42"), &mut taken), "order-42.0199d5f2-0000-7000-8000-000000000001.json");
        assert_eq!(file_name(&run("../a/b c"), &mut taken), "_.._a_b_c.json");
        assert_eq!(file_name(&run("task:7"), &mut taken), "task_7.json");
    }
}
