//! From accepted solutions to the result: coordination, synthesis, final review.
//!
//! Whoever is missing here is replaced by something simpler, and the result says so: work that was accepted is never lost.

use std::collections::{BTreeMap, BTreeSet};

use dacapo_activities::model::{
    Accepted, Aggregate, Aggregated, FinalAnswer, FinalReview, Requirement, ReviewFinal, Synthesize, Unresolved,
};

use super::fallback::{aggregate_without_provider, answer_without_provider};
use super::orchestrate::{Brief, Job, TeamError};
use super::render::markdown;
use super::result::{Source, TaskOutcome, TaskResult};
use super::roster::Work;
use super::state::State;
use super::team::{ActivityFailure, TeamActivities};

/// What is known when the work is done.
struct Findings<'a> {
    requirements: &'a [Requirement],
    accepted: Vec<Accepted>,
    unresolved: Vec<Unresolved>,
    /// What limits the answer besides.
    limitations: Vec<String>,
    partial: bool,
}

impl<T: TeamActivities> Job<'_, T> {
    /// Makes the result of what was accepted.
    pub(crate) async fn close(&self, brief: &Brief, roster: &[Work], cycles: u32) -> Result<TaskResult, TeamError> {
        let unresolved: Vec<Unresolved> = roster.iter().filter_map(Work::unresolved).collect();
        let mut findings = Findings {
            requirements: &brief.analysis.requirements,
            accepted: roster.iter().filter_map(Work::contribution).collect(),
            partial: !unresolved.is_empty(),
            unresolved,
            limitations: limitations(brief, roster),
        };
        if findings.accepted.is_empty() {
            return Err(nothing_accepted(&findings));
        }
        self.publish(|board| {
            if findings.partial {
                board.set_partial();
            }
            board.enter(State::Coordination);
        });
        let aggregated = self.coordinate(&mut findings).await;
        let answer = self.answer(&aggregated, &mut findings).await;
        self.publish(|board| {
            if findings.partial {
                board.set_partial();
            }
            board.enter(State::Completed);
        });
        let seen = self.board.borrow();
        Ok(TaskResult {
            task_id: self.task.task_id.clone(),
            status: seen.seen().status,
            partial_completion: findings.partial,
            result: TaskOutcome {
                final_answer: markdown(&self.task.title, &answer),
                supporting_data: aggregated
                    .structured_findings
                    .iter()
                    .map(|(t, f)| (t.clone(), f.supporting_data.clone()))
                    .collect(),
                confidence: answer.overall_confidence,
                sources: sources(&answer),
            },
            final_answer: answer,
            subtasks: roster.iter().map(Work::result).collect(),
            failed_parts: roster.iter().filter_map(Work::failed_part).collect(),
            revision_cycles: cycles,
            usage: self.usage.borrow().totals(),
        })
    }

    async fn coordinate(&self, findings: &mut Findings<'_>) -> Aggregated {
        let input = Aggregate {
            task: self.task.clone(),
            requirements: findings.requirements.to_vec(),
            accepted: findings.accepted.clone(),
        };
        match self.team.coordinator_aggregate(input).await {
            Ok(aggregated) => {
                self.usage.borrow_mut().add(&aggregated.usage);
                aggregated
            }
            Err(failure) => {
                findings.missed("coordinator", "the findings are grouped by requirement and not linked", &failure);
                aggregate_without_provider(findings.requirements, &findings.accepted)
            }
        }
    }

    /// Makes the answer, again as long as the final review asks for it and cycles are left.
    async fn answer(&self, aggregated: &Aggregated, findings: &mut Findings<'_>) -> FinalAnswer {
        let mut feedback = None;
        for cycle in 0.. {
            self.publish(|board| board.enter(State::Synthesis));
            let mut answer =
                match self.team.analyst_synthesize(self.synthesis(aggregated, findings, feedback.take())).await {
                    Ok(answer) => answer,
                    Err(failure) => {
                        findings.missed("analyst", "the findings are given as they are", &failure);
                        return answer_without_provider(
                            findings.requirements,
                            aggregated,
                            &findings.unresolved,
                            &findings.limitations,
                        );
                    }
                };
            answer.usage.iter().for_each(|usage| self.usage.borrow_mut().add(usage));
            self.publish(|board| board.enter(State::ManagerFinalReview));
            match self.review_final(&answer, findings).await {
                Ok(review) if review.approved => return answer,
                Ok(review) if cycle == self.input.options.final_revision_cycles => {
                    findings.partial = true;
                    answer.limitations.push(format!("Not approved by the final review: {}", review.feedback));
                    return answer;
                }
                Ok(review) => feedback = Some(review),
                Err(failure) => {
                    findings.missed("final reviewer", "the answer was not reviewed as a whole", &failure);
                    answer.limitations.extend(findings.limitations.last().cloned());
                    return answer;
                }
            }
        }
        unreachable!("the loop is unbounded and every way out returns")
    }

    fn synthesis(&self, aggregated: &Aggregated, findings: &Findings<'_>, feedback: Option<FinalReview>) -> Synthesize {
        Synthesize {
            task: self.task.clone(),
            requirements: findings.requirements.to_vec(),
            aggregated: aggregated.clone(),
            scores: findings.accepted.iter().map(|a| (a.subtask_id.clone(), a.scores)).collect::<BTreeMap<_, _>>(),
            unresolved: findings.unresolved.clone(),
            limitations: findings.limitations.clone(),
            feedback,
        }
    }

    async fn review_final(
        &self,
        answer: &FinalAnswer,
        findings: &Findings<'_>,
    ) -> Result<FinalReview, ActivityFailure> {
        let input = ReviewFinal {
            task: self.task.clone(),
            requirements: findings.requirements.to_vec(),
            final_answer: answer.clone(),
            unresolved: findings.unresolved.clone(),
        };
        let review = self.team.manager_review_final(input).await?;
        self.usage.borrow_mut().add(&review.usage);
        Ok(review)
    }
}

impl Findings<'_> {
    /// Says that somebody of the team was missing, and what that means for the answer.
    fn missed(&mut self, who: &str, consequence: &str, failure: &ActivityFailure) {
        self.partial = true;
        self.limitations.push(format!("The {who} failed ({failure}): {consequence}"));
    }
}

/// Names the documents that could not be read, and what any specialist took for granted or left out.
fn limitations(brief: &Brief, roster: &[Work]) -> Vec<String> {
    let unread = brief.analysis.unreadable.iter().map(|u| format!("Not read: {} ({})", u.doc, u.reason));
    let assumptions: BTreeSet<&String> = roster.iter().flat_map(|work| &work.assumptions).collect();
    unread.chain(assumptions.into_iter().cloned()).collect()
}

fn nothing_accepted(findings: &Findings<'_>) -> TeamError {
    let open = findings.unresolved.iter().map(|u| {
        let asked: Vec<&str> = findings
            .requirements
            .iter()
            .filter(|r| u.requirement_ids.contains(&r.id))
            .map(|r| r.text.as_str())
            .collect();
        format!(
            "\"{}\" ({})",
            asked.join("; "),
            if u.missing.is_empty() { u.reason.clone() } else { format!("not found: {}", u.missing.join(", ")) }
        )
    });
    let open: Vec<String> = open.chain(findings.limitations.iter().cloned()).collect();
    TeamError::Failed {
        error_type: "NoAcceptedSolution".to_owned(),
        message: format!(
            "the documents answer nothing of what is asked: {}; give other documents or ask otherwise",
            open.join(", ")
        ),
    }
}

/// Gives every place that the answer cites, once, by document and offset.
fn sources(answer: &FinalAnswer) -> Vec<Source> {
    let all: BTreeSet<Source> = answer
        .statements()
        .flat_map(|s| &s.citations)
        .map(|c| Source { doc: c.doc.clone(), start: c.start, end: c.end, sha256: c.sha256.clone() })
        .collect();
    all.into_iter().collect()
}
