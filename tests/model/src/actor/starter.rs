//! Clients that start a run and hand it to a worker, until the answer is definite; and who gives back what nobody takes.

use crate::model::{Action, World};
use crate::scenario::Scenario;
use crate::session::Caller;
use crate::statement::{Answer, Statement};
use crate::tables::{RunId, WorkerId};

/// Is a client with one start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Starter {
    run: RunId,
    /// The workers of which each attempt draws one.
    takers: Vec<WorkerId>,
    pub(crate) done: bool,
    waiting: bool,
}

impl Starter {
    /// Makes a client that has yet to start its run.
    pub(crate) fn new(run: RunId, takers: &[WorkerId]) -> Self {
        Starter { run, takers: takers.to_vec(), done: false, waiting: false }
    }

    /// Collects the starts that are to be made, or made again, perhaps for another worker.
    pub(crate) fn due(world: &World, actions: &mut Vec<Action>) {
        let todo = world.starters.iter().enumerate().filter(|(_, starter)| !starter.done && !starter.waiting);
        for (place, starter) in todo {
            actions.extend(starter.takers.iter().map(|worker| Action::Hand(place as u8, *worker)));
        }
    }

    /// Starts the run.
    pub(crate) fn act(world: &mut World, scenario: &Scenario, place: u8, to: WorkerId) {
        let starter = &mut world.starters[usize::from(place)];
        starter.waiting = true;
        let run = starter.run;
        world.issue(scenario, Caller::Starter(place), Statement::Hand { run, to });
    }

    /// Takes the answer: the run was started, now or by an earlier attempt.
    pub(crate) fn answered(world: &mut World, place: u8, answer: &Answer) {
        assert_eq!(*answer, Answer::Started, "a start has no other answer");
        let starter = &mut world.starters[usize::from(place)];
        starter.done = true;
        starter.waiting = false;
        world.ghost.started.insert(starter.run);
    }

    /// Goes on after a lost answer.
    pub(crate) fn lost(world: &mut World, place: u8) {
        world.starters[usize::from(place)].waiting = false;
    }
}

/// Gives back what was handed over and is not taken: any process, which has seen it lie for a while.
#[derive(Debug)]
pub(crate) struct Returner;

impl Returner {
    /// Collects what is handed to the dead: nobody takes that.
    pub(crate) fn due(world: &World, actions: &mut Vec<Action>) {
        for (worker, dead) in &world.tables.workers {
            let gives = |statement: &Statement| *statement == Statement::GiveUntaken { worker: *worker };
            let lies = world.tables.handed.values().any(|handed| handed.worker == *worker);
            if *dead && lies && !world.waits(Caller::Returner, gives) {
                actions.push(Action::GiveUntaken(*worker));
            }
        }
    }

    /// Collects what may be given back although its worker lives: several processes may do so at once.
    pub(crate) fn possible(world: &World, actions: &mut Vec<Action>) {
        let alive = |worker: &WorkerId| world.tables.workers.get(worker) == Some(&false);
        for (worker, _) in world.tables.workers.iter().filter(|(worker, _)| alive(worker)) {
            let lies = world.tables.handed.values().any(|handed| handed.worker == *worker);
            if world.give_backs > 0 && lies {
                actions.push(Action::GiveUntaken(*worker));
            }
        }
    }

    /// Gives back.
    pub(crate) fn act(world: &mut World, scenario: &Scenario, worker: WorkerId) {
        if world.tables.workers.get(&worker) == Some(&false) {
            world.give_backs -= 1;
        }
        world.issue(scenario, Caller::Returner, Statement::GiveUntaken { worker });
    }
}
