//! The store in memory: the same rules as on Postgres, over plain maps behind one lock.
//!
//! For tests, with a clock of its own that is moved by hand, and for trying things out in one process. It keeps every
//! rule of ownership (fences, leases, tokens, refusals) because the code above it must not be able to tell the
//! difference; the contract suite in `tests/it/contract` runs against both. Nothing survives the process.
//!
//! Each call takes the lock, changes the tables as one transaction would, and releases it; hints and replies follow.

mod activities;
mod branch;
mod claim;
mod dead_letters;
mod fleet;
mod inbox;
mod outbox;
mod query;
mod questions;
mod rest;
mod start;
mod state;
mod sweep;
mod write;

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use dacapo_core::{
    ActivityId, Message, MessageId, Namespace, Payload, RunId, RunKey, Store, TaskQueue, Timestamp, WorkerId,
    WorkflowId,
    branch::BranchRun,
    query::{Query, QueryAnswer},
    store::{
        ActivityClaim, ActivityClaimRef, ActivityHeartbeat, ActivityReport, Beat, BeatInterest, BranchOutcome,
        ClaimedActivity, ClaimedRuns, DeadLetter, DeadLetterFilter, DeadLetterKind, HeartbeatAnswer, Hint, HintBoard,
        HintReceiver, LoadedRun, QueueDepth, ReleaseOutcome, ReleaseRun, Reply, ReportOutcome, RunClaim,
        RunDescription, RunFilter, RunInfo, RunResult, RunWrite, RunsPart, SendMessage, SendOutcome, StartOutcome,
        StartWrite, StoreResult, StoredTransition, SweepFinding, WorkerInfo, WorkerRegistration, WriteOutcome,
    },
    update::UpdateStage,
};
use uuid::Uuid;

use self::state::State;
use crate::{client::UpdateWait, virtual_time::Awaited};

/// Where the time comes from.
#[derive(Debug)]
enum StoreClock {
    /// The machine.
    Real,
    /// Whoever moves it.
    Manual(Mutex<Timestamp>),
}

/// The time at which a manual clock begins: 2020-01-01T00:00:00Z, so that times in tests are easy to read.
const MANUAL_START: Timestamp = Timestamp(1_577_836_800_000_000);

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    clock: StoreClock,
    board: HintBoard,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// Makes an empty store on the machine's clock.
    pub fn new() -> Self {
        Self::with_clock(StoreClock::Real)
    }

    /// Makes an empty store whose time stands still until [`MemoryStore::advance`] moves it.
    pub fn with_manual_clock() -> Self {
        Self::with_clock(StoreClock::Manual(Mutex::new(MANUAL_START)))
    }

    fn with_clock(clock: StoreClock) -> Self {
        Self { state: Mutex::default(), clock, board: HintBoard::default() }
    }

    /// Gives the store's time.
    pub fn now(&self) -> Timestamp {
        match &self.clock {
            StoreClock::Manual(now) => *lock(now),
            StoreClock::Real => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::default().plus(since)
            }
        }
    }

    /// Moves a manual clock on and tells everybody who waits for hints; a real one goes by itself. Leases age with it.
    pub fn advance(&self, by: Duration) {
        if let StoreClock::Manual(now) = &self.clock {
            let mut now = lock(now);
            *now = now.plus(by);
        }
        self.board.publish(&Hint::Everything);
    }

    /// Gives when the next thing is due that only time brings: a timer, a delayed run or attempt, a deadline of one.
    pub fn next_due_at(&self) -> Option<Timestamp> {
        let now = self.now();
        lock(&self.state).next_due_at(now)
    }

    /// Whether nothing waits in the tables that a worker could take now; `runs` says which attempts are under way,
    /// `waiting` which messages their owners know and leave where they are, `known` which runs they have in memory.
    pub(crate) fn is_at_rest(
        &self,
        runs: impl Fn(RunKey, ActivityId) -> bool,
        waiting: &HashSet<(RunKey, MessageId)>,
        known: &HashSet<RunKey>,
    ) -> bool {
        self.read(|state, now| state.is_at_rest(now, runs, waiting, known))
    }

    /// Whether what somebody waits for has happened.
    pub(crate) fn has_happened(&self, awaited: &Awaited) -> bool {
        self.read(|state, _| match awaited {
            Awaited::End(run) => state.closed.contains_key(run),
            Awaited::Update { sent, wait } => state
                .update_stage(sent.run, &sent.update_id, sent.message_id)
                .is_some_and(|stage| stage.is_final() || *wait == UpdateWait::Accepted),
        })
    }

    /// Runs one transaction: changes under the lock, hints after it.
    fn commit<T>(&self, change: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let mut state = lock(&self.state);
        let answer = change(&mut state, self.now());
        let hints = std::mem::take(&mut state.hints);
        drop(state);
        for hint in &hints {
            self.board.publish(hint);
        }
        answer
    }

    fn read<T>(&self, look: impl FnOnce(&State, Timestamp) -> T) -> T {
        let state = lock(&self.state);
        look(&state, self.now())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Store for MemoryStore {
    fn write(&self, write: RunWrite, reply: Reply<WriteOutcome>) {
        reply.send(self.commit(|state, now| state.write(write, now)));
    }

    fn start(&self, start: StartWrite, reply: Reply<StoreResult<StartOutcome>>) {
        reply.send(self.commit(|state, now| state.start(start, now)));
    }

    fn send(&self, send: SendMessage, reply: Reply<StoreResult<SendOutcome>>) {
        reply.send(Ok(self.commit(|state, now| state.send(send, now))));
    }

    async fn fence(&self, worker: WorkerId, run: RunKey, epoch: i32) -> StoreResult<Option<i32>> {
        Ok(self.commit(|state, _| state.fence(worker, run, epoch)))
    }

    async fn terminate(&self, run: RunKey, message: Message) -> StoreResult<SendOutcome> {
        self.commit(|state, now| state.terminate(run, message, now))
    }

    async fn branch(&self, branch: &BranchRun) -> StoreResult<BranchOutcome> {
        self.commit(|state, now| state.branch(branch, now))
    }

    async fn register(&self, worker: &WorkerRegistration) -> StoreResult<Timestamp> {
        self.commit(|state, now| state.register(worker, now))
    }

    async fn beat(&self, worker: WorkerId, interest: &BeatInterest) -> StoreResult<Beat> {
        self.commit(|state, now| state.beat(worker, interest, now))
    }

    async fn deregister(&self, worker: WorkerId) -> StoreResult<()> {
        self.commit(|state, _| state.deregister(worker));
        Ok(())
    }

    async fn take_over(&self, dead: WorkerId, limit: i64) -> StoreResult<u64> {
        Ok(self.commit(|state, now| state.take_over(dead, limit, now)))
    }

    async fn claim_runs(&self, worker: WorkerId, claim: &RunClaim) -> StoreResult<ClaimedRuns> {
        self.commit(|state, now| state.claim_runs(worker, claim, now))
    }

    async fn load(&self, runs: &[RunKey]) -> StoreResult<Vec<LoadedRun>> {
        Ok(self.read(|state, _| state.load(runs)))
    }

    async fn inbox(&self, worker: WorkerId, runs: &[RunKey], limit: i64) -> StoreResult<Vec<(RunKey, Message)>> {
        Ok(self.read(|state, _| state.inbox(worker, runs, limit)))
    }

    async fn release(&self, worker: WorkerId, runs: Vec<ReleaseRun>) -> StoreResult<Vec<(RunKey, ReleaseOutcome)>> {
        Ok(self.commit(|state, now| {
            runs.iter().map(|release| (release.key, state.release(worker, release, now))).collect()
        }))
    }

    async fn owned_runs(&self, worker: WorkerId, part: RunsPart) -> StoreResult<Vec<(RunKey, i32)>> {
        Ok(self.read(|state, _| state.owned_runs(worker, part)))
    }

    async fn move_due_timers(&self, limit: i64) -> StoreResult<u64> {
        Ok(self.commit(|state, now| state.move_due_timers(limit, now)))
    }

    async fn next_timer_due(&self, horizon: Duration) -> StoreResult<Option<Timestamp>> {
        Ok(self.read(|state, now| state.next_timer_due().filter(|at| *at <= now.plus(horizon))))
    }

    async fn claim_activities(&self, worker: WorkerId, claim: &ActivityClaim) -> StoreResult<Vec<ClaimedActivity>> {
        self.commit(|state, now| state.claim_activities(worker, claim, now))
    }

    async fn complete_activity(&self, report: ActivityReport) -> StoreResult<ReportOutcome> {
        Ok(self.commit(|state, now| state.complete_activity(report, now)))
    }

    async fn heartbeat(&self, worker: WorkerId, beats: Vec<ActivityHeartbeat>) -> StoreResult<Vec<HeartbeatAnswer>> {
        Ok(self.commit(|state, now| state.heartbeat(worker, beats, now)))
    }

    async fn return_activities(&self, worker: WorkerId, claims: Vec<ActivityClaimRef>) -> StoreResult<()> {
        self.commit(|state, now| state.return_activities(worker, &claims, now));
        Ok(())
    }

    async fn expire_activities(&self, limit: i64) -> StoreResult<u64> {
        Ok(self.commit(|state, now| state.expire_activities(limit, now)))
    }

    async fn deliver_outbox(&self, limit: i64) -> StoreResult<u64> {
        self.commit(|state, now| state.deliver_outbox(limit, now))
    }

    async fn sweep(&self) -> StoreResult<Vec<SweepFinding>> {
        Ok(self.commit(State::sweep))
    }

    fn hints(&self) -> HintReceiver {
        self.board.subscribe()
    }

    fn hear_closed(&self) -> bool {
        true
    }

    async fn find_run(
        &self,
        namespace: &Namespace,
        workflow_id: &WorkflowId,
        run_id: Option<RunId>,
    ) -> StoreResult<Option<RunInfo>> {
        Ok(self.read(|state, _| state.find_run(namespace, workflow_id, run_id)))
    }

    async fn describe(&self, run: RunKey) -> StoreResult<Option<RunDescription>> {
        Ok(self.read(|state, now| state.describe(run, now)))
    }

    async fn history(&self, run: RunKey, from_event_id: i64, limit: i64) -> StoreResult<Vec<StoredTransition>> {
        Ok(self.read(|state, _| state.history(run, from_event_id, limit)))
    }

    async fn results(&self, runs: &[RunKey]) -> StoreResult<Vec<(RunKey, RunResult)>> {
        Ok(self.read(|state, _| state.results(runs)))
    }

    async fn list(&self, filter: &RunFilter, limit: i64) -> StoreResult<Vec<RunInfo>> {
        Ok(self.read(|state, _| state.list(filter, limit)))
    }

    async fn count(&self, filter: &RunFilter) -> StoreResult<u64> {
        Ok(self.read(|state, _| state.count(filter)))
    }

    async fn dead_letters(&self, filter: &DeadLetterFilter, limit: i64) -> StoreResult<Vec<DeadLetter>> {
        let mut letters = self.read(|state, _| state.dead_letters(filter));
        letters.truncate(usize::try_from(limit).unwrap_or(0));
        Ok(letters)
    }

    async fn dead_letter_counts(&self) -> StoreResult<Vec<(DeadLetterKind, u64)>> {
        Ok(self.read(|state, _| state.dead_letter_counts()))
    }

    async fn published(&self, run: RunKey, name: &str) -> StoreResult<Option<Payload>> {
        Ok(self.read(|state, _| state.published.get(&(run, name.to_owned())).cloned()))
    }

    async fn published_names(&self, run: RunKey) -> StoreResult<Vec<String>> {
        Ok(self.read(|state, _| state.published_names(run)))
    }

    async fn update_stage(&self, run: RunKey, update_id: &str, message: MessageId) -> StoreResult<Option<UpdateStage>> {
        Ok(self.read(|state, _| state.update_stage(run, update_id, message)))
    }

    async fn ask(&self, run: RunKey, query: &Query) -> StoreResult<bool> {
        Ok(self.commit(|state, now| state.ask(run, query, now)))
    }

    async fn questions(&self, worker: WorkerId, runs: &[RunKey]) -> StoreResult<Vec<(RunKey, Query)>> {
        Ok(self.read(|state, _| state.questions(worker, runs)))
    }

    async fn answer_question(&self, run: RunKey, query: Uuid, answer: QueryAnswer) -> StoreResult<()> {
        self.commit(|state, _| state.answer(run, query, answer));
        Ok(())
    }

    async fn answer_to(&self, run: RunKey, query: Uuid) -> StoreResult<Option<QueryAnswer>> {
        Ok(self.read(|state, _| state.questions.get(&(run, query)).and_then(|(_, answer)| answer.clone())))
    }

    async fn withdraw_question(&self, run: RunKey, query: Uuid) -> StoreResult<()> {
        self.commit(|state, _| state.questions.remove(&(run, query)));
        Ok(())
    }

    async fn workers(&self) -> StoreResult<Vec<WorkerInfo>> {
        Ok(self.read(State::workers))
    }

    async fn queue_depths(&self) -> StoreResult<Vec<QueueDepth>> {
        Ok(self.read(State::queue_depths))
    }

    async fn put_blob(&self, sha256: &str, bytes: &[u8]) -> StoreResult<()> {
        self.commit(|state, _| {
            state.blobs.entry(sha256.to_owned()).or_insert_with(|| bytes.to_vec());
        });
        Ok(())
    }

    async fn get_blob(&self, sha256: &str) -> StoreResult<Option<Vec<u8>>> {
        Ok(self.read(|state, _| state.blobs.get(sha256).cloned()))
    }

    async fn clock(&self) -> StoreResult<(Timestamp, Duration)> {
        Ok((self.now(), Duration::ZERO))
    }

    async fn served(&self, namespace: &Namespace, queue: &TaskQueue) -> StoreResult<Vec<WorkerInfo>> {
        Ok(self.read(|state, now| state.served(namespace, queue, now)))
    }

    async fn close(&self) {}
}
