//! The context of a workflow.

/// What workflow code has in its hands.
#[derive(Clone, Debug, Default)]
pub struct WorkflowContext {
    _private: (),
}
