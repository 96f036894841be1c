//! Points in time and lengths of time, written and read for people and programs.

use std::time::Duration;

use dacapo_core::Timestamp;
use jiff::SignedDuration;

/// Writes a point in time as RFC 3339 in UTC with microseconds.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(at.0) {
        Ok(at) => format!("{at:.6}"),
        Err(_) => format!("{} µs after 1970", at.0),
    }
}

/// Writes a length of time in at most two units.
pub(crate) fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600, seconds / 60);
    if days > 0 {
        format!("{days}d{:02}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h{:02}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m{:02}s", seconds % 60)
    } else if seconds > 0 {
        format!("{}.{}s", seconds, time.subsec_millis() / 100)
    } else {
        format!("{}ms", time.as_millis())
    }
}

/// Writes how far a point in time is from now, such as `in 3.0s` or `2m10s ago`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", length(at.since(now))) } else { format!("{} ago", length(now.since(at))) }
}

/// Reads a length of time, such as `500ms`, `30s` or `2h 30m`.
pub(crate) fn parse_length(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration =
        text.parse().map_err(|error| format!("{error}; write it as `500ms`, `30s` or `2h 30m`"))?;
    Duration::try_from(parsed).map_err(|_| "is negative".to_owned())
}

/// Reads a point in time: RFC 3339, or a length of time before now, such as `2h`.
pub(crate) fn parse_point(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = parse_length(text) {
        let micros = jiff::Timestamp::now().as_microsecond();
        return Ok(Timestamp(micros.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX))));
    }
    let point: jiff::Timestamp = text
        .parse()
        .map_err(|error| format!("{error}; write it as `2026-01-31T08:00:00Z`, or as a time before now: `2h`"))?;
    Ok(Timestamp(point.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_rfc3339_with_microseconds() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(Timestamp(1_767_225_600_123_456)), "2026-01-01T00:00:00.123456Z");
        assert_eq!(rfc3339(Timestamp::MAX), "9223372036854775807 µs after 1970");
    }

    #[test]
    fn lengths_have_two_units() {
        let written: Vec<String> = [0, 12, 1_240, 59_999, 61_000, 3_660_000, 90_000_000]
            .into_iter()
            .map(|ms| length(Duration::from_millis(ms)))
            .collect();
        assert_eq!(written, ["0ms", "12ms", "1.2s", "59.9s", "1m01s", "1h01m", "1d01h"]);
        assert_eq!(relative(Timestamp(3_000_000), Timestamp(0)), "in 3.0s");
        assert_eq!(relative(Timestamp(0), Timestamp(5_000)), "5ms ago");
    }

    #[test]
    fn lengths_are_read_as_they_are_written() {
        assert_eq!(parse_length("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_length("2h 30m"), Ok(Duration::from_secs(9_000)));
        assert!(parse_length("-1s").unwrap_err().contains("negative"));
        assert!(parse_length("soon").unwrap_err().contains("30s"));
        assert!(parse_point("yesterday").unwrap_err().contains("2026-01-31T08:00:00Z"));
        assert_eq!(parse_point("1970-01-01T00:00:01Z"), Ok(Timestamp(1_000_000)));
    }
}
