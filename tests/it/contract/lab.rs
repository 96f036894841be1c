//! What every case of the contract works with: a store, time that passes, and owners that make steps.

use std::{sync::Arc, time::Duration};

use dacapo_core::{
    ActivityOptions, ActivityOutcome, ActivityResult, Command, IdConflictPolicy, Message, MessageBody, MessageId,
    Namespace, Payload, Run, RunId, RunKey, StartWorkflow, Store, Timestamp, Transition, WorkerId,
    apply::Turn,
    store::{
        ActivityClaim, BeatInterest, ClaimedActivity, ClaimedRuns, HintReceiver, LoadedRun, ReleaseOutcome, ReleaseRun,
        Reply, RunClaim, RunDescription, RunWrite, SendMessage, SendOutcome, StartOutcome, StartWrite, StoreResult,
        WorkerRegistration, WriteOutcome,
    },
};
use dacapo_runtime::MemoryStore;
pub(crate) use futures_util::future::join_all;
use tokio::sync::oneshot;
use uuid::Uuid;

/// The queue of every case that does not care.
pub(crate) const QUEUE: &str = "queue";

/// A lease that no case outlives.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// A store of one case's own, and its clock.
pub(crate) struct Lab {
    pub(crate) store: Arc<dyn Store>,
    /// The clock to move, where there is one.
    clock: Option<Arc<MemoryStore>>,
}

impl Lab {
    /// A lab in memory, whose time stands still between the calls of [`Lab::pass`].
    pub(crate) fn memory() -> Self {
        let store = Arc::new(MemoryStore::with_manual_clock());
        Self { clock: Some(Arc::clone(&store)), store }
    }

    /// A lab on a store that goes by a real clock.
    pub(crate) fn real(store: Arc<dyn Store>) -> Self {
        Self { store, clock: None }
    }

    /// Lets time pass: the manual clock is moved, a real one is waited for.
    pub(crate) async fn pass(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(time),
            None => tokio::time::sleep(time).await,
        }
    }

    pub(crate) async fn now(&self) -> Timestamp {
        self.store.clock().await.unwrap().0
    }

    /// A worker that lives as long as the case and serves [`QUEUE`].
    pub(crate) async fn worker(&self) -> WorkerId {
        self.worker_for(LONG).await
    }

    /// A worker with a lease of its own.
    pub(crate) async fn worker_for(&self, lease: Duration) -> WorkerId {
        let registration = WorkerRegistration { lease, ..registration() };
        self.store.register(&registration).await.unwrap();
        registration.worker
    }

    pub(crate) async fn start(&self, request: StartWorkflow) -> StoreResult<StartOutcome> {
        self.start_with(request, None, |_| ()).await
    }

    /// Starts a run with its first step, owned by a worker if one is given.
    pub(crate) async fn start_with(
        &self,
        request: StartWorkflow,
        owner: Option<WorkerId>,
        step: impl FnOnce(&mut Turn<'_>),
    ) -> StoreResult<StartOutcome> {
        let now = self.now().await;
        let (transition, _) = begin(&request, now, step);
        let ready_at = now.plus_ms(request.start_delay_ms.unwrap_or(0));
        self.put_start(StartWrite { request, transition, owner, ready_at }).await
    }

    pub(crate) async fn put_start(&self, start: StartWrite) -> StoreResult<StartOutcome> {
        let (reply, answer) = reply();
        self.store.start(start, reply);
        answer.await.unwrap()
    }

    /// Starts a run that nobody owns.
    pub(crate) async fn open(&self, id: &str) -> RunKey {
        let request = request(id);
        let key = request.key();
        assert_eq!(self.start(request).await.unwrap(), StartOutcome::Started);
        key
    }

    pub(crate) async fn put(&self, write: RunWrite) -> WriteOutcome {
        let (reply, answer) = reply();
        self.store.write(write, reply);
        answer.await.unwrap()
    }

    pub(crate) async fn send(&self, run: RunKey, message: Message) -> SendOutcome {
        let (reply, answer) = reply();
        self.store.send(SendMessage { run, message }, reply);
        answer.await.unwrap().unwrap()
    }

    pub(crate) async fn claim(&self, worker: WorkerId) -> ClaimedRuns {
        self.store.claim_runs(worker, &claim(100)).await.unwrap()
    }

    pub(crate) async fn claim_activities(&self, worker: WorkerId) -> Vec<ClaimedActivity> {
        self.store.claim_activities(worker, &activity_claim(100)).await.unwrap()
    }

    pub(crate) async fn load(&self, run: RunKey) -> LoadedRun {
        self.store.load(&[run]).await.unwrap().pop().expect("the run is open")
    }

    pub(crate) async fn describe(&self, run: RunKey) -> RunDescription {
        self.store.describe(run).await.unwrap().expect("the run exists")
    }

    pub(crate) async fn event_names(&self, run: RunKey) -> Vec<&'static str> {
        let stored = self.store.history(run, 1, 1_000).await.unwrap();
        stored.iter().flat_map(|it| &it.events).map(|event| event.event.name()).collect()
    }

    /// Takes over everything of a worker that has left.
    pub(crate) async fn take_over(&self, dead: WorkerId) {
        while self.store.take_over(dead, 100).await.unwrap() > 0 {}
    }

    /// Waits for a hint that says what is looked for, or that anything may have happened.
    pub(crate) async fn await_hint(
        &self,
        hints: &mut HintReceiver,
        wanted: impl Fn(&dacapo_core::store::Hint) -> bool,
    ) {
        let heard = async {
            loop {
                let hint = hints.next().await;
                if wanted(&hint) || hint == dacapo_core::store::Hint::Everything {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), heard).await.expect("a hint comes");
    }
}

/// A reply, and where its answer arrives.
pub(crate) fn reply<T: Send + 'static>() -> (Reply<T>, oneshot::Receiver<T>) {
    let (sender, receiver) = oneshot::channel();
    (Reply::new(move |answer| drop(sender.send(answer))), receiver)
}

pub(crate) fn registration() -> WorkerRegistration {
    WorkerRegistration {
        worker: WorkerId(Uuid::now_v7()),
        identity: "tester".to_owned(),
        build_id: None,
        namespace: Namespace::default_namespace(),
        queues: vec![QUEUE.into()],
        workflow_types: vec!["flow".into()],
        activity_types: vec!["act".to_owned()],
        lease: LONG,
        slots: 10,
    }
}

pub(crate) fn interest(lease: Duration) -> BeatInterest {
    let (namespace, queues) = (Namespace::default_namespace(), vec![QUEUE.into()]);
    BeatInterest { lease, namespace, queues, busy: 2, owned: 3, takes_starts: None }
}

pub(crate) fn claim(limit: usize) -> RunClaim {
    RunClaim {
        namespace: Namespace::default_namespace(),
        queues: vec![QUEUE.into()],
        workflow_types: vec!["flow".into()],
        limit,
    }
}

pub(crate) fn activity_claim(limit: usize) -> ActivityClaim {
    ActivityClaim { namespace: Namespace::default_namespace(), queues: vec![QUEUE.into()], limit }
}

pub(crate) fn request(id: &str) -> StartWorkflow {
    StartWorkflow::new(RunId(Uuid::now_v7()), id.into(), "flow".into(), QUEUE.into(), Payload::null())
}

pub(crate) fn conflicting(id: &str, conflict_policy: IdConflictPolicy) -> StartWorkflow {
    StartWorkflow { conflict_policy, ..request(id) }
}

pub(crate) fn message(body: MessageBody) -> Message {
    Message { id: MessageId(Uuid::now_v7()), body }
}

pub(crate) fn signal(name: &str) -> Message {
    message(MessageBody::Signal { name: name.to_owned(), input: Payload::null(), identity: String::new() })
}

pub(crate) fn terminate(reason: &str) -> Message {
    message(MessageBody::Terminate { reason: reason.to_owned(), identity: "tester".to_owned() })
}

pub(crate) fn text(value: &str) -> Payload {
    Payload::encode("value", value).unwrap()
}

pub(crate) fn complete() -> Command {
    Command::CompleteWorkflowExecution { result: text("done") }
}

pub(crate) fn sleep(timer_id: u64, after: Duration) -> Command {
    Command::StartTimer { timer_id, after }
}

pub(crate) fn schedule(activity_id: u64) -> Command {
    schedule_with(activity_id, ActivityOptions { start_to_close_ms: Some(60_000), ..ActivityOptions::default() })
}

pub(crate) fn schedule_with(activity_id: u64, options: ActivityOptions) -> Command {
    let (activity_type, input) = ("act".into(), Payload::null());
    Command::ScheduleActivityTask { activity_id, activity_type, input, options: Box::new(options) }
}

/// What becomes of a claimed attempt.
pub(crate) fn outcome(claimed: &ClaimedActivity, result: ActivityResult) -> ActivityOutcome {
    ActivityOutcome {
        activity_id: claimed.claim.activity_id,
        attempt: claimed.claim.attempt,
        started_at: Some(claimed.task.attempt_scheduled_at),
        identity: "runner".into(),
        last_heartbeat: None,
        result,
    }
}

/// A step that runs the code, which asks for these commands.
pub(crate) fn task(commands: Vec<Command>) -> impl FnOnce(&mut Turn<'_>) {
    move |turn| {
        assert!(turn.start_task("tester", None), "the workflow has something to react to");
        turn.complete_task(commands, Vec::new()).unwrap();
    }
}

/// A step that schedules activities and offers them to everybody.
pub(crate) fn offering(commands: Vec<Command>) -> impl FnOnce(&mut Turn<'_>) {
    move |turn| {
        task(commands)(turn);
        let ids: Vec<u64> = turn.run().activities.keys().copied().collect();
        ids.into_iter().for_each(|id| turn.offer_activity(id, false));
    }
}

/// The transition of a start together with its first step, and the run it makes.
pub(crate) fn begin(request: &StartWorkflow, now: Timestamp, step: impl FnOnce(&mut Turn<'_>)) -> (Transition, Run) {
    let first = request.transition(now);
    let mut run = Run::from_history(&first.events).unwrap();
    let mut turn = Turn::begin(&mut run, now);
    step(&mut turn);
    (first.followed_by(*turn.finish()), run)
}

/// A process that owns a run.
pub(crate) struct Owner<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) worker: WorkerId,
    pub(crate) epoch: i32,
    pub(crate) run: Run,
}

impl<'a> Owner<'a> {
    /// Starts a run that a worker owns from the first moment.
    pub(crate) async fn start(lab: &'a Lab, worker: WorkerId, id: &str) -> Self {
        Self::start_with(lab, worker, request(id), |_| ()).await
    }

    pub(crate) async fn start_with(
        lab: &'a Lab,
        worker: WorkerId,
        request: StartWorkflow,
        step: impl FnOnce(&mut Turn<'_>),
    ) -> Self {
        let now = lab.now().await;
        let (transition, run) = begin(&request, now, step);
        let start = StartWrite { request, transition, owner: Some(worker), ready_at: now };
        assert_eq!(lab.put_start(start).await.unwrap(), StartOutcome::Started);
        Self { lab, worker, epoch: 1, run }
    }

    /// Claims the one run that is ready.
    pub(crate) async fn claim(lab: &'a Lab, worker: WorkerId) -> Self {
        let claimed = lab.claim(worker).await.runs;
        let [claimed] = claimed.as_slice() else { panic!("one run is ready, not {claimed:?}") };
        Self::load(lab, worker, claimed.key).await
    }

    pub(crate) async fn load(lab: &'a Lab, worker: WorkerId, run: RunKey) -> Self {
        let loaded = lab.load(run).await;
        assert_eq!(loaded.owner, Some(worker));
        let mut run = Run::from_history(&loaded.events).unwrap();
        loaded.activities.iter().for_each(|(row, _)| run.restore_activity(row));
        Self { lab, worker, epoch: loaded.owner_epoch, run }
    }

    pub(crate) fn key(&self) -> RunKey {
        self.run.key
    }

    /// Makes a step and gives what is to be written, with its fence.
    pub(crate) async fn step(&mut self, step: impl FnOnce(&mut Turn<'_>)) -> RunWrite {
        let now = self.lab.now().await;
        let mut turn = Turn::begin(&mut self.run, now);
        step(&mut turn);
        RunWrite { owner: self.worker, owner_epoch: self.epoch, transition: turn.finish() }
    }

    /// Makes a step and writes it.
    pub(crate) async fn try_write(&mut self, step: impl FnOnce(&mut Turn<'_>)) -> WriteOutcome {
        let write = self.step(step).await;
        self.lab.put(write).await
    }

    /// Makes a step and writes it, which must go through.
    pub(crate) async fn write(&mut self, step: impl FnOnce(&mut Turn<'_>)) {
        let outcome = self.try_write(step).await;
        assert!(matches!(outcome, WriteOutcome::Applied), "{outcome:?}");
    }

    /// Takes what waits in the inbox.
    pub(crate) async fn inbox(&self) -> Vec<Message> {
        let messages = self.lab.store.inbox(self.worker, &[self.key()], 1_000).await.unwrap();
        messages.into_iter().map(|(_, message)| message).collect()
    }

    /// Moves what waits in the inbox into the history.
    pub(crate) async fn take_inbox(&mut self) {
        let messages = self.inbox().await;
        self.write(|turn| messages.into_iter().for_each(|message| turn.message(message))).await;
    }

    pub(crate) async fn release(&self, ready_at: Option<Timestamp>) -> ReleaseOutcome {
        let release =
            ReleaseRun { key: self.key(), owner_epoch: self.epoch, next_event_id: self.run.next_event_id, ready_at };
        let outcomes = self.lab.store.release(self.worker, vec![release]).await.unwrap();
        let [(key, outcome)] = outcomes.as_slice() else { panic!("one outcome, not {outcomes:?}") };
        assert_eq!(*key, self.key());
        *outcome
    }
}

/// Says whether a write was refused by its fence.
pub(crate) fn is_fenced(outcome: &WriteOutcome) -> bool {
    matches!(outcome, WriteOutcome::Fenced)
}
