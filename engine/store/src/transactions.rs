//! Transactions of users: what they want of runs as rows of the outbox, and outcomes of attempts that commit with them
//! (`docs/transactions.md`).
//!
//! Invariant: nothing here takes a lock, in a user's transaction, that anybody of the engine waits for longer than one
//! message to the server takes.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dacapo_core::{
    MessageBody, MessageId, Namespace, RunId, RunKey, StartWorkflow, WorkflowId,
    outbox::{ExternalTarget, OutboxRow, TargetRun},
    store::{ActivityReport, CaughtUp, StartOutcome, StoreError, StoreResult},
};
use sqlx::{PgConnection, Postgres, Row, Transaction};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    PgStore,
    committer::{Outlook, json, outlook, wake},
    error::{corrupt, store_error},
    hints::{Hints, listen::Ask, transaction_channel},
    outbox::{ALREADY_OPEN, Post, REUSE_REFUSED},
};

const HOME: &str = "SELECT dacapo.home_v1() AS home";
const SAVEPOINT: &str = "SAVEPOINT dacapo_enlist";
const RELEASE: &str = "RELEASE SAVEPOINT dacapo_enlist";
const ROLL_BACK: &str = "ROLLBACK TO SAVEPOINT dacapo_enlist; RELEASE SAVEPOINT dacapo_enlist";
const ENLIST: &str = "SELECT at_home, earlier FROM dacapo.enlist_v1($1, $2, $3, $4, $5, $6, $7)";

/// The refusal of a start that was asked for in a transaction.
const REFUSED: &str = "SELECT problem, other_run FROM dacapo.undelivered
    WHERE shard = $1 AND source = $2 AND run_id = $3 AND problem = ANY ($4) ORDER BY written_at LIMIT 1";

/// The rows that one delivery takes.
const ROWS_AT_ONCE: i64 = 200;

/// The time after which a row is taken to have been rolled back, or delivered by another process.
const DEBT_TIME: Duration = Duration::from_secs(600);

/// The workflow ids that are remembered before old ones are looked for and forgotten.
const DEBTS_MAX: usize = 10_000;

/// The wait after the database could not answer.
const RETRY: Duration = Duration::from_millis(250);

/// The condition under which `dacapo.report_in_transaction_v1` says that the database is another.
const ELSEWHERE: &str = "DC001";

/// The condition under which it says that the attempt is not the caller's any more.
const STALE: &str = "DC002";

/// Why something was not made part of a transaction.
#[derive(Debug, thiserror::Error)]
pub enum EnlistError {
    /// The transaction is on a database that does not hold the runs.
    #[error(
        "the transaction is on another database than the runs: begin it on the database of the engine's URL, or send \
         without a transaction and make the step before it safe to repeat"
    )]
    Elsewhere,
    /// The connection is in no transaction.
    #[error("the connection is in no transaction: begin one with `pool.begin()`, or send without `in_transaction`")]
    NoTransaction,
    /// The transaction's database refused, or is gone.
    #[error("the transaction cannot take it: {0}")]
    Database(#[source] sqlx::Error),
    /// The store could not say what is there.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the outcome of an attempt was not committed with a transaction. In every case but [`ReportError::Unknown`], nothing
/// of the transaction is there.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The transaction is on a database that does not hold the run.
    #[error("the transaction is on another database than the run: begin it on the database of the engine's URL")]
    Elsewhere,
    /// The attempt ended otherwise: a timeout, a lost lease, the end of its run.
    #[error(
        "the attempt is not this worker's any more, so its transaction was rolled back; another attempt may be under way"
    )]
    Stale,
    /// The database refused the commit.
    #[error("the transaction was rolled back: {0}")]
    RolledBack(#[source] sqlx::Error),
    /// The store could not say which database it is on.
    #[error("the transaction was rolled back: {0}")]
    Store(#[from] StoreError),
    /// The answer was lost: the transaction is committed or not.
    #[error("the connection was lost during the commit: {0}")]
    Unknown(#[source] sqlx::Error),
}

/// What transactions of users have written through this process and may not be delivered, by source. Cloning gives another
/// handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Debts(Arc<Mutex<HashMap<RunKey, Debt>>>);

#[derive(Debug)]
struct Debt {
    rows: HashSet<MessageId>,
    since: Instant,
}

impl Debts {
    /// Notes a row that may be committed from now on.
    fn note(&self, source: RunKey, row: MessageId) {
        let mut debts = self.lock();
        if debts.len() >= DEBTS_MAX {
            debts.retain(|_, debt| debt.since.elapsed() < DEBT_TIME);
        }
        let debt = debts.entry(source).or_insert_with(|| Debt { rows: HashSet::new(), since: Instant::now() });
        debt.rows.insert(row);
        debt.since = Instant::now();
    }

    /// Notes that a row was delivered.
    pub(crate) fn settle(&self, source: RunKey, row: MessageId) {
        let mut debts = self.lock();
        if let Some(debt) = debts.get_mut(&source) {
            debt.rows.remove(&row);
            if debt.rows.is_empty() {
                debts.remove(&source);
            }
        }
    }

    /// Says whether something may wait for a workflow id.
    pub(crate) fn may_owe(&self, namespace: &Namespace, workflow_id: &WorkflowId) -> bool {
        let debts = self.lock();
        !debts.is_empty()
            && debts.get(&source(namespace, workflow_id)).is_some_and(|debt| debt.since.elapsed() < DEBT_TIME)
    }

    fn are_none(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunKey, Debt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers what transactions of users want, as soon as one that wrote through this process has committed. What it does
/// not come to, the workers find when they renew their leases.
pub(crate) async fn deliver_committed(post: Post, debts: Debts, hints: Hints, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = hints.committed() => {}
            () = stop.cancelled() => return,
        }
        // Whoever wrote nothing leaves it to those who did.
        while !debts.are_none() {
            match post.deliver_due(ROWS_AT_ONCE).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "what transactions want cannot be delivered yet");
                    tokio::select! {
                        () = tokio::time::sleep(RETRY) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }
}

/// The source of what transactions want of a workflow id.
fn source(namespace: &Namespace, workflow_id: &WorkflowId) -> RunKey {
    let target =
        ExternalTarget { namespace: namespace.clone(), workflow_id: workflow_id.clone(), run: TargetRun::Open };
    target.transaction_source()
}

impl PgStore {
    /// Makes a row of the outbox part of a caller's transaction, if `allowed` agrees with the rows for the same workflow id
    /// that the transaction wrote before (`looks`: they are read). On an error the transaction is as it was before.
    ///
    /// # Errors
    /// [`EnlistError`], and what `allowed` says.
    ///
    /// # Cancel safety
    /// When the future is dropped the row may be part of the transaction: roll it back.
    pub async fn enlist<E: From<EnlistError>>(
        &self,
        connection: &mut PgConnection,
        row: &OutboxRow,
        looks: bool,
        allowed: impl FnOnce(&[OutboxRow]) -> Result<(), E>,
    ) -> Result<(), E> {
        let home = self.home().await.map_err(|error| E::from(error.into()))?;
        let (channel, source) = (self.transaction_channel(), row.target.transaction_source());
        sqlx::raw_sql(SAVEPOINT).execute(&mut *connection).await.map_err(|error| E::from(no_savepoint(error)))?;
        let written = sqlx::query(ENLIST)
            .bind(home)
            .bind(source.shard.0)
            .bind(source.run_id.0)
            .bind(row.id.0)
            .bind(json(row))
            .bind(channel)
            .bind(looks)
            .fetch_one(&mut *connection)
            .await;
        let decided = match written {
            Ok(written) => read_earlier(&written).map_err(E::from).and_then(|earlier| allowed(&earlier)),
            Err(error) => Err(E::from(not_taken(error))),
        };
        let end = if decided.is_ok() { RELEASE } else { ROLL_BACK };
        let ended = sqlx::raw_sql(end).execute(connection).await;
        decided?;
        ended.map_err(|error| E::from(EnlistError::Database(error)))?;
        self.debts.note(source, row.id);
        Ok(())
    }

    /// Says what a start would meet now: an answer that needs no start, or the open run with its workflow id. Both `None`:
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError`] as of every call.
    pub async fn outlook(&self, request: &StartWorkflow) -> StoreResult<(Option<StartOutcome>, Option<RunId>)> {
        let mut connection = self.read.acquire().await.map_err(store_error)?;
        let found = outlook(&mut connection, request, None, request.request_id.as_deref()).await;
        Ok(match found.map_err(store_error)? {
            Outlook::Answer(outcome) => (Some(outcome), None),
            Outlook::Open(run) => (None, Some(run.run_id)),
            Outlook::Free => (None, None),
        })
    }

    /// Begins a transaction for a user, on a connection that the engine does not use itself.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.transactions.begin().await
    }

    /// Records the outcome of a claimed attempt in a transaction and commits it, in one message to the server: both are
    /// there afterwards or neither.
    ///
    /// # Errors
    /// [`ReportError`] says whether that is known.
    ///
    /// # Cancel safety
    /// When the future is dropped, the commit may go through all the same; another report of the attempt is then dropped.
    pub async fn commit_report(
        &self,
        mut transaction: Transaction<'_, Postgres>,
        report: ActivityReport,
    ) -> Result<(), ReportError> {
        let home = self.home().await?;
        let message = report_and_commit(home, &report);
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(message)).fetch_all(&mut *transaction).await;
        let rows = rows.map_err(not_committed)?;
        // The server has committed and begun the transaction of nothing that the connection believes in.
        if let Err(error) = transaction.commit().await {
            tracing::debug!(%error, "a connection was lost after its commit");
        }
        if let Some(row) = rows.first() {
            let woken = (row.try_get("owner"), row.try_get("queue"));
            if let (Ok(owner), Ok(queue)) = woken {
                wake(&[report.claim.run], vec![owner], vec![queue]).hint(&self.hints);
            }
        }
        Ok(())
    }

    /// Delivers what committed transactions want of a workflow id.
    pub(crate) async fn catch_up_with(
        &self,
        namespace: &Namespace,
        workflow_id: &WorkflowId,
        run_id: Option<RunId>,
    ) -> StoreResult<CaughtUp> {
        let source = source(namespace, workflow_id);
        let mut caught_up = CaughtUp::default();
        loop {
            match self.post.deliver_of(source, ROWS_AT_ONCE).await? {
                0 => break,
                rows => caught_up.delivered += rows,
            }
        }
        if let Some(run_id) = run_id {
            let row = sqlx::query(REFUSED)
                .bind(source.shard.0)
                .bind(source.run_id.0)
                .bind(run_id.0)
                .bind([ALREADY_OPEN, REUSE_REFUSED].as_slice())
                .fetch_optional(&self.read)
                .await
                .map_err(store_error)?;
            caught_up.refused = row.map(|row| {
                let other = RunId(row.get::<Option<Uuid>, _>("other_run").unwrap_or_default());
                match row.get::<&str, _>("problem") {
                    ALREADY_OPEN => StartOutcome::AlreadyOpen { run_id: other },
                    _ => StartOutcome::ReuseRefused { run_id: other },
                }
            });
        }
        Ok(caught_up)
    }

    /// Delivers, before the store closes, what has been committed through it.
    pub(crate) async fn deliver_last(&self) {
        if !self.debts.are_none()
            && let Err(error) = self.post.deliver_due(ROWS_AT_ONCE).await
        {
            tracing::debug!(%error, "what transactions want is left to the workers");
        }
    }

    /// Which database this store is on.
    async fn home(&self) -> StoreResult<&str> {
        if let Some(home) = self.home.get() {
            return Ok(home);
        }
        let home: String = sqlx::query(HOME).fetch_one(&self.read).await.map_err(store_error)?.get("home");
        Ok(self.home.get_or_init(|| home))
    }

    /// The channel on which commits are told, listened to from the first call on.
    fn transaction_channel(&self) -> &str {
        self.transaction_channel.get_or_init(|| {
            let channel = transaction_channel(Uuid::now_v7());
            self.ask(Ask::Transactions(channel.clone()));
            channel
        })
    }
}

/// Writes what ends an attempt in its transaction. One message, so that no process can stop between the locks that the first
/// statement takes and the commit; where that refuses, the second is not carried out. Every value is a number, a uuid, hex
/// digits or the home, which the database itself made.
fn report_and_commit(home: &str, report: &ActivityReport) -> String {
    use std::fmt::Write;

    let ActivityReport { worker, claim, outcome } = report;
    let body = json(&MessageBody::ActivityOutcome(Box::new(outcome.clone())));
    let mut hex = String::with_capacity(body.len() * 2);
    body.iter().for_each(|byte| write!(hex, "{byte:02x}").expect("a string takes everything"));
    format!(
        "SELECT owner, queue FROM dacapo.report_in_transaction_v1('{}', {}::int2, '{}'::uuid, '{}'::uuid, \
         pg_catalog.decode('{hex}', 'hex'), {}, {}, {}, '{}'::uuid, {}); COMMIT AND CHAIN",
        home.replace('\'', "''"),
        claim.run.shard.0,
        claim.run.run_id.0,
        outcome.message_id(claim.run.run_id).0,
        claim.activity_id,
        claim.attempt,
        claim.token,
        worker.0,
        outcome.last_heartbeat.is_none(),
    )
}

fn read_earlier(written: &sqlx::postgres::PgRow) -> Result<Vec<OutboxRow>, EnlistError> {
    if !written.try_get::<bool, _>("at_home").map_err(EnlistError::Database)? {
        return Err(EnlistError::Elsewhere);
    }
    let rows: Option<Vec<Vec<u8>>> = written.try_get("earlier").map_err(EnlistError::Database)?;
    let read =
        |row: Vec<u8>| serde_json::from_slice(&row).map_err(|error| corrupt("a row of the outbox", &error).into());
    rows.unwrap_or_default().into_iter().map(read).collect()
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|database| database.code()).map(|code| code.into_owned())
}

fn no_savepoint(error: sqlx::Error) -> EnlistError {
    match code(&error).as_deref() {
        // no_active_sql_transaction
        Some("25P01") => EnlistError::NoTransaction,
        _ => EnlistError::Database(error),
    }
}

fn not_taken(error: sqlx::Error) -> EnlistError {
    match code(&error).as_deref() {
        // invalid_schema_name, undefined_function: there are no runs in this database.
        Some("3F000" | "42883") => EnlistError::Elsewhere,
        _ => EnlistError::Database(error),
    }
}

fn not_committed(error: sqlx::Error) -> ReportError {
    match code(&error).as_deref() {
        Some(ELSEWHERE | "3F000" | "42883") => ReportError::Elsewhere,
        Some(STALE) => ReportError::Stale,
        Some(code) if !code.starts_with("57P") && !code.starts_with("08") => ReportError::RolledBack(error),
        // The connection went, or the server does.
        _ => ReportError::Unknown(error),
    }
}
