//! The events of a history: facts, in the past tense, written once and never changed.
//!
//! The JSON of these types is a stored format. Fields may be added with defaults; nothing is renamed or removed.

mod activity;
mod child;
mod external;
mod note;
mod size;
mod task;
mod timer;
mod update;
mod workflow;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use activity::*;
pub use child::*;
pub use external::*;
pub use note::*;
pub use task::*;
pub use timer::*;
pub use update::*;
pub use workflow::*;

use crate::time::Timestamp;

/// One fact about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The place in the history: dense from 1.
    pub event_id: i64,
    /// When, by the writing process's estimate of the database clock; never decreases in a run.
    pub event_time: Timestamp,
    /// What.
    pub event: EventKind,
}

/// What happened. The order of variants is the order of a run's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// The run began.
    WorkflowExecutionStarted(Box<WorkflowExecutionStarted>),
    /// A signal arrived.
    WorkflowExecutionSignaled(WorkflowExecutionSignaled),
    /// Somebody asked the run to cancel itself.
    WorkflowExecutionCancelRequested(WorkflowExecutionCancelRequested),
    /// The workflow has something to react to.
    WorkflowTaskScheduled(WorkflowTaskScheduled),
    /// A worker began to run the workflow's code.
    WorkflowTaskStarted(WorkflowTaskStarted),
    /// The workflow's code has run; its commands follow as events.
    WorkflowTaskCompleted(WorkflowTaskCompleted),
    /// The workflow's code could not be run; it is tried again.
    WorkflowTaskFailed(WorkflowTaskFailed),
    /// The workflow's code did not come back in time; it is tried again.
    WorkflowTaskTimedOut(WorkflowTaskTimedOut),
    /// The workflow asked for an activity.
    ActivityTaskScheduled(Arc<ActivityTaskScheduled>),
    /// The attempt that brought the outcome began.
    ActivityTaskStarted(ActivityTaskStarted),
    /// The activity gave a value.
    ActivityTaskCompleted(ActivityTaskCompleted),
    /// The activity failed for good.
    ActivityTaskFailed(Box<ActivityTaskFailed>),
    /// The activity timed out for good.
    ActivityTaskTimedOut(ActivityTaskTimedOut),
    /// The workflow asked for the activity to stop.
    ActivityTaskCancelRequested(ActivityTaskCancelRequested),
    /// The activity stopped because it was asked to.
    ActivityTaskCanceled(ActivityTaskCanceled),
    /// The workflow set a timer.
    TimerStarted(TimerStarted),
    /// A timer's time came.
    TimerFired(TimerFired),
    /// The workflow gave up a timer.
    TimerCanceled(TimerCanceled),
    /// The workflow asked for a child.
    StartChildWorkflowExecutionInitiated(Box<StartChildWorkflowExecutionInitiated>),
    /// A child could not be started.
    StartChildWorkflowExecutionFailed(StartChildWorkflowExecutionFailed),
    /// A child runs.
    ChildWorkflowExecutionStarted(ChildWorkflowExecutionStarted),
    /// A child gave a value.
    ChildWorkflowExecutionCompleted(ChildWorkflowExecutionCompleted),
    /// A child failed for good.
    ChildWorkflowExecutionFailed(Box<ChildWorkflowExecutionFailed>),
    /// A child ended itself after a request to cancel.
    ChildWorkflowExecutionCanceled(ChildWorkflowExecutionCanceled),
    /// A child took longer than allowed, for good.
    ChildWorkflowExecutionTimedOut(ChildWorkflowExecutionTimedOut),
    /// A child was ended from outside.
    ChildWorkflowExecutionTerminated(ChildWorkflowExecutionTerminated),
    /// The workflow signaled another run.
    SignalExternalWorkflowExecutionInitiated(Box<SignalExternalWorkflowExecutionInitiated>),
    /// The signal did not arrive.
    SignalExternalWorkflowExecutionFailed(SignalExternalWorkflowExecutionFailed),
    /// The signal arrived.
    ExternalWorkflowExecutionSignaled(ExternalWorkflowExecutionSignaled),
    /// The workflow asked another run to cancel itself.
    RequestCancelExternalWorkflowExecutionInitiated(Box<RequestCancelExternalWorkflowExecutionInitiated>),
    /// The request did not arrive.
    RequestCancelExternalWorkflowExecutionFailed(RequestCancelExternalWorkflowExecutionFailed),
    /// The request arrived.
    ExternalWorkflowExecutionCancelRequested(ExternalWorkflowExecutionCancelRequested),
    /// The workflow accepted an update.
    WorkflowExecutionUpdateAccepted(Box<WorkflowExecutionUpdateAccepted>),
    /// An update ended.
    WorkflowExecutionUpdateCompleted(Box<WorkflowExecutionUpdateCompleted>),
    /// The workflow recorded what must not be computed twice.
    MarkerRecorded(Box<MarkerRecorded>),
    /// The workflow changed what lists filter by.
    UpsertWorkflowSearchAttributes(UpsertWorkflowSearchAttributes),
    /// The workflow changed the notes on its run.
    WorkflowPropertiesModified(WorkflowPropertiesModified),
    /// Somebody paused the run: no workflow task starts.
    WorkflowExecutionPaused(WorkflowExecutionPaused),
    /// Somebody let the run go on.
    WorkflowExecutionUnpaused(WorkflowExecutionUnpaused),
    /// The run ended with a value.
    WorkflowExecutionCompleted(WorkflowExecutionCompleted),
    /// The run ended with a failure.
    WorkflowExecutionFailed(WorkflowExecutionFailed),
    /// The run took longer than allowed.
    WorkflowExecutionTimedOut(WorkflowExecutionTimedOut),
    /// The run ended itself after a request to cancel.
    WorkflowExecutionCanceled(WorkflowExecutionCanceled),
    /// The run was ended from outside.
    WorkflowExecutionTerminated(WorkflowExecutionTerminated),
    /// The run ended and another goes on under its workflow id.
    WorkflowExecutionContinuedAsNew(Box<WorkflowExecutionContinuedAsNew>),
}

impl EventKind {
    /// The event type's name as stored and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WorkflowExecutionStarted(_) => "WorkflowExecutionStarted",
            Self::WorkflowExecutionSignaled(_) => "WorkflowExecutionSignaled",
            Self::WorkflowExecutionCancelRequested(_) => "WorkflowExecutionCancelRequested",
            Self::WorkflowTaskScheduled(_) => "WorkflowTaskScheduled",
            Self::WorkflowTaskStarted(_) => "WorkflowTaskStarted",
            Self::WorkflowTaskCompleted(_) => "WorkflowTaskCompleted",
            Self::WorkflowTaskFailed(_) => "WorkflowTaskFailed",
            Self::WorkflowTaskTimedOut(_) => "WorkflowTaskTimedOut",
            Self::ActivityTaskScheduled(_) => "ActivityTaskScheduled",
            Self::ActivityTaskStarted(_) => "ActivityTaskStarted",
            Self::ActivityTaskCompleted(_) => "ActivityTaskCompleted",
            Self::ActivityTaskFailed(_) => "ActivityTaskFailed",
            Self::ActivityTaskTimedOut(_) => "ActivityTaskTimedOut",
            Self::ActivityTaskCancelRequested(_) => "ActivityTaskCancelRequested",
            Self::ActivityTaskCanceled(_) => "ActivityTaskCanceled",
            Self::TimerStarted(_) => "TimerStarted",
            Self::TimerFired(_) => "TimerFired",
            Self::TimerCanceled(_) => "TimerCanceled",
            Self::StartChildWorkflowExecutionInitiated(_) => "StartChildWorkflowExecutionInitiated",
            Self::StartChildWorkflowExecutionFailed(_) => "StartChildWorkflowExecutionFailed",
            Self::ChildWorkflowExecutionStarted(_) => "ChildWorkflowExecutionStarted",
            Self::ChildWorkflowExecutionCompleted(_) => "ChildWorkflowExecutionCompleted",
            Self::ChildWorkflowExecutionFailed(_) => "ChildWorkflowExecutionFailed",
            Self::ChildWorkflowExecutionCanceled(_) => "ChildWorkflowExecutionCanceled",
            Self::ChildWorkflowExecutionTimedOut(_) => "ChildWorkflowExecutionTimedOut",
            Self::ChildWorkflowExecutionTerminated(_) => "ChildWorkflowExecutionTerminated",
            Self::SignalExternalWorkflowExecutionInitiated(_) => "SignalExternalWorkflowExecutionInitiated",
            Self::SignalExternalWorkflowExecutionFailed(_) => "SignalExternalWorkflowExecutionFailed",
            Self::ExternalWorkflowExecutionSignaled(_) => "ExternalWorkflowExecutionSignaled",
            Self::RequestCancelExternalWorkflowExecutionInitiated(_) => {
                "RequestCancelExternalWorkflowExecutionInitiated"
            }
            Self::RequestCancelExternalWorkflowExecutionFailed(_) => "RequestCancelExternalWorkflowExecutionFailed",
            Self::ExternalWorkflowExecutionCancelRequested(_) => "ExternalWorkflowExecutionCancelRequested",
            Self::WorkflowExecutionUpdateAccepted(_) => "WorkflowExecutionUpdateAccepted",
            Self::WorkflowExecutionUpdateCompleted(_) => "WorkflowExecutionUpdateCompleted",
            Self::MarkerRecorded(_) => "MarkerRecorded",
            Self::UpsertWorkflowSearchAttributes(_) => "UpsertWorkflowSearchAttributes",
            Self::WorkflowPropertiesModified(_) => "WorkflowPropertiesModified",
            Self::WorkflowExecutionPaused(_) => "WorkflowExecutionPaused",
            Self::WorkflowExecutionUnpaused(_) => "WorkflowExecutionUnpaused",
            Self::WorkflowExecutionCompleted(_) => "WorkflowExecutionCompleted",
            Self::WorkflowExecutionFailed(_) => "WorkflowExecutionFailed",
            Self::WorkflowExecutionTimedOut(_) => "WorkflowExecutionTimedOut",
            Self::WorkflowExecutionCanceled(_) => "WorkflowExecutionCanceled",
            Self::WorkflowExecutionTerminated(_) => "WorkflowExecutionTerminated",
            Self::WorkflowExecutionContinuedAsNew(_) => "WorkflowExecutionContinuedAsNew",
        }
    }

    /// Says whether a run is closed by this event.
    pub fn closes(&self) -> bool {
        matches!(
            self,
            Self::WorkflowExecutionCompleted(_)
                | Self::WorkflowExecutionFailed(_)
                | Self::WorkflowExecutionTimedOut(_)
                | Self::WorkflowExecutionCanceled(_)
                | Self::WorkflowExecutionTerminated(_)
                | Self::WorkflowExecutionContinuedAsNew(_)
        )
    }

    /// Says whether a workflow command made this event (so that replay must make the command again).
    pub fn is_command(&self) -> bool {
        matches!(
            self,
            Self::ActivityTaskScheduled(_)
                | Self::ActivityTaskCancelRequested(_)
                | Self::TimerStarted(_)
                | Self::TimerCanceled(_)
                | Self::StartChildWorkflowExecutionInitiated(_)
                | Self::SignalExternalWorkflowExecutionInitiated(_)
                | Self::RequestCancelExternalWorkflowExecutionInitiated(_)
                | Self::WorkflowExecutionUpdateAccepted(_)
                | Self::WorkflowExecutionUpdateCompleted(_)
                | Self::MarkerRecorded(_)
                | Self::UpsertWorkflowSearchAttributes(_)
                | Self::WorkflowPropertiesModified(_)
                | Self::WorkflowExecutionCompleted(_)
                | Self::WorkflowExecutionFailed(_)
                | Self::WorkflowExecutionCanceled(_)
                | Self::WorkflowExecutionContinuedAsNew(_)
        )
    }
}
