//! Transitions of owned runs, under their fences.

use std::{
    collections::{HashSet, VecDeque},
    sync::LazyLock,
};

use dacapo_core::{
    Event, EventKind, RunKey, Transition, WorkerId,
    limits::FLUSH_ITEMS_MAX,
    run_hash::BuildRunHasher,
    store::{RunWrite, StoreError, WriteOutcome},
    transition::ProblemChange,
};
use sqlx::{Arguments, PgConnection, Row, postgres::PgArguments};

use super::{
    between::{ARRAYS, BetweenArrays, EncodedBetween, SUCCESSOR_RUNS, SUCCESSOR_SHARDS, parameters},
    graves::{GRAVES, Graves},
    lane::{Entry, Flush},
    lone,
    piggyback::Piggyback,
    rows::{EncodedRows, RowArrays, has_rows, history_row, json},
};
use crate::{
    hints::{End, Hints, Notification},
    vacuum::{Queue, Removed},
};

const APPEND: &str = "SELECT applied, unconsumed, woken FROM dacapo.append_v4($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,\
    $16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30,$31,$32,$33,$34,$35,$36,$37,$38,$39,$40,$41,$42,$43)";

/// The parameters of [`APPEND`].
const APPEND_PARAMETERS: usize = 43;

/// The parameters of `dacapo.rows_v1` are the last ones of [`APPEND`], from here on.
const FIRST_OF_ROWS: usize = 16;

/// As [`APPEND`], with what only transitions between runs have. First rows of successors come behind those of the items.
static APPEND_BETWEEN: LazyLock<String> = LazyLock::new(|| append_between("", ""));

/// As [`APPEND_BETWEEN`], with activities that have used up their attempts.
static APPEND_GRAVES: LazyLock<String> = LazyLock::new(|| {
    let graves = parameters(APPEND_PARAMETERS + ARRAYS + 1, GRAVES);
    append_between(", g.buried", &format!(", LATERAL dacapo.bury_v1($1, $2, a.applied, {graves}) g"))
});

fn append_between(more: &str, functions: &str) -> String {
    let append = parameters(1, APPEND_PARAMETERS);
    let between = parameters(APPEND_PARAMETERS + 1, ARRAYS);
    let rows = parameters(FIRST_OF_ROWS, APPEND_PARAMETERS + 1 - FIRST_OF_ROWS);
    let first = APPEND_PARAMETERS + 1;
    let (shards, runs) = (first + SUCCESSOR_SHARDS, first + SUCCESSOR_RUNS);
    format!(
        "SELECT a.applied, a.unconsumed, COALESCE(a.woken, '{{}}') || COALESCE(b.woken, '{{}}') AS woken{more}
           FROM dacapo.append_v4({append}) a,
                LATERAL dacapo.between_v1($1, $2, $3, a.applied, {between}) b,
                LATERAL dacapo.rows_v1($1 || ${shards}, $2 || ${runs}, b.owners, b.passed, {rows}) r (woken){functions}"
    )
}

/// [`APPEND`] without rows beside history: most transitions have none, and each array costs a microsecond or two.
const APPEND_LEAN: &str = "SELECT applied, unconsumed, woken FROM dacapo.append_v4($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,\
    $14,$15)";

/// A transition with its JSON.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) transition: Box<Transition>,
    pub(super) owner: Option<WorkerId>,
    pub(super) owner_epoch: i32,
    /// The id of the event that comes after those of the transition, which are in `events` only.
    pub(super) next_event_id: i64,
    pub(super) events: Option<Vec<u8>>,
    pub(super) problem: Option<Vec<u8>>,
    rows: EncodedRows,
    between: Option<Box<EncodedBetween>>,
    /// How it completes its run, where a hint can say it in full.
    end: Option<End>,
}

impl Encoded {
    /// Writes the JSON of a write, on the caller's thread.
    pub(super) fn of(write: RunWrite) -> Self {
        Self::new(write.transition, Some(write.owner), write.owner_epoch)
    }

    fn new(mut transition: Box<Transition>, owner: Option<WorkerId>, owner_epoch: i32) -> Self {
        let rows = EncodedRows::new(&mut transition);
        let between = EncodedBetween::new(&mut transition);
        let events = (!transition.events.is_empty()).then(|| history_row(&transition));
        let (next_event_id, end) = (transition.next_event_id(), transition.events.last().and_then(end));
        // They are in the row now, and freed at the least cost by the thread that made them.
        transition.events = Vec::new();
        let problem = match &transition.problem {
            ProblemChange::Set(problem) => Some(json(problem)),
            ProblemChange::Keep | ProblemChange::Clear => None,
        };
        Self { transition, owner, owner_epoch, next_event_id, events, problem, rows, between, end }
    }

    /// Whether it has nothing but history, as most have: [`lone`] can write it.
    fn is_lean(&self) -> bool {
        !has_rows(&self.transition) && self.between.is_none() && self.transition.dead_activities.is_empty()
    }

    /// What others are to hear of one that closes its run.
    fn news(&self) -> Option<Notification> {
        self.transition.closes?;
        Some(Hints::say_closed(self.transition.key, self.end.clone()))
    }
}

/// What the database says of a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is committed.
    Applied,
    /// The fence did not let it through.
    Fenced,
    /// The inbox holds messages that it does not consume.
    Unconsumed,
}

/// The lane of transitions.
#[derive(Debug)]
pub(super) struct Append {
    hints: Hints,
    removed: Removed,
    piggyback: Piggyback,
}

/// What the database says of a transition, and whether it has told others already.
#[derive(Debug)]
pub(super) struct Answered {
    verdict: Verdict,
    told: bool,
}

impl Append {
    pub(super) fn new(hints: Hints, removed: Removed) -> Self {
        Self { hints, removed, piggyback: Piggyback::new() }
    }

    fn hint(&self, work: &Encoded, told: bool) {
        let transition = &work.transition;
        if told {
            self.hints.closed_here(transition.key, work.end.clone());
        } else if transition.closes.is_some() {
            match work.end.clone() {
                Some(end) => self.hints.ended(transition.key, end),
                None => self.hints.closed(transition.key),
            }
        }
        for row in transition.activities.iter().filter(|row| !row.claimed_by_owner) {
            self.hints.activities_ready(&row.task.task_queue, row.visible_at);
        }
        if let Some(between) = &work.between {
            hint_between(transition, between, &self.hints);
        }
    }
}

impl Flush for Append {
    type Work = Encoded;
    type Answer = Answered;
    type Outcome = WriteOutcome;
    const LANE: &'static str = "append";
    const MAY_BE_OVERTAKEN: bool = true;
    const TAKES_TURNS: bool = true;

    fn take(&self, queue: &mut VecDeque<Entry<Self>>) -> Vec<Entry<Self>> {
        let mut taken = take_one_per_run(queue, |entry| entry.work.transition.key);
        taken.sort_unstable_by_key(|entry| entry.work.transition.key);
        taken
    }

    async fn flush(&self, connection: &mut PgConnection, works: &[&Encoded]) -> Result<Vec<Answered>, sqlx::Error> {
        if let [work] = works
            && work.is_lean()
            && let Some(news) = work.news()
            && !self.hints.reach_all_who_wait()
            && let Some(verdict) = self.piggyback.carry(lone::append(connection, work, Some(news))).await?
        {
            return Ok(vec![Answered { verdict, told: true }]);
        }
        let verdicts = flush(connection, works, &self.hints).await?;
        Ok(verdicts.into_iter().map(|verdict| Answered { verdict, told: false }).collect())
    }

    fn answer(&self, answered: Vec<(Entry<Self>, Answered)>) {
        for (entry, answered) in answered {
            let outcome = match answered.verdict {
                Verdict::Applied => {
                    self.hint(&entry.work, answered.told);
                    self.removed.note(Queue::Timers, entry.work.transition.dropped_timers.len());
                    self.removed.note(Queue::Inbox, entry.work.transition.consumed.len());
                    WriteOutcome::Applied
                }
                Verdict::Fenced => {
                    metrics::counter!("dacapo_fenced_writes_total").increment(1);
                    WriteOutcome::Fenced
                }
                Verdict::Unconsumed => WriteOutcome::InboxNotEmpty,
            };
            entry.answer(outcome);
        }
        self.hints.send();
    }

    fn refusal(&self, error: StoreError) -> WriteOutcome {
        WriteOutcome::Rejected(error)
    }

    fn lost(&self, _: &mut Encoded) -> Option<WriteOutcome> {
        Some(WriteOutcome::Unknown)
    }
}

/// How a run completed, where a hint can say it in full.
fn end(event: &Event) -> Option<End> {
    match &event.event {
        EventKind::WorkflowExecutionCompleted(completed) => End::new(event.event_time, &completed.result),
        _ => None,
    }
}

/// Takes up to a flush of items, at most one of each run; what is held back keeps its place.
pub(super) fn take_one_per_run<I>(queue: &mut VecDeque<I>, key: impl Fn(&I) -> RunKey) -> Vec<I> {
    let mut runs = HashSet::with_capacity_and_hasher(queue.len().min(FLUSH_ITEMS_MAX), BuildRunHasher::default());
    let mut taken = Vec::with_capacity(queue.len().min(FLUSH_ITEMS_MAX));
    let mut held = Vec::new();
    while taken.len() < FLUSH_ITEMS_MAX {
        let Some(item) = queue.pop_front() else { break };
        if runs.insert(key(&item)) {
            taken.push(item);
        } else {
            held.push(item);
        }
    }
    held.into_iter().rev().for_each(|item| queue.push_front(item));
    taken
}

/// Says what a transition has changed between runs.
fn hint_between(transition: &Transition, between: &EncodedBetween, hints: &Hints) {
    if !transition.outbox.is_empty() {
        hints.outbox();
    }
    if !transition.updates.is_empty() {
        hints.updated(transition.key);
    }
    if let Some(successor) = between.successor().filter(|successor| !successor.owned) {
        hints.runs_ready(&successor.request.task_queue, successor.ready_at);
    }
}

/// Writes one transition outside the lanes, in a transaction of the caller's that holds the run's row. What the caller has
/// to tell after the commit is in `unsaid`.
pub(crate) async fn flush_transition(
    connection: &mut PgConnection,
    transition: Box<Transition>,
    owner: Option<WorkerId>,
    owner_epoch: i32,
    unsaid: &Hints,
) -> Result<Verdict, sqlx::Error> {
    let encoded = Encoded::new(transition, owner, owner_epoch);
    let verdict = flush(connection, &[&encoded], unsaid).await?[0];
    if let Some(between) = encoded.between.as_ref().filter(|_| verdict == Verdict::Applied) {
        hint_between(&encoded.transition, between, unsaid);
    }
    Ok(verdict)
}

/// A place in a history that is taken fails the whole flush; the lane then looks for the item whose it is.
async fn flush(connection: &mut PgConnection, items: &[&Encoded], hints: &Hints) -> Result<Vec<Verdict>, sqlx::Error> {
    match write(connection, items, hints).await {
        Err(sqlx::Error::Database(error)) if items.len() == 1 && error.constraint() == Some("history_pkey") => {
            Ok(vec![Verdict::Fenced])
        }
        written => written,
    }
}

async fn write(connection: &mut PgConnection, items: &[&Encoded], hints: &Hints) -> Result<Vec<Verdict>, sqlx::Error> {
    if let [item] = items
        && item.is_lean()
    {
        return Ok(vec![lone::append(connection, item, None).await?]);
    }
    let between = BetweenArrays::gather(items.iter().map(|item| (&*item.transition, item.between.as_deref())));
    let graves = Graves::gather(items.iter().map(|item| &*item.transition));
    let between = between.or_else(|| graves.as_ref().map(|_| BetweenArrays::default()));
    let (mut statement, mut arguments) = arguments(items, between.as_ref()).map_err(sqlx::Error::Encode)?;
    if let Some(graves) = &graves {
        graves.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
        statement = &APPEND_GRAVES;
    }
    let row = sqlx::query_with(statement, arguments).fetch_one(connection).await?;
    let mut verdicts = vec![Verdict::Fenced; items.len()];
    for place in row.try_get::<Vec<i32>, _>("applied")? {
        verdicts[place as usize - 1] = Verdict::Applied;
    }
    for place in row.try_get::<Vec<i32>, _>("unconsumed")? {
        verdicts[place as usize - 1] = Verdict::Unconsumed;
    }
    for queue in row.try_get::<Option<Vec<String>>, _>("woken")?.into_iter().flatten() {
        hints.activities_ready(&queue.into(), hints.now());
    }
    Ok(verdicts)
}

fn arguments(
    items: &[&Encoded],
    between: Option<&BetweenArrays<'_>>,
) -> Result<(&'static str, PgArguments), sqlx::error::BoxDynError> {
    let mut rows = RowArrays::default();
    let (mut c_item, mut c_status) = (Vec::new(), Vec::new());
    let (mut k_item, mut k_message) = (Vec::new(), Vec::new());
    for (place, item) in (1_i32..).zip(items) {
        rows.add(place, &item.transition, &item.rows);
        if let Some(status) = item.transition.closes {
            c_item.push(place);
            c_status.push(status.as_str());
        }
        for message in &item.transition.consumed {
            k_item.push(place);
            k_message.push(message.0);
        }
    }
    let bytes: usize = items.iter().map(|item| item.events.as_ref().map_or(0, Vec::len) + 128).sum();
    let mut arguments = PgArguments::default();
    arguments.reserve(APPEND_PARAMETERS + between.map_or(0, |_| ARRAYS), bytes);
    let transitions = || items.iter().map(|item| &item.transition);
    arguments.add(transitions().map(|t| t.key.shard.0).collect::<Vec<_>>())?;
    arguments.add(transitions().map(|t| t.key.run_id.0).collect::<Vec<_>>())?;
    arguments.add(items.iter().map(|item| item.owner.map(|owner| owner.0)).collect::<Vec<_>>())?;
    arguments.add(items.iter().map(|item| item.owner_epoch).collect::<Vec<_>>())?;
    arguments.add(transitions().map(|t| t.first_event_id).collect::<Vec<_>>())?;
    arguments.add(items.iter().map(|item| item.next_event_id).collect::<Vec<_>>())?;
    arguments.add(transitions().map(|t| t.signals as i64).collect::<Vec<_>>())?;
    arguments.add(items.iter().map(|item| item.events.as_deref()).collect::<Vec<_>>())?;
    arguments.add(transitions().map(|t| i16::from(t.problem != ProblemChange::Keep)).collect::<Vec<_>>())?;
    arguments.add(items.iter().map(|item| item.problem.as_deref()).collect::<Vec<_>>())?;
    arguments.add(transitions().map(|t| t.closes.is_some()).collect::<Vec<_>>())?;
    arguments.add(c_item)?;
    arguments.add(c_status)?;
    arguments.add(k_item)?;
    arguments.add(k_message)?;
    if let Some(between) = between {
        between.add_rows(items.len(), &mut rows);
    }
    if rows.is_empty() && between.is_none() {
        return Ok((APPEND_LEAN, arguments));
    }
    rows.bind(&mut arguments)?;
    let Some(between) = between else { return Ok((APPEND, arguments)) };
    between.bind(&mut arguments)?;
    Ok((&APPEND_BETWEEN, arguments))
}
