//! The fields that a filter may name, and the values that each is compared with.

use serde_json::Number;

use super::{Condition, NameField, OrderBy, Scalar, Test, TimeField};
use crate::{
    run::RunStatus,
    time::{Length, Timestamp},
};

/// What a filter compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Status,
    RunId,
    Name(NameField),
    Time(TimeField),
    ExecutionDuration,
    HistoryLength,
    Attribute(String),
}

/// A value as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Text(String),
    Number(String),
    Bool(bool),
}

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    OneOf,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Shape {
    fn of<T>(self, mut values: Vec<T>) -> Test<T> {
        let make = match self {
            Self::OneOf => return Test::OneOf(values),
            Self::Less => Test::Less,
            Self::AtMost => Test::AtMost,
            Self::More => Test::More,
            Self::AtLeast => Test::AtLeast,
        };
        values.pop().map_or(Test::OneOf(Vec::new()), make)
    }
}

/// The names of the fields that every run has, with other names for the same.
const BUILT_IN: [(&str, Field); 10] = [
    ("Status", Field::Status),
    ("ExecutionStatus", Field::Status),
    ("WorkflowId", Field::Name(NameField::WorkflowId)),
    ("WorkflowType", Field::Name(NameField::WorkflowType)),
    ("TaskQueue", Field::Name(NameField::TaskQueue)),
    ("RunId", Field::RunId),
    ("StartTime", Field::Time(TimeField::StartTime)),
    ("CloseTime", Field::Time(TimeField::CloseTime)),
    ("ExecutionDuration", Field::ExecutionDuration),
    ("HistoryLength", Field::HistoryLength),
];

impl Field {
    /// Finds the field of a name. One that differs from a field's in the case of letters alone is a slip, not an attribute.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        match BUILT_IN.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((known, field)) if *known == name => Ok(field.clone()),
            Some((known, _)) => Err(format!(
                "there is no field `{name}`: write `{known}`, or `{name}` in backticks for an attribute of that name"
            )),
            None => Ok(Self::Attribute(name.to_owned())),
        }
    }

    /// What it is, for errors about values.
    fn wants(&self) -> String {
        match self {
            Self::Status => {
                let known: Vec<String> = RunStatus::ALL.iter().map(|it| format!("'{}'", it.as_str())).collect();
                format!("one of {}", known.join(", "))
            }
            Self::RunId => "a run id in quotes, such as '0199d5f2-0000-7000-8000-000000000001'".to_owned(),
            Self::Name(_) => "a text in quotes".to_owned(),
            Self::Time(_) => "a point in time, such as '2026-01-31T08:00:00Z' or '2026-01-31'".to_owned(),
            Self::ExecutionDuration => "a length of time, such as '500ms', '30s' or '2h 30m'".to_owned(),
            Self::HistoryLength => "a whole number".to_owned(),
            Self::Attribute(_) => "a text in quotes, a number, true or false".to_owned(),
        }
    }

    /// Makes the condition that the field compares so with values; all but [`Shape::OneOf`] take one.
    pub(super) fn test(&self, shape: Shape, values: &[Literal]) -> Result<Condition, String> {
        Ok(match self {
            Self::Status | Self::RunId if shape != Shape::OneOf => {
                return Err("it has no order: =, !=, IN and NOT IN go with it".to_owned());
            }
            Self::Status => Condition::Status(self.read_all(values, status)?),
            Self::RunId => Condition::RunId(self.read_all(values, |value| text(value)?.parse().ok())?),
            Self::Name(name) => {
                Condition::Name(*name, shape.of(self.read_all(values, |value| text(value).map(str::to_owned))?))
            }
            Self::Time(time) => Condition::Time(*time, shape.of(self.read_all(values, point)?)),
            Self::ExecutionDuration => {
                let lengths = self.read_all(values, |value| Length::parse(text(value)?))?;
                Condition::ExecutionDuration(shape.of(lengths))
            }
            Self::HistoryLength => Condition::HistoryLength(shape.of(self.read_all(values, whole)?)),
            Self::Attribute(name) => Condition::Attribute(name.clone(), shape.of(self.read_all(values, scalar)?)),
        })
    }

    /// Makes the condition that the field begins so.
    pub(super) fn starts_with(&self, value: &Literal) -> Result<Condition, String> {
        let prefix = text(value).ok_or("STARTS_WITH goes with a text in quotes")?.to_owned();
        match self {
            Self::Name(name) => Ok(Condition::NamePrefix(*name, prefix)),
            Self::Attribute(name) => Ok(Condition::AttributePrefix(name.clone(), prefix)),
            _ => Err("STARTS_WITH goes with WorkflowId, WorkflowType, TaskQueue and attributes".to_owned()),
        }
    }

    /// Makes the condition that the run has the field.
    pub(super) fn exists(&self) -> Condition {
        match self {
            Self::Time(TimeField::CloseTime) | Self::ExecutionDuration => Condition::Closed,
            Self::Attribute(name) => Condition::HasAttribute(name.clone()),
            Self::Status | Self::RunId | Self::Name(_) | Self::Time(TimeField::StartTime) | Self::HistoryLength => {
                Condition::ALWAYS
            }
        }
    }

    /// Gives what a list is ordered by.
    pub(super) fn order(self) -> Result<OrderBy, String> {
        match self {
            Self::Name(name) => Ok(OrderBy::Name(name)),
            Self::Time(time) => Ok(OrderBy::Time(time)),
            Self::ExecutionDuration => Ok(OrderBy::ExecutionDuration),
            Self::HistoryLength => Ok(OrderBy::HistoryLength),
            Self::Attribute(name) => Ok(OrderBy::Attribute(name)),
            Self::Status | Self::RunId => Err("a list is not ordered by it: name StartTime, CloseTime, \
                ExecutionDuration, HistoryLength, WorkflowId, WorkflowType, TaskQueue or an attribute"
                .to_owned()),
        }
    }

    fn read_all<T>(&self, values: &[Literal], read: impl Fn(&Literal) -> Option<T>) -> Result<Vec<T>, String> {
        values.iter().map(|value| read(value).ok_or_else(|| format!("it is compared with {}", self.wants()))).collect()
    }
}

fn text(value: &Literal) -> Option<&str> {
    match value {
        Literal::Text(text) => Some(text),
        Literal::Number(_) | Literal::Bool(_) => None,
    }
}

fn status(value: &Literal) -> Option<RunStatus> {
    text(value).and_then(RunStatus::parse)
}

fn point(value: &Literal) -> Option<Timestamp> {
    let text = text(value)?;
    Timestamp::parse_rfc3339(text).or_else(|| Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")))
}

fn whole(value: &Literal) -> Option<i64> {
    match value {
        Literal::Number(number) => number.parse().ok(),
        Literal::Text(_) | Literal::Bool(_) => None,
    }
}

fn scalar(value: &Literal) -> Option<Scalar> {
    match value {
        Literal::Text(text) => Some(Scalar::text(text)),
        Literal::Bool(is) => Some(Scalar::Bool(*is)),
        Literal::Number(number) => {
            let whole = number.parse::<i64>().map(Number::from).or_else(|_| number.parse::<u64>().map(Number::from));
            whole.ok().or_else(|| Number::from_f64(number.parse().ok()?)).map(Scalar::Number)
        }
    }
}
