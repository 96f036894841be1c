//! Short names, as rows have them: every byte of a row is written four times by the database (docs/history-format.md).
//!
//! What stands here is part of the stored format and never changes; what does not stand here is written as it is.

/// Makes both directions of a table of names.
macro_rules! names {
    ($(#[$doc:meta])* $module:ident: $($long:literal $short:literal),+ $(,)?) => {
        $(#[$doc])*
        pub(super) mod $module {
            pub(in crate::batch) const ALL: &[(&str, &str)] = &[$(($long, $short)),+];

            /// The name as rows have it.
            pub(in crate::batch) fn short(long: &'static str) -> &'static str {
                match long {
                    $($long => $short,)+
                    _ => long,
                }
            }

            /// The name that a row has, spelled out.
            pub(in crate::batch) fn long(short: &str) -> &str {
                match short {
                    $($short => $long,)+
                    _ => short,
                }
            }
        }
    };
}

names! {
    /// Types of events: a letter for what it is about, one for what happened.
    types:
    "WorkflowExecutionStarted" "Wb",
    "WorkflowExecutionSignaled" "Wg",
    "WorkflowExecutionCancelRequested" "Wr",
    "WorkflowExecutionCompleted" "Wc",
    "WorkflowExecutionFailed" "Wf",
    "WorkflowTaskScheduled" "Ts",
    "WorkflowTaskStarted" "Tb",
    "WorkflowTaskCompleted" "Tc",
    "WorkflowTaskFailed" "Tf",
    "WorkflowTaskTimedOut" "Tt",
    "ActivityTaskScheduled" "As",
    "ActivityTaskStarted" "Ab",
    "ActivityTaskCompleted" "Ac",
    "ActivityTaskFailed" "Af",
    "ActivityTaskTimedOut" "At",
    "ActivityTaskCancelRequested" "Ar",
    "ActivityTaskCanceled" "Ax",
    "TimerStarted" "Mb",
    "TimerFired" "Mf",
    "TimerCanceled" "Mx",
    "StartChildWorkflowExecutionInitiated" "Ci",
    "ChildWorkflowExecutionStarted" "Cb",
    "ChildWorkflowExecutionCompleted" "Cc",
    "ChildWorkflowExecutionFailed" "Cf",
    "SignalExternalWorkflowExecutionInitiated" "Gi",
    "ExternalWorkflowExecutionSignaled" "Gg",
    "WorkflowExecutionUpdateAccepted" "Ua",
    "WorkflowExecutionUpdateCompleted" "Uc",
    "MarkerRecorded" "K",
}

names! {
    /// Attributes of events. `message_id` has no short name: rows are searched for it with the bytes before it.
    attributes:
    "activity_id" "a",
    "started_event_id" "b",
    "child_id" "c",
    "fire_at" "d",
    "attempt" "e",
    "failure" "f",
    "signal_name" "g",
    "input" "i",
    "workflow_type" "k",
    "timer_id" "m",
    "workflow_id" "n",
    "options" "o",
    "task_queue" "q",
    "result" "r",
    "scheduled_event_id" "s",
    "started_at" "t",
    "initiated_event_id" "v",
    "identity" "w",
    "activity_type" "y",
}
