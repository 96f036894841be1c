//! What can be measured: the scenarios with their sizes.

use clap::ValueEnum;

use super::workflows;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Workflows of one activity
    Noop,
    /// Workflows of ten activities, one after the other
    Sequence,
    /// Workflows of a hundred activities at once, joined
    Fanout,
    /// Workflows of ten child workflows at once, each of one activity, joined
    Children,
    /// One workflow of one activity at a time, from start to result
    Latency,
    /// Agents: a fan-out of 5, a sequence of 3, an approval by signal, a short timer, payloads of 1 to 10 KB
    Mixed,
    /// A thousand signals to each of many runs (--count runs)
    Signals,
    /// Timers of --count runs, up to 50,000 of them due within one second
    Timers,
    /// --count workflows enqueued while no worker runs, then drained
    Backlog,
    /// --count runs that wait, one woken at a time
    Waiting,
    /// One run with a history of --count events
    History,
    /// Nothing to do: what ten workers and --count waiting runs cost
    Idle,
    /// Every scenario, each small enough for all to take a few minutes
    All,
}

impl Scenario {
    /// Every scenario, in the order of `all`.
    pub(super) const EACH: [Self; 12] = [
        // First, while the server has nothing to clean up after others.
        Self::Idle,
        Self::Noop,
        Self::Sequence,
        Self::Fanout,
        Self::Children,
        Self::Latency,
        Self::Mixed,
        Self::Signals,
        Self::Timers,
        Self::Backlog,
        Self::Waiting,
        Self::History,
    ];

    /// The name on the command line and in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Sequence => "sequence",
            Self::Fanout => "fanout",
            Self::Children => "children",
            Self::Latency => "latency",
            Self::Mixed => "mixed",
            Self::Signals => "signals",
            Self::Timers => "timers",
            Self::Backlog => "backlog",
            Self::Waiting => "waiting",
            Self::History => "history",
            Self::Idle => "idle",
            Self::All => "all",
        }
    }

    /// Whether it is a flow of workflows, each from start to result, that can go on for any time and at any rate.
    pub(super) fn flows(self) -> bool {
        matches!(self, Self::Noop | Self::Sequence | Self::Fanout | Self::Children | Self::Latency | Self::Mixed)
    }

    /// Whether `--in-flight` says how many calls are under way.
    pub(super) fn takes_in_flight(self) -> bool {
        self.flows() || matches!(self, Self::Signals | Self::Backlog)
    }

    /// Whether `--payload` says how large its payloads are.
    pub(super) fn takes_payload(self) -> bool {
        !matches!(self, Self::Mixed | Self::Timers)
    }

    /// Whether `--duration` says how long it takes, unless it is a flow of so many workflows.
    pub(super) fn takes_time(self) -> bool {
        self.flows() || matches!(self, Self::Idle | Self::Waiting)
    }

    /// Runs of each workflow, its children included.
    pub(super) fn runs(self) -> u64 {
        if self == Self::Children { 1 + workflows::CHILDREN } else { 1 }
    }

    /// Activities of each workflow, those of its children included; those of `history` depend on its length.
    pub(super) fn activities(self) -> u64 {
        match self {
            Self::Noop | Self::Latency | Self::Backlog => 1,
            Self::Sequence => workflows::SEQUENCE,
            Self::Fanout => workflows::FANOUT,
            Self::Children => workflows::CHILDREN,
            Self::Mixed => workflows::MIXED_FANOUT + workflows::MIXED_SEQUENCE,
            Self::Signals | Self::Timers | Self::Waiting | Self::History | Self::Idle | Self::All => 0,
        }
    }

    /// The most payloads of the size of `--payload` in one history: of `count` events, where that is what is counted.
    pub(super) fn payloads(self, count: u64) -> u64 {
        match self {
            // The input and the result, and the activity's.
            Self::Noop | Self::Latency | Self::Backlog => 4,
            Self::Sequence | Self::Fanout | Self::Children => 2 * self.activities(),
            Self::Signals => super::signals::SIGNALS,
            // An activity makes six events, and two of them hold its input and its result.
            Self::History => (count / 3).max(1),
            Self::Mixed | Self::Timers | Self::Waiting | Self::Idle | Self::All => 2,
        }
    }

    /// Calls in flight when none are given: enough for full flushes, few enough for the result to come soon.
    pub(super) fn in_flight(self) -> usize {
        match self {
            Self::Sequence => 1_000,
            Self::Mixed => 500,
            Self::Children => 200,
            Self::Fanout => 50,
            Self::Signals => 20,
            Self::Latency => 1,
            Self::Noop | Self::Backlog => 2_000,
            Self::Timers | Self::Waiting | Self::History | Self::Idle | Self::All => super::stage::CALLS,
        }
    }

    /// The size when none is given, alone and as a part of `all`; nothing for a flow, which takes a time instead.
    pub(super) fn count(self, part_of_all: bool) -> Option<u64> {
        let (alone, in_all) = match self {
            Self::Signals => (200, 50),
            Self::Timers => (1_000_000, 10_000),
            Self::Backlog => (1_000_000, 50_000),
            Self::Waiting => (100_000, 20_000),
            Self::History => (50_000, 10_000),
            Self::Idle => (10_000, 2_000),
            Self::Noop | Self::Sequence | Self::Fanout | Self::Children | Self::Latency | Self::Mixed | Self::All => {
                return None;
            }
        };
        Some(if part_of_all { in_all } else { alone })
    }

    /// Worker processes when none are given.
    pub(super) fn workers(self) -> usize {
        // A fleet is what costs when nothing happens.
        if self == Self::Idle { 10 } else { 1 }
    }
}
