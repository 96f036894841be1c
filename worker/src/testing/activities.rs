//! The activities of a test: real ones and fakes, with every call written down.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use dacapo_core::{ActivityId, ActivityResult, ActivityType, Failure, Payload, RunKey, transition::ActivityTask};
use dacapo_runtime::{ActivityControl, ActivityFuture, ActivityRunner};

use super::children::Children;

/// The error type of a call to an activity that the test has neither code nor a fake for.
const NOT_REGISTERED: &str = "ActivityNotRegistered";

/// One call: the run and its number for the activity.
type CallId = (RunKey, ActivityId);

/// What was called, in the order of the calls.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<BTreeMap<ActivityType, Vec<Called>>>);

/// A call of an activity.
#[derive(Debug)]
struct Called {
    id: CallId,
    input: Payload,
    attempts: usize,
}

impl Calls {
    /// The inputs of the calls of an activity.
    pub(super) fn inputs(&self, activity: &str) -> Vec<Payload> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let called = calls.get(&ActivityType::new(activity)).into_iter().flatten();
        called.map(|call| call.input.clone()).collect()
    }

    /// The attempts of all calls of an activity.
    pub(super) fn attempts(&self, activity: &str) -> usize {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(&ActivityType::new(activity)).into_iter().flatten().map(|call| call.attempts).sum()
    }

    fn note(&self, task: &ActivityTask) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = calls.entry(task.activity_type.clone()).or_default();
        let id = (task.run, task.activity_id);
        match calls.iter_mut().rev().find(|call| call.id == id) {
            Some(call) => call.attempts += 1,
            None => calls.push(Called { id, input: task.input.clone(), attempts: 1 }),
        }
    }
}

/// Runs the activities of a test.
pub(super) struct TestActivities {
    pub(super) runner: Arc<dyn ActivityRunner>,
    pub(super) calls: Arc<Calls>,
    pub(super) children: Arc<Children>,
}

impl ActivityRunner for TestActivities {
    fn activity_types(&self) -> Vec<ActivityType> {
        self.runner.activity_types().into_iter().chain(self.children.activity_type()).collect()
    }

    fn is_transactional(&self, activity_type: &ActivityType) -> bool {
        self.runner.is_transactional(activity_type)
    }

    fn run(&self, task: Arc<ActivityTask>, control: ActivityControl) -> ActivityFuture {
        if Children::is_fake(&task.activity_type) {
            return self.children.run(task, control);
        }
        self.calls.note(&task);
        if self.runner.activity_types().contains(&task.activity_type) {
            return self.runner.run(task, control);
        }
        // In a fleet another worker may have it; in a test nobody will.
        let message = format!(
            "the test has neither code nor a fake for activity `{}`: add `.activities(…)` or `.fake(…)`",
            task.activity_type
        );
        let failure = Failure { non_retryable: true, ..Failure::application(NOT_REGISTERED, message) };
        Box::pin(std::future::ready(ActivityResult::Failed(failure)))
    }
}
