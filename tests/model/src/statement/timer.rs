//! Moving due timers into the inboxes of their runs (rule 11).

use crate::execution::{Execution, LockMode, Stop};
use crate::rule::Removal;
use crate::statement::{Answer, send};
use crate::tables::{Message, Row, RowKey, Write};

/// Moves every due timer whose row and whose run nobody has locked; the others wait for the next pass.
pub(crate) fn move_timers(cx: &mut Execution<'_>) -> Result<Answer, Stop> {
    for (timer, id) in cx.snapshot.timers.clone() {
        if cx.lock_or_skip(RowKey::Timer(timer), LockMode::Update, |_| true).is_none() {
            continue;
        }
        let key = RowKey::Run(id);
        let row = if cx.rules.lacks(Removal::MoverWaits) {
            cx.lock(key, LockMode::KeyShare, |_| true)?
        } else if cx.rules.lacks(Removal::MoverWithoutKeyShare) {
            cx.snapshot.row(key)
        } else {
            cx.lock_or_skip(key, LockMode::KeyShare, |_| true)
        };
        let Some(run) = row.and_then(Row::run) else { continue };
        cx.write(Write::Delete(RowKey::Timer(timer)));
        send::deliver(cx, id, run, Message::TimerDue(timer))?;
    }
    Ok(Answer::Moved)
}
