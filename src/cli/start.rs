//! `start`: starts a workflow and says which run it is.

use clap::{Args, ValueEnum};
use dacapo_core::{
    IdConflictPolicy, IdReusePolicy, Payload, StartWorkflow, TaskQueue, WorkflowId, WorkflowType,
    activity::MIDDLE_PRIORITY,
};
use dacapo_runtime::{Client, Started};
use dacapo_worker::DEFAULT_TASK_QUEUE;
use serde_json::{Map, Value, json};
use std::time::Duration;

use super::{
    Context,
    args::{parse_attribute, read_payload},
    exit::{Exit, Stop},
    output::Output,
    time::parse_length,
};

/// What happens when the workflow id was used by a run that is closed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reuse {
    /// It is used again
    Allow,
    /// It is used again unless the last run completed
    FailedOnly,
    /// The start is refused
    Reject,
}

/// What happens when a run with the workflow id is open.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Conflict {
    /// The start is refused
    Fail,
    /// The open run is the answer
    UseExisting,
    /// The open run is terminated, and this one takes its place
    TerminateExisting,
}

/// Starts a workflow and prints its workflow id and run id
#[derive(Debug, Clone, Args)]
pub(crate) struct Start {
    /// The workflow type
    #[arg(value_name = "TYPE")]
    workflow_type: String,
    /// The workflow id; a fresh one when absent
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The input: JSON, `@file`, or `-` for stdin
    #[arg(short, long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// The task queue whose workers run it
    #[arg(short, long, value_name = "QUEUE", default_value = DEFAULT_TASK_QUEUE)]
    queue: String,
    /// The id of this request: sent again, it leads to the same run
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// When the workflow id was used by a run that is closed
    #[arg(long, value_enum, default_value_t = Reuse::Allow)]
    reuse: Reuse,
    /// When a run with the workflow id is open
    #[arg(long, value_enum, default_value_t = Conflict::Fail)]
    conflict: Conflict,
    /// The wait before it begins, such as `10m`
    #[arg(long, value_name = "TIME", value_parser = parse_length)]
    delay: Option<Duration>,
    /// The longest that the whole execution may take
    #[arg(long, value_name = "TIME", value_parser = parse_length)]
    execution_timeout: Option<Duration>,
    /// The longest that the run may take
    #[arg(long, value_name = "TIME", value_parser = parse_length)]
    run_timeout: Option<Duration>,
    /// A search attribute, to filter lists by; may be repeated
    #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = parse_attribute)]
    attributes: Vec<(String, Value)>,
    /// Notes on the run: a JSON object
    #[arg(long, value_name = "JSON|@FILE")]
    memo: Option<String>,
    /// From 1 (first) to 5 (last) within the queue
    #[arg(long, value_name = "1-5", default_value_t = MIDDLE_PRIORITY)]
    priority: u8,
    /// Ties together in logs what one outer request caused; the run id when absent
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    correlation_id: String,
    /// Deliver a signal with the start, or to the run with this id that is open already
    #[arg(long, value_name = "NAME")]
    signal: Option<String>,
    /// The value of the signal
    #[arg(long, value_name = "JSON|@FILE|-", requires = "signal")]
    signal_input: Option<String>,
}

impl Start {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let (workflow_id, started) = self.start(connection.client()).await?;
        announce(context.output, &workflow_id, &started)?;
        connection.close().await
    }

    /// Starts the workflow.
    pub(crate) async fn start(self, client: &Client) -> Result<(WorkflowId, Started), Stop> {
        let signal = self.signal.clone();
        let signal_input = read_payload("signal input", self.signal_input.as_deref())?;
        let request = self.request()?;
        let workflow_id = request.workflow_id.clone();
        let started = match signal {
            Some(name) => client.signal_with_start(request, &name, signal_input).await?,
            None => client.start(request).await?,
        };
        Ok((workflow_id, started))
    }

    fn request(self) -> Result<StartWorkflow, Stop> {
        let run_id = Client::new_run_id();
        let workflow_id = self.id.unwrap_or_else(|| run_id.to_string());
        let memo = self.memo.as_deref().map(|memo| read_payload("memo", Some(memo))).transpose()?;
        let attributes = (!self.attributes.is_empty())
            .then(|| Payload::encode("search attributes", &self.attributes.into_iter().collect::<Map<_, _>>()))
            .transpose()
            .map_err(Stop::because(Exit::Invalid))?;
        let ms = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Ok(StartWorkflow {
            request_id: self.request_id,
            reuse_policy: match self.reuse {
                Reuse::Allow => IdReusePolicy::AllowDuplicate,
                Reuse::FailedOnly => IdReusePolicy::AllowDuplicateFailedOnly,
                Reuse::Reject => IdReusePolicy::RejectDuplicate,
            },
            conflict_policy: match self.conflict {
                Conflict::Fail => IdConflictPolicy::Fail,
                Conflict::UseExisting => IdConflictPolicy::UseExisting,
                Conflict::TerminateExisting => IdConflictPolicy::TerminateExisting,
            },
            start_delay_ms: ms(self.delay),
            execution_timeout_ms: ms(self.execution_timeout),
            run_timeout_ms: ms(self.run_timeout),
            memo,
            search_attributes: attributes,
            priority: self.priority,
            correlation_id: self.correlation_id,
            ..StartWorkflow::new(
                run_id,
                workflow_id.into(),
                WorkflowType::new(self.workflow_type),
                TaskQueue::new(self.queue),
                read_payload("input", self.input.as_deref())?,
            )
        })
    }
}

fn announce(output: Output, workflow_id: &WorkflowId, started: &Started) -> Result<(), Stop> {
    let run_id = started.run.run_id;
    if output.json {
        return output.value(&json!({"workflow_id": workflow_id, "run_id": run_id, "new": started.new}));
    }
    output.line(&format!("{workflow_id} {run_id}"))?;
    if !started.new {
        output.note("no new run: the request was carried out before, or the workflow id is open");
    }
    Ok(())
}
