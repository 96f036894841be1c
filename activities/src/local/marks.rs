//! Marks in sentences that some specialists look for: dates, norms, negations.

use crate::documents::words;

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// The first and last year that a bare number is taken for: outside, it is more likely a count.
const YEARS: std::ops::RangeInclusive<u32> = 1700..=2199;

/// Gives the dates in a text in ISO form, as exact as they are written, in the order of the text.
pub(crate) fn dates(text: &str) -> Vec<String> {
    let tokens: Vec<(usize, &str)> = words(text).collect();
    let mut found = Vec::new();
    let mut n = 0;
    while n < tokens.len() {
        let (used, date) = date_at(text, &tokens[n..]);
        found.extend(date);
        n += used;
    }
    found
}

/// Reads a date at the first of `tokens`; gives how many tokens it takes.
fn date_at(text: &str, tokens: &[(usize, &str)]) -> (usize, Option<String>) {
    let word = |n: usize| tokens.get(n).map(|(_, w)| *w).unwrap_or_default();
    let number = |n: usize| word(n).parse::<u32>().ok();
    let year = |n: usize| number(n).filter(|y| word(n).len() == 4 && YEARS.contains(y));
    let month = |n: usize| {
        let lower = word(n).to_lowercase();
        let named = |m: &&str| {
            lower.len() >= 3
                && word(n).starts_with(char::is_uppercase)
                && (**m == lower || (lower.len() <= 4 && m.starts_with(&lower)))
        };
        MONTHS.iter().position(named).map(|m| m + 1)
    };
    let day = |n: usize| number(n).filter(|d| word(n).len() <= 2 && (1..=31).contains(d));
    let joined = |n: usize| tokens.get(n + 1).is_some_and(|(at, _)| text[..*at].ends_with('-'));
    if let (Some(y), true, Some(m)) =
        (year(0), joined(0), number(1).filter(|m| word(1).len() == 2 && (1..=12).contains(m)))
    {
        return match day(2).filter(|_| joined(1)) {
            Some(d) => (3, Some(format!("{y:04}-{m:02}-{d:02}"))),
            None => (2, Some(format!("{y:04}-{m:02}"))),
        };
    }
    if let (Some(d), Some(m), Some(y)) = (day(0), month(1), year(2)) {
        return (3, Some(format!("{y:04}-{m:02}-{d:02}")));
    }
    if let (Some(m), Some(d), Some(y)) = (month(0), day(1), year(2)) {
        return (3, Some(format!("{y:04}-{m:02}-{d:02}")));
    }
    if let (Some(m), Some(y)) = (month(0), year(1)) {
        return (2, Some(format!("{y:04}-{m:02}")));
    }
    (1, year(0).map(|y| format!("{y:04}")))
}

/// Gives the strongest norm of a text: what must be, should be or may be.
pub(crate) fn norm(text: &str) -> Option<&'static str> {
    let has = |list: &[&str]| words(text).any(|(_, w)| list.contains(&w.to_lowercase().as_str()));
    // "may" in small letters is mostly a guess, not a permission.
    let permits = words(text).any(|(_, w)| w == "MAY" || w == "OPTIONAL");
    if has(&["must", "shall", "required"]) {
        Some("MUST")
    } else if has(&["should", "recommended", "recommend", "ought"]) {
        Some("SHOULD")
    } else if permits {
        Some("MAY")
    } else {
        None
    }
}

/// Tells whether a text says what to do; "never" and "always" mostly say what happens.
pub(crate) fn advises(text: &str) -> bool {
    let says = ["must", "shall", "should", "recommended", "recommend"];
    words(text).any(|(_, w)| says.contains(&w.to_lowercase().as_str()))
}

/// Counts the negations of a text.
pub(crate) fn negations(text: &str) -> usize {
    let lower = text.to_lowercase().replace('’', "'");
    let contracted = lower.matches("n't").count();
    contracted
        + words(&lower)
            .filter(|(_, w)| matches!(*w, "not" | "no" | "never" | "cannot" | "without" | "neither" | "nor" | "none"))
            .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_exactly_as_written() {
        let text = "On 2025-06-01 and 3 March 2024, in May 2023, since 1999; not 1234567, v2.0 or 16 s. Dec 5, 2022 it may end.";
        assert_eq!(dates(text), ["2025-06-01", "2024-03-03", "2023-05", "1999", "2022-12-05"]);
    }

    #[test]
    fn norms_and_negations_are_seen() {
        assert_eq!(norm("A server MUST answer."), Some("MUST"));
        assert_eq!(norm("It should wait."), Some("SHOULD"));
        assert_eq!(norm("It may rain."), None);
        assert_eq!(norm("A client MAY wait."), Some("MAY"));
        assert!(advises("Clients should wait.") && !advises("It never waits."));
        assert_eq!(negations("It doesn't and cannot, never did."), 3);
    }
}
