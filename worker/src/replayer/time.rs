//! Points in time as histories on disk hold them: RFC 3339 in UTC.

use dacapo_core::Timestamp;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The days from 0000-03-01 to 1970-01-01; years are counted from March, so that a leap day is the last of its year.
const EPOCH_DAYS: i64 = 719_468;

/// The days of 400 years, after which the calendar repeats itself.
const DAYS_PER_ERA: i64 = 146_097;

/// Writes a point in time with microseconds.
pub(crate) fn write(at: Timestamp) -> String {
    let (seconds, micros) = (at.0.div_euclid(MICROS_PER_SECOND), at.0.rem_euclid(MICROS_PER_SECOND));
    let (days, of_day) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Reads a point in time in UTC, with up to six digits of a second's fraction.
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || fraction.len() > 6 {
        return None;
    }
    let micros = if fraction.is_empty() { 0 } else { format!("{fraction:0<6}").parse::<i64>().ok()? };
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * DAYS_PER_ERA + day_of_era - EPOCH_DAYS;
    let seconds = days * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
    Some(Timestamp(seconds * MICROS_PER_SECOND + micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_written_and_read() {
        let known = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_577_836_800_000_000, "2020-01-01T00:00:00.000000Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (4_107_542_400_000_001, "2100-03-01T00:00:00.000001Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
        ];
        for (micros, text) in known {
            assert_eq!(write(Timestamp(micros)), text);
            assert_eq!(read(text), Some(Timestamp(micros)), "{text}");
        }
        assert_eq!(read("2020-01-01T00:00:00Z"), Some(Timestamp(1_577_836_800_000_000)));
        assert_eq!(read("2020-01-01T00:00:00.5Z"), Some(Timestamp(1_577_836_800_500_000)));
        for text in ["", "2020-01-01", "2020-13-01T00:00:00Z", "2020-01-01T00:00:00+02:00", "yesterday"] {
            assert_eq!(read(text), None, "{text}");
        }
        for day in -200_000..200_000 {
            let at = Timestamp(day * SECONDS_PER_DAY * MICROS_PER_SECOND);
            assert_eq!(read(&write(at)), Some(at));
        }
    }
}
