//! Updates: requests that the code takes on and answers.

use std::{
    fmt,
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use dacapo_core::{Failure, Payload, UpdateOutcome, UpdateRequest};
use futures_util::Stream;

use super::stored;
use crate::{
    define::{Data, Update},
    errors::WorkflowError,
    executor::failure::TaskFailure,
    state::RunState,
};

/// The error type of a request whose argument is not what the update takes.
const UNDECODABLE: &str = "UndecodableArgument";

/// The error type of a request that the code took on and dropped.
const UNANSWERED: &str = "UpdateNotAnswered";

type Validator<A> = dyn Fn(&A) -> Result<(), WorkflowError>;

/// The requests of an update, in the order in which they come, as a stream that ends when the code is cancelled.
///
/// What the stream gives is accepted: it is in history, and whoever asked is told so. A request that the validator
/// refuses, or whose argument is of another type, is never given, and leaves no trace.
#[must_use = "a request is not taken on unless this is iterated"]
pub struct Requests<A, R> {
    state: Rc<RunState>,
    name: &'static str,
    at: &'static Location<'static>,
    validator: Option<Box<Validator<A>>>,
    waiter: Option<u64>,
    types: PhantomData<fn(A) -> R>,
}

impl<A: Data, R: Data> Requests<A, R> {
    pub(crate) fn new(state: &Rc<RunState>, at: &'static Location<'static>, update: &Update<A, R>) -> Self {
        state.called_at(at);
        let (state, name) = (Rc::clone(state), update.name());
        Self { state, name, at, validator: None, waiter: None, types: PhantomData }
    }

    /// Looks at each request before it is accepted; one that it refuses is told why, and is in no history.
    ///
    /// It may look at the workflow's state, and must not change it: no replay runs it again.
    pub fn validate<E: Into<WorkflowError>>(mut self, validator: impl Fn(&A) -> Result<(), E> + 'static) -> Self {
        self.validator = Some(Box::new(move |argument| validator(argument).map_err(Into::into)));
        self
    }

    /// Waits for the next request; `None` once the code is cancelled and nothing waits.
    ///
    /// # Cancel safety
    /// A wait that is dropped has taken nothing.
    pub async fn next(&mut self) -> Option<Request<A, R>> {
        futures_util::StreamExt::next(self).await
    }

    /// Takes a request on, or refuses it.
    fn take(&self, request: UpdateRequest, accepted: bool) -> Option<Request<A, R>> {
        let UpdateRequest { update_id, input, .. } = request;
        let refusal = match input.decode::<A>(&format!("argument of update `{}`", self.name)) {
            Ok(argument) => {
                let checked = match self.validator.as_ref().filter(|_| !accepted) {
                    Some(validator) => self.state.answering(|| validator(&argument)),
                    None => Ok(()),
                };
                match checked {
                    Ok(()) => {
                        self.state.accept_update(&update_id, self.at);
                        let (state, name, at) = (Rc::clone(&self.state), self.name, self.at);
                        return Some(Request {
                            state,
                            name,
                            at,
                            update_id: Some(update_id),
                            argument,
                            reply: PhantomData,
                        });
                    }
                    Err(refusal) => Failure::from(refusal),
                }
            }
            // What history has as accepted must not be lost to a wrong build.
            Err(error) if accepted => {
                self.state.fail(TaskFailure::payload(&error).at(self.at));
                return None;
            }
            Err(error) => Failure::application(UNDECODABLE, error.to_string()),
        };
        self.state.reject_update(update_id, refusal, self.at);
        None
    }
}

impl<A, R> Requests<A, R> {
    fn leave(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.state.drop_update_waiter(self.name, waiter);
        }
    }
}

impl<A: Data, R: Data> Stream for Requests<A, R> {
    type Item = Request<A, R>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let this = &mut *self;
            let Poll::Ready(polled) = this.state.poll_update(this.name, this.at, &mut this.waiter, context) else {
                return Poll::Pending;
            };
            this.leave();
            let Some((request, accepted)) = polled else { return Poll::Ready(None) };
            if let Some(request) = this.take(request, accepted) {
                return Poll::Ready(Some(request));
            }
        }
    }
}

impl<A, R> Drop for Requests<A, R> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<A, R> fmt::Debug for Requests<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Requests(`{}` at {})", self.name, self.at)
    }
}

/// A request that the code has taken on. Whoever asked waits for [`Request::reply`] or [`Request::reject`]; dropping it
/// fails the update.
#[must_use = "whoever asked waits for an answer"]
pub struct Request<A, R> {
    state: Rc<RunState>,
    name: &'static str,
    at: &'static Location<'static>,
    /// Absent once it is answered.
    update_id: Option<String>,
    argument: A,
    reply: PhantomData<fn(R)>,
}

impl<A, R> Request<A, R> {
    /// Gives what was asked for.
    pub fn argument(&self) -> &A {
        &self.argument
    }

    /// Gives the id under which it was asked.
    pub fn update_id(&self) -> &str {
        self.update_id.as_deref().unwrap_or_default()
    }

    /// Answers that it cannot be done.
    pub fn reject(mut self, error: impl Into<WorkflowError>) {
        self.fail(error.into().into());
    }

    fn fail(&mut self, failure: Failure) {
        if let Some(update_id) = self.update_id.take() {
            self.state.complete_update(update_id, UpdateOutcome::Failed(Box::new(failure)), self.at);
        }
    }
}

impl<A, R: Data> Request<A, R> {
    /// Answers.
    #[track_caller]
    pub fn reply(mut self, reply: R) {
        let at = Location::caller();
        let value = Payload::encode(&format!("reply of update `{}`", self.name), &reply);
        let value = stored(&self.state, at, value);
        if let Some(update_id) = self.update_id.take() {
            self.state.complete_update(update_id, UpdateOutcome::Completed(value), at);
        }
    }
}

impl<A, R> Drop for Request<A, R> {
    fn drop(&mut self) {
        let message = format!("the workflow dropped the request of update `{}` without an answer", self.name);
        self.fail(Failure::application(UNANSWERED, message));
    }
}

impl<A: fmt::Debug, R> fmt::Debug for Request<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("update", &self.name).field("argument", &self.argument).finish_non_exhaustive()
    }
}
