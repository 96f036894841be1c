//! Typed names: what a client and a workflow share, and what another binary implements.

use std::{fmt, marker::PhantomData, time::Duration};

use super::{Data, HasTimeout, Meta, NamedActivity, NamedWorkflow, NoTimeout, TimeoutState};

/// Defines a name that carries types and nothing else.
macro_rules! typed_name {
    ($(#[$doc:meta])* $name:ident<$($type:ident $(= $default:ty)?),+>) => {
        $(#[$doc])*
        pub struct $name<$($type $(= $default)?),+> {
            name: &'static str,
            types: PhantomData<fn($($type),+)>,
        }

        impl<$($type),+> $name<$($type),+> {
            /// Makes the name.
            pub const fn new(name: &'static str) -> Self {
                Self { name, types: PhantomData }
            }

            /// Gives the name as it is stored.
            pub const fn name(&self) -> &'static str {
                self.name
            }
        }

        impl<$($type),+> Clone for $name<$($type),+> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($type),+> Copy for $name<$($type),+> {}

        impl<$($type),+> fmt::Debug for $name<$($type),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.name).finish()
            }
        }
    };
}

typed_name! {
    /// A signal and the type of what it carries.
    Signal<T>
}

typed_name! {
    /// A query, the type of the value that it reads, and that of its argument where the code computes the value.
    Query<T, A = ()>
}

typed_name! {
    /// A search attribute and the type of its value, by which lists filter.
    SearchAttribute<T>
}

typed_name! {
    /// An update, the type of its argument and that of its reply.
    Update<A, R>
}

typed_name! {
    /// A workflow of another binary: its name, input and output, enough to start it.
    Workflow<I, O>
}

/// A value of a search attribute: a text, a number, or a truth value.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the value of a search attribute",
    label = "not a text, a number or a `bool`",
    note = "lists filter by scalars: use `String`, an integer, `f64` or `bool`, and `ctx.set_memo(…)` for anything else"
)]
pub trait AttributeValue: Data {}

/// Says which types are scalars.
macro_rules! scalars {
    ($($type:ty),*) => { $(impl AttributeValue for $type {})* };
}

scalars!(String, bool, f64, f32, i64, i32, i16, i8, u64, u32, u16, u8);

/// The marker of workflows and activities that are only named.
#[derive(Clone, Copy, Debug)]
pub enum Remote {}

impl<I: Data, O: Data> NamedWorkflow<Remote> for Workflow<I, O> {
    type Input = I;
    type Output = O;

    fn name(&self) -> &'static str {
        self.name
    }
}

/// An activity of another binary: its name, input, output and options, enough to call it.
///
/// `T` is [`HasTimeout`] once a timeout is set for all calls:
///
/// ```
/// # use dacapo_worker::define::{Activity, HasTimeout};
/// # use std::time::Duration;
/// const CHARGE: Activity<u32, String> = Activity::new("charge");
/// const REFUND: Activity<u32, (), HasTimeout> = Activity::new("refund").start_to_close(Duration::from_secs(30));
/// # assert_eq!((CHARGE.name(), REFUND.name()), ("charge", "refund"));
/// ```
pub struct Activity<I, O, T = NoTimeout> {
    meta: Meta,
    types: PhantomData<fn(I, O, T)>,
}

impl<I, O> Activity<I, O> {
    /// Makes the name.
    pub const fn new(name: &'static str) -> Self {
        Self { meta: Meta::new(name), types: PhantomData }
    }
}

impl<I, O, T> Activity<I, O, T> {
    /// Gives the name as it is stored.
    pub const fn name(&self) -> &'static str {
        self.meta.name
    }

    /// Sets the longest time of one attempt, for all calls.
    #[must_use]
    pub const fn start_to_close(self, timeout: Duration) -> Activity<I, O, HasTimeout> {
        Activity { meta: self.meta.start_to_close(timeout), types: PhantomData }
    }

    /// Sets the longest time of all attempts together, for all calls.
    #[must_use]
    pub const fn schedule_to_close(self, timeout: Duration) -> Activity<I, O, HasTimeout> {
        Activity { meta: self.meta.schedule_to_close(timeout), types: PhantomData }
    }
}

impl<I, O, T> Clone for Activity<I, O, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O, T> Copy for Activity<I, O, T> {}

impl<I, O, T> fmt::Debug for Activity<I, O, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Activity").field(&self.meta.name).finish()
    }
}

impl<I: Data, O: Data, T: TimeoutState> NamedActivity<Remote> for Activity<I, O, T> {
    type Input = I;
    type Output = O;
    type Timeout = T;

    fn meta(&self) -> Meta {
        self.meta
    }
}
