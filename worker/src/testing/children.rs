//! Fakes of workflows that others start as children: real runs whose code asks the test for their end.
//!
//! A fake's run calls one activity, which runs the test's function, and then ends as the function said. So the function
//! is run once for a run however often its history is replayed, and it waits for the engine's clock like any attempt.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use dacapo_core::{
    ActivityResult, ActivityType, CancellationType, Failure, Payload, RetryPolicy, RetryState, RunId, WorkflowId,
    WorkflowType, payload::PayloadError, transition::ActivityTask,
};
use dacapo_runtime::{ActivityControl, ActivityFuture};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{
    ActivityContext, ActivityFailure, WorkflowContext, WorkflowError,
    define::{Activity, Data, HasTimeout, NamedWorkflow, WorkflowFuture, WorkflowTable},
};

/// The activity that all fakes call; the type of the run that calls it says which.
const FAKE_CHILD: Activity<FakeStart, FakeEnd, HasTimeout> =
    Activity::new("dacapo.fake_child").start_to_close(FAKE_TIME);

/// The time that a fake may take: for ever, since workflows have none of their own. A wait for one that never ends says so.
const FAKE_TIME: Duration = Duration::MAX;

/// What a fake's run tells the test.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct FakeStart {
    attempt: u32,
    input: Payload,
}

/// What the test's function made of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum FakeEnd {
    Completed(Payload),
    Failed { error_type: String, message: String, details: Option<Payload>, non_retryable: bool },
    Activity { activity_type: String, failure: Box<Failure>, retry_state: Option<RetryState> },
    Cancelled,
}

impl From<Result<Payload, WorkflowError>> for FakeEnd {
    fn from(result: Result<Payload, WorkflowError>) -> Self {
        match result {
            Ok(value) => Self::Completed(value),
            Err(WorkflowError::Cancelled) => Self::Cancelled,
            Err(WorkflowError::Activity(failed)) => Self::Activity {
                activity_type: failed.activity_type().to_owned(),
                failure: Box::new(failed.failure().clone()),
                retry_state: failed.retry_state(),
            },
            Err(error) => {
                let Failure { error_type, message, details, non_retryable, .. } = error.into();
                Self::Failed { error_type, message, details, non_retryable }
            }
        }
    }
}

impl FakeEnd {
    fn into_result(self) -> Result<Payload, WorkflowError> {
        match self {
            Self::Completed(value) => Ok(value),
            Self::Cancelled => Err(WorkflowError::Cancelled),
            Self::Failed { error_type, message, details, non_retryable } => {
                Err(WorkflowError::Failed { error_type, message, details, non_retryable })
            }
            Self::Activity { activity_type, failure, retry_state } => {
                Err(ActivityFailure::new(activity_type, *failure, retry_state).into())
            }
        }
    }
}

/// What the fake of a child workflow has in its hands.
#[derive(Clone, Debug)]
pub struct FakeChild {
    context: ActivityContext,
    attempt: u32,
}

impl FakeChild {
    /// Gives the workflow id that the child was started under.
    pub fn workflow_id(&self) -> &WorkflowId {
        self.context.workflow_id()
    }

    /// Gives the child's run.
    pub fn run_id(&self) -> RunId {
        self.context.run_id()
    }

    /// Gives which run of the child's retry policy it is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Gives the time of the engine's clock.
    pub fn now(&self) -> SystemTime {
        self.context.now()
    }

    /// Waits for a time of the engine's clock, as the child's code would: a request to cancel the child ends the wait.
    ///
    /// # Errors
    /// [`WorkflowError::Cancelled`] when the child is asked to cancel; returned, it closes the child as cancelled.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn sleep(&self, duration: Duration) -> Result<(), WorkflowError> {
        tokio::select! {
            biased;
            () = self.context.cancelled() => Err(WorkflowError::Cancelled),
            () = self.context.sleep(duration) => Ok(()),
        }
    }

    /// Waits until the child is asked to cancel.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn cancelled(&self) {
        self.context.cancelled().await;
    }

    /// Tells whether the child was asked to cancel.
    pub fn is_cancelled(&self) -> bool {
        self.context.is_cancelled()
    }
}

type Answer = dyn Fn(FakeChild, &Payload) -> BoxFuture<'static, Result<Payload, WorkflowError>> + Send + Sync;

/// The fakes of a test, with every child that was asked for.
#[derive(Default)]
pub(super) struct Children {
    answers: BTreeMap<&'static str, Arc<Answer>>,
    asked: Mutex<BTreeMap<WorkflowType, Vec<Payload>>>,
}

impl std::fmt::Debug for Children {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Children").field("types", &self.answers.keys()).finish_non_exhaustive()
    }
}

impl Children {
    /// Answers a workflow by a function, in place of an earlier one.
    pub(super) fn add<Marker, W, F, R>(&mut self, workflow: &W, answer: F)
    where
        W: NamedWorkflow<Marker>,
        W::Input: Send,
        W::Output: Send,
        F: Fn(FakeChild, W::Input) -> R + Send + Sync + 'static,
        R: Future<Output = Result<W::Output, WorkflowError>> + Send + 'static,
    {
        let name = workflow.name();
        let answer: Arc<Answer> = Arc::new(move |child, input: &Payload| {
            let answered = input.decode(&format!("input of workflow `{name}`")).map(|input| answer(child, input));
            Box::pin(async move {
                let value = answered?.await?;
                Ok(encode_result::<W::Output>(name, &value)?)
            })
        });
        self.answers.insert(name, answer);
    }

    /// Puts the runs of fakes in the place of workflows, and beside those that there are.
    pub(super) fn register(&self, table: &mut WorkflowTable) {
        for name in self.answers.keys() {
            table.add_fake(name, Arc::new(run_fake));
        }
    }

    /// The inputs of the children of a type that were asked for, in the order of their starts.
    pub(super) fn inputs(&self, workflow_type: &str) -> Vec<Payload> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get(&WorkflowType::new(workflow_type)).cloned().unwrap_or_default()
    }

    /// Whether an activity is the one that fakes call.
    pub(super) fn is_fake(activity_type: &ActivityType) -> bool {
        activity_type.as_str() == FAKE_CHILD.name()
    }

    /// The activity that fakes call, where there are any.
    pub(super) fn activity_type(&self) -> Option<ActivityType> {
        (!self.answers.is_empty()).then(|| ActivityType::new(FAKE_CHILD.name()))
    }

    /// Runs the function for a run.
    pub(super) fn run(&self, task: Arc<ActivityTask>, control: ActivityControl) -> ActivityFuture {
        let failed = |error: PayloadError| Box::pin(std::future::ready(ActivityResult::Failed(never_again(&error))));
        let start: FakeStart = match task.input.decode("start of a fake") {
            Ok(start) => start,
            Err(error) => return failed(error),
        };
        if start.attempt == 1 {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.entry(task.workflow_type.clone()).or_default().push(start.input.clone());
        }
        let Some(answer) = self.answers.get(task.workflow_type.as_str()) else {
            let message = format!("the test has no fake for workflow `{}`", task.workflow_type);
            let failure = Failure { non_retryable: true, ..Failure::application("NoFake", message) };
            return Box::pin(std::future::ready(ActivityResult::Failed(failure)));
        };
        let child = FakeChild { context: ActivityContext::new(task, control), attempt: start.attempt };
        let answered = answer(child, &start.input);
        Box::pin(async move {
            match Payload::encode("end of a fake", &FakeEnd::from(answered.await)) {
                Ok(end) => ActivityResult::Completed(end),
                Err(error) => ActivityResult::Failed(never_again(&error)),
            }
        })
    }
}

/// The code of every fake's run.
fn run_fake(context: WorkflowContext, input: &Payload) -> Result<WorkflowFuture, PayloadError> {
    let start = FakeStart { attempt: context.info().attempt(), input: input.clone() };
    Ok(Box::pin(async move {
        // The function hears of a request to cancel, and what it says then is how the run ends.
        let call = context
            .activity(FAKE_CHILD, start)
            .retry(RetryPolicy::attempts(1))
            .cancellation(CancellationType::WaitCancellationCompleted);
        Ok(match call.await {
            Ok(end) => end.into_result(),
            Err(failure) => Err(failure.into()),
        })
    }))
}

fn encode_result<O: Data>(name: &str, value: &O) -> Result<Payload, PayloadError> {
    Payload::encode(&format!("result of workflow `{name}`"), value)
}

fn never_again(error: &PayloadError) -> Failure {
    Failure { non_retryable: true, ..Failure::application("PayloadError", error.to_string()) }
}
