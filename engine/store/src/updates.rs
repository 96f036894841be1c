//! What became of updates, for those who wait.

use dacapo_core::{MessageId, RunKey, store::StoreResult, update::UpdateStage};
use sqlx::Row;
use uuid::Uuid;

use crate::{
    PgStore,
    error::{corrupt, store_error},
};

/// News of everyone who waits have the nil uuid in place of a message.
const STAGES: &str = "SELECT message, stage FROM dacapo.updates
    WHERE shard = $1 AND run_id = $2 AND update_id = $3 AND message IN ($4, $5)";

impl PgStore {
    /// Reads what one request was told, or everyone.
    pub(crate) async fn read_update_stage(
        &self,
        run: RunKey,
        update_id: &str,
        message: MessageId,
    ) -> StoreResult<Option<UpdateStage>> {
        let rows = sqlx::query(STAGES)
            .bind(run.shard.0)
            .bind(run.run_id.0)
            .bind(update_id)
            .bind(message.0)
            .bind(Uuid::nil())
            .fetch_all(&self.hot)
            .await
            .map_err(store_error)?;
        let (mut own, mut everyones) = (None, None);
        for row in rows {
            let stage: UpdateStage = serde_json::from_slice(row.get("stage"))
                .map_err(|error| corrupt(&format!("an update of run {}", run.run_id), &error))?;
            let of = if row.get::<Uuid, _>("message") == message.0 { &mut own } else { &mut everyones };
            *of = Some(stage);
        }
        Ok(UpdateStage::furthest(own, everyones))
    }
}
