//! The state of the whole world and its steps, as stateright explores them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stateright::{Model, Property};

use crate::actor::{
    Courier, Keeper, Process, ProcessMove, Returner, Sender, Specialist, SpecialistMove, Starter, Terminator,
};
use crate::property;
use crate::rule::Rules;
use crate::scenario::Scenario;
use crate::session::{self, Caller, Phase, Session, SessionId, Sessions, Step};
use crate::statement::{Answer, Statement, Termination, Verdict};
use crate::tables::{ActivityId, Message, Row, RowKey, RunId, Tables, WorkerId, Write};

/// Remembers what was promised and what was done outside the database, for the properties.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ghost {
    pub(crate) acknowledged: BTreeSet<(RunId, Message)>,
    pub(crate) rejected: BTreeSet<(RunId, Message)>,
    /// Runs whose start was acknowledged.
    pub(crate) started: BTreeSet<RunId>,
    /// How often an activity began.
    pub(crate) begun: BTreeMap<ActivityId, u8>,
    /// Someone wrote to a run that was not its own at the commit.
    pub(crate) stranger_wrote: bool,
    /// A transition took effect after its writer had concluded that it never would.
    pub(crate) disowned_applied: bool,
    /// A statement failed on the primary key of history.
    pub(crate) collision: bool,
    /// A result was accepted from one who no longer had the claim.
    pub(crate) stale_result: bool,
    /// A worker that is dead was told that its lease is renewed.
    pub(crate) dead_renewed: bool,
}

/// Is the state of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) tables: Arc<Tables>,
    pub(crate) sessions: Sessions,
    pub(crate) processes: Vec<Process>,
    pub(crate) specialists: Vec<Specialist>,
    pub(crate) senders: Vec<Sender>,
    pub(crate) starters: Vec<Starter>,
    pub(crate) terminator: Terminator,
    pub(crate) keeper: Keeper,
    pub(crate) losses: u8,
    pub(crate) crashes: u8,
    pub(crate) lapses: u8,
    /// How often something may be given back whose taker lives.
    pub(crate) give_backs: u8,
    pub(crate) ghost: Ghost,
}

/// Is a step of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Step(SessionId),
    Cut(SessionId),
    Vanish(SessionId),
    Lapse(WorkerId),
    Crash(u8),
    CrashSpecialist(u8),
    Process(u8, ProcessMove),
    Specialist(u8, SpecialistMove),
    Send(u8),
    Hand(u8, WorkerId),
    Terminate,
    MoveTimers,
    Deliver(RunId, Message),
    MarkDead(WorkerId),
    TakeOver(WorkerId),
    GiveBack(WorkerId),
    GiveUntaken(WorkerId),
}

/// Is a scenario with its rules: the model that stateright explores.
#[derive(Clone, Debug)]
pub(crate) struct Protocol {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) rules: Rules,
}

impl World {
    /// Opens a session for a statement.
    pub(crate) fn issue(&mut self, scenario: &Scenario, caller: Caller, statement: Statement) {
        let free = (0..).map(SessionId).find(|id| !self.sessions.contains_key(id)).expect("there are few sessions");
        self.sessions.insert(free, Session::new(caller, statement));
        // Without lost connections nothing tells a request on its way from one that is not sent yet.
        if scenario.losses == 0 && scenario.crashes == 0 {
            self.advance(Rules(None), scenario, free);
        }
    }

    /// Tells whether a caller has a statement on its way.
    pub(crate) fn waits(&self, caller: Caller, which: impl Fn(&Statement) -> bool) -> bool {
        let mut sessions = self.sessions.values();
        sessions.any(|session| !session.orphan && session.caller == caller && which(&session.statement))
    }

    /// Cuts the connections of a caller whose process is gone.
    pub(crate) fn orphan_all(&mut self, caller: Caller) {
        self.sessions.values_mut().filter(|session| session.caller == caller).for_each(|session| session.orphan = true);
    }

    fn advance(&mut self, rules: Rules, scenario: &Scenario, id: SessionId) -> Option<()> {
        if session::behind_another(&self.sessions, id) {
            return None;
        }
        match session::step(rules, &self.tables, &self.sessions, id) {
            Step::Blocked(_) => return None,
            Step::Advanced(session) => drop(self.sessions.insert(id, session)),
            Step::Commits(writes, answer) => {
                let session = self.sessions.remove(&id).expect("it was just stepped");
                self.witness(&session, &answer);
                for write in &writes {
                    Arc::make_mut(&mut self.tables).apply(write);
                }
                session::note_changes(&mut self.sessions, &writes, &session.taken);
                self.tell_of_hands(scenario, &writes);
                if !session.orphan {
                    self.answered(rules, scenario, &session, answer);
                }
            }
        }
        Some(())
    }

    /// Sends the news of starts that were handed over to those that live.
    fn tell_of_hands(&mut self, scenario: &Scenario, writes: &[Write]) {
        for write in writes {
            let Write::Put(RowKey::Handed(run), Row::Handed(handed)) = write else { continue };
            for (process, plan) in self.processes.iter_mut().zip(&scenario.processes) {
                if plan.hears && process.up && process.id == handed.worker {
                    process.news.insert(*run);
                }
            }
        }
    }

    /// Lets a lease run out: of a process that is down, or of one that lives and is late.
    fn lapse(&mut self, worker: WorkerId) {
        let late = self.processes.iter().any(|process| process.up && process.id == worker)
            || self.specialists.iter().any(|specialist| specialist.up && specialist.id == worker);
        self.lapses -= u8::from(late);
        Arc::make_mut(&mut self.tables).lapsed.insert(worker);
    }

    /// Compares a commit with the rows as they are just before it.
    fn witness(&mut self, session: &Session, answer: &Answer) {
        let owns = |run: &RunId, me: WorkerId, epoch: u8| {
            self.tables.runs.get(run).is_some_and(|row| (row.owner, row.epoch) == (Some(me), epoch))
        };
        match (&session.statement, answer) {
            (Statement::Flush { me, items }, Answer::Flushed(verdicts)) => {
                let applied = || items.iter().zip(verdicts).filter(|(_, verdict)| **verdict == Verdict::Applied);
                let stranger = applied().any(|(item, _)| !owns(&item.run, *me, item.epoch));
                self.ghost.stranger_wrote |= stranger;
                self.ghost.disowned_applied |= session.disowned && applied().next().is_some();
            }
            (Statement::Flush { .. }, Answer::Collision) => self.ghost.collision = true,
            (Statement::Release { me, run, epoch, .. }, Answer::Released(true)) => {
                self.ghost.stranger_wrote |= !owns(run, *me, *epoch);
            }
            (Statement::Heartbeat { me }, Answer::Alive(true)) => {
                self.ghost.dead_renewed |= self.tables.workers.get(me).copied().unwrap_or(true);
            }
            (Statement::Terminate { run }, Answer::Terminated(Termination::Closed)) => {
                self.ghost.stranger_wrote |= self.tables.runs.get(run).is_some_and(|row| row.owner.is_some());
            }
            (Statement::GiveUntaken { worker }, Answer::Given(runs)) => {
                let others = |run: &RunId| self.tables.runs.get(run).is_none_or(|row| row.owner != Some(*worker));
                self.ghost.stranger_wrote |= runs.iter().any(others);
            }
            (Statement::Complete { activity, .. }, Answer::Completed(true)) => {
                let Caller::Specialist(place) = session.caller else { return };
                let claimer = self.tables.tasks.get(activity).and_then(|task| task.claimed_by);
                self.ghost.stale_result |= claimer != Some(self.specialists[usize::from(place)].id);
            }
            _ => {}
        }
    }

    fn answered(&mut self, rules: Rules, scenario: &Scenario, session: &Session, answer: Answer) {
        match session.caller {
            Caller::Worker(place) => Process::answered(self, rules, scenario, place, &session.statement, answer),
            Caller::Specialist(place) => Specialist::answered(self, place, &session.statement, answer),
            Caller::Sender(place) => Sender::answered(self, rules, place, answer),
            Caller::Courier => Courier::answered(self, &session.statement),
            Caller::Keeper => Keeper::answered(self, rules, &session.statement, answer),
            Caller::Starter(place) => Starter::answered(self, place, &answer),
            Caller::Mover | Caller::Returner => {}
            Caller::Terminator => Terminator::answered(self, answer),
        }
    }

    fn cut(&mut self, rules: Rules, id: SessionId) {
        let session = self.sessions.get_mut(&id).expect("only sessions that exist are cut");
        session.orphan = true;
        self.losses -= 1;
        let (caller, statement) = (session.caller, session.statement.clone());
        match caller {
            Caller::Worker(place) => Process::lost(self, rules, place, &statement),
            Caller::Sender(place) => Sender::lost(self, rules, place),
            Caller::Starter(place) => Starter::lost(self, place),
            Caller::Terminator => self.terminator.waiting = false,
            // These look at the tables again and repeat what is not done.
            Caller::Specialist(_) | Caller::Courier | Caller::Keeper | Caller::Returner | Caller::Mover => {}
        }
    }
}

impl Protocol {
    /// Collects what will happen sooner or later, if nothing else does first.
    pub(crate) fn due(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(world.sessions.keys().map(|id| Action::Step(*id)));
        Process::due(world, self, actions);
        Specialist::due(world, actions);
        Sender::due(world, actions);
        Starter::due(world, actions);
        Terminator::due(world, actions);
        Courier::due(world, actions);
        Keeper::due(world, actions);
        Returner::due(world, actions);
        let open_timer = world.tables.timers.values().any(|run| world.tables.runs.contains_key(run));
        if self.scenario.mover && open_timer && !world.waits(Caller::Mover, |_| true) {
            actions.push(Action::MoveTimers);
        }
    }

    /// Collects what may happen or not.
    fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        for (id, session) in &world.sessions {
            // A backend that has the statement does not notice before its answer that nobody waits for it.
            if session.orphan && session.phase == Phase::Sent {
                actions.push(Action::Vanish(*id));
            }
            if !session.orphan && world.losses > 0 {
                actions.push(Action::Cut(*id));
            }
        }
        Process::possible(world, self, actions);
        Specialist::possible(world, self, actions);
        Returner::possible(world, actions);
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let scenario = &self.scenario;
        let announced = scenario.tables.tasks.iter().filter(|(_, task)| !task.remote);
        let begun = announced.map(|(activity, task)| (*activity, task.attempt)).collect();
        vec![World {
            tables: Arc::new(scenario.tables.clone()),
            sessions: Sessions::new(),
            processes: scenario.processes.iter().map(|plan| Process::new(plan, &scenario.tables)).collect(),
            specialists: scenario.specialists.iter().map(|id| Specialist::new(*id)).collect(),
            senders: scenario.senders.iter().map(|messages| Sender::new(messages)).collect(),
            starters: scenario.starters.iter().map(|(run, takers)| Starter::new(*run, takers)).collect(),
            terminator: Terminator::new(scenario.terminates),
            keeper: Keeper::default(),
            losses: scenario.losses,
            crashes: scenario.crashes,
            lapses: scenario.lapses,
            give_backs: scenario.give_backs,
            ghost: Ghost { begun, ..Ghost::default() },
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.due(world, actions);
        self.possible(world, actions);
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        let (rules, scenario) = (self.rules, &*self.scenario);
        match action {
            Action::Step(id) => world.advance(rules, scenario, id)?,
            Action::Cut(id) => world.cut(rules, id),
            Action::Vanish(id) => drop(world.sessions.remove(&id)),
            Action::Lapse(worker) => world.lapse(worker),
            Action::Crash(place) => Process::crash(&mut world, place),
            Action::CrashSpecialist(place) => Specialist::crash(&mut world, place),
            Action::Process(place, step) => Process::act(&mut world, self, place, step),
            Action::Specialist(place, step) => Specialist::act(&mut world, scenario, place, step),
            Action::Send(place) => Sender::act(&mut world, scenario, place),
            Action::Hand(place, worker) => Starter::act(&mut world, scenario, place, worker),
            Action::Terminate => Terminator::act(&mut world, scenario),
            Action::MoveTimers => world.issue(scenario, Caller::Mover, Statement::MoveTimers),
            Action::Deliver(run, message) => Courier::act(&mut world, scenario, run, message),
            Action::MarkDead(worker) => world.issue(scenario, Caller::Keeper, Statement::MarkDead { worker }),
            Action::TakeOver(worker) => world.issue(scenario, Caller::Keeper, Statement::TakeOver { worker }),
            Action::GiveBack(worker) => world.issue(scenario, Caller::Keeper, Statement::GiveBack { worker }),
            Action::GiveUntaken(worker) => Returner::act(&mut world, scenario, worker),
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::all()
    }
}
