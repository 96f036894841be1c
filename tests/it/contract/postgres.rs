//! A database of a case's own; what must hold is checked after the case, whatever it did.

use std::sync::Arc;

use dacapo_core::Store;
use dacapo_store::PgStore;

use super::lab::Lab;
use crate::database;

/// The database of one case, and the store on it.
pub(crate) struct Database {
    database: database::TestDatabase,
    store: Arc<PgStore>,
}

impl Database {
    pub(crate) async fn create() -> Self {
        let database = database::fresh("contract").await;
        let store = Arc::new(database.store().await);
        Self { database, store }
    }

    pub(crate) fn lab(&self) -> Lab {
        Lab::real(Arc::clone(&self.store) as Arc<dyn Store>)
    }

    /// Checks the invariants of the whole database.
    pub(crate) async fn verify(self) {
        let store = self.database.store().await;
        let violations = store.verify().await.unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
        store.close().await;
        self.store.close().await;
    }
}
