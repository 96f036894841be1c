//! The checks of `dacapo db verify`: the invariants of `docs/architecture.md`, against one snapshot of the whole database.
//!
//! [`rows`] asks the tables about each other; [`history`] folds every history with the rules of the core and compares what
//! comes out with the rows. Invariant 10 (a replay makes the same commands) needs the workflows' code and is checked by
//! whoever has it. A run whose owner's lease has lapsed is not lost as long as the owner's row is there: the next process
//! that renews a lease takes it over.

mod history;
mod rows;

use dacapo_core::store::StoreResult;
use sqlx::{Connection, PgConnection, Row};

use crate::{PgStore, error::store_error};

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number in `docs/architecture.md`.
    pub invariant: u8,
    /// Its name, the same for every case of it.
    pub name: &'static str,
    /// Where, and what is wrong.
    pub detail: String,
}

/// Everything is read from one snapshot, so that a busy database looks consistent.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Whoever checks may think for long: it holds nobody up.
const AT_LEISURE: &str = "SET LOCAL idle_in_transaction_session_timeout = 0";

impl PgStore {
    /// Checks invariants 1 to 9 and 11, and names each violation. An empty answer is a clean database.
    ///
    /// # Errors
    /// [`dacapo_core::store::StoreError::Unavailable`] when the database goes away meanwhile.
    pub async fn verify(&self) -> StoreResult<Vec<Violation>> {
        let mut connection = self.read.acquire().await.map_err(store_error)?;
        let mut snapshot = connection.begin_with(BEGIN).await.map_err(store_error)?;
        sqlx::query(AT_LEISURE).execute(&mut *snapshot).await.map_err(store_error)?;
        let found = check(&mut snapshot).await.map_err(store_error)?;
        snapshot.rollback().await.map_err(store_error)?;
        Ok(found)
    }
}

async fn check(connection: &mut PgConnection) -> Result<Vec<Violation>, sqlx::Error> {
    let mut violations = Vec::new();
    for check in rows::CHECKS {
        for row in sqlx::query(check.statement).fetch_all(&mut *connection).await? {
            let detail: String = row.try_get("detail")?;
            violations.push(Violation { invariant: check.invariant, name: check.name, detail });
        }
    }
    history::check(connection, &mut violations).await?;
    Ok(violations)
}
