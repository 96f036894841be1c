//! What a worker serves: names turned into code, with payloads at both ends.
//!
//! The tables know no types of users any more; they decode the input, run the code and encode what it gives.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
};

use dacapo_core::{
    limits,
    payload::{Payload, PayloadError},
};
use futures_util::future::{BoxFuture, LocalBoxFuture};

use super::{ActivityFn, Meta, WorkflowFn};
use crate::{ActivityContext, ActivityError, WorkflowContext, WorkflowError};

/// The error type of an activity whose stored input is not what it takes.
const UNDECODABLE_INPUT: &str = "UndecodableInput";

/// The error type of an activity whose result cannot be stored.
const UNENCODABLE_RESULT: &str = "UnencodableResult";

/// A type whose methods are activities.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no activities",
    label = "no activities",
    note = "put `#[activities]` on its `impl` block and `#[activity]` on the methods that are activities"
)]
pub trait ActivitiesHost: Sized + Send + Sync + 'static {
    /// Adds the activities to a table.
    ///
    /// # Errors
    /// When a name is taken or cannot be stored.
    fn register(self: Arc<Self>, table: &mut ActivityTable) -> Result<(), RegistrationError>;
}

impl<H: ActivitiesHost> ActivitiesHost for Arc<H> {
    fn register(self: Arc<Self>, table: &mut ActivityTable) -> Result<(), RegistrationError> {
        H::register(Arc::clone(&*self), table)
    }
}

/// The future of a registered workflow: its result as a payload, or an error where the result cannot be stored.
pub type WorkflowFuture = LocalBoxFuture<'static, Result<Result<Payload, WorkflowError>, PayloadError>>;

pub(crate) type StartFn = dyn Fn(WorkflowContext, &Payload) -> Result<WorkflowFuture, PayloadError> + Send + Sync;

/// A registered workflow.
#[derive(Clone)]
pub struct WorkflowDefinition {
    name: &'static str,
    start: Arc<StartFn>,
}

impl WorkflowDefinition {
    /// Gives the workflow type.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Makes the future of the workflow's code for a stored input.
    ///
    /// # Errors
    /// When the input is not what the workflow takes.
    pub fn start(&self, context: WorkflowContext, input: &Payload) -> Result<WorkflowFuture, PayloadError> {
        (self.start)(context, input)
    }
}

impl fmt::Debug for WorkflowDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowDefinition").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The workflows that a worker serves, by name.
#[derive(Clone, Debug, Default)]
pub struct WorkflowTable(BTreeMap<&'static str, WorkflowDefinition>);

impl WorkflowTable {
    /// Adds a workflow.
    ///
    /// # Errors
    /// When its name is taken or cannot be stored.
    pub fn add<Marker, W: WorkflowFn<Marker>>(&mut self, workflow: W) -> Result<(), RegistrationError> {
        let name = workflow.name();
        check_name(name)?;
        let Entry::Vacant(vacant) = self.0.entry(name) else {
            return Err(RegistrationError::DuplicateWorkflow { name });
        };
        let start = move |context: WorkflowContext, input: &Payload| {
            let input = input.decode(&format!("input of workflow `{name}`"))?;
            let future = workflow.call(context, input);
            let encoded: WorkflowFuture = Box::pin(async move {
                match future.await {
                    Ok(output) => Payload::encode(&format!("result of workflow `{name}`"), &output).map(Ok),
                    Err(error) => Ok(Err(error)),
                }
            });
            Ok(encoded)
        };
        vacant.insert(WorkflowDefinition { name, start: Arc::new(start) });
        Ok(())
    }

    /// Adds the fake of a workflow, in its place.
    pub(crate) fn add_fake(&mut self, name: &'static str, start: Arc<StartFn>) {
        self.0.insert(name, WorkflowDefinition { name, start });
    }

    /// Finds a workflow.
    pub fn get(&self, name: &str) -> Option<&WorkflowDefinition> {
        self.0.get(name)
    }

    /// Iterates over the workflows in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &WorkflowDefinition> {
        self.0.values()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(crate) type Attempt =
    dyn Fn(ActivityContext, &Payload) -> BoxFuture<'static, Result<Payload, ActivityError>> + Send + Sync;

/// A registered activity, bound to its host.
#[derive(Clone)]
pub struct ActivityDefinition {
    meta: Meta,
    attempt: Arc<Attempt>,
}

impl ActivityDefinition {
    /// Gives the name and the options.
    pub fn meta(&self) -> Meta {
        self.meta
    }

    /// Makes the future of one attempt for a stored input.
    ///
    /// An input that is not what the activity takes and a result that cannot be stored are failures that are not
    /// retried, because no attempt changes them.
    pub fn attempt(
        &self,
        context: ActivityContext,
        input: &Payload,
    ) -> BoxFuture<'static, Result<Payload, ActivityError>> {
        (self.attempt)(context, input)
    }
}

impl fmt::Debug for ActivityDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityDefinition").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// The activities that a worker serves, by name.
#[derive(Clone, Debug, Default)]
pub struct ActivityTable(BTreeMap<&'static str, ActivityDefinition>);

impl ActivityTable {
    /// Adds an activity with the host that its attempts share.
    ///
    /// # Errors
    /// When its name is taken or cannot be stored.
    pub fn add<Marker: 'static, A: ActivityFn<Marker>>(
        &mut self,
        host: &Arc<A::Host>,
        activity: A,
    ) -> Result<(), RegistrationError> {
        let meta = activity.meta();
        let name = meta.name;
        check_name(name)?;
        let Entry::Vacant(vacant) = self.0.entry(name) else {
            return Err(RegistrationError::DuplicateActivity { name });
        };
        let host = Arc::clone(host);
        let activity = Arc::new(activity);
        let attempt = move |context: ActivityContext, input: &Payload| -> BoxFuture<'static, _> {
            Box::pin(run_attempt(Arc::clone(&host), Arc::clone(&activity), context, input.clone()))
        };
        vacant.insert(ActivityDefinition { meta, attempt: Arc::new(attempt) });
        Ok(())
    }

    /// Adds all activities of a host.
    ///
    /// # Errors
    /// When a name is taken or cannot be stored.
    pub fn add_host(&mut self, host: impl ActivitiesHost) -> Result<(), RegistrationError> {
        Arc::new(host).register(self)
    }

    /// Takes what another table has, in place of activities of the same name.
    pub(crate) fn replace(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Adds the fake of an activity, in place of an earlier one.
    pub(crate) fn add_fake(&mut self, meta: Meta, attempt: Arc<Attempt>) {
        self.0.insert(meta.name, ActivityDefinition { meta, attempt });
    }

    /// Finds an activity.
    pub fn get(&self, name: &str) -> Option<&ActivityDefinition> {
        self.0.get(name)
    }

    /// Iterates over the activities in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &ActivityDefinition> {
        self.0.values()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

async fn run_attempt<Marker, A: ActivityFn<Marker>>(
    host: Arc<A::Host>,
    activity: Arc<A>,
    context: ActivityContext,
    input: Payload,
) -> Result<Payload, ActivityError> {
    let name = activity.meta().name;
    let input =
        input.decode(&format!("input of activity `{name}`")).map_err(|error| never_again(UNDECODABLE_INPUT, &error))?;
    let output = activity.call(&host, &context, input).await?;
    Payload::encode(&format!("result of activity `{name}`"), &output)
        .map_err(|error| never_again(UNENCODABLE_RESULT, &error))
}

fn never_again(error_type: &str, error: &PayloadError) -> ActivityError {
    ActivityError::new(error_type, error.to_string()).non_retryable()
}

/// Why a workflow or an activity cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// Two workflows have one name.
    #[error("workflow `{name}` is registered twice: give one of them another name with `#[workflow(name = \"…\")]`")]
    DuplicateWorkflow {
        /// The stored name.
        name: &'static str,
    },
    /// Two activities have one name.
    #[error("activity `{name}` is registered twice: give one of them another name with `#[activity(name = \"…\")]`")]
    DuplicateActivity {
        /// The stored name.
        name: &'static str,
    },
    /// The name cannot be stored.
    #[error("`{name}` cannot be a name: it has {} bytes, 1 to {} are stored", .name.len(), limits::ID_BYTES_MAX)]
    InvalidName {
        /// The name.
        name: &'static str,
    },
}

/// Checks that a name can be stored.
fn check_name(name: &'static str) -> Result<(), RegistrationError> {
    if name.is_empty() || name.len() > limits::ID_BYTES_MAX {
        return Err(RegistrationError::InvalidName { name });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_stored_is_refused() {
        let long: &'static str = Box::leak("n".repeat(limits::ID_BYTES_MAX + 1).into_boxed_str());
        assert_eq!(check_name(&long[1..]), Ok(()));
        assert_eq!(check_name(long), Err(RegistrationError::InvalidName { name: long }));
        assert_eq!(
            check_name("").unwrap_err().to_string(),
            "`` cannot be a name: it has 0 bytes, 1 to 1000 are stored"
        );
    }
}
