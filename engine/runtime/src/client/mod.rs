//! The client: starts runs, sends them messages, waits for and looks at them, without types.
//!
//! Every call that writes carries an id made before the first try. When the answer of the database is lost, the same
//! call is sent again until the answer is definite or [`PATIENCE`] is over, so that an error never hides a start or a
//! signal that took effect without saying that this may be so.
//!
//! Deliberately absent: types of inputs and results, which the SDK's handles add.

mod ask;
mod branch;
mod dead_letters;
mod error;
mod execution;
mod messages;
mod operate;
mod transactions;
mod update;
pub(crate) mod waits;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use dacapo_core::{
    Event, IdConflictPolicy, Message, MessageBody, Namespace, Payload, Run, RunId, RunKey, StartWorkflow, Store,
    TaskQueue,
    ids::validate,
    store::{
        Reply, RunFilter, RunInfo, RunPage, RunResult, StartOutcome, StartWrite, StoreError, StoreResult, WorkerInfo,
    },
};
use tokio::sync::oneshot;
use uuid::Uuid;

pub use self::{
    ask::QUERY_TIMEOUT,
    branch::{Branched, ForkOptions, ResetOptions},
    dead_letters::Retried,
    error::ClientError,
    execution::WorkflowExecution,
    update::{SentUpdate, Update, UpdateWait},
};
use self::{execution::Chains, waits::Waits};
use crate::{
    clock::Clock,
    describe::{Description, explain},
    virtual_time::{Awaited, VirtualTime},
};

/// How long a call is repeated while the database does not answer: longer than a restart of Postgres, shorter than
/// people wait.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The wait before the first repetition of a call; doubles up to [`RETRY_WAIT_MAX`].
const RETRY_WAIT: Duration = Duration::from_millis(50);

/// The longest wait between two tries, so that a client goes on soon after the database is back.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(1);

/// The transitions that one read of a history takes.
const HISTORY_PAGE: i64 = 500;

/// Starts runs in this process, where they are owned from their first moment.
pub trait LocalStarter: Send + Sync {
    /// Takes a validated start, or gives it back when the run should not be owned here. Whoever takes it resolves lost
    /// answers itself; an error, or a dropped sender, makes the client go on through the store with the same ids.
    ///
    /// # Errors
    /// The start, when it is not wanted.
    fn try_start(
        &self,
        request: Box<StartWorkflow>,
    ) -> Result<oneshot::Receiver<StoreResult<StartOutcome>>, Box<StartWorkflow>>;
}

/// Where a start led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The run.
    pub run: RunKey,
    /// Whether this very call made it; else it is the run of the same request sent before, or was open already.
    pub new: bool,
}

struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<Clock>,
    waits: Arc<Waits>,
    local: Option<Arc<dyn LocalStarter>>,
    chains: Chains,
}

/// Starts, signals, cancels, queries, awaits and lists runs of one namespace. Cloning gives another handle.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    namespace: Namespace,
    identity: Arc<str>,
    patience: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("namespace", &self.namespace)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<Clock>,
        waits: Arc<Waits>,
        local: Option<Arc<dyn LocalStarter>>,
        identity: &str,
    ) -> Self {
        Self {
            shared: Arc::new(Shared { store, clock, waits, local, chains: Chains::default() }),
            namespace: Namespace::default_namespace(),
            identity: identity.into(),
            patience: PATIENCE,
        }
    }

    /// Gives a client of another namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Gives a client that repeats calls for another time than [`PATIENCE`] while the database does not answer.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The namespace of its runs.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// Makes a fresh run id.
    pub fn new_run_id() -> RunId {
        RunId(Uuid::now_v7())
    }

    /// Starts a run in this client's namespace, whatever the request says.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::AlreadyOpen`], [`ClientError::ReuseRefused`],
    /// [`ClientError::Unavailable`].
    ///
    /// # Cancel safety
    /// When the future is dropped the run may have been started; the same request again leads to it.
    pub async fn start(&self, mut request: StartWorkflow) -> Result<Started, ClientError> {
        request.namespace = self.namespace.clone();
        if request.identity.is_empty() {
            request.identity = self.identity.to_string();
        }
        request.validate()?;
        let _call = self.shared.clock.virtual_time().map(VirtualTime::call);
        if let Some(Message { body: MessageBody::Signal { name, .. }, .. }) = &request.signal {
            validate("signal name", name).map_err(|error| ClientError::Invalid { problem: error.to_string() })?;
        }
        self.catch_up_with_own(&request.workflow_id).await?;
        let asked_for = request.key();
        self.shared.waits.starting(asked_for);
        let outcome = self.start_until_definite(&request).await;
        if !matches!(outcome, Ok(StartOutcome::Started)) {
            self.shared.waits.not_started(asked_for);
        }
        let outcome = outcome?;
        let workflow_id = request.workflow_id;
        match outcome {
            StartOutcome::Started => Ok(Started { run: asked_for, new: true }),
            StartOutcome::Duplicate { run, .. } => Ok(Started { run, new: run == asked_for }),
            StartOutcome::UsedExisting { run } => Ok(Started { run, new: false }),
            StartOutcome::AlreadyOpen { run_id } => Err(ClientError::AlreadyOpen { workflow_id, run_id }),
            StartOutcome::ReuseRefused { run_id } => Err(ClientError::ReuseRefused { workflow_id, run_id }),
            StartOutcome::OwnerLost => Err(ClientError::Store(StoreError::Corrupt {
                problem: "a start without an owner was answered with a lost owner".to_owned(),
            })),
        }
    }

    /// Sends a signal to the open run of a workflow id, or starts one and delivers the signal with it; both or neither.
    ///
    /// # Errors
    /// As [`Client::start`] and [`Client::signal`].
    pub async fn signal_with_start(
        &self,
        mut request: StartWorkflow,
        signal: &str,
        input: Payload,
    ) -> Result<Started, ClientError> {
        if request.conflict_policy == IdConflictPolicy::Fail {
            request.conflict_policy = IdConflictPolicy::UseExisting;
        }
        request.signal = Some(self.message(MessageBody::Signal {
            name: signal.to_owned(),
            input,
            identity: self.identity.to_string(),
        }));
        self.start(request).await
    }

    /// Reads a value that the workflow published; also after the run closed.
    ///
    /// # Errors
    /// [`ClientError::NotPublished`] names the values that there are; [`ClientError::NotFound`],
    /// [`ClientError::Unavailable`].
    pub async fn query(&self, of: &WorkflowExecution, name: &str) -> Result<Payload, ClientError> {
        let run = self.resolve(of).await?.key;
        let store = &self.shared.store;
        if let Some(value) = self.persist(|| store.published(run, name)).await? {
            return Ok(value);
        }
        let published = self.persist(|| store.published_names(run)).await?;
        Err(ClientError::NotPublished { workflow_id: of.workflow_id.clone(), name: name.to_owned(), published })
    }

    /// Names the values that the workflow published.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Unavailable`].
    pub async fn published_names(&self, of: &WorkflowExecution) -> Result<Vec<String>, ClientError> {
        let run = self.resolve(of).await?.key;
        self.persist(|| self.shared.store.published_names(run)).await
    }

    /// Waits until a run and those that go on for it are closed, for as long as it takes, and through any trouble of the
    /// database.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], or [`ClientError::Store`] when the run's end can never be read.
    ///
    /// # Cancel safety
    /// Dropping the future gives the wait up and changes nothing.
    pub async fn result(&self, of: &WorkflowExecution) -> Result<RunResult, ClientError> {
        let run = self.resolve(of).await?.key;
        self.result_of(run).await
    }

    /// Waits as [`Client::result`] does, for a run that is known to exist, such as that of a [`Started`]. A run that another
    /// goes on for (after continue-as-new, for a retry, after a reset) is followed to the end of the last.
    ///
    /// # Errors
    /// [`ClientError::Store`] when the run's end can never be read.
    pub async fn result_of(&self, mut run: RunKey) -> Result<RunResult, ClientError> {
        loop {
            let result = self.end_of(run).await?;
            let Some(successor) = result.successor else { return Ok(result) };
            run.run_id = successor;
        }
    }

    /// Waits until this very run is closed, whatever follows it.
    async fn end_of(&self, run: RunKey) -> Result<RunResult, ClientError> {
        let Some(time) = self.shared.clock.virtual_time() else { return Ok(self.shared.waits.wait(run).await?) };
        let (_waiting, given_up) = time.wait_for(Awaited::End(run));
        tokio::select! {
            result = self.shared.waits.wait(run) => Ok(result?),
            Ok(problem) = given_up => Err(ClientError::Stuck { problem }),
        }
    }

    /// Says what a run waits for and why it does not move.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Unavailable`], or [`ClientError::Store`] when what is stored is corrupt.
    pub async fn describe(&self, of: &WorkflowExecution) -> Result<Description, ClientError> {
        let run = self.resolve(of).await?.key;
        let store = &self.shared.store;
        let events = self.history(run, 1).await?;
        let folded = Run::from_history(&events)
            .map_err(|error| ClientError::Store(StoreError::Corrupt { problem: error.to_string() }))?;
        // After the history, so that nothing is said to wait for a worker that the history had not scheduled yet.
        let stored = self.persist(|| store.describe(run)).await?.ok_or_else(|| self.not_found(of))?;
        let fleet = self.workers().await?;
        let activity_queues = folded.activities.values().filter_map(|a| a.scheduled.options.task_queue.clone());
        let mut queues: Vec<TaskQueue> = activity_queues.chain([stored.info.task_queue.clone()]).collect();
        queues.sort_unstable();
        queues.dedup();
        let mut serving = Vec::new();
        for queue in &queues {
            serving.extend(self.persist(|| store.served(&self.namespace, queue)).await?);
        }
        Ok(explain(stored, &folded, &fleet, &serving))
    }

    /// Reads the events of a run, from an event id on.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`], or [`ClientError::Store`] when what is stored is corrupt.
    pub async fn history(&self, run: RunKey, from_event_id: i64) -> Result<Vec<Event>, ClientError> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let from = events.last().map_or(from_event_id, |last| last.event_id + 1);
            let page = self.persist(|| self.shared.store.history(run, from, HISTORY_PAGE)).await?;
            let full = i64::try_from(page.len()).is_ok_and(|rows| rows >= HISTORY_PAGE);
            let new = page.into_iter().flat_map(|row| row.events).filter(|event| event.event_id >= from);
            events.extend(new);
            if !full {
                return Ok(events);
            }
        }
    }

    /// Lists runs of this client's namespace, in the filter's order: by default the newest start first.
    ///
    /// ```
    /// # use dacapo_core::store::RunFilter;
    /// # async fn list(client: dacapo_runtime::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let filter = RunFilter::parse("Status = 'Running' AND Customer = 'acme' ORDER BY StartTime")?;
    /// for run in client.list(filter, 100).await? {
    ///     println!("{} has run since {:?}", run.workflow_id, run.started_at);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Invalid`] when the filter cannot work, [`ClientError::Unavailable`].
    pub async fn list(&self, filter: RunFilter, limit: i64) -> Result<Vec<RunInfo>, ClientError> {
        let filter = RunFilter { namespace: Some(self.namespace.clone()), ..filter };
        self.persist(|| self.shared.store.list(&filter, limit)).await
    }

    /// Lists a part of the runs of this client's namespace, and says where to go on. A run that moves in the order meanwhile
    /// (it closes, in a list by time of close) may be listed twice or not at all; no other one is.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn list_page(&self, filter: RunFilter, limit: i64) -> Result<RunPage, ClientError> {
        // One more than asked for says whether there are more.
        let mut runs = self.list(filter.clone(), limit.saturating_add(1)).await?;
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = runs.len() > limit;
        runs.truncate(limit);
        let last = runs.last().filter(|_| more).map(|run| filter.order.cursor(run));
        Ok(RunPage { runs, next: last.map(|after| RunFilter { after: Some(after), ..filter }) })
    }

    /// Counts runs of this client's namespace.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn count(&self, filter: RunFilter) -> Result<u64, ClientError> {
        let filter = RunFilter { namespace: Some(self.namespace.clone()), ..filter };
        self.persist(|| self.shared.store.count(&filter)).await
    }

    /// Lists the fleet, of all namespaces.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`].
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>, ClientError> {
        self.persist(|| self.shared.store.workers()).await
    }

    async fn start_until_definite(&self, request: &StartWorkflow) -> Result<StartOutcome, ClientError> {
        if let Some(local) = &self.shared.local
            && let Ok(answer) = local.try_start(Box::new(request.clone()))
            && let Ok(Ok(outcome)) = answer.await
            && outcome != StartOutcome::OwnerLost
        {
            return Ok(outcome);
        }
        let outcome = self
            .persist(|| async {
                let now = self.shared.clock.now();
                let delay_ms = request.start_delay_ms.filter(|_| request.signal.is_none()).unwrap_or(0);
                let (reply, answer) = reply();
                let start = StartWrite {
                    request: request.clone(),
                    transition: request.transition(now),
                    owner: None,
                    ready_at: now.plus_ms(delay_ms),
                };
                self.shared.store.start(start, reply);
                answer.await.unwrap_or_else(|_| Err(no_answer()))
            })
            .await?;
        if outcome == StartOutcome::Started {
            metrics::counter!("dacapo_workflow_starts_total").increment(1);
        }
        Ok(outcome)
    }

    /// Repeats a call with a growing wait while the database does not answer.
    async fn persist<T, F>(&self, call: impl Fn() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = StoreResult<T>>,
    {
        let began = Instant::now();
        let mut wait = RETRY_WAIT;
        loop {
            match call().await {
                Ok(value) => return Ok(value),
                Err(StoreError::Unavailable { problem }) if began.elapsed() + wait > self.patience => {
                    return Err(ClientError::Unavailable { problem, tried_for: began.elapsed() });
                }
                Err(StoreError::Unavailable { problem }) => {
                    tracing::debug!(%problem, "the database does not answer; the call is repeated");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_WAIT_MAX);
                }
                Err(StoreError::Rejected { problem }) => return Err(ClientError::Invalid { problem }),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Makes a reply whose answer can be awaited.
fn reply<T: Send + 'static>() -> (Reply<T>, oneshot::Receiver<T>) {
    let (sender, receiver) = oneshot::channel();
    // Nobody may be waiting any more; what was asked for has happened all the same.
    (Reply::new(move |answer| drop(sender.send(answer))), receiver)
}

fn no_answer() -> StoreError {
    StoreError::Unavailable { problem: "the store of this process has stopped".to_owned() }
}

#[cfg(test)]
mod tests;
