//! `demo`: the main job on this machine: a team of agents solves a task over documents, and every sentence has a source.
//!
//! Without options it works on this project's own documents. The job runs in a worker of this process; with `--chaos` in
//! worker processes of its own, which are killed with SIGKILL while it runs.

mod answer;
mod chaos;
mod documents;
mod progress;

use std::path::PathBuf;

use clap::Args;
use dacapo_activities::{documents::digest, model::DocumentRef};
use dacapo_core::{IdConflictPolicy, Payload, RunStatus, StartWorkflow, store::RunResult};
use dacapo_runtime::{Started, WorkflowExecution};
use dacapo_worker::Worker;
use dacapo_workflows::multi_agent_task::{Options, TaskFile, TaskInput, TaskResult};
use tokio::task::JoinSet;

use self::{documents::Material, progress::Progress};
use super::{
    Context,
    connect::{Connection, Database, Patience},
    exit::{Exit, Stop},
    process::stop_on_signals,
};

/// The workflow type of the main job.
const WORKFLOW_TYPE: &str = "multi_agent_task";

/// The digits of a digest that are enough to tell the tasks of one machine apart.
const ID_DIGITS: usize = 12;

/// The task over this project's own documents.
const OWN_TASK: &str = include_str!("../../../examples/tasks/project.md");

/// Runs the main job: a team of agents solves a task over documents, and cites its sources
#[derive(Debug, Clone, Args)]
pub(crate) struct Demo {
    /// A folder of text, Markdown, HTML, CSV or JSON instead of this project's own documents
    #[arg(long, value_name = "DIR", requires = "task")]
    docs: Option<PathBuf>,
    /// What to find out: a file, or the text itself
    #[arg(long, value_name = "FILE|TEXT")]
    task: Option<String>,
    /// Run the job in worker processes that are killed with SIGKILL at random moments
    #[arg(long)]
    chaos: bool,
    /// The most kills with `--chaos`
    #[arg(long, value_name = "N", default_value_t = 5, requires = "chaos")]
    kills: u32,
    /// The seed of the random moments, to repeat them
    #[arg(long, value_name = "N", requires = "chaos")]
    seed: Option<u64>,
    /// Be a worker of the given queue; what `--chaos` starts
    #[arg(long, value_name = "QUEUE", hide = true, conflicts_with_all = ["docs", "task", "chaos"])]
    serve: Option<String>,
}

impl Demo {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let mut tasks = JoinSet::new();
        let stop = stop_on_signals(&mut tasks)?;
        if let Some(queue) = &self.serve {
            return serve(context, queue, stop.cancelled()).await;
        }
        let material = match &self.docs {
            Some(folder) => Material::read(folder, context.output)?,
            None => Material::own(),
        };
        let task = self.task_file()?;
        let database = Database::find(context, true).await?;
        let connection = Connection::open(context, database, Patience::Short).await?;
        let documents = material.store(connection.engine().store().as_ref()).await?;
        let input = TaskInput {
            task_id: task_id(&task, &documents),
            user_id: String::new(),
            title: task.title,
            description: task.description,
            priority: task.priority,
            context: task.context,
            documents,
            agent_types: None,
            options: Options::default(),
        };
        input.validate().map_err(Stop::because(Exit::Invalid))?;
        let run_id = dacapo_runtime::Client::new_run_id();
        // A queue of its own: whatever else is at work on this database leaves the job alone.
        let queue = format!("demo-{run_id}");
        let workflow_id = format!("task:{}", input.task_id);
        let payload = Payload::encode("the task", &input).map_err(Stop::because(Exit::Invalid))?;
        let request = StartWorkflow {
            namespace: context.global.namespace(),
            // What a demo that was interrupted left open.
            conflict_policy: IdConflictPolicy::TerminateExisting,
            ..StartWorkflow::new(
                run_id,
                workflow_id.as_str().into(),
                WORKFLOW_TYPE.into(),
                queue.as_str().into(),
                payload,
            )
        };
        let started = connection.client().start(request).await?;
        // Dropping the job loses nothing but the wait: whoever serves the queue again goes on with it.
        let result = tokio::select! {
            result = self.work(context, &connection, &queue, &workflow_id, &started) => result?,
            () = stop.cancelled() => {
                return Err(Stop::new(Exit::Interrupted, "stopped; the demo begins anew next time"));
            }
        };
        self.show(context, &workflow_id, &input.title, &result)?;
        connection.close().await
    }

    fn task_file(&self) -> Result<TaskFile, Stop> {
        let Some(task) = &self.task else { return Ok(TaskFile::parse(OWN_TASK)) };
        if !PathBuf::from(task).is_file() {
            return Ok(TaskFile::parse(task));
        }
        let text = std::fs::read_to_string(task)
            .map_err(|error| Stop::new(Exit::Invalid, format!("the task cannot be read from `{task}`: {error}")))?;
        Ok(TaskFile::parse(&text))
    }

    /// Lets workers do the job, shows what they do, and gives the end.
    async fn work(
        &self,
        context: &Context,
        connection: &Connection,
        queue: &str,
        workflow_id: &str,
        started: &Started,
    ) -> Result<RunResult, Stop> {
        let client = connection.client();
        let execution = WorkflowExecution::run(workflow_id, started.run.run_id);
        let mut progress = Progress::new(context.output, client, &execution);
        if self.chaos {
            let seed = self.seed.unwrap_or_else(chaos::fresh_seed);
            let database = connection.database();
            let chaos = chaos::Chaos { context, url: &database.url, queue, client, execution: &execution };
            // The branches that lose show and kill; the run does not depend on them.
            let result = tokio::select! {
                result = client.result_of(started.run) => result?,
                ended = chaos.kill(seed, self.kills) => return Err(ended?),
                never = progress.watch() => match never {},
            };
            progress.look().await;
            return Ok(result);
        }
        let worker = Worker::new(connection.engine())
            .registry(crate::builtin::registry(connection.engine()))
            .task_queue(queue)
            .namespace(context.global.namespace())
            .start()
            .map_err(Stop::because(Exit::Internal))?;
        // Dropping the watching shows less, and nothing else.
        let result = tokio::select! {
            result = client.result_of(started.run) => result,
            never = progress.watch() => match never {},
        };
        progress.look().await;
        worker.stop();
        worker.stopped().await.map_err(Stop::because(Exit::Internal))?;
        Ok(result?)
    }

    fn show(&self, context: &Context, workflow_id: &str, title: &str, result: &RunResult) -> Result<(), Stop> {
        let Some(payload) = result.result.as_ref().filter(|_| result.status == RunStatus::Completed) else {
            let problem = result.failure.as_ref().map_or_else(String::new, |failure| format!(": {}", failure.message));
            let status = result.status.as_str();
            return Err(Stop::new(
                Exit::WorkflowFailed,
                format!("the task ended without an answer, {status}{problem}"),
            ));
        };
        if context.output.json {
            return context.output.line(payload.as_json());
        }
        let answer: TaskResult = payload.decode("the answer").map_err(Stop::because(Exit::Internal))?;
        context.output.line(answer::render(context.output, title, &answer).trim_end())?;
        let program = &context.program;
        context.output.note(&format!(
            "\nHow it came about:\n  {program} show {workflow_id}\n  {program} describe {workflow_id}\n  \
             {program} query {workflow_id} state"
        ));
        Ok(())
    }
}

/// Names a task by what it is, so that the same task over the same documents gives the same bytes.
fn task_id(task: &TaskFile, documents: &[DocumentRef]) -> String {
    let named = documents.iter().map(|document| format!("{}\0{}\0", document.doc, document.blob));
    let all: String = [format!("{}\0{}\0", task.title, task.description)].into_iter().chain(named).collect();
    format!("demo-{}", &digest(all.as_bytes())[..ID_DIGITS])
}

/// Serves a queue with the built-in workflows until `stop`.
async fn serve(context: &Context, queue: &str, stop: impl Future) -> Result<(), Stop> {
    let database = Database::find(context, false).await?;
    let connection = Connection::open(context, database, Patience::Short).await?;
    Worker::new(connection.engine())
        .registry(crate::builtin::registry(connection.engine()))
        .task_queue(queue)
        .namespace(context.global.namespace())
        .run(stop)
        .await
        .map_err(Stop::because(Exit::Internal))?;
    connection.close().await
}
