//! Owns runs: each run of this process lives on one of its workflow threads, as an actor that takes inputs one step at
//! a time and has at most one write under way.
//!
//! Invariants: a run's code runs only on its thread; what a step wants to start (activities, timers) starts only after
//! the step's commit; whatever goes wrong with a write (fenced, refused, unknown) throws the actor's state away and,
//! where the run is still this process's, loads it again and gives it the same inputs once more. Deliberately absent:
//! SQL, decisions (they are in core), and the code of workflows (it is behind [`crate::Executor`]).

mod actor;
mod launch;
mod local;
mod question;
mod read;
mod rest;
mod settle;
mod start;
mod step;
mod thread;
mod timers;
mod watchdog;

use std::{
    hash::BuildHasher,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use dacapo_core::{
    ActivityId, ActivityOutcome, Message, Payload, RunKey, StartWorkflow, Store, Timestamp, WorkerId,
    query::Query,
    run_hash::BuildRunHasher,
    store::{LoadedRun, ReleaseOutcome, StartOutcome, StoreResult, WriteOutcome},
};
use tokio::{runtime::Handle, sync::Notify};
use tokio_util::task::TaskTracker;

pub(crate) use watchdog::watch;

use crate::{
    activities::{ActivityPool, LocalId},
    client::waits::Waits,
    clock::Clock,
    executor::{ExecutorFactory, LocalActivityEnded},
    options::WorkerOptions,
    roles::Peers,
};

/// What every thread of one registration shares.
pub(crate) struct Context {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) worker: WorkerId,
    pub(crate) identity: Arc<str>,
    pub(crate) options: WorkerOptions,
    pub(crate) factory: Arc<dyn ExecutorFactory>,
    pub(crate) pool: Arc<ActivityPool>,
    pub(crate) peers: Peers,
    pub(crate) handle: Handle,
    pub(crate) tracker: TaskTracker,
    /// Runs owned, over all threads.
    pub(crate) owned: AtomicUsize,
    /// Runs that were read or brought, and that their threads have not taken yet.
    pub(crate) arriving: AtomicUsize,
    /// Whether runs are given back and no code is run any more.
    pub(crate) draining: AtomicBool,
    /// Whether a claim or a fence had no answer: it may have gone through, and nobody here knows its runs.
    pub(crate) claim_lost: AtomicBool,
    /// Whether too many threads were lost to code that does not return.
    pub(crate) exhausted: AtomicBool,
    /// Rung when a run was given back or closed.
    pub(crate) room: Notify,
    /// When this process wrote an activity row that becomes visible later.
    pub(crate) activity_due: crate::roles::Alarm,
    /// When the next timer that no owner watches is due, as far as this process knows.
    pub(crate) timer_due: Arc<crate::roles::Alarm>,
    /// The threads, for runs that begin with the end of others.
    pub(crate) owners: OnceLock<Owners>,
    /// Which inboxes are to be read.
    pub(crate) mail: Arc<crate::roles::inbox::Mail>,
    /// Whether others may hand starts to this process.
    pub(crate) door: crate::roles::handed::Door,
}

impl Context {
    /// How many runs this process keeps, with those on their way to their threads.
    pub(crate) fn owned(&self) -> usize {
        self.owned.load(Ordering::Relaxed) + self.arriving.load(Ordering::Relaxed)
    }

    /// Says that a run is no longer kept here.
    pub(crate) fn one_less(&self) {
        self.owned.fetch_sub(1, Ordering::Relaxed);
        self.room.notify_one();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Something that happens to a run of this process.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A message from its inbox.
    Message(Message),
    /// What became of an attempt that ran here.
    Outcome(ActivityOutcome),
    /// An attempt that ran here will not say what it did.
    AttemptLost { activity_id: ActivityId, attempt: u32 },
    /// An attempt that waited here for a slot never began, and will not.
    AttemptNeverBegan { activity_id: ActivityId, attempt: u32 },
    /// A sign of life of an attempt that runs here.
    Heartbeat { activity_id: ActivityId, attempt: u32, details: Option<Payload> },
    /// A timer's time has come, by the estimate of the database clock.
    TimerDue(u64),
    /// The wait after a failed workflow task is over.
    RetryTask,
    /// The workflow task did not come back in time; the thread was given up.
    TaskTimedOut,
}

/// What a workflow thread is told. The channel is not bounded by itself; what is in it is: one write or load for each
/// owned run, one outcome for each activity slot, and messages in batches that were asked for.
pub(crate) enum ToOwner {
    Start {
        request: Box<StartWorkflow>,
        reply: tokio::sync::oneshot::Sender<StoreResult<StartOutcome>>,
    },
    Started {
        key: RunKey,
        outcome: StoreResult<StartOutcome>,
        /// The attempts that began with the commit.
        launched: Vec<ActivityId>,
    },
    Claimed(Box<LoadedRun>),
    Input(RunKey, Input),
    /// A local activity ended, or will not say how.
    LocalEnded {
        key: RunKey,
        activity_id: ActivityId,
        id: LocalId,
        ended: Option<LocalActivityEnded>,
    },
    Written {
        key: RunKey,
        epoch: i32,
        outcome: WriteOutcome,
        /// The attempts that began with the commit.
        launched: Vec<ActivityId>,
    },
    Loaded {
        key: RunKey,
        epoch: i32,
        loaded: Option<Box<LoadedRun>>,
    },
    Released {
        key: RunKey,
        epoch: i32,
        outcome: ReleaseOutcome,
    },
    /// Give back up to so many runs that wait for something.
    MakeRoom(usize),
    /// Record what is under way, run no more code, give everything back.
    Drain,
    /// The registration is over: forget everything.
    Forget,
    /// Somebody ended the run and another took its place: read it again, and find it gone.
    Replaced(RunKey),
    /// Let the code of a run answer a question.
    Ask(Box<question::Question>),
    /// Time has moved: look at the alarms.
    Look,
    /// Look at the channel's end.
    Stop,
}

/// The workflow threads of one registration. Cloning gives another handle on the same threads.
#[derive(Clone)]
pub(crate) struct Owners {
    threads: Arc<[thread::ThreadHandle]>,
}

impl Owners {
    /// Starts the threads.
    pub(crate) fn start(context: &Arc<Context>) -> Self {
        let count = context.options.workflow_threads.max(1);
        let threads = (0..count).map(|index| thread::ThreadHandle::start(Arc::clone(context), index)).collect();
        Self { threads }
    }

    pub(crate) fn threads(&self) -> &[thread::ThreadHandle] {
        &self.threads
    }

    /// Starts a run that this process owns from its first moment.
    pub(crate) fn start_run(
        &self,
        request: Box<StartWorkflow>,
        reply: tokio::sync::oneshot::Sender<StoreResult<StartOutcome>>,
    ) {
        self.tell(request.key(), ToOwner::Start { request, reply });
    }

    pub(crate) fn claimed(&self, loaded: LoadedRun) {
        let thread = self.thread(loaded.key);
        thread.context().arriving.fetch_add(1, Ordering::Relaxed);
        thread.tell(ToOwner::Claimed(Box::new(loaded)));
    }

    pub(crate) fn message(&self, run: RunKey, message: Message) {
        self.tell(run, ToOwner::Input(run, Input::Message(message)));
    }

    pub(crate) fn replaced(&self, run: RunKey) {
        self.tell(run, ToOwner::Replaced(run));
    }

    pub(crate) fn ask(&self, run: RunKey, query: Query) {
        self.tell(run, ToOwner::Ask(Box::new(question::Question { run, query, events: None })));
    }

    pub(crate) fn outcome(&self, run: RunKey, outcome: ActivityOutcome) {
        self.tell(run, ToOwner::Input(run, Input::Outcome(outcome)));
    }

    pub(crate) fn attempt_lost(&self, run: RunKey, activity_id: ActivityId, attempt: u32) {
        self.tell(run, ToOwner::Input(run, Input::AttemptLost { activity_id, attempt }));
    }

    pub(crate) fn attempt_never_began(&self, run: RunKey, activity_id: ActivityId, attempt: u32) {
        self.tell(run, ToOwner::Input(run, Input::AttemptNeverBegan { activity_id, attempt }));
    }

    pub(crate) fn heartbeat(&self, run: RunKey, activity_id: ActivityId, attempt: u32, details: Option<Payload>) {
        self.tell(run, ToOwner::Input(run, Input::Heartbeat { activity_id, attempt, details }));
    }

    pub(crate) fn local_ended(
        &self,
        key: RunKey,
        activity_id: ActivityId,
        id: LocalId,
        ended: Option<LocalActivityEnded>,
    ) {
        self.tell(key, ToOwner::LocalEnded { key, activity_id, id, ended });
    }

    /// Asks for room for `runs` more runs.
    pub(crate) fn make_room(&self, runs: usize) {
        let each = runs.div_ceil(self.threads.len());
        self.threads.iter().for_each(|thread| thread.tell(ToOwner::MakeRoom(each)));
    }

    /// Tells every thread the same.
    pub(crate) fn tell_all(&self, what: impl Fn() -> ToOwner) {
        self.threads.iter().for_each(|thread| thread.tell(what()));
    }

    /// The runs in memory with the owner epoch under which they are owned.
    pub(crate) fn owned_runs(&self) -> Vec<(RunKey, i32)> {
        self.threads.iter().flat_map(thread::ThreadHandle::owned_runs).collect()
    }

    fn tell(&self, run: RunKey, what: ToOwner) {
        self.thread(run).tell(what);
    }

    fn thread(&self, run: RunKey) -> &thread::ThreadHandle {
        let hash = BuildRunHasher::default().hash_one(run.run_id);
        &self.threads[hash as usize % self.threads.len()]
    }
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owners").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

/// The time at which somebody should take a run that is given back: at once when its workflow has something to do,
/// after a start delay, or when something wakes it.
fn ready_at(run: &dacapo_core::Run, now: Timestamp) -> Option<Timestamp> {
    // Local activities that were stopped here are asked for again by the code, wherever it is run next.
    let has_work = run.unseen || run.task.is_some() || run.local_activities > 0;
    (!run.is_paused() && has_work).then(|| run.first_task_at().max(now))
}
