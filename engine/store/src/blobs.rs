//! Bytes under their SHA-256: documents and other inputs too large for a history.

use dacapo_core::store::{StoreError, StoreResult};
use sqlx::Row;

use crate::{PgStore, error::store_error};

const PUT: &str = "INSERT INTO dacapo.blobs (sha256, bytes) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING";
const GET: &str = "SELECT bytes FROM dacapo.blobs WHERE sha256 = $1";

impl PgStore {
    /// Stores bytes.
    pub(crate) async fn write_blob(&self, sha256: &str, bytes: &[u8]) -> StoreResult<()> {
        let digits = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if sha256.len() != 64 || !sha256.bytes().all(digits) {
            let problem = format!("`{sha256}` is no SHA-256 in lower-case hex digits: give all 64 of them");
            return Err(StoreError::Rejected { problem });
        }
        sqlx::query(PUT).bind(sha256).bind(bytes).execute(&self.read).await.map(drop).map_err(store_error)
    }

    /// Reads bytes.
    pub(crate) async fn read_blob(&self, sha256: &str) -> StoreResult<Option<Vec<u8>>> {
        let row = sqlx::query(GET).bind(sha256).fetch_optional(&self.read).await.map_err(store_error)?;
        Ok(row.map(|row| row.get("bytes")))
    }
}
