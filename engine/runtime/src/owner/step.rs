//! One step of a run: inputs in, the workflow's code, one transition out.

use std::{sync::Arc, time::Instant};

use dacapo_core::{
    Event, Failure, Message, MessageBody, MessageId, Run, RunKey, Timestamp, Transition, UpdateRequest,
    apply::{RefusedCommand, Turn},
    event::WorkflowTaskFailedCause,
    limits,
    store::{LoadedRun, Reply, RunWrite, WriteOutcome},
    transition::{ActivityTask, Successor},
};

use super::{
    Input, ToOwner,
    actor::{Actor, Adoption, AfterCommit, Phase},
    launch::Launch,
    local::{LocalsAfter, LocalsOfStep},
    thread::{RunningTask, State, WorkflowThread},
    timers::Alarm,
};
use crate::executor::{Activated, Activation, LocalActivityEnded};

/// What a step wants beside its transition.
#[derive(Default)]
struct Wishes {
    launches: Vec<ActivityTask>,
    /// The input that says that the code was given up.
    timed_out: bool,
    /// What becomes of local activities.
    locals: LocalsAfter,
    /// Somebody wants a failing workflow task tried at once.
    retry_now: bool,
}

/// What came of running the code.
enum Ran {
    Completed,
    Failed(WorkflowTaskFailedCause, Failure),
    /// The executor does not know the run any more.
    StateLost,
}

/// What came of a step.
enum Made {
    Step(Box<Transition>, Box<AfterCommit>),
    /// The executor does not know the run any more; the inputs are to be given again after it was read.
    StateLost(Vec<Input>),
}

impl WorkflowThread {
    /// Lets a run make a step, if it has something to do and nothing of it is under way.
    pub(super) fn make_step(&mut self, key: RunKey) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let now = shared.context.clock.now();
        let Some(actor) = state.actors.get(&key).filter(|actor| actor.may_step()) else { return };
        let draining = shared.context.is_draining();
        // Also while the process stops: what a local activity has done here is not done again elsewhere.
        let told = state.locals.any_ended(key) && actor.may_wake(now);
        if draining
            && actor.is_idle()
            && actor.adoption.is_none()
            && !(told || state.locals.any_running(key) || self.runs_activities(actor))
        {
            if actor.updates.is_empty() {
                state.to_release.push(key);
            } else {
                // With something in its inbox it cannot be given back; it is taken over when this process has left.
                self.forget(&mut state, key);
            }
            return;
        }
        let wakes = told || (actor.asks_locals && !draining && actor.may_wake(now));
        let something = !actor.inputs.is_empty() || actor.adoption.is_some() || actor.run.wants_task(now);
        if !(something || wakes) {
            let first_task_at = actor.run.first_task_at();
            if first_task_at > now {
                state.alarms.set(first_task_at, key, Alarm::RetryTask);
            }
            return;
        }
        if !actor.can_activate() && (told || !draining) {
            self.load(&mut state, key);
            return;
        }
        let locals = state.locals.for_step(key);
        let Some(mut actor) = state.actors.remove(&key) else { return };
        state.steps += 1;
        actor.touched = state.steps;
        let inputs = std::mem::take(&mut actor.inputs);
        state.running = Some(self.running(&actor, &inputs));
        drop(state);

        let made = self.step(&mut actor, inputs, locals, now);

        let mut state = shared.lock();
        if state.generation != self.generation {
            return;
        }
        state.running = None;
        if let Some(at) = actor.retry_at {
            state.alarms.set(at, key, Alarm::RetryTask);
        }
        let starting = matches!(actor.phase, Phase::Starting(_));
        match made {
            Made::Step(transition, after) => {
                state.actors.insert(key, actor);
                if starting {
                    self.submit_start(&mut state, key, transition, after);
                } else {
                    self.submit(&mut state, key, transition, after);
                }
            }
            Made::StateLost(inputs) => {
                actor.inputs = inputs;
                (actor.cached, actor.whole) = (false, false);
                state.actors.insert(key, actor);
                self.load(&mut state, key);
            }
        }
    }

    /// Hands a transition to the store; one without anything to write is committed as it is.
    pub(super) fn submit(
        &mut self,
        state: &mut State,
        key: RunKey,
        transition: Box<Transition>,
        mut after: Box<AfterCommit>,
    ) {
        let Some(actor) = state.actors.get_mut(&key) else { return };
        if transition.is_empty() {
            self.committed(state, key, &[], after);
            return;
        }
        let launch = Launch::take(&mut after, &self.shared.context);
        actor.phase = Phase::Writing(after);
        actor.timers_written.clone_from(&transition.timers);
        let epoch = actor.epoch;
        let sender = self.shared.sender.clone();
        let write = RunWrite { owner: self.shared.context.worker, owner_epoch: epoch, transition };
        let reply = Reply::new(move |outcome| {
            let applied = matches!(outcome, WriteOutcome::Applied);
            let launched = launch.filter(|_| applied).map(Launch::begin).unwrap_or_default();
            let _ = sender.send(ToOwner::Written { key, epoch, outcome, launched });
        });
        self.shared.context.store.write(write, reply);
    }

    pub(super) fn running(&self, actor: &Actor, inputs: &[Input]) -> RunningTask {
        let timeout = actor.run.started.workflow_task_timeout_ms.map(std::time::Duration::from_millis);
        RunningTask {
            key: actor.key(),
            epoch: actor.epoch,
            workflow_type: actor.run.started.workflow_type.clone(),
            since: Instant::now(),
            timeout: timeout.unwrap_or(self.shared.context.options.workflow_task_timeout),
            warned: false,
            inputs: inputs.to_vec(),
            failures: actor.failures,
        }
    }

    /// Makes the step: inputs, lost attempts, the workflow's code, where its activities run.
    fn step(&mut self, actor: &mut Actor, inputs: Vec<Input>, locals: LocalsOfStep, now: Timestamp) -> Made {
        let shared = Arc::clone(&self.shared);
        let context = &shared.context;
        let mut wishes = Wishes::default();
        let Actor { run, events, cached, whole, failures, retry_at, adoption, mine, updates, .. } = actor;
        let inputs = without_known_updates(inputs, updates);
        let mut turn = Turn::begin(run, now);
        updates.iter().for_each(|update| turn.message(update.clone()));
        for input in &inputs {
            take_input(&mut turn, input.clone(), &context.identity, &mut wishes);
        }
        if let Some(adoption) = adoption.take() {
            self.adopt(&mut turn, adoption, mine, &mut wishes);
        }
        if actor.asks_locals || locals.any_ended() {
            turn.wake();
        }
        let due = wishes.timed_out || wishes.retry_now || retry_at.is_none_or(|at| at <= turn.now());
        let may_run = due && (!context.is_draining() || locals.any_ended());
        let mut ran = false;
        if may_run && turn.start_task(Arc::clone(&context.identity), context.options.build_id.as_deref()) {
            *retry_at = None;
            ran = true;
            let from_start = *whole && !*cached;
            let failed = match self.run_code(&mut turn, events, from_start, &locals, &mut wishes) {
                Ran::StateLost => return Made::StateLost(inputs),
                Ran::Completed => None,
                Ran::Failed(cause, failure) => Some((cause, failure)),
            };
            events.clear();
            (*cached, *whole) = (failed.is_none(), false);
            match failed {
                None => (*failures, actor.asks_locals) = (0, false),
                Some((cause, failure)) => {
                    *failures += 1;
                    self.executor.evict(turn.run().key);
                    report_failure(turn.run(), cause, &failure, *failures);
                    *retry_at = Some(match wishes.timed_out {
                        true => turn.time_out_task(failure, *failures),
                        false => turn.fail_task(cause, failure, *failures),
                    });
                }
            }
        }
        if !ran && (*cached || *whole) {
            events.extend(turn.events().iter().cloned());
        }
        updates.extend(inputs.iter().filter_map(as_update).cloned());
        let (transition, after) = self.place(turn, wishes, inputs);
        updates.retain(|update| !transition.consumed.contains(&update.id));
        Made::Step(transition, after)
    }

    /// Runs the code and takes its commands.
    fn run_code(
        &mut self,
        turn: &mut Turn<'_>,
        earlier: &[Event],
        from_start: bool,
        locals: &LocalsOfStep,
        wishes: &mut Wishes,
    ) -> Ran {
        if wishes.timed_out {
            return Ran::Failed(WorkflowTaskFailedCause::NoProgress, never_returned());
        }
        let (commands, published, wanted) =
            match activate(&mut *self.executor, turn, earlier, from_start, &locals.ended) {
                Activated::NeedsHistory => return Ran::StateLost,
                Activated::Failed { cause, failure } => return Ran::Failed(cause, failure),
                Activated::Completed { commands, published, local } => (commands, published, local),
            };
        if let Some(failure) = self.refused_locals(&wanted) {
            return Ran::Failed(WorkflowTaskFailedCause::NotRegistered, failure);
        }
        turn.awaits_local_activities(locals.awaited_after(&wanted));
        match refusal(turn.complete_task(commands, published)) {
            Some((cause, failure)) => Ran::Failed(cause, failure),
            None => {
                let given = locals.ended.iter().map(|ended| ended.activity_id).collect();
                wishes.locals = LocalsAfter { given, wanted };
                Ran::Completed
            }
        }
    }

    /// Looks at activities that have neither an outcome nor an attempt that runs here nor somebody else who has them.
    fn adopt(&self, turn: &mut Turn<'_>, adoption: Adoption, mine: &[u64], wishes: &mut Wishes) {
        let run = turn.run().key;
        let pending: Vec<(u64, bool)> =
            turn.run().activities.iter().map(|(id, pending)| (*id, pending.has_row)).collect();
        for (activity_id, has_row) in pending {
            let unwatched = !has_row || mine.contains(&activity_id);
            if !unwatched || self.shared.context.pool.runs(run, activity_id) {
                continue;
            }
            match adoption {
                Adoption::MayHaveBegun => turn.activity_lost(activity_id, Arc::clone(&self.shared.context.identity)),
                Adoption::NeverBegan => wishes.launches.extend(turn.current_attempt(activity_id)),
            }
        }
    }

    /// Decides where the attempts that the step asks for run, here at once or offered to every worker of their queue,
    /// and ends the step.
    fn place(&self, mut turn: Turn<'_>, wishes: Wishes, inputs: Vec<Input>) -> (Box<Transition>, Box<AfterCommit>) {
        let context = &self.shared.context;
        let here = |task: &ActivityTask| {
            context.options.queues.contains(&task.task_queue)
                && context.pool.serves(&task.activity_type)
                && !context.is_draining()
                && (context.pool.has_room() || !context.peers.serve_activities(&task.task_queue))
        };
        let asked = &turn.transition().attempts;
        let offered: Vec<_> = asked.iter().filter(|task| !here(task)).map(|task| task.activity_id).collect();
        offered.iter().for_each(|activity_id| turn.offer_activity(*activity_id, false));
        let mut out = turn.finish();
        if (out.first_event_id..out.next_event_id()).contains(&limits::HISTORY_EVENTS_WARN) {
            tracing::warn!(
                run_id = %out.key.run_id,
                events = out.next_event_id(),
                limit = limits::HISTORY_EVENTS_MAX,
                "the history grows long: split the work over several workflows"
            );
        }
        let mut after = Box::new(AfterCommit {
            inputs,
            closes: out.closes,
            launches: wishes.launches,
            locals: wishes.locals,
            ..AfterCommit::default()
        });
        after.launches.append(&mut out.attempts);
        after.offered_at = out.activities.iter().filter(|row| !row.claimed_by_owner).map(|row| row.visible_at).min();
        after.result = out.events.last().filter(|_| out.closes.is_some()).and_then(crate::engine::result_of);
        after.cancels = out.cancel_requests().collect();
        after.successor = out.successor.as_deref_mut().and_then(|successor| self.keep(successor));
        (out, after)
    }

    /// Keeps a successor that this process may run at once, and gives it as it will be once it is written.
    fn keep(&self, successor: &mut Successor) -> Option<Box<LoadedRun>> {
        let context = &self.shared.context;
        let request = &successor.request;
        successor.owned = !context.is_draining()
            && request.namespace == context.options.namespace
            && context.options.queues.contains(&request.task_queue)
            && context.factory.workflow_types().contains(&request.workflow_type)
            && successor.ready_at <= context.clock.now()
            && successor.transition.attempts.is_empty();
        successor.owned.then(|| {
            Box::new(LoadedRun {
                key: request.key(),
                owner: Some(context.worker),
                owner_epoch: 1,
                events: successor.transition.events.clone(),
                inbox: successor.transition.inbox.clone(),
                activities: successor.transition.activities.iter().map(|row| (row.clone(), None)).collect(),
            })
        })
    }
}

/// Drops requests that the run was given before: an inbox is read again as long as something waits in it.
fn without_known_updates(inputs: Vec<Input>, known: &[Message]) -> Vec<Input> {
    let mut given: Vec<MessageId> = known.iter().map(|update| update.id).collect();
    let mut is_new = |input: &Input| {
        let Some(update) = as_update(input) else { return true };
        let is_new = !given.contains(&update.id);
        given.push(update.id);
        is_new
    };
    inputs.into_iter().filter(|input| is_new(input)).collect()
}

fn as_update(input: &Input) -> Option<&Message> {
    match input {
        Input::Message(message) if matches!(message.body, MessageBody::Update(_)) => Some(message),
        _ => None,
    }
}

fn refusal(completed: Result<(), RefusedCommand>) -> Option<(WorkflowTaskFailedCause, Failure)> {
    completed.err().map(|refused| (refused.cause, Failure::application("RefusedCommand", refused.problem)))
}

fn is_current(turn: &Turn<'_>, activity_id: u64, attempt: u32) -> bool {
    turn.run().activities.get(&activity_id).is_some_and(|pending| pending.attempt == attempt)
}

fn take_input(turn: &mut Turn<'_>, input: Input, identity: &Arc<str>, wishes: &mut Wishes) {
    match input {
        Input::Message(message) => {
            wishes.retry_now |= message.body == MessageBody::RetryWorkflowTask;
            turn.message(message);
        }
        Input::Outcome(outcome) => turn.activity_outcome(outcome),
        Input::AttemptLost { activity_id, attempt } if is_current(turn, activity_id, attempt) => {
            turn.activity_lost(activity_id, Arc::clone(identity));
        }
        Input::AttemptNeverBegan { activity_id, attempt } if is_current(turn, activity_id, attempt) => {
            turn.offer_activity(activity_id, false);
        }
        Input::AttemptLost { .. } | Input::AttemptNeverBegan { .. } => {}
        Input::Heartbeat { activity_id, attempt, details } => turn.activity_heartbeat(activity_id, attempt, details),
        Input::TimerDue(timer_id) => turn.timer_due(timer_id),
        Input::RetryTask => {}
        Input::TaskTimedOut => wishes.timed_out = true,
    }
}

/// Runs the code over what it has not seen.
fn activate(
    executor: &mut dyn crate::executor::Executor,
    turn: &Turn<'_>,
    earlier: &[Event],
    from_start: bool,
    ended: &[LocalActivityEnded],
) -> Activated {
    let started = Instant::now();
    let joined;
    let events = if earlier.is_empty() {
        turn.events()
    } else {
        joined = [earlier, turn.events()].concat();
        &joined
    };
    let run = turn.run();
    let updates: Vec<UpdateRequest> = turn.updates().map(|(_, request)| request.clone()).collect();
    let activation = Activation { run: run.key, started: &run.started, events, from_start, updates: &updates, ended };
    let activated = executor.activate(activation);
    metrics::histogram!("dacapo_workflow_task_seconds").record(started.elapsed().as_secs_f64());
    activated
}

fn never_returned() -> Failure {
    Failure::application(
        "WorkflowTaskTimedOut",
        "the workflow's code did not come back to an await in time; its thread was given up. Look for a loop without an \
         await, or for blocking work, and move it into an activity",
    )
}

fn report_failure(run: &Run, cause: WorkflowTaskFailedCause, failure: &Failure, attempt: u32) {
    metrics::counter!("dacapo_workflow_task_failures_total", "cause" => format!("{cause:?}")).increment(1);
    tracing::warn!(
        namespace = %run.started.namespace,
        workflow_id = %run.started.workflow_id,
        run_id = %run.key.run_id,
        workflow_type = %run.started.workflow_type,
        correlation_id = %run.started.correlation_id,
        ?cause,
        attempt,
        position = failure.position.as_deref(),
        "a workflow task failed: {}",
        failure.message
    );
}
