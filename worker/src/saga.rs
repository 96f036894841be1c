//! Sagas: what was done is undone in reverse order when a later step fails.

use std::fmt;

use futures_util::future::LocalBoxFuture;

use crate::{WorkflowContext, errors::WorkflowError};

type Compensation = Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<(), WorkflowError>>>;

/// The compensations of the steps that were done so far.
///
/// ```
/// # use dacapo_worker::{Saga, WorkflowContext, WorkflowError, workflow, define::{Activity, HasTimeout}};
/// # extern crate dacapo_worker as dacapo;
/// # const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
/// # const RESERVE: Activity<u32, u32, HasTimeout> = Activity::new("reserve").start_to_close(SECOND);
/// # const RELEASE: Activity<u32, (), HasTimeout> = Activity::new("release").start_to_close(SECOND);
/// # const CHARGE: Activity<u32, (), HasTimeout> = Activity::new("charge").start_to_close(SECOND);
/// #[workflow]
/// async fn order(ctx: WorkflowContext, id: u32) -> Result<(), WorkflowError> {
///     let mut saga = Saga::new(&ctx);
///     let steps = async {
///         let shelf = ctx.activity(RESERVE, id).await?;
///         saga.compensate(move |ctx| async move { Ok(ctx.activity(RELEASE, shelf).await?) });
///         ctx.activity(CHARGE, id).await?;
///         Ok(())
///     };
///     let done = steps.await;
///     saga.end(done).await
/// }
/// ```
#[must_use = "compensations run only when the saga is ended"]
pub struct Saga {
    context: WorkflowContext,
    compensations: Vec<Compensation>,
}

impl Saga {
    /// Begins a saga.
    pub fn new(context: &WorkflowContext) -> Self {
        Self { context: context.clone(), compensations: Vec::new() }
    }

    /// Notes how to undo a step that was done, or, said before the step, one that may have been done.
    pub fn compensate<F, Fut>(&mut self, compensation: F)
    where
        F: FnOnce(WorkflowContext) -> Fut + 'static,
        Fut: Future<Output = Result<(), WorkflowError>> + 'static,
    {
        let context = self.context.clone();
        self.compensations.push(Box::new(move || Box::pin(compensation(context))));
    }

    /// Gives the outcome of the steps back, and before that, when it is an error, undoes what was noted.
    ///
    /// # Errors
    /// The error of the steps, also when compensations fail as well.
    pub async fn end<T, E>(self, outcome: Result<T, E>) -> Result<T, E> {
        if outcome.is_err() {
            drop(self.undo().await);
        }
        outcome
    }

    /// Undoes what was noted, the last first, out of reach of any cancellation. Each is tried, whatever became of the
    /// others.
    ///
    /// # Errors
    /// The first error of a compensation.
    pub async fn undo(self) -> Result<(), WorkflowError> {
        let compensations = self.compensations;
        let undone = async {
            let mut first = Ok(());
            for compensation in compensations.into_iter().rev() {
                let undone = compensation().await;
                if first.is_ok() {
                    first = undone;
                }
            }
            first
        };
        self.context.shielded(undone).await
    }
}

impl fmt::Debug for Saga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saga").field("compensations", &self.compensations.len()).finish_non_exhaustive()
    }
}
