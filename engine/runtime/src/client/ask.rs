//! Computed queries: any process asks, whoever owns the run lets its code answer.

use std::time::Duration;

use dacapo_core::{
    Payload, RunStatus,
    ids::validate,
    query::{Query, QueryAnswer, STACK_QUERY, Stack},
    store::Hint,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Client, ClientError, WorkflowExecution};
use crate::virtual_time::VirtualTime;

/// The first wait between two looks for an answer; doubles up to [`LOOK_MAX`].
const LOOK: Duration = Duration::from_millis(5);

/// The longest wait between two looks.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// The time after which a question is asked again: its run may have changed hands, and the hint gone to the wrong process.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long a question waits for an answer unless the caller says otherwise.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

impl Client {
    /// Lets the code of an open run say what it awaits, with the places in the code. Nothing of it is in the history.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn stack(&self, of: &WorkflowExecution, timeout: Duration) -> Result<Stack, ClientError> {
        let answer = self.ask(of, STACK_QUERY, Payload::null(), timeout).await?;
        Ok(answer.decode("stack")?)
    }

    /// Lets the code of an open run answer a question from its state, in whatever process it is owned; a run that nobody
    /// owns is claimed by a worker of its queue for it. Nothing of it is in the history.
    ///
    /// # Errors
    /// [`ClientError::QueryUnknown`] names the queries that there are, [`ClientError::QueryFailed`],
    /// [`ClientError::QueryTimedOut`] when nobody answered within `timeout`; [`ClientError::NotOpen`] for a closed run, of
    /// which only published values remain; [`ClientError::NotFound`], [`ClientError::Unavailable`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves a question behind that nobody needs; it goes with the next one.
    pub async fn ask(
        &self,
        of: &WorkflowExecution,
        name: &str,
        input: Payload,
        timeout: Duration,
    ) -> Result<Payload, ClientError> {
        validate("query name", name).map_err(|error| ClientError::Invalid { problem: error.to_string() })?;
        let info = self.resolve(of).await?;
        if info.status != RunStatus::Running {
            return Err(self.not_open(of, info.key.run_id));
        }
        let (mut run, mut task_queue) = (info.key, info.task_queue);
        let query = Query { id: Uuid::now_v7(), name: name.to_owned(), input };
        // Time stands still in a test until the answer is there.
        let _call = self.shared.clock.virtual_time().map(VirtualTime::call);
        let store = &self.shared.store;
        let mut hints = store.hints();
        let deadline = Instant::now() + timeout;
        let (mut pause, mut asked_at) = (LOOK, None::<Instant>);
        let answer = loop {
            if asked_at.is_none_or(|at| at.elapsed() >= ASK_AGAIN) {
                while !self.persist(|| store.ask(run, &query)).await? {
                    let next = self.resolve(of).await?;
                    if next.key == run || next.status != RunStatus::Running || Instant::now() >= deadline {
                        return Err(self.not_open(of, run.run_id));
                    }
                    // Another goes on for it.
                    (run, task_queue) = (next.key, next.task_queue);
                }
                asked_at = Some(Instant::now());
            }
            let answered = async {
                loop {
                    match hints.next().await {
                        Hint::Updated(runs) if runs.contains(&run) => return,
                        Hint::Everything => return,
                        _ => {}
                    }
                }
            };
            let _ = tokio::time::timeout(pause, answered).await;
            pause = (pause * 2).min(LOOK_MAX);
            if let Some(answer) = self.persist(|| store.answer_to(run, query.id)).await? {
                break Some(answer);
            }
            if Instant::now() >= deadline {
                break None;
            }
        };
        self.persist(|| store.withdraw_question(run, query.id)).await?;
        let (workflow_id, name) = (of.workflow_id.clone(), query.name);
        match answer {
            Some(QueryAnswer::Answered(value)) => Ok(value),
            Some(QueryAnswer::Unknown { known }) => Err(ClientError::QueryUnknown { workflow_id, name, known }),
            Some(QueryAnswer::Failed(failure)) => Err(ClientError::QueryFailed { workflow_id, name, failure }),
            None => Err(ClientError::QueryTimedOut { workflow_id, name, task_queue, waited_for: timeout }),
        }
    }
}
