//! A workflow thread: takes what it is told, lets each run that has something to do make a step, and sleeps.
//!
//! The actors are behind a mutex only so that they outlive the thread: workflow code that never returns takes its
//! thread with it, and a replacement goes on with the same actors. The mutex is not held while user code runs.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use dacapo_core::{RunKey, WorkflowType, limits, run_hash::BuildRunHasher};

use super::{
    Context, Input, ToOwner,
    actor::{Actor, Phase},
    local::Locals,
    question::Question,
    timers::{Alarm, Alarms},
};
use crate::executor::Executor;

/// The workflow task whose code runs at the moment.
#[derive(Debug, Clone)]
pub(super) struct RunningTask {
    pub(super) key: RunKey,
    pub(super) epoch: i32,
    pub(super) workflow_type: WorkflowType,
    pub(super) since: Instant,
    /// The longest the code may take.
    pub(super) timeout: Duration,
    pub(super) warned: bool,
    /// The inputs of its step, given again when the thread is lost.
    pub(super) inputs: Vec<Input>,
    /// Failures of its workflow task in a row.
    pub(super) failures: u32,
}

/// The unknown runs with messages that a thread remembers; beyond, the renewal of the lease finds their messages.
const STRANGERS_MAX: usize = 1_000;

/// What outlives the thread.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Raised when the thread is given up; one that finds another number than its own ends.
    pub(super) generation: u64,
    pub(super) actors: HashMap<RunKey, Box<Actor>, BuildRunHasher>,
    /// Runs that may have something to do.
    pub(super) dirty: VecDeque<RunKey>,
    pub(super) alarms: Alarms,
    pub(super) locals: Locals,
    pub(super) running: Option<RunningTask>,
    /// Runs whose state went with a lost thread, until they are read again.
    pub(super) orphans: HashMap<RunKey, RunningTask>,
    /// Runs that are not known here and for which messages came: a hint that brings one may be slower than they are.
    pub(super) strangers: HashSet<RunKey>,
    /// Runs to give back together as soon as nothing else is to do.
    pub(super) to_release: Vec<RunKey>,
    /// Questions to runs of the thread.
    pub(super) questions: VecDeque<Question>,
    pub(super) steps: u64,
    pub(super) lost_threads: usize,
    stopped: bool,
}

pub(super) struct Shared {
    pub(super) context: Arc<Context>,
    pub(super) index: usize,
    pub(super) state: Mutex<State>,
    pub(super) sender: Sender<ToOwner>,
    receiver: Receiver<ToOwner>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything that the thread was told has been taken.
    pub(super) fn has_heard_all(&self) -> bool {
        self.receiver.is_empty()
    }
}

/// A workflow thread, as others see it.
pub(crate) struct ThreadHandle {
    pub(super) shared: Arc<Shared>,
}

impl ThreadHandle {
    pub(super) fn start(context: Arc<Context>, index: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared { context, index, state: Mutex::default(), sender, receiver });
        spawn(&shared, 0);
        Self { shared }
    }

    pub(super) fn context(&self) -> &Context {
        &self.shared.context
    }

    pub(super) fn tell(&self, what: ToOwner) {
        // Both ends live in `shared`, so the channel is never disconnected while somebody can tell.
        let _ = self.shared.sender.send(what);
    }

    /// The runs here, each with the highest epoch under which it is known. One that is being read again hears of any.
    pub(super) fn owned_runs(&self) -> Vec<(RunKey, i32)> {
        let state = self.shared.lock();
        let elsewhere = state.running.iter().chain(state.orphans.values()).map(|task| (task.key, task.epoch));
        let known = |actor: &Actor| match actor.phase {
            Phase::Loading => i32::MAX,
            Phase::Idle | Phase::Starting(_) | Phase::Writing(_) | Phase::Releasing => actor.epoch,
        };
        state.actors.values().map(|actor| (actor.key(), known(actor))).chain(elsewhere).collect()
    }
}

/// Starts the thread of a generation.
pub(super) fn spawn(shared: &Arc<Shared>, generation: u64) {
    let owned = Arc::clone(shared);
    let name = format!("dacapo-workflow-{}", shared.index);
    let spawned = std::thread::Builder::new().name(name).spawn(move || {
        let executor = owned.context.factory.make();
        WorkflowThread { shared: owned, executor, generation }.run();
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "a workflow thread could not be started; this process takes no more work");
        shared.context.exhausted.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The thread itself.
pub(super) struct WorkflowThread {
    pub(super) shared: Arc<Shared>,
    pub(super) executor: Box<dyn Executor>,
    pub(super) generation: u64,
}

/// The messages taken under one lock.
const MESSAGES_AT_ONCE: usize = 256;

impl WorkflowThread {
    fn run(mut self) {
        loop {
            let mut state = self.shared.lock();
            if state.generation != self.generation || state.stopped {
                return;
            }
            if let Some(key) = state.dirty.pop_front() {
                drop(state);
                self.make_step(key);
                self.receive_waiting();
                continue;
            }
            let now = self.shared.context.clock.now();
            self.ring(&mut state, now);
            if !state.dirty.is_empty() {
                continue;
            }
            if let Some(question) = state.next_question() {
                drop(state);
                self.answer_question(question);
                self.receive_waiting();
                continue;
            }
            self.release_gathered(&mut state);
            let wait = state.alarms.wait(now);
            drop(state);
            self.shared.context.clock.rested();
            let received = match wait {
                Some(wait) => self.shared.receiver.recv_timeout(wait),
                None => self.shared.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(message) => {
                    let shared = Arc::clone(&self.shared);
                    let mut state = shared.lock();
                    if state.generation != self.generation {
                        drop(state);
                        let _ = self.shared.sender.send(message);
                        return;
                    }
                    self.take(&mut state, message);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes what waits, so that a busy thread hears of new inputs between two steps.
    fn receive_waiting(&mut self) {
        if self.shared.receiver.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if state.generation != self.generation {
            return;
        }
        for message in shared.receiver.try_iter().take(MESSAGES_AT_ONCE) {
            self.take(&mut state, message);
        }
    }

    fn take(&mut self, state: &mut State, message: ToOwner) {
        match message {
            ToOwner::Start { request, reply } => self.begin_start(state, *request, reply),
            ToOwner::Started { key, outcome, launched } => self.started(state, key, outcome, &launched),
            ToOwner::Claimed(loaded) => {
                self.claimed(state, *loaded);
                self.shared.context.arriving.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            }
            ToOwner::Input(key, input) => give(state, key, input),
            ToOwner::LocalEnded { key, activity_id, id, ended } => {
                let awaited = state.locals.ended(key, activity_id, id, ended);
                if awaited && state.actors.get(&key).is_some_and(|actor| actor.may_step()) {
                    state.dirty.push_back(key);
                }
            }
            ToOwner::Written { key, epoch, outcome, launched } => self.written(state, key, epoch, outcome, &launched),
            ToOwner::Loaded { key, epoch, loaded } => self.reloaded(state, key, epoch, loaded.map(|loaded| *loaded)),
            ToOwner::Released { key, epoch, outcome } => self.released(state, key, epoch, outcome),
            ToOwner::MakeRoom(runs) => self.make_room(state, runs),
            ToOwner::Drain => {
                let keys: Vec<RunKey> = state.actors.keys().copied().collect();
                state.dirty.extend(keys);
            }
            ToOwner::Forget => self.forget_all(state),
            ToOwner::Replaced(key) => {
                // One that writes hears of it from its fence.
                if state.actors.get(&key).is_some_and(|actor| matches!(actor.phase, Phase::Idle)) {
                    self.load(state, key);
                }
            }
            ToOwner::Ask(question) => state.take_question(*question),
            ToOwner::Look => {}
            ToOwner::Stop => state.stopped = true,
        }
    }

    /// Turns alarms that are due into inputs.
    fn ring(&self, state: &mut State, now: dacapo_core::Timestamp) {
        while let Some((key, alarm)) = state.alarms.due(now) {
            let input = match alarm {
                Alarm::Timer(timer_id) => Input::TimerDue(timer_id),
                Alarm::RetryTask => Input::RetryTask,
            };
            give(state, key, input);
        }
    }

    /// Gives back up to `runs` runs that wait for something, those first that have waited longest.
    fn make_room(&mut self, state: &mut State, runs: usize) {
        let now = self.shared.context.clock.now();
        let locals = &state.locals;
        let waits = |actor: &Actor| {
            let has_work = actor.adoption.is_some() || actor.retry_at.is_some() || actor.run.wants_task(now);
            let runs_locals = actor.asks_locals || locals.any(actor.key());
            actor.is_idle() && actor.updates.is_empty() && !has_work && !runs_locals && !self.runs_activities(actor)
        };
        let mut idle: Vec<(u64, RunKey)> =
            state.actors.values().filter(|actor| waits(actor)).map(|actor| (actor.touched, actor.key())).collect();
        idle.sort_unstable();
        let keys: Vec<RunKey> = idle.into_iter().take(runs.min(limits::CLAIM_RUNS_MAX)).map(|(_, key)| key).collect();
        state.to_release.extend(keys);
    }

    /// Whether an attempt runs here that has no row: the run cannot be given back.
    pub(super) fn runs_activities(&self, actor: &Actor) -> bool {
        let pool = &self.shared.context.pool;
        actor
            .run
            .activities
            .iter()
            .any(|(id, pending)| !pending.has_row || pool.local_attempt(actor.key(), *id).is_some())
    }

    fn forget_all(&mut self, state: &mut State) {
        let keys: Vec<RunKey> = state.actors.keys().copied().collect();
        for key in keys {
            self.forget(state, key);
        }
        state.dirty.clear();
        state.to_release.clear();
        state.orphans.clear();
        state.questions.clear();
        state.alarms.clear();
    }
}

/// Puts an input before a run; one that is not here is left to its inbox.
pub(super) fn give(state: &mut State, key: RunKey, input: Input) {
    let Some(actor) = state.actors.get_mut(&key) else {
        if let Some(orphan) = state.orphans.get_mut(&key) {
            orphan.inputs.push(input);
        } else if matches!(input, Input::Message(_)) {
            if state.strangers.len() >= STRANGERS_MAX {
                state.strangers.clear();
            }
            state.strangers.insert(key);
        }
        return;
    };
    actor.inputs.push(input);
    if actor.may_step() {
        state.dirty.push_back(key);
    }
}
