//! Scenarios: what exists at the beginning, who acts, and how much may go wrong.

use crate::tables::{ActivityId, Message, RunId, Tables, WorkerId};

/// Says what a process may do besides serving the runs that it owns.
#[derive(Clone, Debug)]
pub(crate) struct ProcessPlan {
    pub(crate) id: WorkerId,
    /// Whether it claims runs.
    pub(crate) claims: bool,
    /// How often it may give a run back.
    pub(crate) releases: u8,
    /// Whether it may give a run back beside a flush that is on its way.
    pub(crate) releases_beside_flush: bool,
    /// Whether it goes on with the runs that it has while it takes what was handed to it.
    pub(crate) takes_beside: bool,
    /// Whether starts that are handed to it are brought to it by their news.
    pub(crate) hears: bool,
    /// Whether it may crash or pause for longer than its lease.
    pub(crate) mortal: bool,
    /// Runs that it starts.
    pub(crate) starts: Vec<RunId>,
}

/// Says when the workflow code ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closes {
    Never,
    /// When this many signals are recorded.
    AfterSignals(usize),
    /// At any moment.
    Anytime,
}

/// Says what the workflow code does.
#[derive(Clone, Debug)]
pub(crate) struct Workflow {
    pub(crate) closes: Closes,
    /// An activity that it schedules with its first transition, and how many attempts it has.
    pub(crate) activity: Option<(ActivityId, u8)>,
    /// Whether the owner fires due timers itself.
    pub(crate) fires_timers: bool,
    /// Messages that a run sends to another with its first transition: from, to, what.
    pub(crate) sends: Vec<(RunId, RunId, Message)>,
    /// The run that replaces the closing one.
    pub(crate) successor: Option<RunId>,
}

/// Is a small world whose interleavings are all explored.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) tables: Tables,
    pub(crate) processes: Vec<ProcessPlan>,
    pub(crate) specialists: Vec<WorkerId>,
    /// Clients, each with the messages of its one call.
    pub(crate) senders: Vec<Vec<(RunId, Message)>>,
    /// Clients, each with a run that it starts and the workers to one of which it hands it.
    pub(crate) starters: Vec<(RunId, Vec<WorkerId>)>,
    pub(crate) terminates: Option<RunId>,
    pub(crate) mover: bool,
    pub(crate) workflow: Workflow,
    /// How many answers may be lost.
    pub(crate) losses: u8,
    /// How many crashes.
    pub(crate) crashes: u8,
    /// How many leases lapse although their process lives.
    pub(crate) lapses: u8,
    /// How often what was handed to a worker may be given back although it lives.
    pub(crate) give_backs: u8,
    /// How many registrations there may be in all.
    pub(crate) registrations: u8,
}

impl Scenario {
    /// Gives the name by which reports call it.
    pub fn name(&self) -> &'static str {
        self.name
    }
}
