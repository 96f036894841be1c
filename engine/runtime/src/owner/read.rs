//! Reads of runs that a process takes, or takes again. Attempts that run here while their runs are read are left to their
//! reports ([`crate::activities::Reporting`]); whoever reads in another way takes one that ends meanwhile for lost.

use std::sync::atomic::Ordering;

use dacapo_core::{
    RunKey,
    store::{BroughtRun, BroughtStarts, ClaimedRuns, HandedStarts, LoadedRun, RunClaim, StoreResult, TakenStarts},
};

use super::Context;

impl Context {
    /// Claims runs.
    pub(crate) async fn claim_runs(&self, claim: &RunClaim) -> StoreResult<ClaimedRuns> {
        let reporting = self.pool.reporting();
        let mut claimed = self.store.claim_runs(self.worker, claim).await.inspect_err(|_| {
            // It may go through all the same, now or later.
            self.claim_lost.store(true, Ordering::Relaxed);
        })?;
        claimed.runs.iter_mut().for_each(|run| reporting.leave_out(run));
        Ok(claimed)
    }

    /// Takes runs that others started for this process.
    pub(crate) async fn take_handed(&self, which: &HandedStarts) -> StoreResult<TakenStarts> {
        let reporting = self.pool.reporting();
        let mut taken = self.store.take_handed(self.worker, which).await.inspect_err(|_| {
            // As a claim.
            self.claim_lost.store(true, Ordering::Relaxed);
        })?;
        taken.runs.iter_mut().for_each(|run| reporting.leave_out(run));
        Ok(taken)
    }

    /// Reads runs that others started for this process and brought to it.
    pub(crate) fn read_brought(&self, brought: &BroughtStarts) -> Vec<LoadedRun> {
        let read = |run: &BroughtRun| {
            run.load(self.worker)
                .inspect_err(|error| tracing::error!(%error, "a run that was brought cannot be read"))
                .ok()
        };
        brought.runs.iter().filter_map(read).collect()
    }

    /// Reads runs that this process owns, or thinks it does.
    pub(crate) async fn load_runs(&self, runs: &[RunKey]) -> StoreResult<Vec<LoadedRun>> {
        let reporting = self.pool.reporting();
        let mut loaded = self.store.load(runs).await?;
        loaded.iter_mut().for_each(|run| reporting.leave_out(run));
        Ok(loaded)
    }
}
