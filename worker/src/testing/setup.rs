//! Setting a test environment up: what runs in it, what is faked, and where.

use std::{future::Future, sync::Arc, time::Duration};

use dacapo_core::{Namespace, Payload, TaskQueue, payload::PayloadError};
use dacapo_runtime::{Engine, VirtualTime, WorkerOptions, WorkerProcess, WorkerState};
use uuid::Uuid;

use super::{
    activities::{Calls, TestActivities},
    children::{Children, FakeChild},
    driver::Driver,
    env::TestEnv,
    schedule::Schedule,
};
use crate::{
    ActivityContext, ActivityError, WorkflowError,
    client::Client,
    define::{ActivitiesHost, ActivityTable, Attempt, NamedActivity, NamedWorkflow, WorkflowFn},
    registry::Registry,
    worker::DEFAULT_TASK_QUEUE,
};

/// The lease of a worker in virtual time: nobody is there to take over, and time moves in leaps.
const LEASE: Duration = Duration::from_secs(1_000 * 365 * 24 * 3_600);

/// The activities that run at once in virtual time, so that none waits for others that wait for the clock.
const CONCURRENT_ACTIVITIES: usize = 100_000;

/// The real time that one wait of a test may take before it fails with what the run waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A test environment that is being set up.
#[derive(Debug)]
#[must_use = "a test environment does nothing until it is started"]
pub struct TestSetup {
    real: Option<Engine>,
    registry: Registry,
    fakes: ActivityTable,
    children: Children,
    queues: Vec<TaskQueue>,
    by_hand: bool,
    patience: Duration,
}

impl TestSetup {
    pub(super) fn new(real: Option<Engine>) -> Self {
        Self {
            real,
            registry: Registry::new(),
            fakes: ActivityTable::default(),
            children: Children::default(),
            queues: vec![TaskQueue::new(DEFAULT_TASK_QUEUE)],
            by_hand: false,
            patience: PATIENCE,
        }
    }

    /// Serves a workflow: a function with `#[workflow]`.
    pub fn workflow<Marker, W: WorkflowFn<Marker>>(mut self, workflow: W) -> Self {
        self.registry = self.registry.workflow(workflow);
        self
    }

    /// Serves all activities of a host, as they are.
    pub fn activities(mut self, host: impl ActivitiesHost) -> Self {
        self.registry = self.registry.activities(host);
        self
    }

    /// Serves what a registry holds, in place of the workflows and activities said before; fakes stay.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Answers an activity by a function of its input, whether or not its host is there.
    ///
    /// ```
    /// # extern crate dacapo_worker as dacapo;
    /// # use dacapo::{ActivityError, define::Activity, testing::TestEnv};
    /// # const CHARGE: Activity<u64, String> = Activity::new("charge");
    /// let setup = TestEnv::in_memory().fake(CHARGE, |cents| match cents {
    ///     0 => Err(ActivityError::new("NothingToCharge", "the amount is 0").non_retryable()),
    ///     cents => Ok(format!("charged {cents}")),
    /// });
    /// ```
    pub fn fake<Marker, A, F>(self, activity: A, fake: F) -> Self
    where
        A: NamedActivity<Marker>,
        A::Input: Send,
        A::Output: Send,
        F: Fn(A::Input) -> Result<A::Output, ActivityError> + Send + Sync + 'static,
    {
        self.fake_with(activity, move |_, input| fake(input))
    }

    /// Answers an activity by a function of the attempt and the input: which attempt it is, heartbeats and the like are
    /// in the context.
    ///
    /// ```
    /// # extern crate dacapo_worker as dacapo;
    /// # use dacapo::{ActivityError, define::Activity, testing::TestEnv};
    /// # const CHARGE: Activity<u64, String> = Activity::new("charge");
    /// let setup = TestEnv::in_memory().fake_with(CHARGE, |ctx, cents| match ctx.attempt() {
    ///     1..=2 => Err(ActivityError::new("Unavailable", "the bank is closed")),
    ///     _ => Ok(format!("charged {cents}")),
    /// });
    /// ```
    pub fn fake_with<Marker, A, F>(self, activity: A, fake: F) -> Self
    where
        A: NamedActivity<Marker>,
        A::Input: Send,
        A::Output: Send,
        F: Fn(&ActivityContext, A::Input) -> Result<A::Output, ActivityError> + Send + Sync + 'static,
    {
        self.fake_async(activity, move |ctx, input| std::future::ready(fake(&ctx, input)))
    }

    /// Answers an activity by an async function of the attempt and the input, which may wait for the engine's clock
    /// with [`ActivityContext::sleep`]: for `Duration::MAX`, and the attempt never comes back.
    pub fn fake_async<Marker, A, F, R>(mut self, activity: A, fake: F) -> Self
    where
        A: NamedActivity<Marker>,
        A::Input: Send,
        A::Output: Send,
        F: Fn(ActivityContext, A::Input) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A::Output, ActivityError>> + Send + 'static,
    {
        let meta = activity.meta();
        let name = meta.name;
        let attempt: Arc<Attempt> = Arc::new(move |ctx, input: &Payload| {
            let answer = input.decode(&format!("input of activity `{name}`")).map(|input| fake(ctx, input));
            Box::pin(async move {
                let never_again = |error: PayloadError| ActivityError::from(error).non_retryable();
                let output = answer.map_err(never_again)?.await?;
                Payload::encode(&format!("result of activity `{name}`"), &output).map_err(never_again)
            })
        });
        self.fakes.add_fake(meta, attempt);
        self
    }

    /// Answers a child workflow by a function of its input, whether or not its code is there.
    ///
    /// ```
    /// # extern crate dacapo_worker as dacapo;
    /// # use dacapo::{WorkflowError, define::Workflow, testing::TestEnv};
    /// # const SHIP: Workflow<String, u64> = Workflow::new("ship");
    /// let setup = TestEnv::in_memory().fake_child(SHIP, |parcel| match parcel.as_str() {
    ///     "" => Err(WorkflowError::failed("NothingToShip", "the parcel is empty")),
    ///     parcel => Ok(parcel.len() as u64),
    /// });
    /// ```
    pub fn fake_child<Marker, W, F>(self, workflow: W, fake: F) -> Self
    where
        W: NamedWorkflow<Marker>,
        W::Input: Send,
        W::Output: Send,
        F: Fn(W::Input) -> Result<W::Output, WorkflowError> + Send + Sync + 'static,
    {
        self.fake_child_async(workflow, move |_, input| std::future::ready(fake(input)))
    }

    /// Answers a child workflow by an async function of what the fake has in its hands and of its input.
    ///
    /// The child is a run like any other: it has its workflow id, its policies and its history, and whoever starts a run
    /// of its type starts the fake. The function is called once for each run. [`FakeChild::sleep`] waits for the engine's
    /// clock and ends when the child is asked to cancel; for `Duration::MAX`, and the child never ends by itself.
    pub fn fake_child_async<Marker, W, F, R>(mut self, workflow: W, fake: F) -> Self
    where
        W: NamedWorkflow<Marker>,
        W::Input: Send,
        W::Output: Send,
        F: Fn(FakeChild, W::Input) -> R + Send + Sync + 'static,
        R: Future<Output = Result<W::Output, WorkflowError>> + Send + 'static,
    {
        self.children.add(&workflow, fake);
        self
    }

    /// Serves another task queue than [`DEFAULT_TASK_QUEUE`] as well.
    pub fn task_queue(mut self, queue: impl Into<TaskQueue>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// Lets time move by [`TestEnv::advance`] and [`TestEnv::sleep`] only, and not because a result is awaited.
    pub fn time_by_hand(mut self) -> Self {
        self.by_hand = true;
        self
    }

    /// Sets the real time that one wait may take before it fails with what the run waits for; 60 s when not said.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When a name is registered twice or cannot be stored, or the worker cannot start.
    #[track_caller]
    pub fn start(self) -> impl Future<Output = TestEnv> {
        let at = std::panic::Location::caller();
        async move { self.run().await.unwrap_or_else(|problem| panic!("the test environment at {at}: {problem}")) }
    }

    async fn run(self) -> Result<TestEnv, String> {
        let (engine, time) = match self.real {
            Some(engine) => (engine, None),
            None => {
                let (engine, time) = Engine::in_virtual_time();
                (engine, Some(time))
            }
        };
        // On a database that others use, a namespace of its own keeps tests apart.
        let namespace = match time {
            Some(_) => Namespace::default_namespace(),
            None => Namespace::new(format!("test-{}", Uuid::now_v7().simple())),
        };
        let children = Arc::new(self.children);
        let registry = self.registry.with_fakes(self.fakes, |workflows| children.register(workflows));
        let (factory, runner) = registry.parts().map_err(|error| error.to_string())?;
        let calls = Arc::new(Calls::default());
        let runner = Arc::new(TestActivities { runner, calls: Arc::clone(&calls), children: Arc::clone(&children) });
        let options = options(namespace.clone(), self.queues, time.as_ref());
        let process = WorkerProcess::start(&engine, options, factory, runner).map_err(|error| error.to_string())?;
        let mut state = process.state();
        let _ = state.wait_for(|state| matches!(state, WorkerState::Serving | WorkerState::Stopped)).await;
        let client = Client::new(&engine).namespace(namespace);
        let schedule = Arc::new(Schedule::default());
        let driver = time.map(|time| {
            let untyped = client.untyped().clone();
            Driver::start(time, untyped, Arc::clone(&schedule), self.by_hand, self.patience)
        });
        Ok(TestEnv::new(engine, client, process, registry, (calls, children), schedule, driver, self.patience))
    }
}

fn options(namespace: Namespace, queues: Vec<TaskQueue>, time: Option<&VirtualTime>) -> WorkerOptions {
    let options = WorkerOptions { namespace, queues, identity: "test".to_owned(), ..WorkerOptions::default() };
    if time.is_none() {
        return options;
    }
    WorkerOptions {
        lease: LEASE,
        concurrent_activities: CONCURRENT_ACTIVITIES,
        // One thread: runs that have something to do at the same moment do it in the same order every time.
        workflow_threads: 1,
        drain_timeout: Duration::ZERO,
        ..options
    }
}
