//! One run of this process, between its steps.

use dacapo_core::{
    ActivityId, Event, Message, Run, RunKey, RunStatus, StartWorkflow, Timestamp, Transition, WorkerId,
    store::{LoadedRun, RunResult, StartOutcome, StoreResult},
    transition::{ActivityTask, TimerRow},
};
use tokio::sync::oneshot;

use super::{Input, local::LocalsAfter};

/// What to think of an activity without an outcome, without a row, and without an attempt that runs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Adoption {
    /// Another process owned the run: an attempt may have begun there and is lost.
    MayHaveBegun,
    /// This process owned the run all along: its attempt never began.
    NeverBegan,
}

/// What is to happen when the write under way is committed.
#[derive(Debug, Default)]
pub(super) struct AfterCommit {
    /// The inputs that the write holds; given again when it cannot be written.
    pub(super) inputs: Vec<Input>,
    /// Attempts to begin here.
    pub(super) launches: Vec<ActivityTask>,
    /// Attempts to tell that they should stop.
    pub(super) cancels: Vec<ActivityId>,
    /// What becomes of local activities.
    pub(super) locals: LocalsAfter,
    /// When the earliest row that the write offers becomes visible.
    pub(super) offered_at: Option<Timestamp>,
    /// How the write closes the run.
    pub(super) closes: Option<RunStatus>,
    /// The end of the run, where its closing event says all of it.
    pub(super) result: Option<RunResult>,
    /// The run that begins with the end of this one, if it stays in this process.
    pub(super) successor: Option<Box<LoadedRun>>,
}

/// A start whose answer is awaited.
#[derive(Debug)]
pub(super) struct Starting {
    /// The request and its own transition, until they are handed to the store.
    pub(super) first: Option<Box<(StartWorkflow, Transition)>>,
    pub(super) after: Box<AfterCommit>,
    pub(super) reply: oneshot::Sender<StoreResult<StartOutcome>>,
    /// Whether the start leaves something in the inbox.
    pub(super) has_mail: bool,
    /// The step that closes the run at once; a start by itself never does.
    pub(super) then: Option<(Box<Transition>, Box<AfterCommit>)>,
}

/// What a run is doing.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing: the next input begins a step.
    Idle,
    /// Its start is being written.
    Starting(Box<Starting>),
    /// A step is being written.
    Writing(Box<AfterCommit>),
    /// It is being read again.
    Loading,
    /// It is being given back.
    Releasing,
}

/// A run of this process.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) run: Run,
    pub(super) epoch: i32,
    pub(super) inputs: Vec<Input>,
    pub(super) phase: Phase,
    /// Events for the next activation: the whole history, or what came after the last completed task's commands.
    pub(super) events: Vec<Event>,
    /// Whether `events` is the whole history.
    pub(super) whole: bool,
    /// Whether the executor has the run's state.
    pub(super) cached: bool,
    /// Failures of the workflow task in a row.
    pub(super) failures: u32,
    /// When the failing workflow task is tried again.
    pub(super) retry_at: Option<Timestamp>,
    /// Whether pending activities are still to be looked at.
    pub(super) adoption: Option<Adoption>,
    /// Whether the code waits for local activities that it has not asked this process for since the run was read.
    pub(super) asks_locals: bool,
    /// Activities whose row says that this process keeps the attempt for itself.
    pub(super) mine: Vec<ActivityId>,
    /// Updates that wait in the inbox for an answer of the code: given again with every step.
    pub(super) updates: Vec<Message>,
    /// Timers in the write under way.
    pub(super) timers_written: Vec<TimerRow>,
    /// The step count of the thread when the run was last used.
    pub(super) touched: u64,
}

impl Actor {
    /// Makes an actor of a run that has just begun or was just read.
    pub(super) fn new(run: Run, epoch: i32, events: Vec<Event>) -> Self {
        let (failures, asks_locals) = (run.task_failures, run.local_activities > 0);
        Self {
            asks_locals,
            run,
            epoch,
            inputs: Vec::new(),
            phase: Phase::Idle,
            events,
            whole: true,
            cached: false,
            failures,
            retry_at: None,
            adoption: None,
            mine: Vec::new(),
            updates: Vec::new(),
            timers_written: Vec::new(),
            touched: 0,
        }
    }

    /// Makes an actor of what was read.
    ///
    /// # Errors
    /// A history that breaks the rules of histories.
    pub(super) fn loaded(
        loaded: LoadedRun,
        adoption: Adoption,
        worker: WorkerId,
    ) -> Result<Self, dacapo_core::run::CorruptHistory> {
        let mut run = Run::from_history(&loaded.events)?;
        for (row, _) in &loaded.activities {
            run.restore_activity(row);
        }
        let mut actor = Self::new(run, loaded.owner_epoch, loaded.events);
        actor.adoption = Some(adoption);
        let mine = loaded.activities.iter().filter(|(row, by)| row.claimed_by_owner && *by == Some(worker));
        actor.mine = mine.map(|(row, _)| row.activity_id).collect();
        actor.inputs = loaded.inbox.into_iter().map(Input::Message).collect();
        Ok(actor)
    }

    pub(super) fn key(&self) -> RunKey {
        self.run.key
    }

    /// Whether a step may be made now.
    pub(super) fn may_step(&self) -> bool {
        match &self.phase {
            Phase::Idle => true,
            Phase::Starting(starting) => starting.first.is_some(),
            Phase::Writing(_) | Phase::Loading | Phase::Releasing => false,
        }
    }

    /// Whether nothing is under way that would be lost by forgetting the run.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle) && self.inputs.is_empty()
    }

    /// Whether the code may be run for something that no event says.
    pub(super) fn may_wake(&self, now: Timestamp) -> bool {
        self.retry_at.is_none() && self.run.may_task(now)
    }

    /// Whether the code can be run without reading the history first.
    pub(super) fn can_activate(&self) -> bool {
        self.cached || self.whole
    }
}
