//! Placeholder.

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number in `docs/architecture.md`.
    pub invariant: u8,
    /// Its name.
    pub name: &'static str,
    /// Where and what.
    pub detail: String,
}
