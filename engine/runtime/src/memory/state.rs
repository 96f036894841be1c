//! The tables of the in-memory store, named as those of Postgres, and the changes that several calls share.

use std::collections::{BTreeMap, BTreeSet};

use dacapo_core::{
    ActivityId, MessageBody, MessageId, Namespace, Payload, RunId, RunKey, StartWorkflow, TaskQueue, TimerId,
    Timestamp, WorkerId, WorkflowId, WorkflowType,
    outbox::OutboxRow,
    query::{Query, QueryAnswer},
    store::{BranchInfo, Hint, RunInfo, RunResult, StoreError, StoreResult, StoredTransition, WorkerRegistration},
    transition::{ActivityRow, DeadActivity, Problem},
    update::UpdateStage,
};
use uuid::Uuid;

/// What does not change from a run's start to its end.
#[derive(Debug, Clone)]
pub(super) struct RunFacts {
    pub(super) key: RunKey,
    pub(super) namespace: Namespace,
    pub(super) workflow_id: WorkflowId,
    pub(super) workflow_type: WorkflowType,
    pub(super) task_queue: TaskQueue,
    pub(super) priority: u8,
    pub(super) started_at: Timestamp,
    pub(super) memo: Option<Payload>,
    pub(super) search_attributes: Option<Payload>,
    /// The first run of its chain.
    pub(super) first_run_id: RunId,
}

impl RunFacts {
    pub(super) fn of(start: &StartWorkflow, started_at: Timestamp) -> Self {
        Self {
            key: start.key(),
            namespace: start.namespace.clone(),
            workflow_id: start.workflow_id.clone(),
            workflow_type: start.workflow_type.clone(),
            task_queue: start.task_queue.clone(),
            priority: start.priority,
            started_at,
            memo: start.memo.clone(),
            search_attributes: start.search_attributes.clone(),
            first_run_id: start.lineage.as_ref().and_then(|it| it.first_run_id).unwrap_or(start.run_id),
        }
    }
}

/// A row of `outbox`.
#[derive(Debug)]
pub(super) struct OutboxSlot {
    pub(super) row: OutboxRow,
    pub(super) written_at: Timestamp,
}

/// A row of `runs_open`.
#[derive(Debug)]
pub(super) struct OpenRun {
    pub(super) facts: RunFacts,
    pub(super) owner: Option<WorkerId>,
    pub(super) owner_epoch: i32,
    pub(super) next_event_id: i64,
    pub(super) signals: u64,
    /// The next event id at the last take-over: the run has made progress when it is higher now.
    pub(super) progress_event_id: i64,
    /// When its owner took it.
    pub(super) taken_at: Timestamp,
    /// Take-overs without progress.
    pub(super) takeovers: i32,
    /// Since when nobody gets it, for one that is parked.
    pub(super) parked_at: Option<Timestamp>,
    pub(super) problem: Option<Problem>,
}

/// A row of `runs_closed`.
#[derive(Debug)]
pub(super) struct ClosedRun {
    pub(super) facts: RunFacts,
    pub(super) owner_epoch: i32,
    pub(super) events: i64,
    pub(super) result: RunResult,
}

/// A row of `ready`.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadyRow {
    pub(super) visible_at: Timestamp,
}

/// A row of `activities`.
#[derive(Debug)]
pub(super) struct ActivitySlot {
    pub(super) row: ActivityRow,
    pub(super) claim: Option<Claim>,
    /// Changes with every claim; 0 while the owner keeps the attempt for itself.
    pub(super) token: i64,
    pub(super) cancel_requested: bool,
    /// Whether the attempt's outcome is on its way to the run: nobody may claim it any more.
    pub(super) reported: bool,
    pub(super) deadline: Option<Timestamp>,
    /// When the row was written: with each sign of life of an attempt that is completed from outside.
    pub(super) heard_at: Timestamp,
}

impl ActivitySlot {
    /// The row as it is read with its run, and who has claimed it.
    pub(super) fn loaded(&self) -> (ActivityRow, Option<WorkerId>) {
        let row = ActivityRow { claimed_by_owner: self.is_kept(), ..self.row.clone() };
        (row, self.claim.map(|claim| claim.worker))
    }

    /// Whether the run's owner runs the attempt itself, and watches its timeouts.
    pub(super) fn is_kept(&self) -> bool {
        self.token == 0 && self.claim.is_some()
    }
}

/// Who runs an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) worker: WorkerId,
    pub(super) claimed_at: Timestamp,
    pub(super) heard_at: Timestamp,
}

/// A row of `workers`.
#[derive(Debug)]
pub(super) struct WorkerRow {
    pub(super) registration: WorkerRegistration,
    pub(super) lease_until: Timestamp,
    pub(super) heard_at: Timestamp,
    pub(super) dead: bool,
    pub(super) started_at: Timestamp,
    pub(super) busy: usize,
    pub(super) owned: usize,
}

/// Every table. Keys are those of Postgres.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) open: BTreeMap<RunKey, OpenRun>,
    pub(super) open_ids: BTreeMap<(Namespace, WorkflowId), RunKey>,
    pub(super) closed: BTreeMap<RunKey, ClosedRun>,
    pub(super) closed_ids: BTreeMap<(Namespace, WorkflowId), BTreeSet<(Timestamp, RunKey)>>,
    pub(super) history: BTreeMap<RunKey, Vec<StoredTransition>>,
    pub(super) start_requests: BTreeMap<(Namespace, WorkflowId, String), RunKey>,
    pub(super) inbox: BTreeMap<RunKey, BTreeMap<MessageId, MessageBody>>,
    pub(super) ready: BTreeMap<RunKey, ReadyRow>,
    pub(super) activities: BTreeMap<(RunKey, ActivityId), ActivitySlot>,
    pub(super) timers: BTreeMap<(RunKey, TimerId), Timestamp>,
    pub(super) workers: BTreeMap<WorkerId, WorkerRow>,
    pub(super) published: BTreeMap<(RunKey, String), Payload>,
    pub(super) outbox: BTreeMap<(RunKey, MessageId), OutboxSlot>,
    /// Questions, and their answers.
    pub(super) questions: BTreeMap<(RunKey, Uuid), (Query, Option<QueryAnswer>)>,
    /// What became of updates; without a message, for everyone who waits.
    pub(super) updates: BTreeMap<(RunKey, String, Option<MessageId>), UpdateStage>,
    /// What was branched from a run, oldest first.
    pub(super) branches: BTreeMap<RunKey, Vec<BranchInfo>>,
    /// Activities that have used up their attempts.
    pub(super) dead_activities: BTreeMap<(RunKey, ActivityId), DeadActivity>,
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
    /// Told after the lock is released, as Postgres tells after the commit.
    pub(super) hints: Vec<Hint>,
}

impl State {
    /// The row of a worker that is a member of the fleet.
    pub(super) fn live_worker(&mut self, worker: WorkerId, now: Timestamp) -> StoreResult<&mut WorkerRow> {
        self.workers
            .get_mut(&worker)
            .filter(|row| !row.dead && row.lease_until > now)
            .ok_or(StoreError::LeaseLost { worker })
    }

    /// Whether a worker is a member of the fleet.
    pub(super) fn is_live(&self, worker: WorkerId, now: Timestamp) -> bool {
        self.workers.get(&worker).is_some_and(|row| !row.dead && row.lease_until > now)
    }

    /// Puts a run before whoever claims runs, not before `visible_at`; an earlier time wins.
    pub(super) fn make_ready(&mut self, run: RunKey, visible_at: Timestamp) {
        let Some(open) = self.open.get(&run) else { return };
        let row = self.ready.entry(run).or_insert(ReadyRow { visible_at });
        row.visible_at = row.visible_at.min(visible_at);
        self.hints.push(Hint::RunsReady(open.facts.task_queue.clone()));
    }

    /// Puts a message into the inbox of an open run, and tells or finds it an owner.
    pub(super) fn deliver(&mut self, run: RunKey, id: MessageId, body: MessageBody, now: Timestamp) {
        self.inbox.entry(run).or_default().entry(id).or_insert(body);
        match self.open.get(&run).and_then(|open| open.owner) {
            Some(_) => self.hints.push(Hint::Inbox(vec![run])),
            None => self.make_ready(run, now),
        }
    }

    /// Whether a message is in the history of a run.
    pub(super) fn recorded(&self, run: RunKey, id: MessageId) -> bool {
        use dacapo_core::EventKind::{
            WorkflowExecutionCancelRequested, WorkflowExecutionSignaled, WorkflowExecutionTerminated,
        };
        let events = self.history.get(&run).into_iter().flatten().flat_map(|transition| &transition.events);
        events.into_iter().any(|event| match &event.event {
            WorkflowExecutionSignaled(it) => it.message_id == id,
            WorkflowExecutionCancelRequested(it) => it.message_id == id,
            WorkflowExecutionTerminated(it) => it.message_id == id,
            _ => false,
        })
    }

    /// The rows of `activities` of a run.
    pub(super) fn activities_of(&self, run: RunKey) -> impl Iterator<Item = (ActivityId, &ActivitySlot)> {
        self.activities.range((run, 0)..=(run, ActivityId::MAX)).map(|((_, id), slot)| (*id, slot))
    }

    /// A run as lists show it.
    pub(super) fn info(&self, run: RunKey) -> Option<RunInfo> {
        let (facts, status, closed_at, events) = match (self.open.get(&run), self.closed.get(&run)) {
            (Some(open), _) => (&open.facts, dacapo_core::RunStatus::Running, None, open.next_event_id - 1),
            (None, Some(closed)) => (&closed.facts, closed.result.status, Some(closed.result.closed_at), closed.events),
            (None, None) => return None,
        };
        Some(RunInfo {
            key: facts.key,
            namespace: facts.namespace.clone(),
            workflow_id: facts.workflow_id.clone(),
            workflow_type: facts.workflow_type.clone(),
            task_queue: facts.task_queue.clone(),
            status,
            started_at: facts.started_at,
            closed_at,
            events,
            memo: facts.memo.clone(),
            search_attributes: facts.search_attributes.clone(),
        })
    }
}
