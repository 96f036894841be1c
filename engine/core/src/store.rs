//! What the engine asks of a store. The one asynchronous file of this crate.
//!
//! A store keeps every rule of `docs/ownership-protocol.md`: each change to a run is fenced by its owner, its owner
//! epoch and its next event id; who is answered is answered after the commit. Hot calls ([`Store::write`],
//! [`Store::start`], [`Store::send`]) hand over one item and a reply, so that a store can gather what many runs want
//! into one statement.

mod branch;
mod claim;
mod dead_letter;
mod hint;
mod query;
mod write;

use std::{any::Any, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

pub use branch::*;
pub use claim::*;
pub use dead_letter::*;
pub use hint::*;
pub use query::*;
pub use write::*;

use crate::{
    branch::BranchRun,
    ids::{MessageId, Namespace, RunId, RunKey, TaskQueue, WorkerId, WorkflowId},
    message::Message,
    payload::Payload,
    query::{Query, QueryAnswer},
    time::Timestamp,
    update::UpdateStage,
};

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or gave up; trying again makes sense.
    #[error("the database is not available: {problem}")]
    Unavailable {
        /// What it said.
        problem: String,
    },
    /// The request can never work.
    #[error("{problem}")]
    Rejected {
        /// What is wrong and what to do.
        problem: String,
    },
    /// What is stored breaks a rule.
    #[error("stored data is corrupt: {problem}")]
    Corrupt {
        /// Which data, which rule.
        problem: String,
    },
    /// This process is no member of the fleet any more: its lease lapsed or it was declared dead.
    #[error("worker {worker} has lost its lease and must register again")]
    LeaseLost {
        /// The registration that is over.
        worker: WorkerId,
    },
}

/// The result of a call to a store.
pub type StoreResult<T> = Result<T, StoreError>;

/// Keeps runs, and everything that points at them. As an [`Any`] it can be asked which store it is, by those who offer what
/// only one of them can.
#[async_trait]
pub trait Store: Any + Send + Sync + 'static {
    /// Writes the transition of an owned run, fenced. The reply comes after the commit.
    fn write(&self, write: RunWrite, reply: Reply<WriteOutcome>);

    /// Starts a run: all of its first rows or nothing. The reply comes after the commit.
    fn start(&self, start: StartWrite, reply: Reply<StoreResult<StartOutcome>>);

    /// Puts a message into a run's inbox. The reply comes after the commit; the messages of one process to one run
    /// arrive in the order of the calls.
    fn send(&self, send: SendMessage, reply: Reply<StoreResult<SendOutcome>>);

    /// Finds out, by a fencing write, what became of a write whose answer was lost: raises the owner epoch of a run
    /// that is still owned by `worker` under `epoch`, so that nothing under the old one can be written later. `None`:
    /// the run is not this worker's any more, or is closed.
    async fn fence(&self, worker: WorkerId, run: RunKey, epoch: i32) -> StoreResult<Option<i32>>;

    /// Ends a run that nobody owns, or leaves the order in the inbox of its owner.
    async fn terminate(&self, run: RunKey, message: Message) -> StoreResult<SendOutcome>;

    /// Begins a run with a part of another's history, in one write with the end of that one where it is reset while open,
    /// whoever owns it: its owner's next write is fenced out. The new run is nobody's.
    async fn branch(&self, branch: &BranchRun) -> StoreResult<BranchOutcome>;

    /// Joins the fleet: a row in `workers` and a lease.
    async fn register(&self, worker: &WorkerRegistration) -> StoreResult<Timestamp>;

    /// Renews the lease and looks around: lapsed or vanished peers, due timers, work that waits.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when the lease is over; the process must drop what it owns.
    async fn beat(&self, worker: WorkerId, interest: &BeatInterest) -> StoreResult<Beat>;

    /// Leaves the fleet; what the worker still owns is there for others to take over at once.
    async fn deregister(&self, worker: WorkerId) -> StoreResult<()>;

    /// Declares a worker dead whose lease has lapsed (or whose presence is gone), and takes over one batch of what it
    /// owned and had claimed: its runs are there for others, under another epoch; each attempt that it had claimed counts,
    /// and its run finds in its inbox that it was lost. Gives the rows moved; 0 means nothing is left.
    async fn take_over(&self, dead: WorkerId, limit: i64) -> StoreResult<u64>;

    /// Takes unowned runs that have something to do, and reads them: history, inbox and activity rows in one snapshot, from
    /// a moment when nobody else could write to them any more.
    async fn claim_runs(&self, worker: WorkerId, claim: &RunClaim) -> StoreResult<ClaimedRuns>;

    /// Says that others may hand starts to the worker for so long, or no more (`None`). A start that is handed to a worker is
    /// owned by it from its first moment; [`Hint::Brought`] brings it, or [`Hint::Handed`] and [`Beat::starts_handed`] tell the
    /// worker to take it.
    ///
    /// A store that hands no starts to anybody has nothing to do.
    async fn take_starts(&self, _worker: WorkerId, _for_so_long: Option<Duration>) -> StoreResult<()> {
        Ok(())
    }

    /// Takes starts that were handed to the worker, and reads their runs. What is taken is not given back any more by
    /// [`Store::give_back_handed`]; runs that are not the worker's are missing in the answer.
    async fn take_handed(&self, _worker: WorkerId, _which: &HandedStarts) -> StoreResult<TakenStarts> {
        Ok(TakenStarts::default())
    }

    /// Notes that the worker has all runs of flushes that a hint brought; they are not given back any more. Gives how long
    /// ago the oldest was handed over; `None`: too long, and some are not the worker's any more.
    async fn took_brought(&self, _worker: WorkerId, _handed: &[HandedId]) -> StoreResult<Option<Duration>> {
        Ok(None)
    }

    /// Makes runs that were handed to a worker (`None`: to anybody) at least `age` ago, and that it has not taken, ready for
    /// everybody: those of some flushes of starts. Gives of how many; 0: none is left.
    async fn give_back_handed(&self, _worker: Option<WorkerId>, _age: Duration) -> StoreResult<u64> {
        Ok(0)
    }

    /// Reads history, inbox, activity rows of runs in one snapshot. Runs that are gone are missing in the answer.
    async fn load(&self, runs: &[RunKey]) -> StoreResult<Vec<LoadedRun>>;

    /// Reads the inboxes of those of the runs that the worker owns.
    async fn inbox(&self, worker: WorkerId, runs: &[RunKey], limit: i64) -> StoreResult<Vec<(RunKey, Message)>>;

    /// Gives runs back; each is refused when its inbox is not empty or the fence has moved.
    async fn release(&self, worker: WorkerId, runs: Vec<ReleaseRun>) -> StoreResult<Vec<(RunKey, ReleaseOutcome)>>;

    /// Lists the runs in one part of all that name this worker as their owner, to compare with its memory. No index knows
    /// owners: the whole is read from end to end.
    async fn owned_runs(&self, worker: WorkerId, part: RunsPart) -> StoreResult<Vec<(RunKey, i32)>>;

    /// Moves due timers into the inboxes of their runs. Gives how many.
    async fn move_due_timers(&self, limit: i64) -> StoreResult<u64>;

    /// Says when the next timer is to be moved, if that is within `horizon`.
    async fn next_timer_due(&self, horizon: Duration) -> StoreResult<Option<Timestamp>>;

    /// Takes activity attempts that wait for a worker.
    async fn claim_activities(&self, worker: WorkerId, claim: &ActivityClaim) -> StoreResult<Vec<ClaimedActivity>>;

    /// Reports what became of a claimed attempt: a message to its run, and its row gone, under the claim's token.
    async fn complete_activity(&self, report: ActivityReport) -> StoreResult<ReportOutcome>;

    /// Records heartbeats of claimed attempts and says what they should know. An attempt that is missing in the answer
    /// is not the caller's any more.
    async fn heartbeat(&self, worker: WorkerId, beats: Vec<ActivityHeartbeat>) -> StoreResult<Vec<HeartbeatAnswer>>;

    /// Gives claimed attempts back unspent, visible at once.
    async fn return_activities(&self, worker: WorkerId, claims: Vec<ActivityClaimRef>) -> StoreResult<()>;

    /// Turns attempts whose time has passed and whom nobody watches into messages to their runs. Gives how many.
    async fn expire_activities(&self, limit: i64) -> StoreResult<u64>;

    /// Delivers up to `limit` rows of the outbox, whoever wrote them: does at the target what the row says, puts the answer
    /// into the inbox of the run that asked, and removes the row, all or nothing. The rows of one run are delivered in the order
    /// of their ids, by one caller at a time. Gives how many were delivered; 0 means that nothing is left that somebody else
    /// is not delivering.
    async fn deliver_outbox(&self, limit: i64) -> StoreResult<u64>;

    /// Whether a transaction that wrote through this process may have left something for a workflow id that is not
    /// delivered yet; [`Store::catch_up`] then goes before anything else that this process wants of the id.
    fn may_owe(&self, _namespace: &Namespace, _workflow_id: &WorkflowId) -> bool {
        false
    }

    /// Delivers now what committed transactions want of a workflow id, and says what became of the start of `run_id`
    /// where it was asked for in one. A store without transactions of users has nothing to catch up with.
    async fn catch_up(
        &self,
        _namespace: &Namespace,
        _workflow_id: &WorkflowId,
        _run_id: Option<RunId>,
    ) -> StoreResult<CaughtUp> {
        Ok(CaughtUp::default())
    }

    /// Finds and repairs what the protocol makes impossible. Gives what was found.
    async fn sweep(&self) -> StoreResult<Vec<SweepFinding>>;

    /// Subscribes to hints. They may be late, doubled or missing; the tables are the truth.
    fn hints(&self) -> HintReceiver;

    /// Asks that hints tell of runs that other processes close, and says whether they do by now. As long as they do,
    /// nothing but a lost hint keeps the close of a run from being heard of; a break in between is told as
    /// [`Hint::Everything`].
    fn hear_closed(&self) -> bool;

    /// Finds the newest run of a workflow id, or a given one.
    async fn find_run(
        &self,
        namespace: &Namespace,
        workflow_id: &WorkflowId,
        run_id: Option<RunId>,
    ) -> StoreResult<Option<RunInfo>>;

    /// Describes one run: what is pending and why it does not move.
    async fn describe(&self, run: RunKey) -> StoreResult<Option<RunDescription>>;

    /// Reads a run's history from an event id on, whole transitions, at most `limit` of them.
    async fn history(&self, run: RunKey, from_event_id: i64, limit: i64) -> StoreResult<Vec<StoredTransition>>;

    /// Gives the ends of those of the runs that are closed.
    async fn results(&self, runs: &[RunKey]) -> StoreResult<Vec<(RunKey, RunResult)>>;

    /// Lists runs in the filter's order, from its place on.
    async fn list(&self, filter: &RunFilter, limit: i64) -> StoreResult<Vec<RunInfo>>;

    /// Counts runs, from whatever place the filter would go on.
    async fn count(&self, filter: &RunFilter) -> StoreResult<u64>;

    /// Lists dead letters, by run.
    async fn dead_letters(&self, filter: &DeadLetterFilter, limit: i64) -> StoreResult<Vec<DeadLetter>>;

    /// Counts dead letters of all namespaces by kind, each kind once.
    async fn dead_letter_counts(&self) -> StoreResult<Vec<(DeadLetterKind, u64)>>;

    /// Reads a value that a workflow published.
    async fn published(&self, run: RunKey, name: &str) -> StoreResult<Option<Payload>>;

    /// Names the values that a workflow published.
    async fn published_names(&self, run: RunKey) -> StoreResult<Vec<String>>;

    /// Says what has become of a request for an update so far, for whoever sent it as `message`; `None`: nothing yet.
    async fn update_stage(&self, run: RunKey, update_id: &str, message: MessageId) -> StoreResult<Option<UpdateStage>>;

    /// Puts a question before the owner of an open run, or finds the run one; asked again, it wakes again. `false`: the run is
    /// not open.
    async fn ask(&self, run: RunKey, query: &Query) -> StoreResult<bool>;

    /// Reads the questions without an answer to those of the runs that the worker owns.
    async fn questions(&self, worker: WorkerId, runs: &[RunKey]) -> StoreResult<Vec<(RunKey, Query)>>;

    /// Answers a question, unless nobody waits any more.
    async fn answer_question(&self, run: RunKey, query: Uuid, answer: QueryAnswer) -> StoreResult<()>;

    /// Reads the answer to a question.
    async fn answer_to(&self, run: RunKey, query: Uuid) -> StoreResult<Option<QueryAnswer>>;

    /// Removes a question, answered or not.
    async fn withdraw_question(&self, run: RunKey, query: Uuid) -> StoreResult<()>;

    /// Lists the fleet.
    async fn workers(&self) -> StoreResult<Vec<WorkerInfo>>;

    /// Counts what waits on queues, for `describe` and metrics.
    async fn queue_depths(&self) -> StoreResult<Vec<QueueDepth>>;

    /// Stores bytes under their SHA-256 (lower-case hex); storing them again changes nothing.
    async fn put_blob(&self, sha256: &str, bytes: &[u8]) -> StoreResult<()>;

    /// Reads stored bytes.
    async fn get_blob(&self, sha256: &str) -> StoreResult<Option<Vec<u8>>>;

    /// The database's clock, and the time it took to ask.
    async fn clock(&self) -> StoreResult<(Timestamp, Duration)>;

    /// Names one queue's waiting work types that no live worker serves; used to say why a run waits.
    async fn served(&self, namespace: &Namespace, queue: &TaskQueue) -> StoreResult<Vec<WorkerInfo>>;

    /// Finishes what was handed over and stops.
    async fn close(&self);
}
