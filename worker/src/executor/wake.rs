//! The waker of a run's code, and the difference between our wakes and foreign ones.
//!
//! Workflow code is woken by the executor, which brings an outcome, or by itself while it is polled (a channel between
//! two of its own futures). Both happen on the executor's thread while the run is current. Every other wake comes from
//! something that no history knows: a thread, a task, another run.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Wake,
};

/// Numbers for instances, never given twice, so that a late wake never looks like one of another run's.
static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The instance whose code this thread runs; 0 for none.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// What wakes a run's code.
#[derive(Debug)]
pub(super) struct Alarm {
    token: u64,
    woken: AtomicBool,
    foreign: AtomicBool,
}

impl Alarm {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            // Uniqueness is all that is asked of the number, so no ordering.
            token: NEXT_TOKEN.fetch_add(1, Ordering::Relaxed),
            woken: AtomicBool::new(true),
            foreign: AtomicBool::new(false),
        })
    }

    /// Makes the run current on this thread until the guard is dropped.
    pub(super) fn enter(&self) -> Entered {
        Entered { before: CURRENT.replace(self.token) }
    }

    /// Says whether the code was woken since the last call, by us.
    pub(super) fn take_woken(&self) -> bool {
        // Set on this thread only, so no ordering; a foreign thread sets the other flag.
        self.woken.swap(false, Ordering::Relaxed)
    }

    /// Says whether something else ever woke the code.
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign.load(Ordering::Acquire)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A thread that is going down has no CURRENT any more, and is not ours.
        if CURRENT.try_with(Cell::get) == Ok(self.token) {
            self.woken.store(true, Ordering::Relaxed);
        } else {
            self.foreign.store(true, Ordering::Release);
        }
    }
}

/// Says whether this thread is running workflow code.
pub(super) fn runs_workflow_code() -> bool {
    CURRENT.try_with(Cell::get).is_ok_and(|token| token != 0)
}

/// Makes what was current before current again when dropped.
#[derive(Debug)]
pub(super) struct Entered {
    before: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}
