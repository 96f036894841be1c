//! Questions to the code: answered from its state, by code that leaves no trace.

use dacapo_core::{Failure, Payload, query::STACK_QUERY};
use dacapo_runtime::Queried;

use super::{failure::TaskFailure, instance::Instance, panics, quiet};

impl Instance {
    /// Lets the code answer.
    pub(super) fn answer(&self, name: &str, argument: &Payload) -> Queried {
        if name == STACK_QUERY {
            let stack = Payload::encode("stack", &self.state.stack());
            return stack.map_or_else(
                |error| Queried::Failed(Box::new(TaskFailure::payload(&error).into_failure())),
                Queried::Answered,
            );
        }
        let Some(answer) = self.state.query(name) else { return Queried::Unknown { known: self.state.query_names() } };
        let _entered = self.enter();
        let answered = quiet::silently(|| panics::catch(|| self.state.answering(|| answer(argument))));
        match answered {
            Ok(Ok(value)) => Queried::Answered(value),
            Ok(Err(error)) => Queried::Failed(Box::new(TaskFailure::payload(&error).into_failure())),
            Err(caught) => {
                let failure = caught.into_failure(None).into_failure();
                let message = format!("query `{name}`: {}", failure.message);

                Queried::Failed(Box::new(Failure { message, ..failure }))
            }
        }
    }
}
