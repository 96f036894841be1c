//! The control flow of a task, from the input to the result.
//!
//! Deterministic: joins are polled in the order their futures were made, and every decision is taken from values that activities
//! returned. [`orchestrate`] is the whole; `specialists` has the rounds of work and review, `closing` what follows them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::pin::pin;

use dacapo_activities::local::GENERALIST;
use dacapo_activities::model::{
    AgentType, Analysis, AnalyzeTask, Decompose, Plan, Priority, Requirement, RequirementKind, SelectSpecialists,
    Selection, Specialist, Task,
};
use futures_util::future::{Either, select};
use thiserror::Error;

use super::board::Board;
use super::input::{TaskInput, ValidationError};
use super::result::{TaskResult, UsageSum};
use super::roster::Work;
use super::scheduling::{Graph, fallback_plan, validate};
use super::state::State;
use super::team::{ActivityFailure, TeamActivities};

/// Members of a team; more than five have never been worth their reviews.
const TEAM_MAX: usize = 5;

/// Says why a task has no result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TeamError {
    /// The input cannot be worked on; nothing was done.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
    /// Something that nothing can replace failed.
    #[error("{error_type}: {message}")]
    Failed {
        /// The kind of failure.
        error_type: String,
        /// What happened, and what to do where that is known.
        message: String,
    },
    /// It was called off.
    #[error("cancelled: {reason}")]
    Cancelled {
        /// Why.
        reason: String,
    },
}

impl From<ActivityFailure> for TeamError {
    fn from(failure: ActivityFailure) -> Self {
        Self::Failed { error_type: failure.error_type, message: failure.message }
    }
}

/// Lets a team solve a task.
///
/// # Errors
/// An invalid input, a failure that no fallback covers, or cancellation.
///
/// # Cancel safety
/// On cancellation the work is dropped where it stands; what dropping a call means is the implementation's.
pub async fn orchestrate<T: TeamActivities>(team: &T, input: &TaskInput) -> Result<TaskResult, TeamError> {
    input.validate()?;
    let board = RefCell::new(Board::new());
    let job =
        Job { team, input, task: input.task(), types: input.allowed_types(), board: &board, usage: RefCell::default() };
    job.publish(|_| ());
    // Work first: a result that arrives together with a cancellation is a result.
    let outcome = match select(pin!(job.run()), pin!(team.cancelled())).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right((reason, _)) => Err(TeamError::Cancelled { reason }),
    };
    if let Err(error) = &outcome {
        let end = if matches!(error, TeamError::Cancelled { .. }) { State::Cancelled } else { State::Failed };
        job.publish(|board| board.end(end, &error.to_string()));
    }
    outcome
}

/// A task being worked on.
pub(crate) struct Job<'a, T> {
    pub(crate) team: &'a T,
    pub(crate) input: &'a TaskInput,
    pub(crate) task: Task,
    pub(crate) types: Vec<AgentType>,
    pub(crate) board: &'a RefCell<Board>,
    pub(crate) usage: RefCell<UsageSum>,
}

/// What the manager decided before the work began.
pub(crate) struct Brief {
    pub(crate) analysis: Analysis,
    pub(crate) selection: Selection,
    pub(crate) graph: Graph,
}

impl<T: TeamActivities> Job<'_, T> {
    async fn run(&self) -> Result<TaskResult, TeamError> {
        self.team.load_task(self.task.documents.clone()).await?;
        self.publish(|board| board.enter(State::TaskAnalysis));
        let analysis = self.team.manager_analyze_task(AnalyzeTask { task: self.task.clone() }).await?;
        self.usage.borrow_mut().add(&analysis.usage);

        self.publish(|board| board.enter(State::SpecialistSelection));
        let selection = self.select(&analysis).await?;
        let names = selection.specialists.iter().map(|s| s.agent_type.clone()).collect();

        self.publish(|board| {
            board.set_team(names);
            board.enter(State::TaskDecomposition);
        });
        let (plan, graph) = self.plan(&analysis.requirements, &selection.specialists).await?;
        let mut roster: Vec<Work> = plan.subtasks.into_iter().map(|s| Work::new(s, &analysis.requirements)).collect();
        let brief = Brief { analysis, selection, graph };

        let cycles = self.work(&brief, &mut roster).await;
        self.close(&brief, &roster, cycles).await
    }

    /// Changes the board and shows it.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut Board)) {
        let mut board = self.board.borrow_mut();
        change(&mut board);
        self.team.publish(board.seen());
    }

    async fn select(&self, analysis: &Analysis) -> Result<Selection, TeamError> {
        let input = SelectSpecialists {
            task: self.task.clone(),
            analysis: analysis.clone(),
            agent_types: self.types.clone(),
            load: std::collections::BTreeMap::new(),
        };
        let mut selection = self.team.manager_select_specialists(input).await?;
        self.usage.borrow_mut().add(&selection.usage);
        selection.specialists = staff(selection.specialists, analysis, &self.types);
        Ok(selection)
    }

    /// Plans the work; a plan that is wrong is asked for once more with what is wrong, and then made without a planner.
    async fn plan(&self, requirements: &[Requirement], specialists: &[Specialist]) -> Result<(Plan, Graph), TeamError> {
        let mut errors = Vec::new();
        for _ in 0..2 {
            let input = Decompose {
                task: self.task.clone(),
                requirements: requirements.to_vec(),
                specialists: specialists.to_vec(),
                errors: std::mem::take(&mut errors),
            };
            let plan = self.team.manager_decompose_task(input).await?;
            self.usage.borrow_mut().add(&plan.usage);
            match validate(&plan, requirements, specialists) {
                Ok(graph) => return Ok((plan, graph)),
                Err(wrong) => errors = wrong.iter().map(ToString::to_string).collect(),
            }
        }
        let plan = fallback_plan(&self.task, requirements, specialists);
        match validate(&plan, requirements, specialists) {
            Ok(graph) => Ok((plan, graph)),
            Err(wrong) => Err(TeamError::Failed {
                error_type: "InvalidPlan".to_owned(),
                message: wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            }),
        }
    }
}

/// Makes a team of what was selected: known types, as many as the task's size allows, and everyone's requirements in someone's hands.
fn staff(selected: Vec<Specialist>, analysis: &Analysis, types: &[AgentType]) -> Vec<Specialist> {
    let mut seen = BTreeSet::new();
    let mut team: Vec<Specialist> = selected
        .into_iter()
        .filter(|s| s.agent_type == GENERALIST || types.iter().any(|t| t.agent_type == s.agent_type))
        .filter(|s| seen.insert(s.agent_type.clone()))
        .collect();
    // A generalist who covers gaps comes in addition to the specialists that the size of the task allows.
    let mut left = analysis.complexity.specialists_max();
    team.retain(|s| {
        let counted = s.agent_type != GENERALIST;
        let fits = !counted || left > 0;
        left -= usize::from(counted && fits);
        fits
    });
    let given = |team: &[Specialist], id: &String| team.iter().any(|s| s.requirement_ids.contains(id));
    let asked = analysis.requirements.iter().filter(|r| r.kind != RequirementKind::Constraint);
    let mut open: Vec<String> = asked.map(|r| r.id.clone()).filter(|id| !given(&team, id)).collect();
    if open.is_empty() {
        return team;
    }
    if let Some(generalist) = team.iter_mut().find(|s| s.agent_type == GENERALIST) {
        generalist.requirement_ids.append(&mut open);
        return team;
    }
    while team.len() >= TEAM_MAX {
        open.extend(team.pop().into_iter().flat_map(|s| s.requirement_ids));
    }
    team.push(Specialist {
        agent_type: GENERALIST.to_owned(),
        score: 0,
        rationale: "takes what nobody else was given".to_owned(),
        priority: Priority::Medium,
        focus_areas: Vec::new(),
        requirement_ids: open,
    });
    team
}

#[cfg(test)]
mod tests {
    use dacapo_activities::local::agent_types;
    use dacapo_activities::model::{Complexity, Usage};

    use super::*;

    fn specialist(name: &str, ids: &[&str]) -> Specialist {
        Specialist {
            agent_type: name.into(),
            score: 0,
            rationale: String::new(),
            priority: Priority::Medium,
            focus_areas: Vec::new(),
            requirement_ids: ids.iter().map(|i| (*i).to_owned()).collect(),
        }
    }

    fn analysis(count: usize, complexity: Complexity) -> Analysis {
        let requirement = |n: usize| Requirement {
            id: format!("r{n}"),
            text: "x".into(),
            kind: RequirementKind::Question,
            terms: vec![],
        };
        Analysis {
            keywords: vec![],
            domain: String::new(),
            capabilities: vec![],
            requirements: (1..=count).map(requirement).collect(),
            complexity,
            constraints: vec![],
            unreadable: vec![],
            usage: Usage::computed("test", &()),
        }
    }

    fn shown(team: &[Specialist]) -> Vec<String> {
        team.iter().map(|s| format!("{} {}", s.agent_type, s.requirement_ids.join(","))).collect()
    }

    #[test]
    fn what_nobody_was_given_goes_to_the_generalist() {
        let selected =
            vec![specialist("developer", &["r1"]), specialist("plumber", &["r2"]), specialist("developer", &["r3"])];
        let team = staff(selected, &analysis(3, Complexity::Moderate), &agent_types());
        assert_eq!(shown(&team), ["developer r1", "generalist r2,r3"]);
    }

    #[test]
    fn a_team_has_at_most_five_members() {
        let names =
            ["developer", "data_analyst", "business_analyst", "market_expert", "protocol_analyst", "timeline_analyst"];
        let selected = names.iter().zip(1..).map(|(n, i)| specialist(n, &[&format!("r{i}")])).collect();
        let team = staff(selected, &analysis(6, Complexity::Complex), &agent_types());
        assert_eq!(team.len(), TEAM_MAX);
        assert_eq!(shown(&team)[4], "generalist r6,r5");
    }
}
