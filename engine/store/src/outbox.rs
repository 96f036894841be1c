//! Delivery of what transitions want of other runs (`docs/workflow-model.md`).
//!
//! A delivery is one transaction: whoever has locked the first row of a run has all its rows, in their order; each is
//! done at its target, answered into the inbox of its run, and removed. So a row that is found has reached nobody, and a
//! target needs not be pinned. Runs are locked all at once in their order, after the starts, because a flush that closes
//! several of them locks them in that order too.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use dacapo_core::{
    Message, MessageId, Namespace, RunId, RunKey, Shard, Timestamp, WorkflowId,
    outbox::{Asker, Delivered, ExternalTarget, OutboxBody, OutboxRow, TargetRun},
    store::{SendOutcome, StartOutcome, StartWrite, StoreError, StoreResult},
};
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    PgStore,
    committer::{Begun, Care, deliver, json, start_all, wake},
    error::{Trouble, corrupt, store_error, trouble},
    hints::Hints,
    ownership::key,
    transactions::Debts,
    vacuum::{Queue, Removed},
};

/// What is kept of a start whose workflow id was in use.
pub(crate) const ALREADY_OPEN: &str = "AlreadyOpen";

/// What is kept of a start whose workflow id may not be used again.
pub(crate) const REUSE_REFUSED: &str = "ReuseRefused";

const TAKE: &str = "SELECT shard, run_id, message, wanted FROM dacapo.outbox_take_v1($1)";

/// The open runs of workflow ids, with the first runs of their chains.
const OPEN_RUNS: &str = "
SELECT r.shard, r.run_id, r.first_run_id, k.place
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY k (namespace, workflow_id, place),
       LATERAL (SELECT o.shard, o.run_id, COALESCE(o.first_run_id, o.run_id) AS first_run_id FROM dacapo.runs_open o
                 WHERE o.workflow_id = k.workflow_id AND o.namespace = k.namespace OFFSET 0) r";

/// Keeps runs from being closed or given back until the transaction ends, and says which of them are open.
const LOCK_RUNS: &str = "
SELECT k.shard, k.run_id FROM unnest($1::int2[], $2::uuid[]) k (shard, run_id),
       LATERAL (SELECT FROM dacapo.runs_open o WHERE o.shard = k.shard AND o.run_id = k.run_id FOR KEY SHARE) l";

const REMOVE: &str = "
DELETE FROM dacapo.outbox WHERE ctid = ANY (ARRAY(
    SELECT l.tid FROM unnest($1::int2[], $2::uuid[], $3::uuid[]) k (shard, run_id, message),
           LATERAL (SELECT o.ctid AS tid FROM dacapo.outbox o
                     WHERE o.shard = k.shard AND o.run_id = k.run_id AND o.message = k.message OFFSET 0) l))";

/// Leaves the rows of a run alone for a while.
const PUT_OFF: &str = "UPDATE dacapo.outbox SET due_at = clock_timestamp() + interval '1 minute'
    WHERE shard = $1 AND run_id = $2";

/// The rows of one source, for those who cannot wait.
const TAKE_OF: &str = "SELECT shard, run_id, message, wanted FROM dacapo.outbox_take_of_v1($1, $2, $3)";

/// Keeps what a committed transaction wanted and could not have.
const KEEP: &str = "
INSERT INTO dacapo.undelivered (shard, source, message, namespace, workflow_id, run_id, problem, other_run, wanted)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// Who is to look at a run that got a signal.
const OWNER: &str = "SELECT owner, task_queue FROM dacapo.runs_open WHERE shard = $1 AND run_id = $2";

/// A row under way.
struct Taken {
    source: RunKey,
    row: OutboxRow,
    /// What came of it, once that is definite.
    delivered: Option<Delivered>,
    /// What stood in the way of a start.
    in_the_way: Option<InTheWay>,
}

/// Why a start was refused.
struct InTheWay {
    problem: String,
    run: Option<RunId>,
}

/// Why a batch was not delivered, and whose rows it held.
struct Failed {
    error: StoreError,
    /// Set where a value of one of these runs' rows is what the database refuses.
    refused: Option<RunKey>,
}

/// Which rows a delivery takes.
#[derive(Debug, Clone, Copy)]
enum Which {
    /// Due ones, at most so many.
    Due(i64),
    /// Those of one source, at most so many.
    Of(RunKey, i64),
}

impl Which {
    /// The fewest of these rows that make a delivery.
    fn single(self) -> Self {
        match self {
            Self::Due(_) => Self::Due(1),
            Self::Of(source, _) => Self::Of(source, 1),
        }
    }
}

/// Delivers rows of the outbox. Cloning gives another handle.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    hot: PgPool,
    hints: Hints,
    debts: Debts,
    removed: Removed,
    care: Arc<Care>,
}

impl Post {
    pub(crate) fn new(hot: PgPool, hints: Hints, debts: Debts, removed: Removed) -> Self {
        Self { hot, hints, debts, removed, care: Arc::default() }
    }

    /// Delivers due rows.
    pub(crate) async fn deliver_due(&self, limit: i64) -> StoreResult<u64> {
        self.deliver(Which::Due(limit)).await
    }

    /// Delivers the rows of one source, and waits for whoever is delivering them.
    pub(crate) async fn deliver_of(&self, source: RunKey, limit: i64) -> StoreResult<u64> {
        self.deliver(Which::Of(source, limit)).await
    }

    /// Delivers a batch. One that holds a value that the database refuses is delivered row by row; the run whose row it is
    /// waits, and holds up nobody else.
    async fn deliver(&self, which: Which) -> StoreResult<u64> {
        match self.deliver_batch(which).await {
            Ok(rows) => Ok(rows),
            Err(Failed { error, refused: None }) => Err(error),
            Err(_) => match self.deliver_batch(which.single()).await {
                Ok(rows) => Ok(rows),
                Err(Failed { error, refused: Some(run) }) => {
                    tracing::error!(%error, run_id = %run.run_id, "what the run wants of others cannot be delivered; it is tried again later");
                    metrics::counter!("dacapo_outbox_refusals_total").increment(1);
                    sqlx::query(PUT_OFF)
                        .bind(run.shard.0)
                        .bind(run.run_id.0)
                        .execute(&self.hot)
                        .await
                        .map_err(store_error)?;
                    Ok(1)
                }
                Err(Failed { error, refused: None }) => Err(error),
            },
        }
    }

    async fn deliver_batch(&self, which: Which) -> Result<u64, Failed> {
        let mut first = None;
        let delivered = self.try_deliver(which, &mut first).await;
        delivered.map_err(|error| match error {
            Trying::Database(error) => {
                let refused = first.filter(|_| trouble(&error) == Trouble::Data);
                Failed { error: store_error(error), refused }
            }
            Trying::Row(error) => Failed { error, refused: first },
        })
    }

    async fn try_deliver(&self, which: Which, first: &mut Option<RunKey>) -> Result<u64, Trying> {
        let mut transaction = self.hot.begin().await?;
        let rows = take(&mut transaction, which).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        *first = Some(key(&rows[0]));
        let mut taken = Vec::with_capacity(rows.len());
        for row in &rows {
            let source = key(row);
            let row = serde_json::from_slice(row.try_get("wanted")?)
                .map_err(|error| corrupt(&format!("an outbox row of run {}", source.run_id), &error))?;
            taken.push(Taken { source, row, delivered: None, in_the_way: None });
        }
        leave_later_starts(&mut taken);
        let unsaid = self.hints.unsaid();
        let begun = start_all(&mut transaction, wanted_starts(&taken, unsaid.now()), &self.care, &unsaid).await?;
        let signalled = note_starts(&mut taken, &begun)?;
        send_all(&mut transaction, &mut taken, &unsaid).await?;
        let done: Vec<&Taken> = taken.iter().filter(|taken| taken.delivered.is_some()).collect();
        sqlx::query(REMOVE)
            .bind(done.iter().map(|it| it.source.shard.0).collect::<Vec<_>>())
            .bind(done.iter().map(|it| it.source.run_id.0).collect::<Vec<_>>())
            .bind(done.iter().map(|it| it.row.id.0).collect::<Vec<_>>())
            .execute(&mut *transaction)
            .await?;
        for undelivered in done.iter().filter(|it| it.is_undelivered()) {
            keep(&mut transaction, undelivered).await?;
        }
        begun.hand_over(&mut transaction).await?;
        transaction.commit().await?;
        self.removed.note(Queue::Outbox, done.len());
        self.hints.say(&unsaid);
        for run in signalled {
            if let Err(error) = self.wake(run).await {
                tracing::debug!(%error, "a hint was lost; the renewals of leases make up for it");
            }
        }
        self.hints.send();
        done.iter()
            .filter(|it| it.row.asker == Asker::Transaction)
            .for_each(|it| self.debts.settle(it.source, it.row.id));
        done.iter().filter(|it| it.is_undelivered()).for_each(|it| it.report());
        // What was left for the next round is work, too.
        Ok(done.len().max(1) as u64)
    }

    /// Wakes whoever is to look at a run that got a signal instead of a start.
    async fn wake(&self, run: RunKey) -> Result<(), sqlx::Error> {
        let row = sqlx::query(OWNER).bind(run.shard.0).bind(run.run_id.0).fetch_optional(&self.hot).await?;
        if let Some(row) = row {
            let (owner, queue) = (row.try_get("owner")?, row.try_get("task_queue")?);
            wake(&[run], vec![owner], vec![queue]).hint(&self.hints);
        }
        Ok(())
    }
}

impl PgStore {
    /// Delivers due rows, whoever wrote them.
    pub(crate) async fn deliver_rows(&self, limit: i64) -> StoreResult<u64> {
        self.post.deliver_due(limit).await
    }
}

impl Taken {
    /// Whether a committed transaction wanted what cannot be.
    fn is_undelivered(&self) -> bool {
        self.row.asker == Asker::Transaction && self.delivered.is_some_and(|delivered| delivered != Delivered::Done)
    }

    fn problem(&self) -> &str {
        match (&self.in_the_way, self.delivered) {
            (Some(in_the_way), _) => &in_the_way.problem,
            (None, Some(Delivered::TooManySignals)) => "TooManySignals",
            (None, _) => "NotOpen",
        }
    }

    fn report(&self) {
        metrics::counter!("dacapo_outbox_undelivered_total").increment(1);
        let target = &self.row.target;
        tracing::warn!(
            namespace = %target.namespace,
            workflow_id = %target.workflow_id,
            message_id = %self.row.id,
            problem = self.problem(),
            "what a committed transaction asked for cannot be done; it is kept in dacapo.undelivered"
        );
    }
}

async fn take(connection: &mut PgConnection, which: Which) -> Result<Vec<PgRow>, sqlx::Error> {
    match which {
        Which::Due(limit) => sqlx::query(TAKE).bind(limit).fetch_all(connection).await,
        Which::Of(source, limit) => {
            let query = sqlx::query(TAKE_OF).bind(source.shard.0).bind(source.run_id.0).bind(limit);
            query.fetch_all(connection).await
        }
    }
}

async fn keep(connection: &mut PgConnection, it: &Taken) -> Result<(), sqlx::Error> {
    let target = &it.row.target;
    let run_id = match (&it.row.body, target.run) {
        (OutboxBody::Start(request), _) => Some(request.run_id),
        (OutboxBody::Message(_), TargetRun::Run(run_id)) => Some(run_id),
        (OutboxBody::Message(_), TargetRun::Open | TargetRun::Chain(_)) => None,
    };
    sqlx::query(KEEP)
        .bind(it.source.shard.0)
        .bind(it.source.run_id.0)
        .bind(it.row.id.0)
        .bind(target.namespace.as_str())
        .bind(target.workflow_id.as_str())
        .bind(run_id.map(|run_id| run_id.0))
        .bind(it.problem())
        .bind(it.in_the_way.as_ref().and_then(|in_the_way| in_the_way.run).map(|run_id| run_id.0))
        .bind(json(&it.row))
        .execute(connection)
        .await
        .map(drop)
}

/// What can go wrong with a batch.
enum Trying {
    Database(sqlx::Error),
    Row(StoreError),
}

impl From<sqlx::Error> for Trying {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Trying {
    fn from(error: StoreError) -> Self {
        Self::Row(error)
    }
}

/// Starts go before messages within a batch; where a run wants it the other way round, with one workflow id, the start and
/// what comes after it is left for the next batch.
fn leave_later_starts(taken: &mut Vec<Taken>) {
    let mut written: HashSet<(RunKey, WorkflowId)> = HashSet::new();
    let mut left: HashSet<RunKey> = HashSet::new();
    taken.retain(|it| {
        let at_target = (it.source, it.row.target.workflow_id.clone());
        match &it.row.body {
            OutboxBody::Start(_) if written.contains(&at_target) => drop(left.insert(it.source)),
            OutboxBody::Start(_) => {}
            OutboxBody::Message(_) => drop(written.insert(at_target)),
        }
        !left.contains(&it.source)
    });
}

/// What rows want started, as any start that nobody owns.
fn wanted_starts(taken: &[Taken], now: Timestamp) -> Vec<StartWrite> {
    let wanted = taken.iter().filter_map(|it| match &it.row.body {
        OutboxBody::Start(request) => Some(StartWrite {
            transition: request.transition(now),
            ready_at: now.plus_ms(request.start_delay_ms.filter(|_| request.signal.is_none()).unwrap_or(0)),
            request: (**request).clone(),
            owner: None,
        }),
        OutboxBody::Message(_) => None,
    });
    wanted.collect()
}

/// Notes what became of starts. Gives the runs that were there already and got the signal of a start instead.
fn note_starts(taken: &mut [Taken], begun: &Begun) -> Result<Vec<RunKey>, StoreError> {
    let mut signalled = Vec::new();
    for it in taken {
        let OutboxBody::Start(request) = &it.row.body else { continue };
        match (begun.outcomes.get(&request.key()).cloned(), it.row.asker) {
            (None, _) => {}
            (Some(Ok(StartOutcome::UsedExisting { run })), Asker::Transaction) => {
                it.delivered = Some(Delivered::Done);
                signalled.extend(request.signal.is_some().then_some(run));
            }
            (Some(Ok(outcome)), _) => {
                it.delivered = Delivered::of_start(&outcome);
                it.in_the_way = InTheWay::of(&outcome);
            }
            // Nobody waits for an answer, and the same again will not do.
            (Some(Err(StoreError::Rejected { problem })), Asker::Transaction) => {
                it.delivered = Some(Delivered::TooManySignals);
                it.in_the_way = Some(InTheWay { problem, run: None });
            }
            (Some(Err(error)), _) => return Err(error),
        }
    }
    Ok(signalled)
}

impl InTheWay {
    fn of(outcome: &StartOutcome) -> Option<Self> {
        match outcome {
            StartOutcome::AlreadyOpen { run_id } => Some(Self { problem: ALREADY_OPEN.to_owned(), run: Some(*run_id) }),
            StartOutcome::ReuseRefused { run_id } => {
                Some(Self { problem: REUSE_REFUSED.to_owned(), run: Some(*run_id) })
            }
            _ => None,
        }
    }
}

/// Puts messages and answers into inboxes. Whom the caller has to wake after the commit is in `unsaid`.
async fn send_all(connection: &mut PgConnection, taken: &mut Vec<Taken>, unsaid: &Hints) -> Result<(), Trying> {
    let targets = targets(connection, taken).await?;
    let mut runs: Vec<RunKey> = taken.iter().map(|it| it.source).chain(targets.values().copied()).collect();
    runs.sort_unstable();
    runs.dedup();
    let open = lock_runs(connection, &runs).await?;
    let mut held_up: HashSet<RunKey> = HashSet::new();
    let mut letters: Vec<(usize, RunKey, Message)> = Vec::new();
    for (place, it) in taken.iter_mut().enumerate() {
        let Some(message) = it.row.message() else {
            if it.delivered.is_none() {
                held_up.insert(it.source);
            }
            continue;
        };
        match targets.get(&it.row.id).copied() {
            _ if held_up.contains(&it.source) => {}
            None => it.delivered = Some(Delivered::NotFound),
            Some(run) if open.contains(&run) => letters.push((place, run, message)),
            Some(_) if matches!(it.row.target.run, TargetRun::Run(_)) => it.delivered = Some(Delivered::NotFound),
            // It was closed since it was found. The run that may follow it is found next time.
            Some(_) => drop(held_up.insert(it.source)),
        }
    }
    let messages: Vec<(RunKey, &Message)> = letters.iter().map(|(_, run, message)| (*run, message)).collect();
    if !messages.is_empty() {
        let delivery = deliver(connection, &messages).await?;
        for (at, (place, _, _)) in letters.iter().enumerate() {
            let outcome = match (delivery.too_many.contains(&at), delivery.not_open.contains(&at)) {
                (true, _) => SendOutcome::TooManySignals,
                (_, true) => SendOutcome::NotOpen,
                _ => SendOutcome::Accepted,
            };
            taken[*place].delivered = Some(Delivered::of_send(&outcome));
        }
        delivery.hint(unsaid);
    }
    // A row behind one that is held up waits with it, even a start that was made: it is made again then, as a duplicate.
    taken.retain(|it| !held_up.contains(&it.source) || it.delivered.is_some() && it.row.message().is_some());
    let answers: Vec<(RunKey, Message)> = taken
        .iter()
        .filter(|it| open.contains(&it.source))
        .filter_map(|it| Some((it.source, it.row.answer(it.source.run_id, it.delivered?)?)))
        .collect();
    if !answers.is_empty() {
        let answers: Vec<(RunKey, &Message)> = answers.iter().map(|(run, message)| (*run, message)).collect();
        deliver(connection, &answers).await?.hint(unsaid);
    }
    Ok(())
}

/// Finds the runs that rows with messages are meant for.
async fn targets(connection: &mut PgConnection, taken: &[Taken]) -> Result<HashMap<MessageId, RunKey>, sqlx::Error> {
    let mut found = HashMap::new();
    let mut named: Vec<(MessageId, &ExternalTarget)> = Vec::new();
    for it in taken.iter().filter(|it| matches!(it.row.body, OutboxBody::Message(_))) {
        match it.row.target.run {
            TargetRun::Run(run_id) => {
                found.insert(it.row.id, RunKey { shard: it.row.target.shard(), run_id });
            }
            TargetRun::Open | TargetRun::Chain(_) => named.push((it.row.id, &it.row.target)),
        }
    }
    if named.is_empty() {
        return Ok(found);
    }
    let rows = sqlx::query(OPEN_RUNS)
        .bind(named.iter().map(|(_, target)| Namespace::as_str(&target.namespace)).collect::<Vec<_>>())
        .bind(named.iter().map(|(_, target)| target.workflow_id.as_str()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    for row in rows {
        let (id, target) = named[row.try_get::<i64, _>("place")? as usize - 1];
        let first = RunId(row.try_get("first_run_id")?);
        if matches!(target.run, TargetRun::Chain(wanted) if wanted != first) {
            continue;
        }
        found.insert(id, RunKey { shard: Shard(row.try_get("shard")?), run_id: RunId(row.try_get("run_id")?) });
    }
    Ok(found)
}

async fn lock_runs(connection: &mut PgConnection, runs: &[RunKey]) -> Result<HashSet<RunKey>, sqlx::Error> {
    let rows = sqlx::query(LOCK_RUNS)
        .bind(runs.iter().map(|run| run.shard.0).collect::<Vec<_>>())
        .bind(runs.iter().map(|run| run.run_id.0).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let (shard, run_id): (i16, Uuid) = (row.try_get("shard")?, row.try_get("run_id")?);
            Ok(RunKey { shard: Shard(shard), run_id: RunId(run_id) })
        })
        .collect()
}
