//! When a failed attempt is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, FailureKind, RetryState, TimeoutType},
    time::Timestamp,
};

/// How often and how soon a failed attempt is repeated. Intervals are in milliseconds; the coefficient is in percent so
/// that the next time is integer arithmetic, the same on every machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// The wait before the second attempt.
    pub initial_interval_ms: u64,
    /// The factor from one wait to the next, in percent: 200 doubles.
    pub backoff_percent: u32,
    /// The longest wait; 100 times the first when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_interval_ms: Option<u64>,
    /// The attempts allowed in all; 0 is unlimited.
    #[serde(default)]
    pub maximum_attempts: u32,
    /// Error types, by exact name, that are never retried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_retryable_error_types: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_interval_ms: 1_000,
            backoff_percent: 200,
            maximum_interval_ms: None,
            maximum_attempts: 0,
            non_retryable_error_types: Vec::new(),
        }
    }
}

/// What follows a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Another attempt, not before this time.
    RetryAt(Timestamp),
    /// None, for this reason.
    GiveUp(RetryState),
}

impl RetryPolicy {
    /// The default policy with a bound on attempts (1 means: never again).
    pub fn attempts(maximum_attempts: u32) -> Self {
        Self { maximum_attempts, ..Self::default() }
    }

    /// Sets the wait before the second attempt.
    #[must_use]
    pub fn initial_interval(mut self, interval: Duration) -> Self {
        self.initial_interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Sets the longest wait.
    #[must_use]
    pub fn maximum_interval(mut self, interval: Duration) -> Self {
        self.maximum_interval_ms = Some(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Sets the factor from one wait to the next (2.0 doubles), kept to two decimals; at least 1.
    #[must_use]
    pub fn backoff_coefficient(mut self, coefficient: f64) -> Self {
        self.backoff_percent = (coefficient.clamp(1.0, 10_000.0) * 100.0).round() as u32;
        self
    }

    /// Adds an error type that is never retried.
    #[must_use]
    pub fn non_retryable(mut self, error_type: impl Into<String>) -> Self {
        self.non_retryable_error_types.push(error_type.into());
        self
    }

    /// Gives the wait after attempt number `attempt` (from 1) failed, in milliseconds.
    pub fn interval_ms(&self, attempt: u32) -> u64 {
        let maximum = self.maximum_interval_ms.unwrap_or_else(|| self.initial_interval_ms.saturating_mul(100));
        let mut interval = u128::from(self.initial_interval_ms);
        for _ in 1..attempt {
            let next = interval * u128::from(self.backoff_percent.max(100)) / 100;
            if next == interval || interval >= u128::from(maximum) {
                break;
            }
            interval = next;
        }
        u64::try_from(interval).unwrap_or(u64::MAX).min(maximum)
    }

    /// Decides what follows the failure of attempt `attempt`; `deadline` is the end of schedule-to-close or of the run.
    pub fn decide(
        &self,
        attempt: u32,
        failure: &Failure,
        now: Timestamp,
        deadline: Option<Timestamp>,
    ) -> RetryDecision {
        let retryable_kind = match failure.kind {
            FailureKind::Canceled | FailureKind::Terminated => false,
            FailureKind::Timeout(kind) => matches!(kind, TimeoutType::StartToClose | TimeoutType::Heartbeat),
            FailureKind::Application | FailureKind::Panic | FailureKind::WorkerLost | FailureKind::ChildWorkflow => {
                true
            }
        };
        if !retryable_kind || failure.non_retryable || self.non_retryable_error_types.contains(&failure.error_type) {
            return RetryDecision::GiveUp(RetryState::NonRetryableFailure);
        }
        if self.maximum_attempts != 0 && attempt >= self.maximum_attempts {
            return RetryDecision::GiveUp(RetryState::MaximumAttemptsReached);
        }
        let wait_ms = failure.next_retry_delay_ms.unwrap_or_else(|| self.interval_ms(attempt));
        let at = now.plus_ms(wait_ms);
        if deadline.is_some_and(|deadline| at > deadline) {
            return RetryDecision::GiveUp(RetryState::Timeout);
        }
        RetryDecision::RetryAt(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    #[test]
    fn waits_stay_equal_without_a_backoff_however_many_attempts() {
        let policy = RetryPolicy::default().backoff_coefficient(1.0);
        assert_eq!(policy.interval_ms(u32::MAX), 1_000);
        assert_eq!(policy.initial_interval(Duration::ZERO).interval_ms(u32::MAX), 0);
    }

    #[test]
    fn waits_double_up_to_a_hundred_times_the_first() {
        let waits: Vec<u64> = (1..=9).map(|attempt| RetryPolicy::default().interval_ms(attempt)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 100_000, 100_000]);
    }

    #[test]
    fn attempts_end_at_the_maximum() {
        let policy = RetryPolicy::attempts(3);
        let failure = Failure::application("Io", "broken pipe");
        assert_eq!(policy.decide(2, &failure, NOW, None), RetryDecision::RetryAt(NOW.plus_ms(2_000)));
        assert_eq!(policy.decide(3, &failure, NOW, None), RetryDecision::GiveUp(RetryState::MaximumAttemptsReached));
    }

    #[test]
    fn a_listed_type_or_a_marked_failure_is_never_retried() {
        let policy = RetryPolicy::default().non_retryable("CardDeclined");
        let declined = Failure::application("CardDeclined", "no");
        let marked = Failure { non_retryable: true, ..Failure::application("Io", "no") };
        for failure in [declined, marked, Failure::canceled("stop")] {
            assert_eq!(policy.decide(1, &failure, NOW, None), RetryDecision::GiveUp(RetryState::NonRetryableFailure));
        }
    }

    #[test]
    fn queue_and_total_timeouts_are_never_retried_and_the_others_are() {
        let decide = |kind| RetryPolicy::default().decide(1, &Failure::timeout(kind, "late"), NOW, None);
        for kind in [TimeoutType::ScheduleToStart, TimeoutType::ScheduleToClose] {
            assert_eq!(decide(kind), RetryDecision::GiveUp(RetryState::NonRetryableFailure));
        }
        for kind in [TimeoutType::StartToClose, TimeoutType::Heartbeat] {
            assert!(matches!(decide(kind), RetryDecision::RetryAt(_)));
        }
    }

    #[test]
    fn no_attempt_begins_after_the_deadline() {
        let failure = Failure { next_retry_delay_ms: Some(5_000), ..Failure::application("RateLimited", "wait") };
        let decide = |deadline| RetryPolicy::default().decide(1, &failure, NOW, Some(deadline));
        assert_eq!(decide(NOW.plus_ms(5_000)), RetryDecision::RetryAt(NOW.plus_ms(5_000)));
        assert_eq!(decide(NOW.plus_ms(4_999)), RetryDecision::GiveUp(RetryState::Timeout));
    }

    proptest! {
        #[test]
        fn waits_never_shrink_and_never_pass_the_maximum(initial in 1u64..1_000_000, percent in 100u32..1_000, maximum in 1u64..10_000_000) {
            let policy = RetryPolicy { initial_interval_ms: initial, backoff_percent: percent, maximum_interval_ms: Some(maximum), ..RetryPolicy::default() };
            let waits: Vec<u64> = (1..40).map(|attempt| policy.interval_ms(attempt)).collect();
            prop_assert!(waits.is_sorted());
            prop_assert!(waits.iter().all(|wait| *wait <= maximum));
        }
    }
}
