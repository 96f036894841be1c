//! A worker process: owns runs, writes their transitions, gives them back, crashes, and wakes as a zombie.

use std::collections::{BTreeMap, BTreeSet};

use crate::actor::workflow;
use crate::memory::{Attempt, Held, Memory, Need};
use crate::model::{Action, Protocol, World};
use crate::rule::{Removal, Rules};
use crate::scenario::{Closes, ProcessPlan};
use crate::session::Caller;
use crate::statement::{Item, Statement};
use crate::tables::{ActivityId, Message, Row, RowKey, RunId, Tables, WorkerId};

/// Is a step of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessMove {
    Claim,
    /// Takes the starts that were handed to it.
    Take,
    /// Hears of a start that was handed to it, with all that was written then.
    Bring(RunId),
    /// Says that it has a start that was brought to it.
    Took(RunId),
    Start(RunId),
    /// Loads a run in one snapshot.
    Load(RunId),
    /// Reads the inbox again.
    Poll(RunId),
    /// Writes what there is to write, of all runs in one flush.
    Flush,
    /// The same, and the workflow code ends the run.
    Close(RunId),
    Release(RunId),
    /// Settles what a lost answer left open.
    Fence(RunId),
    /// Takes up runs that name this worker and that it does not know.
    Compare,
    Heartbeat,
    /// Begins an attempt of an activity in this process.
    Begin(RunId, ActivityId),
    Finish(RunId, ActivityId),
    /// Sends a message from memory, where rule 13 is left out.
    SendLetter(RunId, Message),
}

/// Is a worker process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    /// Its registration.
    pub(crate) id: WorkerId,
    pub(crate) up: bool,
    pub(crate) runs: BTreeMap<RunId, Held>,
    /// Activities whose scheduling was never known to be written here: they did not begin.
    pub(crate) unbegun: BTreeSet<ActivityId>,
    pub(crate) releases: u8,
    pub(crate) starts: Vec<RunId>,
    pub(crate) letters: BTreeSet<(RunId, Message)>,
    /// News of starts that were handed to it, which are on their way or get lost.
    pub(crate) news: BTreeSet<RunId>,
    /// Starts that were brought to it, of which it has not said so.
    pub(crate) brought: BTreeSet<RunId>,
}

impl Process {
    /// Makes a process that knows the runs which the tables give it, but for those that it has yet to take.
    pub(crate) fn new(plan: &ProcessPlan, tables: &Tables) -> Self {
        let mut runs = BTreeMap::new();
        let mine = tables.runs.iter().filter(|(_, row)| row.owner == Some(plan.id));
        for (id, row) in mine.filter(|(id, _)| !tables.handed.contains_key(id)) {
            let mut memory = Memory::load(tables, *id, plan.id);
            // What it scheduled itself, it may begin; what has a row began elsewhere.
            for (activity, attempt) in &mut memory.attempts {
                if !tables.tasks.contains_key(activity) {
                    *attempt = Attempt::Announced(1);
                }
            }
            runs.insert(*id, Held { epoch: row.epoch, next: tables.next(*id), memory, need: Need::Nothing });
        }
        Process {
            id: plan.id,
            up: true,
            runs,
            unbegun: BTreeSet::new(),
            releases: plan.releases,
            starts: plan.starts.clone(),
            letters: BTreeSet::new(),
            news: BTreeSet::new(),
            brought: BTreeSet::new(),
        }
    }

    /// Collects what the processes will do.
    pub(crate) fn due(world: &World, model: &Protocol, actions: &mut Vec<Action>) {
        for (place, process) in world.processes.iter().enumerate() {
            let place = place as u8;
            let mut moves = Vec::new();
            if process.up {
                process.moves(world, model, place, &mut moves);
            } else if !world.tables.lapsed.contains(&process.id) {
                actions.push(Action::Lapse(process.id));
            }
            actions.extend(moves.into_iter().map(|step| Action::Process(place, step)));
        }
    }

    fn moves(&self, world: &World, model: &Protocol, place: u8, moves: &mut Vec<ProcessMove>) {
        let (caller, tables) = (Caller::Worker(place), &world.tables);
        let plan = &model.scenario.processes[usize::from(place)];
        let valid = tables.row(RowKey::Worker(self.id)) == Some(Row::Worker { dead: false, lapsed: false });
        if !valid && !world.waits(caller, |statement| matches!(statement, Statement::Heartbeat { .. })) {
            moves.push(ProcessMove::Heartbeat);
        }
        let max = model.scenario.workflow.activity.map_or(1, |(_, max)| max);
        self.activity_moves(model.rules, max, moves);
        if self.transitions(world, model, place, None).is_some() {
            moves.push(ProcessMove::Flush);
        }
        let blocked = world.waits(caller, |statement| blocks(model.rules, plan, statement));
        let takes = world.waits(caller, |statement| matches!(statement, Statement::Take { .. }));
        let handed = tables.handed.values().any(|handed| handed.worker == self.id);
        if handed && !takes && (plan.takes_beside || !blocked) && !model.rules.lacks(Removal::NeverTake) {
            moves.push(ProcessMove::Take);
        }
        if blocked {
            return;
        }
        moves.extend(self.starts.iter().map(|run| ProcessMove::Start(*run)));
        moves.extend(self.letters.iter().map(|(run, message)| ProcessMove::SendLetter(*run, *message)));
        if plan.claims && valid && !tables.ready.is_empty() {
            moves.push(ProcessMove::Claim);
        }
        if self.unknown(model.rules, tables).next().is_some() && !model.rules.lacks(Removal::NeverCompare) {
            moves.push(ProcessMove::Compare);
        }
        for (run, held) in &self.runs {
            match held.need {
                Need::Load | Need::LoadRest(_) => moves.push(ProcessMove::Load(*run)),
                Need::Fence => moves.push(ProcessMove::Fence(*run)),
                Need::Nothing if self.unread(world, place, *run).is_empty() => {}
                Need::Nothing => moves.push(ProcessMove::Poll(*run)),
            }
        }
    }

    fn activity_moves(&self, rules: Rules, max: u8, moves: &mut Vec<ProcessMove>) {
        let attempts = self.runs.iter().filter(|(_, held)| held.need == Need::Nothing);
        for (run, held) in attempts {
            for (activity, attempt) in &held.memory.attempts {
                match attempt {
                    Attempt::Announced(_) => moves.push(ProcessMove::Begin(*run, *activity)),
                    Attempt::Spent(spent)
                        if rules.lacks(Removal::AttemptsUncounted)
                            || (rules.lacks(Removal::SecondAttemptWithoutRow) && *spent < max) =>
                    {
                        moves.push(ProcessMove::Begin(*run, *activity));
                    }
                    Attempt::Running(_) => moves.push(ProcessMove::Finish(*run, *activity)),
                    Attempt::Spent(_) | Attempt::Finished(_) | Attempt::Remote => {}
                }
            }
        }
    }

    /// Collects what the processes may do or suffer.
    pub(crate) fn possible(world: &World, model: &Protocol, actions: &mut Vec<Action>) {
        for (place, process) in world.processes.iter().enumerate().filter(|(_, process)| process.up) {
            let plan = &model.scenario.processes[place];
            let place = place as u8;
            if plan.mortal && world.crashes > 0 {
                actions.push(Action::Crash(place));
            }
            if plan.mortal && world.lapses > 0 && !world.tables.lapsed.contains(&process.id) {
                actions.push(Action::Lapse(process.id));
            }
            let news = process.news.iter().map(|run| ProcessMove::Bring(*run));
            let brought = process.brought.iter().map(|run| ProcessMove::Took(*run));
            actions.extend(news.chain(brought).map(|step| Action::Process(place, step)));
            let beside = |statement: &Statement| match statement {
                Statement::Heartbeat { .. } | Statement::Took { .. } => false,
                Statement::Take { .. } => !plan.takes_beside,
                Statement::Flush { .. } => !plan.releases_beside_flush,
                _ => true,
            };
            if world.waits(Caller::Worker(place), beside) {
                continue;
            }
            for (run, held) in process.runs.iter().filter(|(_, held)| held.need == Need::Nothing) {
                let busy = held.memory.busy() && !model.rules.lacks(Removal::ReleaseWithLocalActivity);
                // What waits in the inbox alone is left to the statement; it knows better than a memory.
                let flushing =
                    world.waits(Caller::Worker(place), |statement| matches!(statement, Statement::Flush { .. }));
                if process.releases > 0 && !busy && (flushing || held.memory.waiting.is_empty()) {
                    actions.push(Action::Process(place, ProcessMove::Release(*run)));
                }
                if model.scenario.workflow.closes == Closes::Anytime && !flushing {
                    actions.push(Action::Process(place, ProcessMove::Close(*run)));
                }
            }
        }
    }

    /// Gives the messages in the inbox of a run that the process does not have yet.
    fn unread(&self, world: &World, place: u8, run: RunId) -> Vec<Message> {
        let memory = &self.runs[&run].memory;
        // What a flush on its way consumes is still there.
        let flushing = world.waits(Caller::Worker(place), |statement| matches!(statement, Statement::Flush { .. }));
        let had = |message: &Message| memory.waiting.contains(message) || flushing && memory.knows(*message);
        world.tables.waiting(run).filter(|message| !had(message)).collect()
    }

    /// Builds the next flush, if there is anything to write and nothing of the same lane is on its way.
    fn transitions(&self, world: &World, model: &Protocol, place: u8, closing: Option<RunId>) -> Option<Vec<Item>> {
        let scenario = &model.scenario;
        let plan = &scenario.processes[usize::from(place)];
        if world.waits(Caller::Worker(place), |statement| blocks(model.rules, plan, statement)) {
            return None;
        }
        // The order of arrival, of which the worst is the one that is not sorted.
        let runs = self.runs.iter().rev().filter(|(_, held)| held.need == Need::Nothing);
        let items = runs.filter_map(|(run, held)| {
            workflow::transition(model.rules, scenario, self.id, *run, held, closing == Some(*run))
        });
        let items: Vec<Item> = items.collect();
        (!items.is_empty()).then_some(items)
    }

    /// Takes a step.
    pub(crate) fn act(world: &mut World, model: &Protocol, place: u8, step: ProcessMove) {
        let (scenario, caller) = (&*model.scenario, Caller::Worker(place));
        let process = &mut world.processes[usize::from(place)];
        let me = process.id;
        match step {
            ProcessMove::Claim => world.issue(scenario, caller, Statement::Claim { me }),
            ProcessMove::Take => world.issue(scenario, caller, Statement::Take { me }),
            ProcessMove::Bring(run) => process.bring(model.rules, run),
            ProcessMove::Took(run) => {
                process.brought.remove(&run);
                world.issue(scenario, caller, Statement::Took { me, run });
            }
            ProcessMove::Start(run) => world.issue(scenario, caller, Statement::Start { run, me }),
            ProcessMove::Heartbeat => world.issue(scenario, caller, Statement::Heartbeat { me }),
            ProcessMove::SendLetter(run, message) => {
                world.issue(scenario, caller, Statement::Send { messages: vec![(run, message)] });
            }
            ProcessMove::Flush => Self::flush(world, model, place, None),
            ProcessMove::Close(run) => Self::flush(world, model, place, Some(run)),
            ProcessMove::Release(run) => {
                process.releases -= 1;
                let held = &process.runs[&run];
                let statement = Statement::Release { me, run, epoch: held.epoch, next: held.next };
                world.issue(scenario, caller, statement);
            }
            ProcessMove::Fence(run) => {
                let epoch = process.runs[&run].epoch;
                if model.rules.lacks(Removal::ReReadInsteadOfFence) {
                    Self::read_again(world, place, run);
                } else {
                    world.issue(scenario, caller, Statement::Fence { me, run, epoch });
                }
            }
            ProcessMove::Load(run) => Self::load(world, model.rules, place, run),
            ProcessMove::Poll(run) => {
                let unread = world.processes[usize::from(place)].unread(world, place, run);
                if let Some(held) = world.processes[usize::from(place)].runs.get_mut(&run) {
                    held.memory.waiting.extend(unread);
                }
            }
            ProcessMove::Compare => process.compare(model.rules, &world.tables),
            ProcessMove::Begin(run, activity) => {
                *world.ghost.begun.entry(activity).or_default() += 1;
                process.advance_attempt(run, activity);
            }
            ProcessMove::Finish(run, activity) => process.advance_attempt(run, activity),
        }
    }

    fn flush(world: &mut World, model: &Protocol, place: u8, closing: Option<RunId>) {
        let Some(items) = world.processes[usize::from(place)].transitions(world, model, place, closing) else { return };
        let process = &mut world.processes[usize::from(place)];
        let me = process.id;
        for item in &items {
            let held = process.runs.get_mut(&item.run).expect("a transition is of a run that is held");
            for activity in item.scheduled() {
                if model.rules.lacks(Removal::BeginBeforeCommit) {
                    held.memory.attempts.insert(activity, Attempt::Running(1));
                    *world.ghost.begun.entry(activity).or_default() += 1;
                }
            }
            if model.rules.lacks(Removal::WriteBeforeAnswer) {
                held.applied(item);
            }
        }
        world.issue(&model.scenario, Caller::Worker(place), Statement::Flush { me, items });
    }

    pub(super) fn advance_attempt(&mut self, run: RunId, activity: ActivityId) {
        let held = self.runs.get_mut(&run).expect("an activity runs for a run that is held");
        let attempt = held.memory.attempts.get_mut(&activity).expect("it is known while it runs");
        *attempt = match *attempt {
            Attempt::Announced(number) => Attempt::Running(number),
            Attempt::Spent(spent) => Attempt::Running(spent + 1),
            Attempt::Running(number) => Attempt::Finished(number),
            Attempt::Finished(_) | Attempt::Remote => unreachable!("nothing more happens to it here"),
        };
    }
}

/// Tells whether a statement on its way keeps a process from sending another.
fn blocks(rules: Rules, plan: &ProcessPlan, statement: &Statement) -> bool {
    match statement {
        Statement::Heartbeat { .. } | Statement::Took { .. } => false,
        Statement::Take { .. } => !plan.takes_beside,
        Statement::Flush { .. } => !rules.lacks(Removal::WriteBeforeAnswer),
        _ => true,
    }
}
