//! Workflows as values: functions that return a [`Run`], and the traits that recognise them.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::LocalBoxFuture;

use super::{Data, Outcome};
use crate::{WorkflowContext, WorkflowError};

/// The future of a workflow's code, with the type `M` that carries the workflow's name.
///
/// It is not `Send`: the thread that starts it polls it until it ends.
#[must_use = "a workflow's code does nothing unless its future is awaited or returned"]
pub struct Run<M, R> {
    future: LocalBoxFuture<'static, R>,
    marker: PhantomData<fn() -> M>,
}

impl<M, R> Run<M, R> {
    /// Makes the run of a future.
    pub fn new(future: impl Future<Output = R> + 'static) -> Self {
        Self { future: Box::pin(future), marker: PhantomData }
    }
}

impl<M, R> Future for Run<M, R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        self.future.as_mut().poll(context)
    }
}

impl<M: WorkflowMeta, R> fmt::Debug for Run<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Run").field(&M::NAME).finish()
    }
}

/// What is known of a workflow without its code.
pub trait WorkflowMeta: 'static {
    /// The workflow type under which runs are stored.
    const NAME: &'static str;
}

/// A workflow that can be started: a function with `#[workflow]`, or a [`Workflow`](super::Workflow) constant.
///
/// `Marker` tells the kinds of workflows apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a workflow",
    label = "not a workflow",
    note = "put `#[workflow]` on the function, and see that its input and output are `Serialize + DeserializeOwned`",
    note = "a workflow of another binary is named by a constant: `const CHECKOUT: Workflow<Order, Receipt> = Workflow::new(\"checkout\")`"
)]
pub trait NamedWorkflow<Marker> {
    /// What a run starts with; `()` for a workflow without input.
    type Input: Data;
    /// What a run gives when it completes.
    type Output: Data;

    /// Gives the workflow type under which runs are stored.
    fn name(&self) -> &'static str;
}

/// A workflow whose code is here, so that a worker can run it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a workflow with code",
    label = "not a function with `#[workflow]`",
    note = "put `#[workflow]` on the function, and see that its input and output are `Serialize + DeserializeOwned`"
)]
pub trait WorkflowFn<Marker>: NamedWorkflow<Marker> + Send + Sync + 'static {
    /// Makes the future of the workflow's code.
    fn call(
        &self,
        context: WorkflowContext,
        input: Self::Input,
    ) -> LocalBoxFuture<'static, Result<Self::Output, WorkflowError>>;
}

impl<F, M, I, R> NamedWorkflow<(M, I, R)> for F
where
    F: Fn(WorkflowContext, I) -> Run<M, R>,
    M: WorkflowMeta,
    I: Data,
    R: Outcome<WorkflowError>,
{
    type Input = I;
    type Output = R::Output;

    fn name(&self) -> &'static str {
        M::NAME
    }
}

impl<F, M, I, R> WorkflowFn<(M, I, R)> for F
where
    F: Fn(WorkflowContext, I) -> Run<M, R> + Send + Sync + 'static,
    M: WorkflowMeta,
    I: Data,
    R: Outcome<WorkflowError> + 'static,
{
    fn call(&self, context: WorkflowContext, input: I) -> LocalBoxFuture<'static, Result<R::Output, WorkflowError>> {
        let run = self(context, input);
        Box::pin(async move { run.await.into_result() })
    }
}

impl<F, M, R> NamedWorkflow<(M, R)> for F
where
    F: Fn(WorkflowContext) -> Run<M, R>,
    M: WorkflowMeta,
    R: Outcome<WorkflowError>,
{
    type Input = ();
    type Output = R::Output;

    fn name(&self) -> &'static str {
        M::NAME
    }
}

impl<F, M, R> WorkflowFn<(M, R)> for F
where
    F: Fn(WorkflowContext) -> Run<M, R> + Send + Sync + 'static,
    M: WorkflowMeta,
    R: Outcome<WorkflowError> + 'static,
{
    fn call(&self, context: WorkflowContext, (): ()) -> LocalBoxFuture<'static, Result<R::Output, WorkflowError>> {
        let run = self(context);
        Box::pin(async move { run.await.into_result() })
    }
}
