//! What the owner of a run writes next: the workflow code of the scenario, and the outcome of its activities.

use crate::memory::{Attempt, Held};
use crate::rule::{Removal, Rules};
use crate::scenario::{Closes, Scenario};
use crate::statement::Item;
use crate::tables::{ActivityId, Event, Message, RunId, Task, WorkerId};

/// Gives the next transition of a run, if there is anything to write.
pub(crate) fn transition(
    rules: Rules,
    scenario: &Scenario,
    me: WorkerId,
    run: RunId,
    held: &Held,
    wants_close: bool,
) -> Option<Item> {
    let mut item = Item {
        run,
        expected: held.next,
        epoch: held.epoch,
        events: Vec::new(),
        consumed: held.memory.waiting.iter().copied().collect(),
        tasks: Vec::new(),
        timers_done: Vec::new(),
        sends: Vec::new(),
        successor: None,
    };
    take_messages(rules, held, &mut item);
    if scenario.workflow.fires_timers {
        fire_timers(held, &mut item);
    }
    let max = scenario.workflow.activity.map_or(1, |(_, max)| max);
    for (activity, attempt) in &held.memory.attempts {
        settle(rules, me, run, (*activity, *attempt), max, &mut item);
    }
    command(scenario, held, wants_close, &mut item);
    let empty = item.events.is_empty() && item.consumed.is_empty() && item.tasks.is_empty();
    (!empty).then_some(item)
}

/// Records the messages that are not recorded yet; the others are dropped.
fn take_messages(rules: Rules, held: &Held, item: &mut Item) {
    for message in item.consumed.clone() {
        let again = match message {
            Message::Signal(_) => rules.lacks(Removal::FoldWithoutIds),
            Message::TimerDue(_) => rules.lacks(Removal::FireTwice),
            Message::Completed(_) | Message::Terminate => false,
        };
        if again || !held.memory.knows(message) {
            item.events.push(message.event());
        }
    }
}

fn fire_timers(held: &Held, item: &mut Item) {
    for timer in &held.memory.timers {
        let event = Event::TimerFired(*timer);
        if !held.memory.seen.contains(&event) && !item.events.contains(&event) {
            item.events.push(event);
        }
        item.timers_done.push(*timer);
    }
}

/// Records what became of an activity, or announces its next attempt before it starts.
fn settle(rules: Rules, me: WorkerId, run: RunId, activity: (ActivityId, Attempt), max: u8, item: &mut Item) {
    let (activity, attempt) = activity;
    match attempt {
        Attempt::Finished(_) => {
            item.events.push(Event::Completed(activity));
            item.tasks.push((activity, None));
        }
        Attempt::Spent(_) if rules.lacks(Removal::AttemptsUncounted) => {}
        Attempt::Spent(spent) if spent >= max => {
            item.events.push(Event::WorkerLost(activity));
            item.tasks.push((activity, None));
        }
        Attempt::Spent(spent) if !rules.lacks(Removal::SecondAttemptWithoutRow) => {
            let row = Task { run, attempt: spent + 1, claimed_by: Some(me), token: 0, remote: false };
            item.tasks.push((activity, Some(row)));
        }
        Attempt::Spent(_) | Attempt::Announced(_) | Attempt::Running(_) | Attempt::Remote => {}
    }
}

/// Lets the workflow code react: schedule its activity, send its messages, close.
fn command(scenario: &Scenario, held: &Held, wants_close: bool, item: &mut Item) {
    let workflow = &scenario.workflow;
    let first = held.memory.seen.iter().all(|event| *event == Event::Started);
    if first && (!item.events.is_empty() || wants_close) {
        item.events.extend(workflow.activity.map(|(activity, _)| Event::Scheduled(activity)));
        let from_here = workflow.sends.iter().filter(|(from, ..)| *from == item.run);
        item.sends = from_here.map(|(_, to, message)| (*to, *message)).collect();
    }
    let recorded = || held.memory.seen.iter().chain(&item.events);
    let signals = recorded().filter(|event| matches!(event, Event::Received(Message::Signal(_)))).count();
    let terminated = recorded().any(|event| *event == Event::Received(Message::Terminate));
    let closes = match workflow.closes {
        Closes::Never => false,
        Closes::AfterSignals(enough) => signals >= enough,
        Closes::Anytime => wants_close,
    };
    if closes || terminated {
        item.events.push(Event::Closed);
        item.successor = workflow.successor.filter(|successor| *successor != item.run);
    }
}
