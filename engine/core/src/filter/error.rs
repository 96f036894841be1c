//! What is wrong with a filter, where, and what would be right.

/// Why a filter cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the filter cannot be read at column {column}: {problem}")]
pub struct FilterError {
    /// The place, in characters from 1.
    pub column: usize,
    /// What is wrong there, and what may stand there.
    pub problem: String,
    /// The filter.
    pub filter: String,
}

impl FilterError {
    /// Draws the filter with a mark under the place; two lines.
    pub fn pointer(&self) -> String {
        // A line break or a tabulator would move the mark away from its place.
        let line: String = self.filter.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{line}\n{}^", " ".repeat(self.column.saturating_sub(1)))
    }
}
