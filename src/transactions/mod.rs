//! Workflows and the user's own tables, all or nothing (`docs/transactions.md`).
//!
//! [`InTransaction`] makes a start, a signal or a request to cancel part of a transaction of the caller's;
//! [`Transactional`] lets an activity commit its writes and its result as one. Both need the store on Postgres, which is why
//! they are here and not in the SDK, which knows no store.

mod activity;
mod call;

use std::{any::Any, sync::Arc};

use dacapo_core::{Store, store::StoreError};
use dacapo_runtime::ClientError;
use dacapo_store::{EnlistError, PgStore};

pub use self::{
    activity::{ActivityTransaction, Transactional},
    call::InTransaction,
};

/// Why a call was not made part of a transaction, which is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// The call cannot be made, in a transaction or without.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The transaction is on a database that does not hold the runs.
    #[error("{}", EnlistError::Elsewhere)]
    Elsewhere,
    /// The connection is in no transaction.
    #[error("{}", EnlistError::NoTransaction)]
    NoTransaction,
    /// The engine keeps its runs in memory, as in tests.
    #[error(
        "this engine has no Postgres whose transactions it could take part in: run it on a `PgStore`, or send without"
    )]
    NotPostgres,
    /// The transaction's database refused, or is gone.
    #[error("the transaction cannot take the call: {0}")]
    Database(#[source] sqlx::Error),
}

impl From<EnlistError> for TransactionError {
    fn from(error: EnlistError) -> Self {
        match error {
            EnlistError::Elsewhere => Self::Elsewhere,
            EnlistError::NoTransaction => Self::NoTransaction,
            EnlistError::Database(error) => Self::Database(error),
            EnlistError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for TransactionError {
    fn from(error: StoreError) -> Self {
        Self::Client(error.into())
    }
}

/// Gives the store as the one on Postgres, where it is.
fn postgres(store: &Arc<dyn Store>) -> Option<&PgStore> {
    let store: &dyn Any = store.as_ref();
    store.downcast_ref()
}
