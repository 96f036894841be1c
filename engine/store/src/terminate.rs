//! Ends of runs from outside: what nobody owns is closed here, what somebody owns gets an order.

use dacapo_core::{
    Message, MessageBody, Run, RunKey, WorkerId,
    apply::Turn,
    store::{SendOutcome, StoreError, StoreResult},
};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{
    PgStore,
    committer::{Delivery, Verdict, deliver, flush_transition, recorded},
    error::store_error,
    hints::Hints,
    load::{LOAD, read_loaded},
};

const LOCK: &str = "SELECT owner FROM dacapo.runs_open WHERE shard = $1 AND run_id = $2 FOR UPDATE";

impl PgStore {
    /// Closes an unowned run, or leaves the order in its owner's inbox.
    pub(crate) async fn terminate_run(&self, run: RunKey, message: Message) -> StoreResult<SendOutcome> {
        let mut transaction = self.hot.begin().await.map_err(store_error)?;
        let unsaid = self.hints.unsaid();
        let closed = close_locked(&mut transaction, run, message.clone(), &unsaid, false);
        if closed.await.map_err(store_error)?? {
            transaction.commit().await.map_err(store_error)?;
            self.hints.say(&unsaid);
            self.hints.closed(run);
            self.hints.send();
            return Ok(SendOutcome::Accepted);
        }
        // Not closed: it has an owner, or is not open.
        transaction.rollback().await.map_err(store_error)?;
        let mut connection = self.hot.acquire().await.map_err(store_error)?;
        let delivery: Delivery = deliver(&mut connection, &[(run, &message)]).await.map_err(store_error)?;
        delivery.hint(&self.hints);
        if delivery.not_open.is_empty() || recorded(&mut connection, run, message.id).await.map_err(store_error)? {
            return Ok(SendOutcome::Accepted);
        }
        Ok(SendOutcome::NotOpen)
    }
}

/// Closes a run whose row it locks, in a transaction of the caller's: takes in what waits in the inbox, then terminates.
/// A run with an owner is closed only when the caller says so; the owner's next write is then fenced out. `false`: the
/// run is not open, or has an owner. What the caller has to tell after the commit is in `unsaid`.
pub(crate) async fn close_locked(
    connection: &mut PgConnection,
    run: RunKey,
    message: Message,
    unsaid: &Hints,
    even_owned: bool,
) -> Result<StoreResult<bool>, sqlx::Error> {
    let row = sqlx::query(LOCK).bind(run.shard.0).bind(run.run_id.0).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(Ok(false)) };
    let owner = row.try_get::<Option<Uuid>, _>("owner")?.map(WorkerId);
    if owner.is_some() && !even_owned {
        return Ok(Ok(false));
    }
    // The next statement: whatever was sent before the lock is in its snapshot.
    let query = sqlx::query(LOAD).bind(vec![run.shard.0]).bind(vec![run.run_id.0]);
    let loaded = match read_loaded(&query.fetch_one(&mut *connection).await?) {
        Ok(loaded) => loaded,
        Err(error) => return Ok(Err(error)),
    };
    let mut folded = match Run::from_history(&loaded.events) {
        Ok(folded) => folded,
        Err(error) => return Ok(Err(StoreError::Corrupt { problem: error.to_string() })),
    };
    for (activity, _) in &loaded.activities {
        folded.restore_activity(activity);
    }
    let mut turn = Turn::begin(&mut folded, unsaid.now());
    for waiting in loaded.inbox {
        turn.message(waiting);
    }
    let Message { id, body } = message;
    let (reason, identity) = match body {
        MessageBody::Terminate { reason, identity } => (reason, identity),
        _ => (String::new(), String::new()),
    };
    turn.terminate(id, reason, identity);
    let transition = turn.finish();
    match flush_transition(connection, transition, owner, loaded.owner_epoch, unsaid).await? {
        Verdict::Applied => Ok(Ok(true)),
        refused => {
            let problem = format!("run {} cannot be closed under its lock: {refused:?}", run.run_id);
            Ok(Err(StoreError::Corrupt { problem }))
        }
    }
}
