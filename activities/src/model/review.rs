//! A6: how a solution is judged, and the arithmetic of judging.
//!
//! Scores are tenths, weights are percent, totals are thousandths: the sums are exact. In floating point some combinations land on
//! the wrong side of a threshold.

use serde::{Deserialize, Serialize};

use super::analysis::Requirement;
use super::decimal::{Points, Tenths};
use super::plan::Subtask;
use super::solution::Solution;
use super::task::Task;
use super::usage::Usage;

/// Weight of completeness in percent.
pub const WEIGHT_COMPLETENESS: i64 = 30;
/// Weight of accuracy in percent.
pub const WEIGHT_ACCURACY: i64 = 30;
/// Weight of relevance in percent.
pub const WEIGHT_RELEVANCE: i64 = 20;
/// Weight of quality in percent.
pub const WEIGHT_QUALITY: i64 = 20;

/// A total from which a solution is accepted: 7.0.
pub const ACCEPT_TOTAL: i64 = 7_000;
/// A total from which a solution is worth revising: 5.0.
pub const REVISE_TOTAL: i64 = 5_000;

/// The highest score, 10, in tenths.
pub const SCORE_TENTHS_MAX: i64 = 100;

/// The input of `manager_review_solution`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewSolution {
    /// The task.
    pub task: Task,
    /// The work.
    pub subtask: Subtask,
    /// The requirements it answers.
    pub requirements: Vec<Requirement>,
    /// What was handed in.
    pub solution: Solution,
}

/// The output of `manager_review_solution`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// The four scores.
    pub scores: Scores,
    /// Their weighted mean; whoever decides computes it again.
    pub overall_score: Points,
    /// What is good.
    pub strengths: Vec<String>,
    /// What is not.
    pub weaknesses: Vec<String>,
    /// What the reviewer would do; whoever decides has floors too.
    pub recommendation: Recommendation,
    /// The judgement in words.
    pub feedback: String,
    /// What to do about it.
    pub revision_requests: Vec<RevisionRequest>,
    /// What it took.
    pub usage: Usage,
}

/// The four scores of a review, each from 0 to 10.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scores {
    /// How much of what was asked is answered.
    pub completeness: Tenths,
    /// How much of it is true to its sources.
    pub accuracy: Tenths,
    /// How much of it was asked.
    pub relevance: Tenths,
    /// How well it reads.
    pub quality: Tenths,
}

impl Scores {
    /// Gives the weighted mean in thousandths; scores outside 0 to 10 count as the nearest bound.
    #[must_use]
    pub fn total(&self) -> i64 {
        let bounded = |score: Tenths| score.0.clamp(0, SCORE_TENTHS_MAX);
        WEIGHT_COMPLETENESS * bounded(self.completeness)
            + WEIGHT_ACCURACY * bounded(self.accuracy)
            + WEIGHT_RELEVANCE * bounded(self.relevance)
            + WEIGHT_QUALITY * bounded(self.quality)
    }
}

/// What a reviewer would do with a solution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Recommendation {
    /// Take it.
    Accept,
    /// Ask for more.
    NeedsRevision,
    /// Ask someone else.
    Reject,
}

impl Recommendation {
    /// Tells what a total, in thousandths, calls for.
    #[must_use]
    pub fn of(total: i64) -> Self {
        if total >= ACCEPT_TOTAL {
            Self::Accept
        } else if total >= REVISE_TOTAL {
            Self::NeedsRevision
        } else {
            Self::Reject
        }
    }
}

/// One wish of a reviewer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRequest {
    /// The requirement it is about.
    pub requirement_id: String,
    /// In words.
    pub text: String,
    /// The stems to look for.
    pub terms: Vec<String>,
    /// The words to show for them.
    pub words: Vec<String>,
    /// Whether no document has any of them.
    pub absent: bool,
}
