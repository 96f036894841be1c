//! Sessions: the backends of the database, each with one statement on its way from the request to the commit.
//!
//! A statement goes through *sent*, *running* (it has a snapshot and waits for locks) and *executed* (it holds its locks and its writes, and
//! commits next). Commit and answer are one step; that an answer is lost is modelled by cutting the connection at any earlier moment: the
//! caller then knows nothing, while the backend goes on as an orphan and commits whenever it likes, or never got the request.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::execution::{Change, Execution, LockMode, Stop, Taken};
use crate::rule::Rules;
use crate::statement::{Answer, Outcome, Statement};
use crate::tables::{RowKey, Tables, Write};

/// Names a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) u8);

/// Names who waits for an answer; the number is the actor's place in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Caller {
    Worker(u8),
    Specialist(u8),
    Sender(u8),
    Starter(u8),
    Courier,
    Keeper,
    Returner,
    Mover,
    Terminator,
}

/// Is how far a statement got.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Sent,
    Running { stage: u8, snapshot: Arc<Tables>, changed: BTreeMap<RowKey, Change> },
    Executed { writes: Vec<Write>, answer: Answer },
}

/// Is one backend with its transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) caller: Caller,
    /// Whether the connection is lost.
    pub(crate) orphan: bool,
    /// Whether its caller has concluded that it was not written and never will be.
    pub(crate) disowned: bool,
    pub(crate) statement: Statement,
    pub(crate) phase: Phase,
    /// The locks of the transaction; those of the running stage begin at `stage_start`.
    pub(crate) taken: Vec<Taken>,
    pub(crate) stage_start: u8,
}

/// Holds all sessions.
pub(crate) type Sessions = BTreeMap<SessionId, Session>;

/// Is what one step of a session came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// It waits for these sessions.
    Blocked(Vec<SessionId>),
    /// It got further.
    Advanced(Session),
    /// It commits these writes and gives this answer.
    Commits(Vec<Write>, Answer),
}

impl Session {
    /// Opens a session for a statement that is on its way.
    pub(crate) fn new(caller: Caller, statement: Statement) -> Self {
        let (phase, taken) = (Phase::Sent, Vec::new());
        Session { caller, orphan: false, disowned: false, statement, phase, taken, stage_start: 0 }
    }

    fn running(mut self, stage: u8, tables: &Arc<Tables>) -> Self {
        self.taken.retain(|taken| taken.mode.is_some());
        self.taken.iter_mut().for_each(|taken| taken.seen = None);
        self.stage_start = self.taken.len() as u8;
        self.phase = Phase::Running { stage, snapshot: Arc::clone(tables), changed: BTreeMap::new() };
        self
    }
}

/// Gives the next step of a session, without taking it.
pub(crate) fn step(rules: Rules, tables: &Arc<Tables>, sessions: &Sessions, id: SessionId) -> Step {
    let session = &sessions[&id];
    match &session.phase {
        Phase::Sent => Step::Advanced(session.clone().running(0, tables)),
        Phase::Executed { writes, answer } => Step::Commits(writes.clone(), answer.clone()),
        Phase::Running { .. } => run(rules, tables, sessions, id, session.clone()),
    }
}

fn run(rules: Rules, tables: &Arc<Tables>, sessions: &Sessions, id: SessionId, mut session: Session) -> Step {
    let Phase::Running { stage, snapshot, changed } = &session.phase else { unreachable!("only running sessions run") };
    let start = usize::from(session.stage_start);
    let mut execution = Execution {
        rules,
        snapshot,
        now: tables,
        changed,
        others: held(sessions, id),
        locked_before: &session.taken[..start],
        taken: session.taken[start..].to_vec(),
        cursor: 0,
        acquired: false,
        writes: Vec::new(),
    };
    let outcome = session.statement.run(*stage, &mut execution);
    let (locks, writes) = (execution.taken, execution.writes);
    let stage = *stage;
    let before = session.taken.len();
    session.taken.truncate(start);
    session.taken.extend(locks);
    match outcome {
        Err(Stop::Wait(holders)) if session.taken.len() == before => Step::Blocked(holders),
        Err(Stop::Wait(_) | Stop::Pause) => Step::Advanced(session),
        // The second statement is pipelined behind the first; its snapshot is taken when the locks are held.
        Ok(Outcome::Next) => {
            let next = session.running(stage + 1, tables);
            match run(rules, tables, sessions, id, next.clone()) {
                Step::Blocked(_) => Step::Advanced(next),
                further => further,
            }
        }
        Ok(Outcome::Done(answer)) => {
            session.taken.retain(|taken| taken.mode.is_some());
            session.taken.iter_mut().for_each(|taken| taken.seen = None);
            session.stage_start = 0;
            session.phase = Phase::Executed { writes, answer };
            Step::Advanced(session)
        }
    }
}

fn held(sessions: &Sessions, but: SessionId) -> Vec<(SessionId, RowKey, LockMode)> {
    let others = sessions.iter().filter(|(id, _)| **id != but);
    others
        .flat_map(|(id, session)| session.taken.iter().filter_map(|taken| Some((*id, taken.key, taken.mode?))))
        .collect()
}

/// Tells whether a flush waits on its connection behind an earlier one.
pub(crate) fn behind_another(sessions: &Sessions, id: SessionId) -> bool {
    let first = |session: &Session| match &session.statement {
        Statement::Flush { items, .. } if !session.orphan => items.first().map(|item| item.expected),
        _ => None,
    };
    let session = &sessions[&id];
    let Some(mine) = first(session) else { return false };
    sessions.values().any(|other| other.caller == session.caller && first(other).is_some_and(|theirs| theirs < mine))
}

/// Tells the running statements which rows a commit has changed, and how.
pub(crate) fn note_changes(sessions: &mut Sessions, writes: &[Write], locks: &[Taken]) {
    for write in writes {
        let (key, change) = match write {
            Write::Delete(key) => (*key, Change::Replaced),
            Write::Put(key, _) => {
                let key_locked = locks.iter().any(|taken| taken.key == *key && taken.mode == Some(LockMode::Update));
                (*key, if key_locked { Change::KeyUpdated } else { Change::Updated })
            }
            Write::Append(..) | Write::Close(_) | Write::Outbox(..) => continue,
        };
        for session in sessions.values_mut() {
            let Phase::Running { snapshot, changed, .. } = &mut session.phase else { continue };
            if snapshot.row(key).is_some() {
                let strongest = changed.get(&key).map_or(change, |earlier| change.max(*earlier));
                changed.insert(key, strongest);
            }
        }
    }
}

/// Tells whether sessions wait for each other in a circle, which Postgres would end with error 40P01.
pub(crate) fn deadlocked(rules: Rules, tables: &Arc<Tables>, sessions: &Sessions) -> bool {
    let waiting = sessions.iter().filter(|(_, session)| matches!(session.phase, Phase::Running { .. }));
    let holding = waiting.clone().filter(|(_, session)| session.taken.iter().any(|taken| taken.mode.is_some()));
    if holding.count() < 2 {
        return false;
    }
    let mut edges: BTreeMap<SessionId, Vec<SessionId>> = BTreeMap::new();
    for (id, _) in waiting {
        if let Step::Blocked(holders) = step(rules, tables, sessions, *id) {
            edges.insert(*id, holders);
        }
    }
    // What waits only for sessions that can go on will go on itself; a circle is what is left.
    while let Some(free) = edges.iter().find(|(_, holders)| !holders.iter().any(|holder| edges.contains_key(holder))) {
        let free = *free.0;
        edges.remove(&free);
    }
    !edges.is_empty()
}
