//! A run that this process owns from its first moment: its start and its first step are one write.

use dacapo_core::{
    ActivityId, Run, RunKey, StartWorkflow, Transition,
    store::{Reply, StartOutcome, StartWrite, StoreResult},
};
use tokio::sync::oneshot;

use super::{
    ToOwner,
    actor::{Actor, AfterCommit, Phase, Starting},
    launch::Launch,
    thread::{State, WorkflowThread},
    timers::Alarm,
};

impl WorkflowThread {
    /// Begins the start of a run. The step that follows the start is made before it is written and written with it,
    /// unless that step closes the run: it is written after the start then.
    pub(super) fn begin_start(
        &mut self,
        state: &mut State,
        request: StartWorkflow,
        reply: oneshot::Sender<StoreResult<StartOutcome>>,
    ) {
        let context = std::sync::Arc::clone(&self.shared.context);
        let key = request.key();
        let now = context.clock.now();
        let first = request.transition(now);
        let run = match Run::from_history(&first.events) {
            Ok(run) => run,
            Err(error) => {
                let problem = error.to_string();
                let _ = reply.send(Err(dacapo_core::store::StoreError::Corrupt { problem }));
                return;
            }
        };
        let mut actor = Box::new(Actor::new(run, 1, first.events.clone()));
        let has_mail = !first.inbox.is_empty();
        let first = Some(Box::new((request, first)));
        let starting = Starting { first, after: Box::default(), reply, has_mail, then: None };
        actor.phase = Phase::Starting(Box::new(starting));
        state.actors.insert(key, actor);
        context.owned.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        state.dirty.push_back(key);
    }

    /// Hands the start over, with the first step in it if that may be.
    pub(super) fn submit_start(
        &mut self,
        state: &mut State,
        key: RunKey,
        next: Box<Transition>,
        mut after: Box<AfterCommit>,
    ) {
        let context = &self.shared.context;
        let Some(actor) = state.actors.get_mut(&key) else { return };
        let Phase::Starting(starting) = &mut actor.phase else { return };
        let Some(first) = starting.first.take() else { return };
        let (request, mut transition) = *first;
        let launch = Launch::take(&mut after, context);
        if next.closes.is_none() {
            transition = transition.followed_by(*next);
            starting.after = after;
        } else {
            starting.then = Some((next, after));
        }
        actor.timers_written.clone_from(&transition.timers);
        let sender = self.shared.sender.clone();
        let ready_at = transition.events[0].event_time;
        let write = StartWrite { request, transition, owner: Some(context.worker), ready_at };
        let reply = Reply::new(move |outcome| {
            let launched = launch.filter(|_| is_here(&outcome)).map(Launch::begin).unwrap_or_default();
            let _ = sender.send(ToOwner::Started { key, outcome, launched });
        });
        context.store.start(write, reply);
    }

    /// Takes the answer to a start.
    pub(super) fn started(
        &mut self,
        state: &mut State,
        key: RunKey,
        outcome: StoreResult<StartOutcome>,
        launched: &[ActivityId],
    ) {
        let Some(actor) = state.actors.get_mut(&key) else {
            self.abandon(key, launched);
            return;
        };
        let Phase::Starting(starting) = std::mem::replace(&mut actor.phase, Phase::Idle) else { return };
        let Starting { after, reply, has_mail, then, .. } = *starting;
        let here = is_here(&outcome);
        let _ = reply.send(outcome);
        if !here {
            self.forget(state, key);
            return;
        }
        metrics::counter!("dacapo_workflow_starts_total").increment(1);
        if has_mail {
            self.shared.context.mail.wanted(&[key]);
        }
        let timers = std::mem::take(&mut actor.timers_written);
        let Some((transition, after_close)) = then else {
            self.committed(state, key, &timers, after);
            return;
        };
        for timer in timers {
            state.alarms.set(timer.fire_at, key, Alarm::Timer(timer.timer_id));
        }
        self.submit(state, key, transition, after_close);
    }
}

/// Whether the start went through, with this process as the owner.
fn is_here(outcome: &StoreResult<StartOutcome>) -> bool {
    matches!(outcome, Ok(StartOutcome::Started | StartOutcome::Duplicate { owned: true, .. }))
}
