//! A team of agents solves a task over a person's documents.
//!
//! ```text
//! PENDING ► TASK_ANALYSIS ► SPECIALIST_SELECTION ► TASK_DECOMPOSITION ► SPECIALIST_EXECUTION ◄─┐
//!                                                                            ▼             REVISION_REQUIRED
//!                                                                      MANAGER_REVIEW ─────────┘
//!                                                                            ▼
//!                        COMPLETED ◄ MANAGER_FINAL_REVIEW ◄─► SYNTHESIS ◄ COORDINATION
//! ```
//! Specialists work in parallel over the graph of dependencies, reviews in parallel over what was handed in. What is not accepted
//! after the revision cycles does not fail the task: the answer is given without it and says so.

mod board;
mod closing;
mod fallback;
mod input;
mod orchestrate;
mod render;
mod result;
mod review;
mod roster;
mod scheduling;
mod specialists;
mod state;
mod task_file;
mod team;
mod workflow;

pub use board::{ReviewLine, SubtaskState, SubtaskStatus, TeamState};
pub use fallback::{aggregate_without_provider, answer_without_provider};
pub use input::{FieldError, Floors, Options, TaskInput, ValidationError};
pub use orchestrate::{TeamError, orchestrate};
pub use render::markdown;
pub use result::{FailedPart, Retry, RetryScope, Source, SubtaskResult, TaskOutcome, TaskResult, UsageTotals};
pub use review::{Verdict, decide};
pub use scheduling::{Graph, PlanError, ReadySet, fallback_plan, validate};
pub use state::{Stage, State, Status};
pub use task_file::TaskFile;
pub use team::{ActivityFailure, TeamActivities};
pub use workflow::{CANCEL, Cancel, STATE, multi_agent_task};
