//! The local activities of a thread's runs, from the commit of the task that asked for them to the commit of the one that
//! records their end.
//!
//! They are kept beside the actors, not in them: an actor whose state is read again, or whose thread is lost, asks for
//! the same ones again (they were asked for in a task that is in its history), and those that run go on. Deliberately
//! absent: attempts and retries, which are the pool's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dacapo_core::{ActivityId, Failure, Run, RunKey, Timestamp, transition::ActivityTask};

use super::thread::{State, WorkflowThread};
use crate::{
    activities::{ActivityPool, LocalId},
    executor::{LocalActivities, LocalActivityEnded, LocalActivityTask},
};

/// One that the code waits for.
#[derive(Debug)]
struct Local {
    task: LocalActivityTask,
    id: LocalId,
    /// How it ended, until a task that records it is committed.
    ended: Option<LocalActivityEnded>,
}

/// Those of all runs of a thread.
#[derive(Debug, Default)]
pub(super) struct Locals(HashMap<RunKey, BTreeMap<ActivityId, Local>>);

/// What a step is to know of its run's local activities.
#[derive(Debug, Default)]
pub(super) struct LocalsOfStep {
    /// Those that ended.
    pub(super) ended: Vec<LocalActivityEnded>,
    /// Those that the code waits for before the step.
    awaited: BTreeSet<ActivityId>,
}

impl LocalsOfStep {
    /// Whether there is an end to tell the code of.
    pub(super) fn any_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// How many the code waits for after the step.
    pub(super) fn awaited_after(&self, wanted: &LocalActivities) -> usize {
        let mut awaited = self.awaited.clone();
        awaited.extend(wanted.run.iter().map(|task| task.activity_id));
        for over in self.ended.iter().map(|ended| ended.activity_id).chain(wanted.stop.iter().copied()) {
            awaited.remove(&over);
        }
        awaited.len()
    }
}

/// What a committed step makes of its run's local activities.
#[derive(Debug, Default)]
pub(super) struct LocalsAfter {
    /// Those whose end it records, or that nobody waits for.
    pub(super) given: Vec<ActivityId>,
    pub(super) wanted: LocalActivities,
}

impl Locals {
    /// Whether any of a run is under way, or ended and is not recorded.
    pub(super) fn any(&self, run: RunKey) -> bool {
        self.0.contains_key(&run)
    }

    /// Whether one has ended that the code has to be told of.
    pub(super) fn any_ended(&self, run: RunKey) -> bool {
        self.0.get(&run).is_some_and(|locals| locals.values().any(|local| local.ended.is_some()))
    }

    /// Whether one of a run has not ended.
    pub(super) fn any_running(&self, run: RunKey) -> bool {
        self.0.get(&run).is_some_and(|locals| locals.values().any(|local| local.ended.is_none()))
    }

    /// Whether the end of one is still on its way from the pool.
    pub(super) fn any_unheard(&self, run: RunKey, pool: &ActivityPool) -> bool {
        let unheard = |local: &Local| local.ended.is_none() && !pool.runs_local(local.id);
        self.0.get(&run).is_some_and(|locals| locals.values().any(unheard))
    }

    pub(super) fn for_step(&self, run: RunKey) -> LocalsOfStep {
        let Some(locals) = self.0.get(&run) else { return LocalsOfStep::default() };
        let ended = locals.values().filter_map(|local| local.ended.clone()).collect();
        LocalsOfStep { ended, awaited: locals.keys().copied().collect() }
    }

    /// Takes the end of one; an end that never came leaves it to be asked for again. Says whether it was awaited.
    pub(super) fn ended(
        &mut self,
        run: RunKey,
        activity_id: ActivityId,
        id: LocalId,
        ended: Option<LocalActivityEnded>,
    ) -> bool {
        let Some(locals) = self.0.get_mut(&run) else { return false };
        let Some(local) = locals.get_mut(&activity_id).filter(|local| local.id == id) else { return false };
        if ended.is_some() {
            local.ended = ended;
        } else {
            self.remove(run, activity_id);
        }
        true
    }

    /// Forgets all of a run; gives their ids.
    pub(super) fn forget(&mut self, run: RunKey) -> Vec<LocalId> {
        self.0.remove(&run).into_iter().flatten().map(|(_, local)| local.id).collect()
    }

    fn remove(&mut self, run: RunKey, activity_id: ActivityId) -> Option<LocalId> {
        let locals = self.0.get_mut(&run)?;
        let removed = locals.remove(&activity_id);
        if locals.is_empty() {
            self.0.remove(&run);
        }
        removed.map(|local| local.id)
    }
}

impl WorkflowThread {
    /// Does what a committed step wants of its run's local activities.
    pub(super) fn settle_locals(&self, state: &mut State, key: RunKey, after: LocalsAfter) {
        let context = &self.shared.context;
        let State { actors, locals, .. } = state;
        let Some(actor) = actors.get(&key) else { return };
        for activity_id in after.given {
            locals.remove(key, activity_id);
        }
        for activity_id in after.wanted.stop {
            if let Some(id) = locals.remove(key, activity_id) {
                context.pool.give_up_local(id);
            }
        }
        if context.is_draining() {
            // Whoever takes the run finds in its history that something is to be asked for.
            return;
        }
        let now = context.clock.now();
        for task in after.wanted.run {
            let of_run = locals.0.entry(key).or_default();
            if of_run.get(&task.activity_id).is_some_and(|local| local.task == task) {
                continue;
            }
            let policy = task.options.retry_policy.clone();
            let id = context.pool.begin_local(attempt(&actor.run, &task, now), policy);
            let replaced = of_run.insert(task.activity_id, Local { task, id, ended: None });
            replaced.into_iter().for_each(|local| context.pool.abandon_local(local.id));
        }
    }

    /// Says what is wrong with local activities that this process cannot run.
    pub(super) fn refused_locals(&self, wanted: &LocalActivities) -> Option<Failure> {
        let pool = &self.shared.context.pool;
        let task = wanted.run.iter().find(|task| !pool.serves(&task.activity_type))?;
        Some(Failure::application(
            "LocalActivityNotRegistered",
            format!(
                "this worker has no code for activity `{0}`, which the workflow calls as a local one: register it \
                 (`.activities(…)`) in every worker that has the workflow, or call it with `ctx.activity(…)`, which any \
                 worker of the queue may run; the run goes on when a worker that has both takes it",
                task.activity_type
            ),
        ))
    }
}

/// Describes the first attempt.
fn attempt(run: &Run, task: &LocalActivityTask, now: Timestamp) -> ActivityTask {
    let started = &run.started;
    let options = &task.options;
    let in_all = options.schedule_to_close_ms.map(|ms| now.plus_ms(ms));
    ActivityTask {
        run: run.key,
        namespace: started.namespace.clone(),
        workflow_id: started.workflow_id.clone(),
        workflow_type: started.workflow_type.clone(),
        activity_id: task.activity_id,
        activity_type: task.activity_type.clone(),
        task_queue: started.task_queue.clone(),
        input: task.input.clone(),
        attempt: 1,
        scheduled_at: now,
        attempt_scheduled_at: now,
        schedule_to_close_at: [in_all, run.deadline()].into_iter().flatten().min(),
        schedule_to_start_ms: None,
        start_to_close_ms: options.start_to_close_ms,
        heartbeat_ms: None,
        last_heartbeat: None,
        priority: options.priority,
        correlation_id: started.correlation_id.clone(),
    }
}
