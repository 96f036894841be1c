//! What the code awaits, with the places in the code: an answer that every workflow has.

use dacapo_core::query::{Awaited, AwaitedKind, Stack};

use super::{
    RunState,
    operation::{Kind, Phase},
    signals::Waiter,
};

impl RunState {
    /// Gives what the code awaits: what has a number in the order of numbers, then signals, updates and cancellations.
    pub(crate) fn stack(&self) -> Stack {
        let inner = self.inner.borrow();
        let outstanding = inner.operations.iter().filter(|(_, operation)| !operation.is_settled());
        let operations = outstanding.map(|(sequence, operation)| {
            let (kind, name) = match &operation.kind {
                Kind::Activity(_) => (AwaitedKind::Activity, None),
                Kind::Timer => (AwaitedKind::Timer, None),
                Kind::Child(child) => (AwaitedKind::Child, Some(child.workflow_id.to_string())),
                Kind::External => (AwaitedKind::Delivery, None),
                Kind::Local(activity_type) => (AwaitedKind::LocalActivity, Some(activity_type.to_string())),
            };
            let canceling = matches!(operation.phase, Phase::Canceling);
            Awaited { kind, id: Some(*sequence), name, canceling, position: operation.at.to_string() }
        });
        let waits = |kind, name: Option<&str>, waiter: &Waiter| Awaited {
            kind,
            id: None,
            name: name.map(str::to_owned),
            canceling: false,
            position: waiter.at.to_string(),
        };
        let signals = inner.signals.awaited().map(|(name, id, waiter)| (id, AwaitedKind::Signal, Some(name), waiter));
        let updates = inner.updates.awaited().map(|(name, id, waiter)| (id, AwaitedKind::Update, Some(name), waiter));
        let cancels = inner.cancel_waiters.iter().map(|(id, waiter)| (*id, AwaitedKind::Cancellation, None, waiter));
        let mut waiting: Vec<_> = signals.chain(updates).chain(cancels).collect();
        waiting.sort_by_key(|(id, ..)| *id);
        let waiting = waiting.into_iter().map(|(_, kind, name, waiter)| waits(kind, name, waiter));
        Stack { awaits: operations.chain(waiting).collect() }
    }
}
