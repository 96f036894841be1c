//! Clients that send messages until the answer is definite, and the courier that delivers the outbox.

use crate::model::{Action, World};
use crate::rule::{Removal, Rules};
use crate::scenario::Scenario;
use crate::session::Caller;
use crate::statement::{Answer, Statement};
use crate::tables::{Message, RunId};

/// Is how far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Progress {
    Todo,
    Waiting,
    Done,
}

/// Is a client with one call: a message, or one for each of several runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sender {
    messages: Vec<(RunId, Message)>,
    progress: Progress,
}

impl Sender {
    /// Makes a client that has yet to send.
    pub(crate) fn new(messages: &[(RunId, Message)]) -> Self {
        Sender { messages: messages.to_vec(), progress: Progress::Todo }
    }

    /// Collects the sends that are to be made, or made again with the same id.
    pub(crate) fn due(world: &World, actions: &mut Vec<Action>) {
        // A client knows of a run only by its start.
        let started = |sender: &Sender| sender.messages.iter().all(|(run, _)| world.tables.history.contains_key(run));
        let todo = |sender: &Sender| sender.progress == Progress::Todo && started(sender);
        let todo = world.senders.iter().enumerate().filter(|(_, sender)| todo(sender));
        actions.extend(todo.map(|(place, _)| Action::Send(place as u8)));
    }

    /// Sends.
    pub(crate) fn act(world: &mut World, scenario: &Scenario, place: u8) {
        let sender = &mut world.senders[usize::from(place)];
        sender.progress = Progress::Waiting;
        let messages = sender.messages.clone();
        world.issue(scenario, Caller::Sender(place), Statement::Send { messages });
    }

    /// Takes the answer: delivered, or "not open", which means closed only if history does not have the id.
    pub(crate) fn answered(world: &mut World, rules: Rules, place: u8, answer: Answer) {
        let Answer::Delivered(open) = answer else { unreachable!("a send is answered with the open runs") };
        let sender = &mut world.senders[usize::from(place)];
        sender.progress = Progress::Done;
        for (run, message) in sender.messages.clone() {
            let searched = !rules.lacks(Removal::ClosedWithoutSearch);
            if open.contains(&run) || (searched && world.tables.recorded(run, message)) {
                world.ghost.acknowledged.insert((run, message));
            } else {
                world.ghost.rejected.insert((run, message));
            }
        }
    }

    /// Goes on after a lost answer.
    pub(crate) fn lost(world: &mut World, rules: Rules, place: u8) {
        let sender = &mut world.senders[usize::from(place)];
        sender.progress = Progress::Todo;
        if rules.lacks(Removal::LostMeansRejected) {
            sender.progress = Progress::Done;
            world.ghost.rejected.extend(sender.messages.iter().copied());
        }
    }
}

/// Delivers what transitions have left in the outbox, each message by a statement of its own.
#[derive(Debug)]
pub(crate) struct Courier;

impl Courier {
    /// Collects the messages that wait in the outbox.
    pub(crate) fn due(world: &World, actions: &mut Vec<Action>) {
        for (run, message) in &world.tables.outbox {
            let same = |statement: &Statement| matches!(statement, Statement::Send { messages } if messages.contains(&(*run, *message)));
            if !world.waits(Caller::Courier, same) {
                actions.push(Action::Deliver(*run, *message));
            }
        }
    }

    /// Sends a message on.
    pub(crate) fn act(world: &mut World, scenario: &Scenario, run: RunId, message: Message) {
        world.issue(scenario, Caller::Courier, Statement::Send { messages: vec![(run, message)] });
    }

    /// Deletes what is delivered, or can never be.
    pub(crate) fn answered(world: &mut World, statement: &Statement) {
        let Statement::Send { messages } = statement else { unreachable!("a courier only sends") };
        let tables = std::sync::Arc::make_mut(&mut world.tables);
        tables.outbox.retain(|row| !messages.contains(row));
    }
}
