//! Several runs and what lies between them: rows are delivered in any order of sources, twice after a crash, and answered
//! twice; in the end every run agrees with every other.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A run with its inbox, and where the world has got to with its outbox.
struct Place {
    story: Story,
    inbox: Vec<Message>,
    /// Rows delivered and removed.
    delivered: usize,
    next_number: u64,
}

/// Runs by id, and the open run of each workflow id.
#[derive(Default)]
struct World {
    places: BTreeMap<RunId, Place>,
    open: BTreeMap<String, RunId>,
}

/// One thing that happens in the world.
#[derive(Clone, Debug)]
enum Move {
    /// The oldest row of a run is delivered; `crash`: it is not removed, so that it will be delivered again.
    Deliver {
        run: usize,
        crash: bool,
    },
    /// A run takes what its inbox holds, and its code does something.
    Step {
        run: usize,
        wishes: Vec<Wish>,
    },
    Terminate {
        run: usize,
    },
}

#[derive(Clone, Debug)]
enum Wish {
    Child { name: u8, policy: u8 },
    CancelChild(u64),
    Signal { name: u8 },
    Cancel { name: u8 },
    Continue,
    End,
    Fail,
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        4 => (0u8..5, 0u8..3).prop_map(|(name, policy)| Wish::Child { name, policy }),
        1 => (1u64..6).prop_map(Wish::CancelChild),
        3 => (0u8..5).prop_map(|name| Wish::Signal { name }),
        1 => (0u8..5).prop_map(|name| Wish::Cancel { name }),
        1 => Just(Wish::Continue),
        1 => Just(Wish::End),
        1 => Just(Wish::Fail),
    ]
}

fn action() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0usize..12, any::<bool>()).prop_map(|(run, crash)| Move::Deliver { run, crash }),
        4 => (0usize..12, prop::collection::vec(wish(), 0..3)).prop_map(|(run, wishes)| Move::Step { run, wishes }),
        1 => (0usize..12).prop_map(|run| Move::Terminate { run }),
    ]
}

fn name(number: u8) -> String {
    format!("w{number}")
}

impl World {
    fn start(&mut self, request: StartWorkflow) -> Delivered {
        if self.places.contains_key(&request.run_id) {
            return Delivered::Done;
        }
        let id = request.workflow_id.as_str().to_owned();
        if self.open.contains_key(&id) {
            return Delivered::AlreadyExists;
        }
        let run_id = request.run_id;
        self.open.insert(id, run_id);
        let story = Story::begin_with(|start| *start = request);
        self.places.insert(run_id, Place { story, inbox: Vec::new(), delivered: 0, next_number: 0 });
        Delivered::Done
    }

    /// Which run a row means now: the one that has its message already, if any has.
    fn resolve(&self, row: &OutboxRow) -> Option<RunId> {
        let known = |place: &&Place| place.knows(row.id);
        let pinned = self.places.values().find(known).map(|place| place.story.run.key.run_id);
        let open = self.open.get(row.target.workflow_id.as_str()).copied();
        pinned.or_else(|| match row.target.run {
            TargetRun::Open => open,
            TargetRun::Run(run_id) => open.filter(|open| *open == run_id),
            TargetRun::Chain(first) => open.filter(|open| self.places[open].story.run.first_run_id() == first),
        })
    }

    fn deliver(&mut self, source: RunId, crash: bool) {
        let place = &self.places[&source];
        let Some(row) = place.story.outbox.get(place.delivered).cloned() else { return };
        let delivered = match &row.body {
            OutboxBody::Start(start) => self.start((**start).clone()),
            OutboxBody::Message(_) => match self.resolve(&row) {
                Some(target) => {
                    self.send(target, row.message().unwrap());
                    Delivered::Done
                }
                None => Delivered::NotFound,
            },
        };
        if let Some(answer) = row.answer(source, delivered) {
            self.send(source, answer);
        }
        if !crash {
            self.places.get_mut(&source).unwrap().delivered += 1;
        }
    }

    fn send(&mut self, target: RunId, message: Message) {
        let place = self.places.get_mut(&target).unwrap();
        if place.story.run.status == crate::RunStatus::Running && !place.knows(message.id) {
            place.inbox.push(message);
        }
    }

    /// Makes a step of a run; one that closes it makes its successor with it.
    fn step(&mut self, run_id: RunId, wishes: &[Wish], terminate: bool) {
        let place = self.places.get_mut(&run_id).unwrap();
        if place.story.run.status != crate::RunStatus::Running {
            return;
        }
        let commands = place.commands(wishes);
        let (inbox, number) = (std::mem::take(&mut place.inbox), place.story.events.len());
        let mut run = place.story.run.clone();
        let mut turn = Turn::begin(&mut run, START.plus_ms(number as u64));
        inbox.into_iter().for_each(|message| turn.message(message));
        if terminate {
            turn.message(super::terminate(30_000));
        }
        if turn.start_task("worker", None) {
            turn.complete_task(commands, Vec::new()).unwrap();
        }
        let transition = turn.finish();
        let successor = transition.successor.clone();
        place.story.run = run;
        place.story.write(*transition);
        if place.story.run.status != crate::RunStatus::Running {
            let id = place.story.run.started.workflow_id.as_str().to_owned();
            self.open.remove(&id);
        }
        if let Some(successor) = successor {
            assert_eq!(self.start(successor.request), Delivered::Done, "its workflow id is free");
        }
    }

    /// Delivers and takes in until nothing is left.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let busy = |place: &Place| place.delivered < place.story.outbox.len() || !place.inbox.is_empty();
            let Some(run_id) = self.places.iter().find(|(_, place)| busy(place)).map(|(id, _)| *id) else { return };
            self.deliver(run_id, false);
            self.step(run_id, &[], false);
            let place = self.places.get_mut(&run_id).unwrap();
            if place.story.run.status != crate::RunStatus::Running {
                place.inbox.clear();
            }
        }
        panic!("the world does not come to rest");
    }
}

impl Place {
    fn knows(&self, id: MessageId) -> bool {
        self.story.run.recorded_messages.contains(&id) || self.inbox.iter().any(|message| message.id == id)
    }

    fn commands(&mut self, wishes: &[Wish]) -> Vec<Command> {
        let mut commands = Vec::new();
        let mut canceled = BTreeSet::new();
        for wish in wishes {
            self.next_number += 1;
            let number = self.next_number;
            commands.push(match *wish {
                Wish::Child { name: to, policy } => {
                    let policies =
                        [ParentClosePolicy::Terminate, ParentClosePolicy::RequestCancel, ParentClosePolicy::Abandon];
                    let parent_close_policy = policies[usize::from(policy)];
                    let options = ChildWorkflowOptions { parent_close_policy, ..ChildWorkflowOptions::default() };
                    let (workflow_id, workflow_type) = (name(to).into(), "ship".into());
                    let (input, options) = (Payload::null(), Box::new(options));
                    Command::StartChildWorkflowExecution {
                        child_id: number,
                        workflow_id,
                        workflow_type,
                        input,
                        options,
                    }
                }
                Wish::CancelChild(child_id) => {
                    let asked = self.story.run.child(child_id).is_some_and(|child| child.cancel_requested);
                    if asked || !canceled.insert(child_id) {
                        continue;
                    }
                    cancel_child(child_id)
                }
                Wish::Signal { name: to } => signal_other(number, &name(to)),
                Wish::Cancel { name: to } => cancel_other(number, &name(to)),
                Wish::Continue => {
                    Command::ContinueAsNewWorkflowExecution { successor: Box::new(ContinueAsNew::new(Payload::null())) }
                }
                Wish::End => complete(),
                Wish::Fail => fail("No"),
            });
            if commands.last().is_some_and(Command::closes) {
                break;
            }
        }
        commands
    }
}

fn live(moves: &[Move]) -> World {
    let mut world = World::default();
    for number in 0..2u8 {
        let run_id = RunId(Uuid::from_u128(u128::from(number) + 1));
        let id = name(number).into();
        let mut start = StartWorkflow::new(run_id, id, "root".into(), "queue".into(), Payload::null());
        start.retry_policy = (number == 1).then(|| Box::new(RetryPolicy::attempts(3).initial_interval(Duration::ZERO)));
        world.start(start);
    }
    for action in moves {
        let runs: Vec<RunId> = world.places.keys().copied().collect();
        match action {
            Move::Deliver { run, crash } => world.deliver(runs[run % runs.len()], *crash),
            Move::Step { run, wishes } => world.step(runs[run % runs.len()], wishes, false),
            Move::Terminate { run } => world.step(runs[run % runs.len()], &[], true),
        }
    }
    world.settle();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn whatever_crashes_between_runs_nothing_is_lost_or_doubled(moves in prop::collection::vec(action(), 1..60)) {
        let world = live(&moves);
        let mut first_runs: BTreeMap<RunId, usize> = BTreeMap::new();
        for place in world.places.values() {
            let run = &place.story.run;
            let mut signals = BTreeSet::new();
            for event in &place.story.events {
                if let EventKind::WorkflowExecutionSignaled(it) = &event.event {
                    prop_assert!(signals.insert(it.message_id), "a signal is recorded once");
                }
            }
            if let Some(lineage) = run.started.lineage.as_ref().filter(|lineage| lineage.first_run_id.is_none()) {
                let parent = lineage.parent.as_ref().unwrap();
                *first_runs.entry(parent.run_id).or_default() += 1;
            }
            if run.status != crate::RunStatus::Running {
                prop_assert!(run.first_run_id() == run.key.run_id || world.places.contains_key(&run.first_run_id()));
                continue;
            }
            let Some(rare) = run.rare.as_deref() else { continue };
            prop_assert!(rare.external_signals.is_empty() && rare.external_cancels.is_empty(), "everything is answered");
            for child in rare.children.values() {
                prop_assert!(child.started_event_id.is_some(), "every start is answered");
                let first = child.initiated.run_id;
                let open = world.places.values().any(|other| {
                    other.story.run.first_run_id() == first && other.story.run.status == crate::RunStatus::Running
                });
                prop_assert!(open, "a pending child has an open run");
            }
        }
        for (parent, count) in first_runs {
            let asked = world.places[&parent].story.outbox.iter();
            let asked = asked.filter(|row| matches!(row.body, OutboxBody::Start(_))).count();
            prop_assert!(count <= asked, "a child is started once");
        }
        // A delivered signal is in exactly one run.
        for place in world.places.values() {
            for row in &place.story.outbox {
                let holds = |other: &&Place| other.story.run.recorded_messages.contains(&row.id);
                let holders = world.places.values().filter(holds).count();
                prop_assert!(holders <= 1);
                let arrived = place.story.events.iter().any(|event| {
                    matches!(&event.event, EventKind::ExternalWorkflowExecutionSignaled(it) if it.initiated_event_id == row.event_id)
                });
                prop_assert!(!arrived || holders == 1, "a signal that arrived is in a history");
            }
        }
    }
}
