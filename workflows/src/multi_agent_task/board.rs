//! What can be seen of a running task, and the one place that changes its state.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::review::Verdict;
use super::roster::Work;
use super::scheduling::Graph;
use super::state::{Stage, State, Status};

/// What can be seen of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamState {
    /// Where it is.
    pub state: State,
    /// The same for the API.
    pub status: Status,
    /// The same for the API, more finely; failed and cancelled tasks keep their last stage.
    pub current_stage: Stage,
    /// In percent; never falls.
    pub progress: u8,
    /// The revision cycle.
    pub cycle: u32,
    /// Whether the answer lacks a part.
    pub partial_completion: bool,
    /// The team.
    pub specialists: Vec<String>,
    /// The work, in the order of the plan.
    pub subtasks: Vec<SubtaskState>,
    /// The subtasks by level: those of one run at the same time.
    pub phases: Vec<Vec<String>>,
    /// The reviews so far, in the order they were made.
    pub reviews: Vec<ReviewLine>,
    /// Why it failed or was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What can be seen of a subtask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskState {
    /// Its id.
    pub subtask_id: String,
    /// One line.
    pub title: String,
    /// Who does it.
    pub agent: String,
    /// How it stands.
    pub status: SubtaskStatus,
    /// Its last total, of 10,000.
    pub score: Option<i64>,
    /// How often it was executed.
    pub cycle: u32,
    /// What it waits for.
    pub dependencies: Vec<String>,
}

/// Tells how a subtask stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubtaskStatus {
    /// Not begun.
    Pending,
    /// Being worked on.
    InProgress,
    /// Handed in.
    Completed,
    /// Part of the answer.
    Accepted,
    /// To be revised.
    NeedsRevision,
    /// To be done by another.
    Rejected,
    /// The specialist could not do it.
    Failed,
}

/// One review, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewLine {
    /// The subtask.
    pub subtask_id: String,
    /// Whose solution.
    pub agent: String,
    /// In which cycle.
    pub cycle: u32,
    /// The total, of 10,000.
    pub score: i64,
    /// What was decided.
    pub verdict: Verdict,
    /// What the reviewer says.
    pub feedback: String,
}

/// The state of a task and its changes.
#[derive(Debug)]
pub(crate) struct Board {
    state: TeamState,
}

impl Board {
    pub(crate) fn new() -> Self {
        let state = State::Pending;
        Self {
            state: TeamState {
                state,
                status: state.status(0),
                current_stage: Stage::Initialization,
                progress: 0,
                cycle: 0,
                partial_completion: false,
                specialists: Vec::new(),
                subtasks: Vec::new(),
                phases: Vec::new(),
                reviews: Vec::new(),
                reason: None,
            },
        }
    }

    /// Gives what can be seen.
    pub(crate) fn seen(&self) -> &TeamState {
        &self.state
    }

    /// Goes to the next state.
    pub(crate) fn enter(&mut self, next: State) {
        assert!(self.state.state.may_become(next), "a task never goes from {:?} to {next:?}", self.state.state);
        self.state.state = next;
        self.refresh(0, 0);
    }

    /// Ends the task without answer.
    pub(crate) fn end(&mut self, next: State, reason: &str) {
        self.state.reason = Some(reason.to_owned());
        self.enter(next);
    }

    /// Says that another revision cycle begins.
    pub(crate) fn begin_cycle(&mut self, cycle: u32) {
        self.state.cycle = cycle;
        self.enter(State::RevisionRequired);
    }

    /// Says who is on the team.
    pub(crate) fn set_team(&mut self, specialists: Vec<String>) {
        self.state.specialists = specialists;
    }

    /// Says that the answer lacks a part.
    pub(crate) fn set_partial(&mut self) {
        self.state.partial_completion = true;
    }

    /// Shows the work as it stands.
    pub(crate) fn show(&mut self, roster: &[Work], graph: &Graph) {
        let id = |n: &usize| roster[*n].subtask.subtask_id.clone();
        self.state.subtasks = roster.iter().map(Work::seen).collect();
        self.state.phases = graph.phases().iter().map(|phase| phase.iter().map(id).collect()).collect();
    }

    /// Shows how much of this round's work is done.
    pub(crate) fn show_progress(&mut self, todo: &BTreeSet<usize>, done: usize) {
        self.refresh(done, todo.len());
    }

    /// Adds a review.
    pub(crate) fn add_review(&mut self, line: ReviewLine) {
        self.state.reviews.push(line);
    }

    fn refresh(&mut self, done: usize, total: usize) {
        let shown = &mut self.state;
        shown.status = shown.state.status(shown.cycle);
        shown.current_stage = shown.state.stage().unwrap_or(shown.current_stage);
        shown.progress = shown.progress.max(shown.state.progress(done, total).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_falls_and_the_last_stage_is_kept() {
        let mut board = Board::new();
        for state in [
            State::TaskAnalysis,
            State::SpecialistSelection,
            State::TaskDecomposition,
            State::SpecialistExecution,
            State::ManagerReview,
        ] {
            board.enter(state);
        }
        assert_eq!(board.seen().progress, 65);
        board.begin_cycle(1);
        board.enter(State::SpecialistExecution);
        assert_eq!((board.seen().progress, board.seen().status), (65, Status::RevisionInProgress));
        board.end(State::Cancelled, "enough");
        assert_eq!((board.seen().progress, board.seen().current_stage), (65, Stage::SpecialistExecution));
        assert_eq!(board.seen().reason.as_deref(), Some("enough"));
    }

    #[test]
    #[should_panic(expected = "never goes from Pending to Synthesis")]
    fn a_transition_that_does_not_exist_is_a_bug() {
        Board::new().enter(State::Synthesis);
    }
}
