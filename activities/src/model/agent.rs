//! Agent types: specialists are data.

use serde::{Deserialize, Serialize};

/// A kind of specialist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentType {
    /// The name, as in plans and results.
    #[serde(rename = "type")]
    pub agent_type: String,
    /// One sentence for people.
    pub description: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Words that draw its eye while reading.
    pub lens_terms: Vec<String>,
    /// Words of a requirement that call for it.
    pub cues: Vec<String>,
    /// How it works.
    pub method: Method,
}

/// Tells what a specialist does besides reading for passages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Nothing more.
    #[default]
    Passages,
    /// Computes figures from the columns of tables.
    Figures,
    /// Looks for dates and orders by them.
    Timeline,
    /// Prefers what is required, recommended or permitted.
    Norms,
    /// Counts functions, tests and risks in programs.
    Code,
}
