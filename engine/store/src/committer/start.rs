//! Starts: all first rows of a run, or nothing.

use std::{
    collections::VecDeque,
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use dacapo_core::{
    IdConflictPolicy, IdReusePolicy, Timestamp, WorkerId,
    store::{BroughtRun, Hint, StartOutcome, StartWrite, StoreError, StoreResult},
    transition::ProblemChange,
};
use sqlx::{
    Arguments, PgConnection, Row,
    error::BoxDynError,
    postgres::{PgArguments, PgRow},
};

use super::{
    append::take_one_per_run,
    between::{ARRAYS, BetweenArrays, EncodedBetween, parameters},
    hand::{Handed, Wanted, hand_starts},
    lane::{Entry, Flush},
    lone::{self, Begun},
    piggyback::Piggyback,
    resolve::resolve,
    rows::{EncodedRows, RowArrays, bind_runs, has_rows, history_row, json},
};
use crate::{
    hints::{self, Hints, Notification},
    time::PgTime,
};

const START: &str = "SELECT may_own, refused FROM dacapo.start_v2($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,\
    $17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30,$31,$32,$33,$34,$35,$36,$37,$38,$39,$40,$41,$42,$43,$44,$45,$46,$47)";

/// The parameters of [`START`].
pub(super) const START_PARAMETERS: usize = 47;

/// The parameters of [`START_LEAN`].
pub(super) const START_LEAN_PARAMETERS: usize = 19;

/// As [`START`], with what only transitions between runs have.
static START_BETWEEN: LazyLock<String> = LazyLock::new(|| {
    let start = parameters(1, START_PARAMETERS);
    let between = parameters(START_PARAMETERS + 1, ARRAYS);
    format!(
        "SELECT s.may_own, s.refused
           FROM dacapo.start_v2({start}) s,
                LATERAL (SELECT ARRAY(SELECT n::integer FROM generate_subscripts($4, 1) n
                                       WHERE s.may_own AND n <> ALL (s.refused)) AS through) t,
                LATERAL dacapo.between_v1($3, $4, array_fill($2, ARRAY[cardinality($4)]), t.through, {between}) b"
    )
});

/// [`START`] without rows beside history.
const START_LEAN: &str = "SELECT may_own, refused FROM dacapo.start_v2($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,\
    $17,$18,$19)";

/// The flushes that look before they insert after one in which something was there already: what is undone stays behind as
/// dead rows, and whoever starts a run that is there tends to do so again.
const CAREFUL_FLUSHES: u32 = 32;

/// A start with its JSON.
#[derive(Debug)]
pub(super) struct EncodedStart {
    /// Whether an earlier try of the committer's own may have gone through.
    uncertain: bool,
    pub(super) start: StartWrite,
    /// What the start is known by beside its run id: the caller's request id, or the run id itself where an existing run
    /// may be the answer, which no row would remember otherwise.
    pub(super) request: Option<String>,
    pub(super) events: Vec<u8>,
    pub(super) problem: Option<Vec<u8>>,
    rows: EncodedRows,
    pub(super) between: Option<Box<EncodedBetween>>,
}

impl EncodedStart {
    /// Writes the JSON of a start, on the caller's thread.
    pub(super) fn new(mut start: StartWrite) -> Self {
        let rows = EncodedRows::new(&mut start.transition);
        let between = EncodedBetween::new(&mut start.transition);
        let events = history_row(&start.transition);
        let problem = match &start.transition.problem {
            ProblemChange::Set(problem) => Some(json(problem)),
            ProblemChange::Keep | ProblemChange::Clear => None,
        };
        let request = start.request.request_id.clone().or_else(|| {
            let may_use_another = start.request.conflict_policy == IdConflictPolicy::UseExisting;
            may_use_another.then(|| start.request.run_id.to_string())
        });
        Self { uncertain: false, start, request, events, problem, rows, between }
    }

    /// Whether it has nothing but its run and history: [`lone`] can write it.
    fn is_lean(&self) -> bool {
        !has_rows(&self.start.transition) && self.between.is_none()
    }

    /// Whether it has rows for other runs.
    pub(super) fn has_between(&self) -> bool {
        self.between.is_some()
    }

    /// What goes along with the news for the worker to which it is handed, if it fits.
    pub(super) fn brought(&self) -> Option<String> {
        let transition = &self.start.transition;
        hints::brought(transition.key, transition.next_event_id(), str::from_utf8(&self.events).ok()?)
    }

    /// The run for the worker to which it was handed.
    pub(super) fn take_brought(&mut self) -> Option<BroughtRun> {
        let (key, next_event_id) = (self.start.transition.key, self.start.transition.next_event_id());
        let events = String::from_utf8(std::mem::take(&mut self.events)).ok()?;
        Some(BroughtRun { key, next_event_id, events })
    }

    /// Whether it is for any worker, and now.
    pub(super) fn waits(&self, now: Timestamp) -> bool {
        self.start.owner.is_none() && self.start.ready_at <= now
    }

    /// What others are to hear of one that nobody owns.
    fn news(&self, now: Timestamp) -> Option<Notification> {
        self.waits(now).then(|| Hints::say_runs_ready(&self.start.request.task_queue))
    }
}

/// The lane of starts.
#[derive(Debug)]
pub(super) struct Start {
    hints: Hints,
    care: Care,
    piggyback: Piggyback,
    /// Whether the last start was handed to a worker that hears of it without a NOTIFY.
    neighbour_takes: AtomicBool,
}

/// Whether flushes of starts may take it that all of their starts are new.
#[derive(Debug, Default)]
pub(crate) struct Care {
    /// The flushes that still look before they insert.
    careful: AtomicU32,
}

impl Care {
    /// Whether the next flush may.
    pub(super) fn is_optimistic(&self, works: &[&EncodedStart]) -> bool {
        let careful = self.careful.load(Ordering::Relaxed);
        self.careful.store(careful.saturating_sub(1), Ordering::Relaxed);
        // A policy that looks at closed runs needs that look; a start that is sent again may well be there.
        careful == 0
            && works
                .iter()
                .all(|work| !work.uncertain && work.start.request.reuse_policy == IdReusePolicy::AllowDuplicate)
    }

    /// Takes note of the starts that a flush refused.
    pub(super) fn refused(&self, refused: &[usize]) {
        if !refused.is_empty() {
            self.careful.store(CAREFUL_FLUSHES, Ordering::Relaxed);
        }
    }
}

/// How a start went, to whom it was handed, and whether others have been told of it already.
#[derive(Debug)]
pub(super) struct Answered {
    outcome: StoreResult<StartOutcome>,
    handed: Option<Handed>,
    told: bool,
}

impl Start {
    pub(super) fn new(hints: Hints) -> Self {
        Self { hints, care: Care::default(), piggyback: Piggyback::new(), neighbour_takes: AtomicBool::new(false) }
    }

    /// Starts one run by itself. Says whether others have been told of it.
    async fn start_alone(
        &self,
        connection: &mut PgConnection,
        work: &EncodedStart,
        now: Timestamp,
    ) -> Result<(Begun, bool), sqlx::Error> {
        let Some(news) = work.news(now) else { return Ok((lone::start(connection, work).await?, false)) };
        if !self.neighbour_takes.load(Ordering::Relaxed)
            && let Some(begun) = self.piggyback.carry(lone::start_for_any(connection, work, Some(news))).await?
        {
            return Ok((begun, true));
        }
        Ok((lone::start_for_any(connection, work, None).await?, false))
    }
}

impl Flush for Start {
    type Work = EncodedStart;
    type Answer = Answered;
    type Outcome = StoreResult<StartOutcome>;
    const LANE: &'static str = "start";
    const MAY_BE_OVERTAKEN: bool = true;
    // What a flush of starts costs, it costs again where they are taken.
    const GATHERS: bool = true;

    fn take(&self, queue: &mut VecDeque<Entry<Self>>) -> Vec<Entry<Self>> {
        let mut taken = take_one_per_run(queue, |entry| entry.work.start.transition.key);
        // One owner's row is locked in a flush; starts of another owner go with the next.
        let owner = taken.first().and_then(|entry| entry.work.start.owner);
        let others: Vec<Entry<Self>> = taken.extract_if(.., |entry| entry.work.start.owner != owner).collect();
        others.into_iter().rev().for_each(|entry| queue.push_front(entry));
        taken.sort_unstable_by(|a, b| order(&a.work.start).cmp(&order(&b.work.start)));
        taken
    }

    async fn flush(
        &self,
        connection: &mut PgConnection,
        works: &[&EncodedStart],
    ) -> Result<Vec<Answered>, sqlx::Error> {
        let owner = works.first().and_then(|work| work.start.owner);
        let optimistic = self.care.is_optimistic(works);
        let now = self.hints.now();
        let mut alone = None;
        if let [work] = works
            && optimistic
            && work.is_lean()
        {
            alone = Some(self.start_alone(connection, work, now).await?);
        }
        let flushed = match alone {
            Some((Begun::Started(handed), told)) => Some((Vec::new(), handed, told)),
            Some((Begun::OwnerLost, _)) if owner.is_some() => None,
            // Its key is taken, or the worker that was to take it died in this moment.
            Some(_) => flush_starts(connection, works, owner, false).await?.map(|refused| (refused, None, false)),
            None => start_together(connection, works, now, optimistic).await?.map(|(refused, to)| (refused, to, false)),
        };
        let Some((refused, handed, told)) = flushed else {
            let lost = |_: &&EncodedStart| Answered { outcome: Ok(StartOutcome::OwnerLost), handed: None, told: false };
            return Ok(works.iter().map(lost).collect());
        };
        self.care.refused(&refused);
        let started = |_: &&EncodedStart| Answered { outcome: Ok(StartOutcome::Started), handed, told };
        let mut answers: Vec<Answered> = works.iter().map(started).collect();
        for place in refused {
            let work = works[place];
            let outcome = resolve(connection, work, &self.hints).await?;
            let outcome = outcome.map(|outcome| match outcome {
                // The run is there because an earlier try of this very start went through.
                StartOutcome::Duplicate { run, owned }
                    if work.uncertain && run == work.start.transition.key && (owned || owner.is_none()) =>
                {
                    StartOutcome::Started
                }
                other => other,
            });
            answers[place] = Answered { outcome, handed: None, told: false };
        }
        Ok(answers)
    }

    fn answer(&self, answered: Vec<(Entry<Self>, Answered)>) {
        let taker = answered.iter().find_map(|(_, answered)| answered.handed).map(|handed| handed.worker);
        // Of one flush, which went to one worker; said as one, because other lanes send meanwhile.
        let mut brought: Option<(Handed, Vec<Option<BroughtRun>>)> = None;
        for (mut entry, Answered { outcome, handed, told }) in answered {
            if let Ok(StartOutcome::Started) = outcome {
                let run = handed.and_then(|_| entry.work.take_brought());
                let start = &entry.work.start;
                match handed {
                    Some(handed) if told => self.hints.handed_here(handed.worker, handed.number, run),
                    Some(handed) => brought.get_or_insert_with(|| (handed, Vec::new())).1.push(run),
                    None if told => self.hints.publish_here(&Hint::RunsReady(start.request.task_queue.clone())),
                    None if start.owner.is_none() => {
                        self.hints.runs_ready(&start.request.task_queue, start.ready_at);
                    }
                    None => {}
                }
                if !start.transition.outbox.is_empty() {
                    self.hints.outbox();
                }
                for row in start.transition.activities.iter().filter(|row| !row.claimed_by_owner) {
                    self.hints.activities_ready(&row.task.task_queue, row.visible_at);
                }
            }
            entry.answer(outcome);
        }
        if let Some((Handed { worker, number }, runs)) = brought {
            self.hints.handed(worker, number, runs.into_iter().collect());
        }
        self.hints.send();
        self.neighbour_takes.store(taker.is_some_and(|worker| self.hints.reach(worker)), Ordering::Relaxed);
    }

    fn refusal(&self, error: StoreError) -> StoreResult<StartOutcome> {
        Err(error)
    }

    fn lost(&self, work: &mut EncodedStart) -> Option<StoreResult<StartOutcome>> {
        work.uncertain = true;
        None
    }
}

/// The order in which starts lock: by workflow id.
pub(super) fn order(start: &StartWrite) -> (&str, &str) {
    let request = &start.request;
    (request.workflow_id.as_str(), request.namespace.as_str())
}

/// Starts runs of one owner, or hands them to a worker. Gives the places of those that were not started, and with whom the
/// others are; nobody has been told of them. `None` where the owner may not own.
pub(super) async fn start_together(
    connection: &mut PgConnection,
    works: &[&EncodedStart],
    now: Timestamp,
    optimistic: bool,
) -> Result<Option<(Vec<usize>, Option<Handed>)>, sqlx::Error> {
    if let Some(wanted) = Wanted::of(works, now)
        && let Some(begun) = hand_starts(connection, works, optimistic, &wanted).await?
    {
        return Ok(Some(begun));
    }
    let owner = works.first().and_then(|work| work.start.owner);
    Ok(flush_starts(connection, works, owner, optimistic).await?.map(|refused| (refused, None)))
}

/// Writes starts of one owner. Gives the places of those that were not started; `None` when the owner may not own.
pub(super) async fn flush_starts(
    connection: &mut PgConnection,
    items: &[&EncodedStart],
    owner: Option<WorkerId>,
    optimistic: bool,
) -> Result<Option<Vec<usize>>, sqlx::Error> {
    let between = BetweenArrays::gather(items.iter().map(|item| (&item.start.transition, item.between.as_deref())));
    let (statement, arguments) = arguments(items, owner, optimistic, between.as_ref()).map_err(sqlx::Error::Encode)?;
    let row = sqlx::query_with(statement, arguments).fetch_one(connection).await?;
    refused(&row)
}

/// Reads the places of what `dacapo.start_v2` did not start; `None` where the owner may not own.
pub(super) fn refused(row: &PgRow) -> Result<Option<Vec<usize>>, sqlx::Error> {
    if !row.try_get::<bool, _>("may_own")? {
        return Ok(None);
    }
    let refused: Vec<i32> = row.try_get("refused")?;
    Ok(Some(refused.into_iter().map(|place| place as usize - 1).collect()))
}

pub(super) fn arguments(
    items: &[&EncodedStart],
    owner: Option<WorkerId>,
    optimistic: bool,
    between: Option<&BetweenArrays<'_>>,
) -> Result<(&'static str, PgArguments), BoxDynError> {
    let (is_lean, mut arguments) = start_arguments(items, owner, optimistic)?;
    let Some(between) = between else { return Ok((if is_lean { START_LEAN } else { START }, arguments)) };
    if is_lean {
        RowArrays::default().bind(&mut arguments)?;
    }
    between.bind(&mut arguments)?;
    Ok((&START_BETWEEN, arguments))
}

/// The arguments of `dacapo.start_v2`, and whether they are those of [`START_LEAN`].
pub(super) fn start_arguments(
    items: &[&EncodedStart],
    owner: Option<WorkerId>,
    optimistic: bool,
) -> Result<(bool, PgArguments), BoxDynError> {
    let mut rows = RowArrays::default();
    for (place, item) in (1_i32..).zip(items) {
        rows.add(place, &item.start.transition, &item.rows);
    }
    let bytes: usize = items.iter().map(|item| item.events.len() + 256).sum();
    let mut arguments = PgArguments::default();
    arguments.reserve(47, bytes);
    let requests = || items.iter().map(|item| &item.start.request);
    arguments.add(optimistic)?;
    arguments.add(owner.map(|owner| owner.0))?;
    bind_runs(&mut arguments, || {
        items.iter().map(|item| (&item.start.request, &item.start.transition, item.events.as_slice()))
    })?;
    arguments.add(items.iter().map(|item| item.problem.as_deref()).collect::<Vec<_>>())?;
    arguments.add(items.iter().map(|item| item.request.as_deref()).collect::<Vec<_>>())?;
    arguments.add(requests().map(|r| reuse(r.reuse_policy)).collect::<Vec<_>>())?;
    arguments.add(items.iter().map(|item| PgTime(item.start.ready_at)).collect::<Vec<_>>())?;
    if !rows.is_empty() {
        rows.bind(&mut arguments)?;
    }
    Ok((rows.is_empty(), arguments))
}

/// The reuse policy as `dacapo.start_v2` knows it.
fn reuse(policy: IdReusePolicy) -> i16 {
    match policy {
        IdReusePolicy::AllowDuplicate => 0,
        IdReusePolicy::AllowDuplicateFailedOnly => 1,
        IdReusePolicy::RejectDuplicate => 2,
    }
}
