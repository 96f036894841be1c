//! The decision on a solution: the weighted total and two floors.
//!
//! The floors are there because full marks in everything but completeness come to exactly 7.0: an answer to nothing would be accepted.

use dacapo_activities::model::{ACCEPT_TOTAL, REVISE_TOTAL, Scores};
use serde::{Deserialize, Serialize};

use super::input::Floors;

/// What becomes of a solution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// It is part of the answer.
    Accepted,
    /// Its specialist is asked for more.
    NeedsRevision,
    /// Another specialist is asked.
    Rejected,
}

/// Decides on a solution by its scores; what the reviewer recommends plays no part.
#[must_use]
pub fn decide(scores: &Scores, floors: &Floors) -> Verdict {
    let total = scores.total();
    if total >= ACCEPT_TOTAL
        && scores.completeness.0 >= i64::from(floors.completeness)
        && scores.accuracy.0 >= i64::from(floors.accuracy)
    {
        Verdict::Accepted
    } else if total >= REVISE_TOTAL {
        Verdict::NeedsRevision
    } else {
        Verdict::Rejected
    }
}

#[cfg(test)]
mod tests {
    use dacapo_activities::model::Tenths;

    use super::*;

    fn scores(c: i64, a: i64, r: i64, q: i64) -> Scores {
        Scores {
            completeness: Tenths::new(c),
            accuracy: Tenths::new(a),
            relevance: Tenths::new(r),
            quality: Tenths::new(q),
        }
    }

    /// A fraction, compared by multiplying crosswise: the reference has no rounding anywhere.
    fn at_least((n, d): (i64, i64), (m, e): (i64, i64)) -> bool {
        n * e >= m * d
    }

    #[test]
    fn every_combination_of_tenths_is_decided_as_rational_arithmetic_decides() {
        let floors = Floors::default();
        for c in 0..=100 {
            for a in 0..=100 {
                for r in 0..=100 {
                    for q in 0..=100 {
                        // 3/10 c/10 + 3/10 a/10 + 2/10 r/10 + 2/10 q/10
                        let mean = (3 * c + 3 * a + 2 * r + 2 * q, 100);
                        let expected =
                            if at_least(mean, (7, 1)) && at_least((c, 10), (5, 1)) && at_least((a, 10), (5, 1)) {
                                Verdict::Accepted
                            } else if at_least(mean, (5, 1)) {
                                Verdict::NeedsRevision
                            } else {
                                Verdict::Rejected
                            };
                        assert_eq!(decide(&scores(c, a, r, q), &floors), expected, "{c} {a} {r} {q}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_answered_perfectly_is_not_accepted() {
        let empty = scores(0, 100, 100, 100);
        assert_eq!(empty.total(), ACCEPT_TOTAL);
        assert_eq!(decide(&empty, &Floors::default()), Verdict::NeedsRevision);
        assert_eq!(decide(&empty, &Floors { completeness: 0, accuracy: 0 }), Verdict::Accepted);
    }

    #[test]
    fn scores_outside_the_scale_do_not_help() {
        assert_eq!(decide(&scores(50, 50, 1_000, 1_000), &Floors::default()), Verdict::Accepted);
        assert_eq!(scores(50, 50, 1_000, 1_000).total(), 7_000);
        assert_eq!(scores(-5, 100, 100, 100).total(), 7_000);
    }
}
