//! Membership of the fleet, claims of runs and activities, and giving back.

use std::time::Duration;

use crate::{
    activity::ActivityOutcome,
    batch,
    event::Event,
    ids::{ActivityId, Namespace, RunKey, TaskQueue, WorkerId, WorkflowType},
    message::Message,
    payload::Payload,
    store::StoreError,
    time::Timestamp,
    transition::{ActivityRow, ActivityTask},
};

/// What a process says of itself when it joins the fleet.
#[derive(Debug, Clone)]
pub struct WorkerRegistration {
    /// A fresh version 7 uuid.
    pub worker: WorkerId,
    /// For people: host and process.
    pub identity: String,
    /// The build of the code, when it has one.
    pub build_id: Option<String>,
    /// The namespace it serves.
    pub namespace: Namespace,
    /// The queues it serves.
    pub queues: Vec<TaskQueue>,
    /// The workflow types it has; empty when it serves activities only.
    pub workflow_types: Vec<WorkflowType>,
    /// The activity types it has; empty when it serves workflows only.
    pub activity_types: Vec<String>,
    /// How long its lease lasts without renewal.
    pub lease: Duration,
    /// Activities it runs at once.
    pub slots: usize,
}

/// What a process wants to hear of when it renews its lease.
#[derive(Debug, Clone)]
pub struct BeatInterest {
    /// The new length of the lease.
    pub lease: Duration,
    /// The namespace it serves.
    pub namespace: Namespace,
    /// The queues it serves.
    pub queues: Vec<TaskQueue>,
    /// Attempts it runs at the moment, shown in `workers`.
    pub busy: usize,
    /// Runs it owns at the moment, shown in `workers`.
    pub owned: usize,
    /// For how long it goes on taking starts that others hand to it ([`super::Store::take_starts`]); `None`: it does not.
    pub takes_starts: Option<Duration>,
}

/// Which handed starts a worker takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandedStarts {
    /// What so many flushes of starts handed to it, those that wait longest.
    Oldest(usize),
    /// Those of which a hint told.
    Some(Vec<HandedId>),
}

/// Names what one flush of starts handed to a worker.
pub type HandedId = i64;

/// Runs of one flush of starts that was handed to a worker, brought to it by a hint: it need not read them.
#[derive(Debug, PartialEq)]
pub struct BroughtStarts {
    /// The worker that owns them.
    pub worker: WorkerId,
    /// The flush.
    pub handed: HandedId,
    /// The runs of the flush, of which some may come with other hints.
    pub of: usize,
    /// The runs.
    pub runs: Vec<BroughtRun>,
}

/// A run as its start wrote it, under the worker's first epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct BroughtRun {
    /// The run.
    pub key: RunKey,
    /// The id of its next event.
    pub next_event_id: i64,
    /// Its events, as [`batch::encode`](crate::batch::encode) writes them.
    pub events: String,
}

impl BroughtRun {
    /// Reads the run. Of what others may have written since it knows nothing: its first write is fenced by what it is here,
    /// and messages are told of by hints of their own.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn load(&self, owner: WorkerId) -> Result<LoadedRun, StoreError> {
        let corrupt = |problem: String| StoreError::Corrupt { problem };
        let events = batch::decode(self.key.run_id, 1, self.events.as_bytes())
            .map_err(|error| corrupt(format!("the start of run {} cannot be read: {error}", self.key.run_id)))?;
        if events.len() as i64 + 1 != self.next_event_id {
            let (run_id, count, next) = (self.key.run_id, events.len(), self.next_event_id);
            return Err(corrupt(format!("the start of run {run_id} has {count} events, and its next is {next}")));
        }
        let (key, owner) = (self.key, Some(owner));
        Ok(LoadedRun { key, owner, owner_epoch: 1, events, inbox: Vec::new(), activities: Vec::new() })
    }
}

/// What a worker took of that which others had started for it.
#[derive(Debug, Default)]
pub struct TakenStarts {
    /// Its runs, read.
    pub runs: Vec<LoadedRun>,
    /// How long the one that waited longest had waited.
    pub waited: Duration,
}

/// What a process hears when it renews its lease.
#[derive(Debug, Clone, Default)]
pub struct Beat {
    /// The database's clock.
    pub now: Timestamp,
    /// Peers whose lease has lapsed, or whose presence is gone.
    pub lapsed: Vec<WorkerId>,
    /// Whether runs wait on the queues.
    pub runs_ready: bool,
    /// Whether activities wait on the queues.
    pub activities_ready: bool,
    /// Whether messages wait for runs of this worker, or so many wait in all that only a look into its inboxes can tell.
    pub inbox_waiting: bool,
    /// Whether activity rows have passed their deadline.
    pub activities_overdue: bool,
    /// Whether starts wait that were handed to this worker, for longer than their news take.
    pub starts_handed: bool,
    /// Whether starts wait for longer than the worker to which they were handed should take.
    pub starts_untaken: bool,
    /// Whether rows of the outbox wait for longer than it takes the process that wrote them to deliver them.
    pub outbox_waiting: bool,
    /// When the next timer that nobody watches, or the next delayed row on the queues, is due; may lie in the past.
    pub next_due_at: Option<Timestamp>,
}

/// Which runs a process wants.
#[derive(Debug, Clone)]
pub struct RunClaim {
    /// In this namespace.
    pub namespace: Namespace,
    /// On these queues.
    pub queues: Vec<TaskQueue>,
    /// Of these types.
    pub workflow_types: Vec<WorkflowType>,
    /// At most so many.
    pub limit: usize,
}

/// Runs that were taken, now owned by the claimer.
#[derive(Debug, Clone, Default)]
pub struct ClaimedRuns {
    /// The runs, with everything that belongs to them.
    pub runs: Vec<LoadedRun>,
    /// Runs that were marked as ready although somebody owns them: hints for their owners.
    pub stale: Vec<(RunKey, WorkerId)>,
    /// Runs that somebody else was writing to at that moment, and that were left for later: they count towards the limit.
    pub skipped: usize,
}

/// One of the parts into which the open runs are cut, where a look at all of them at once would take too long. A run
/// that nobody changes is in exactly one part of each such cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunsPart {
    /// The part, from 0.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

impl RunsPart {
    /// All open runs at once.
    pub const WHOLE: Self = Self { index: 0, of: 1 };
}

/// A run's rows, read in one snapshot.
#[derive(Debug, Clone)]
pub struct LoadedRun {
    /// The run.
    pub key: RunKey,
    /// The owner at the time of the snapshot.
    pub owner: Option<WorkerId>,
    /// The owner epoch at the time of the snapshot.
    pub owner_epoch: i32,
    /// The whole history.
    pub events: Vec<Event>,
    /// Messages in the inbox, in the order of their ids.
    pub inbox: Vec<Message>,
    /// Its rows in `activities`, with the worker that has claimed each.
    pub activities: Vec<(ActivityRow, Option<WorkerId>)>,
}

/// A run to give back, with its fence.
#[derive(Debug)]
pub struct ReleaseRun {
    /// The run.
    pub key: RunKey,
    /// The owner epoch of the ownership.
    pub owner_epoch: i32,
    /// The id of its next event.
    pub next_event_id: i64,
    /// When somebody should take it; `None`: when a message, a timer or an activity wakes it.
    pub ready_at: Option<Timestamp>,
}

/// What became of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// Nobody owns the run now.
    Released,
    /// Messages wait in its inbox; it stays owned.
    InboxNotEmpty,
    /// Somebody is writing to it at this moment; it stays owned as it is.
    Busy,
    /// It was not the caller's any more, or has moved on.
    Fenced,
}

/// Which activities a process wants.
#[derive(Debug, Clone)]
pub struct ActivityClaim {
    /// In this namespace.
    pub namespace: Namespace,
    /// On these queues.
    pub queues: Vec<TaskQueue>,
    /// At most so many.
    pub limit: usize,
}

/// A claimed row of `activities`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ActivityClaimRef {
    /// The run.
    pub run: RunKey,
    /// The activity.
    pub activity_id: ActivityId,
    /// The attempt.
    pub attempt: u32,
    /// Changes with every claim; a report under an older one is refused.
    pub token: i64,
}

/// An attempt that was taken.
#[derive(Debug, Clone)]
pub struct ClaimedActivity {
    /// The claim.
    pub claim: ActivityClaimRef,
    /// What to run.
    pub task: ActivityTask,
    /// Whether the run has asked for it to stop in the meantime.
    pub cancel_requested: bool,
}

/// What became of a claimed attempt.
#[derive(Debug, Clone)]
pub struct ActivityReport {
    /// The claimer.
    pub worker: WorkerId,
    /// The claim.
    pub claim: ActivityClaimRef,
    /// How it ended.
    pub outcome: ActivityOutcome,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportOutcome {
    /// The run's inbox holds it (or did).
    Accepted,
    /// The claim is over: somebody else has the attempt, or the activity has its outcome. Nothing was written.
    Stale,
}

/// A sign of life of a claimed attempt.
#[derive(Debug, Clone)]
pub struct ActivityHeartbeat {
    /// The claim.
    pub claim: ActivityClaimRef,
    /// What the next attempt should know.
    pub details: Option<Payload>,
}

/// What a claimed attempt should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// The claim.
    pub claim: ActivityClaimRef,
    /// Whether the run has asked for it to stop.
    pub cancel_requested: bool,
}

/// Something that the protocol makes impossible, found and repaired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepFinding {
    /// Which rule was broken, as a metric label.
    pub kind: &'static str,
    /// How many rows.
    pub rows: u64,
}
