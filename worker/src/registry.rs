//! What a worker binary can run: workflows and activities, collected once at its start.

use std::sync::Arc;

use dacapo_core::WorkflowType;
use dacapo_runtime::{ActivityRunner, ExecutorFactory};

use crate::{
    activities::Activities,
    define::{ActivitiesHost, ActivityTable, RegistrationError, WorkflowFn, WorkflowTable},
    executor::WorkflowExecutors,
};

/// What a worker process runs: its workflows and its activities.
pub type Parts = (Arc<dyn ExecutorFactory>, Arc<dyn ActivityRunner>);

/// The workflows and activities of a binary.
///
/// Registering a name twice is an error. It is kept until the registry is used, so that the calls can be chained.
#[derive(Clone, Debug, Default)]
#[must_use = "a registry does nothing until a worker gets it"]
pub struct Registry {
    workflows: WorkflowTable,
    activities: ActivityTable,
    error: Option<RegistrationError>,
}

impl Registry {
    /// Makes an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a workflow: a function with `#[workflow]`.
    pub fn workflow<Marker, W: WorkflowFn<Marker>>(mut self, workflow: W) -> Self {
        let added = self.workflows.add(workflow);
        self.keep_error(added)
    }

    /// Adds all activities of a host: a value of a type with `#[activities]`.
    pub fn activities(mut self, host: impl ActivitiesHost) -> Self {
        let added = self.activities.add_host(host);
        self.keep_error(added)
    }

    /// Gives the workflow types, in the order of their names.
    pub fn workflow_types(&self) -> Vec<WorkflowType> {
        self.workflows.iter().map(|definition| WorkflowType::new(definition.name())).collect()
    }

    /// Tells whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.workflows.is_empty() && self.activities.is_empty()
    }

    /// Gives what a worker process runs.
    ///
    /// # Errors
    /// The first [`RegistrationError`], if there was one.
    pub fn parts(&self) -> Result<Parts, RegistrationError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let factory = Arc::new(WorkflowExecutors::new(self.workflows.clone()));
        let runner = Arc::new(Activities::new(self.activities.clone()));
        Ok((factory, runner))
    }

    /// Puts fakes in the place of activities, and beside those that there are; so for workflows, as `children` says.
    pub(crate) fn with_fakes(mut self, fakes: ActivityTable, children: impl FnOnce(&mut WorkflowTable)) -> Self {
        self.activities.replace(fakes);
        children(&mut self.workflows);
        self
    }

    /// Gives the workflows.
    pub(crate) fn workflows(&self) -> Result<&WorkflowTable, RegistrationError> {
        self.error.clone().map_or(Ok(&self.workflows), Err)
    }

    fn keep_error(mut self, added: Result<(), RegistrationError>) -> Self {
        if let (None, Err(error)) = (&self.error, added) {
            self.error = Some(error);
        }
        self
    }
}
