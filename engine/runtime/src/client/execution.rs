//! Which run is meant, and where it is found; the runs that go on for others.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use dacapo_core::{EventKind, RunId, RunKey, RunStatus, Shard, WorkflowId, store::RunInfo};

use super::{Client, ClientError};

/// The runs of which a client remembers which run goes on for them; all are forgotten when there are more.
const REMEMBERED_MAX: usize = 10_000;

/// The runs that are gone through one by one before the newest is looked at, which may be the last of the same chain.
const STEPS: u32 = 2;

/// A workflow id with one of its runs, or the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowExecution {
    /// The workflow id.
    pub workflow_id: WorkflowId,
    /// The run; the newest when absent.
    pub run_id: Option<RunId>,
    /// Whether the runs that go on for that run are meant as well: after continue-as-new, for a retry, after a reset of an
    /// open run.
    pub follows: bool,
}

impl WorkflowExecution {
    /// Names the newest run of a workflow id.
    pub fn newest(workflow_id: impl Into<WorkflowId>) -> Self {
        Self { workflow_id: workflow_id.into(), run_id: None, follows: false }
    }

    /// Names one run, and no other.
    pub fn run(workflow_id: impl Into<WorkflowId>, run_id: RunId) -> Self {
        Self { workflow_id: workflow_id.into(), run_id: Some(run_id), follows: false }
    }

    /// Names a run, or the last of those that go on for it.
    pub fn chain(workflow_id: impl Into<WorkflowId>, run_id: RunId) -> Self {
        Self { follows: true, ..Self::run(workflow_id, run_id) }
    }
}

/// The last run that is known to go on for another, so that a long chain is walked once.
#[derive(Debug, Default)]
pub(super) struct Chains {
    last: Mutex<HashMap<RunId, RunId>>,
}

impl Chains {
    /// Gives the last run known, which is the run itself when nothing is.
    pub(super) fn last(&self, run: RunId) -> RunId {
        self.lock().get(&run).copied().unwrap_or(run)
    }

    /// Remembers that `last` goes on for `run`.
    pub(super) fn note(&self, run: RunId, last: RunId) {
        if run == last {
            return;
        }
        let mut known = self.lock();
        if known.len() >= REMEMBERED_MAX && !known.contains_key(&run) {
            known.clear();
        }
        known.insert(run, last);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, RunId>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Finds a run.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Unavailable`].
    pub async fn resolve(&self, execution: &WorkflowExecution) -> Result<RunInfo, ClientError> {
        self.catch_up_with_own(&execution.workflow_id).await?;
        let WorkflowExecution { workflow_id, run_id, .. } = execution;
        let Some(first) = run_id.filter(|_| execution.follows) else { return self.resolve_named(execution).await };
        let named = |run_id| WorkflowExecution::run(workflow_id.clone(), run_id);
        let mut found = self.resolve_named(&named(self.shared.chains.last(first))).await?;
        let mut steps = 0;
        while found.status != RunStatus::Running
            && let Some(next) = self.further(workflow_id, found.key, steps).await?
        {
            found = self.resolve_named(&named(next.run_id)).await?;
            steps += 1;
        }
        self.shared.chains.note(first, found.key.run_id);
        Ok(found)
    }

    async fn resolve_named(&self, execution: &WorkflowExecution) -> Result<RunInfo, ClientError> {
        match self.find(execution).await? {
            Some(found) => Ok(found),
            None => self.find_committed(execution).await,
        }
    }

    pub(super) async fn find(
        &self,
        WorkflowExecution { workflow_id, run_id, .. }: &WorkflowExecution,
    ) -> Result<Option<RunInfo>, ClientError> {
        self.persist(|| self.shared.store.find_run(&self.namespace, workflow_id, *run_id)).await
    }

    pub(super) async fn open_run(&self, execution: &WorkflowExecution) -> Result<RunKey, ClientError> {
        Ok(self.resolve_open(execution).await?.key)
    }

    /// The key of a run of the same workflow id.
    pub(super) fn key(&self, of: &WorkflowExecution, run_id: RunId) -> RunKey {
        RunKey { shard: Shard::of(&self.namespace, &of.workflow_id), run_id }
    }

    /// The run that goes on for a closed one, if any: the next, or, for a caller who has come so many steps far, the last if
    /// it is open.
    pub(super) async fn further(
        &self,
        workflow_id: &WorkflowId,
        run: RunKey,
        steps: u32,
    ) -> Result<Option<RunKey>, ClientError> {
        if steps == STEPS
            && let Some(newest) = self.find(&WorkflowExecution::newest(workflow_id.clone())).await?
            && newest.status == RunStatus::Running
            && newest.key != run
            && self.first_of_chain(newest.key).await? == self.first_of_chain(run).await?
        {
            return Ok(Some(newest.key));
        }
        self.successor(run).await
    }

    /// Which run the chain of a run began with; its history says it.
    pub(super) async fn first_of_chain(&self, run: RunKey) -> Result<RunId, ClientError> {
        let first = self.persist(|| self.shared.store.history(run, 1, 1)).await?;
        let mut events = first.into_iter().flat_map(|transition| transition.events);
        let lineage = events.find_map(|event| match event.event {
            EventKind::WorkflowExecutionStarted(started) => started.lineage,
            _ => None,
        });
        // One that is not there yet is about to be started, as the first of its chain.
        Ok(lineage.and_then(|lineage| lineage.first_run_id).unwrap_or(run.run_id))
    }

    async fn successor(&self, run: RunKey) -> Result<Option<RunKey>, ClientError> {
        let results = self.persist(|| self.shared.store.results(std::slice::from_ref(&run))).await?;
        let successor = results.into_iter().find_map(|(_, result)| result.successor);
        Ok(successor.map(|run_id| RunKey { run_id, ..run }))
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
