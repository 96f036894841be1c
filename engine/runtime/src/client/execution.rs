//! Which run is meant, and where it is found.

use dacapo_core::{RunId, RunKey, WorkflowId, store::RunInfo};

use super::{Client, ClientError};

/// A workflow id with one of its runs, or the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowExecution {
    /// The workflow id.
    pub workflow_id: WorkflowId,
    /// The run; the newest when absent.
    pub run_id: Option<RunId>,
}

impl WorkflowExecution {
    /// Names the newest run of a workflow id.
    pub fn newest(workflow_id: impl Into<WorkflowId>) -> Self {
        Self { workflow_id: workflow_id.into(), run_id: None }
    }

    /// Names one run.
    pub fn run(workflow_id: impl Into<WorkflowId>, run_id: RunId) -> Self {
        Self { workflow_id: workflow_id.into(), run_id: Some(run_id) }
    }
}

impl Client {
    /// Finds a run.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Unavailable`].
    pub async fn resolve(&self, execution: &WorkflowExecution) -> Result<RunInfo, ClientError> {
        self.catch_up_with_own(&execution.workflow_id).await?;
        match self.find(execution).await? {
            Some(found) => Ok(found),
            None => self.find_committed(execution).await,
        }
    }

    pub(super) async fn find(
        &self,
        WorkflowExecution { workflow_id, run_id }: &WorkflowExecution,
    ) -> Result<Option<RunInfo>, ClientError> {
        self.persist(|| self.shared.store.find_run(&self.namespace, workflow_id, *run_id)).await
    }

    pub(super) async fn open_run(&self, execution: &WorkflowExecution) -> Result<RunKey, ClientError> {
        Ok(self.resolve_open(execution).await?.key)
    }

    pub(super) fn not_found(&self, execution: &WorkflowExecution) -> ClientError {
        ClientError::NotFound {
            namespace: self.namespace.to_string(),
            workflow_id: execution.workflow_id.clone(),
            run_id: execution.run_id,
        }
    }

    pub(super) fn not_open(&self, execution: &WorkflowExecution, run_id: RunId) -> ClientError {
        ClientError::NotOpen { workflow_id: execution.workflow_id.clone(), run_id }
    }
}
