//! The options of `#[activity(…)]`: timeouts and retry policy, turned into a constant.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Ident, LitStr, Result, ext::IdentExt};

use crate::settings::Settings;

/// The keys that are durations; each is also the name of the constant's setter.
const DURATIONS: [&str; 6] =
    ["start_to_close", "schedule_to_close", "schedule_to_start", "heartbeat", "initial_interval", "max_interval"];

const KEYS: [&str; 11] = [
    "name",
    "start_to_close",
    "schedule_to_close",
    "schedule_to_start",
    "heartbeat",
    "max_attempts",
    "initial_interval",
    "max_interval",
    "backoff_coefficient",
    "non_retryable",
    "transactional",
];

/// The units of a duration and their milliseconds; `ms` before `m`, because the first that fits is taken.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// What `#[activity(…)]` says of one method.
pub(crate) struct ActivityOptions {
    /// The setters on the `Meta` constant, as `.start_to_close(…).heartbeat(…)`.
    pub(crate) setters: TokenStream,
    /// The stored name.
    pub(crate) name: String,
    /// Whether a call needs no timeout of its own.
    pub(crate) has_timeout: bool,
}

impl ActivityOptions {
    /// Reads the options of the method `method`.
    pub(crate) fn parse(tokens: TokenStream, method: &Ident) -> Result<Self> {
        let settings = Settings::parse(tokens, &KEYS)?;
        let mut setters = TokenStream::new();
        for key in DURATIONS {
            if let Some(text) = settings.text(key)? {
                let millis = duration_millis(text)?;
                let setter = Ident::new(key, text.span());
                setters.extend(quote!(.#setter(::core::time::Duration::from_millis(#millis))));
            }
        }
        if let Some(attempts) = settings.integer("max_attempts")? {
            let attempts = attempts.base10_parse::<u32>()?;
            setters.extend(quote!(.max_attempts(#attempts)));
        }
        if let Some((coefficient, span)) = settings.number("backoff_coefficient")? {
            // The same bounds as those of the retry policy, which keeps two decimals.
            if !(1.0..=10_000.0).contains(&coefficient) {
                return Err(Error::new(span, "`backoff_coefficient` lies between 1 and 10000"));
            }
            let percent = (coefficient * 100.0).round() as u32;
            setters.extend(quote!(.backoff_percent(#percent)));
        }
        let non_retryable = settings.list("non_retryable")?;
        if !non_retryable.is_empty() {
            setters.extend(quote!(.non_retryable(&[#(#non_retryable),*])));
        }
        if settings.flag("transactional")? {
            setters.extend(quote!(.transactional()));
        }
        let name = settings.name()?.map_or_else(|| method.unraw().to_string(), LitStr::value);
        let has_timeout = settings.text("start_to_close")?.is_some() || settings.text("schedule_to_close")?.is_some();
        Ok(Self { setters, name, has_timeout })
    }
}

/// Reads `30s`, `500ms`, `1h30m`.
fn duration_millis(text: &LitStr) -> Result<u64> {
    let value = text.value();
    let refuse =
        |why: &str| Error::new(text.span(), format!("{why}; write a duration as \"30s\", \"500ms\" or \"1h30m\""));
    let mut rest = value.trim();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, unit_on) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse("expected a number"))?;
        let (unit, millis) = UNITS
            .iter()
            .find(|(unit, _)| unit_on.starts_with(unit))
            .ok_or_else(|| refuse("expected a unit: `ms`, `s`, `m`, `h` or `d`"))?;
        let part = number.checked_mul(*millis).ok_or_else(|| refuse("the duration is too long"))?;
        total = total.checked_add(part).ok_or_else(|| refuse("the duration is too long"))?;
        rest = unit_on[unit.len()..].trim_start();
    }
    if total == 0 {
        return Err(refuse("a duration is longer than nothing"));
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;

    use super::*;

    fn millis(text: &str) -> std::result::Result<u64, String> {
        duration_millis(&LitStr::new(text, Span::call_site())).map_err(|error| error.to_string())
    }

    fn options(tokens: TokenStream) -> std::result::Result<ActivityOptions, String> {
        ActivityOptions::parse(tokens, &Ident::new("charge", Span::call_site())).map_err(|error| error.to_string())
    }

    #[test]
    fn durations_have_units_that_add_up() {
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("30s"), Ok(30_000));
        assert_eq!(millis("1h30m"), Ok(5_400_000));
        assert_eq!(millis("2d 1ms"), Ok(172_800_001));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_form_to_use() {
        for (text, why) in
            [("30", "a unit"), ("s", "a number"), ("", "longer than nothing"), ("0s", "longer than nothing")]
        {
            let error = millis(text).unwrap_err();
            assert!(error.contains(why) && error.contains("\"30s\""), "{text}: {error}");
        }
        assert!(millis("99999999999999999999d").is_err() && millis("300000000000d").is_err());
    }

    #[test]
    fn only_the_two_timeouts_that_end_an_activity_count_as_one() {
        assert!(options(quote!(start_to_close = "1s")).unwrap().has_timeout);
        assert!(options(quote!(schedule_to_close = "1s")).unwrap().has_timeout);
        assert!(!options(quote!(heartbeat = "1s", schedule_to_start = "1s")).unwrap().has_timeout);
    }

    #[test]
    fn unknown_double_and_ill_typed_options_are_refused() {
        let error = |tokens| options(tokens).err().unwrap();
        assert!(
            error(quote!(timeout = "1s")).starts_with("unknown option `timeout`; there is: `name`, `start_to_close`")
        );
        assert_eq!(error(quote!(name = "a", name = "b")), "option `name` is given twice");
        assert_eq!(error(quote!(max_attempts = "5")), "`max_attempts` takes a whole number: `max_attempts = 5`");
        assert_eq!(error(quote!(name = " ")), "a name cannot be empty");
        assert_eq!(error(quote!(transactional = 1)), "`transactional` takes no value: write `transactional` alone");
        assert_eq!(error(quote!(name)), "`name` takes a text: `name = \"…\"`");
        assert!(error(quote!(backoff_coefficient = 0.5)).contains("between 1 and 10000"));
    }
}
