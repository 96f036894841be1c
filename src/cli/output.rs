//! What a verb prints: data on stdout, everything else on stderr, each only as lively as its reader.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::{args::ColorWhen, exit::Stop, table::Table};

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Whether stdout gets JSON.
    pub(crate) json: bool,
    /// Whether stdout gets colors.
    pub(crate) color: bool,
    /// Whether a person watches stderr, so that progress may be shown.
    pub(crate) watched: bool,
}

/// A color with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Ended well.
    Good,
    /// Ended badly.
    Bad,
    /// Under way.
    Active,
    /// Ended on purpose from outside.
    Odd,
    /// Less important.
    Faint,
}

impl Output {
    /// Decides from the flags and from who reads.
    pub(crate) fn new(json: bool, color: ColorWhen) -> Self {
        let color = match color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => {
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
            }
        };
        Self { json, color: color && !json, watched: io::stderr().is_terminal() }
    }

    /// Prints a JSON value: on one line, so that one value is one line for whoever reads.
    pub(crate) fn value(self, value: &Value) -> Result<(), Stop> {
        self.line(&value.to_string())
    }

    /// Prints a line of data.
    pub(crate) fn line(self, line: &str) -> Result<(), Stop> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        Ok(stdout.flush()?)
    }

    /// Prints a table.
    pub(crate) fn table(self, table: &Table) -> Result<(), Stop> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(table.render(self.color).as_bytes())?;
        Ok(stdout.flush()?)
    }

    /// Says something that is no data.
    pub(crate) fn note(self, text: &str) {
        // Without a stderr there is nobody to tell.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Colors a text where colors are wanted.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if self.color { tone.paint(text) } else { text.to_owned() }
    }
}

impl Tone {
    /// Writes a text in this color.
    pub(crate) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Good => 32,
            Self::Bad => 31,
            Self::Active => 36,
            Self::Odd => 33,
            Self::Faint => 2,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
