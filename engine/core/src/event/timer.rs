//! What happens to timers.

use serde::{Deserialize, Serialize};

use crate::{ids::TimerId, time::Timestamp};

/// Attributes of [`EventKind::TimerStarted`](super::EventKind::TimerStarted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerStarted {
    /// The workflow's number for it.
    pub timer_id: TimerId,
    /// When it is due, by the database clock.
    pub fire_at: Timestamp,
}

/// Attributes of [`EventKind::TimerFired`](super::EventKind::TimerFired).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerFired {
    /// The timer.
    pub timer_id: TimerId,
    /// Its start.
    pub started_event_id: i64,
}

/// Attributes of [`EventKind::TimerCanceled`](super::EventKind::TimerCanceled).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerCanceled {
    /// The timer.
    pub timer_id: TimerId,
    /// Its start.
    pub started_event_id: i64,
}
