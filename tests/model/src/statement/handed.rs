//! Starts that go to a worker at once: handed by a client, taken by the worker, or given back to everybody (rules 5 and 18).

use crate::execution::{Execution, LockMode, Stop};
use crate::memory::Memory;
use crate::rule::Removal;
use crate::statement::{Answer, ClaimedRun, Outcome};
use crate::tables::{Batch, Event, Handed, Row, RowKey, Run, RunId, WorkerId, Write};

/// The epoch of an owner to whom a run was handed: nobody had it before.
const FIRST_EPOCH: u8 = 1;

/// Starts a run that a worker owns at once, or, if that one does not live, that is ready for anyone; a resend finds it there.
pub(crate) fn hand(cx: &mut Execution<'_>, id: RunId, to: WorkerId) -> Result<Answer, Stop> {
    let taker = chosen(cx, to).then_some(to);
    let epoch = if taker.is_some() { FIRST_EPOCH } else { 0 };
    let run = Run { owner: taker, epoch, next: 2 };
    if !cx.insert(RowKey::Run(id), Row::Run(run))? {
        return Ok(Answer::Started);
    }
    // The key of history refuses a run that was there before and is closed.
    if cx.now.history.contains_key(&id) && !cx.rules.lacks(Removal::HandWithoutHistory) {
        cx.writes.clear();
        return Ok(Answer::Started);
    }
    cx.write(Write::Append(id, Batch { first: 1, epoch, events: vec![Event::Started] }));
    match taker {
        Some(worker) => cx.write(Write::Put(RowKey::Handed(id), Row::Handed(Handed { worker, next: run.next }))),
        None => cx.make_ready(id)?,
    }
    Ok(Answer::Started)
}

/// Tells whether a worker is alive, and keeps anyone from marking it dead before the commit; one that is just being marked is
/// passed over.
fn chosen(cx: &mut Execution<'_>, worker: WorkerId) -> bool {
    let key = RowKey::Worker(worker);
    let valid = |row: &Row| *row == Row::Worker { dead: false, lapsed: false };
    if cx.rules.lacks(Removal::HandWithoutWorkerCheck) {
        return true;
    }
    if cx.rules.lacks(Removal::HandWithoutWorkerLock) {
        return cx.snapshot.row(key).is_some_and(|row| valid(&row));
    }
    cx.lock_or_skip(key, LockMode::KeyShare, valid).is_some()
}

/// Takes what was handed to the caller, and reads those of the runs that are still its own, all in one snapshot.
pub(crate) fn take(cx: &mut Execution<'_>, me: WorkerId) -> Result<Answer, Stop> {
    let mut taken = Vec::new();
    for (id, _) in lying(cx, me) {
        if cx.lock(RowKey::Handed(id), LockMode::Update, |_| true)?.is_none() {
            continue;
        }
        cx.write(Write::Delete(RowKey::Handed(id)));
        let rules = cx.rules;
        let mine = |run: &&Run| {
            (run.owner == Some(me) || rules.lacks(Removal::TakeWithoutOwner))
                && (run.epoch == FIRST_EPOCH || rules.lacks(Removal::TakeWithoutEpoch))
        };
        if let Some(run) = cx.snapshot.runs.get(&id).filter(mine) {
            let loaded = Some(Memory::load(cx.snapshot, id, me));
            taken.push(ClaimedRun { run: id, epoch: run.epoch, next: cx.snapshot.next(id), loaded });
        }
    }
    Ok(Answer::Claimed(taken))
}

/// Removes the row of a start that was brought to the caller, unless somebody has removed it.
pub(crate) fn took(cx: &mut Execution<'_>, me: WorkerId, run: RunId) -> Result<Answer, Stop> {
    let lies = lying(cx, me).iter().any(|(id, _)| *id == run);
    if lies && cx.lock(RowKey::Handed(run), LockMode::Update, |_| true)?.is_some() {
        cx.write(Write::Delete(RowKey::Handed(run)));
    }
    Ok(Answer::Started)
}

/// Makes ready for anyone what was handed to a worker that neither took it nor wrote to it, once it has locked the runs; what
/// the worker is just taking is skipped. Whether it has written, the second statement asks of the history.
pub(crate) fn give_untaken(cx: &mut Execution<'_>, stage: u8, worker: WorkerId) -> Result<Outcome, Stop> {
    let locks_first = !cx.rules.lacks(Removal::GiveUntakenInOneStatement);
    let mut gone = Vec::new();
    for (id, handed) in lying(cx, worker) {
        let key = RowKey::Handed(id);
        if (stage == 0 || cx.has_locked(key)) && cx.lock_or_skip(key, LockMode::Update, |_| true).is_some() {
            cx.write(Write::Delete(key));
            gone.push((id, handed));
        }
    }
    let mut given = Vec::new();
    for (id, handed) in gone {
        let rules = cx.rules;
        let fenced = |row: &Row| {
            row.run().is_some_and(|run| {
                let fenced = (run.owner, run.epoch) == (Some(handed.worker), FIRST_EPOCH);
                fenced || rules.lacks(Removal::GiveUntakenWithoutOwner)
            })
        };
        let key = RowKey::Run(id);
        if stage == 1 && !cx.has_locked(key) {
            continue;
        }
        let Some(run) = cx.lock(key, LockMode::NoKeyUpdate, fenced)?.and_then(Row::run) else {
            continue;
        };
        if stage == 0 && locks_first {
            continue;
        }
        let next = cx.snapshot.next(id);
        if next != handed.next && !rules.lacks(Removal::GiveUntakenWithoutNextEventId) {
            continue;
        }
        let raise = u8::from(!rules.lacks(Removal::EpochKept));
        cx.write(Write::Put(key, Row::Run(Run { owner: None, epoch: run.epoch + raise, next })));
        if !rules.lacks(Removal::GiveUntakenWithoutReady) {
            cx.make_ready(id)?;
        }
        given.push(id);
    }
    Ok(if stage == 0 && locks_first { Outcome::Next } else { Outcome::Done(Answer::Given(given)) })
}

/// Lists what is handed to a worker, as far as the statement sees, in the order of the runs.
fn lying(cx: &Execution<'_>, worker: WorkerId) -> Vec<(RunId, Handed)> {
    let rows = cx.snapshot.handed.iter().filter(|(_, handed)| handed.worker == worker);
    rows.map(|(id, handed)| (*id, *handed)).collect()
}
