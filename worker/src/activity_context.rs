//! The context of an activity.

/// What an activity's code has in its hands.
#[derive(Clone, Debug, Default)]
pub struct ActivityContext {
    _private: (),
}
