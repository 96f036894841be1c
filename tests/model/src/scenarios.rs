//! The scenarios: small worlds, each around one or two rules, that together reach every statement of the protocol.
//!
//! Every scenario is a place where an earlier draft of the protocol went wrong, or where a rule, left out, goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use crate::scenario::{Closes, ProcessPlan, Scenario, Workflow};
use crate::tables::{ActivityId, Batch, Event, Handed, Message, Run, RunId, Tables, Task, TimerId, WorkerId};

const RUN: RunId = RunId(0);
const OTHER: RunId = RunId(1);
const ACTIVITY: ActivityId = ActivityId(0);
const TIMER: TimerId = TimerId(0);

/// Gives every scenario.
pub fn all() -> Vec<Scenario> {
    vec![
        send_and_close(),
        send_and_release(),
        lost_answers(),
        lost_again(),
        lost_release(),
        lost_claim(),
        zombie(),
        zombie_batch(),
        late_claim(),
        only_worker(),
        late_start(),
        stale_ready(),
        stale_load(),
        release_beside_flush(),
        pipeline(),
        timer(),
        attempts(),
        zombie_attempt(),
        unknown_scheduling(),
        remote_activity(),
        load_and_result(),
        remote_close(),
        terminate(),
        crosswise(),
        outbox(),
        replacement(),
        lock_order(),
        worker_epoch(),
        handed(),
        handed_lost(),
        late_hand(),
        untaken(),
        late_take(),
        brought(),
        brought_lost(),
    ]
}

fn signal(number: u8) -> Message {
    Message::Signal(number)
}

/// Makes an empty world with this many registered workers.
fn world(name: &'static str, workers: u8) -> Scenario {
    let registered = (0..workers).map(|id| (WorkerId(id), false)).collect();
    let tables = Tables { workers: registered, ..Tables::default() };
    Scenario {
        name,
        tables,
        processes: Vec::new(),
        specialists: Vec::new(),
        senders: Vec::new(),
        starters: Vec::new(),
        terminates: None,
        mover: false,
        workflow: Workflow {
            closes: Closes::Never,
            activity: None,
            fires_timers: false,
            sends: Vec::new(),
            successor: None,
        },
        losses: 0,
        crashes: 0,
        lapses: 0,
        give_backs: 0,
        registrations: workers,
    }
}

fn process(id: u8) -> ProcessPlan {
    ProcessPlan {
        id: WorkerId(id),
        claims: true,
        releases: 0,
        releases_beside_flush: false,
        takes_beside: false,
        hears: false,
        mortal: false,
        starts: Vec::new(),
    }
}

impl Scenario {
    fn run(mut self, run: RunId, owner: Option<u8>, events: &[Event]) -> Self {
        let mut all = vec![Event::Started];
        all.extend(events);
        let next = 1 + all.len() as u8;
        self.tables.runs.insert(run, Run { owner: owner.map(WorkerId), epoch: 1, next });
        self.tables.history.insert(run, vec![Batch { first: 1, epoch: 1, events: all }]);
        if owner.is_none() {
            self.tables.ready.insert(run);
        }
        self
    }

    fn signals(mut self, count: u8) -> Self {
        self.senders = (0..count).map(|number| vec![(RUN, signal(number))]).collect();
        self
    }

    fn closes(mut self, closes: Closes) -> Self {
        self.workflow.closes = closes;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Three clients send to a run whose owner closes it after the first signal.
pub fn send_and_close() -> Scenario {
    world("send and close", 1)
        .run(RUN, Some(0), &[])
        .signals(3)
        .closes(Closes::AfterSignals(1))
        .with(|it| it.processes = vec![process(0)])
}

/// Two clients send to a run whose owner gives it back and claims it again.
pub fn send_and_release() -> Scenario {
    world("send and release", 2).run(RUN, Some(0), &[]).signals(2).with(|it| {
        it.processes = vec![ProcessPlan { releases: 2, ..process(0) }, process(1)];
    })
}

/// Answers to signals, appends and closes get lost.
pub fn lost_answers() -> Scenario {
    world("lost answers", 1).run(RUN, Some(0), &[]).signals(2).closes(Closes::AfterSignals(2)).with(|it| {
        it.processes = vec![process(0)];
        it.losses = 1;
    })
}

/// Answer after answer gets lost: of a signal, of its append, of the write that settles it.
pub fn lost_again() -> Scenario {
    world("lost again", 1).run(RUN, Some(0), &[]).signals(1).closes(Closes::AfterSignals(1)).with(|it| {
        it.processes = vec![process(0)];
        it.losses = 3;
    })
}

/// Answers to releases and fencing writes get lost.
pub fn lost_release() -> Scenario {
    world("lost release", 1).run(RUN, Some(0), &[]).signals(1).with(|it| {
        it.processes = vec![ProcessPlan { releases: 1, ..process(0) }];
        it.losses = 2;
    })
}

/// The answer to a claim gets lost.
pub fn lost_claim() -> Scenario {
    world("lost claim", 1).run(RUN, None, &[]).signals(1).with(|it| {
        it.processes = vec![process(0)];
        it.losses = 2;
    })
}

/// An owner is late, loses its run to another, and wakes.
pub fn zombie() -> Scenario {
    world("zombie", 2).run(RUN, Some(0), &[]).signals(1).with(|it| {
        it.processes = vec![ProcessPlan { mortal: true, releases: 1, ..process(0) }, process(1)];
        it.lapses = 1;
        it.registrations = 3;
    })
}

/// A take-over meets the row locks of the late owner's appends to two runs.
pub fn zombie_batch() -> Scenario {
    world("zombie batch", 2).run(RUN, Some(0), &[]).run(OTHER, Some(0), &[]).with(|it| {
        it.senders = vec![vec![(RUN, signal(0)), (OTHER, signal(1))]];
        it.processes = vec![ProcessPlan { mortal: true, ..process(0) }, process(1)];
        it.lapses = 1;
    })
}

/// A worker claims while it is declared dead.
pub fn late_claim() -> Scenario {
    world("late claim", 2).run(RUN, None, &[]).signals(1).with(|it| {
        it.processes = vec![ProcessPlan { mortal: true, ..process(0) }, process(1)];
        it.lapses = 1;
        it.registrations = 2;
    })
}

/// The only worker is declared dead and has to find out.
pub fn only_worker() -> Scenario {
    world("only worker", 1).run(RUN, Some(0), &[]).signals(1).with(|it| {
        it.processes = vec![ProcessPlan { mortal: true, ..process(0) }];
        it.lapses = 1;
        it.registrations = 2;
    })
}

/// A worker starts a run of its own while it is declared dead, and answers get lost.
pub fn late_start() -> Scenario {
    world("late start", 2).with(|it| {
        it.processes = vec![ProcessPlan { mortal: true, starts: vec![RUN], ..process(0) }, process(1)];
        it.lapses = 1;
        it.registrations = 3;
    })
}

/// A stale ready row of an owned run meets a claim, a release and a signal.
pub fn stale_ready() -> Scenario {
    world("stale ready", 2).run(RUN, Some(0), &[]).signals(1).with(|it| {
        it.tables.ready.insert(RUN);
        it.processes = vec![ProcessPlan { releases: 1, claims: false, ..process(0) }, process(1)];
    })
}

/// A signal is sent again while its run moves from one owner to the next under a stale ready row.
pub fn stale_load() -> Scenario {
    world("stale load", 2).run(RUN, Some(0), &[]).with(|it| {
        it.senders = vec![vec![(RUN, signal(0))], vec![(RUN, signal(0))]];
        it.tables.ready.insert(RUN);
        it.processes = vec![ProcessPlan { releases: 1, claims: false, ..process(0) }, process(1)];
    })
}

/// A run is given back beside a flush that schedules an activity.
pub fn release_beside_flush() -> Scenario {
    world("release beside flush", 2).run(RUN, Some(0), &[]).with(|it| {
        it.tables.timers.insert(TIMER, RUN);
        it.processes = vec![ProcessPlan { releases: 2, releases_beside_flush: true, ..process(0) }, process(1)];
        it.workflow.fires_timers = true;
        it.workflow.activity = Some((ACTIVITY, 2));
        it.mover = true;
    })
}

/// Two signals come to a run, and an answer to its owner gets lost.
pub fn pipeline() -> Scenario {
    world("pipeline", 1).run(RUN, Some(0), &[]).signals(2).with(|it| {
        it.processes = vec![process(0)];
        it.losses = 1;
    })
}

/// A due timer is moved and fired by the owner at once, and the run, which gets a signal, closes at any moment.
pub fn timer() -> Scenario {
    world("timer", 1).run(RUN, Some(0), &[]).closes(Closes::Anytime).signals(1).with(|it| {
        it.tables.timers.insert(TIMER, RUN);
        it.processes = vec![ProcessPlan { releases: 1, ..process(0) }];
        it.workflow.fires_timers = true;
        it.mover = true;
    })
}

/// The owner of a running activity dies, and the next one too.
pub fn attempts() -> Scenario {
    world("attempts", 3).run(RUN, Some(0), &[Event::Scheduled(ACTIVITY)]).with(|it| {
        it.workflow.activity = Some((ACTIVITY, 2));
        it.processes =
            vec![ProcessPlan { mortal: true, ..process(0) }, ProcessPlan { mortal: true, ..process(1) }, process(2)];
        it.crashes = 2;
    })
}

/// The owner of a running activity is late twice: as its first and as its second owner.
pub fn zombie_attempt() -> Scenario {
    world("zombie attempt", 2).run(RUN, Some(0), &[Event::Scheduled(ACTIVITY)]).with(|it| {
        it.tables.tasks.insert(ACTIVITY, announced(1));
        it.workflow.activity = Some((ACTIVITY, 2));
        it.processes = vec![ProcessPlan { mortal: true, ..process(0) }, process(1)];
        it.lapses = 1;
    })
}

fn announced(attempt: u8) -> Task {
    Task { run: RUN, attempt, claimed_by: None, token: 0, remote: false }
}

/// The answer to the transition that schedules an activity gets lost.
pub fn unknown_scheduling() -> Scenario {
    world("unknown scheduling", 1).run(RUN, Some(0), &[]).signals(1).with(|it| {
        it.workflow.activity = Some((ACTIVITY, 1));
        it.processes = vec![process(0)];
        it.losses = 2;
    })
}

fn offered() -> Task {
    Task { run: RUN, attempt: 0, claimed_by: None, token: 0, remote: true }
}

/// A specialist has an activity of a run that is being claimed, and is late.
pub fn remote_activity() -> Scenario {
    world("remote activity", 3).run(RUN, None, &[Event::Scheduled(ACTIVITY)]).with(|it| {
        it.tables.tasks.insert(ACTIVITY, offered());
        it.workflow.activity = Some((ACTIVITY, 2));
        it.processes = vec![process(0)];
        it.specialists = vec![WorkerId(1), WorkerId(2)];
        it.lapses = 1;
    })
}

/// A specialist completes an activity while the claimer of its run loads.
pub fn load_and_result() -> Scenario {
    world("load and result", 2).run(RUN, None, &[Event::Scheduled(ACTIVITY)]).signals(1).with(|it| {
        it.tables.tasks.insert(ACTIVITY, offered());
        it.workflow.activity = Some((ACTIVITY, 1));
        it.processes = vec![ProcessPlan { releases: 1, ..process(0) }];
        it.specialists = vec![WorkerId(1)];
    })
}

/// A specialist completes an activity while its run closes.
pub fn remote_close() -> Scenario {
    world("remote close", 2).run(RUN, Some(0), &[Event::Scheduled(ACTIVITY)]).closes(Closes::Anytime).with(|it| {
        it.tables.tasks.insert(ACTIVITY, offered());
        it.workflow.activity = Some((ACTIVITY, 1));
        it.processes = vec![ProcessPlan { releases: 1, ..process(0) }];
        it.specialists = vec![WorkerId(1)];
    })
}

/// A run is terminated while it is claimed and signalled.
pub fn terminate() -> Scenario {
    world("terminate", 1).run(RUN, None, &[]).signals(2).with(|it| {
        it.processes = vec![ProcessPlan { releases: 1, ..process(0) }];
        it.terminates = Some(RUN);
    })
}

/// Two runs signal each other and close, while a client sends to both.
pub fn crosswise() -> Scenario {
    world("crosswise", 2).run(RUN, Some(0), &[]).run(OTHER, Some(1), &[]).closes(Closes::Anytime).with(|it| {
        it.senders = vec![vec![(RUN, signal(2)), (OTHER, signal(3))]];
        it.processes = vec![ProcessPlan { claims: false, ..process(0) }, ProcessPlan { claims: false, ..process(1) }];
        it.workflow.sends = vec![(RUN, OTHER, signal(0)), (OTHER, RUN, signal(1))];
    })
}

/// A run signals another, and its owner dies.
pub fn outbox() -> Scenario {
    world("outbox", 2).run(RUN, Some(0), &[]).run(OTHER, Some(1), &[]).signals(1).with(|it| {
        it.processes = vec![ProcessPlan { mortal: true, claims: false, ..process(0) }, process(1)];
        it.workflow.sends = vec![(RUN, OTHER, signal(1))];
        it.crashes = 1;
    })
}

/// A late owner replaces its run by another.
pub fn replacement() -> Scenario {
    world("replacement", 2).run(RUN, Some(0), &[]).signals(1).closes(Closes::AfterSignals(1)).with(|it| {
        it.processes = vec![ProcessPlan { mortal: true, ..process(0) }, process(1)];
        it.workflow.successor = Some(OTHER);
        it.lapses = 1;
        it.registrations = 3;
    })
}

/// A client sends to two runs that their owner closes in one flush.
pub fn lock_order() -> Scenario {
    world("lock order", 1).run(RUN, Some(0), &[]).run(OTHER, Some(0), &[]).closes(Closes::AfterSignals(1)).with(|it| {
        it.tables.inbox = BTreeSet::from([(RUN, signal(0)), (OTHER, signal(1))]);
        it.senders = vec![vec![(RUN, signal(2)), (OTHER, signal(3))]];
        it.processes = vec![ProcessPlan { releases: 1, ..process(0) }];
    })
}

/// A run wanders from the younger of two workers to the older one.
pub fn worker_epoch() -> Scenario {
    world("worker epoch", 2).run(RUN, None, &[]).signals(2).with(|it| {
        it.tables.history = BTreeMap::from([(RUN, vec![Batch { first: 1, epoch: 0, events: vec![Event::Started] }])]);
        it.tables.runs.insert(RUN, Run { owner: None, epoch: 0, next: 2 });
        it.processes = vec![ProcessPlan { releases: 1, ..process(0) }, ProcessPlan { releases: 1, ..process(1) }];
    })
}

/// A client starts a run for a worker that may die, and what it handed over may be given back.
pub fn handed() -> Scenario {
    world("handed", 2).signals(1).with(|it| {
        it.starters = vec![(RUN, vec![WorkerId(0)])];
        it.processes = vec![ProcessPlan { mortal: true, ..process(0) }, process(1)];
        it.crashes = 1;
        it.give_backs = 1;
    })
}

/// The answer to a start that is handed over gets lost, or to the take, or to what its worker writes first.
pub fn handed_lost() -> Scenario {
    world("handed, answers lost", 1).signals(1).closes(Closes::AfterSignals(1)).with(|it| {
        it.starters = vec![(RUN, vec![WorkerId(0)])];
        it.processes = vec![process(0)];
        it.losses = 1;
        it.give_backs = 1;
    })
}

/// A client hands a start to a worker that is being declared dead.
pub fn late_hand() -> Scenario {
    world("late hand", 2).with(|it| {
        it.starters = vec![(RUN, vec![WorkerId(0)])];
        it.processes = vec![ProcessPlan { mortal: true, ..process(0) }, process(1)];
        it.lapses = 1;
        it.registrations = 3;
    })
}

/// What was handed over is given back while its worker, which found it by comparing, makes its first transition.
pub fn untaken() -> Scenario {
    world("untaken", 2).signals(1).with(|it| {
        it.starters = vec![(RUN, vec![WorkerId(0)])];
        it.workflow.activity = Some((ACTIVITY, 1));
        it.processes = vec![ProcessPlan { takes_beside: true, ..process(0) }, process(1)];
        it.give_backs = 1;
    })
}

/// A take is slow: its worker finds the run by comparing, writes to it, and has to settle what became of that.
pub fn late_take() -> Scenario {
    world("late take", 1).run(RUN, Some(0), &[]).signals(1).with(|it| {
        it.tables.handed.insert(RUN, Handed { worker: WorkerId(0), next: 2 });
        it.workflow.activity = Some((ACTIVITY, 1));
        it.processes = vec![ProcessPlan { takes_beside: true, ..process(0) }];
        it.losses = 2;
    })
}

/// The news of a start bring the run to its worker, at once or when it has been taken, written to, or given back and claimed by
/// another.
pub fn brought() -> Scenario {
    world("brought", 2).signals(1).with(|it| {
        it.starters = vec![(RUN, vec![WorkerId(0)])];
        it.workflow.activity = Some((ACTIVITY, 1));
        it.processes = vec![ProcessPlan { hears: true, ..process(0) }, process(1)];
        it.give_backs = 1;
    })
}

/// What was brought is written to, and answers get lost.
pub fn brought_lost() -> Scenario {
    world("brought, answers lost", 1).signals(1).closes(Closes::AfterSignals(1)).with(|it| {
        it.starters = vec![(RUN, vec![WorkerId(0)])];
        it.processes = vec![ProcessPlan { hears: true, ..process(0) }];
        it.losses = 1;
    })
}
