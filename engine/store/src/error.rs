//! What an error of the database means for whoever asked.

use dacapo_core::store::StoreError;

/// What to do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing was written, because transactions got in each other's way; the same again will do.
    Repeat,
    /// Nothing was written, because somebody held a lock for long; the same again will do once that lets go.
    Held,
    /// Nothing was written, because of a value; the same again never will do.
    Data,
    /// Nobody knows whether it was written: the connection or the server went away.
    Lost,
}

/// Says what an error means.
pub(crate) fn trouble(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            match code.as_ref() {
                // serialization_failure, deadlock_detected
                "40001" | "40P01" => Trouble::Repeat,
                // lock_not_available
                "55P03" => Trouble::Held,
                // Data exceptions, broken constraints, and values larger than the server takes.
                code if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => Trouble::Data,
                _ => Trouble::Lost,
            }
        }
        sqlx::Error::Encode(_) => Trouble::Data,
        _ => Trouble::Lost,
    }
}

/// Makes the error that a caller of the store sees.
pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    match (&error, trouble(&error)) {
        (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_), _) => {
            StoreError::Corrupt { problem: error.to_string() }
        }
        // invalid_authorization_specification, invalid_catalog_name: waiting does not help.
        (sqlx::Error::Database(database), _)
            if database.code().is_some_and(|code| code.starts_with("28") || code == "3D000") =>
        {
            let problem = format!("{error}; check the user, the password and the name of the database");
            StoreError::Rejected { problem }
        }
        (_, Trouble::Data) => StoreError::Rejected { problem: format!("the database refuses a value: {error}") },
        (_, Trouble::Repeat | Trouble::Held | Trouble::Lost) => StoreError::Unavailable { problem: error.to_string() },
    }
}

/// Makes the error for stored JSON that is not what was written.
pub(crate) fn corrupt(what: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { problem: format!("{what} cannot be read: {error}") }
}
