//! What is read to show, list and wait for runs.

use serde::{Deserialize, Serialize};

use super::BranchInfo;
use crate::{
    event::Event,
    failure::Failure,
    filter::{Condition, Cursor, FilterError, NameField, Order, Test, TimeField},
    ids::{ActivityId, Namespace, RunId, RunKey, TaskQueue, TimerId, WorkerId, WorkflowId, WorkflowType},
    payload::Payload,
    run::RunStatus,
    time::Timestamp,
    transition::Problem,
};

/// A run in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct RunInfo {
    /// The run.
    pub key: RunKey,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its workflow id.
    pub workflow_id: WorkflowId,
    /// Its workflow type.
    pub workflow_type: WorkflowType,
    /// Its queue.
    pub task_queue: TaskQueue,
    /// Where it is in its life.
    pub status: RunStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it closed.
    pub closed_at: Option<Timestamp>,
    /// Its events.
    pub events: i64,
    /// Notes.
    pub memo: Option<Payload>,
    /// What lists filter by.
    pub search_attributes: Option<Payload>,
}

/// Which runs to list, in which order, and from which place on.
///
/// Everything that is set must hold. The fields are short forms of what a [`Condition`] says; an expression is read by
/// [`RunFilter::parse`].
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// In this namespace; `default` when absent.
    pub namespace: Option<Namespace>,
    /// With this status.
    pub status: Option<RunStatus>,
    /// Of this type.
    pub workflow_type: Option<WorkflowType>,
    /// On this queue.
    pub task_queue: Option<TaskQueue>,
    /// With this workflow id.
    pub workflow_id: Option<WorkflowId>,
    /// Whose workflow id begins so.
    pub workflow_id_prefix: Option<String>,
    /// Started at or after.
    pub started_after: Option<Timestamp>,
    /// Started before.
    pub started_before: Option<Timestamp>,
    /// With these search attributes (name, value).
    pub attributes: Vec<(String, serde_json::Value)>,
    /// With all that this asks for.
    pub condition: Option<Condition>,
    /// In this order.
    pub order: Order,
    /// What comes after this place.
    pub after: Option<Cursor>,
}

impl RunFilter {
    /// Reads an expression such as `Status = 'Running' AND Customer = 'x' ORDER BY StartTime DESC`.
    ///
    /// # Errors
    /// [`FilterError`] names the column, what is wrong there and what may stand there.
    pub fn parse(expression: &str) -> Result<Self, FilterError> {
        Self::default().and_expression(expression)
    }

    /// Adds what an expression asks for, and takes its order if it has one.
    ///
    /// # Errors
    /// As [`RunFilter::parse`].
    pub fn and_expression(mut self, expression: &str) -> Result<Self, FilterError> {
        let read = crate::filter::parse(expression)?;
        self.condition = Some(match self.condition {
            Some(condition) => condition.and(read.condition),
            None => read.condition,
        });
        self.order = read.order.unwrap_or(self.order);
        Ok(self)
    }

    /// Gives all that must hold of a run of the namespace, in one condition.
    pub fn whole_condition(&self) -> Condition {
        let mut all = Vec::new();
        let is = |field, name: &str| Condition::Name(field, Test::OneOf(vec![name.to_owned()]));
        all.extend(self.status.map(|status| Condition::Status(vec![status])));
        all.extend(self.workflow_type.as_ref().map(|it| is(NameField::WorkflowType, it.as_str())));
        all.extend(self.task_queue.as_ref().map(|it| is(NameField::TaskQueue, it.as_str())));
        all.extend(self.workflow_id.as_ref().map(|it| is(NameField::WorkflowId, it.as_str())));
        let prefix = self.workflow_id_prefix.clone();
        all.extend(prefix.map(|prefix| Condition::NamePrefix(NameField::WorkflowId, prefix)));
        all.extend(self.started_after.map(|at| Condition::Time(TimeField::StartTime, Test::AtLeast(at))));
        all.extend(self.started_before.map(|at| Condition::Time(TimeField::StartTime, Test::Less(at))));
        all.extend(self.attributes.iter().map(|(name, value)| Condition::attribute_is(name.as_str(), value)));
        all.extend(self.condition.clone());
        Condition::All(all)
    }
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct RunPage {
    /// Its runs.
    pub runs: Vec<RunInfo>,
    /// The same filter from after the last of them on; `None`: there are no more.
    pub next: Option<RunFilter>,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunResult {
    /// How it ended.
    pub status: RunStatus,
    /// The value of one that completed; the details of one that was cancelled.
    pub result: Option<Payload>,
    /// The failure of one that did not complete.
    pub failure: Option<Failure>,
    /// When.
    pub closed_at: Timestamp,
    /// The run that goes on with the work under the same workflow id: after continue-as-new, for a retry, after a reset.
    pub successor: Option<RunId>,
}

/// What a run waits for.
#[derive(Debug, Clone)]
pub struct RunDescription {
    /// The run.
    pub info: RunInfo,
    /// The process that owns it, if any.
    pub owner: Option<WorkerId>,
    /// That process, for people, and whether it lives.
    pub owner_identity: Option<String>,
    /// How often it changed owners.
    pub owner_epoch: i32,
    /// Since when it waits to be claimed, if it does.
    pub ready_at: Option<Timestamp>,
    /// Messages in its inbox.
    pub inbox: i64,
    /// Why its workflow task keeps failing, if it does.
    pub problem: Option<Problem>,
    /// Whether it was taken over too often without progress and is parked.
    pub parked: bool,
    /// Rows in `activities`.
    pub activities: Vec<ActivityInfo>,
    /// Rows in `timers`.
    pub timers: Vec<(TimerId, Timestamp)>,
    /// The end, of a closed one.
    pub result: Option<RunResult>,
    /// The runs that were branched from it, oldest first.
    pub branches: Vec<BranchInfo>,
    /// The database's clock.
    pub now: Timestamp,
}

/// A row of `activities`, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityInfo {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its type.
    pub activity_type: String,
    /// Its queue.
    pub task_queue: TaskQueue,
    /// The attempt.
    pub attempt: u32,
    /// Not before.
    pub visible_at: Timestamp,
    /// Who runs it.
    pub claimed_by: Option<WorkerId>,
    /// Since when.
    pub claimed_at: Option<Timestamp>,
    /// How the attempt before failed.
    pub last_failure: Option<Failure>,
    /// What the last heartbeat said.
    pub last_heartbeat: Option<Payload>,
    /// Whether whoever holds its token completes it, from outside.
    pub asynchronous: bool,
}

/// A stored row of history.
#[derive(Debug, Clone)]
pub struct StoredTransition {
    /// The epoch of the owner that wrote it.
    pub owner_epoch: i32,
    /// When, by the database clock.
    pub written_at: Timestamp,
    /// Its events.
    pub events: Vec<Event>,
}

/// A process of the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its registration.
    pub worker: WorkerId,
    /// For people.
    pub identity: String,
    /// Its build.
    pub build_id: Option<String>,
    /// Its queues.
    pub queues: Vec<TaskQueue>,
    /// Its workflow types.
    pub workflow_types: Vec<WorkflowType>,
    /// Its activity types.
    pub activity_types: Vec<String>,
    /// When its lease ends.
    pub lease_until: Timestamp,
    /// When it joined.
    pub started_at: Timestamp,
    /// Activities it can run at once.
    pub slots: i64,
    /// Activities it runs.
    pub busy: i64,
    /// Runs it owns.
    pub owned: i64,
    /// Whether starts are handed to it at the moment, without waiting on a queue.
    pub takes_starts: bool,
}

/// What waits on a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// The namespace.
    pub namespace: Namespace,
    /// The queue.
    pub task_queue: TaskQueue,
    /// Runs that wait to be claimed.
    pub runs: u64,
    /// Activities that wait to be claimed.
    pub activities: u64,
}
