//! The order of a list, and the place in it to go on from.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::{NameField, TimeField, evaluate::Facts, evaluate::compare_numbers};
use crate::{
    ids::RunId,
    store::RunInfo,
    time::{Length, Timestamp},
};

/// What a list is ordered by; where that is equal, by the run id in the same direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderBy {
    /// A name, byte by byte.
    Name(NameField),
    /// A point in time.
    Time(TimeField),
    /// The time from start to close.
    ExecutionDuration,
    /// The events of the history.
    HistoryLength,
    /// A search attribute: runs with a number first, then those with a text, then those with true or false.
    Attribute(String),
}

/// The order of a list. Runs without the value come last in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What it goes by.
    pub by: OrderBy,
    /// Whether the largest comes first.
    pub descending: bool,
}

impl Default for Order {
    /// The newest start first.
    fn default() -> Self {
        Self { by: OrderBy::Time(TimeField::StartTime), descending: true }
    }
}

/// The value by which a run has its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SortKey {
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
    /// A point in time.
    Time(Timestamp),
    /// A length of time.
    Length(Length),
    /// The run has no such value.
    Missing,
}

/// A place in a list, after a run. It stays where it is when that run changes or goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// The value of the run.
    pub key: SortKey,
    /// The run.
    pub run_id: RunId,
}

impl SortKey {
    /// The group of values that this one is among; smaller groups come first in either direction.
    pub fn rank(&self) -> i32 {
        match self {
            Self::Number(_) | Self::Time(_) | Self::Length(_) => 0,
            Self::Text(_) => 1,
            Self::Bool(_) => 2,
            Self::Missing => 3,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => compare_numbers(a, b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (Self::Length(a), Self::Length(b)) => a.cmp(b),
            // Of one rank and not of one kind, or both missing: the run ids decide.
            _ => Ordering::Equal,
        }
    }
}

impl Order {
    /// Gives the place of a run in a list of this order.
    pub fn cursor(&self, run: &RunInfo) -> Cursor {
        let key = match &self.by {
            OrderBy::Name(NameField::WorkflowId) => SortKey::Text(run.workflow_id.to_string()),
            OrderBy::Name(NameField::WorkflowType) => SortKey::Text(run.workflow_type.to_string()),
            OrderBy::Name(NameField::TaskQueue) => SortKey::Text(run.task_queue.to_string()),
            OrderBy::Time(TimeField::StartTime) => SortKey::Time(run.started_at),
            OrderBy::Time(TimeField::CloseTime) => run.closed_at.map_or(SortKey::Missing, SortKey::Time),
            OrderBy::ExecutionDuration => Facts::duration(run).map_or(SortKey::Missing, SortKey::Length),
            OrderBy::HistoryLength => SortKey::Number(run.events.into()),
            OrderBy::Attribute(name) => match Facts::of(run).attribute(name) {
                Some(Value::Number(number)) => SortKey::Number(number.clone()),
                Some(Value::String(text)) => SortKey::Text(text.clone()),
                Some(Value::Bool(is)) => SortKey::Bool(*is),
                Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => SortKey::Missing,
            },
        };
        Cursor { key, run_id: run.key.run_id }
    }

    /// Compares two places.
    pub fn compare(&self, a: &Cursor, b: &Cursor) -> Ordering {
        let directed = |ordering: Ordering| if self.descending { ordering.reverse() } else { ordering };
        let keys = a.key.rank().cmp(&b.key.rank()).then_with(|| directed(a.key.compare(&b.key)));
        keys.then_with(|| directed(a.run_id.cmp(&b.run_id)))
    }
}
