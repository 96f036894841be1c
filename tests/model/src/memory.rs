//! What an owner knows of its runs: the fold of the history, and what waits.

use std::collections::{BTreeMap, BTreeSet};

use crate::tables::{ActivityId, Event, Message, RunId, Tables, TimerId, WorkerId};

/// Is what the owner knows of an activity that is scheduled and has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Attempt {
    /// This attempt may begin now.
    Announced(u8),
    /// This many attempts may have begun elsewhere.
    Spent(u8),
    /// The process runs it.
    Running(u8),
    /// It has ended, and its result is to be recorded.
    Finished(u8),
    /// Another process has it or may claim it.
    Remote,
}

/// Holds what was folded from the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    pub(crate) seen: BTreeSet<Event>,
    pub(crate) waiting: BTreeSet<Message>,
    pub(crate) attempts: BTreeMap<ActivityId, Attempt>,
    pub(crate) timers: BTreeSet<TimerId>,
}

/// Says what has to happen before an owner can go on with a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Need {
    Nothing,
    Load,
    /// The inbox is read, the rest is not: only where rule 9 is left out.
    LoadRest(BTreeSet<Message>),
    /// An answer was lost.
    Fence,
}

/// Is a run in the memory of the process that owns it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) epoch: u8,
    pub(crate) next: u8,
    pub(crate) memory: Memory,
    pub(crate) need: Need,
}

impl Held {
    /// Makes room for a run that has yet to be loaded.
    pub(crate) fn unloaded(epoch: u8, next: u8) -> Self {
        Held { epoch, next, memory: Memory::default(), need: Need::Load }
    }
}

impl Memory {
    /// Folds what the tables show of a run in one snapshot.
    pub(crate) fn load(tables: &Tables, run: RunId, me: WorkerId) -> Self {
        Self::load_beside(tables, run, me, tables.waiting(run).collect())
    }

    /// Folds what the tables show of a run, beside an inbox that was read before.
    pub(crate) fn load_beside(tables: &Tables, run: RunId, me: WorkerId, waiting: BTreeSet<Message>) -> Self {
        let seen: BTreeSet<Event> = tables.events(run).collect();
        let mut memory = Memory { waiting, ..Memory::default() };
        for event in &seen {
            let Event::Scheduled(activity) = *event else { continue };
            if ended(&seen, activity) {
                continue;
            }
            let attempt = match tables.tasks.get(&activity) {
                Some(task) if task.remote => Attempt::Remote,
                Some(task) if task.claimed_by == Some(me) => Attempt::Announced(task.attempt),
                Some(task) => Attempt::Spent(task.attempt),
                // Its result is on its way: the row became a message in one statement.
                None if memory.waiting.contains(&Message::Completed(activity)) => Attempt::Remote,
                // The first attempt runs without a row, so it may have begun.
                None => Attempt::Spent(1),
            };
            memory.attempts.insert(activity, attempt);
        }
        memory.timers = tables.timers.iter().filter(|(_, owner)| **owner == run).map(|(timer, _)| *timer).collect();
        memory.seen = seen;
        memory
    }

    /// Folds events of the owner's own that were written.
    pub(crate) fn fold(&mut self, events: &[Event]) {
        for event in events {
            self.seen.insert(*event);
            match event {
                // The attempt of an activity that began before its scheduling was written is known already.
                Event::Scheduled(activity) => drop(self.attempts.entry(*activity).or_insert(Attempt::Announced(1))),
                Event::Completed(activity) | Event::WorkerLost(activity) => drop(self.attempts.remove(activity)),
                Event::TimerFired(timer) => drop(self.timers.remove(timer)),
                Event::Started | Event::Received(_) | Event::Closed => {}
            }
        }
    }

    /// Tells whether recording a message would record something a second time.
    pub(crate) fn knows(&self, message: Message) -> bool {
        match message {
            Message::Completed(activity) => ended(&self.seen, activity),
            _ => self.seen.contains(&message.event()),
        }
    }

    /// Tells whether the process has work in hand that a release would strand.
    pub(crate) fn busy(&self) -> bool {
        self.attempts.values().any(|attempt| *attempt != Attempt::Remote)
    }
}

fn ended(seen: &BTreeSet<Event>, activity: ActivityId) -> bool {
    seen.contains(&Event::Completed(activity)) || seen.contains(&Event::WorkerLost(activity))
}
