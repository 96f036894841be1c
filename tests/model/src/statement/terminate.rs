//! Terminating a run from anywhere (rule 12).

use crate::execution::{Execution, LockMode, Stop};
use crate::rule::Removal;
use crate::statement::{Answer, Outcome, Termination, send};
use crate::tables::{Batch, Event, Message, Row, RowKey, RunId, Write};

/// Closes a run that nobody owns, with the messages that it has; sends a message to the owner of another.
pub(crate) fn terminate(cx: &mut Execution<'_>, stage: u8, id: RunId) -> Result<Outcome, Stop> {
    let key = RowKey::Run(id);
    let done = |termination| Ok(Outcome::Done(Answer::Terminated(termination)));
    let Some(run) = cx.lock(key, LockMode::Update, |_| true)?.and_then(Row::run) else {
        return done(Termination::NotOpen);
    };
    if stage == 0 && !cx.rules.lacks(Removal::TerminateInOneStatement) {
        return Ok(Outcome::Next);
    }
    if run.owner.is_some() && !cx.rules.lacks(Removal::TerminateOwned) {
        send::deliver(cx, id, run, Message::Terminate)?;
        return done(Termination::MessageSent);
    }
    let waiting: Vec<Message> = cx.snapshot.waiting(id).collect();
    let mut events = Vec::new();
    for message in waiting {
        if !cx.snapshot.recorded(id, message) {
            events.push(message.event());
        }
        cx.delete(RowKey::Inbox(id, message))?;
    }
    events.push(Event::Closed);
    cx.write(Write::Delete(key));
    cx.write(Write::Close(id));
    cx.write(Write::Append(id, Batch { first: cx.snapshot.next(id), epoch: run.epoch, events }));
    cx.delete(RowKey::Ready(id))?;
    for timer in cx.snapshot.timers.iter().filter(|(_, owner)| **owner == id).map(|(timer, _)| *timer) {
        cx.delete(RowKey::Timer(timer))?;
    }
    for activity in cx.snapshot.tasks.iter().filter(|(_, task)| task.run == id).map(|(activity, _)| *activity) {
        cx.delete(RowKey::Task(activity))?;
    }
    done(Termination::Closed)
}
