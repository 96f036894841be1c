//! The reference page: every limit is in its tables, with the value that the code has.

use std::{fs, path::Path, time::Duration};

use dacapo::{
    WorkerOptions,
    core::{RetryPolicy, limits},
    runtime::QUERY_TIMEOUT,
};

pub(crate) fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the page is there")
}

/// Writes a number with a comma after each thousand.
pub(crate) fn grouped(number: impl TryInto<u64, Error: std::fmt::Debug>) -> String {
    let digits = number.try_into().expect("limits are positive").to_string();
    let head = digits.len() % 3;
    let mut groups: Vec<&str> = (head..digits.len()).step_by(3).map(|at| &digits[at..at + 3]).collect();
    if head > 0 {
        groups.insert(0, &digits[..head]);
    }
    groups.join(",")
}

fn bytes(number: impl TryInto<u64, Error: std::fmt::Debug>) -> String {
    format!("{} bytes", grouped(number))
}

fn seconds(time: Duration) -> String {
    format!("{} s", grouped(time.as_secs()))
}

/// Each constant as the page is to show it.
fn values() -> Vec<(&'static str, String)> {
    macro_rules! shown {
        ($($show:ident: $($name:ident),+;)+) => { vec![$($((stringify!($name), $show(limits::$name)),)+)+] };
    }
    let percent = |number: u64| format!("{number} %");
    shown! {
        bytes: PAYLOAD_BYTES_MAX, ID_BYTES_MAX, ATTRIBUTES_BYTES_MAX, HISTORY_BYTES_MAX, HISTORY_BYTES_WARN,
            FILTER_BYTES_MAX;
        grouped: HISTORY_EVENTS_MAX, HISTORY_EVENTS_WARN, PENDING_ACTIVITIES_MAX, PENDING_TIMERS_MAX, PENDING_CHILDREN_MAX,
            PENDING_EXTERNAL_SIGNALS_MAX, PENDING_EXTERNAL_CANCELS_MAX, SIGNALS_MAX, UPDATES_IN_FLIGHT_MAX, UPDATES_MAX,
            PUBLISHED_VALUES_MAX, FILTER_VALUES_MAX, FILTER_DEPTH_MAX, STUCK_THREADS_MAX, TAKEOVERS_WITHOUT_PROGRESS_MAX, CACHED_RUNS, CONCURRENT_ACTIVITIES,
            CLAIM_RUNS_MAX, SWEEP_BATCH, FLUSH_ITEMS_MAX, FLUSH_LANES, SHARDS, SEMANTICS_VERSION;
        seconds: LEASE, LEASE_RENEWAL, WORKFLOW_TASK_TIMEOUT, WORKFLOW_TASK_WARNING, WORKFLOW_TASK_BACKOFF,
            WORKFLOW_TASK_BACKOFF_MAX, HEARTBEAT_INTERVAL_MAX, HANDED_GRACE, TAKEOVER_COUNTS_WITHIN;
        percent: HEARTBEAT_THROTTLE_PERCENT;
    }
}

#[test]
fn every_limit_is_in_the_reference_with_its_value() {
    let page = page("docs/reference.md");
    let values = values();
    for (name, value) in &values {
        let row = format!("| {value} | `{name}` |");
        assert!(page.contains(&row), "docs/reference.md has no row that ends in: {row}");
    }
    let code = self::page("engine/core/src/limits.rs");
    for line in code.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let name = line.split(':').next().expect("a constant has a type");
        assert!(values.iter().any(|(known, _)| *known == name), "add `{name}` to docs/reference.md and to this test");
    }
}

#[test]
fn the_defaults_that_the_reference_states_in_words_are_those_of_the_code() {
    let page = page("docs/reference.md");
    let policy = RetryPolicy::default();
    let waits: Vec<u64> = [1, 2, 3, u32::MAX].map(|attempt| policy.interval_ms(attempt) / 1_000).to_vec();
    assert_eq!((&waits[..], policy.maximum_attempts), (&[1, 2, 4, 100][..], 0));
    assert!(page.contains("A retry waits 1 s, then 2 s, 4 s … up to 100 times the first wait. Attempts are unlimited"));
    let drain = WorkerOptions::default().drain_timeout.as_millis();
    assert!(page.contains(&format!("{drain} ms to stop when it shuts down (`drain_timeout`)")));
    assert!(page.contains(&format!("a computed query has {}", seconds(QUERY_TIMEOUT))));
}
