//! Activities as values: methods that return an [`ActivityFuture`], and the traits that recognise them.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;

use super::{Data, Meta, Outcome, TimeoutState};
use crate::{ActivityContext, ActivityError};

/// The future of activity number `N` of the host `H`.
#[must_use = "an activity does nothing unless its future is awaited"]
pub struct ActivityFuture<'a, H, const N: usize, R> {
    future: BoxFuture<'a, R>,
    marker: PhantomData<fn() -> H>,
}

impl<'a, H, const N: usize, R> ActivityFuture<'a, H, N, R> {
    /// Makes the activity of a future.
    pub fn new(future: impl Future<Output = R> + Send + 'a) -> Self {
        Self { future: Box::pin(future), marker: PhantomData }
    }
}

impl<H, const N: usize, R> Future for ActivityFuture<'_, H, N, R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        self.future.as_mut().poll(context)
    }
}

impl<H: ActivityMeta<N>, const N: usize, R> fmt::Debug for ActivityFuture<'_, H, N, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActivityFuture").field(&H::META.name).finish()
    }
}

/// What is known of activity number `N` of a host without its code.
pub trait ActivityMeta<const N: usize> {
    /// Whether `META` sets a timeout that ends the activity.
    type Timeout: TimeoutState;
    /// Its name and options.
    const META: Meta;
}

/// The place of an activity among those of its host; part of the inferred marker of [`NamedActivity`].
#[derive(Clone, Copy, Debug)]
pub struct Slot<H, const N: usize>(PhantomData<fn() -> H>);

/// An activity that can be called: a method with `#[activity]`, or an [`Activity`](super::Activity) constant.
///
/// `Marker` tells the kinds of activities apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity",
    label = "not an activity",
    note = "put `#[activity]` on the method and `#[activities]` on its `impl` block, and see that its input and output are `Serialize + DeserializeOwned`",
    note = "an activity of another binary is named by a constant: `const CHARGE: Activity<Order, Receipt> = Activity::new(\"charge\")`"
)]
pub trait NamedActivity<Marker> {
    /// What an attempt gets; `()` for an activity without input.
    type Input: Data;
    /// What it gives when it completes.
    type Output: Data;
    /// Whether a call needs no timeout of its own.
    type Timeout: TimeoutState;

    /// Gives its name and options.
    fn meta(&self) -> Meta;
}

/// An activity whose code is here, so that a worker can run it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity with code",
    label = "not a method with `#[activity]`",
    note = "put `#[activity]` on the method and `#[activities]` on its `impl` block, and see that its input and output are `Serialize + DeserializeOwned`"
)]
pub trait ActivityFn<Marker>: NamedActivity<Marker> + Send + Sync + 'static {
    /// The type whose method it is; its fields are what the activity depends on.
    type Host: Send + Sync + 'static;

    /// Makes the future of one attempt.
    fn call<'a>(
        &self,
        host: &'a Self::Host,
        context: &'a ActivityContext,
        input: Self::Input,
    ) -> BoxFuture<'a, Result<Self::Output, ActivityError>>;
}

impl<F, H, const N: usize, I, R> NamedActivity<(Slot<H, N>, I, R)> for F
where
    F: for<'a> Fn(&'a H, &'a ActivityContext, I) -> ActivityFuture<'a, H, N, R>,
    H: ActivityMeta<N> + 'static,
    I: Data,
    R: Outcome<ActivityError>,
{
    type Input = I;
    type Output = R::Output;
    type Timeout = H::Timeout;

    fn meta(&self) -> Meta {
        H::META
    }
}

impl<F, H, const N: usize, I, R> ActivityFn<(Slot<H, N>, I, R)> for F
where
    F: for<'a> Fn(&'a H, &'a ActivityContext, I) -> ActivityFuture<'a, H, N, R> + Send + Sync + 'static,
    H: ActivityMeta<N> + Send + Sync + 'static,
    I: Data,
    R: Outcome<ActivityError> + 'static,
{
    type Host = H;

    fn call<'a>(
        &self,
        host: &'a H,
        context: &'a ActivityContext,
        input: I,
    ) -> BoxFuture<'a, Result<R::Output, ActivityError>> {
        let attempt = self(host, context, input);
        Box::pin(async move { attempt.await.into_result() })
    }
}

impl<F, H, const N: usize, R> NamedActivity<(Slot<H, N>, R)> for F
where
    F: for<'a> Fn(&'a H, &'a ActivityContext) -> ActivityFuture<'a, H, N, R>,
    H: ActivityMeta<N> + 'static,
    R: Outcome<ActivityError>,
{
    type Input = ();
    type Output = R::Output;
    type Timeout = H::Timeout;

    fn meta(&self) -> Meta {
        H::META
    }
}

impl<F, H, const N: usize, R> ActivityFn<(Slot<H, N>, R)> for F
where
    F: for<'a> Fn(&'a H, &'a ActivityContext) -> ActivityFuture<'a, H, N, R> + Send + Sync + 'static,
    H: ActivityMeta<N> + Send + Sync + 'static,
    R: Outcome<ActivityError> + 'static,
{
    type Host = H;

    fn call<'a>(
        &self,
        host: &'a H,
        context: &'a ActivityContext,
        (): (),
    ) -> BoxFuture<'a, Result<R::Output, ActivityError>> {
        let attempt = self(host, context);
        Box::pin(async move { attempt.await.into_result() })
    }
}
