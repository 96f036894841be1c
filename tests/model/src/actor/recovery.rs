//! How a process learns what is true: from answers, after their loss, after a claim, after its own death.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::actor::process::Process;
use crate::memory::{Attempt, Held, Memory, Need};
use crate::model::World;
use crate::rule::{Removal, Rules};
use crate::scenario::Scenario;
use crate::session::Caller;
use crate::statement::{Answer, ClaimedRun, Item, Statement, Verdict};
use crate::tables::{ActivityId, Event, Run, RunId, Tables, WorkerId};

impl Item {
    /// Iterates over the activities that the item schedules.
    pub(crate) fn scheduled(&self) -> impl Iterator<Item = ActivityId> {
        self.events.iter().filter_map(|event| match event {
            Event::Scheduled(activity) => Some(*activity),
            _ => None,
        })
    }
}

impl Held {
    /// Folds an item that was written.
    pub(super) fn applied(&mut self, item: &Item) {
        self.next = item.next();
        self.memory.waiting.retain(|message| !item.consumed.contains(message));
        self.memory.fold(&item.events);
        for (activity, task) in &item.tasks {
            if let Some(task) = task {
                self.memory.attempts.insert(*activity, Attempt::Announced(task.attempt));
            }
        }
    }
}

impl Process {
    /// Takes an answer.
    pub(crate) fn answered(
        world: &mut World,
        rules: Rules,
        scenario: &Scenario,
        place: u8,
        statement: &Statement,
        answer: Answer,
    ) {
        let process = &mut world.processes[usize::from(place)];
        match (statement, answer) {
            (Statement::Claim { .. }, Answer::Claimed(runs)) => runs.into_iter().for_each(|run| process.claimed(run)),
            (Statement::Take { .. }, Answer::Claimed(runs)) => {
                runs.into_iter().for_each(|run| process.taken(rules, run))
            }
            (Statement::Start { run, .. }, Answer::Started) => process.starts.retain(|start| start != run),
            (Statement::Send { messages }, Answer::Delivered(_)) => {
                process.letters.retain(|letter| !messages.contains(letter));
            }
            (Statement::Flush { items, .. }, Answer::Flushed(verdicts)) => {
                for (item, verdict) in items.iter().zip(verdicts) {
                    process.flushed(rules, item, verdict);
                }
            }
            (Statement::Flush { items, .. }, Answer::Collision) => {
                items.iter().for_each(|item| drop(process.runs.remove(&item.run)));
            }
            (Statement::Release { run, .. }, Answer::Released(true)) => drop(process.runs.remove(run)),
            (Statement::Release { .. }, Answer::Released(false))
            | (Statement::Heartbeat { .. }, Answer::Alive(true))
            | (Statement::Took { .. }, Answer::Started) => {}
            (Statement::Fence { run, .. }, Answer::Fenced(Some(epoch))) => {
                if let Some(held) = process.runs.get_mut(run) {
                    held.epoch = epoch;
                    held.need = Need::Load;
                }
            }
            (Statement::Fence { run, .. }, Answer::Fenced(None)) => drop(process.runs.remove(run)),
            (Statement::Heartbeat { .. }, Answer::Alive(false)) => Self::register_anew(world, scenario, place),
            (statement, answer) => unreachable!("{answer:?} is no answer to {statement:?}"),
        }
    }

    fn claimed(&mut self, claimed: ClaimedRun) {
        let ClaimedRun { run, epoch, next, loaded } = claimed;
        let held = match loaded {
            Some(memory) => Held { epoch, next, memory, need: Need::Nothing },
            None => Held::unloaded(epoch, next),
        };
        self.runs.insert(run, held);
    }

    /// Holds a run that was handed over, unless it found the run by comparing before; it may know more of it by now, and have
    /// raised the epoch since.
    fn taken(&mut self, rules: Rules, taken: ClaimedRun) {
        let older = |held: &Held| {
            held.epoch < taken.epoch || (held.epoch > taken.epoch && rules.lacks(Removal::TakeReplacesNewer))
        };
        if self.runs.get(&taken.run).is_none_or(older) {
            self.claimed(taken);
        }
    }

    /// Holds a run as its start wrote it, however much later, by the same rule.
    pub(super) fn bring(&mut self, rules: Rules, run: RunId) {
        self.news.remove(&run);
        self.brought.insert(run);
        let loaded = Some(Memory { seen: [Event::Started].into(), ..Memory::default() });
        self.taken(rules, ClaimedRun { run, epoch: 1, next: 2, loaded });
    }

    fn flushed(&mut self, rules: Rules, item: &Item, verdict: Verdict) {
        let Some(held) = self.runs.get_mut(&item.run) else { return };
        let pipelines = rules.lacks(Removal::WriteBeforeAnswer);
        match verdict {
            Verdict::Applied => {
                if rules.lacks(Removal::SendFromMemory) {
                    self.letters.extend(&item.sends);
                }
                if item.closes() {
                    self.runs.remove(&item.run);
                } else if !pipelines {
                    held.applied(item);
                }
            }
            // It was sent before the fencing write that the run was reloaded after.
            Verdict::FencedOut if item.epoch != held.epoch => {}
            // An earlier flush of the run may still be on its way, and only a fencing write outruns it.
            Verdict::FencedOut if pipelines => held.need = Need::Fence,
            Verdict::FencedOut => drop(self.runs.remove(&item.run)),
            Verdict::Unconsumed => {}
        }
    }

    /// Drops everything and registers as another worker, if the scenario has one left.
    fn register_anew(world: &mut World, scenario: &Scenario, place: u8) {
        world.orphan_all(Caller::Worker(place));
        let tables = Arc::make_mut(&mut world.tables);
        let process = &mut world.processes[usize::from(place)];
        process.runs.clear();
        process.unbegun.clear();
        process.letters.clear();
        process.news.clear();
        process.brought.clear();
        if tables.workers.len() < usize::from(scenario.registrations) {
            process.id = WorkerId(tables.workers.len() as u8);
            tables.workers.insert(process.id, false);
        } else {
            process.up = false;
        }
    }

    /// Goes on after a lost answer: what was on its way may yet happen.
    pub(crate) fn lost(world: &mut World, rules: Rules, place: u8, statement: &Statement) {
        let process = &mut world.processes[usize::from(place)];
        let runs: Vec<RunId> = match statement {
            Statement::Flush { items, .. } => items.iter().map(|item| item.run).collect(),
            Statement::Release { run, .. } | Statement::Fence { run, .. } => vec![*run],
            // Claims and what was taken are found by comparing; starts, heartbeats and letters are sent again.
            _ => return,
        };
        for run in runs {
            if let Some(held) = process.runs.get_mut(&run) {
                held.need = Need::Fence;
            }
        }
        if let (Statement::Flush { items, .. }, false) = (statement, rules.lacks(Removal::UnknownCountsAsBegun)) {
            let unbegun: BTreeSet<ActivityId> = items.iter().flat_map(Item::scheduled).collect();
            process.unbegun.extend(unbegun);
        }
    }

    /// Dies.
    pub(crate) fn crash(world: &mut World, place: u8) {
        let process = &mut world.processes[usize::from(place)];
        process.up = false;
        process.runs.clear();
        process.unbegun.clear();
        process.letters.clear();
        process.starts.clear();
        world.crashes -= 1;
        world.orphan_all(Caller::Worker(place));
    }

    /// Iterates over the runs that name this worker as their owner and that it does not know, or knows from an earlier epoch
    /// only: such a copy is out of date, and so is what it would write.
    pub(super) fn unknown<'a>(&'a self, rules: Rules, tables: &'a Tables) -> impl Iterator<Item = (RunId, Run)> + 'a {
        let known = move |held: &Held, row: &Run| {
            // What waits for its fencing write hears of the epoch by that.
            held.epoch >= row.epoch || held.need == Need::Fence || rules.lacks(Removal::CompareByRun)
        };
        let mine = tables.runs.iter().filter(|(_, row)| row.owner == Some(self.id));
        mine.filter(move |(run, row)| self.runs.get(run).is_none_or(|held| !known(held, row)))
            .map(|(run, row)| (*run, *row))
    }

    /// Takes up the runs that name this worker as their owner and that it does not know.
    pub(super) fn compare(&mut self, rules: Rules, tables: &Tables) {
        let unknown: Vec<(RunId, Run)> = self.unknown(rules, tables).collect();
        for (run, row) in unknown {
            self.runs.insert(run, Held::unloaded(row.epoch, tables.next(run)));
        }
    }

    /// Concludes from one read what became of a lost flush, where rule 7 is left out.
    pub(super) fn read_again(world: &mut World, place: u8, run: RunId) {
        let process = &mut world.processes[usize::from(place)];
        let Some(held) = process.runs.get_mut(&run) else { return };
        match world.tables.runs.get(&run) {
            Some(row)
                if (row.owner, row.epoch, world.tables.next(run)) == (Some(process.id), held.epoch, held.next) =>
            {
                held.need = Need::Nothing;
                Self::disown(world, place, run);
            }
            Some(row) if (row.owner, row.epoch) == (Some(process.id), held.epoch) => held.need = Need::Load,
            _ => drop(process.runs.remove(&run)),
        }
    }

    /// Notes the conclusion that no flush of a run that was sent before will be written any more.
    fn disown(world: &mut World, place: u8, run: RunId) {
        let orphans = world.sessions.values_mut().filter(|session| session.orphan);
        for session in orphans.filter(|session| session.caller == Caller::Worker(place)) {
            if let Statement::Flush { items, .. } = &session.statement {
                session.disowned |= items.iter().any(|item| item.run == run);
            }
        }
    }

    pub(super) fn load(world: &mut World, rules: Rules, place: u8, run: RunId) {
        Self::disown(world, place, run);
        let process = &mut world.processes[usize::from(place)];
        let (me, tables) = (process.id, &world.tables);
        let Some(held) = process.runs.get_mut(&run) else { return };
        let Some(row) = tables.runs.get(&run).filter(|row| row.owner == Some(me) && row.epoch == held.epoch) else {
            process.runs.remove(&run);
            return;
        };
        let mut memory = match &held.need {
            Need::Load if rules.lacks(Removal::LoadInTwoReads) => {
                held.need = Need::LoadRest(tables.waiting(run).collect());
                return;
            }
            Need::LoadRest(waiting) => Memory::load_beside(tables, run, me, waiting.clone()),
            Need::Load | Need::Nothing | Need::Fence => Memory::load(tables, run, me),
        };
        for (activity, attempt) in &mut memory.attempts {
            let unbegun = process.unbegun.contains(activity) && *attempt == Attempt::Spent(1);
            match held.memory.attempts.get(activity) {
                Some(known @ (Attempt::Running(_) | Attempt::Finished(_) | Attempt::Announced(_))) => *attempt = *known,
                _ if unbegun && !rules.lacks(Removal::UnknownCountsAsBegun) => *attempt = Attempt::Announced(1),
                _ => {}
            }
        }
        *held = Held { epoch: row.epoch, next: tables.next(run), memory, need: Need::Nothing };
    }
}
