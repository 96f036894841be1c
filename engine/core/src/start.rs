//! What a caller says to start a run, checked before anything is written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    activity::MIDDLE_PRIORITY,
    event::{EventKind, WorkflowExecutionStarted},
    ids::{self, InvalidName, Namespace, RunId, RunKey, Shard, TaskQueue, WorkflowId, WorkflowType},
    limits,
    lineage::Lineage,
    message::{Message, MessageBody},
    payload::Payload,
    retry::RetryPolicy,
    run::Run,
    time::Timestamp,
    transition::Transition,
};

/// Whether a workflow id may be used again after its last run closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum IdReusePolicy {
    /// Always.
    #[default]
    AllowDuplicate,
    /// When the last run did not complete.
    AllowDuplicateFailedOnly,
    /// Never, as long as the closed run is kept.
    RejectDuplicate,
}

impl IdReusePolicy {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens when a run with the workflow id is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum IdConflictPolicy {
    /// The start is refused.
    #[default]
    Fail,
    /// The open run is the answer.
    UseExisting,
    /// The open run is terminated and the new one takes its place, both or neither.
    TerminateExisting,
}

/// A request to start a run. Times are in milliseconds. Its JSON is stored in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartWorkflow {
    /// The namespace.
    pub namespace: Namespace,
    /// The caller's name for the work.
    pub workflow_id: WorkflowId,
    /// The new run's id: a fresh version 7 uuid. Sending the same start again with the same id is safe.
    pub run_id: RunId,
    /// Which workflow.
    pub workflow_type: WorkflowType,
    /// On which queue.
    pub task_queue: TaskQueue,
    /// Its input.
    pub input: Payload,
    /// The caller's id for this request: the same one always leads to the same run.
    pub request_id: Option<String>,
    /// Whether a closed run's id may be used again.
    pub reuse_policy: IdReusePolicy,
    /// What happens when the id is in use.
    pub conflict_policy: IdConflictPolicy,
    /// The wait before the first workflow task.
    pub start_delay_ms: Option<u64>,
    /// The whole chain of runs.
    pub execution_timeout_ms: Option<u64>,
    /// This run.
    pub run_timeout_ms: Option<u64>,
    /// One workflow task.
    pub task_timeout_ms: Option<u64>,
    /// Notes: a JSON object.
    pub memo: Option<Payload>,
    /// What lists filter by: a JSON object of scalars.
    pub search_attributes: Option<Payload>,
    /// 1 (first) to 5 (last) within the queue.
    pub priority: u8,
    /// Who starts it.
    pub identity: String,
    /// Ties together what one outer request caused; the run id when empty.
    pub correlation_id: String,
    /// A signal or an update that is delivered with the start, or to the open run that is there already.
    pub signal: Option<Message>,
    /// How often and how soon a failed run is repeated.
    #[serde(default)]
    pub retry_policy: Option<Box<RetryPolicy>>,
    /// Where the run comes from, when no client starts it.
    #[serde(default)]
    pub lineage: Option<Box<Lineage>>,
}

/// Why a start is refused before anything is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStart {
    /// A name is empty, too long, or has control characters.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// An option has a value that cannot be.
    #[error("{field} {problem}")]
    Field {
        /// The option, as the user knows it.
        field: &'static str,
        /// What is wrong, the limit, and the way out.
        problem: String,
    },
}

impl StartWorkflow {
    /// Makes a start with every option at its default.
    pub fn new(
        run_id: RunId,
        workflow_id: WorkflowId,
        workflow_type: WorkflowType,
        queue: TaskQueue,
        input: Payload,
    ) -> Self {
        Self {
            namespace: Namespace::default_namespace(),
            workflow_id,
            run_id,
            workflow_type,
            task_queue: queue,
            input,
            request_id: None,
            reuse_policy: IdReusePolicy::default(),
            conflict_policy: IdConflictPolicy::default(),
            start_delay_ms: None,
            execution_timeout_ms: None,
            run_timeout_ms: None,
            task_timeout_ms: None,
            memo: None,
            search_attributes: None,
            priority: MIDDLE_PRIORITY,
            identity: String::new(),
            correlation_id: String::new(),
            signal: None,
            retry_policy: None,
            lineage: None,
        }
    }

    /// The address of the new run's rows.
    pub fn key(&self) -> RunKey {
        RunKey { shard: Shard::of(&self.namespace, &self.workflow_id), run_id: self.run_id }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`InvalidStart`] names the field, the limit and the way out.
    pub fn validate(&self) -> Result<(), InvalidStart> {
        ids::validate("namespace", self.namespace.as_str())?;
        ids::validate("workflow id", self.workflow_id.as_str())?;
        ids::validate("workflow type", self.workflow_type.as_str())?;
        ids::validate("task queue", self.task_queue.as_str())?;
        if let Some(request_id) = &self.request_id {
            ids::validate("request id", request_id)?;
        }
        if !(1..=5).contains(&self.priority) {
            return Err(field("priority", format!("is {}: choose 1 (first) to 5 (last)", self.priority)));
        }
        for (name, value) in [
            ("execution timeout", self.execution_timeout_ms),
            ("run timeout", self.run_timeout_ms),
            ("task timeout", self.task_timeout_ms),
        ] {
            if value == Some(0) {
                return Err(field(name, "is zero: leave it out for no limit, or give at least 1 ms".to_owned()));
            }
        }
        let attributes = [&self.memo, &self.search_attributes];
        let bytes: usize = attributes.into_iter().flatten().map(|value| value.as_json().len()).sum();
        if bytes > limits::ATTRIBUTES_BYTES_MAX {
            let limit = limits::ATTRIBUTES_BYTES_MAX;
            return Err(field(
                "memo and search attributes",
                format!("have {bytes} bytes together, the limit is {limit}: move data into the input"),
            ));
        }
        for (name, value) in [("memo", &self.memo), ("search attributes", &self.search_attributes)] {
            if value.as_ref().is_some_and(|value| !value.as_json().trim_start().starts_with('{')) {
                return Err(field(name, "must be a JSON object, such as {\"customer\":\"x\"}".to_owned()));
            }
        }
        self.search_attributes.as_ref().map_or(Ok(()), validate_scalars)?;
        if self.retry_policy.as_ref().is_some_and(|policy| policy.backoff_percent < 100) {
            return Err(field("retry policy", "has a backoff below 100 percent: waits do not shrink".to_owned()));
        }
        self.validate_signal()
    }

    fn validate_signal(&self) -> Result<(), InvalidStart> {
        match self.signal.as_ref().map(|signal| &signal.body) {
            None => Ok(()),
            Some(MessageBody::Signal { name, .. }) => Ok(ids::validate("signal name", name)?),
            Some(MessageBody::Update(request)) => {
                ids::validate("update id", &request.update_id)?;
                Ok(ids::validate("update name", &request.name)?)
            }
            Some(_) => {
                let problem = "is a message of another kind: only a signal or an update comes with a start";
                Err(field("signal", problem.to_owned()))
            }
        }
    }

    /// Writes the first events of the run: it started, the signal that came with it, and (without a start delay) its
    /// first workflow task.
    pub fn transition(&self, now: Timestamp) -> Transition {
        Transition::start(self.started(), self.signal.as_slice(), now)
    }

    /// The event that begins the run.
    pub(crate) fn started(&self) -> EventKind {
        let started = WorkflowExecutionStarted {
            namespace: self.namespace.clone(),
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id,
            workflow_type: self.workflow_type.clone(),
            task_queue: self.task_queue.clone(),
            input: self.input.clone(),
            workflow_execution_timeout_ms: self.execution_timeout_ms,
            workflow_run_timeout_ms: self.run_timeout_ms,
            workflow_task_timeout_ms: self.task_timeout_ms,
            first_workflow_task_backoff_ms: self.start_delay_ms.filter(|ms| *ms > 0),
            memo: self.memo.clone(),
            search_attributes: self.search_attributes.clone(),
            identity: self.identity.clone(),
            correlation_id: if self.correlation_id.is_empty() {
                self.run_id.to_string()
            } else {
                self.correlation_id.clone()
            },
            request_id: self.request_id.clone(),
            priority: self.priority,
            retry_policy: self.retry_policy.clone(),
            lineage: self.lineage.clone(),
            semantics_version: limits::SEMANTICS_VERSION,
        };
        EventKind::WorkflowExecutionStarted(Box::new(started))
    }

    /// The request that leads to a run as it is now: for the same run where it begins with more than a start, and for what
    /// a run that follows it is made of.
    pub(crate) fn of(run: &Run) -> Self {
        let started = &run.started;
        Self {
            namespace: started.namespace.clone(),
            workflow_id: started.workflow_id.clone(),
            run_id: started.run_id,
            workflow_type: started.workflow_type.clone(),
            task_queue: started.task_queue.clone(),
            input: started.input.clone(),
            request_id: None,
            reuse_policy: IdReusePolicy::AllowDuplicate,
            conflict_policy: IdConflictPolicy::Fail,
            start_delay_ms: None,
            execution_timeout_ms: started.workflow_execution_timeout_ms,
            run_timeout_ms: started.workflow_run_timeout_ms,
            task_timeout_ms: started.workflow_task_timeout_ms,
            memo: run.memo().cloned(),
            search_attributes: run.search_attributes().cloned(),
            priority: started.priority,
            identity: started.identity.clone(),
            correlation_id: started.correlation_id.clone(),
            signal: None,
            retry_policy: started.retry_policy.clone(),
            lineage: started.lineage.clone(),
        }
    }
}

/// Checks that search attributes are an object of single values.
pub(crate) fn validate_scalars(attributes: &Payload) -> Result<(), InvalidStart> {
    let attributes: BTreeMap<String, serde_json::Value> = attributes
        .decode("search attributes")
        .map_err(|error| field("search attributes", format!("cannot be read: {error}")))?;
    match attributes.iter().find(|(_, value)| value.is_array() || value.is_object()) {
        Some((name, _)) => Err(field(
            "search attributes",
            format!("have a list or an object under `{name}`: lists filter by single values, put others into the memo"),
        )),
        None => Ok(()),
    }
}

fn field(field: &'static str, problem: String) -> InvalidStart {
    InvalidStart::Field { field, problem }
}
