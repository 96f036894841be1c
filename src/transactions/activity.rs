//! Activities whose writes and whose result are one commit.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use dacapo_core::Payload;
use dacapo_runtime::ClaimedAttempt;
use dacapo_store::PgStore;
use dacapo_worker::{ActivityContext, ActivityError};
use serde::Serialize;
use sqlx::{PgConnection, Postgres, Transaction};

use super::postgres;

/// The error type of an attempt whose activity is not declared `transactional`.
const NOT_TRANSACTIONAL: &str = "NotTransactional";

/// The error type of an attempt of an engine without Postgres.
const NOT_POSTGRES: &str = "NotPostgres";

/// What the context of an activity with `#[activity(transactional, …)]` can do.
///
/// ```
/// # use dacapo::{prelude::*, sqlx};
/// struct Accounts;
///
/// #[activities]
/// impl Accounts {
///     /// Takes money from an account exactly once.
///     #[activity(transactional, start_to_close = "10s")]
///     async fn debit(&self, ctx: &ActivityContext, cents: i64) -> Result<i64, ActivityError> {
///         let mut tx = ctx.transaction().await?;
///         let left: i64 = sqlx::query_scalar("UPDATE accounts SET cents = cents - $1 WHERE id = 7 RETURNING cents")
///             .bind(cents)
///             .fetch_one(&mut *tx)
///             .await?;
///         tx.complete(left).await
///     }
/// }
/// ```
pub trait Transactional {
    /// Begins a transaction on a connection of the engine's, of which a process has
    /// [`transaction_connections`](dacapo_store::PgStoreOptions::transaction_connections).
    ///
    /// # Errors
    /// When the activity is not declared `transactional` or the engine has no Postgres (no other attempt follows), or the
    /// database has no connection.
    fn transaction(&self) -> impl Future<Output = Result<ActivityTransaction<'static>, ActivityError>> + Send;

    /// Takes an outermost transaction that was begun otherwise, on the same database.
    ///
    /// # Errors
    /// When the activity is not declared `transactional` or the engine has no Postgres; no other attempt follows.
    fn transaction_on<'t>(
        &self,
        transaction: Transaction<'t, Postgres>,
    ) -> Result<ActivityTransaction<'t>, ActivityError>;
}

impl Transactional for ActivityContext {
    async fn transaction(&self) -> Result<ActivityTransaction<'static>, ActivityError> {
        let attempt = attempt(self)?;
        let transaction = store(&attempt)?.begin().await?;
        Ok(ActivityTransaction { transaction, attempt, activity: self.activity_type().to_string() })
    }

    fn transaction_on<'t>(
        &self,
        transaction: Transaction<'t, Postgres>,
    ) -> Result<ActivityTransaction<'t>, ActivityError> {
        let attempt = attempt(self)?;
        store(&attempt)?;
        Ok(ActivityTransaction { transaction, attempt, activity: self.activity_type().to_string() })
    }
}

/// A transaction of an attempt; dropping it rolls it back. It is used as a connection: `.execute(&mut *tx)`.
#[derive(Debug)]
#[must_use = "what is written is rolled back unless the transaction is completed"]
pub struct ActivityTransaction<'t> {
    transaction: Transaction<'t, Postgres>,
    attempt: Arc<ClaimedAttempt>,
    activity: String,
}

impl ActivityTransaction<'_> {
    /// Commits what was written together with the result of the activity, and gives the result back to return it.
    ///
    /// # Errors
    /// When nothing of it is there: the attempt had ended otherwise, the result cannot be stored, the database refused; or
    /// when the connection was lost, and with it the answer. Whatever the attempt returns then is recorded only if the commit
    /// did not go through.
    ///
    /// # Cancel safety
    /// When the future is dropped, both or neither are there.
    pub async fn complete<T: Serialize>(self, result: T) -> Result<T, ActivityError> {
        let what = format!("result of activity `{}`", self.activity);
        let report = self.attempt.completed(Payload::encode(&what, &result)?);
        store(&self.attempt)?.commit_report(self.transaction, report).await?;
        self.attempt.set_recorded();
        Ok(result)
    }

    /// Rolls everything back, and waits until it is.
    ///
    /// # Errors
    /// When the connection is lost, which rolls back too.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }
}

impl Deref for ActivityTransaction<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for ActivityTransaction<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

fn attempt(context: &ActivityContext) -> Result<Arc<ClaimedAttempt>, ActivityError> {
    context.claimed().cloned().ok_or_else(|| {
        let message = format!(
            "activity `{}` has no transaction: declare it with `#[activity(transactional, …)]`, call it with \
             `ctx.activity(…)`, and run it in a worker",
            context.activity_type()
        );
        ActivityError::new(NOT_TRANSACTIONAL, message).non_retryable()
    })
}

fn store(attempt: &ClaimedAttempt) -> Result<&PgStore, ActivityError> {
    postgres(attempt.store()).ok_or_else(|| {
        let message = "this engine has no Postgres whose transactions could be used: run it on a `PgStore`, or fake the \
                       activity in tests";
        ActivityError::new(NOT_POSTGRES, message).non_retryable()
    })
}
