//! The promises: what must hold in every reachable state, and in every state in which nothing is left to be done.

use stateright::Property;

use crate::memory::Attempt;
use crate::model::{Protocol, World};
use crate::session;
use crate::tables::{Event, Message, RunId, Tables};

/// Gives the promises, each under the name that reports use.
pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always("an acknowledged message is recorded once or waits for an open run", |_, world: &World| {
            world.ghost.acknowledged.iter().all(|(run, message)| kept(&world.tables, *run, *message))
        }),
        Property::always("a rejected message is never recorded", |_, world: &World| {
            let tables = &world.tables;
            let rejected = world.ghost.rejected.iter();
            rejected.clone().all(|(run, message)| !tables.recorded(*run, *message))
                && rejected.clone().all(|message| !tables.inbox.contains(message))
        }),
        Property::always("an acknowledged start is a run that is open or closed", |_, world: &World| {
            let there = |run: &RunId| world.tables.runs.contains_key(run) || world.tables.closed.contains(run);
            world.ghost.started.iter().all(there)
        }),
        Property::always("nothing is recorded twice", |_, world: &World| {
            world.tables.history.keys().all(|run| unique(&world.tables, *run))
        }),
        Property::always("history is dense and agrees with its run", |_, world: &World| {
            world.tables.history.keys().all(|run| dense(&world.tables, *run))
        }),
        Property::always("owner epochs never decrease along a history", |_, world: &World| {
            let histories = world.tables.history.values();
            histories.clone().all(|batches| batches.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch))
        }),
        Property::always("only the owner writes", |_, world: &World| !world.ghost.stranger_wrote),
        Property::always("what was concluded to be unwritten stays unwritten", |_, world: &World| {
            !world.ghost.disowned_applied
        }),
        Property::always("no statement fails on a key of history", |_, world: &World| !world.ghost.collision),
        Property::always("nothing points at a run that is not open", |_, world: &World| pointed(&world.tables)),
        Property::always("an open run is owned, or ready, or has nothing to do", |_, world: &World| {
            world.tables.runs.keys().all(|run| conserved(world, *run))
        }),
        Property::always("a replacement opens when what it replaces closes", |model: &Protocol, world: &World| {
            let replaced = !world.tables.closed.is_empty();
            model.scenario.workflow.successor.is_none_or(|run| replaced || !world.tables.runs.contains_key(&run))
        }),
        Property::always("no statements wait for each other in a circle", |model: &Protocol, world: &World| {
            !session::deadlocked(model.rules, &world.tables, &world.sessions)
        }),
        Property::always("an activity begins at most as often as it may", |model: &Protocol, world: &World| {
            let max = model.scenario.workflow.activity.map_or(1, |(_, max)| max);
            world.ghost.begun.values().all(|begun| *begun <= max)
        }),
        Property::always("an activity begins after its scheduling is recorded", |_, world: &World| {
            let scheduled: Vec<Event> = world.tables.history.keys().flat_map(|run| world.tables.events(*run)).collect();
            world.ghost.begun.keys().all(|activity| scheduled.contains(&Event::Scheduled(*activity)))
        }),
        Property::always("only an attempt that may have begun is given up", |_, world: &World| {
            given_up(&world.tables).all(|activity| world.ghost.begun.contains_key(&activity) || !witnessed(world))
        }),
        Property::always("a result is accepted from the claimer alone", |_, world: &World| !world.ghost.stale_result),
        Property::always("a dead worker is told so", |_, world: &World| !world.ghost.dead_renewed),
        Property::always("when nothing is left to do, everything is done", |model: &Protocol, world: &World| {
            !settled(model, world) || finished(model, world)
        }),
    ]
}

fn kept(tables: &Tables, run: RunId, message: Message) -> bool {
    let waits = tables.inbox.contains(&(run, message)) && tables.runs.contains_key(&run);
    match tables.count(run, message.event()) {
        0 => waits,
        times => times == 1,
    }
}

fn unique(tables: &Tables, run: RunId) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    tables.events(run).all(|event| {
        // An activity has one outcome, whichever it is.
        let outcome = match event {
            Event::WorkerLost(activity) => Event::Completed(activity),
            other => other,
        };
        seen.insert(outcome)
    })
}

fn dense(tables: &Tables, run: RunId) -> bool {
    let mut next = 1;
    for batch in tables.history.get(&run).into_iter().flatten() {
        if batch.first != next {
            return false;
        }
        next += batch.events.len() as u8;
    }
    let closing = tables.events(run).position(|event| event == Event::Closed);
    match tables.runs.get(&run) {
        Some(row) => {
            let counted = if row.owner.is_some() { row.next <= next } else { row.next == next };
            counted && closing.is_none()
        }
        None => tables.closed.contains(&run) && closing == Some(usize::from(next) - 2),
    }
}

fn pointed(tables: &Tables) -> bool {
    let open = |run: &RunId| tables.runs.contains_key(run);
    tables.inbox.iter().all(|(run, _)| open(run))
        && tables.ready.iter().all(open)
        && tables.timers.values().all(open)
        && tables.tasks.values().all(|task| open(&task.run))
}

/// Tells whether someone has a run or can find it.
fn conserved(world: &World, run: RunId) -> bool {
    let tables = &world.tables;
    match tables.runs[&run].owner {
        Some(owner) => !world.keeper.finished.contains(&owner),
        None if tables.ready.contains(&run) => true,
        None => {
            let events: Vec<Event> = tables.events(run).collect();
            let remote = |event: &Event| match event {
                Event::Scheduled(activity) => {
                    events.contains(&Event::Completed(*activity))
                        || events.contains(&Event::WorkerLost(*activity))
                        || tables.tasks.get(activity).is_some_and(|task| task.remote)
                }
                _ => true,
            };
            tables.waiting(run).next().is_none() && events.iter().all(remote)
        }
    }
}

fn given_up(tables: &Tables) -> impl Iterator<Item = crate::tables::ActivityId> {
    tables.history.keys().flat_map(|run| tables.events(*run)).filter_map(|event| match event {
        Event::WorkerLost(activity) => Some(activity),
        _ => None,
    })
}

/// Tells whether every process has lived from the beginning, so that nobody had to guess what another one began.
fn witnessed(world: &World) -> bool {
    world.processes.iter().all(|process| process.up)
        && world.tables.lapsed.is_empty()
        && !world.tables.workers.values().any(|dead| *dead)
}

/// Tells whether nobody will do anything any more, unless something goes wrong.
fn settled(model: &Protocol, world: &World) -> bool {
    let mut actions = Vec::new();
    world.sessions.is_empty() && {
        model.due(world, &mut actions);
        actions.is_empty()
    }
}

/// Tells whether all that was asked for is done.
fn finished(model: &Protocol, world: &World) -> bool {
    let tables = &world.tables;
    let served =
        world.processes.iter().enumerate().any(|(place, process)| process.up && model.scenario.processes[place].claims);
    let outcomes = tables.runs.keys().all(|run| {
        let ended =
            |activity| tables.count(*run, Event::Completed(activity)) + tables.count(*run, Event::WorkerLost(activity));
        tables.events(*run).all(|event| match event {
            Event::Scheduled(activity) => ended(activity) == 1,
            _ => true,
        })
    });
    let sent = model.scenario.workflow.sends.iter().all(|(from, to, message)| {
        tables.events(*from).filter(|event| *event != Event::Started).count() == 0 || tables.recorded(*to, *message)
    });
    let quiet = world
        .processes
        .iter()
        .flat_map(|process| process.runs.values())
        .all(|held| held.memory.attempts.values().all(|attempt| *attempt == Attempt::Remote));
    !served
        || (tables.inbox.is_empty() && tables.ready.is_empty() && tables.timers.is_empty() && outcomes && sent && quiet)
}
