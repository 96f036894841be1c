//! Futures that go on beside the code that began them.

use std::{
    cell::RefCell,
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::state::RunState;

/// A future that was spawned; awaiting it gives what the future gave.
///
/// Dropping it lets the future go on. When the workflow's code ends, spawned futures end with it, unfinished.
#[must_use = "drop it in words, with `drop(…)`, to let the future go on by itself"]
pub struct JoinHandle<T> {
    state: Rc<RunState>,
    id: u64,
    end: Rc<RefCell<End<T>>>,
}

/// Where a spawned future leaves its output.
struct End<T> {
    output: Option<T>,
    waker: Option<Waker>,
}

impl<T: 'static> JoinHandle<T> {
    pub(crate) fn new(state: &Rc<RunState>, future: impl Future<Output = T> + 'static) -> Self {
        let end = Rc::new(RefCell::new(End { output: None, waker: None }));
        let theirs = Rc::clone(&end);
        let id = state.spawn(Box::pin(async move {
            let output = future.await;
            let waker = {
                let mut end = theirs.borrow_mut();
                end.output = Some(output);
                end.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }));
        Self { state: Rc::clone(state), id, end }
    }
}

impl<T> JoinHandle<T> {
    /// Ends the future where it is; what it waits for is given up as by a drop.
    pub fn abort(self) {
        self.state.abort(self.id);
    }

    /// Tells whether the future has ended.
    pub fn is_finished(&self) -> bool {
        self.end.borrow().output.is_some()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut end = self.end.borrow_mut();
        match end.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                end.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("id", &self.id).finish_non_exhaustive()
    }
}
