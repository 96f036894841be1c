//! Logs: to stderr, for people on a terminal, as JSON lines elsewhere.

mod span_fields;

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, prelude::*, util::TryInitError};

use self::span_fields::SpanFields;

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be read.
    #[error("`{filter}` is no log filter; write `info`, or `warn,dacapo_runtime=debug`")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process logs elsewhere already.
    #[error("logging is set up already")]
    Installed(#[source] TryInitError),
}

/// Sets up logging for the process: `filter`, else `RUST_LOG`, else `default`.
///
/// # Errors
/// [`LoggingError::Filter`] names the filter; [`LoggingError::Installed`] the second time.
pub fn install(filter: Option<&str>, default: &str) -> Result<(), LoggingError> {
    let environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let wanted = filter.or(environment.as_deref()).unwrap_or(default);
    let filter =
        EnvFilter::try_new(wanted).map_err(|source| LoggingError::Filter { filter: wanted.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(filter);
    if io::stderr().is_terminal() {
        registry.with(fmt::layer().with_writer(io::stderr)).try_init()
    } else {
        let lines = fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .fmt_fields(SpanFields)
            .with_writer(io::stderr);
        registry.with(lines).try_init()
    }
    .map_err(LoggingError::Installed)
}
