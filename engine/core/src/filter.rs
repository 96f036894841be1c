//! Which runs a list shows: conditions on what lists know of runs, the order, and the place to go on from.
//!
//! A filter is written as an expression ([`parse`], `docs/list-filters.md` has the grammar) or put together from
//! [`Condition`]s. It is well typed by construction: what compares a time holds a time. Two things answer it: [`Condition::matches`]
//! on a run in memory, and the SQL that the store makes of it; both give the same answer.
//!
//! A condition is true or false, never unknown: what compares a value that a run does not have (the close of an open run, an
//! attribute that was never set) is false, and `Not` turns that round.
//!
//! Deliberately absent: values from the history or from payloads. A list reads rows of runs and nothing else.

mod error;
mod evaluate;
mod field;
mod order;
mod parse;
mod token;

use serde_json::Number;

pub use self::{
    error::FilterError,
    evaluate::compare_numbers,
    order::{Cursor, Order, OrderBy, SortKey},
    parse::{Expression, parse},
};
use crate::{
    ids::RunId,
    run::RunStatus,
    time::{Length, Timestamp},
};

/// What must hold for a run to be listed.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Every one of these; none is always true.
    All(Vec<Condition>),
    /// At least one of these; none is never true.
    Any(Vec<Condition>),
    /// The opposite.
    Not(Box<Condition>),
    /// The status is one of these.
    Status(Vec<RunStatus>),
    /// The run is one of these.
    RunId(Vec<RunId>),
    /// A name, compared byte by byte.
    Name(NameField, Test<String>),
    /// A name that begins so.
    NamePrefix(NameField, String),
    /// A point in time.
    Time(TimeField, Test<Timestamp>),
    /// The run is closed, so that it has a time of close and a duration.
    Closed,
    /// The time from start to close.
    ExecutionDuration(Test<Length>),
    /// The events of its history.
    HistoryLength(Test<i64>),
    /// A search attribute; a value of another kind is not equal to, less or more than it.
    Attribute(String, Test<Scalar>),
    /// A search attribute that is a text and begins so.
    AttributePrefix(String, String),
    /// A search attribute that is set and not null.
    HasAttribute(String),
}

/// A comparison with values of one kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Test<T> {
    /// Equal to one of these.
    OneOf(Vec<T>),
    /// Less than this.
    Less(T),
    /// At most this.
    AtMost(T),
    /// More than this.
    More(T),
    /// At least this.
    AtLeast(T),
}

/// A value that search attributes are compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// A text, compared byte by byte.
    Text(String),
    /// A point in time; texts in RFC 3339 are compared with it, whatever their offset.
    Time(Timestamp),
    /// A number, whole or not.
    Number(Number),
    /// True or false; false is less.
    Bool(bool),
}

/// The names of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameField {
    /// The workflow id.
    WorkflowId,
    /// The workflow type.
    WorkflowType,
    /// The task queue.
    TaskQueue,
}

/// The points in time of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeField {
    /// The start.
    StartTime,
    /// The close; an open run has none.
    CloseTime,
}

impl Condition {
    /// What is true of every run.
    pub const ALWAYS: Self = Self::All(Vec::new());

    /// What is true of no run.
    pub const NEVER: Self = Self::Any(Vec::new());

    /// Holds where this and another one hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match self {
            Self::All(mut all) => {
                all.push(other);
                Self::All(all)
            }
            one => Self::All(vec![one, other]),
        }
    }

    /// Holds where this or another one holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Any(mut any) => {
                any.push(other);
                Self::Any(any)
            }
            one => Self::Any(vec![one, other]),
        }
    }

    /// Holds where this does not.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// A search attribute has this value; `null` stands for one that is not set. No attribute is a list or an object.
    pub fn attribute_is(name: impl Into<String>, value: &serde_json::Value) -> Self {
        let name = name.into();
        let scalar = match value {
            serde_json::Value::Null => return Self::HasAttribute(name).negated(),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => return Self::NEVER,
            serde_json::Value::String(text) => Scalar::text(text),
            serde_json::Value::Number(number) => Scalar::Number(number.clone()),
            serde_json::Value::Bool(is) => Scalar::Bool(*is),
        };
        Self::Attribute(name, Test::OneOf(vec![scalar]))
    }
}

impl Scalar {
    /// Takes a text for a point in time where it is one in RFC 3339.
    pub fn text(text: &str) -> Self {
        Timestamp::parse_rfc3339(text).map_or_else(|| Self::Text(text.to_owned()), Self::Time)
    }
}

#[cfg(test)]
mod tests;
