//! Numbers as people write them, read without floating point.

/// A number with its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quantity {
    /// The value in micro-units.
    pub(crate) micro: i128,
    /// Digits behind the decimal point.
    pub(crate) decimals: usize,
    /// What stands before or behind the number: `ms`, `%`, `$`.
    pub(crate) unit: String,
}

/// Digits before the decimal point that are still read: 10^15 in micro-units is far inside the integer.
const DIGITS_MAX: usize = 15;

/// Digits behind the decimal point that micro-units hold.
const DECIMALS_MAX: usize = 6;

impl Quantity {
    /// Reads a cell that is one number and at most a unit.
    pub(crate) fn parse(cell: &str) -> Option<Self> {
        let (currency, rest) = match cell.chars().next()? {
            c @ ('$' | '€' | '£') => (c.to_string(), cell[c.len_utf8()..].trim_start()),
            _ => (String::new(), cell),
        };
        let (micro, decimals, length) = number(rest)?;
        let unit = rest[length..].trim();
        let wordy = unit.chars().all(|c| c.is_alphabetic() || matches!(c, '%' | '/' | '°' | 'µ' | ' '));
        (unit.len() <= 16 && wordy).then(|| Self { micro, decimals, unit: format!("{currency}{unit}") })
    }

    /// Finds the numbers in a text that are followed by a unit: `1.5 s`, `16 seconds`, `85%`.
    pub(crate) fn in_text(text: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(start) = text[at..].find(|c: char| c.is_ascii_digit()).map(|n| at + n) {
            let glued =
                text[..start].chars().next_back().is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
            let Some((micro, decimals, length)) = number(&text[start..]) else {
                at = start + 1;
                continue;
            };
            at = start + length;
            let rest = text[at..].strip_prefix([' ', '-', '\u{a0}']).unwrap_or(&text[at..]);
            let unit: String = rest.chars().take_while(|c| c.is_alphabetic() || *c == '%').collect();
            if !glued && !unit.is_empty() {
                found.push(Self { micro, decimals, unit: unit.to_lowercase() });
            }
        }
        found
    }
}

/// Reads a number at the start of a text: value in micro-units, decimals, length in bytes.
fn number(text: &str) -> Option<(i128, usize, usize)> {
    let bytes = text.as_bytes();
    let negative = bytes.first() == Some(&b'-');
    let mut at = usize::from(negative || bytes.first() == Some(&b'+'));
    let (mut value, mut digits) = (0_i128, 0);
    while at < bytes.len() {
        match bytes[at] {
            d @ b'0'..=b'9' => {
                value = value * 10 + i128::from(d - b'0');
                digits += 1;
            }
            // A separator stands between a digit and exactly three more.
            b',' | b'_' if digits > 0 && is_group(&bytes[at + 1..]) => {}
            _ => break,
        }
        at += 1;
        if digits > DIGITS_MAX {
            return None;
        }
    }
    if digits == 0 {
        return None;
    }
    let mut decimals = 0;
    if bytes.get(at) == Some(&b'.') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at += 1;
        while let Some(d) = bytes.get(at).filter(|b| b.is_ascii_digit()) {
            value = value * 10 + i128::from(d - b'0');
            decimals += 1;
            at += 1;
            if decimals > DECIMALS_MAX {
                return None;
            }
        }
    }
    let scale = 10_i128.pow(u32::try_from(DECIMALS_MAX - decimals).ok()?);
    let micro = value * scale;
    Some((if negative { -micro } else { micro }, decimals, at))
}

fn is_group(rest: &[u8]) -> bool {
    rest.len() >= 3 && rest[..3].iter().all(u8::is_ascii_digit) && !rest.get(3).is_some_and(u8::is_ascii_digit)
}

/// Shows micro-units with at most `decimals` digits behind the point, rounded half away from zero, trailing zeros dropped.
pub(crate) fn show(micro: i128, decimals: usize) -> String {
    let decimals = decimals.min(DECIMALS_MAX);
    let step = 10_i128.pow(u32::try_from(DECIMALS_MAX - decimals).unwrap_or(0));
    let rounded = (micro.abs() + step / 2) / step;
    let scale = 10_i128.pow(u32::try_from(decimals).unwrap_or(0));
    let whole = grouped(rounded / scale);
    let fraction = format!("{:0width$}", rounded % scale, width = decimals);
    let fraction = if decimals == 0 { "" } else { fraction.trim_end_matches('0') };
    let sign = if micro < 0 && rounded != 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn grouped(value: i128) -> String {
    let digits = value.to_string();
    let mut shown = String::new();
    for (n, d) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(d);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_as_people_write_them() {
        for (cell, micro, unit) in [
            ("1,304", 1_304_000_000, ""),
            ("-0.5", -500_000, ""),
            ("12.25 ms", 12_250_000, "ms"),
            ("85%", 85_000_000, "%"),
            ("$3", 3_000_000, "$"),
            ("81_000", 81_000_000_000, ""),
        ] {
            let found = Quantity::parse(cell).unwrap();
            assert_eq!((found.micro, found.unit.as_str()), (micro, unit), "{cell}");
        }
        for cell in ["", "x", "1.2.3", "1e5", "2025-01-01", "1,30", "99999999999999999", "-"] {
            assert_eq!(Quantity::parse(cell), None, "{cell}");
        }
    }

    #[test]
    fn quantities_in_text_have_units() {
        let found = Quantity::in_text("Waits 1.5 s, then 16-second steps at 85%, since v2 of 2024.");
        let shown: Vec<_> = found.iter().map(|q| (q.micro, q.unit.as_str())).collect();
        assert_eq!(shown, [(1_500_000, "s"), (16_000_000, "second"), (85_000_000, "%")]);
    }

    #[test]
    fn numbers_are_shown_rounded_and_grouped() {
        assert_eq!(show(1_234_567_500_000, 1), "1,234,567.5");
        assert_eq!(show(-1_666_667, 2), "-1.67");
        assert_eq!(show(2_000_000, 2), "2");
        assert_eq!(show(999_999, 2), "1");
    }
}
