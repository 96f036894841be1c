//! Processes that run activities of other processes' runs.

use crate::model::{Action, Protocol, World};
use crate::scenario::Scenario;
use crate::session::Caller;
use crate::statement::{Answer, ClaimedTask, Statement};
use crate::tables::{Message, WorkerId};

/// Is a step of a specialist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpecialistMove {
    Claim,
    /// Takes up a task that is claimed in its name and that it does not know: the answer to a claim was lost.
    Adopt,
    Complete,
}

/// Is a process that serves activity tasks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Specialist {
    pub(crate) id: WorkerId,
    pub(crate) up: bool,
    task: Option<ClaimedTask>,
}

impl Specialist {
    /// Makes a specialist that is registered and idle.
    pub(crate) fn new(id: WorkerId) -> Self {
        Specialist { id, up: true, task: None }
    }

    /// Collects what the specialists will do.
    pub(crate) fn due(world: &World, actions: &mut Vec<Action>) {
        for (place, specialist) in world.specialists.iter().enumerate() {
            let place = place as u8;
            if !specialist.up && !world.tables.lapsed.contains(&specialist.id) {
                actions.push(Action::Lapse(specialist.id));
            }
            if !specialist.up || world.waits(Caller::Specialist(place), |_| true) {
                continue;
            }
            let mut tasks = world.tables.tasks.values().filter(|task| task.remote);
            let registered = !world.tables.lapsed.contains(&specialist.id) && !world.tables.workers[&specialist.id];
            if specialist.task.is_some() {
                actions.push(Action::Specialist(place, SpecialistMove::Complete));
            } else if registered && tasks.clone().any(|task| task.claimed_by == Some(specialist.id)) {
                actions.push(Action::Specialist(place, SpecialistMove::Adopt));
            } else if registered && tasks.any(|task| task.claimed_by.is_none()) {
                actions.push(Action::Specialist(place, SpecialistMove::Claim));
            }
        }
    }

    /// Collects what may befall them; the last of them is spared, so that the work can end.
    pub(crate) fn possible(world: &World, _: &Protocol, actions: &mut Vec<Action>) {
        let mortal = world.specialists.len().saturating_sub(1);
        for (place, specialist) in world.specialists.iter().enumerate().take(mortal) {
            if specialist.up && world.crashes > 0 {
                actions.push(Action::CrashSpecialist(place as u8));
            }
            if specialist.up && world.lapses > 0 && !world.tables.lapsed.contains(&specialist.id) {
                actions.push(Action::Lapse(specialist.id));
            }
        }
    }

    /// Takes a step.
    pub(crate) fn act(world: &mut World, scenario: &Scenario, place: u8, step: SpecialistMove) {
        let me = world.specialists[usize::from(place)].id;
        match step {
            SpecialistMove::Claim => world.issue(scenario, Caller::Specialist(place), Statement::ClaimTask { me }),
            SpecialistMove::Adopt => {
                let mine = world.tables.tasks.iter().find(|(_, task)| task.claimed_by == Some(me));
                let found = mine.map(|(id, task)| ClaimedTask { run: task.run, activity: *id, token: task.token });
                Self::begin(world, place, found);
            }
            SpecialistMove::Complete => {
                let Some(task) = world.specialists[usize::from(place)].task else { return };
                let statement = Statement::Complete { run: task.run, activity: task.activity, token: task.token };
                world.issue(scenario, Caller::Specialist(place), statement);
            }
        }
    }

    /// Dies.
    pub(crate) fn crash(world: &mut World, place: u8) {
        let specialist = &mut world.specialists[usize::from(place)];
        specialist.up = false;
        specialist.task = None;
        world.crashes -= 1;
        world.orphan_all(Caller::Specialist(place));
    }

    /// Takes an answer.
    pub(crate) fn answered(world: &mut World, place: u8, statement: &Statement, answer: Answer) {
        match (statement, answer) {
            (Statement::ClaimTask { .. }, Answer::TaskClaimed(task)) => Self::begin(world, place, task),
            (Statement::Complete { run, activity, .. }, Answer::Completed(accepted)) => {
                world.specialists[usize::from(place)].task = None;
                if accepted {
                    world.ghost.acknowledged.insert((*run, Message::Completed(*activity)));
                }
            }
            (statement, answer) => unreachable!("{answer:?} is no answer to {statement:?}"),
        }
    }

    fn begin(world: &mut World, place: u8, task: Option<ClaimedTask>) {
        world.specialists[usize::from(place)].task = task;
        if let Some(task) = task {
            *world.ghost.begun.entry(task.activity).or_default() += 1;
        }
    }
}
