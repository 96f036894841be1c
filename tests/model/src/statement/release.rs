//! Giving a run back, and the fencing write that settles what a lost answer left open (rules 2 and 7).

use crate::execution::{Execution, LockMode, Stop};
use crate::rule::Removal;
use crate::statement::{Answer, Outcome};
use crate::tables::{Row, RowKey, Run, RunId, WorkerId, Write};

/// Gives a run back whose inbox is empty; skips it if anyone has it locked.
pub(crate) fn release(
    cx: &mut Execution<'_>,
    stage: u8,
    me: WorkerId,
    id: RunId,
    epoch: u8,
    next: u8,
) -> Result<Outcome, Stop> {
    let (key, rules) = (RowKey::Run(id), cx.rules);
    if stage == 0 && !rules.lacks(Removal::ReleaseInOneStatement) {
        let locked = cx.lock_or_skip(key, LockMode::Update, |_| true);
        return Ok(if locked.is_some() { Outcome::Next } else { Outcome::Done(Answer::Released(false)) });
    }
    let mine = |row: &Row| {
        row.run()
            .is_some_and(|run| (run.owner, run.epoch) == (Some(me), epoch) || rules.lacks(Removal::ReleaseWithoutEpoch))
    };
    // Asked of the history, which this statement sees as it was when the row had been locked.
    let written = cx.snapshot.next(id);
    let moved = written != next && !rules.lacks(Removal::ReleaseWithoutNextEventId);
    let waiting = cx.snapshot.waiting(id).next().is_some() && !rules.lacks(Removal::ReleaseWithoutInboxCheck);
    let Some(run) = cx.lock_or_skip(key, LockMode::Update, mine).and_then(Row::run).filter(|_| !waiting && !moved)
    else {
        return Ok(Outcome::Done(Answer::Released(false)));
    };
    let raise = u8::from(!rules.lacks(Removal::EpochKept));
    cx.write(Write::Put(key, Row::Run(Run { owner: None, epoch: run.epoch + raise, next: written })));
    Ok(Outcome::Done(Answer::Released(true)))
}

/// Raises the epoch of a run that is still the caller's, so that nothing sent before can apply any more.
pub(crate) fn fence(cx: &mut Execution<'_>, me: WorkerId, id: RunId, epoch: u8) -> Result<Answer, Stop> {
    let key = RowKey::Run(id);
    let mine = |row: &Row| row.run().is_some_and(|run| (run.owner, run.epoch) == (Some(me), epoch));
    let Some(run) = cx.lock(key, LockMode::NoKeyUpdate, mine)?.and_then(Row::run) else {
        return Ok(Answer::Fenced(None));
    };
    let raised = if cx.rules.lacks(Removal::EpochOfWorker) { run.epoch } else { run.epoch + 1 };
    cx.write(Write::Put(key, Row::Run(Run { epoch: raised, ..run })));
    Ok(Answer::Fenced(Some(raised)))
}
