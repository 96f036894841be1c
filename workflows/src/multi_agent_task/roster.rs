//! The work of a task: one entry per subtask, with who had it, what was handed in and how it was judged.

use std::collections::BTreeSet;

use dacapo_activities::local::GENERALIST;
use dacapo_activities::model::{
    Accepted, Feedback, Requirement, RequirementScores, Review, Solution, Subtask, Unresolved,
};

use super::board::{SubtaskState, SubtaskStatus};
use super::result::{FailedPart, Retry, RetryScope, SubtaskResult};
use super::review::Verdict;
use super::team::ActivityFailure;

/// A type scored lower for a requirement, in thousandths, is not asked to try it after another failed.
const NEXT_BEST_MIN: i64 = 50;

/// A subtask and everything that happened to it.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) subtask: Subtask,
    pub(crate) requirements: Vec<Requirement>,
    /// Who has it now.
    pub(crate) agent: String,
    /// Who had it.
    tried: BTreeSet<String>,
    /// How often it was executed.
    pub(crate) executions: u32,
    /// How it stands.
    pub(crate) status: SubtaskStatus,
    /// What was handed in last, accepted or not.
    pub(crate) solution: Option<Solution>,
    /// How that was judged.
    pub(crate) review: Option<Review>,
    /// What is part of the answer.
    pub(crate) accepted: Option<(Solution, Review)>,
    /// Why the last execution or review failed.
    failure: Option<ActivityFailure>,
    /// What it was last given by its dependencies, as solution ids.
    pub(crate) inputs_seen: Option<Vec<String>>,
    /// Whether the same specialist goes on from its last solution.
    revises: bool,
    /// What was taken for granted or left out in any execution.
    pub(crate) assumptions: BTreeSet<String>,
}

impl Work {
    pub(crate) fn new(subtask: Subtask, requirements: &[Requirement]) -> Self {
        let own = requirements.iter().filter(|r| subtask.requirement_ids.contains(&r.id)).cloned().collect();
        Self {
            agent: subtask.assigned_specialist.clone(),
            subtask,
            requirements: own,
            tried: BTreeSet::new(),
            executions: 0,
            status: SubtaskStatus::Pending,
            solution: None,
            review: None,
            accepted: None,
            failure: None,
            inputs_seen: None,
            revises: false,
            assumptions: BTreeSet::new(),
        }
    }

    /// Says that an execution begins with these inputs.
    pub(crate) fn begin(&mut self, inputs: Vec<String>) {
        self.executions += 1;
        self.tried.insert(self.agent.clone());
        self.status = SubtaskStatus::InProgress;
        self.inputs_seen = Some(inputs);
        self.review = None;
        self.failure = None;
    }

    /// Takes what the execution came to.
    pub(crate) fn hand_in(&mut self, result: Result<Solution, ActivityFailure>) {
        match result {
            Ok(solution) => {
                self.assumptions.extend(solution.assumptions.iter().cloned());
                self.solution = Some(solution);
                self.status = SubtaskStatus::Completed;
            }
            Err(failure) => self.fail(failure),
        }
    }

    /// Says that the execution or the review failed.
    pub(crate) fn fail(&mut self, failure: ActivityFailure) {
        self.status = SubtaskStatus::Failed;
        self.failure = Some(failure);
    }

    /// Takes the decision on what was handed in.
    pub(crate) fn judge(&mut self, review: Review, verdict: Verdict) {
        self.status = match verdict {
            Verdict::Accepted => SubtaskStatus::Accepted,
            Verdict::NeedsRevision => SubtaskStatus::NeedsRevision,
            Verdict::Rejected => SubtaskStatus::Rejected,
        };
        if verdict == Verdict::Accepted
            && let Some(solution) = &self.solution
        {
            self.accepted = Some((solution.clone(), review.clone()));
        }
        self.review = Some(review);
    }

    /// Prepares another execution: the same specialist goes on, or the next best one begins.
    pub(crate) fn prepare(&mut self, scores: &[RequirementScores], known: &BTreeSet<String>) {
        // Accepted before, and to be done again only because its inputs changed: the same specialist goes on.
        self.revises = matches!(self.status, SubtaskStatus::NeedsRevision | SubtaskStatus::Accepted);
        if !self.revises {
            self.agent = self.next_best(scores, known);
        }
    }

    fn next_best(&self, scores: &[RequirementScores], known: &BTreeSet<String>) -> String {
        let own = scores.iter().find(|s| self.subtask.requirement_ids.contains(&s.requirement_id));
        own.into_iter()
            .flat_map(|s| &s.types)
            .filter(|t| t.score >= NEXT_BEST_MIN && known.contains(&t.agent_type))
            .find(|t| !self.tried.contains(&t.agent_type))
            .map_or_else(|| GENERALIST.to_owned(), |t| t.agent_type.clone())
    }

    /// Gives what the reviewer asked for, where there is a next execution.
    pub(crate) fn feedback(&self) -> Option<Feedback> {
        let review = self.review.as_ref()?;
        Some(Feedback { text: review.feedback.clone(), revision_requests: review.revision_requests.clone() })
    }

    /// Gives the solution to go on from: only to the specialist who made it.
    pub(crate) fn previous(&self) -> Option<Solution> {
        self.solution.clone().filter(|s| self.revises && s.specialist == self.agent)
    }

    /// Gives the last total, of 10,000.
    pub(crate) fn score(&self) -> Option<i64> {
        self.accepted.as_ref().map(|(_, r)| r).or(self.review.as_ref()).map(|r| r.scores.total())
    }

    pub(crate) fn seen(&self) -> SubtaskState {
        SubtaskState {
            subtask_id: self.subtask.subtask_id.clone(),
            title: self.subtask.title.clone(),
            agent: self.agent.clone(),
            status: if self.accepted.is_some() && self.status != SubtaskStatus::InProgress {
                SubtaskStatus::Accepted
            } else {
                self.status
            },
            score: self.score(),
            cycle: self.executions,
            dependencies: self.subtask.dependencies.clone(),
        }
    }

    pub(crate) fn result(&self) -> SubtaskResult {
        SubtaskResult {
            subtask_id: self.subtask.subtask_id.clone(),
            title: self.subtask.title.clone(),
            agent: self.accepted.as_ref().map_or_else(|| self.agent.clone(), |(s, _)| s.specialist.clone()),
            status: self.seen().status,
            score: self.score().unwrap_or(0),
            cycles: self.executions,
        }
    }

    /// Gives what goes into the answer.
    pub(crate) fn contribution(&self) -> Option<Accepted> {
        let (solution, review) = self.accepted.as_ref()?;
        Some(Accepted {
            subtask_id: self.subtask.subtask_id.clone(),
            specialist: solution.specialist.clone(),
            requirement_ids: self.subtask.requirement_ids.clone(),
            scores: review.scores,
            findings: solution.findings.clone(),
            not_found: solution.not_found.clone(),
            confidence: solution.confidence,
        })
    }

    /// Says why there is nothing for the answer.
    pub(crate) fn unresolved(&self) -> Option<Unresolved> {
        if self.accepted.is_some() {
            return None;
        }
        let reason = match (&self.failure, &self.review) {
            (Some(failure), _) => format!("failed after {} executions: {failure}", self.executions),
            (None, Some(review)) => format!(
                "not accepted after {} executions, last with {} of 10000: {}",
                self.executions,
                review.scores.total(),
                review.feedback
            ),
            (None, None) => "not executed".to_owned(),
        };
        // What no document has is why it cannot be answered; where every word is somewhere, the words that are never together.
        let requests = self.review.iter().flat_map(|r| &r.revision_requests);
        let absent: BTreeSet<String> =
            requests.clone().filter(|r| r.absent).flat_map(|r| r.words.iter().cloned()).collect();
        let all: BTreeSet<String> = requests.flat_map(|r| r.words.iter().cloned()).collect();
        let missing = if absent.is_empty() { all } else { absent };
        Some(Unresolved {
            subtask_id: self.subtask.subtask_id.clone(),
            requirement_ids: self.subtask.requirement_ids.clone(),
            reason,
            missing: missing.into_iter().collect(),
        })
    }

    pub(crate) fn failed_part(&self) -> Option<FailedPart> {
        let unresolved = self.unresolved()?;
        Some(FailedPart {
            subtask_id: unresolved.subtask_id,
            requirements: self.requirements.iter().map(|r| r.text.clone()).collect(),
            reason: unresolved.reason,
            missing: unresolved.missing,
            retry_with: Retry { scope: RetryScope::SpecificSubtasks, specific_areas: vec![self.subtask.title.clone()] },
        })
    }
}
