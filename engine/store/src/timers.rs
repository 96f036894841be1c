//! Due timers of runs that nobody watches become messages.

use std::time::Duration;

use dacapo_core::{Message, MessageBody, MessageId, RunKey, Timestamp, store::StoreResult};
use sqlx::Row;

use crate::{PgStore, committer::deliver, error::store_error, ownership::key, time::PgTime, vacuum::Queue};

/// Timers first, then their runs, and both without waiting: a close locks them in the other order. The owner fires its
/// own timers, so one that has an owner is left to it for a second.
const LOCK_DUE: &str = "
SELECT t.shard, t.run_id, t.timer_id
  FROM dacapo.timers t, LATERAL (SELECT r.owner FROM dacapo.runs_open r
         WHERE r.shard = t.shard AND r.run_id = t.run_id FOR KEY SHARE SKIP LOCKED) r
 WHERE t.fire_at <= statement_timestamp()
   AND (r.owner IS NULL OR t.fire_at <= statement_timestamp() - interval '1 s')
 ORDER BY t.fire_at LIMIT $1 FOR UPDATE OF t SKIP LOCKED";

const REMOVE: &str = "
DELETE FROM dacapo.timers WHERE ctid = ANY (ARRAY(
    SELECT l.tid FROM unnest($1::int2[], $2::uuid[], $3::int8[]) k (shard, run_id, id),
           LATERAL (SELECT t.ctid AS tid FROM dacapo.timers t
                     WHERE t.shard = k.shard AND t.run_id = k.run_id AND t.timer_id = k.id OFFSET 0) l))";

/// As the renewal of a lease asks it (`fleet.rs`).
const NEXT_DUE: &str = "
SELECT min(CASE WHEN r.owner IS NULL THEN t.fire_at ELSE t.fire_at + interval '1 s' END) AS due
  FROM (SELECT * FROM dacapo.timers t WHERE t.fire_at <= clock_timestamp() + $1 * interval '1 ms'
         ORDER BY t.fire_at LIMIT 1000) t
       CROSS JOIN LATERAL (SELECT r.owner FROM dacapo.runs_open r
                            WHERE r.shard = t.shard AND r.run_id = t.run_id OFFSET 0) r";

impl PgStore {
    /// Says when the next timer is to be moved, if that is soon.
    pub(crate) async fn read_next_timer_due(&self, horizon: Duration) -> StoreResult<Option<Timestamp>> {
        let row = sqlx::query(NEXT_DUE).bind(horizon.as_millis() as i64).fetch_one(&self.hot).await;
        Ok(row.map_err(store_error)?.get::<Option<PgTime>, _>("due").map(|time| time.0))
    }

    /// Moves due timers into inboxes. Gives how many.
    pub(crate) async fn move_timers(&self, limit: i64) -> StoreResult<u64> {
        let mut transaction = self.hot.begin().await.map_err(store_error)?;
        let rows = sqlx::query(LOCK_DUE).bind(limit).fetch_all(&mut *transaction).await.map_err(store_error)?;
        if rows.is_empty() {
            return Ok(0);
        }
        let due: Vec<(RunKey, i64)> = rows.iter().map(|row| (key(row), row.get("timer_id"))).collect();
        let messages: Vec<(RunKey, Message)> = due
            .iter()
            .map(|(run, timer_id)| {
                let timer_id = *timer_id as u64;
                let id = MessageId::timer_due(run.run_id, timer_id);
                (*run, Message { id, body: MessageBody::TimerDue { timer_id } })
            })
            .collect();
        let letters: Vec<(RunKey, &Message)> = messages.iter().map(|(run, message)| (*run, message)).collect();
        let delivery = deliver(&mut transaction, &letters).await.map_err(store_error)?;
        sqlx::query(REMOVE)
            .bind(due.iter().map(|(run, _)| run.shard.0).collect::<Vec<_>>())
            .bind(due.iter().map(|(run, _)| run.run_id.0).collect::<Vec<_>>())
            .bind(due.iter().map(|(_, timer_id)| *timer_id).collect::<Vec<_>>())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        delivery.hint(&self.hints);
        self.removed.note(Queue::Timers, due.len());
        metrics::counter!("dacapo_timers_moved_total").increment(due.len() as u64);
        Ok(due.len() as u64)
    }
}
