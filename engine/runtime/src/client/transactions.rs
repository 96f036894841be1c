//! Calls that are made in a transaction of the caller's: what they write, and what the others do about it
//! (`docs/transactions.md`). The transaction itself is the store's.

use dacapo_core::{
    IdConflictPolicy, Message, MessageBody, MessageId, Payload, RunId, RunStatus, StartWorkflow, WorkflowId,
    ids::validate,
    outbox::{Asker, ExternalTarget, OutboxBody, OutboxRow, TargetRun},
    store::{CaughtUp, RunInfo, StartOutcome},
};
use uuid::Uuid;

use super::{Client, ClientError, WorkflowExecution};

impl Client {
    /// Makes a start as this client would send it, checked; with a signal as [`Client::signal_with_start`] sends it.
    ///
    /// # Errors
    /// [`ClientError::Invalid`].
    pub fn prepare_start(
        &self,
        mut request: StartWorkflow,
        signal: Option<(&str, Payload)>,
    ) -> Result<StartWorkflow, ClientError> {
        request.namespace = self.namespace().clone();
        if request.identity.is_empty() {
            request.identity = self.identity.to_string();
        }
        if let Some((name, input)) = signal {
            if request.conflict_policy == IdConflictPolicy::Fail {
                request.conflict_policy = IdConflictPolicy::UseExisting;
            }
            let identity = self.identity.to_string();
            let body = MessageBody::Signal { name: name.to_owned(), input, identity };
            request.signal = Some(Message { id: MessageId(Uuid::now_v7()), body });
        }
        request.validate()?;
        Ok(request)
    }

    /// Makes the row that starts a run when its transaction has committed.
    pub fn start_row(&self, request: StartWorkflow) -> OutboxRow {
        let target = self.target(&request.workflow_id, TargetRun::Run(request.run_id));
        row(target, OutboxBody::Start(Box::new(request)))
    }

    /// Makes the row that sends a signal when its transaction has committed.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Unavailable`].
    pub async fn signal_row(
        &self,
        to: &WorkflowExecution,
        name: &str,
        input: Payload,
    ) -> Result<OutboxRow, ClientError> {
        validate("signal name", name).map_err(|error| ClientError::Invalid { problem: error.to_string() })?;
        let identity = self.identity.to_string();
        self.message_row(to, MessageBody::Signal { name: name.to_owned(), input, identity }).await
    }

    /// Makes the row that asks a run to cancel itself when its transaction has committed.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`].
    pub async fn cancel_row(&self, to: &WorkflowExecution, reason: &str) -> Result<OutboxRow, ClientError> {
        let identity = self.identity.to_string();
        self.message_row(to, MessageBody::Cancel { reason: reason.to_owned(), identity }).await
    }

    async fn message_row(&self, to: &WorkflowExecution, body: MessageBody) -> Result<OutboxRow, ClientError> {
        let run = match to.run_id {
            None => TargetRun::Open,
            Some(run_id) if to.follows => TargetRun::Chain(self.first_of_chain(self.key(to, run_id)).await?),
            Some(run_id) => TargetRun::Run(run_id),
        };
        Ok(row(self.target(&to.workflow_id, run), OutboxBody::Message(body)))
    }

    fn target(&self, workflow_id: &WorkflowId, run: TargetRun) -> ExternalTarget {
        ExternalTarget { namespace: self.namespace().clone(), workflow_id: workflow_id.clone(), run }
    }

    /// Finds a run that takes messages.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::NotOpen`], [`ClientError::Unavailable`].
    pub async fn resolve_open(&self, execution: &WorkflowExecution) -> Result<RunInfo, ClientError> {
        let info = self.resolve(execution).await?;
        match info.status {
            RunStatus::Running => Ok(info),
            _ => Err(self.not_open(execution, info.key.run_id)),
        }
    }

    /// Delivers first what this process may have sent in transactions, so that nothing overtakes it.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`].
    pub async fn catch_up_with_own(&self, workflow_id: &WorkflowId) -> Result<(), ClientError> {
        if self.store().may_owe(self.namespace(), workflow_id) {
            self.catch_up(workflow_id, None).await?;
        }
        Ok(())
    }

    /// Finds a run whose start may have committed and not been delivered.
    pub(super) async fn find_committed(&self, execution: &WorkflowExecution) -> Result<RunInfo, ClientError> {
        let WorkflowExecution { workflow_id, run_id, .. } = execution;
        let caught_up = self.catch_up(workflow_id, *run_id).await?;
        // Also where nothing was delivered: somebody else may have, since the first look.
        if let Some(found) = self.find(execution).await? {
            return Ok(found);
        }
        let workflow_id = workflow_id.clone();
        Err(match caught_up.refused {
            Some(StartOutcome::AlreadyOpen { run_id }) => ClientError::AlreadyOpen { workflow_id, run_id },
            Some(StartOutcome::ReuseRefused { run_id }) => ClientError::ReuseRefused { workflow_id, run_id },
            _ => self.not_found(execution),
        })
    }

    async fn catch_up(&self, workflow_id: &WorkflowId, run_id: Option<RunId>) -> Result<CaughtUp, ClientError> {
        self.persist(|| self.store().catch_up(self.namespace(), workflow_id, run_id)).await
    }
}

/// Makes a row of a transaction; rows that one process makes for one workflow id keep their order.
fn row(target: ExternalTarget, body: OutboxBody) -> OutboxRow {
    OutboxRow { id: MessageId(Uuid::now_v7()), target, body, asker: Asker::Transaction, event_id: 0 }
}
