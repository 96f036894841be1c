//! Tasks written as Markdown files, or as one line of text.
//!
//! ```text
//! # Title
//! Priority: high
//! Domain: operations
//! Constraint: cite every statement
//!
//! What is wanted, as prose or bullets.
//! ```

use dacapo_activities::model::{Priority, TaskContext};

/// Characters of a title made of a task without heading.
const TITLE_CHARS_MAX: usize = 80;

/// A task as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFile {
    /// The first heading; without one, the beginning of the text.
    pub title: String,
    /// Everything else.
    pub description: String,
    /// As said under the heading.
    pub priority: Priority,
    /// As said under the heading.
    pub context: TaskContext,
}

impl TaskFile {
    /// Reads a task; any text is one, and what is wrong with it is said when it is validated.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim_start_matches('\u{feff}').trim();
        let mut lines = text.lines();
        let heading =
            text.strip_prefix("# ").and_then(|_| lines.next()).map(|l| l.trim_start_matches('#').trim().to_owned());
        let mut priority = Priority::default();
        let mut context = TaskContext::default();
        let mut rest: Vec<&str> = Vec::new();
        let mut in_head = heading.is_some();
        for line in lines {
            in_head =
                in_head && (line.trim().is_empty() && rest.is_empty() || head_line(line, &mut priority, &mut context));
            if !in_head {
                rest.push(line);
            }
        }
        let description = rest.join("\n").trim().to_owned();
        let title = heading.unwrap_or_else(|| beginning(&description));
        Self { title, description, priority, context }
    }
}

/// Takes a `Name: value` line of the head; tells whether it was one.
fn head_line(line: &str, priority: &mut Priority, context: &mut TaskContext) -> bool {
    let Some((name, value)) = line.split_once(':') else { return false };
    let value = value.trim().to_owned();
    match name.trim().to_lowercase().as_str() {
        "priority" => match value.to_lowercase().as_str() {
            "high" => *priority = Priority::High,
            "medium" => *priority = Priority::Medium,
            "low" => *priority = Priority::Low,
            _ => return false,
        },
        "domain" => context.domain = Some(value),
        "deadline" => context.deadline = Some(value),
        "constraint" => context.constraints.push(value),
        _ => return false,
    }
    true
}

fn beginning(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    if line.chars().count() <= TITLE_CHARS_MAX {
        return line.to_owned();
    }
    let cut: String = line.chars().take(TITLE_CHARS_MAX - 1).collect();
    format!("{}…", cut.rsplit_once(' ').map_or(cut.as_str(), |(head, _)| head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_head_and_a_body() {
        let task = TaskFile::parse(
            "# Leases \nPriority: High\nDomain: operations\nConstraint: be brief\n\nWhat: does a lease\n- protect?\n",
        );
        assert_eq!(task.title, "Leases");
        assert_eq!(task.priority, Priority::High);
        assert_eq!(task.context.domain.as_deref(), Some("operations"));
        assert_eq!(task.context.constraints, ["be brief"]);
        assert_eq!(task.description, "What: does a lease\n- protect?");
    }

    #[test]
    fn a_line_of_text_is_a_task_too() {
        let task = TaskFile::parse("What does a lease protect?");
        assert_eq!(
            (task.title.as_str(), task.description.as_str()),
            ("What does a lease protect?", "What does a lease protect?")
        );
        assert!(TaskFile::parse(&"word ".repeat(50)).title.chars().count() <= TITLE_CHARS_MAX);
        assert_eq!(TaskFile::parse("").description, "");
    }
}
