//! Claiming: runs from `ready`, tasks from `activities`, and starts that are owned at once (rule 5).

use crate::execution::{Execution, LockMode, Stop};
use crate::memory::Memory;
use crate::rule::Removal;
use crate::statement::{Answer, ClaimedRun, ClaimedTask};
use crate::tables::{Batch, Event, Row, RowKey, Run, RunId, Task, WorkerId, Write};

/// Makes every ready run that nobody has locked the caller's, reads it (rule 9), and clears stale ready rows.
pub(crate) fn claim(cx: &mut Execution<'_>, me: WorkerId) -> Result<Answer, Stop> {
    if !live(cx, me, cx.rules.lacks(Removal::ClaimWithoutWorkerCheck))? {
        return Ok(Answer::Claimed(Vec::new()));
    }
    let mut claimed = Vec::new();
    for id in cx.snapshot.ready.clone() {
        let Some(run) = cx.lock_or_skip(RowKey::Run(id), LockMode::NoKeyUpdate, |_| true).and_then(Row::run) else {
            continue;
        };
        if cx.lock_or_skip(RowKey::Ready(id), LockMode::Update, |_| true).is_none() {
            continue;
        }
        cx.write(Write::Delete(RowKey::Ready(id)));
        let unowned = if cx.rules.lacks(Removal::ClaimOnSnapshotOwner) {
            run.owner.is_none() && cx.snapshot.runs[&id].owner.is_none()
        } else {
            run.owner.is_none()
        };
        if !unowned {
            continue;
        }
        let kept = cx.rules.lacks(Removal::EpochKept);
        let epoch = if cx.rules.lacks(Removal::EpochOfWorker) { me.0 } else { run.epoch + u8::from(!kept) };
        cx.write(Write::Put(RowKey::Run(id), Row::Run(Run { owner: Some(me), epoch, ..run })));
        // Loaded in the next statement of the same transaction: its snapshot is what was committed when the locks were held.
        let tables = if cx.rules.lacks(Removal::LoadOnClaimSnapshot) { cx.snapshot } else { cx.now };
        let loaded = (!cx.rules.lacks(Removal::LoadInTwoReads)).then(|| Memory::load(tables, id, me));
        claimed.push(ClaimedRun { run: id, epoch, next: tables.next(id), loaded });
    }
    Ok(Answer::Claimed(claimed))
}

/// Claims one activity task.
pub(crate) fn claim_task(cx: &mut Execution<'_>, me: WorkerId) -> Result<Answer, Stop> {
    if !live(cx, me, false)? {
        return Ok(Answer::TaskClaimed(None));
    }
    let offered = |row: &Row| matches!(row, Row::Task(task) if task.remote && task.claimed_by.is_none());
    for activity in cx.snapshot.tasks.keys().copied().collect::<Vec<_>>() {
        let Some(Row::Task(task)) = cx.lock_or_skip(RowKey::Task(activity), LockMode::Update, offered) else {
            continue;
        };
        let claimed = Task { claimed_by: Some(me), attempt: task.attempt + 1, ..task };
        cx.write(Write::Put(RowKey::Task(activity), Row::Task(claimed)));
        return Ok(Answer::TaskClaimed(Some(ClaimedTask { run: task.run, activity, token: task.token })));
    }
    Ok(Answer::TaskClaimed(None))
}

/// Starts a run, owned by the caller if its lease holds, else ready for anyone; a resend finds it there.
pub(crate) fn start(cx: &mut Execution<'_>, id: RunId, me: WorkerId) -> Result<Answer, Stop> {
    let owned = live(cx, me, cx.rules.lacks(Removal::StartWithoutWorkerCheck))?;
    let run = Run { owner: owned.then_some(me), epoch: 1, next: 2 };
    if cx.insert(RowKey::Run(id), Row::Run(run))? {
        cx.write(Write::Append(id, Batch { first: 1, epoch: 1, events: vec![Event::Started] }));
        if !owned {
            cx.make_ready(id)?;
        }
    }
    Ok(Answer::Started)
}

/// Tells whether the caller's lease holds, and keeps anyone from marking it dead before the commit.
fn live(cx: &mut Execution<'_>, me: WorkerId, unchecked: bool) -> Result<bool, Stop> {
    let key = RowKey::Worker(me);
    let valid = |row: &Row| *row == Row::Worker { dead: false, lapsed: false };
    if unchecked {
        return Ok(true);
    }
    if cx.rules.lacks(Removal::ClaimWithoutWorkerLock) {
        return Ok(cx.snapshot.row(key).is_some_and(|row| valid(&row)));
    }
    Ok(cx.lock(key, LockMode::KeyShare, valid)?.is_some())
}
