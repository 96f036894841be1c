//! Dead letters.

use dacapo_core::{
    Namespace, RunKey, RunStatus,
    store::{DeadLetter, DeadLetterFilter, DeadLetterKind, parked_failure},
    transition::DeadActivity,
};

use super::state::{RunFacts, State};

impl State {
    /// Lists dead letters in the order of their runs.
    pub(super) fn dead_letters(&self, filter: &DeadLetterFilter) -> Vec<DeadLetter> {
        let mut letters = self.all_dead_letters();
        letters.retain(|letter| matches(filter, letter));
        letters
    }

    /// Counts them by kind.
    pub(super) fn dead_letter_counts(&self) -> Vec<(DeadLetterKind, u64)> {
        let letters = self.all_dead_letters();
        let count = |kind| (kind, letters.iter().filter(|letter| letter.kind == kind).count() as u64);
        DeadLetterKind::ALL.map(count).to_vec()
    }

    fn all_dead_letters(&self) -> Vec<DeadLetter> {
        let stuck = self.open.values().filter_map(|run| {
            let (kind, since, attempts, failure) = match (run.parked_at, &run.problem) {
                (Some(at), _) => {
                    let workers = u32::try_from(run.takeovers).unwrap_or(0);
                    (DeadLetterKind::ParkedRun, at, workers, parked_failure(workers))
                }
                (None, Some(problem)) => {
                    (DeadLetterKind::WorkflowTask, problem.since, problem.attempt, problem.failure.clone())
                }
                (None, None) => return None,
            };
            Some(DeadLetter { kind, since, attempts, failure, ..of_run(&run.facts, RunStatus::Running) })
        });
        let activities = self.dead_activities.iter().filter_map(|((run, _), dead)| {
            let (facts, status) = self.fate(*run)?;
            let DeadActivity { activity_id, activity_type, attempts, died_at, failure } = dead.clone();
            Some(DeadLetter {
                kind: DeadLetterKind::Activity,
                activity_id: Some(activity_id),
                activity_type: Some(activity_type.to_string()),
                since: died_at,
                attempts,
                failure,
                ..of_run(facts, status)
            })
        });
        let mut letters: Vec<DeadLetter> = stuck.chain(activities).collect();
        letters.sort_by_key(DeadLetter::place);
        letters
    }

    /// A run whose dead activities are of interest: open, or failed for good.
    fn fate(&self, run: RunKey) -> Option<(&RunFacts, RunStatus)> {
        if let Some(open) = self.open.get(&run) {
            return Some((&open.facts, RunStatus::Running));
        }
        let failed =
            |result: &dacapo_core::store::RunResult| result.status == RunStatus::Failed && result.successor.is_none();
        let closed = self.closed.get(&run).filter(|closed| failed(&closed.result))?;
        Some((&closed.facts, RunStatus::Failed))
    }
}

fn of_run(facts: &RunFacts, status: RunStatus) -> DeadLetter {
    DeadLetter {
        kind: DeadLetterKind::WorkflowTask,
        namespace: facts.namespace.clone(),
        workflow_id: facts.workflow_id.clone(),
        run_id: facts.key.run_id,
        workflow_type: facts.workflow_type.clone(),
        task_queue: facts.task_queue.clone(),
        status,
        activity_id: None,
        activity_type: None,
        since: facts.started_at,
        attempts: 0,
        failure: dacapo_core::Failure::default(),
    }
}

fn matches(filter: &DeadLetterFilter, letter: &DeadLetter) -> bool {
    fn wants<T: PartialEq>(wanted: Option<&T>, has: &T) -> bool {
        wanted.is_none_or(|wanted| wanted == has)
    }
    let namespace = filter.namespace.clone().unwrap_or_else(Namespace::default_namespace);
    letter.namespace == namespace
        && wants(filter.kind.as_ref(), &letter.kind)
        && wants(filter.workflow_type.as_ref(), &letter.workflow_type)
        && wants(filter.task_queue.as_ref(), &letter.task_queue)
        && wants(filter.workflow_id.as_ref(), &letter.workflow_id)
        && filter.after.is_none_or(|after| letter.place() > after)
}
