//! Dead letters: what goes on by itself no more, or only fails, until somebody looks.

use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    ids::{ActivityId, Namespace, RunId, RunKey, Shard, TaskQueue, WorkflowId, WorkflowType},
    run::RunStatus,
    time::Timestamp,
};

/// What is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeadLetterKind {
    /// The workflow task of an open run fails again and again; it is tried again, with ever longer waits.
    WorkflowTask,
    /// An open run is parked: its workers died over it without progress, and no further one gets it.
    ParkedRun,
    /// An activity has used up its attempts or its time, and its run is open or has failed since.
    Activity,
}

impl DeadLetterKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::WorkflowTask, Self::ParkedRun, Self::Activity];

    /// The kind as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WorkflowTask => "WorkflowTask",
            Self::ParkedRun => "ParkedRun",
            Self::Activity => "Activity",
        }
    }

    /// Reads a kind, in any case of letters.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

/// Something that waits for somebody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// What is dead.
    pub kind: DeadLetterKind,
    /// The run's namespace.
    pub namespace: Namespace,
    /// The run's workflow id.
    pub workflow_id: WorkflowId,
    /// The run.
    pub run_id: RunId,
    /// Its type.
    pub workflow_type: WorkflowType,
    /// Its queue.
    pub task_queue: TaskQueue,
    /// Where the run is in its life: open, or failed.
    pub status: RunStatus,
    /// The number of the activity, for one.
    pub activity_id: Option<ActivityId>,
    /// The type of the activity, for one.
    pub activity_type: Option<String>,
    /// Since when it fails, is parked, or has no attempt left.
    pub since: Timestamp,
    /// Failures in a row, workers that died, or attempts.
    pub attempts: u32,
    /// How it failed last.
    pub failure: Failure,
}

impl DeadLetter {
    /// The address of the run's rows.
    pub fn run(&self) -> RunKey {
        RunKey { shard: Shard::of(&self.namespace, &self.workflow_id), run_id: self.run_id }
    }

    /// Its place in lists.
    pub fn place(&self) -> DeadLetterPlace {
        DeadLetterPlace { run_id: self.run_id, activity_id: self.activity_id.unwrap_or(0) }
    }

    /// Says in words what to do about it.
    pub fn way_out(&self) -> String {
        let Self { workflow_id, run_id, .. } = self;
        match (self.kind, self.activity_id) {
            (DeadLetterKind::WorkflowTask, _) => format!(
                "deploy code that can run it, then retry it at once, or reset `{workflow_id}` to before the trouble; it is \
                 also tried again by itself"
            ),
            (DeadLetterKind::ParkedRun, _) => format!(
                "look into the logs of the workers that died over run {run_id}, deploy what helps, then retry it: one more \
                 worker gets it"
            ),
            (DeadLetterKind::Activity, activity_id) => format!(
                "once what it needs is there again, retry it: `{workflow_id}` is reset to right before the failure of \
                 activity {}, which gets all its attempts once more",
                activity_id.unwrap_or(0)
            ),
        }
    }
}

/// A place in lists of dead letters, which go by run, oldest start first, and activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeadLetterPlace {
    /// The run.
    pub run_id: RunId,
    /// The activity; 0 for the run itself.
    pub activity_id: ActivityId,
}

/// Which dead letters to list.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// In this namespace; `default` when absent.
    pub namespace: Option<Namespace>,
    /// Of this kind.
    pub kind: Option<DeadLetterKind>,
    /// Of this workflow type.
    pub workflow_type: Option<WorkflowType>,
    /// Of runs of this queue.
    pub task_queue: Option<TaskQueue>,
    /// Of this workflow id.
    pub workflow_id: Option<WorkflowId>,
    /// After this place: the last one of the page before.
    pub after: Option<DeadLetterPlace>,
}

/// Says why a run is parked.
pub fn parked_failure(workers: u32) -> Failure {
    Failure::worker_lost(format!("{workers} workers in a row died while they had the run, without any progress of it"))
}
