//! The rounds of a task: specialists work, the manager judges, what is not accepted is done again.

use std::collections::BTreeSet;

use dacapo_activities::local::{GENERALIST, agent_types};
use dacapo_activities::model::{DependencyInput, ExecuteSubtask, ReviewSolution, Solution};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;

use super::board::{ReviewLine, SubtaskStatus};
use super::orchestrate::{Brief, Job};
use super::review::decide;
use super::roster::Work;
use super::scheduling::ReadySet;
use super::state::State;
use super::team::{ActivityFailure, TeamActivities};

impl<T: TeamActivities> Job<'_, T> {
    /// Works until everything is accepted or the revision cycles are used; gives how many were.
    pub(crate) async fn work(&self, brief: &Brief, roster: &mut [Work]) -> u32 {
        let known: BTreeSet<String> = self.types.iter().map(|t| t.agent_type.clone()).collect();
        let mut cycle = 0;
        let mut todo: BTreeSet<usize> = (0..roster.len()).collect();
        loop {
            self.publish(|board| {
                board.enter(State::SpecialistExecution);
                board.show(roster, &brief.graph);
            });
            let executed = self.execute(brief, roster, todo, cycle).await;
            self.publish(|board| board.enter(State::ManagerReview));
            self.review(brief, roster, &executed, cycle).await;
            let open: BTreeSet<usize> = (0..roster.len()).filter(|n| roster[*n].accepted.is_none()).collect();
            if open.is_empty() || cycle == self.input.options.max_revision_cycles {
                return cycle;
            }
            cycle += 1;
            // Whoever builds on a solution that changes gets to see the change.
            todo = brief.graph.all_dependents(&open).union(&open).copied().collect();
            for n in &todo {
                roster[*n].prepare(&brief.selection.scores, &known);
            }
            self.publish(|board| {
                board.begin_cycle(cycle);
                board.show(roster, &brief.graph);
            });
        }
    }

    /// Executes what is to be done, each as soon as its dependencies are; gives what was executed.
    async fn execute(&self, brief: &Brief, roster: &mut [Work], todo: BTreeSet<usize>, cycle: u32) -> BTreeSet<usize> {
        let mut ready = ReadySet::new(&brief.graph, todo.clone());
        let mut running = FuturesUnordered::new();
        let mut executed = BTreeSet::new();
        let mut done = 0;
        loop {
            while let Some(n) = ready.take() {
                let inputs = inputs(brief, roster, n);
                let given: Vec<String> = inputs.iter().map(|(id, _)| id.clone()).collect();
                if roster[n].accepted.is_some() && roster[n].inputs_seen.as_ref() == Some(&given) {
                    // Accepted, and nothing it builds on has changed after all.
                    ready.finish(n);
                    done += 1;
                    continue;
                }
                let input = self.execution(&roster[n], inputs.into_iter().map(|(_, input)| input).collect(), cycle);
                roster[n].begin(given);
                running.push(self.execute_one(n, input));
            }
            self.publish(|board| {
                board.show(roster, &brief.graph);
                board.show_progress(&todo, done);
            });
            let Some((n, result)) = running.next().await else { return executed };
            if let Ok(solution) = &result {
                self.usage.borrow_mut().add(&solution.usage);
            }
            roster[n].hand_in(result);
            executed.insert(n);
            ready.finish(n);
            done += 1;
        }
    }

    async fn execute_one(&self, n: usize, input: ExecuteSubtask) -> (usize, Result<Solution, ActivityFailure>) {
        (n, self.team.specialist_execute(input).await)
    }

    fn execution(&self, work: &Work, inputs: Vec<DependencyInput>, cycle: u32) -> ExecuteSubtask {
        let named = |name: &str| self.types.iter().find(|t| t.agent_type == name).cloned();
        // The generalist is always there, also where the caller named the types to choose from.
        let specialist = named(&work.agent)
            .or_else(|| agent_types().into_iter().find(|t| t.agent_type == GENERALIST))
            .expect("the built-in types have a generalist");
        ExecuteSubtask {
            task: self.task.clone(),
            subtask: work.subtask.clone(),
            requirements: work.requirements.clone(),
            specialist,
            cycle,
            inputs,
            feedback: work.feedback(),
            previous: work.previous(),
        }
    }

    /// Judges what was handed in, all at once.
    async fn review(&self, brief: &Brief, roster: &mut [Work], executed: &BTreeSet<usize>, cycle: u32) {
        let handed_in: Vec<(usize, ReviewSolution)> = executed
            .iter()
            .filter(|n| roster[**n].status == SubtaskStatus::Completed)
            .filter_map(|n| self.review_input(&roster[*n]).map(|input| (*n, input)))
            .collect();
        let (numbers, inputs): (Vec<usize>, Vec<ReviewSolution>) = handed_in.into_iter().unzip();
        let reviews = join_all(inputs.into_iter().map(|input| self.team.manager_review_solution(input))).await;
        for (n, review) in numbers.into_iter().zip(reviews) {
            let work = &mut roster[n];
            match review {
                Ok(review) => {
                    self.usage.borrow_mut().add(&review.usage);
                    let verdict = decide(&review.scores, &self.input.options.floors);
                    let line = ReviewLine {
                        subtask_id: work.subtask.subtask_id.clone(),
                        agent: work.agent.clone(),
                        cycle,
                        score: review.scores.total(),
                        verdict,
                        feedback: review.feedback.clone(),
                    };
                    work.judge(review, verdict);
                    self.board.borrow_mut().add_review(line);
                }
                Err(failure) => work.fail(failure),
            }
        }
        self.publish(|board| board.show(roster, &brief.graph));
    }

    fn review_input(&self, work: &Work) -> Option<ReviewSolution> {
        Some(ReviewSolution {
            task: self.task.clone(),
            subtask: work.subtask.clone(),
            requirements: work.requirements.clone(),
            solution: work.solution.clone()?,
        })
    }
}

/// Gives what the dependencies of a subtask found, with the ids of their solutions; one that failed gives nothing.
fn inputs(brief: &Brief, roster: &[Work], n: usize) -> Vec<(String, DependencyInput)> {
    let solutions = brief.graph.dependencies(n).into_iter().filter_map(|d| {
        let work = &roster[d];
        work.accepted.as_ref().map(|(s, _)| s).or(work.solution.as_ref())
    });
    solutions
        .map(|s| {
            (s.solution_id.clone(), DependencyInput { subtask_id: s.subtask_id.clone(), findings: s.findings.clone() })
        })
        .collect()
}
