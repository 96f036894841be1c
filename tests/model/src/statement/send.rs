//! Sending: a message into an inbox, the result of a remote activity (rule 1).

use crate::execution::{Execution, LockMode, Stop};
use crate::rule::Removal;
use crate::statement::Answer;
use crate::tables::{ActivityId, Message, Row, RowKey, Run, RunId};

/// Puts messages into the inboxes of the runs that are open.
pub(crate) fn send(cx: &mut Execution<'_>, messages: &[(RunId, Message)]) -> Result<Answer, Stop> {
    let mut runs: Vec<RunId> = messages.iter().map(|(run, _)| *run).collect();
    runs.sort();
    runs.dedup();
    let mut open = Vec::new();
    for id in runs {
        if let Some(run) = share_run(cx, id)? {
            open.push((id, run));
        }
    }
    for (id, run) in &open {
        for (to, message) in messages {
            if to == id {
                deliver(cx, *id, *run, *message)?;
            }
        }
    }
    Ok(Answer::Delivered(open.into_iter().map(|(id, _)| id).collect()))
}

/// Takes the run row `FOR KEY SHARE`; none if it is not open.
pub(crate) fn share_run(cx: &mut Execution<'_>, id: RunId) -> Result<Option<Run>, Stop> {
    let row = if cx.rules.lacks(Removal::SendWithoutKeyShare) {
        cx.snapshot.row(RowKey::Run(id))
    } else {
        cx.lock(RowKey::Run(id), LockMode::KeyShare, |_| true)?
    };
    Ok(row.and_then(Row::run))
}

/// Writes the inbox row, and the ready row if nobody owns the run.
pub(crate) fn deliver(cx: &mut Execution<'_>, id: RunId, run: Run, message: Message) -> Result<(), Stop> {
    cx.insert(RowKey::Inbox(id, message), Row::Key)?;
    if run.owner.is_none() {
        cx.make_ready(id)?;
    }
    Ok(())
}

/// Turns a claimed activity task into a message with its result, if the token is still the right one.
pub(crate) fn complete(cx: &mut Execution<'_>, id: RunId, activity: ActivityId, token: u8) -> Result<Answer, Stop> {
    let key = RowKey::Task(activity);
    let mine = |row: &Row| matches!(row, Row::Task(task) if task.token == token);
    let task_first = cx.rules.lacks(Removal::CompleteTaskFirst);
    if task_first && cx.lock(key, LockMode::Update, mine)?.is_none() {
        return Ok(Answer::Completed(false));
    }
    let Some(run) = share_run(cx, id)? else { return Ok(Answer::Completed(false)) };
    if !task_first && cx.lock(key, LockMode::Update, mine)?.is_none() {
        return Ok(Answer::Completed(false));
    }
    cx.write(crate::tables::Write::Delete(key));
    deliver(cx, id, run, Message::Completed(activity))?;
    Ok(Answer::Completed(true))
}
