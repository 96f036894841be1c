//! The lease of a worker: its renewal, its end, and what happens to all that the dead worker had (rule 6).

use crate::execution::{Execution, LockMode, Stop};
use crate::rule::Removal;
use crate::statement::{Answer, Outcome};
use crate::tables::{Row, RowKey, Run, RunId, Task, WorkerId, Write};

/// Renews the lease of a worker that is neither dead nor late.
pub(crate) fn heartbeat(cx: &mut Execution<'_>, me: WorkerId) -> Result<Answer, Stop> {
    let (key, rules) = (RowKey::Worker(me), cx.rules);
    let renewable = |row: &Row| match row {
        Row::Worker { dead, lapsed } => {
            (!dead || rules.lacks(Removal::HeartbeatOfTheDead))
                && (!lapsed || rules.lacks(Removal::HeartbeatAfterLapse) || rules.lacks(Removal::HeartbeatOfTheDead))
        }
        _ => false,
    };
    let Some(Row::Worker { dead, .. }) = cx.lock(key, LockMode::NoKeyUpdate, renewable)? else {
        return Ok(Answer::Alive(false));
    };
    cx.write(Write::Put(key, Row::Worker { dead, lapsed: false }));
    Ok(Answer::Alive(true))
}

/// Declares a worker dead whose lease has lapsed.
pub(crate) fn mark_dead(cx: &mut Execution<'_>, worker: WorkerId) -> Result<Answer, Stop> {
    let key = RowKey::Worker(worker);
    let unlocked = cx.rules.lacks(Removal::MarkDeadWithoutLock);
    let mode = if unlocked { LockMode::NoKeyUpdate } else { LockMode::Update };
    let late = |row: &Row| *row == Row::Worker { dead: false, lapsed: true };
    if cx.lock(key, mode, late)?.is_none() {
        return Ok(Answer::Dead(false));
    }
    cx.write(Write::Put(key, Row::Worker { dead: true, lapsed: true }));
    Ok(Answer::Dead(true))
}

/// Takes a batch of runs from a dead worker, once it has locked those that nobody else has; tells whether it found any. The
/// second statement sees how far the history of each had come when it was locked.
pub(crate) fn take_over(cx: &mut Execution<'_>, stage: u8, worker: WorkerId) -> Result<Outcome, Stop> {
    let owned = |row: &Row| row.run().is_some_and(|run| run.owner == Some(worker));
    let locks_first = !cx.rules.lacks(Removal::TakeOverInOneStatement);
    let mut taken = false;
    for id in cx.snapshot.runs.keys().copied().collect::<Vec<RunId>>() {
        let key = RowKey::Run(id);
        if stage == 1 && !cx.has_locked(key) {
            continue;
        }
        let Some(run) = cx.lock_or_skip(key, LockMode::NoKeyUpdate, owned).and_then(Row::run) else {
            continue;
        };
        if stage == 0 && locks_first {
            continue;
        }
        let next = cx.snapshot.next(id);
        let kept = cx.rules.lacks(Removal::EpochKept) || cx.rules.lacks(Removal::EpochOfWorker);
        let epoch = if kept { run.epoch } else { run.epoch + 1 };
        cx.write(Write::Put(key, Row::Run(Run { owner: None, epoch, next })));
        if !cx.rules.lacks(Removal::TakeOverWithoutReady) {
            cx.make_ready(id)?;
        }
        taken = true;
    }
    Ok(if stage == 0 && locks_first { Outcome::Next } else { Outcome::Done(Answer::TakenOver(taken)) })
}

/// Offers the activities that a dead worker had claimed to others, under a new token.
pub(crate) fn give_back(cx: &mut Execution<'_>, worker: WorkerId) -> Answer {
    let claimed = |row: &Row| matches!(row, Row::Task(task) if task.claimed_by == Some(worker));
    let mut given = false;
    for activity in cx.snapshot.tasks.keys().copied().collect::<Vec<_>>() {
        let key = RowKey::Task(activity);
        let Some(Row::Task(task)) = cx.lock_or_skip(key, LockMode::Update, claimed) else { continue };
        let token = if cx.rules.lacks(Removal::GiveBackWithOldToken) { task.token } else { task.token + 1 };
        cx.write(Write::Put(key, Row::Task(Task { claimed_by: None, token, ..task })));
        given = true;
    }
    Answer::TakenOver(given)
}
