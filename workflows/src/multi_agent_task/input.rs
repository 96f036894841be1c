//! The input of a task, and what is wrong with it, said at once and in full.

use std::collections::BTreeSet;

use dacapo_activities::local::agent_types;
use dacapo_activities::model::{AgentType, DocumentRef, Priority, Task, TaskContext};
use serde::{Deserialize, Serialize};
use thiserror::Error;

const TITLE_CHARS_MAX: usize = 500;
const DESCRIPTION_CHARS_MIN: usize = 20;
const DESCRIPTION_CHARS_MAX: usize = 10_000;
/// The references of 500 documents stay far below the limit of one payload.
const DOCUMENTS_MAX: usize = 500;
const NAME_CHARS_MAX: usize = 500;
const CYCLES_MAX: u32 = 3;
const FLOOR_MAX: u8 = 100;
/// The provider that is there.
const LOCAL: &str = "local";

/// The input of `multi_agent_task`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskInput {
    /// The caller's id of the task.
    pub task_id: String,
    /// Who asks.
    #[serde(default)]
    pub user_id: String,
    /// One line, up to 500 characters.
    pub title: String,
    /// What is wanted, 20 to 10,000 characters.
    pub description: String,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
    /// What else the caller knows.
    #[serde(default)]
    pub context: TaskContext,
    /// The material.
    #[serde(default)]
    pub documents: Vec<DocumentRef>,
    /// The agent types to choose from; all where absent.
    #[serde(default)]
    pub agent_types: Option<Vec<String>>,
    /// How the team works.
    #[serde(default)]
    pub options: Options,
}

/// How the team works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Who does the thinking; `local` is what there is.
    pub provider: String,
    /// How often subtasks are revised, 0 to 3.
    pub max_revision_cycles: u32,
    /// How often the answer is made again, 0 to 3.
    pub final_revision_cycles: u32,
    /// What a solution must have whatever its total.
    pub floors: Floors,
}

/// Scores, in tenths, that a solution must have whatever its total; 0 switches a floor off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Floors {
    /// For completeness.
    pub completeness: u8,
    /// For accuracy.
    pub accuracy: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self { provider: LOCAL.to_owned(), max_revision_cycles: 2, final_revision_cycles: 2, floors: Floors::default() }
    }
}

impl Default for Floors {
    fn default() -> Self {
        Self { completeness: 50, accuracy: 50 }
    }
}

/// Says everything that is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("the task cannot be started: {}", self.shown())]
pub struct ValidationError {
    /// What is wrong, field by field.
    pub details: Vec<FieldError>,
}

/// Says what is wrong with a field, what it may be, and so what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field, as in the JSON.
    pub field: String,
    /// What it is and what it may be.
    pub message: String,
}

impl ValidationError {
    fn shown(&self) -> String {
        self.details.iter().map(|d| format!("{}: {}", d.field, d.message)).collect::<Vec<_>>().join("; ")
    }
}

impl TaskInput {
    /// Gives the task without the options.
    #[must_use]
    pub fn task(&self) -> Task {
        Task {
            task_id: self.task_id.clone(),
            user_id: self.user_id.clone(),
            title: self.title.clone(),
            description: self.description.clone(),
            priority: self.priority,
            context: self.context.clone(),
            documents: self.documents.clone(),
        }
    }

    /// Gives the agent types that the team is chosen from.
    #[must_use]
    pub fn allowed_types(&self) -> Vec<AgentType> {
        let mut types = agent_types();
        if let Some(named) = &self.agent_types {
            types.retain(|t| named.contains(&t.agent_type));
        }
        types
    }

    /// Checks the input.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first thing.
    pub fn validate(&self) -> Result<(), ValidationError> {
        let mut details = Vec::new();
        let mut wrong = |field: &str, message: String| details.push(FieldError { field: field.to_owned(), message });
        if self.task_id.trim().is_empty() {
            wrong("task_id", "is empty: give the task an id".to_owned());
        }
        let title = self.title.chars().count();
        if self.title.trim().is_empty() || title > TITLE_CHARS_MAX {
            wrong(
                "title",
                format!("has {title} characters, 1 to {TITLE_CHARS_MAX} are allowed: name the task in one line"),
            );
        }
        if self.title.chars().any(char::is_control) {
            wrong("title", "has a line break or control character: write one plain line".to_owned());
        }
        let length = self.description.trim().chars().count();
        if !(DESCRIPTION_CHARS_MIN..=DESCRIPTION_CHARS_MAX).contains(&length) {
            let advice = if length < DESCRIPTION_CHARS_MIN {
                "say what is to be found out"
            } else {
                "split the task or move material into documents"
            };
            wrong(
                "description",
                format!(
                    "has {length} characters, {DESCRIPTION_CHARS_MIN} to {DESCRIPTION_CHARS_MAX} are allowed: {advice}"
                ),
            );
        }
        self.options.validate(&mut wrong);
        self.validate_documents(&mut wrong);
        let known = agent_types();
        for name in self.agent_types.iter().flatten().filter(|n| !known.iter().any(|t| t.agent_type == **n)) {
            let names: Vec<&str> = known.iter().map(|t| t.agent_type.as_str()).collect();
            wrong("agent_types", format!("{name} is not known: choose from {}", names.join(", ")));
        }
        if self.agent_types.as_ref().is_some_and(Vec::is_empty) {
            wrong("agent_types", "is empty: name at least one type, or leave the field out for all".to_owned());
        }
        if details.is_empty() { Ok(()) } else { Err(ValidationError { details }) }
    }

    fn validate_documents(&self, wrong: &mut impl FnMut(&str, String)) {
        let count = self.documents.len();
        if count == 0 || count > DOCUMENTS_MAX {
            wrong(
                "documents",
                format!("has {count} entries, 1 to {DOCUMENTS_MAX} are allowed: give the files to work on"),
            );
        }
        let mut names = BTreeSet::new();
        for document in &self.documents {
            let name = &document.doc;
            if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
                wrong(
                    "documents.doc",
                    format!("{name:?} is not a file name of 1 to {NAME_CHARS_MAX} characters: rename the file"),
                );
            }
            if !names.insert(name) {
                wrong(
                    "documents.doc",
                    format!("{name} is given twice: citations name files, so each needs a name of its own"),
                );
            }
            let hex = document.blob.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                wrong(
                    "documents.blob",
                    format!("{:?} of {name} is not sha256: and 64 lower-case hexadecimal digits", document.blob),
                );
            }
        }
    }
}

impl Options {
    fn validate(&self, wrong: &mut impl FnMut(&str, String)) {
        if self.provider != LOCAL {
            wrong("options.provider", format!("{} is not there: use {LOCAL}", self.provider));
        }
        for (field, cycles) in [
            ("options.max_revision_cycles", self.max_revision_cycles),
            ("options.final_revision_cycles", self.final_revision_cycles),
        ] {
            if cycles > CYCLES_MAX {
                wrong(field, format!("is {cycles}, 0 to {CYCLES_MAX} are allowed: more cycles have never found more"));
            }
        }
        for (field, floor) in [
            ("options.floors.completeness", self.floors.completeness),
            ("options.floors.accuracy", self.floors.accuracy),
        ] {
            if floor > FLOOR_MAX {
                wrong(field, format!("is {floor}, 0 to {FLOOR_MAX} tenths are allowed"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> TaskInput {
        TaskInput {
            task_id: "t1".into(),
            user_id: String::new(),
            title: "Leases".into(),
            description: "What does a lease protect?".into(),
            priority: Priority::default(),
            context: TaskContext::default(),
            documents: vec![DocumentRef::of("a.md", b"x")],
            agent_types: None,
            options: Options::default(),
        }
    }

    #[test]
    fn bounds_are_where_they_are_said_to_be() {
        let with = |change: &dyn Fn(&mut TaskInput)| {
            let mut input = valid();
            change(&mut input);
            input.validate().map_err(|e| e.details[0].field.clone())
        };
        assert_eq!(with(&|_| ()), Ok(()));
        assert_eq!(with(&|i| i.title = "ä".repeat(500)), Ok(()));
        assert_eq!(with(&|i| i.title = "ä".repeat(501)), Err("title".into()));
        assert_eq!(with(&|i| i.title = " ".into()), Err("title".into()));
        assert_eq!(with(&|i| i.title = "a\nb".into()), Err("title".into()));
        assert_eq!(with(&|i| i.description = "x".repeat(20)), Ok(()));
        assert_eq!(with(&|i| i.description = format!("  {}  ", "x".repeat(19))), Err("description".into()));
        assert_eq!(with(&|i| i.description = "x".repeat(10_000)), Ok(()));
        assert_eq!(with(&|i| i.description = "x".repeat(10_001)), Err("description".into()));
        assert_eq!(with(&|i| i.documents.clear()), Err("documents".into()));
        assert_eq!(with(&|i| i.documents.push(i.documents[0].clone())), Err("documents.doc".into()));
        assert_eq!(with(&|i| i.documents[0].blob = "sha256:xyz".into()), Err("documents.blob".into()));
        assert_eq!(with(&|i| i.options.max_revision_cycles = 4), Err("options.max_revision_cycles".into()));
        assert_eq!(with(&|i| i.options.floors.accuracy = 101), Err("options.floors.accuracy".into()));
        assert_eq!(with(&|i| i.options.provider = "openai".into()), Err("options.provider".into()));
        assert_eq!(with(&|i| i.agent_types = Some(vec!["plumber".into()])), Err("agent_types".into()));
        assert_eq!(with(&|i| i.agent_types = Some(vec![])), Err("agent_types".into()));
    }

    #[test]
    fn everything_wrong_is_said_at_once_with_the_limit_and_the_way_out() {
        let mut input = valid();
        input.title = String::new();
        input.description = "short".into();
        let error = input.validate().unwrap_err().to_string();
        assert!(error.contains("title: has 0 characters, 1 to 500"), "{error}");
        assert!(error.contains("description: has 5 characters, 20 to 10000 are allowed: say what"), "{error}");
    }

    #[test]
    fn the_smallest_json_is_enough_and_unknown_fields_are_refused() {
        let json = r#"{"task_id":"t","title":"x","description":"What does a lease protect?"}"#;
        let input: TaskInput = serde_json::from_str(json).unwrap();
        assert_eq!(input.options, Options::default());
        let error = serde_json::from_str::<Options>(r#"{"budget":{}}"#).unwrap_err().to_string();
        assert!(error.contains("budget"), "{error}");
    }
}
