//! Why a start did not start, and what its policies say to do then.
//!
//! The flush only says that a workflow id was taken, or a run or request was there before. Here one start is looked at
//! alone, in a fresh snapshot; what is found may be gone a moment later, so an answer that nothing stands in the way any
//! more means: start again.

use dacapo_core::{
    IdConflictPolicy, IdReusePolicy, MessageBody, MessageId, RunId, RunKey, StartWorkflow, WorkerId,
    limits::SIGNALS_MAX,
    message::Message,
    store::{StartOutcome, StoreError, StoreResult},
};
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::{
    send::{Delivery, deliver},
    start::{EncodedStart, flush_starts},
};
use crate::{hints::Hints, terminate::close_locked};

const LOOK: &str = "
SELECT (SELECT o.owner_epoch FROM dacapo.runs_open o WHERE o.shard = $1 AND o.run_id = $2) AS open_epoch,
       (SELECT o.owner FROM dacapo.runs_open o WHERE o.shard = $1 AND o.run_id = $2) AS open_owner,
       EXISTS (SELECT FROM dacapo.runs_closed c WHERE c.shard = $1 AND c.run_id = $2) AS is_closed,
       (SELECT q.run_id FROM dacapo.start_requests q
         WHERE q.shard = $1 AND q.namespace = $3 AND q.workflow_id = $4 AND q.request_id = $5) AS request_run,
       (SELECT o.run_id FROM dacapo.runs_open o
         WHERE o.namespace = $3 AND o.workflow_id = $4) AS other_open,
       last.run_id AS last_run, last.status AS last_status
  FROM (SELECT) one
  LEFT JOIN LATERAL (SELECT c.run_id, c.status FROM dacapo.runs_closed c
                      WHERE c.namespace = $3 AND c.workflow_id = $4
                      ORDER BY c.started_at DESC, c.run_id DESC LIMIT 1) last ON true";

const LOCK_OPEN: &str = "SELECT run_id FROM dacapo.runs_open WHERE shard = $1 AND run_id = $2 FOR KEY SHARE";

const REMEMBER: &str = "INSERT INTO dacapo.start_requests (shard, namespace, workflow_id, request_id, run_id)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

/// How often a start is tried that nothing stands in the way of and that does not go through all the same; each time,
/// somebody else was faster with the same workflow id.
const TRIES_MAX: usize = 100;

/// Decides one start that did not start.
pub(super) async fn resolve(
    connection: &mut PgConnection,
    item: &EncodedStart,
    hints: &Hints,
) -> Result<StoreResult<StartOutcome>, sqlx::Error> {
    for _ in 0..TRIES_MAX {
        if let Some(outcome) = look(connection, item, hints).await? {
            return Ok(outcome);
        }
        match flush_starts(connection, &[item], item.start.owner, false).await? {
            None => return Ok(Ok(StartOutcome::OwnerLost)),
            Some(refused) if refused.is_empty() => return Ok(Ok(StartOutcome::Started)),
            Some(_) => {}
        }
    }
    let problem =
        format!("workflow id `{}` is started and closed by others all the time", item.start.request.workflow_id);
    Ok(Err(StoreError::Unavailable { problem }))
}

/// What a start would meet at this moment.
pub(crate) enum Outlook {
    /// This answer, whatever its conflict policy.
    Answer(StartOutcome),
    /// An open run with the workflow id.
    Open(RunKey),
    /// Nothing.
    Free,
}

/// Looks at what stands in the way of a start and changes nothing. `remembered`: what the start is known by beside its run id.
pub(crate) async fn outlook(
    connection: &mut PgConnection,
    request: &StartWorkflow,
    owner: Option<WorkerId>,
    remembered: Option<&str>,
) -> Result<Outlook, sqlx::Error> {
    let key = request.key();
    let row = sqlx::query(LOOK)
        .bind(key.shard.0)
        .bind(key.run_id.0)
        .bind(request.namespace.as_str())
        .bind(request.workflow_id.as_str())
        .bind(remembered)
        .fetch_one(connection)
        .await?;
    if let Some(epoch) = row.try_get::<Option<i32>, _>("open_epoch")? {
        let found = row.try_get::<Option<Uuid>, _>("open_owner")?.map(WorkerId);
        let owned = found.is_some() && found == owner && epoch == 1;
        return Ok(Outlook::Answer(StartOutcome::Duplicate { run: key, owned }));
    }
    if row.try_get("is_closed")? {
        return Ok(Outlook::Answer(StartOutcome::Duplicate { run: key, owned: false }));
    }
    let at = |run_id: Uuid| RunKey { shard: key.shard, run_id: RunId(run_id) };
    if let Some(run_id) = row.try_get::<Option<Uuid>, _>("request_run")? {
        // Without a request id of the caller's, the row is the memory of an existing run that was the answer.
        let run = at(run_id);
        return Ok(Outlook::Answer(match request.request_id {
            Some(_) => StartOutcome::Duplicate { run, owned: false },
            None => StartOutcome::UsedExisting { run },
        }));
    }
    if let Some(other) = row.try_get::<Option<Uuid>, _>("other_open")? {
        return Ok(Outlook::Open(at(other)));
    }
    let last: Option<Uuid> = row.try_get("last_run")?;
    let completed = row.try_get::<Option<&str>, _>("last_status")? == Some("Completed");
    Ok(match (last, request.reuse_policy) {
        (Some(last), IdReusePolicy::RejectDuplicate) => {
            Outlook::Answer(StartOutcome::ReuseRefused { run_id: RunId(last) })
        }
        (Some(last), IdReusePolicy::AllowDuplicateFailedOnly) if completed => {
            Outlook::Answer(StartOutcome::ReuseRefused { run_id: RunId(last) })
        }
        _ => Outlook::Free,
    })
}

/// Does what the policies of a start say about what stands in its way. `None`: nothing does any more.
async fn look(
    connection: &mut PgConnection,
    item: &EncodedStart,
    hints: &Hints,
) -> Result<Option<StoreResult<StartOutcome>>, sqlx::Error> {
    let request = &item.start.request;
    match outlook(connection, request, item.start.owner, item.request.as_deref()).await? {
        Outlook::Answer(outcome) => Ok(Some(Ok(outcome))),
        Outlook::Free => Ok(None),
        Outlook::Open(other) => match request.conflict_policy {
            IdConflictPolicy::Fail => Ok(Some(Ok(StartOutcome::AlreadyOpen { run_id: other.run_id }))),
            IdConflictPolicy::UseExisting => use_existing(connection, item, other, hints).await,
            IdConflictPolicy::TerminateExisting => replace(connection, item, other, hints).await,
        },
    }
}

/// Answers with the open run: its inbox gets the signal, and the request remembers it. `None`: it closed meanwhile.
async fn use_existing(
    connection: &mut PgConnection,
    item: &EncodedStart,
    existing: RunKey,
    hints: &Hints,
) -> Result<Option<StoreResult<StartOutcome>>, sqlx::Error> {
    let request = &item.start.request;
    let mut transaction = connection.begin().await?;
    let locked = sqlx::query(LOCK_OPEN).bind(existing.shard.0).bind(existing.run_id.0);
    if locked.fetch_optional(&mut *transaction).await?.is_none() {
        return Ok(None);
    }
    let mut delivered = Delivery::default();
    if let Some(signal) = &request.signal {
        delivered = deliver(&mut transaction, &[(existing, signal)]).await?;
        if delivered.too_many.contains(&0) {
            let problem = format!(
                "run {} of workflow `{}` has received {SIGNALS_MAX} signals, which is the limit: start a new run",
                existing.run_id, request.workflow_id
            );
            return Ok(Some(Err(StoreError::Rejected { problem })));
        }
    }
    sqlx::query(REMEMBER)
        .bind(existing.shard.0)
        .bind(request.namespace.as_str())
        .bind(request.workflow_id.as_str())
        .bind(item.request.as_deref())
        .bind(existing.run_id.0)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    delivered.hint(hints);
    Ok(Some(Ok(StartOutcome::UsedExisting { run: existing })))
}

/// Terminates the open run and starts the new one, both or neither. `None`: it closed meanwhile.
async fn replace(
    connection: &mut PgConnection,
    item: &EncodedStart,
    existing: RunKey,
    hints: &Hints,
) -> Result<Option<StoreResult<StartOutcome>>, sqlx::Error> {
    let request = &item.start.request;
    let body = MessageBody::Terminate {
        reason: format!("replaced by run {}", request.run_id),
        identity: request.identity.clone(),
    };
    // The same start always carries the same id, so that a resend finds what it did.
    let message = Message { id: MessageId(request.run_id.0), body };
    let mut transaction = connection.begin().await?;
    let unsaid = hints.unsaid();
    match close_locked(&mut transaction, existing, message, &unsaid, true).await? {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) => return Ok(Some(Err(error))),
    }
    let flushed = flush_starts(&mut transaction, &[item], item.start.owner, false).await?;
    match flushed {
        None => Ok(Some(Ok(StartOutcome::OwnerLost))),
        Some(refused) if !refused.is_empty() => Ok(None),
        Some(_) => {
            transaction.commit().await?;
            hints.say(&unsaid);
            hints.closed(existing);
            Ok(Some(Ok(StartOutcome::Started)))
        }
    }
}
