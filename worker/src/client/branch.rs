//! Resets and forks of a workflow, with the types of its handle.

use std::{fmt, future::IntoFuture, marker::PhantomData, sync::Arc};

use dacapo_core::{
    ActivityId, Payload, WorkflowId,
    branch::{Edit, Reapply, ResetPoint},
    payload::PayloadError,
};
use dacapo_runtime::{Branched, ClientError, ForkOptions, ResetOptions, WorkflowExecution};
use futures_util::future::BoxFuture;

use super::WorkflowHandle;
use crate::define::Data;

/// A reset that is sent when it is awaited; gives a handle on the run that goes on.
#[must_use = "a reset is sent when it is awaited"]
pub struct ResetCall<R> {
    client: dacapo_runtime::Client,
    execution: WorkflowExecution,
    workflow_type: Arc<str>,
    point: ResetPoint,
    reason: String,
    options: ResetOptions,
    result: PhantomData<fn() -> R>,
}

impl<R> ResetCall<R> {
    pub(super) fn new(
        client: dacapo_runtime::Client,
        execution: WorkflowExecution,
        workflow_type: Arc<str>,
        point: ResetPoint,
    ) -> Self {
        let (reason, options) = (String::new(), ResetOptions::default());
        Self { client, execution, workflow_type, point, reason, options, result: PhantomData }
    }

    /// Says why, for whoever reads the history.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Leaves signals and updates behind that came after the point; else they are recorded again.
    pub fn without_later_messages(mut self) -> Self {
        self.options.reapply = Reapply::Nothing;
        self
    }

    /// Names the request: the same one always leads to the same run.
    pub fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.options.request_id = Some(request_id.into());
        self
    }
}

impl<R: 'static> IntoFuture for ResetCall<R> {
    type Output = Result<WorkflowHandle<R>, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let branched = self.client.reset(&self.execution, self.point, &self.reason, self.options).await?;
            Ok(handle(self.client, &self.workflow_type, branched))
        })
    }
}

impl<R> fmt::Debug for ResetCall<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResetCall")
            .field("execution", &self.execution)
            .field("point", &self.point)
            .finish_non_exhaustive()
    }
}

/// A fork that is made when it is awaited; gives a handle on the new workflow.
#[must_use = "a fork is made when it is awaited"]
pub struct ForkCall<R> {
    client: dacapo_runtime::Client,
    execution: WorkflowExecution,
    workflow_type: Arc<str>,
    options: Result<ForkOptions, PayloadError>,
    result: PhantomData<fn() -> R>,
}

impl<R> ForkCall<R> {
    pub(super) fn new(client: dacapo_runtime::Client, execution: WorkflowExecution, workflow_type: Arc<str>) -> Self {
        Self { client, execution, workflow_type, options: Ok(ForkOptions::default()), result: PhantomData }
    }

    fn set(mut self, change: impl FnOnce(&mut ForkOptions)) -> Self {
        if let Ok(options) = &mut self.options {
            change(options);
        }
        self
    }

    fn edit(mut self, edit: Result<Edit, PayloadError>) -> Self {
        match (&mut self.options, edit) {
            (Ok(options), Ok(edit)) => options.edits.push(edit),
            (options, Err(error)) => *options = Err(error),
            (Err(_), Ok(_)) => {}
        }
        self
    }

    /// Begins the fork at a point; else where its first edit is seen.
    pub fn at(self, point: ResetPoint) -> Self {
        self.set(|options| options.point = Some(point))
    }

    /// Gives the new workflow another input.
    pub fn input<T: Data>(self, input: &T) -> Self {
        let input = Payload::encode("input of a fork", input);
        self.edit(input.map(Edit::Input))
    }

    /// Gives an activity another result than it had, or than its failure; `dacapo show` names its number.
    pub fn activity_result<T: Data>(self, activity_id: ActivityId, result: &T) -> Self {
        let result = Payload::encode(&format!("result of activity {activity_id}"), result);
        self.edit(result.map(|result| Edit::ActivityResult { activity_id, result }))
    }

    /// Names the new workflow; else its id is the source's with `-fork-` and a fresh number.
    pub fn id(self, workflow_id: impl Into<WorkflowId>) -> Self {
        self.set(|options| options.workflow_id = Some(workflow_id.into()))
    }

    /// Says why, for whoever reads the history.
    pub fn reason(self, reason: impl Into<String>) -> Self {
        self.set(|options| options.reason = reason.into())
    }

    /// Leaves signals and updates behind that came after the point; else they are recorded again.
    pub fn without_later_messages(self) -> Self {
        self.set(|options| options.reapply = Reapply::Nothing)
    }

    /// Names the request: the same one with the same id always leads to the same run.
    pub fn request_id(self, request_id: impl Into<String>) -> Self {
        self.set(|options| options.request_id = Some(request_id.into()))
    }
}

impl<R: 'static> IntoFuture for ForkCall<R> {
    type Output = Result<WorkflowHandle<R>, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let branched = self.client.fork(&self.execution, self.options?).await?;
            Ok(handle(self.client, &self.workflow_type, branched))
        })
    }
}

impl<R> fmt::Debug for ForkCall<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForkCall")
            .field("execution", &self.execution)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

fn handle<R>(client: dacapo_runtime::Client, workflow_type: &str, branched: Branched) -> WorkflowHandle<R> {
    let Branched { workflow_id, run, new } = branched;
    let execution = WorkflowExecution::chain(workflow_id, run.run_id);
    WorkflowHandle::started(client, execution, workflow_type, run, new)
}
