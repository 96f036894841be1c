//! A test environment that runs: what a test does with it.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dacapo_core::Payload;
use dacapo_runtime::{Engine, WorkerProcess};
use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::{
    activities::Calls,
    checks::{Checked, check, report},
    children::Children,
    driver::Driver,
    schedule::{Action, Schedule},
    setup::TestSetup,
};
use crate::{
    client::{Client, Start, WorkflowHandle},
    define::{Data, NamedActivity, NamedWorkflow, Signal},
    registry::Registry,
};

/// The longest wait of a test in real time; a longer one wants virtual time.
const REAL_WAIT_MAX: Duration = Duration::from_secs(30);

/// The time between two looks at a condition in real time.
const REAL_LOOK: Duration = Duration::from_millis(10);

/// An engine of a test, with its worker and its client: in memory with virtual time, or on a real store.
///
/// When the test is over every history is replayed, from scratch and at every prefix, and a difference is a panic. In
/// memory that cannot be forgotten: [`TestEnv::finish`] does it, and so does dropping the environment, also where `?`
/// leaves the test. On a database reading takes an `await`, so dropping without `finish` is a panic by itself. A test
/// that panics is not checked further.
#[derive(Debug)]
pub struct TestEnv {
    engine: Engine,
    client: Client,
    process: Option<WorkerProcess>,
    registry: Registry,
    calls: Arc<Calls>,
    children: Arc<Children>,
    schedule: Arc<Schedule>,
    driver: Option<Driver>,
    /// Actions that wait for real time.
    later: Mutex<JoinSet<()>>,
    patience: Duration,
    checked: bool,
}

impl TestEnv {
    /// Sets up an engine in memory whose time moves by itself whenever nothing else can happen.
    pub fn in_memory() -> TestSetup {
        TestSetup::new(None)
    }

    /// Sets up the same on an engine with another store, such as a Postgres: in real time, in a namespace of its own.
    pub fn on(engine: &Engine) -> TestSetup {
        TestSetup::new(Some(engine.clone()))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of the environment, each used once")]
    pub(super) fn new(
        engine: Engine,
        client: Client,
        process: WorkerProcess,
        registry: Registry,
        (calls, children): (Arc<Calls>, Arc<Children>),
        schedule: Arc<Schedule>,
        driver: Option<Driver>,
        patience: Duration,
    ) -> Self {
        let (process, later) = (Some(process), Mutex::default());
        Self { engine, client, process, registry, calls, children, schedule, driver, later, patience, checked: false }
    }

    /// Starts a workflow, as [`Client::start`] does: options follow as calls, awaiting it gives the handle.
    pub fn start<Marker, W: NamedWorkflow<Marker>>(&self, workflow: W, input: W::Input) -> Start<W::Output> {
        self.client.start(workflow, input)
    }

    /// Gives the client, for everything else that one can do.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Gives the engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Tells whether time is virtual, so that a test may wait for days.
    pub fn has_virtual_time(&self) -> bool {
        self.driver.is_some()
    }

    /// Gives the engine's time; in memory a test begins at 2020-01-01T00:00:00Z.
    pub fn now(&self) -> SystemTime {
        match &self.driver {
            Some(driver) => UNIX_EPOCH + Duration::from_micros(u64::try_from(driver.time.now().0).unwrap_or(0)),
            None => SystemTime::now(),
        }
    }

    /// Waits for a time of the engine's clock, with everything done that is due until then.
    ///
    /// # Panics
    /// In real time, when it is longer than 30 s: such a test wants virtual time.
    pub async fn sleep(&self, duration: Duration) {
        let Some(driver) = &self.driver else {
            refuse_long(duration);
            return tokio::time::sleep(duration).await;
        };
        let woken = self.schedule.sleep(driver.time.now().plus(duration));
        driver.time.stir();
        // It ends with the driver, which ends with the environment.
        let _ = woken.await;
    }

    /// Moves virtual time on, with everything done on the way that is due.
    ///
    /// # Panics
    /// In real time, which nobody can move.
    pub async fn advance(&self, duration: Duration) {
        assert!(self.has_virtual_time(), "real time cannot be moved: use `TestEnv::in_memory()`, or `env.sleep(…)`");
        self.sleep(duration).await;
    }

    /// Waits until a condition holds: looks whenever nothing can happen any more at this moment, and lets time move on
    /// between two looks.
    ///
    /// ```
    /// # extern crate dacapo_worker as dacapo;
    /// # use dacapo::{WorkflowHandle, define::Query, testing::TestEnv};
    /// # const STAGE: Query<String> = Query::new("stage");
    /// # async fn example(env: TestEnv, run: WorkflowHandle<()>) {
    /// env.until(async || run.query(&STAGE).await.is_ok_and(|stage| stage == "packed")).await;
    /// # }
    /// ```
    ///
    /// # Panics
    /// When it does not hold and nothing is due any more; in real time, when it takes longer than the patience.
    #[track_caller]
    pub fn until(&self, condition: impl AsyncFn() -> bool) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let mut step = false;
            let began = std::time::Instant::now();
            loop {
                let may_change = match &self.driver {
                    Some(driver) => {
                        let told = self.schedule.look(step);
                        driver.time.stir();
                        told.await.unwrap_or(false)
                    }
                    None => began.elapsed() < self.patience,
                };
                if condition().await {
                    return;
                }
                assert!(
                    may_change && began.elapsed() < self.patience,
                    "the condition at {at} does not hold, and nothing that can still happen changes it"
                );
                step = true;
                if self.driver.is_none() {
                    tokio::time::sleep(REAL_LOOK).await;
                }
            }
        }
    }

    /// Plans something for a time from now; in real time at most 30 s from now.
    ///
    /// ```
    /// # extern crate dacapo_worker as dacapo;
    /// # use std::time::Duration;
    /// # use dacapo::{WorkflowHandle, define::Signal, testing::TestEnv};
    /// # const APPROVE: Signal<String> = Signal::new("approve");
    /// # const DAY: Duration = Duration::from_secs(24 * 3600);
    /// # fn example(env: &TestEnv, run: WorkflowHandle<()>) {
    /// env.at(2 * DAY).signal(&run, &APPROVE, "ada".to_owned());
    /// env.at(3 * DAY).cancel(&run, "too late");
    /// # }
    /// ```
    #[must_use = "nothing is planned yet"]
    pub fn at(&self, after: Duration) -> At<'_> {
        At { env: self, after }
    }

    /// Gives the inputs with which an activity was called, in the order of the calls; further attempts are no calls.
    ///
    /// # Panics
    /// When an input is not of the activity's type.
    pub fn calls<Marker, A: NamedActivity<Marker>>(&self, activity: A) -> Vec<A::Input> {
        let name = activity.meta().name;
        let decode = |input: Payload| match input.decode(&format!("input of activity `{name}`")) {
            Ok(input) => input,
            Err(error) => panic!("{error}"),
        };
        self.calls.inputs(name).into_iter().map(decode).collect()
    }

    /// Gives the inputs with which fakes of a workflow were started, in the order of their starts; the runs that follow by
    /// a child's retry policy do not count.
    ///
    /// # Panics
    /// When an input is not of the workflow's type.
    pub fn child_calls<Marker, W: NamedWorkflow<Marker>>(&self, workflow: W) -> Vec<W::Input> {
        let name = workflow.name();
        let decode = |input: Payload| match input.decode(&format!("input of workflow `{name}`")) {
            Ok(input) => input,
            Err(error) => panic!("{error}"),
        };
        self.children.inputs(name).into_iter().map(decode).collect()
    }

    /// Counts the attempts of all calls of an activity.
    pub fn attempts<Marker, A: NamedActivity<Marker>>(&self, activity: A) -> usize {
        self.calls.attempts(activity.meta().name)
    }

    /// Ends the test: replays every history, stops the worker, and says what was checked.
    ///
    /// # Panics
    /// When a history does not replay, a workflow task fails and nobody was told, or something that was planned could
    /// not be done.
    pub async fn finish(mut self) -> Checked {
        self.checked = true;
        let checked = check(&self.client, &self.registry, &self.schedule).await;
        let problems = self.schedule.take_problems();
        self.driver = None;
        self.later.get_mut().unwrap_or_else(PoisonError::into_inner).abort_all();
        if let Some(process) = self.process.take() {
            process.stop();
            if let Err(error) = process.stopped().await {
                panic!("the worker of the test did not stop well: {error}");
            }
        }
        report(checked, problems)
    }

    fn plan(&self, after: Duration, action: Action) {
        let Some(driver) = &self.driver else {
            refuse_long(after);
            let schedule = Arc::clone(&self.schedule);
            let acting = async move {
                tokio::time::sleep(after).await;
                if let Err(problem) = action.await {
                    schedule.note(problem);
                }
            };
            self.later.lock().unwrap_or_else(PoisonError::into_inner).spawn(acting);
            return;
        };
        self.schedule.act(driver.time.now().plus(after), action);
        driver.time.stir();
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        if self.checked || std::thread::panicking() {
            return;
        }
        if let Some(process) = &self.process {
            process.stop();
        }
        // In memory every read is answered at once.
        let checked =
            self.driver.is_some().then(|| check(&self.client, &self.registry, &self.schedule).now_or_never()).flatten();
        let Some(checked) = checked else {
            panic!("a test on a database ends with `env.finish().await`, which replays what ran");
        };
        report(checked, self.schedule.take_problems());
    }
}

#[track_caller]
fn refuse_long(duration: Duration) {
    assert!(
        duration <= REAL_WAIT_MAX,
        "{duration:?} are too long for a test in real time: use `TestEnv::in_memory()`, or ask `env.has_virtual_time()`"
    );
}

/// A moment for which a test plans something.
#[derive(Debug)]
pub struct At<'a> {
    env: &'a TestEnv,
    after: Duration,
}

impl At<'_> {
    /// Sends a signal then. That it could not be sent fails the test at its end.
    ///
    /// # Panics
    /// When the value cannot be stored.
    pub fn signal<R, T: Data>(self, run: &WorkflowHandle<R>, signal: &Signal<T>, value: T) {
        let name = signal.name();
        let input = match Payload::encode(&format!("input of signal `{name}`"), &value) {
            Ok(input) => input,
            Err(error) => panic!("{error}"),
        };
        let (client, execution) = run.address();
        let (client, execution) = (client.clone(), execution.clone());
        self.act(async move {
            let sent = client.signal(&execution, name, input).await;
            sent.map_err(|error| format!("the planned signal `{name}` could not be sent: {error}"))
        });
    }

    /// Asks a run to cancel itself then. That it could not be asked fails the test at its end.
    pub fn cancel<R>(self, run: &WorkflowHandle<R>, reason: &str) {
        let (client, execution) = run.address();
        let (client, execution, reason) = (client.clone(), execution.clone(), reason.to_owned());
        self.act(async move {
            let asked = client.cancel(&execution, &reason).await;
            asked.map_err(|error| format!("the planned request to cancel could not be sent: {error}"))
        });
    }

    /// Runs anything then; time stands still until it has ended.
    pub fn run(self, action: impl Future<Output = ()> + Send + 'static) {
        self.act(action.map(Ok));
    }

    fn act(self, action: impl Future<Output = Result<(), String>> + Send + 'static) {
        self.env.plan(self.after, action.boxed());
    }
}
