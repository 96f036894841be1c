//! A team that calls the local provider directly, and can be told to fail, to wait, to misjudge and to be called off.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use dacapo_activities::documents::{Corpus, Document, MediaType, collapse, digest};
use dacapo_activities::local::LocalExtractive;
use dacapo_activities::model::{
    Aggregate, Aggregated, Analysis, AnalyzeTask, Decompose, DocumentRef, ExecuteSubtask, FinalAnswer, FinalReview,
    FindingKind, Plan, Review, ReviewFinal, ReviewSolution, Scores, SelectSpecialists, Selection, Solution, Synthesize,
    TaskContext,
};
use dacapo_activities::provider::{Provider, ProviderError};
use dacapo_workflows::multi_agent_task::{
    ActivityFailure, Options, State, TaskFile, TaskInput, TaskResult, TeamActivities, TeamError, TeamState, orchestrate,
};

/// Files by name.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// What goes otherwise than the provider would have it.
#[derive(Default)]
pub(crate) struct Script {
    /// How often an activity fails before it works, by name.
    pub(crate) fails: BTreeMap<&'static str, u32>,
    /// What becomes of a plan.
    pub(crate) plan: Option<fn(Plan) -> Plan>,
    /// What becomes of a review, by subtask id and cycle.
    pub(crate) judge: Option<fn(&str, &Solution, Scores) -> Scores>,
    /// Whether the final review approves, whatever the provider says.
    pub(crate) approve: Option<bool>,
    /// In which state the task is called off.
    pub(crate) cancel_in: Option<State>,
    /// How many polls each call takes, one after the other, and over again.
    pub(crate) delays: Vec<u8>,
}

/// A team of the local provider.
pub(crate) struct Team {
    provider: LocalExtractive,
    corpus: Corpus,
    script: Script,
    failed: RefCell<BTreeMap<&'static str, u32>>,
    cancelled: Cell<bool>,
    running: Cell<usize>,
    /// The most specialists that worked at once.
    pub(crate) running_max: Cell<usize>,
    /// The calls in the order they began.
    pub(crate) calls: RefCell<Vec<String>>,
    /// What was published.
    pub(crate) seen: RefCell<Vec<TeamState>>,
}

impl Team {
    pub(crate) fn new(files: &Files, script: Script) -> Self {
        Self {
            provider: LocalExtractive::default(),
            corpus: Corpus::read(files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))),
            script,
            failed: RefCell::default(),
            cancelled: Cell::new(false),
            running: Cell::new(0),
            running_max: Cell::new(0),
            calls: RefCell::default(),
            seen: RefCell::default(),
        }
    }

    async fn call<R>(
        &self,
        name: &'static str,
        what: &str,
        work: impl Future<Output = Result<R, ProviderError>>,
    ) -> Result<R, ActivityFailure> {
        let number = self.calls.borrow().len();
        self.calls.borrow_mut().push(format!("{name} {what}").trim_end().to_owned());
        self.running.set(self.running.get() + 1);
        if name == "execute" {
            self.running_max.set(self.running_max.get().max(self.running.get()));
        }
        let delays = &self.script.delays;
        let mut left = if delays.is_empty() { 0 } else { delays[number % delays.len()] };
        std::future::poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.running.set(self.running.get() - 1);
        if self.is_told_to_fail(name) {
            let message = format!("{name} is told to fail");
            return Err(ActivityFailure { error_type: "Unavailable".to_owned(), message });
        }
        work.await.map_err(|e| ActivityFailure { error_type: e.error_type().to_owned(), message: e.to_string() })
    }

    fn is_told_to_fail(&self, name: &'static str) -> bool {
        let mut calls = self.failed.borrow_mut();
        let count = calls.entry(name).or_insert(0);
        *count += 1;
        *count <= self.script.fails.get(name).copied().unwrap_or(0)
    }

    /// Gives the states it went through, each once in a row.
    pub(crate) fn states(&self) -> Vec<State> {
        let mut states: Vec<State> = self.seen.borrow().iter().map(|s| s.state).collect();
        states.dedup();
        states
    }

    /// Gives the calls of one activity.
    pub(crate) fn calls_of(&self, name: &str) -> Vec<String> {
        let prefix = format!("{name} ");
        self.calls.borrow().iter().filter_map(|c| c.strip_prefix(&prefix)).map(str::to_owned).collect()
    }
}

impl TeamActivities for Team {
    async fn load_task(&self, _documents: Vec<DocumentRef>) -> Result<(), ActivityFailure> {
        Ok(())
    }

    async fn manager_analyze_task(&self, input: AnalyzeTask) -> Result<Analysis, ActivityFailure> {
        self.call("analyze", "", self.provider.manager_analyze_task(&self.corpus, input)).await
    }

    async fn manager_select_specialists(&self, input: SelectSpecialists) -> Result<Selection, ActivityFailure> {
        self.call("select", "", self.provider.manager_select_specialists(&self.corpus, input)).await
    }

    async fn manager_decompose_task(&self, input: Decompose) -> Result<Plan, ActivityFailure> {
        let errors = input.errors.join("; ");
        let plan = self.call("decompose", &errors, self.provider.manager_decompose_task(&self.corpus, input)).await?;
        Ok(self.script.plan.map_or_else(|| plan.clone(), |change| change(plan.clone())))
    }

    async fn specialist_execute(&self, input: ExecuteSubtask) -> Result<Solution, ActivityFailure> {
        let what = format!("{} {} by {}", input.subtask.subtask_id, input.cycle, input.specialist.agent_type);
        self.call("execute", &what, self.provider.specialist_execute(&self.corpus, input)).await
    }

    async fn manager_review_solution(&self, input: ReviewSolution) -> Result<Review, ActivityFailure> {
        let (id, solution) = (input.subtask.subtask_id.clone(), input.solution.clone());
        let mut review = self.call("review", &id, self.provider.manager_review_solution(&self.corpus, input)).await?;
        if let Some(judge) = self.script.judge {
            review.scores = judge(&id, &solution, review.scores);
        }
        Ok(review)
    }

    async fn coordinator_aggregate(&self, input: Aggregate) -> Result<Aggregated, ActivityFailure> {
        self.call("aggregate", "", self.provider.coordinator_aggregate(&self.corpus, input)).await
    }

    async fn analyst_synthesize(&self, input: Synthesize) -> Result<FinalAnswer, ActivityFailure> {
        self.call("synthesize", "", self.provider.analyst_synthesize(&self.corpus, input)).await
    }

    async fn manager_review_final(&self, input: ReviewFinal) -> Result<FinalReview, ActivityFailure> {
        let mut review = self.call("review_final", "", self.provider.manager_review_final(&self.corpus, input)).await?;
        review.approved = self.script.approve.unwrap_or(review.approved);
        Ok(review)
    }

    fn publish(&self, state: &TeamState) {
        self.seen.borrow_mut().push(state.clone());
        if self.script.cancel_in == Some(state.state) {
            self.cancelled.set(true);
        }
    }

    async fn cancelled(&self) -> String {
        std::future::poll_fn(|_| if self.cancelled.get() { Poll::Ready(()) } else { Poll::Pending }).await;
        "nobody wants it".to_owned()
    }
}

/// Polls a future until it is ready; one that makes no progress fails the test.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
    panic!("the task makes no progress");
}

pub(crate) fn input(task: &str, files: &Files) -> TaskInput {
    let task = TaskFile::parse(task);
    TaskInput {
        task_id: "task-1".to_owned(),
        user_id: String::new(),
        title: task.title,
        description: task.description,
        priority: task.priority,
        context: TaskContext { domain: task.context.domain, deadline: None, constraints: task.context.constraints },
        documents: files.iter().map(|(name, bytes)| DocumentRef::of(name, bytes)).collect(),
        agent_types: None,
        options: Options::default(),
    }
}

/// Solves a task as it is.
pub(crate) fn solve(task: &str, files: &Files) -> TaskResult {
    solve_with(task, files, Script::default()).0.unwrap()
}

pub(crate) fn solve_with(task: &str, files: &Files, script: Script) -> (Result<TaskResult, TeamError>, Team) {
    let team = Team::new(files, script);
    let result = run(orchestrate(&team, &input(task, files)));
    (result, team)
}

pub(crate) fn files(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// Reads the example documents.
pub(crate) fn example_files() -> Files {
    folder(&examples().join("documents"))
}

/// Reads the project's own documentation.
pub(crate) fn project_files() -> Files {
    folder(&examples().join("../docs"))
}

fn folder(path: &Path) -> Files {
    let mut found: Files = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}

/// Reads an example task.
pub(crate) fn example_task(name: &str) -> String {
    std::fs::read_to_string(examples().join("tasks").join(name)).unwrap()
}

/// Checks every statement of a result against the bytes of the files: what a program that knows nothing of the job would do.
pub(crate) fn check_citations(result: &TaskResult, files: &Files) {
    let texts: BTreeMap<&str, Vec<u8>> = files
        .iter()
        .map(|(name, bytes)| {
            let extracted =
                name.ends_with(".html").then(|| Document::ingest(MediaType::Html, bytes).unwrap().text.into_bytes());
            (name.as_str(), extracted.unwrap_or_else(|| bytes.clone()))
        })
        .collect();
    let mut statements = 0;
    for statement in result.final_answer.statements() {
        assert!(!statement.citations.is_empty(), "no citation: {}", statement.text);
        for citation in &statement.citations {
            let text = &texts[citation.doc.as_str()];
            assert_eq!(&text[citation.start..citation.end], citation.quote.as_bytes());
            assert_eq!(digest(text), citation.sha256, "{}", citation.doc);
        }
        if statement.kind == FindingKind::Quote {
            assert_eq!(statement.text, collapse(&statement.citations[0].quote));
        }
        statements += 1;
    }
    assert!(statements > 0);
}
