//! The answer to a condition for a run in memory.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::{Number, Value};

use super::{Condition, NameField, Scalar, Test, TimeField};
use crate::{
    store::RunInfo,
    time::{Length, Timestamp},
};

/// A run with its search attributes read.
pub(super) struct Facts<'a> {
    run: &'a RunInfo,
    attributes: BTreeMap<String, Value>,
}

impl Condition {
    /// Says whether it holds for a run.
    pub fn matches(&self, run: &RunInfo) -> bool {
        Facts::of(run).meet(self)
    }
}

impl<'a> Facts<'a> {
    pub(super) fn of(run: &'a RunInfo) -> Self {
        let read = |payload: &crate::Payload| payload.decode("search attributes").ok();
        Self { run, attributes: run.search_attributes.as_ref().and_then(read).unwrap_or_default() }
    }

    pub(super) fn duration(run: &RunInfo) -> Option<Length> {
        run.closed_at.map(|closed_at| Length(closed_at.0.saturating_sub(run.started_at.0)))
    }

    /// Gives a search attribute that is set.
    pub(super) fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes.get(name).filter(|value| !value.is_null())
    }

    fn name(&self, field: NameField) -> &str {
        match field {
            NameField::WorkflowId => self.run.workflow_id.as_str(),
            NameField::WorkflowType => self.run.workflow_type.as_str(),
            NameField::TaskQueue => self.run.task_queue.as_str(),
        }
    }

    fn meet(&self, condition: &Condition) -> bool {
        let run = self.run;
        match condition {
            Condition::All(all) => all.iter().all(|it| self.meet(it)),
            Condition::Any(any) => any.iter().any(|it| self.meet(it)),
            Condition::Not(it) => !self.meet(it),
            Condition::Status(of) => of.contains(&run.status),
            Condition::RunId(of) => of.contains(&run.key.run_id),
            Condition::Name(field, test) => test.holds(|value| Some(self.name(*field).cmp(value.as_str()))),
            Condition::NamePrefix(field, prefix) => self.name(*field).starts_with(prefix.as_str()),
            Condition::Time(TimeField::StartTime, test) => test.holds(|value| Some(run.started_at.cmp(value))),
            Condition::Time(TimeField::CloseTime, test) => test.holds(|value| Some(run.closed_at?.cmp(value))),
            Condition::Closed => run.closed_at.is_some(),
            Condition::ExecutionDuration(test) => test.holds(|value| Some(Self::duration(run)?.cmp(value))),
            Condition::HistoryLength(test) => test.holds(|value| Some(run.events.cmp(value))),
            Condition::Attribute(name, test) => test.holds(|value| compare(self.attribute(name)?, value)),
            Condition::AttributePrefix(name, prefix) => {
                self.attribute(name).and_then(Value::as_str).is_some_and(|text| text.starts_with(prefix.as_str()))
            }
            Condition::HasAttribute(name) => self.attribute(name).is_some(),
        }
    }
}

impl<T> Test<T> {
    /// Says whether it holds, from how what is tested compares with each value; `None` compares with nothing.
    fn holds(&self, compare: impl Fn(&T) -> Option<Ordering>) -> bool {
        match self {
            Self::OneOf(values) => values.iter().any(|value| compare(value) == Some(Ordering::Equal)),
            Self::Less(value) => compare(value).is_some_and(Ordering::is_lt),
            Self::AtMost(value) => compare(value).is_some_and(Ordering::is_le),
            Self::More(value) => compare(value).is_some_and(Ordering::is_gt),
            Self::AtLeast(value) => compare(value).is_some_and(Ordering::is_ge),
        }
    }
}

fn compare(has: &Value, value: &Scalar) -> Option<Ordering> {
    match (has, value) {
        (Value::String(has), Scalar::Text(value)) => Some(has.as_str().cmp(value)),
        (Value::String(has), Scalar::Time(value)) => Some(Timestamp::parse_rfc3339(has)?.cmp(value)),
        (Value::Number(has), Scalar::Number(value)) => Some(compare_numbers(has, value)),
        (Value::Bool(has), Scalar::Bool(value)) => Some(has.cmp(value)),
        _ => None,
    }
}

/// Compares two numbers of JSON by what they are worth, however they are written.
pub fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    let whole = |number: &Number| number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        // No number of JSON is NaN.
        _ => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
    }
}
