//! Durable futures: what workflow code awaits.
//!
//! Each takes its number when it is made, in program order, and makes its command at its first poll. Never polled, or
//! polled and dropped in one activation, it leaves nothing in history; dropped later, it is cancelled. All are plain
//! futures with real wakers, so whatever combines futures without time or randomness of its own combines these.

mod activity;
mod cancel;
mod signal;
mod timer;

pub use self::{
    activity::ActivityCall,
    cancel::{Cancelled, Shielded},
    signal::Receive,
    timer::Sleep,
};

use std::{
    panic::Location,
    rc::Rc,
    task::{Context, Poll},
};

use dacapo_core::ids::Sequence;

use crate::state::{Request, RunState, Settled};

/// An activity or timer as its future holds it; dropping it gives the operation up.
#[derive(Debug)]
struct Handle {
    state: Rc<RunState>,
    sequence: Sequence,
    at: &'static Location<'static>,
    /// What the first poll asks for.
    request: Option<Request>,
}

impl Handle {
    fn new(state: &Rc<RunState>, at: &'static Location<'static>, request: Request) -> Self {
        let sequence = state.next_sequence(at);
        Self { state: Rc::clone(state), sequence, at, request: Some(request) }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Settled> {
        self.state.poll_operation(self.sequence, self.at, context, &mut self.request)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.request.is_none() {
            self.state.drop_operation(self.sequence);
        }
    }
}
