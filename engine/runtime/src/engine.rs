//! The engine of a process: its store, its client, and the workers that run in it.

use std::sync::{Arc, PoisonError, RwLock};

use dacapo_core::{
    Payload, RunStatus, StartWorkflow, Store,
    event::{Event, EventKind},
    store::{RunResult, StartOutcome, StoreResult},
};
use tokio::sync::oneshot;

use crate::{
    client::{Client, LocalStarter, waits::Waits},
    clock::Clock,
    memory::MemoryStore,
    virtual_time::VirtualTime,
};

/// The engine of a process. Cloning gives another handle on the same engine.
#[derive(Clone)]
pub struct Engine {
    store: Arc<dyn Store>,
    clock: Arc<Clock>,
    waits: Arc<Waits>,
    starters: Arc<Starters>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes the engine of a process on a store.
    ///
    /// # Errors
    /// [`dacapo_core::store::StoreError`] when the store does not answer.
    pub async fn new(store: Arc<dyn Store>) -> StoreResult<Self> {
        let (now, _) = store.clock().await?;
        Ok(Self {
            waits: Arc::new(Waits::new(Arc::clone(&store))),
            clock: Arc::new(Clock::new(now)),
            starters: Arc::default(),
            store,
        })
    }

    /// Makes an engine in memory whose time stands still until it is moved, for tests.
    pub fn in_virtual_time() -> (Self, VirtualTime) {
        let store = Arc::new(MemoryStore::with_manual_clock());
        let time = VirtualTime::new(Arc::clone(&store));
        let store: Arc<dyn Store> = store;
        let engine = Self {
            waits: Arc::new(Waits::new(Arc::clone(&store))),
            clock: Arc::new(Clock::in_virtual_time(time.clone())),
            starters: Arc::default(),
            store,
        };
        (engine, time)
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// A client of the default namespace. Starts of workflows that a worker of this process serves are owned here from
    /// their first moment.
    pub fn client(&self) -> Client {
        let starters: Arc<dyn LocalStarter> = Arc::clone(&self.starters) as Arc<dyn LocalStarter>;
        Client::new(
            Arc::clone(&self.store),
            Arc::clone(&self.clock),
            Arc::clone(&self.waits),
            Some(starters),
            &process_identity(),
        )
    }

    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    pub(crate) fn waits(&self) -> &Arc<Waits> {
        &self.waits
    }

    pub(crate) fn starters(&self) -> &Arc<Starters> {
        &self.starters
    }
}

/// Names this process for people: host and process id.
pub fn process_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => std::env::var("HOSTNAME").unwrap_or_else(|_| "host".to_owned()),
        name => name.to_owned(),
    };
    format!("{host}:{}", std::process::id())
}

/// The workers of a process that may own what is started in it.
#[derive(Default)]
pub(crate) struct Starters(RwLock<Vec<Arc<dyn LocalStarter>>>);

impl Starters {
    pub(crate) fn add(&self, starter: Arc<dyn LocalStarter>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(starter);
    }

    pub(crate) fn remove(&self, starter: &Arc<dyn LocalStarter>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, starter));
    }
}

impl LocalStarter for Starters {
    fn try_start(
        &self,
        mut request: Box<StartWorkflow>,
    ) -> Result<oneshot::Receiver<StoreResult<StartOutcome>>, Box<StartWorkflow>> {
        for starter in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            match starter.try_start(request) {
                Ok(answer) => return Ok(answer),
                Err(unwanted) => request = unwanted,
            }
        }
        Err(request)
    }
}

/// Reads the end of a run from its closing event.
pub(crate) fn result_of(event: &Event) -> Option<RunResult> {
    let ended = |status, result: Option<&Payload>, failure| RunResult {
        status,
        result: result.cloned(),
        failure,
        closed_at: event.event_time,
        successor: None,
    };
    match &event.event {
        EventKind::WorkflowExecutionCompleted(end) => Some(ended(RunStatus::Completed, Some(&end.result), None)),
        EventKind::WorkflowExecutionFailed(end) => {
            let failed = ended(RunStatus::Failed, None, Some(end.failure.clone()));
            Some(RunResult { successor: end.new_run_id, ..failed })
        }
        EventKind::WorkflowExecutionContinuedAsNew(end) => {
            Some(RunResult { successor: Some(end.new_run_id), ..ended(RunStatus::ContinuedAsNew, None, None) })
        }
        EventKind::WorkflowExecutionCanceled(end) => Some(ended(RunStatus::Canceled, end.details.as_ref(), None)),
        // What the store says of these two has words that only it knows; whoever waits reads it there.
        _ => None,
    }
}
