//! Checks a history against today's code without a worker: the whole of it, and every prefix of it as a worker would
//! meet it that loads the run at that moment.
//!
//! A prefix differs from the whole in its last task, which is run as it was the first time: code that behaves otherwise
//! while it replays, or that remembers something outside of its own variables, gives itself away there.

use std::collections::BTreeSet;

use dacapo_core::{Event, Run};
use dacapo_runtime::Activation;

use super::{definition, failure::TaskFailure, instance::Instance, panics, quiet, replay::Recorded};
use crate::define::WorkflowTable;

/// The tasks up to which every prefix is replayed; beyond, as many tasks are run in all as such a history takes.
const PREFIXES_MAX: usize = 500;

/// The prefixes of the longest history, the first and the last among them.
const PREFIXES_MIN: usize = 8;

/// Which prefixes of a history are replayed beside the whole of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefixes {
    /// None.
    WholeOnly,
    /// All of them; of a history with more than 500 workflow tasks a sample, with the first and the last.
    Every,
}

/// What was replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verified {
    /// The completed workflow tasks of the history.
    pub(crate) tasks: usize,
    /// The prefixes.
    pub(crate) prefixes: usize,
}

/// Replays the history of a run. The thread must have no tokio runtime entered.
pub(crate) fn verify(
    workflows: &WorkflowTable,
    run: &Run,
    events: &[Event],
    prefixes: Prefixes,
) -> Result<Verified, TaskFailure> {
    panics::install();
    quiet::install();
    let definition = definition(workflows, run.started.workflow_type.as_str())?;
    let activation =
        Activation { run: run.key, started: &run.started, events, from_start: true, updates: &[], ended: &[] };
    let begin = || Instance::new(definition.clone(), &activation);
    begin().replay(events)?;
    let tasks: Vec<Recorded> = Recorded::all(events).collect();
    let sampled = match prefixes {
        Prefixes::WholeOnly => BTreeSet::new(),
        Prefixes::Every => sample(tasks.len()),
    };
    for last in &sampled {
        let mut instance = begin();
        for task in &tasks[..*last] {
            instance.repeat(events, *task, true)?;
        }
        instance.repeat(events, tasks[*last], false)?;
    }
    Ok(Verified { tasks: tasks.len(), prefixes: sampled.len() })
}

/// Chooses the last tasks of the prefixes: all, or evenly spread ones with the first and the last.
fn sample(tasks: usize) -> BTreeSet<usize> {
    if tasks <= PREFIXES_MAX {
        return (0..tasks).collect();
    }
    let wanted = (PREFIXES_MAX * PREFIXES_MAX / tasks).max(PREFIXES_MIN);
    (0..wanted).map(|place| place * (tasks - 1) / (wanted - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_histories_are_sampled_with_the_first_and_the_last_task() {
        assert_eq!(sample(0), BTreeSet::new());
        assert_eq!(sample(3), BTreeSet::from([0, 1, 2]));
        assert_eq!(sample(500).len(), 500);
        for tasks in [501, 2_000, 50_000, 1_000_000] {
            let sampled = sample(tasks);
            assert!((PREFIXES_MIN..=PREFIXES_MAX).contains(&sampled.len()), "{tasks}: {}", sampled.len());
            assert_eq!((sampled.first(), sampled.last()), (Some(&0), Some(&(tasks - 1))));
        }
        assert_eq!(sample(2_000).len(), 125);
    }
}
