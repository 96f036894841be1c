//! Watches how long workflow code takes, and replaces threads whose code does not come back.
//!
//! A thread cannot be stopped from outside; it is left to itself, finds when it comes back that it was given up, and
//! ends. Its runs go on at once on the replacement: their state is read again. The number of threads that a process
//! may lose is bounded; past it, the process gives its runs back and stops.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use dacapo_core::limits;

use super::{
    Input, Owners,
    settle::load_from_store,
    thread::{Shared, spawn},
};

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Looks at every thread for as long as it is polled.
pub(crate) async fn watch(owners: Owners) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        owners.threads().iter().for_each(|thread| look(&thread.shared));
    }
}

fn look(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    let Some(running) = state.running.as_mut() else { return };
    let elapsed = running.since.elapsed();
    if elapsed >= limits::WORKFLOW_TASK_WARNING && !running.warned {
        running.warned = true;
        tracing::warn!(
            run_id = %running.key.run_id,
            workflow_type = %running.workflow_type,
            seconds = elapsed.as_secs_f64(),
            "workflow code has not come back to an await; move long work into an activity"
        );
    }
    if elapsed < running.timeout {
        return;
    }
    let Some(mut lost) = state.running.take() else { return };
    tracing::error!(
        run_id = %lost.key.run_id,
        workflow_type = %lost.workflow_type,
        "workflow code did not come back in time; its thread is given up and replaced"
    );
    metrics::counter!("dacapo_workflow_threads_lost_total").increment(1);
    lost.inputs.push(Input::TaskTimedOut);
    let (key, epoch) = (lost.key, lost.epoch);
    state.orphans.insert(key, lost);
    // Its state went with the thread; it counts again when it is read again.
    shared.context.one_less();
    for actor in state.actors.values_mut() {
        (actor.cached, actor.whole) = (false, false);
        actor.events.clear();
    }
    state.generation += 1;
    state.lost_threads += 1;
    let generation = state.generation;
    if state.lost_threads >= limits::STUCK_THREADS_MAX {
        tracing::error!("too many threads were lost to workflow code that never comes back; this process stops");
        shared.context.exhausted.store(true, Ordering::Relaxed);
        shared.context.room.notify_waiters();
        return;
    }
    drop(state);
    spawn(shared, generation);
    load_from_store(shared, key, epoch, false);
}
