//! Moves virtual time: as soon as the test waits for something and nothing else can happen, to the next moment at which
//! something is due. A wait that nothing can end is ended with what the run waits for.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use dacapo_core::{EventKind, RunKey, Store};
use dacapo_runtime::{Client, VirtualTime, WorkflowExecution};

use super::schedule::Schedule;
use crate::replayer::time;

/// The real time that a test has for doing something else before a wait is believed to have no end.
const GRACE: Duration = Duration::from_secs(1);

/// The task that moves the time of a test; it ends with the value.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) time: VirtualTime,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Driver {
    pub(super) fn start(
        time: VirtualTime,
        client: Client,
        schedule: Arc<Schedule>,
        by_hand: bool,
        patience: Duration,
    ) -> Self {
        let driving = Driving { time: time.clone(), client, schedule, by_hand, patience, awaited: HashMap::new() };
        Self { time, task: tokio::spawn(driving.drive()) }
    }
}

struct Driving {
    time: VirtualTime,
    client: Client,
    schedule: Arc<Schedule>,
    by_hand: bool,
    patience: Duration,
    /// Since when the end of each run is awaited, in real time.
    awaited: HashMap<RunKey, Instant>,
}

/// What a step of the driver led to.
enum Step {
    /// Something was done; the engine may have something to do.
    Done,
    /// Nobody waits for time to pass.
    Unwanted,
    /// There is no moment to move to.
    Nowhere,
}

impl Driving {
    async fn drive(mut self) {
        loop {
            if tokio::time::timeout(self.patience, self.time.at_rest()).await.is_err() {
                let problem = format!("something has run for {:?} of real time without an end", self.patience);
                self.give_up(&problem).await;
                continue;
            }
            match self.step().await {
                // Whoever was woken has the next word.
                Step::Done => tokio::task::yield_now().await,
                Step::Unwanted => self.time.stirred().await,
                Step::Nowhere => {
                    if tokio::time::timeout(GRACE, self.time.stirred()).await.is_err() {
                        self.give_up(self.no_end()).await;
                    }
                }
            }
        }
    }

    async fn step(&mut self) -> Step {
        let now = self.time.now();
        let asked = self.schedule.asked();
        let awaited = self.time.awaited();
        // Since the engine was found at rest the test may have sent something and begun to wait for it: on several
        // threads nothing stops it. This look sees whatever came before the waits above; later ones are the next step's.
        if !self.time.is_at_rest() {
            return Step::Done;
        }
        if let Some(action) = self.schedule.due_action(now, asked) {
            if let Err(problem) = action.await {
                self.schedule.note(problem);
            }
            return Step::Done;
        }
        if self.schedule.wake(now, asked) || self.schedule.tell(asked) {
            return Step::Done;
        }
        if self.give_up_hopeless(&awaited).await {
            return Step::Done;
        }
        let waits = !self.awaited.is_empty() || self.schedule.wants_step(asked);
        if !self.schedule.is_sleeping(asked) && (self.by_hand || !waits) {
            return if waits { Step::Nowhere } else { Step::Unwanted };
        }
        let next = self.time.next_due_at().into_iter().chain(self.schedule.next_at()).min();
        let Some(next) = next else { return Step::Nowhere };
        self.time.advance_to(next);
        self.schedule.moved();
        Step::Done
    }

    fn no_end(&self) -> &'static str {
        if self.by_hand {
            "time stands still until `env.advance(…)` moves it"
        } else {
            "nothing that can still happen ends the wait"
        }
    }

    /// Ends the waits for runs whose workflow task fails, and those that have taken too long in real time.
    async fn give_up_hopeless(&mut self, awaited: &[RunKey]) -> bool {
        self.awaited.retain(|run, _| awaited.contains(run));
        for run in awaited {
            self.awaited.entry(*run).or_insert_with(Instant::now);
        }
        let failing: Vec<RunKey> = self.time.failing().into_iter().filter(|run| awaited.contains(run)).collect();
        for run in &failing {
            self.schedule.told(*run);
            self.give_up_one(*run, "its workflow task fails, and would be tried again for ever").await;
        }
        let late: Vec<RunKey> =
            self.awaited.iter().filter(|(_, since)| since.elapsed() > self.patience).map(|(run, _)| *run).collect();
        for run in &late {
            let problem = format!("it is still open after {:?} of real time, while time moved on", self.patience);
            self.give_up_one(*run, &problem).await;
        }
        !failing.is_empty() || !late.is_empty()
    }

    async fn give_up(&mut self, problem: &str) {
        for run in self.time.awaited() {
            self.give_up_one(run, problem).await;
        }
        self.schedule.give_up();
    }

    async fn give_up_one(&mut self, run: RunKey, problem: &str) {
        self.awaited.remove(&run);
        let problem = format!("{}: {problem}{}", self.name(run).await, self.reasons(run).await);
        self.time.give_up(run, &problem);
    }

    async fn name(&self, run: RunKey) -> String {
        match self.execution(run).await {
            Some(execution) => format!("workflow `{}`", execution.workflow_id),
            None => format!("run {}", run.run_id),
        }
    }

    async fn execution(&self, run: RunKey) -> Option<WorkflowExecution> {
        let transition = self.time.store().history(run, 1, 1).await.ok()?.pop()?;
        match &transition.events.first()?.event {
            EventKind::WorkflowExecutionStarted(started) => {
                Some(WorkflowExecution::run(started.workflow_id.clone(), run.run_id))
            }
            _ => None,
        }
    }

    /// Says what a run waits for, one reason a line.
    async fn reasons(&self, run: RunKey) -> String {
        let Some(execution) = self.execution(run).await else { return String::new() };
        let Ok(description) = self.client.describe(&execution).await else { return String::new() };
        let reasons = description.reasons.iter().map(|reason| format!("\n  {}", reason.sentence(&time::write)));
        format!("; at {} {}", time::write(self.time.now()), reasons.collect::<String>().trim_start())
    }
}

#[cfg(test)]
mod tests {
    use dacapo_runtime::{Engine, WorkerState};
    use futures_util::poll;

    use super::*;
    use crate::{Worker, WorkflowContext, WorkflowError, define::Signal, select, workflow};

    const HOUR: Duration = Duration::from_secs(3_600);
    const STOP: Signal<()> = Signal::new("stop");

    #[workflow(crate = "crate")]
    async fn stops_within_an_hour(ctx: WorkflowContext) -> Result<bool, WorkflowError> {
        select! {
            stop = ctx.receive(&STOP) => stop.map(|()| true),
            slept = ctx.sleep(HOUR) => slept.map(|()| false),
        }
    }

    /// On several threads the test goes on between the last look at the engine and the step.
    #[tokio::test]
    async fn what_was_sent_before_a_wait_comes_before_time_moves_for_it() {
        let (engine, time) = Engine::in_virtual_time();
        let worker = Worker::new(&engine).workflow(stops_within_an_hour).start().unwrap();
        worker.state().wait_for(|state| *state == WorkerState::Serving).await.unwrap();
        let client = crate::Client::new(&engine);
        let schedule = Arc::new(Schedule::default());
        let mut driving = Driving {
            time: time.clone(),
            client: client.untyped().clone(),
            schedule: Arc::clone(&schedule),
            by_hand: false,
            patience: Duration::from_secs(60),
            awaited: HashMap::new(),
        };
        let run = client.start(stops_within_an_hour, ()).await.unwrap();
        let began = time.now();

        time.at_rest().await;
        run.signal(&STOP, ()).await.unwrap();
        let mut result = std::pin::pin!(run.result());
        assert!(poll!(result.as_mut()).is_pending());
        assert!(matches!(driving.step().await, Step::Done));
        assert_eq!(time.now(), began, "the signal is still on its way");
        let (slept, looked) = (schedule.sleep(began), schedule.look(false));
        assert!(matches!(driving.step().await, Step::Done));
        assert!(poll!(slept).is_pending() && poll!(looked).is_pending(), "there is something to do at this moment");

        let _driver = Driver { time: time.clone(), task: tokio::spawn(driving.drive()) };
        assert!(result.await.unwrap());
        assert_eq!(time.now(), began);
    }
}
