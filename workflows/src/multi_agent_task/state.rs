//! The thirteen states of a task, how they follow each other, and what the API shows of them.

use serde::{Deserialize, Serialize};

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Nothing has begun.
    Pending,
    /// The manager finds out what is asked.
    TaskAnalysis,
    /// The manager chooses the team.
    SpecialistSelection,
    /// The manager divides the work.
    TaskDecomposition,
    /// The specialists work.
    SpecialistExecution,
    /// The manager judges what they handed in.
    ManagerReview,
    /// Something is to be done again.
    RevisionRequired,
    /// The coordinator orders and links what was accepted.
    Coordination,
    /// The analyst makes the answer.
    Synthesis,
    /// The manager judges the answer.
    ManagerFinalReview,
    /// The answer is given.
    Completed,
    /// There is no answer.
    Failed,
    /// Nobody wants it any more.
    Cancelled,
}

/// What the API calls `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not begun.
    Pending,
    /// Being worked on.
    InProgress,
    /// Being worked on again.
    RevisionInProgress,
    /// Being judged.
    ManagerReview,
    /// Being ordered and linked.
    Coordination,
    /// Being written.
    Synthesis,
    /// Done.
    Completed,
    /// Without answer.
    Failed,
    /// Called off.
    Cancelled,
}

/// What the API calls `current_stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each stage is the state of the same name")]
pub enum Stage {
    Initialization,
    TaskAnalysis,
    SpecialistSelection,
    TaskDecomposition,
    SpecialistExecution,
    ManagerReview,
    RevisionRequired,
    Coordination,
    Synthesis,
    ManagerFinalReview,
    Completed,
}

impl State {
    /// All states, in the order of a task without trouble.
    pub const ALL: [Self; 13] = [
        Self::Pending,
        Self::TaskAnalysis,
        Self::SpecialistSelection,
        Self::TaskDecomposition,
        Self::SpecialistExecution,
        Self::ManagerReview,
        Self::RevisionRequired,
        Self::Coordination,
        Self::Synthesis,
        Self::ManagerFinalReview,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Tells whether a task ends here.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Tells whether `next` may follow.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use State::{
            Cancelled, Completed, Coordination, Failed, ManagerFinalReview, ManagerReview, Pending, RevisionRequired,
            SpecialistExecution, SpecialistSelection, Synthesis, TaskAnalysis, TaskDecomposition,
        };
        match (self, next) {
            (Completed | Failed | Cancelled, _) => false,
            (_, Failed | Cancelled) => true,
            (Pending, TaskAnalysis)
            | (TaskAnalysis, SpecialistSelection)
            | (SpecialistSelection, TaskDecomposition)
            | (TaskDecomposition | RevisionRequired, SpecialistExecution)
            | (SpecialistExecution, ManagerReview)
            | (ManagerReview, RevisionRequired | Coordination)
            | (Coordination | ManagerFinalReview, Synthesis)
            | (Synthesis, ManagerFinalReview)
            | (ManagerFinalReview, Completed) => true,
            // Without an analyst the findings are given as they are, and nobody is left to judge them.
            (Synthesis, Completed) => true,
            _ => false,
        }
    }

    /// Gives the progress in percent; in execution by how many of the subtasks are done. Final states keep what was reached.
    #[must_use]
    pub fn progress(self, done: usize, total: usize) -> Option<u8> {
        let percent = match self {
            Self::Pending => 0,
            Self::TaskAnalysis => 5,
            Self::SpecialistSelection => 10,
            Self::TaskDecomposition => 15,
            Self::SpecialistExecution => 20 + u8::try_from(40 * done.min(total) / total.max(1)).unwrap_or(40),
            Self::RevisionRequired => 60,
            Self::ManagerReview => 65,
            Self::Coordination => 75,
            Self::Synthesis => 85,
            Self::ManagerFinalReview => 95,
            Self::Completed => 100,
            Self::Failed | Self::Cancelled => return None,
        };
        Some(percent)
    }

    /// Gives the API's `status`; execution after the first cycle is a revision.
    #[must_use]
    pub fn status(self, cycle: u32) -> Status {
        match self {
            Self::Pending => Status::Pending,
            Self::SpecialistExecution if cycle > 0 => Status::RevisionInProgress,
            Self::TaskAnalysis | Self::SpecialistSelection | Self::TaskDecomposition | Self::SpecialistExecution => {
                Status::InProgress
            }
            Self::RevisionRequired => Status::RevisionInProgress,
            Self::ManagerReview | Self::ManagerFinalReview => Status::ManagerReview,
            Self::Coordination => Status::Coordination,
            Self::Synthesis => Status::Synthesis,
            Self::Completed => Status::Completed,
            Self::Failed => Status::Failed,
            Self::Cancelled => Status::Cancelled,
        }
    }

    /// Gives the API's `current_stage`; failed and cancelled tasks keep their last one.
    #[must_use]
    pub fn stage(self) -> Option<Stage> {
        let stage = match self {
            Self::Pending => Stage::Initialization,
            Self::TaskAnalysis => Stage::TaskAnalysis,
            Self::SpecialistSelection => Stage::SpecialistSelection,
            Self::TaskDecomposition => Stage::TaskDecomposition,
            Self::SpecialistExecution => Stage::SpecialistExecution,
            Self::ManagerReview => Stage::ManagerReview,
            Self::RevisionRequired => Stage::RevisionRequired,
            Self::Coordination => Stage::Coordination,
            Self::Synthesis => Stage::Synthesis,
            Self::ManagerFinalReview => Stage::ManagerFinalReview,
            Self::Completed => Stage::Completed,
            Self::Failed | Self::Cancelled => return None,
        };
        Some(stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_transitions_exist() {
        let mut shown = String::new();
        for from in State::ALL {
            for to in State::ALL {
                let ends = matches!(to, State::Failed | State::Cancelled);
                assert!(!ends || from.may_become(to) != from.is_final(), "{from:?} {to:?}");
                if !ends && from.may_become(to) {
                    shown.push_str(&format!("{from:?}>{to:?} "));
                }
            }
        }
        assert_eq!(
            shown.trim(),
            "Pending>TaskAnalysis TaskAnalysis>SpecialistSelection SpecialistSelection>TaskDecomposition \
             TaskDecomposition>SpecialistExecution SpecialistExecution>ManagerReview ManagerReview>RevisionRequired \
             ManagerReview>Coordination RevisionRequired>SpecialistExecution Coordination>Synthesis \
             Synthesis>ManagerFinalReview Synthesis>Completed ManagerFinalReview>Synthesis ManagerFinalReview>Completed"
        );
    }

    #[test]
    fn progress_and_api_words_follow_the_table() {
        assert_eq!(State::SpecialistExecution.progress(1, 4), Some(30));
        assert_eq!(State::SpecialistExecution.progress(0, 0), Some(20));
        assert_eq!(State::Failed.progress(1, 1), None);
        assert_eq!(State::SpecialistExecution.status(0), Status::InProgress);
        assert_eq!(State::SpecialistExecution.status(1), Status::RevisionInProgress);
        assert_eq!(State::ManagerFinalReview.stage(), Some(Stage::ManagerFinalReview));
        assert_eq!(serde_json::to_string(&State::ManagerFinalReview).unwrap(), "\"MANAGER_FINAL_REVIEW\"");
        assert_eq!(serde_json::to_string(&Status::RevisionInProgress).unwrap(), "\"revision_in_progress\"");
    }
}
