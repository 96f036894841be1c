//! The flush: append and close, the only statements that write history for an owner (rules 2, 3, 13, 14, 15).

use crate::execution::{Execution, LockMode, Stop};
use crate::rule::{Removal, Rules};
use crate::statement::{Answer, Outcome, send};
use crate::tables::{ActivityId, Batch, Event, Message, Row, RowKey, Run, RunId, Task, TimerId, WorkerId, Write};

/// Is the transition of one run in a flush.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Item {
    pub(crate) run: RunId,
    pub(crate) expected: u8,
    pub(crate) epoch: u8,
    pub(crate) events: Vec<Event>,
    pub(crate) consumed: Vec<Message>,
    /// Rows of `activities` to be written (an attempt that is announced) or deleted.
    pub(crate) tasks: Vec<(ActivityId, Option<Task>)>,
    pub(crate) timers_done: Vec<TimerId>,
    /// Messages for other runs.
    pub(crate) sends: Vec<(RunId, Message)>,
    /// The run that replaces this one when it closes.
    pub(crate) successor: Option<RunId>,
}

/// Says what became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    Applied,
    FencedOut,
    /// A close found messages in the inbox that it does not consume.
    Unconsumed,
}

impl Item {
    /// Tells whether the item closes its run.
    pub(crate) fn closes(&self) -> bool {
        self.events.last() == Some(&Event::Closed)
    }

    /// Gives the event that comes after those of the item.
    pub(crate) fn next(&self) -> u8 {
        self.expected + self.events.len() as u8
    }

    /// Tells whether the row of the run changes with the item; otherwise it is only locked.
    fn counts(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Received(Message::Signal(_))))
    }

    fn fence(&self, rules: Rules, me: WorkerId, row: &Row) -> bool {
        let Some(run) = row.run() else { return false };
        if self.events.is_empty() && rules.lacks(Removal::RetryRowUnfenced) {
            return true;
        }
        let unowned = rules.lacks(Removal::AppendWithoutOwner);
        let owner = run.owner == Some(me) || unowned;
        let epoch = run.epoch == self.epoch || unowned || rules.lacks(Removal::AppendWithoutEpoch);
        owner && epoch
    }
}

/// Writes the transitions of a flush; one that closes runs locks them in a statement of its own before.
pub(crate) fn flush(cx: &mut Execution<'_>, stage: u8, me: WorkerId, items: &[Item]) -> Result<Outcome, Stop> {
    let rules = cx.rules;
    let mut sorted: Vec<&Item> = items.iter().collect();
    if !rules.lacks(Removal::UnsortedLocks) {
        sorted.sort_by_key(|item| item.run);
    }
    let locks_first = items.iter().any(Item::closes) && !rules.lacks(Removal::CloseInOneStatement);
    if stage == 0 && locks_first {
        for item in sorted {
            cx.lock(RowKey::Run(item.run), LockMode::Update, |_| true)?;
        }
        return Ok(Outcome::Next);
    }
    let mut applied = Vec::new();
    for item in sorted {
        let mode = if item.closes() { LockMode::Update } else { LockMode::NoKeyUpdate };
        if unconsumed(cx, item) {
            continue;
        }
        if let Some(row) = cx.lock(RowKey::Run(item.run), mode, |row| item.fence(rules, me, row))? {
            applied.push((item, row));
        }
    }
    for (item, row) in &applied {
        let mut written = cx.now.history.get(&item.run).into_iter().flatten();
        if !item.events.is_empty() && written.any(|batch| batch.first == item.expected) {
            cx.writes.clear();
            return Ok(Outcome::Done(Answer::Collision));
        }
        if let Some(run) = row.run() {
            write_item(cx, me, item, run)?;
        }
    }
    let through = |item: &Item| applied.iter().any(|(other, _)| other.run == item.run);
    for item in items.iter().filter(|item| !through(item)) {
        if rules.lacks(Removal::DeleteInboxUnfenced) {
            delete_messages(cx, item)?;
        }
        if rules.lacks(Removal::ReplaceUnjoined) {
            replace(cx, me, item)?;
        }
    }
    let verdict = |item: &Item| match (through(item), unconsumed(cx, item)) {
        (true, _) => Verdict::Applied,
        (false, true) => Verdict::Unconsumed,
        (false, false) => Verdict::FencedOut,
    };
    Ok(Outcome::Done(Answer::Flushed(items.iter().map(verdict).collect())))
}

/// Tells whether a close would leave a message behind, as far as the statement sees.
fn unconsumed(cx: &Execution<'_>, item: &Item) -> bool {
    item.closes()
        && !cx.rules.lacks(Removal::CloseWithoutInboxCheck)
        && cx.snapshot.waiting(item.run).any(|message| !item.consumed.contains(&message))
}

fn write_item(cx: &mut Execution<'_>, me: WorkerId, item: &Item, run: Run) -> Result<(), Stop> {
    let id = item.run;
    let next = item.next();
    if item.closes() {
        cx.write(Write::Delete(RowKey::Run(id)));
        cx.write(Write::Close(id));
        cx.delete(RowKey::Ready(id))?;
    } else if item.counts() {
        cx.write(Write::Put(RowKey::Run(id), Row::Run(Run { next, ..run })));
    }
    if !item.events.is_empty() {
        cx.write(Write::Append(id, Batch { first: item.expected, epoch: item.epoch, events: item.events.clone() }));
    }
    delete_messages(cx, item)?;
    for (activity, task) in &item.tasks {
        match task {
            Some(task) => cx.write(Write::Put(RowKey::Task(*activity), Row::Task(*task))),
            None => cx.delete(RowKey::Task(*activity))?,
        }
    }
    let over = |timer: &TimerId, owner: &RunId| *owner == id && (item.closes() || item.timers_done.contains(timer));
    for timer in cx.snapshot.timers.iter().filter(|(timer, owner)| over(timer, owner)).map(|(timer, _)| *timer) {
        cx.delete(RowKey::Timer(timer))?;
    }
    if item.closes() {
        for activity in cx.snapshot.tasks.iter().filter(|(_, task)| task.run == id).map(|(activity, _)| *activity) {
            cx.delete(RowKey::Task(activity))?;
        }
    }
    for (to, message) in &item.sends {
        if cx.rules.lacks(Removal::SendFromMemory) {
            continue;
        }
        if !cx.rules.lacks(Removal::FlushLocksOtherRun) {
            cx.write(Write::Outbox(*to, *message));
        } else if let Some(other) = send::share_run(cx, *to)? {
            send::deliver(cx, *to, other, *message)?;
        }
    }
    replace(cx, me, item)
}

/// Deletes the inbox rows of the messages that an item consumes.
fn delete_messages(cx: &mut Execution<'_>, item: &Item) -> Result<(), Stop> {
    let by_run = cx.rules.lacks(Removal::DeleteInboxByRun);
    let seen: Vec<Message> = cx.snapshot.waiting(item.run).collect();
    for message in seen.into_iter().filter(|message| by_run || item.consumed.contains(message)) {
        cx.delete(RowKey::Inbox(item.run, message))?;
    }
    Ok(())
}

/// Starts the run that replaces the one that the item closes.
fn replace(cx: &mut Execution<'_>, me: WorkerId, item: &Item) -> Result<(), Stop> {
    let Some(successor) = item.successor else { return Ok(()) };
    if cx.insert(RowKey::Run(successor), Row::Run(Run { owner: Some(me), epoch: 1, next: 2 }))? {
        cx.write(Write::Append(successor, Batch { first: 1, epoch: 1, events: vec![Event::Started] }));
    }
    Ok(())
}
