//! Resets and forks of runs: another run begins with a part of a run's history, in its place or beside it.

use dacapo_core::{
    RunId, RunKey, WorkflowId,
    branch::{BranchPlan, BranchRun, Edit, Fork, Reapply, Reset, ResetPoint},
    ids::validate,
    store::BranchOutcome,
};
use uuid::Uuid;

use super::{Client, ClientError, WorkflowExecution};
use crate::virtual_time::VirtualTime;

/// What is said of a reset beside where to.
#[derive(Debug, Clone, Default)]
pub struct ResetOptions {
    /// What becomes of messages that the run got after the point.
    pub reapply: Reapply,
    /// The caller's id for this request: the same one leads to the same run, however often it is sent. A fresh one when
    /// absent.
    pub request_id: Option<String>,
}

/// What is said of a fork.
#[derive(Debug, Clone, Default)]
pub struct ForkOptions {
    /// The new run's workflow id; the source's with `-fork-` and a fresh number when absent.
    pub workflow_id: Option<WorkflowId>,
    /// Where the new run begins; where the first edit is seen when absent.
    pub point: Option<ResetPoint>,
    /// What is changed in the copy.
    pub edits: Vec<Edit>,
    /// What becomes of messages that the run got after the point.
    pub reapply: Reapply,
    /// Why.
    pub reason: String,
    /// As for a reset; it is remembered with the new run's workflow id, so it needs one to be given.
    pub request_id: Option<String>,
}

/// A run that begins with a part of another's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branched {
    /// Its workflow id.
    pub workflow_id: WorkflowId,
    /// The run.
    pub run: RunKey,
    /// Whether this very call made it; else it is the run of the same request sent before.
    pub new: bool,
}

impl Client {
    /// Lets a run go on from an earlier point as another run under its workflow id. What was recorded up to there is not
    /// run again; what came later is dropped but for signals and updates, which are recorded again. An open run ends in
    /// the same write, whoever owns it, and whoever waits for its result waits for the new one. The newest run of the
    /// workflow id is taken when none is named; it may be closed.
    ///
    /// # Errors
    /// [`ClientError::Branch`] says what is in the way, and the way out; [`ClientError::MovedOn`] when another run of the
    /// workflow id is open; [`ClientError::NotFound`], [`ClientError::Invalid`], [`ClientError::Unavailable`].
    ///
    /// # Cancel safety
    /// When the future is dropped the reset may have been made; the same request id again leads to it.
    pub async fn reset(
        &self,
        of: &WorkflowExecution,
        point: ResetPoint,
        reason: &str,
        options: ResetOptions,
    ) -> Result<Branched, ClientError> {
        let source = self.resolve(of).await?.key;
        let run_id = Self::new_run_id();
        let plan = BranchPlan::Reset(Reset { point, run_id, reason: reason.to_owned(), reapply: options.reapply });
        let outcome = self.branch(source, plan, options.request_id).await?;
        self.branched(of, of.workflow_id.clone(), source, outcome, |open_run_id| ClientError::MovedOn {
            workflow_id: of.workflow_id.clone(),
            run_id: source.run_id,
            open_run_id,
        })
    }

    /// Begins another run with a part of a run's history, in which the input or results of activities may be others. The
    /// source goes on, or stays closed, as it is.
    ///
    /// # Errors
    /// [`ClientError::Branch`] says what is in the way, and the way out; [`ClientError::AlreadyOpen`] when a run of the new
    /// workflow id is open; [`ClientError::NotFound`], [`ClientError::Invalid`], [`ClientError::Unavailable`].
    ///
    /// # Cancel safety
    /// As for [`Client::reset`].
    pub async fn fork(&self, of: &WorkflowExecution, options: ForkOptions) -> Result<Branched, ClientError> {
        let ForkOptions { workflow_id, point, edits, reapply, reason, request_id } = options;
        if request_id.is_some() && workflow_id.is_none() {
            let problem = "a fork with a request id needs a workflow id: without one, each is another workflow";
            return Err(ClientError::Invalid { problem: problem.to_owned() });
        }
        let source = self.resolve(of).await?.key;
        let run_id = Self::new_run_id();
        let workflow_id = workflow_id.unwrap_or_else(|| forked(&of.workflow_id, run_id));
        validate("workflow id", workflow_id.as_str())
            .map_err(|error| ClientError::Invalid { problem: error.to_string() })?;
        let fork = Fork { workflow_id: workflow_id.clone(), run_id, point, edits, reason, reapply };
        let outcome = self.branch(source, BranchPlan::Fork(fork), request_id).await?;
        let id = workflow_id.clone();
        self.branched(of, workflow_id, source, outcome, |run_id| ClientError::AlreadyOpen { workflow_id: id, run_id })
    }

    async fn branch(
        &self,
        source: RunKey,
        plan: BranchPlan,
        request_id: Option<String>,
    ) -> Result<BranchOutcome, ClientError> {
        let _call = self.shared.clock.virtual_time().map(VirtualTime::call);
        let request_id = request_id.unwrap_or_else(|| Uuid::now_v7().to_string());
        validate("request id", &request_id).map_err(|error| ClientError::Invalid { problem: error.to_string() })?;
        let branch = BranchRun { source, plan, request_id, identity: self.identity.to_string() };
        let outcome = self.persist(|| self.shared.store.branch(&branch)).await?;
        Ok(match outcome {
            // An earlier try of this very call went through, and its answer was lost.
            BranchOutcome::Duplicate { run } if run.run_id == branch.run_id() => {
                BranchOutcome::Branched { run, event_id: 0 }
            }
            other => other,
        })
    }

    fn branched(
        &self,
        of: &WorkflowExecution,
        workflow_id: WorkflowId,
        source: RunKey,
        outcome: BranchOutcome,
        open: impl FnOnce(RunId) -> ClientError,
    ) -> Result<Branched, ClientError> {
        match outcome {
            BranchOutcome::Branched { run, .. } => {
                metrics::counter!("dacapo_workflow_branches_total").increment(1);
                Ok(Branched { workflow_id, run, new: true })
            }
            BranchOutcome::Duplicate { run } => Ok(Branched { workflow_id, run, new: false }),
            BranchOutcome::NotFound => Err(self.not_found(of)),
            BranchOutcome::AlreadyOpen { run_id } => Err(open(run_id)),
            BranchOutcome::Refused(problem) => Err(ClientError::Branch {
                workflow_id: of.workflow_id.clone(),
                run_id: source.run_id,
                problem: Box::new(problem),
            }),
        }
    }
}

/// Names a fork whose caller does not care.
fn forked(source: &WorkflowId, run_id: RunId) -> WorkflowId {
    let random = run_id.0.as_u128() & 0xffff_ffff;
    WorkflowId::new(format!("{source}-fork-{random:08x}"))
}
