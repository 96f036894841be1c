//! Points in time as the engine stores them: microseconds since 1970, UTC, by the database's clock.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A point in time in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The last point that anything compares with; stands for "never".
    pub const MAX: Self = Self(i64::MAX);

    /// Gives the point `after` later; saturates at [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Gives the point `ms` milliseconds later; saturates.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        self.plus(Duration::from_millis(ms))
    }

    /// Gives the time from `earlier` to here, zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Timestamp {
    /// Reads a point in time in RFC 3339, such as `2026-01-31T08:00:00.5Z` or `2026-01-31T09:00:00+01:00`, of the years 1 to
    /// 9999; what is finer than a microsecond is cut off.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once('T')?;
        let (time, offset_minutes) = split_offset(rest)?;
        let days = parse_date(date)?;
        let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        if hour > 23 || minute > 59 || second > 59 || !(1..=9).contains(&fraction.len()) {
            return None;
        }
        let fraction = fraction.bytes().all(|c| c.is_ascii_digit()).then(|| format!("{fraction:0<6}"))?;
        let micros: i64 = fraction[..6].parse().ok()?;
        let seconds = ((days * 24 + hour) * 60 + minute - offset_minutes) * 60 + second;
        Some(Self(seconds * 1_000_000 + micros))
    }
}

/// Takes the offset from the end of a time; gives it in minutes.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let at = time.rfind(['+', '-'])?;
    let [hours, minutes] = numbers(&time[at + 1..], ':', [2, 2])?;
    // The largest offset that there is on Earth.
    let offset = (hours <= 14 && minutes <= 59).then_some(hours * 60 + minutes)?;
    Some((&time[..at], if time[at..].starts_with('-') { -offset } else { offset }))
}

/// Reads a date; gives the days since 1970-01-01.
fn parse_date(date: &str) -> Option<i64> {
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap),
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || !(1..=length).contains(&day) {
        return None;
    }
    // Years that begin in March, so that the day that comes every four years is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468)
}

/// Reads whole numbers of fixed lengths with a separator between them.
fn numbers<const N: usize>(text: &str, separator: char, lengths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut read = [0; N];
    for (number, length) in read.iter_mut().zip(lengths) {
        let part = parts.next().filter(|part| part.len() == length && part.bytes().all(|c| c.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(read)
}

/// A length of time in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Length(pub i64);

impl Length {
    /// Reads a length of time such as `500ms`, `30s` or `2h 30m`, in days, hours, minutes, seconds and milliseconds.
    pub fn parse(text: &str) -> Option<Self> {
        let mut micros = 0i64;
        let mut rest = text.trim();
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let unit_micros = match unit {
                "ms" => 1_000,
                "s" => 1_000_000,
                "m" => 60_000_000,
                "h" => 3_600_000_000,
                "d" => 86_400_000_000,
                _ => return None,
            };
            micros = micros.checked_add(number.parse::<i64>().ok()?.checked_mul(unit_micros)?)?;
            rest = after.trim_start();
        }
        Some(Self(micros))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_read_in_rfc3339() {
        let read = Timestamp::parse_rfc3339;
        assert_eq!(read("1970-01-01T00:00:00Z"), Some(Timestamp(0)));
        assert_eq!(read("2026-01-01T00:00:00.123456Z"), Some(Timestamp(1_767_225_600_123_456)));
        assert_eq!(read("2026-01-01T00:00:00.1234569Z"), Some(Timestamp(1_767_225_600_123_456)));
        assert_eq!(read("2026-01-01T01:30:00.5+01:30"), Some(Timestamp(1_767_225_600_500_000)));
        assert_eq!(read("2025-12-31T23:00:00-01:00"), Some(Timestamp(1_767_225_600_000_000)));
        assert_eq!(read("0001-01-01T00:00:00Z"), Some(Timestamp(-62_135_596_800_000_000)));
        assert_eq!(read("2024-02-29T00:00:00Z"), Some(Timestamp(1_709_164_800_000_000)));
        assert_eq!(read("9999-12-31T23:59:59Z"), Some(Timestamp(253_402_300_799_000_000)));
        for no in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "2026-1-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-32T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00+15:00",
            "0000-01-01T00:00:00Z",
            "2026-01-01T00:00:00.0000000001Z",
            "2026-01-01T00:00:00.+1Z",
            "é026-01-01T00:00:00Z",
        ] {
            assert_eq!(read(no), None, "{no}");
        }
    }

    #[test]
    fn lengths_are_read_with_their_units() {
        assert_eq!(Length::parse("500ms"), Some(Length(500_000)));
        assert_eq!(Length::parse("2h 30m"), Some(Length(9_000_000_000)));
        assert_eq!(Length::parse("1d1s"), Some(Length(86_401_000_000)));
        for no in ["", "1", "s", "1.5s", "-1s", "1 s", "1w", "9223372036854775807d"] {
            assert_eq!(Length::parse(no), None, "{no}");
        }
    }
}
