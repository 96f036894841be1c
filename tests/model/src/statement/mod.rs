//! The statements of the protocol, each a plain function over an [`Execution`].

mod claim;
mod flush;
mod handed;
mod lease;
mod release;
mod send;
mod terminate;
mod timer;

pub(crate) use flush::{Item, Verdict};

use crate::execution::{Execution, Stop};
use crate::memory::Memory;
use crate::tables::{ActivityId, Message, RunId, WorkerId};

/// Is a statement, or two pipelined in one transaction, with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Statement {
    Send { messages: Vec<(RunId, Message)> },
    Complete { run: RunId, activity: ActivityId, token: u8 },
    Claim { me: WorkerId },
    ClaimTask { me: WorkerId },
    Start { run: RunId, me: WorkerId },
    Hand { run: RunId, to: WorkerId },
    Take { me: WorkerId },
    Took { me: WorkerId, run: RunId },
    Flush { me: WorkerId, items: Vec<Item> },
    Release { me: WorkerId, run: RunId, epoch: u8, next: u8 },
    Fence { me: WorkerId, run: RunId, epoch: u8 },
    Heartbeat { me: WorkerId },
    MarkDead { worker: WorkerId },
    TakeOver { worker: WorkerId },
    GiveBack { worker: WorkerId },
    GiveUntaken { worker: WorkerId },
    MoveTimers,
    Terminate { run: RunId },
}

/// Is one claimed run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClaimedRun {
    pub(crate) run: RunId,
    pub(crate) epoch: u8,
    pub(crate) next: u8,
    /// What was loaded with the claim; with inbox and activities read apart, nothing.
    pub(crate) loaded: Option<Memory>,
}

/// Is one claimed activity task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClaimedTask {
    pub(crate) run: RunId,
    pub(crate) activity: ActivityId,
    pub(crate) token: u8,
}

/// Says what came of a wish to terminate a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Termination {
    Closed,
    MessageSent,
    NotOpen,
}

/// Is what a statement returns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// The runs that were open, and so have the message.
    Delivered(Vec<RunId>),
    Completed(bool),
    Claimed(Vec<ClaimedRun>),
    TaskClaimed(Option<ClaimedTask>),
    Started,
    Flushed(Vec<Verdict>),
    /// The statement failed on the primary key of history.
    Collision,
    Released(bool),
    /// The new epoch, if the run was still the caller's.
    Fenced(Option<u8>),
    Alive(bool),
    Dead(bool),
    TakenOver(bool),
    /// The runs that are ready again.
    Given(Vec<RunId>),
    Moved,
    Terminated(Termination),
}

/// Says whether a transaction goes on with a second statement.
#[derive(Debug)]
pub(crate) enum Outcome {
    Next,
    Done(Answer),
}

impl Statement {
    /// Runs the statement (of a pipelined pair: the one of this stage) from its beginning.
    pub(crate) fn run(&self, stage: u8, cx: &mut Execution<'_>) -> Result<Outcome, Stop> {
        let answer = match self {
            Statement::Flush { me, items } => return flush::flush(cx, stage, *me, items),
            Statement::Release { me, run, epoch, next } => {
                return release::release(cx, stage, *me, *run, *epoch, *next);
            }
            Statement::TakeOver { worker } => return lease::take_over(cx, stage, *worker),
            Statement::GiveUntaken { worker } => return handed::give_untaken(cx, stage, *worker),
            Statement::Terminate { run } => return terminate::terminate(cx, stage, *run),
            Statement::Send { messages } => send::send(cx, messages)?,
            Statement::Complete { run, activity, token } => send::complete(cx, *run, *activity, *token)?,
            Statement::Claim { me } => claim::claim(cx, *me)?,
            Statement::ClaimTask { me } => claim::claim_task(cx, *me)?,
            Statement::Start { run, me } => claim::start(cx, *run, *me)?,
            Statement::Hand { run, to } => handed::hand(cx, *run, *to)?,
            Statement::Take { me } => handed::take(cx, *me)?,
            Statement::Took { me, run } => handed::took(cx, *me, *run)?,
            Statement::Fence { me, run, epoch } => release::fence(cx, *me, *run, *epoch)?,
            Statement::Heartbeat { me } => lease::heartbeat(cx, *me)?,
            Statement::MarkDead { worker } => lease::mark_dead(cx, *worker)?,
            Statement::GiveBack { worker } => lease::give_back(cx, *worker),
            Statement::MoveTimers => timer::move_timers(cx)?,
        };
        Ok(Outcome::Done(answer))
    }
}
