//! How workflows and activities are declared: as plain functions whose return type carries what they are.
//!
//! `#[workflow]` and `#[activities]` turn an `async fn` into a function that returns a [`Run`] or an [`ActivityFuture`];
//! the traits here recognise such functions by that type, so that `client.start(checkout, order)` and
//! `ctx.activity(Payments::charge, order)` know name, input and output from the value. The macros add nothing that
//! cannot be written by hand. What another binary implements is named by a constant: [`Workflow`] and [`Activity`],
//! [`Signal`], [`Query`], [`Update`] and [`SearchAttribute`].
//!
//! No scheduling and no replay lives here: the tables only turn a stored name and a payload into a future.

mod activity;
mod meta;
mod names;
mod registration;
mod workflow;

use serde::{Serialize, de::DeserializeOwned};

pub(crate) use self::registration::Attempt;
pub use self::{
    activity::{ActivityFn, ActivityFuture, ActivityMeta, NamedActivity, Slot},
    meta::{HasTimeout, Meta, NoTimeout, TimeoutSet, TimeoutState},
    names::{Activity, AttributeValue, Query, Remote, SearchAttribute, Signal, Update, Workflow},
    registration::{
        ActivitiesHost, ActivityDefinition, ActivityTable, RegistrationError, WorkflowDefinition, WorkflowFuture,
        WorkflowTable,
    },
    workflow::{NamedWorkflow, Run, WorkflowFn, WorkflowMeta},
};

/// A value that can be stored: input and output of workflows and activities, what signals carry, what queries read.
///
/// Everything that serde can write and read back is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored",
    label = "not `Serialize + DeserializeOwned`",
    note = "put `#[dacapo::data]` on the type, or derive `serde::Serialize` and `serde::Deserialize`"
)]
pub trait Data: Serialize + DeserializeOwned + 'static {}

impl<T: Serialize + DeserializeOwned + 'static> Data for T {}

/// What a workflow or an activity returns: a `Result` of stored data, whose error becomes the failure `F`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what workflows and activities return",
    label = "expected `Result<T, {F}>`",
    note = "`T` is `Serialize + DeserializeOwned`, the error `{F}` or a type that converts into it"
)]
pub trait Outcome<F> {
    /// The value on success.
    type Output: Data;

    /// Converts the error.
    ///
    /// # Errors
    /// The failure that was returned.
    fn into_result(self) -> Result<Self::Output, F>;
}

impl<T: Data, E: Into<F>, F> Outcome<F> for Result<T, E> {
    type Output = T;

    fn into_result(self) -> Result<T, F> {
        self.map_err(Into::into)
    }
}

/// What the code that the macros generate refers to; not for use by hand.
pub mod private {
    pub use std::sync::Arc;

    pub use serde;

    pub use super::{
        ActivitiesHost, ActivityFuture, ActivityMeta, ActivityTable, Data, HasTimeout, Meta, NoTimeout, Outcome,
        RegistrationError, Run, WorkflowMeta,
    };
    pub use crate::errors::{ActivityError, WorkflowError};

    /// Says at the type of an input that it cannot be stored.
    pub fn assert_data<T: Data>() {}

    /// Says at a return type that it is none.
    pub fn assert_outcome<F, R: Outcome<F>>() {}
}
