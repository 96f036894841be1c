//! Futures that the code has spawned: polled beside it, in the order of their beginning, until they or the code end.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use futures_util::future::LocalBoxFuture;

use super::{RunState, Scope};

/// The spawned futures of a run.
#[derive(Default)]
pub(super) struct Tasks {
    tasks: RefCell<BTreeMap<u64, Task>>,
    last: Cell<u64>,
    /// Wakes the code of the run.
    root: RefCell<Option<Waker>>,
}

struct Task {
    /// Absent while it is polled.
    future: Option<LocalBoxFuture<'static, ()>>,
    alarm: Arc<TaskAlarm>,
    scope: Rc<Scope>,
}

/// Wakes one future, and with it the run.
struct TaskAlarm {
    woken: AtomicBool,
    root: Waker,
}

impl Wake for TaskAlarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Read on the run's thread, in a poll that the root's waker orders after this.
        self.woken.store(true, Ordering::Relaxed);
        self.root.wake_by_ref();
    }
}

impl Tasks {
    pub(super) fn clear(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.tasks.borrow().keys()).finish()
    }
}

impl RunState {
    /// Says what wakes the code of the run.
    pub(crate) fn wake_with(&self, waker: &Waker) {
        let before = self.tasks.root.borrow_mut().replace(waker.clone());
        drop(before);
    }

    /// Begins a future: polls it now, and from now on whenever it is woken.
    pub(crate) fn spawn(&self, future: LocalBoxFuture<'static, ()>) -> u64 {
        self.refuse_while_answering();
        let id = self.tasks.last.get() + 1;
        self.tasks.last.set(id);
        let root = self.tasks.root.borrow().clone().unwrap_or_else(|| Waker::noop().clone());
        let alarm = Arc::new(TaskAlarm { woken: AtomicBool::new(true), root });
        let task = Task { future: Some(future), alarm, scope: self.scope() };
        self.tasks.tasks.borrow_mut().insert(id, task);
        self.poll_task(id);
        id
    }

    /// Drops a future that was spawned, and with it what it waits for.
    pub(crate) fn abort(&self, id: u64) {
        let task = self.tasks.tasks.borrow_mut().remove(&id);
        drop(task);
    }

    /// Polls the spawned futures that were woken, once each.
    pub(crate) fn poll_tasks(&self) {
        let woken = |task: &Task| task.alarm.woken.load(Ordering::Relaxed);
        let ids: Vec<u64> =
            self.tasks.tasks.borrow().iter().filter(|(_, task)| woken(task)).map(|(id, _)| *id).collect();
        for id in ids {
            self.poll_task(id);
        }
    }

    fn poll_task(&self, id: u64) {
        let taken = {
            let mut tasks = self.tasks.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(&id) else { return };
            task.alarm.woken.store(false, Ordering::Relaxed);
            task.future.take().map(|future| (future, Arc::clone(&task.alarm), Rc::clone(&task.scope)))
        };
        let Some((mut future, alarm, scope)) = taken else { return };
        let waker = Waker::from(alarm);
        let ended = self.within(&scope, || future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        let mut tasks = self.tasks.tasks.borrow_mut();
        let over = if ended { tasks.remove(&id) } else { None };
        if let Some(task) = tasks.get_mut(&id) {
            task.future = Some(future);
            return;
        }
        drop(tasks);
        // It has ended, or has aborted itself; what it holds may call into this state.
        drop((over, future));
    }
}
