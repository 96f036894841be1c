//! Panics of workflow code: kept quiet, caught, and turned into a task failure that says what to use instead.

use std::{
    any::Any,
    cell::RefCell,
    panic::{self, AssertUnwindSafe, Location, PanicHookInfo},
    sync::Once,
};

use dacapo_core::event::WorkflowTaskFailedCause;

use super::{
    failure::{TaskFailure, position},
    wake,
};

thread_local! {
    /// The place of the last panic of workflow code on this thread.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics of workflow code silent, once for the process: they are reported with the task that they fail. All
/// other panics go to the hook that was there.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if wake::runs_workflow_code() {
                LAST_PANIC.set(info.location().map(position));
            } else {
                before(info);
            }
        }));
    });
}

/// A panic that was caught.
#[derive(Debug)]
pub(super) struct Caught {
    message: String,
    position: Option<String>,
}

/// Runs code of the user.
pub(super) fn catch<R>(code: impl FnOnce() -> R) -> Result<R, Caught> {
    panic::catch_unwind(AssertUnwindSafe(code))
        .map_err(|payload| Caught { message: message(payload.as_ref()).to_owned(), position: LAST_PANIC.take() })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a value that is no text"
    }
}

impl Caught {
    /// Says what happened and what to do; `last_call` is where the code last made a durable future.
    pub(super) fn into_failure(self, last_call: Option<&'static Location<'static>>) -> TaskFailure {
        let Self { message, position } = self;
        // The panic is inside of a library where its line says nothing about the user's code.
        let outside = position.as_deref().is_none_or(|position| {
            ["/.cargo/registry/", "/rustc/", "/library/std/", "/library/core/"]
                .iter()
                .any(|path| position.contains(path))
        });
        let near = match last_call.filter(|_| outside) {
            Some(at) => format!("; the last durable call before it was at {}", super::failure::position(at)),
            None => String::new(),
        };
        // What tokio says where no runtime is entered; these parts have been stable for years of its versions.
        let tokio = message.contains("there is no reactor running")
            || message.contains("Tokio 1.x")
            || message.contains("no timer running")
            || message.contains("`spawn_local` called from outside");
        let failure = if tokio {
            TaskFailure::new(
                WorkflowTaskFailedCause::ForeignAwait,
                format!(
                    "workflow code used a timer, task, socket or file of tokio, which history knows nothing of: use \
                     `ctx.sleep(…)` for time, futures joined with `join!` or `join_all` for tasks, and an activity for \
                     everything else; tokio said: {message}{near}"
                ),
            )
        } else {
            TaskFailure::new(
                WorkflowTaskFailedCause::Panic,
                format!(
                    "workflow code panicked: {message}{near}; the run stays open and goes on with a build that does \
                     not panic here (a workflow that is to fail returns an error)"
                ),
            )
        };
        failure.at_position(position)
    }
}
