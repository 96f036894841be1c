//! Calls of the client as a part of a transaction of the caller's.

use dacapo_core::{
    IdConflictPolicy, RunId, StartWorkflow,
    outbox::{OutboxBody, OutboxRow},
    store::StartOutcome,
};
use dacapo_runtime::{Client, ClientError, WorkflowExecution};
use dacapo_store::PgStore;
use dacapo_worker::{CancelCall, SignalCall, Start, StartParts, WorkflowHandle};
use sqlx::PgConnection;

use super::{TransactionError, postgres};

/// A call that takes effect if and only if a transaction of the caller's commits.
///
/// ```no_run
/// # use dacapo::{prelude::*, sqlx::{self, PgPool}};
/// # #[workflow]
/// # async fn fulfil(_ctx: WorkflowContext, id: i64) -> Result<i64, WorkflowError> { Ok(id) }
/// # async fn example(pool: PgPool, client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut tx = pool.begin().await?;
/// sqlx::query("INSERT INTO orders (id) VALUES (42)").execute(&mut *tx).await?;
/// let order = client.start(fulfil, 42).id("order-42").in_transaction(&mut tx).await?;
/// tx.commit().await?;
/// assert_eq!(order.result().await?, 42);
/// # Ok(())
/// # }
/// ```
pub trait InTransaction: Sized {
    /// What the call gives.
    type Output;

    /// Makes the call part of a transaction on the database that holds the runs. A handle that it gives is of use once the
    /// transaction has committed.
    ///
    /// # Errors
    /// [`TransactionError`] says why not; the transaction is then as it was before, and usable unless it had failed already.
    ///
    /// # Cancel safety
    /// When the future is dropped the call may be part of the transaction: roll it back.
    fn in_transaction(
        self,
        transaction: &mut PgConnection,
    ) -> impl Future<Output = Result<Self::Output, TransactionError>> + Send;
}

impl<R: 'static> InTransaction for Start<R> {
    type Output = WorkflowHandle<R>;

    /// As [`InTransaction::in_transaction`]. With [`IdConflictPolicy::UseExisting`], which a signal implies, the handle is on
    /// the newest run of the workflow id, whichever that is when the transaction commits.
    async fn in_transaction(self, transaction: &mut PgConnection) -> Result<WorkflowHandle<R>, TransactionError> {
        let StartParts { client, request, signal } = self.into_parts()?;
        let request = client.prepare_start(request, signal)?;
        let row = client.start_row(request.clone());
        let (run, new) = enlist_start(&client, &row, &request, transaction).await?;
        let execution = match run {
            Some(run_id) => WorkflowExecution::chain(request.workflow_id, run_id),
            None => WorkflowExecution::newest(request.workflow_id),
        };
        Ok(WorkflowHandle::asked_for(client, execution, request.workflow_type.as_str(), new))
    }
}

impl InTransaction for SignalCall {
    type Output = ();

    async fn in_transaction(self, transaction: &mut PgConnection) -> Result<(), TransactionError> {
        let (client, execution, name, input) = self.into_parts()?;
        let row = client.signal_row(&execution, name, input).await?;
        enlist_message(&client, &execution, &row, transaction).await
    }
}

impl InTransaction for CancelCall {
    type Output = ();

    async fn in_transaction(self, transaction: &mut PgConnection) -> Result<(), TransactionError> {
        let (client, execution, reason) = self.into_parts();
        let row = client.cancel_row(&execution, &reason).await?;
        enlist_message(&client, &execution, &row, transaction).await
    }
}

/// Makes a start part of a transaction, unless it is answered already. Gives the run that it leads to, where that is certain, and
/// whether the start is to make it.
async fn enlist_start(
    client: &Client,
    row: &OutboxRow,
    request: &StartWorkflow,
    transaction: &mut PgConnection,
) -> Result<(Option<RunId>, bool), TransactionError> {
    let store = store_of(client)?;
    let workflow_id = request.workflow_id.clone();
    client.catch_up_with_own(&workflow_id).await?;
    let (answer, open) = store.outlook(request).await?;
    match answer {
        Some(StartOutcome::Duplicate { run, .. } | StartOutcome::UsedExisting { run }) => {
            return Ok((Some(run.run_id), false));
        }
        Some(StartOutcome::ReuseRefused { run_id }) => {
            return Err(ClientError::ReuseRefused { workflow_id, run_id }.into());
        }
        _ => {}
    }
    let fails = request.conflict_policy == IdConflictPolicy::Fail;
    if let Some(run_id) = open.filter(|_| fails) {
        return Err(ClientError::AlreadyOpen { workflow_id, run_id }.into());
    }
    // What the same transaction asked for before is there when this is: for the policy, and for the request id.
    let mut same_request = None;
    let enlisted = store.enlist(transaction, row, fails || request.request_id.is_some(), |earlier| {
        let mut starts = earlier.iter().filter_map(start_in);
        same_request =
            starts.clone().find(|it| it.request_id.is_some() && it.request_id == request.request_id).map(run_of);
        match starts.next().filter(|_| fails || same_request.is_some()) {
            Some(first) => Err(ClientError::AlreadyOpen { workflow_id, run_id: first.run_id }.into()),
            None => Ok(()),
        }
    });
    let enlisted: Result<(), TransactionError> = enlisted.await;
    if let Some(run) = same_request {
        return Ok((run, false));
    }
    enlisted.map(|()| (run_of(request), true))
}

/// Makes a message part of a transaction, if there is a run for it or the same transaction starts one.
async fn enlist_message(
    client: &Client,
    to: &WorkflowExecution,
    row: &OutboxRow,
    transaction: &mut PgConnection,
) -> Result<(), TransactionError> {
    let store = store_of(client)?;
    let refused = match client.resolve_open(to).await {
        Ok(_) => None,
        Err(error @ (ClientError::NotFound { .. } | ClientError::NotOpen { .. })) => Some(error),
        Err(error) => return Err(error.into()),
    };
    store
        .enlist(transaction, row, refused.is_some(), |earlier| {
            let mut starts = earlier.iter().filter_map(start_in);
            match refused {
                Some(error) if !starts.any(|it| to.run_id.is_none_or(|run_id| run_id == it.run_id)) => {
                    Err(error.into())
                }
                _ => Ok(()),
            }
        })
        .await
}

fn start_in(row: &OutboxRow) -> Option<&StartWorkflow> {
    match &row.body {
        OutboxBody::Start(request) => Some(request),
        OutboxBody::Message(_) => None,
    }
}

/// The run that a start leads to, unless that may be another.
fn run_of(request: &StartWorkflow) -> Option<RunId> {
    (request.conflict_policy != IdConflictPolicy::UseExisting).then_some(request.run_id)
}

fn store_of(client: &Client) -> Result<&PgStore, TransactionError> {
    postgres(client.store()).ok_or(TransactionError::NotPostgres)
}
