//! The activity side of a worker: a task turned into an attempt, an attempt's end into a result.

use std::sync::Arc;

use dacapo_core::{ActivityResult, ActivityType, Failure, FailureKind, transition::ActivityTask};
use dacapo_runtime::{ActivityControl, ActivityFuture, ActivityRunner};

use crate::{activity_context::ActivityContext, define::ActivityTable};

/// The error type of an attempt whose activity this worker does not have.
const NOT_REGISTERED: &str = "ActivityNotRegistered";

/// Runs the activities of a table.
#[derive(Clone, Debug)]
pub struct Activities(Arc<ActivityTable>);

impl Activities {
    /// Makes the runner.
    pub fn new(activities: ActivityTable) -> Self {
        Self(Arc::new(activities))
    }
}

impl ActivityRunner for Activities {
    fn activity_types(&self) -> Vec<ActivityType> {
        self.0.iter().map(|definition| ActivityType::new(definition.meta().name)).collect()
    }

    fn is_transactional(&self, activity_type: &ActivityType) -> bool {
        self.0.get(activity_type.as_str()).is_some_and(|definition| definition.meta().transactional)
    }

    fn run(&self, task: Arc<ActivityTask>, control: ActivityControl) -> ActivityFuture {
        let Some(definition) = self.0.get(task.activity_type.as_str()) else {
            let message = format!(
                "this worker has no activity `{}`: register its host with `.activities(…)`, or call it on a queue whose \
                 workers have it",
                task.activity_type
            );
            // Another worker of the queue may have it, so the retry policy decides.
            return Box::pin(std::future::ready(ActivityResult::Failed(Failure::application(NOT_REGISTERED, message))));
        };
        // Only what is declared so is sure to be claimed; what merely happens to be would be so today and not tomorrow.
        let control = if definition.meta().transactional { control } else { control.without_claim() };
        let canceled = control.canceled().clone();
        let context = ActivityContext::new(Arc::clone(&task), control);
        let attempt = definition.attempt(context.clone(), &task.input);
        Box::pin(async move {
            match attempt.await.map_err(Failure::from) {
                Ok(result) => ActivityResult::Completed(result),
                Err(_) if context.is_completed_later() => ActivityResult::CompletesAsynchronously,
                Err(failure) if failure.kind == FailureKind::Canceled && canceled.is_cancelled() => {
                    ActivityResult::Canceled { details: failure.details }
                }
                Err(failure) => ActivityResult::Failed(failure),
            }
        })
    }
}
