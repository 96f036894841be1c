//! The background role that declares late workers dead and takes over what they had.

use std::collections::BTreeSet;

use crate::model::{Action, World};
use crate::rule::{Removal, Rules};
use crate::session::Caller;
use crate::statement::{Answer, Statement};
use crate::tables::WorkerId;

/// Remembers which take-overs are finished: nobody looks at those workers again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Keeper {
    pub(crate) finished: BTreeSet<WorkerId>,
}

impl Keeper {
    /// Collects what is to be done about workers that are late or dead.
    pub(crate) fn due(world: &World, actions: &mut Vec<Action>) {
        if world.waits(Caller::Keeper, |_| true) {
            return;
        }
        for (worker, dead) in &world.tables.workers {
            if !dead && world.tables.lapsed.contains(worker) {
                actions.push(Action::MarkDead(*worker));
            }
            if *dead && !world.keeper.finished.contains(worker) {
                actions.push(Action::TakeOver(*worker));
            }
            if *dead && world.tables.tasks.values().any(|task| task.claimed_by == Some(*worker)) {
                actions.push(Action::GiveBack(*worker));
            }
        }
    }

    /// Ends a take-over when a plain read finds no run of the dead worker: a batch that skipped locked rows proves nothing.
    pub(crate) fn answered(world: &mut World, rules: Rules, statement: &Statement, answer: Answer) {
        let Statement::TakeOver { worker } = statement else { return };
        let none_left = !world.tables.runs.values().any(|run| run.owner == Some(*worker));
        let finished =
            if rules.lacks(Removal::EmptyBatchEndsTakeOver) { answer == Answer::TakenOver(false) } else { none_left };
        if finished {
            world.keeper.finished.insert(*worker);
        }
    }
}
