//! The store as the engine sees it: a handle, its tasks, and the trait that hands each call to the file of its noun.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use dacapo_core::{
    Message, MessageId, Namespace, Payload, RunId, RunKey, Store, TaskQueue, Timestamp, WorkerId, WorkflowId,
    branch::BranchRun,
    query::{Query, QueryAnswer},
    store::{
        ActivityClaim, ActivityClaimRef, ActivityHeartbeat, ActivityReport, Beat, BeatInterest, BranchOutcome,
        CaughtUp, ClaimedActivity, ClaimedRuns, DeadLetter, DeadLetterFilter, DeadLetterKind, HandedId, HandedStarts,
        HeartbeatAnswer, HintReceiver, LoadedRun, QueueDepth, ReleaseOutcome, ReleaseRun, Reply, ReportOutcome,
        RunClaim, RunDescription, RunFilter, RunInfo, RunResult, RunWrite, RunsPart, SendMessage, SendOutcome,
        StartOutcome, StartWrite, StoreError, StoreResult, StoredTransition, SweepFinding, TakenStarts, WorkerInfo,
        WorkerRegistration, WriteOutcome,
    },
    update::UpdateStage,
};
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    claim::Places,
    committer::Committer,
    connection::{self, PgStoreOptions},
    hints::{
        Hints,
        listen::{Ask, Listener},
        notify::Notifier,
    },
    outbox::Post,
    schema,
    transactions::{Debts, deliver_committed},
    vacuum::{Removed, vacuum_queues},
};

/// The time that [`Store::close`] gives the lanes to write what was handed over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(40);

/// The longest that a call of the engine's waits for the database; far above what a server that lives takes.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// A store on Postgres.
#[derive(Debug)]
pub struct PgStore {
    /// Claims, loads, and what else an engine does all the time.
    pub(crate) hot: PgPool,
    /// Lists, descriptions, checks.
    pub(crate) read: PgPool,
    /// Transactions of users that this process begins for them.
    pub(crate) transactions: PgPool,
    pub(crate) post: Post,
    /// What transactions of users have written through this process.
    pub(crate) debts: Debts,
    /// Which database this is, once it was asked.
    pub(crate) home: OnceLock<String>,
    /// Where commits of such transactions are told, once there was one.
    pub(crate) transaction_channel: OnceLock<String>,
    pub(crate) hints: Hints,
    pub(crate) asks: mpsc::UnboundedSender<Ask>,
    pub(crate) places: Places,
    /// What was taken from queues since they were vacuumed.
    pub(crate) removed: Removed,
    committer: Committer,
    lanes: TaskTracker,
    tasks: TaskTracker,
    stop: CancellationToken,
    hears_closed: AtomicBool,
    hears_updated: AtomicBool,
}

impl PgStore {
    /// Connects to a database whose schema is this binary's; [`schema::migrate`] brings it there.
    ///
    /// Must be called within a tokio runtime, on which the store's tasks run until [`Store::close`].
    ///
    /// # Errors
    /// [`StoreError::Rejected`] for an unusable URL and for an older or newer schema, [`StoreError::Unavailable`] when
    /// the database cannot be reached.
    pub async fn connect(options: PgStoreOptions) -> StoreResult<Self> {
        schema::require_current(&options).await?;
        let unusable = |error: sqlx::Error| StoreError::Rejected { problem: error.to_string() };
        let target = options.connect_options().map_err(unusable)?;
        let direct = options.direct_options().map_err(unusable)?;
        let hints = Hints::default();
        let (lanes, tasks, stop) = (TaskTracker::new(), TaskTracker::new(), CancellationToken::new());
        let (asks, asked) = mpsc::unbounded_channel();
        let removed = Removed::default();
        let committer = Committer::spawn(&connection::hot(target.clone()), &hints, &removed, &lanes);
        tasks.spawn(Notifier::new(hints.clone(), &target, stop.clone()).run());
        tasks.spawn(Listener::new(hints.clone(), direct, options.neighbours, asked, stop.clone()).run());
        let hot = connection::hot_pool(target.clone());
        let debts = Debts::default();
        let post = Post::new(hot.clone(), hints.clone(), debts.clone(), removed.clone());
        tasks.spawn(deliver_committed(post.clone(), debts.clone(), hints.clone(), stop.clone()));
        let read = connection::read_pool(target.clone());
        tasks.spawn(vacuum_queues(read.clone(), removed.clone(), stop.clone()));
        let store = Self {
            hot,
            transactions: connection::transaction_pool(target, options.transaction_connections),
            read,
            post,
            debts,
            home: OnceLock::new(),
            transaction_channel: OnceLock::new(),
            hints,
            asks,
            places: Places::default(),
            removed,
            committer,
            lanes,
            tasks,
            stop,
            hears_closed: AtomicBool::new(false),
            hears_updated: AtomicBool::new(false),
        };
        store.read_clock().await?;
        Ok(store)
    }

    /// Makes sure that this process hears of runs that close: somebody here waits for one.
    fn ask_for_closed(&self) {
        if !self.hears_closed.swap(true, Ordering::Relaxed) {
            self.ask(Ask::Closed);
        }
    }

    /// Makes sure that this process hears of updates and answers that others write: somebody here waits for one.
    fn ask_for_updated(&self) {
        if !self.hears_updated.swap(true, Ordering::Relaxed) {
            self.ask(Ask::Updated);
        }
    }

    /// Asks the listening task for something; it lives as long as the store.
    pub(crate) fn ask(&self, ask: Ask) {
        if self.asks.send(ask).is_err() {
            tracing::debug!("the listening task has ended");
        }
    }
}

/// Bounds a call: an answer that does not come by then comes from a server that hangs.
async fn within<T>(call: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| {
        let problem = format!("no answer from the database within {} s", CALL_TIMEOUT.as_secs());
        Err(StoreError::Unavailable { problem })
    })
}

#[async_trait]
impl Store for PgStore {
    fn write(&self, write: RunWrite, reply: Reply<WriteOutcome>) {
        self.committer.write(write, reply);
    }

    fn start(&self, start: StartWrite, reply: Reply<StoreResult<StartOutcome>>) {
        self.committer.start(start, reply);
    }

    fn send(&self, send: SendMessage, reply: Reply<StoreResult<SendOutcome>>) {
        self.committer.send(send, reply);
    }

    async fn fence(&self, worker: WorkerId, run: RunKey, epoch: i32) -> StoreResult<Option<i32>> {
        within(self.raise_epoch(worker, run, epoch)).await
    }

    async fn terminate(&self, run: RunKey, message: Message) -> StoreResult<SendOutcome> {
        within(self.terminate_run(run, message)).await
    }

    async fn branch(&self, branch: &BranchRun) -> StoreResult<BranchOutcome> {
        within(self.branch_run(branch)).await
    }

    async fn register(&self, worker: &WorkerRegistration) -> StoreResult<Timestamp> {
        within(self.join_fleet(worker)).await
    }

    async fn beat(&self, worker: WorkerId, interest: &BeatInterest) -> StoreResult<Beat> {
        within(self.renew_lease(worker, interest)).await
    }

    async fn deregister(&self, worker: WorkerId) -> StoreResult<()> {
        within(self.leave_fleet(worker)).await
    }

    async fn take_over(&self, dead: WorkerId, limit: i64) -> StoreResult<u64> {
        within(self.take_over_batch(dead, limit)).await
    }

    async fn claim_runs(&self, worker: WorkerId, claim: &RunClaim) -> StoreResult<ClaimedRuns> {
        within(self.claim_ready(worker, claim)).await
    }

    async fn take_starts(&self, worker: WorkerId, for_so_long: Option<Duration>) -> StoreResult<()> {
        within(self.set_takes_starts(worker, for_so_long)).await
    }

    async fn take_handed(&self, worker: WorkerId, which: &HandedStarts) -> StoreResult<TakenStarts> {
        within(self.take_handed_starts(worker, which)).await
    }

    async fn took_brought(&self, worker: WorkerId, handed: &[HandedId]) -> StoreResult<Option<Duration>> {
        within(self.note_brought(worker, handed)).await
    }

    async fn give_back_handed(&self, worker: Option<WorkerId>, age: Duration) -> StoreResult<u64> {
        within(self.give_back_untaken(worker, age)).await
    }

    async fn load(&self, runs: &[RunKey]) -> StoreResult<Vec<LoadedRun>> {
        within(self.load_runs(runs)).await
    }

    async fn inbox(&self, worker: WorkerId, runs: &[RunKey], limit: i64) -> StoreResult<Vec<(RunKey, Message)>> {
        within(self.read_inbox(worker, runs, limit)).await
    }

    async fn release(&self, worker: WorkerId, runs: Vec<ReleaseRun>) -> StoreResult<Vec<(RunKey, ReleaseOutcome)>> {
        within(self.release_runs(worker, runs)).await
    }

    async fn owned_runs(&self, worker: WorkerId, part: RunsPart) -> StoreResult<Vec<(RunKey, i32)>> {
        within(self.read_owned(worker, part)).await
    }

    async fn move_due_timers(&self, limit: i64) -> StoreResult<u64> {
        within(self.move_timers(limit)).await
    }

    async fn next_timer_due(&self, horizon: Duration) -> StoreResult<Option<Timestamp>> {
        self.read_next_timer_due(horizon).await
    }

    async fn claim_activities(&self, worker: WorkerId, claim: &ActivityClaim) -> StoreResult<Vec<ClaimedActivity>> {
        within(self.claim_attempts(worker, claim)).await
    }

    async fn complete_activity(&self, report: ActivityReport) -> StoreResult<ReportOutcome> {
        let (reply, answer) = oneshot::channel();
        let reply = Reply::new(move |outcome| {
            // The caller may have stopped waiting.
            let _ = reply.send(outcome);
        });
        self.committer.report(report, reply);
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable { problem: "this store is closed".to_owned() }))
    }

    async fn heartbeat(&self, worker: WorkerId, beats: Vec<ActivityHeartbeat>) -> StoreResult<Vec<HeartbeatAnswer>> {
        within(self.record_heartbeats(worker, beats)).await
    }

    async fn return_activities(&self, worker: WorkerId, claims: Vec<ActivityClaimRef>) -> StoreResult<()> {
        within(self.return_attempts(worker, claims)).await
    }

    async fn expire_activities(&self, limit: i64) -> StoreResult<u64> {
        within(self.expire_attempts(limit)).await
    }

    async fn deliver_outbox(&self, limit: i64) -> StoreResult<u64> {
        within(self.deliver_rows(limit)).await
    }

    fn may_owe(&self, namespace: &Namespace, workflow_id: &WorkflowId) -> bool {
        self.debts.may_owe(namespace, workflow_id)
    }

    async fn catch_up(
        &self,
        namespace: &Namespace,
        workflow_id: &WorkflowId,
        run_id: Option<RunId>,
    ) -> StoreResult<CaughtUp> {
        within(self.catch_up_with(namespace, workflow_id, run_id)).await
    }

    async fn sweep(&self) -> StoreResult<Vec<SweepFinding>> {
        self.sweep_all().await
    }

    fn hints(&self) -> HintReceiver {
        self.hints.subscribe()
    }

    fn hear_closed(&self) -> bool {
        self.ask_for_closed();
        self.hints.hears_closed()
    }

    async fn find_run(
        &self,
        namespace: &Namespace,
        workflow_id: &WorkflowId,
        run_id: Option<RunId>,
    ) -> StoreResult<Option<RunInfo>> {
        within(self.find(namespace, workflow_id, run_id)).await
    }

    async fn describe(&self, run: RunKey) -> StoreResult<Option<RunDescription>> {
        self.describe_run(run).await
    }

    async fn history(&self, run: RunKey, from_event_id: i64, limit: i64) -> StoreResult<Vec<StoredTransition>> {
        self.read_history(run, from_event_id, limit).await
    }

    async fn results(&self, runs: &[RunKey]) -> StoreResult<Vec<(RunKey, RunResult)>> {
        within(self.read_results(runs)).await
    }

    async fn list(&self, filter: &RunFilter, limit: i64) -> StoreResult<Vec<RunInfo>> {
        self.list_runs(filter, limit).await
    }

    async fn count(&self, filter: &RunFilter) -> StoreResult<u64> {
        self.count_runs(filter).await
    }

    async fn dead_letters(&self, filter: &DeadLetterFilter, limit: i64) -> StoreResult<Vec<DeadLetter>> {
        self.list_dead_letters(filter, limit).await
    }

    async fn dead_letter_counts(&self) -> StoreResult<Vec<(DeadLetterKind, u64)>> {
        self.count_letters().await
    }

    async fn published(&self, run: RunKey, name: &str) -> StoreResult<Option<Payload>> {
        within(self.read_published(run, name)).await
    }

    async fn published_names(&self, run: RunKey) -> StoreResult<Vec<String>> {
        self.read_published_names(run).await
    }

    async fn update_stage(&self, run: RunKey, update_id: &str, message: MessageId) -> StoreResult<Option<UpdateStage>> {
        self.ask_for_updated();
        within(self.read_update_stage(run, update_id, message)).await
    }

    async fn ask(&self, run: RunKey, query: &Query) -> StoreResult<bool> {
        self.ask_for_updated();
        within(self.put_question(run, query)).await
    }

    async fn questions(&self, worker: WorkerId, runs: &[RunKey]) -> StoreResult<Vec<(RunKey, Query)>> {
        within(self.read_questions(worker, runs)).await
    }

    async fn answer_question(&self, run: RunKey, query: Uuid, answer: QueryAnswer) -> StoreResult<()> {
        within(self.write_answer(run, query, &answer)).await
    }

    async fn answer_to(&self, run: RunKey, query: Uuid) -> StoreResult<Option<QueryAnswer>> {
        within(self.read_answer(run, query)).await
    }

    async fn withdraw_question(&self, run: RunKey, query: Uuid) -> StoreResult<()> {
        within(self.remove_question(run, query)).await
    }

    async fn workers(&self) -> StoreResult<Vec<WorkerInfo>> {
        self.list_workers().await
    }

    async fn queue_depths(&self) -> StoreResult<Vec<QueueDepth>> {
        self.read_queue_depths().await
    }

    async fn put_blob(&self, sha256: &str, bytes: &[u8]) -> StoreResult<()> {
        within(self.write_blob(sha256, bytes)).await
    }

    async fn get_blob(&self, sha256: &str) -> StoreResult<Option<Vec<u8>>> {
        within(self.read_blob(sha256)).await
    }

    async fn clock(&self) -> StoreResult<(Timestamp, Duration)> {
        within(self.read_clock()).await
    }

    async fn served(&self, namespace: &Namespace, queue: &TaskQueue) -> StoreResult<Vec<WorkerInfo>> {
        self.list_serving(namespace, queue).await
    }

    async fn close(&self) {
        self.committer.close();
        self.lanes.close();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.lanes.wait()).await.is_err() {
            tracing::warn!("closing the store did not wait for writes that the database does not take");
        }
        self.deliver_last().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.hot.close().await;
        self.read.close().await;
        self.transactions.close().await;
    }
}
