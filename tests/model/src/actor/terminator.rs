//! Someone who wants a run terminated, whether it is owned or not.

use crate::model::{Action, World};
use crate::scenario::Scenario;
use crate::session::Caller;
use crate::statement::{Answer, Statement, Termination};
use crate::tables::{Message, RunId};

/// Holds the wish until it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Terminator {
    run: Option<RunId>,
    /// Whether the statement is on its way.
    pub(crate) waiting: bool,
}

impl Terminator {
    /// Makes the wish, if there is one.
    pub(crate) fn new(run: Option<RunId>) -> Self {
        Terminator { run, waiting: false }
    }

    /// Collects the statement that is to be sent, or sent again.
    pub(crate) fn due(world: &World, actions: &mut Vec<Action>) {
        if world.terminator.run.is_some() && !world.terminator.waiting {
            actions.push(Action::Terminate);
        }
    }

    /// Sends it.
    pub(crate) fn act(world: &mut World, scenario: &Scenario) {
        let Some(run) = world.terminator.run else { return };
        world.terminator.waiting = true;
        world.issue(scenario, Caller::Terminator, Statement::Terminate { run });
    }

    /// Is content with any answer: closed, or the owner will see to it.
    pub(crate) fn answered(world: &mut World, answer: Answer) {
        let Some(run) = world.terminator.run.take() else { return };
        world.terminator.waiting = false;
        if answer == Answer::Terminated(Termination::MessageSent) {
            world.ghost.acknowledged.insert((run, Message::Terminate));
        }
    }
}
