//! The task a team is given.

use serde::{Deserialize, Serialize};

use crate::documents::{MediaType, digest};

/// What a team is asked to do, and over which documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The caller's id of the task.
    pub task_id: String,
    /// Who asked.
    #[serde(default)]
    pub user_id: String,
    /// One line.
    pub title: String,
    /// The requirements, as prose or bullets.
    pub description: String,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
    /// What else the caller knows.
    #[serde(default)]
    pub context: TaskContext,
    /// The material to work on.
    #[serde(default)]
    pub documents: Vec<DocumentRef>,
}

/// Orders tasks and subtasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before the others.
    High,
    /// As usual.
    #[default]
    Medium,
    /// After the others.
    Low,
}

/// What the caller knows besides the description.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskContext {
    /// The field of the task, where the caller names it.
    #[serde(default)]
    pub domain: Option<String>,
    /// When the answer is due, as the caller writes it.
    #[serde(default)]
    pub deadline: Option<String>,
    /// What the answer must respect.
    #[serde(default)]
    pub constraints: Vec<String>,
}

/// A document by name and content address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentRef {
    /// The file name, as cited; unique in a task.
    pub doc: String,
    /// `sha256:` and the digest of the bytes.
    pub blob: String,
    /// What the file is; told by its name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
}

impl DocumentRef {
    /// Refers to `bytes` under a file name.
    #[must_use]
    pub fn of(doc: impl Into<String>, bytes: &[u8]) -> Self {
        Self { doc: doc.into(), blob: format!("sha256:{}", digest(bytes)), media_type: None }
    }

    /// Gives the digest in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        self.blob.strip_prefix("sha256:").unwrap_or(&self.blob)
    }

    /// Gives the media type, told by the name where none is given.
    #[must_use]
    pub fn media_type(&self) -> MediaType {
        self.media_type.unwrap_or_else(|| MediaType::of(&self.doc))
    }
}
