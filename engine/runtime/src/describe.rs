//! What a run waits for and why it does not move: an explanation made of what is stored.
//!
//! [`explain`] is a plain function over the run's rows, its folded history and the fleet. The history knows every pending
//! activity and timer; rows exist for some of them only (an attempt that its owner runs at once has none).

use std::fmt;

use dacapo_core::{
    ActivityId, Failure, Payload, Run, RunStatus, TaskQueue, TimerId, Timestamp, WorkerId, WorkflowId, WorkflowType,
    event::WorkflowTaskFailedCause,
    ids::RUN_TIMEOUT_TIMER,
    lineage::BranchedFrom,
    run::PendingActivity,
    store::{ActivityInfo, RunDescription, WorkerInfo},
};
use serde::Serialize;

/// A run with what it waits for.
#[derive(Debug, Clone)]
pub struct Description {
    /// What is stored of it.
    pub run: RunDescription,
    /// The live worker that owns it.
    pub owner: Option<WorkerInfo>,
    /// The run whose history it begins with.
    pub branched_from: Option<BranchedFrom>,
    /// Its activities without an outcome, in the order of their numbers.
    pub activities: Vec<ActivityState>,
    /// Its timers that have not fired, the next one first; without the run's own timeout.
    pub timers: Vec<(TimerId, Timestamp)>,
    /// When its run or execution timeout ends it.
    pub deadline: Option<Timestamp>,
    /// Why it does not move at the moment, most telling first.
    pub reasons: Vec<Reason>,
}

/// An activity without an outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityState {
    /// The workflow's number for it.
    pub activity_id: ActivityId,
    /// Its type.
    pub activity_type: String,
    /// Its queue.
    pub task_queue: TaskQueue,
    /// The attempt that runs, or that comes next.
    pub attempt: u32,
    /// When the workflow asked for it.
    pub scheduled_at: Timestamp,
    /// When the next attempt begins at the earliest, for one that waits for its time.
    pub next_attempt_at: Option<Timestamp>,
    /// Who runs the attempt, for people.
    pub worker: Option<String>,
    /// Since when it runs, if known.
    pub started_at: Option<Timestamp>,
    /// How the attempt before failed.
    pub last_failure: Option<Failure>,
    /// What the last recorded heartbeat said.
    pub last_heartbeat: Option<Payload>,
    /// Whether the workflow asked it to stop.
    pub cancel_requested: bool,
    /// Whether somebody holds its next attempt.
    pub paused: bool,
    /// Whether whoever holds its token completes it, from outside.
    pub asynchronous: bool,
}

/// Why a run does not move.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It is closed.
    Closed {
        /// How.
        status: RunStatus,
    },
    /// It was taken over too often without progress.
    Parked,
    /// Somebody paused it.
    Paused,
    /// Children have not closed.
    Children {
        /// How many.
        open: usize,
        /// One of them.
        workflow_id: WorkflowId,
    },
    /// Its code cannot be run, again and again.
    WorkflowTaskFailing {
        /// Why.
        cause: WorkflowTaskFailedCause,
        /// In words.
        message: String,
        /// How often in a row.
        attempt: u32,
        /// When it is tried again.
        next_attempt_at: Timestamp,
    },
    /// No live worker serves the queue.
    NoWorkerServesQueue {
        /// The queue.
        task_queue: TaskQueue,
    },
    /// Live workers serve the queue, and none of them has the workflow type.
    NoWorkerHasWorkflowType {
        /// The queue.
        task_queue: TaskQueue,
        /// The type.
        workflow_type: WorkflowType,
        /// The types that they have.
        known: Vec<WorkflowType>,
    },
    /// Its owner does not live any more; others take over.
    OwnerGone {
        /// The registration.
        worker: WorkerId,
    },
    /// It waits for a worker to claim it.
    WaitsForClaim {
        /// Since when, or until when a delay lasts.
        ready_at: Timestamp,
    },
    /// Its start was delayed.
    StartDelayed {
        /// Until when.
        until: Timestamp,
    },
    /// An attempt of an activity runs.
    ActivityRuns {
        /// The activity's number.
        activity_id: ActivityId,
        /// Its type.
        activity_type: String,
        /// The attempt.
        attempt: u32,
        /// Who runs it, if known.
        worker: Option<String>,
    },
    /// An activity failed and waits for its next attempt.
    ActivityRetries {
        /// The activity's number.
        activity_id: ActivityId,
        /// Its type.
        activity_type: String,
        /// The next attempt.
        attempt: u32,
        /// When it may begin.
        next_attempt_at: Timestamp,
        /// How the last attempt failed.
        last_failure: String,
    },
    /// Somebody holds the next attempt of an activity.
    ActivityPaused {
        /// The activity's number.
        activity_id: ActivityId,
        /// Its type.
        activity_type: String,
        /// The next attempt.
        attempt: u32,
    },
    /// An activity is completed from outside.
    ActivityCompletesOutside {
        /// The activity's number.
        activity_id: ActivityId,
        /// Its type.
        activity_type: String,
        /// The attempt.
        attempt: u32,
    },
    /// An activity waits for a worker.
    ActivityWaitsForWorker {
        /// The activity's number.
        activity_id: ActivityId,
        /// Its type.
        activity_type: String,
        /// Its queue.
        task_queue: TaskQueue,
        /// Whether a live worker that serves the queue has the type at all.
        served: bool,
    },
    /// Its code waits for local activities, which its owner runs.
    LocalActivities {
        /// How many.
        count: u32,
        /// The owner, if it lives.
        worker: Option<String>,
    },
    /// A timer has not fired.
    Timer {
        /// The timer's number.
        timer_id: TimerId,
        /// When it is due.
        fire_at: Timestamp,
    },
    /// Messages are on their way into it.
    Inbox {
        /// How many.
        messages: i64,
    },
    /// A workflow task runs or is about to.
    WorkflowTask,
    /// Nothing is outstanding: only a message can move it.
    Message,
}

/// The reasons that are listed of one kind; a thousand running activities say no more than these.
const REASONS_PER_KIND: usize = 5;

/// Explains a run. `folded` is the fold of its whole history, `fleet` are all workers, `serving` those that serve one of
/// the run's queues in its namespace.
pub fn explain(run: RunDescription, folded: &Run, fleet: &[WorkerInfo], serving: &[WorkerInfo]) -> Description {
    let live = |workers: &'_ [WorkerInfo]| -> Vec<WorkerInfo> {
        workers.iter().filter(|worker| worker.lease_until > run.now).cloned().collect()
    };
    let (fleet, serving) = (live(fleet), live(serving));
    let owner = run.owner.and_then(|owner| fleet.iter().find(|worker| worker.worker == owner)).cloned();
    let activities: Vec<ActivityState> = folded
        .activities
        .iter()
        .map(|(id, pending)| {
            let row = run.activities.iter().find(|row| row.activity_id == *id);
            activity(*id, pending, row, &run, folded, &fleet)
        })
        .collect();
    let mut timers: Vec<_> = folded
        .timers
        .iter()
        .filter(|(id, _)| **id != RUN_TIMEOUT_TIMER)
        .map(|(id, timer)| (*id, timer.fire_at))
        .collect();
    timers.sort_unstable_by_key(|(id, fire_at)| (*fire_at, *id));
    let reasons = reasons(&run, folded, owner.as_ref(), &serving, &activities, &timers);
    let branched_from = folded.started.lineage.as_ref().and_then(|lineage| lineage.branched_from.clone());
    Description { owner, branched_from, activities, timers, deadline: folded.deadline(), reasons, run }
}

fn activity(
    activity_id: ActivityId,
    pending: &PendingActivity,
    row: Option<&ActivityInfo>,
    run: &RunDescription,
    folded: &Run,
    fleet: &[WorkerInfo],
) -> ActivityState {
    // Without a row the owner runs the attempt itself, or will once somebody owns the run.
    let worker_id = row.map_or(run.owner, |row| row.claimed_by);
    let worker = worker_id.and_then(|id| fleet.iter().find(|worker| worker.worker == id));
    let queue = pending.scheduled.options.task_queue.as_ref().unwrap_or(&folded.started.task_queue);
    ActivityState {
        activity_id,
        activity_type: pending.scheduled.activity_type.to_string(),
        task_queue: row.map_or_else(|| queue.clone(), |row| row.task_queue.clone()),
        attempt: row.map_or(pending.attempt, |row| row.attempt),
        scheduled_at: pending.scheduled_at,
        // What is held has no time.
        next_attempt_at: row.map(|row| row.visible_at).filter(|at| *at > run.now && *at != Timestamp::MAX),
        worker: worker.map(|worker| worker.identity.clone()),
        started_at: row.and_then(|row| row.claimed_at).filter(|_| worker.is_some()),
        last_failure: row.and_then(|row| row.last_failure.clone()),
        last_heartbeat: row.and_then(|row| row.last_heartbeat.clone()),
        cancel_requested: pending.cancel_requested,
        paused: row.is_some_and(|row| row.visible_at == Timestamp::MAX && !row.asynchronous),
        asynchronous: row.is_some_and(|row| row.asynchronous),
    }
}

fn reasons(
    run: &RunDescription,
    folded: &Run,
    owner: Option<&WorkerInfo>,
    serving: &[WorkerInfo],
    activities: &[ActivityState],
    timers: &[(TimerId, Timestamp)],
) -> Vec<Reason> {
    if run.info.status != RunStatus::Running {
        return vec![Reason::Closed { status: run.info.status }];
    }
    let mut reasons = Vec::new();
    if run.parked {
        reasons.push(Reason::Parked);
    }
    if folded.is_paused() {
        reasons.push(Reason::Paused);
    }
    if let Some(problem) = &run.problem {
        reasons.push(Reason::WorkflowTaskFailing {
            cause: problem.cause,
            message: problem.failure.message.clone(),
            attempt: problem.attempt,
            next_attempt_at: problem.next_attempt_at,
        });
    }
    if let Some(worker) = run.owner.filter(|_| owner.is_none()) {
        reasons.push(Reason::OwnerGone { worker });
    }
    if folded.first_task_at() > run.now {
        reasons.push(Reason::StartDelayed { until: folded.first_task_at() });
    }
    if owner.is_none() {
        reasons.extend(unserved(run, serving));
        if run.problem.is_none() && folded.first_task_at() <= run.now {
            reasons.extend(run.ready_at.map(|ready_at| Reason::WaitsForClaim { ready_at }));
        }
    }
    reasons.extend(activities.iter().take(REASONS_PER_KIND).map(|activity| waits(activity, serving)));
    reasons
        .extend(timers.iter().take(REASONS_PER_KIND).map(|&(timer_id, fire_at)| Reason::Timer { timer_id, fire_at }));
    if folded.local_activities > 0 {
        let worker = owner.map(|owner| owner.identity.clone());
        reasons.push(Reason::LocalActivities { count: folded.local_activities, worker });
    }
    let children = folded.rare.as_ref().map(|rare| &rare.children);
    if let Some((_, child)) = children.and_then(|children| children.first_key_value()) {
        let open = children.map_or(0, |children| children.len());
        reasons.push(Reason::Children { open, workflow_id: child.initiated.workflow_id.clone() });
    }
    if run.inbox > 0 {
        reasons.push(Reason::Inbox { messages: run.inbox });
    }
    if reasons.is_empty() {
        let task = folded.task.is_some() || folded.unseen;
        reasons.push(if task { Reason::WorkflowTask } else { Reason::Message });
    }
    reasons
}

/// Says that nobody can run the workflow's code, if so.
fn unserved(run: &RunDescription, serving: &[WorkerInfo]) -> Option<Reason> {
    let info = &run.info;
    let mut serving = serving.iter().filter(|worker| worker.queues.contains(&info.task_queue)).peekable();
    if serving.peek().is_none() {
        return Some(Reason::NoWorkerServesQueue { task_queue: info.task_queue.clone() });
    }
    let mut known: Vec<WorkflowType> = serving.flat_map(|worker| worker.workflow_types.iter().cloned()).collect();
    known.sort_unstable();
    known.dedup();
    (!known.contains(&info.workflow_type)).then(|| Reason::NoWorkerHasWorkflowType {
        task_queue: info.task_queue.clone(),
        workflow_type: info.workflow_type.clone(),
        known,
    })
}

fn waits(activity: &ActivityState, serving: &[WorkerInfo]) -> Reason {
    let ActivityState { activity_id, attempt, .. } = *activity;
    let activity_type = activity.activity_type.clone();
    if activity.asynchronous {
        return Reason::ActivityCompletesOutside { activity_id, activity_type, attempt };
    }
    if activity.paused {
        return Reason::ActivityPaused { activity_id, activity_type, attempt };
    }
    if let Some(next_attempt_at) = activity.next_attempt_at {
        let last_failure = activity.last_failure.as_ref().map_or_else(String::new, |failure| failure.message.clone());
        return Reason::ActivityRetries { activity_id, activity_type, attempt, next_attempt_at, last_failure };
    }
    if activity.worker.is_some() {
        return Reason::ActivityRuns { activity_id, activity_type, attempt, worker: activity.worker.clone() };
    }
    let has = |worker: &WorkerInfo| worker.activity_types.contains(&activity_type);
    let served = serving.iter().any(|worker| worker.queues.contains(&activity.task_queue) && has(worker));
    Reason::ActivityWaitsForWorker { activity_id, activity_type, task_queue: activity.task_queue.clone(), served }
}

impl Reason {
    /// Says it in one line for people; `at` writes a point in time.
    pub fn sentence(&self, at: &dyn Fn(Timestamp) -> String) -> String {
        match self {
            Self::Closed { status } => format!("it is closed: {}", status.as_str()),
            Self::Parked => format!(
                "parked: {} workers died over it without progress; look at their logs, then terminate it or move it on",
                dacapo_core::limits::TAKEOVERS_WITHOUT_PROGRESS_MAX
            ),
            Self::Paused => "it is paused: its code is run again when somebody unpauses it".to_owned(),
            Self::Children { open: 1, workflow_id } => format!("it waits for its child `{workflow_id}`"),
            Self::Children { open, workflow_id } => format!("it waits for {open} children, `{workflow_id}` among them"),
            Self::WorkflowTaskFailing { cause, message, attempt, next_attempt_at } => format!(
                "its workflow task fails ({cause:?}, {attempt} times), next try {}: {message}",
                at(*next_attempt_at)
            ),
            Self::NoWorkerServesQueue { task_queue } => format!(
                "no live worker serves the queue `{task_queue}`: start one with `dacapo worker --queue {task_queue}`"
            ),
            Self::NoWorkerHasWorkflowType { task_queue, workflow_type, known } => format!(
                "no live worker of the queue `{task_queue}` has the workflow type `{workflow_type}` (known: {}): \
                 correct the type or start a worker that has it",
                list(known)
            ),
            Self::OwnerGone { worker } => {
                format!("its owner {worker} does not live any more; another worker takes over within seconds")
            }
            Self::WaitsForClaim { ready_at } => format!("it waits for a worker with room, ready {}", at(*ready_at)),
            Self::StartDelayed { until } => format!("its start is delayed until {}", at(*until)),
            Self::ActivityRuns { activity_id, activity_type, attempt, worker } => {
                let worker = worker.as_ref().map(|worker| format!(" on {worker}")).unwrap_or_default();
                format!("activity {activity_id} `{activity_type}` runs{worker}, attempt {attempt}")
            }
            Self::ActivityRetries { activity_id, activity_type, attempt, next_attempt_at, last_failure } => format!(
                "activity {activity_id} `{activity_type}` is tried again {} (attempt {attempt}): {last_failure}",
                at(*next_attempt_at)
            ),
            Self::ActivityPaused { activity_id, activity_type, attempt } => format!(
                "activity {activity_id} `{activity_type}` is paused before attempt {attempt}: `dacapo activity unpause` \
                 lets it go"
            ),
            Self::ActivityCompletesOutside { activity_id, activity_type, attempt } => format!(
                "activity {activity_id} `{activity_type}` waits until somebody completes attempt {attempt} from outside"
            ),
            Self::ActivityWaitsForWorker { activity_id, activity_type, task_queue, served: true } => {
                format!("activity {activity_id} `{activity_type}` waits for a free worker of the queue `{task_queue}`")
            }
            Self::ActivityWaitsForWorker { activity_id, activity_type, task_queue, served: false } => format!(
                "activity {activity_id} `{activity_type}` waits: no live worker of the queue `{task_queue}` has this \
                 activity type"
            ),
            Self::LocalActivities { count, worker } => match worker {
                Some(worker) => format!("its code waits for {count} local activities, which {worker} runs"),
                None => format!("its code waits for {count} local activities, which its next owner begins again"),
            },
            Self::Timer { timer_id, fire_at } => format!("timer {timer_id} fires {}", at(*fire_at)),
            Self::Inbox { messages } => format!("{messages} messages wait in its inbox"),
            Self::WorkflowTask => "its workflow task runs or is about to".to_owned(),
            Self::Message => "nothing is outstanding: it waits for a signal".to_owned(),
        }
    }
}

fn list(names: &[impl fmt::Display]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
