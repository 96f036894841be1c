//! Filters as SQL over the view of all runs: every value is a parameter, and so is the name of every attribute.
//!
//! An attribute that equals something is looked up in the index over all attributes, a run by its id or its workflow id in
//! theirs, a closed one also by its start. Everything else is tested on the rows that this leaves. A negation is `IS NOT TRUE`, so that
//! a value that is not there makes a comparison false and its opposite true, as in memory.

use dacapo_core::{
    filter::{Condition, Cursor, NameField, Order, OrderBy, Scalar, SortKey, Test, TimeField},
    limits::SHARDS,
};
use sqlx::{Postgres, QueryBuilder, postgres::types::PgInterval};

use crate::time::PgTime;

/// Writes a condition.
pub(crate) fn push_condition(query: &mut QueryBuilder<Postgres>, condition: &Condition) {
    match condition {
        Condition::All(all) => push_joined(query, all, " AND ", "true"),
        Condition::Any(any) => push_joined(query, any, " OR ", "false"),
        Condition::Not(it) => {
            query.push("(");
            push_condition(query, it);
            query.push(") IS NOT TRUE");
        }
        Condition::Status(of) => {
            let of: Vec<&str> = of.iter().map(|status| status.as_str()).collect();
            query.push("status = ANY(").push_bind(of).push(")");
        }
        Condition::RunId(of) => {
            let of: Vec<uuid::Uuid> = of.iter().map(|run_id| run_id.0).collect();
            // The primary key begins with the shard; each of them is looked into.
            let shards: Vec<i16> = (0..SHARDS).map(|shard| shard as i16).collect();
            query.push("(shard = ANY(").push_bind(shards).push(") AND run_id = ANY(").push_bind(of).push("))");
        }
        Condition::Name(field, test) => push_test(query, name_column(*field), test, |query, value: &String| {
            query.push_bind(value.clone());
        }),
        Condition::NamePrefix(field, prefix) => push_prefix(query, name_column(*field), prefix),
        Condition::Time(field, test) => push_test(query, time_column(*field), test, |query, value| {
            query.push_bind(PgTime(*value));
        }),
        Condition::Closed => {
            query.push("closed_at IS NOT NULL");
        }
        Condition::ExecutionDuration(test) => push_test(query, DURATION, test, |query, value| {
            query.push_bind(interval(value.0));
        }),
        Condition::HistoryLength(test) => push_test(query, "events", test, |query, value: &i64| {
            query.push_bind(*value);
        }),
        Condition::Attribute(name, test) => push_attribute(query, name, test),
        Condition::AttributePrefix(name, prefix) => {
            push_kind(query, name, "string");
            query.push(" AND starts_with(search_attributes ->> ").push_bind(name.clone());
            query.push(", ").push_bind(prefix.clone()).push("))");
        }
        Condition::HasAttribute(name) => {
            query.push("(search_attributes ->> ").push_bind(name.clone()).push(") IS NOT NULL");
        }
    }
}

/// Writes what comes after a place in a list.
pub(crate) fn push_after(query: &mut QueryBuilder<Postgres>, order: &Order, after: &Cursor) {
    let than = if order.descending { " < " } else { " > " };
    let run_id = after.run_id.0;
    if let (Some(column), SortKey::Time(_) | SortKey::Text(_) | SortKey::Number(_)) = (steady(&order.by), &after.key) {
        query.push("(").push(column).push(", run_id)").push(than).push("(");
        push_key(query, &after.key, column == "events");
        query.push(", ").push_bind(run_id).push(")");
        return;
    }
    let rank = after.key.rank();
    query.push("(");
    push_rank(query, &order.by);
    query.push(" > ").push_bind(rank).push(" OR ");
    push_rank(query, &order.by);
    query.push(" = ").push_bind(rank).push(" AND ");
    if after.key != SortKey::Missing {
        query.push("(");
        push_value(query, &order.by, &after.key);
        query.push(than);
        push_key(query, &after.key, false);
        query.push(" OR ");
        push_value(query, &order.by, &after.key);
        query.push(" = ");
        push_key(query, &after.key, false);
        query.push(" AND ");
    }
    query.push("run_id").push(than).push_bind(run_id);
    query.push(if after.key == SortKey::Missing { ")" } else { "))" });
}

/// Writes the order of a list.
pub(crate) fn push_order(query: &mut QueryBuilder<Postgres>, order: &Order) {
    let direction = if order.descending { " DESC" } else { " ASC" };
    query.push(" ORDER BY ");
    match (&order.by, steady(&order.by)) {
        (_, Some(column)) => {
            query.push(column).push(direction);
        }
        (OrderBy::Attribute(_), None) => {
            push_rank(query, &order.by);
            query.push(", ");
            push_value(query, &order.by, &SortKey::Bool(false));
            query.push(direction).push(", ");
            push_value(query, &order.by, &SortKey::Text(String::new()));
            query.push(direction);
        }
        (_, None) => {
            push_value(query, &order.by, &SortKey::Missing);
            query.push(direction).push(" NULLS LAST");
        }
    }
    query.push(", run_id").push(direction);
}

/// The time from start to close.
const DURATION: &str = "(closed_at - started_at)";

fn name_column(field: NameField) -> &'static str {
    match field {
        NameField::WorkflowId => "workflow_id",
        NameField::WorkflowType => "workflow_type",
        NameField::TaskQueue => "task_queue",
    }
}

fn time_column(field: TimeField) -> &'static str {
    match field {
        TimeField::StartTime => "started_at",
        TimeField::CloseTime => "closed_at",
    }
}

/// Gives the column that a list is ordered by, if every run has a value there.
fn steady(by: &OrderBy) -> Option<&'static str> {
    match by {
        OrderBy::Name(field) => Some(name_column(*field)),
        OrderBy::Time(TimeField::StartTime) => Some("started_at"),
        OrderBy::HistoryLength => Some("events"),
        OrderBy::Time(TimeField::CloseTime) | OrderBy::ExecutionDuration | OrderBy::Attribute(_) => None,
    }
}

fn push_joined(query: &mut QueryBuilder<Postgres>, conditions: &[Condition], with: &'static str, none: &'static str) {
    if conditions.is_empty() {
        query.push(none);
        return;
    }
    for (index, condition) in conditions.iter().enumerate() {
        query.push(if index == 0 { "(" } else { with });
        push_condition(query, condition);
    }
    query.push(")");
}

fn push_test<T>(
    query: &mut QueryBuilder<Postgres>,
    tested: &'static str,
    test: &Test<T>,
    bind: impl Fn(&mut QueryBuilder<Postgres>, &T),
) {
    let (operator, value) = match test {
        Test::OneOf(values) => {
            query.push("(false");
            for value in values {
                query.push(" OR ").push(tested).push(" = ");
                bind(query, value);
            }
            query.push(")");
            return;
        }
        Test::Less(value) => (" < ", value),
        Test::AtMost(value) => (" <= ", value),
        Test::More(value) => (" > ", value),
        Test::AtLeast(value) => (" >= ", value),
    };
    query.push(tested).push(operator);
    bind(query, value);
}

/// Writes a prefix as a range too, which an index in byte order serves.
fn push_prefix(query: &mut QueryBuilder<Postgres>, column: &'static str, prefix: &str) {
    query.push("(starts_with(").push(column).push(", ").push_bind(prefix.to_owned()).push(")");
    query.push(" AND ").push(column).push(" >= ").push_bind(prefix.to_owned());
    if let Some(end) = end_of_prefix(prefix) {
        query.push(" AND ").push(column).push(" < ").push_bind(end);
    }
    query.push(")");
}

/// Gives the first text after all that begin with a prefix.
fn end_of_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // What stands between the last character and the next are at most the halves of pairs, which no text has.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn push_attribute(query: &mut QueryBuilder<Postgres>, name: &str, test: &Test<Scalar>) {
    let (operator, value) = match test {
        Test::OneOf(values) => {
            query.push("(false");
            for value in values {
                query.push(" OR ");
                push_attribute_is(query, name, value);
            }
            query.push(")");
            return;
        }
        Test::Less(value) => (" < ", value),
        Test::AtMost(value) => (" <= ", value),
        Test::More(value) => (" > ", value),
        Test::AtLeast(value) => (" >= ", value),
    };
    match value {
        Scalar::Text(text) => {
            push_kind(query, name, "string");
            query.push(" AND (search_attributes ->> ").push_bind(name.to_owned()).push(") COLLATE \"C\"");
            query.push(operator).push_bind(text.clone()).push(")");
        }
        Scalar::Number(_) | Scalar::Bool(_) => {
            push_kind(query, name, if matches!(value, Scalar::Bool(_)) { "boolean" } else { "number" });
            query.push(" AND search_attributes -> ").push_bind(name.to_owned()).push(operator);
            query.push_bind(json(value).to_string()).push("::jsonb)");
        }
        Scalar::Time(at) => {
            push_attribute_time(query, name);
            query.push(operator).push_bind(PgTime(*at));
        }
    }
}

/// Writes that an attribute has a value; containment, which the index serves.
fn push_attribute_is(query: &mut QueryBuilder<Postgres>, name: &str, value: &Scalar) {
    if let Scalar::Time(at) = value {
        push_attribute_time(query, name);
        query.push(" = ").push_bind(PgTime(*at));
        return;
    }
    let wanted = serde_json::Map::from_iter([(name.to_owned(), json(value))]);
    query.push("search_attributes @> ").push_bind(serde_json::Value::Object(wanted).to_string()).push("::jsonb");
}

fn push_attribute_time(query: &mut QueryBuilder<Postgres>, name: &str) {
    query.push("dacapo.attribute_time_v1(search_attributes ->> ").push_bind(name.to_owned()).push(")");
}

/// Opens a bracket and writes that an attribute is of a kind.
fn push_kind(query: &mut QueryBuilder<Postgres>, name: &str, kind: &'static str) {
    query.push("(jsonb_typeof(search_attributes -> ").push_bind(name.to_owned());
    query.push(") = '").push(kind).push("'");
}

fn json(value: &Scalar) -> serde_json::Value {
    match value {
        Scalar::Text(text) => text.as_str().into(),
        Scalar::Number(number) => number.clone().into(),
        Scalar::Bool(is) => (*is).into(),
        // A time is compared as a time and never as JSON.
        Scalar::Time(_) => serde_json::Value::Null,
    }
}

fn interval(micros: i64) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: micros }
}

/// Writes the group of values that a run is among, as [`SortKey::rank`] has it.
fn push_rank(query: &mut QueryBuilder<Postgres>, by: &OrderBy) {
    match by {
        OrderBy::Attribute(name) => {
            query.push("CASE jsonb_typeof(search_attributes -> ").push_bind(name.clone());
            query.push(") WHEN 'number' THEN 0 WHEN 'string' THEN 1 WHEN 'boolean' THEN 2 ELSE 3 END");
        }
        OrderBy::Name(_) | OrderBy::Time(_) | OrderBy::ExecutionDuration | OrderBy::HistoryLength => {
            query.push("CASE WHEN closed_at IS NULL THEN 3 ELSE 0 END");
        }
    }
}

/// Writes what runs are ordered by among those whose value is of the kind of `key`.
fn push_value(query: &mut QueryBuilder<Postgres>, by: &OrderBy, key: &SortKey) {
    match (by, key) {
        (OrderBy::Attribute(name), SortKey::Text(_)) => {
            query.push("(CASE WHEN jsonb_typeof(search_attributes -> ").push_bind(name.clone());
            query.push(") = 'string' THEN search_attributes ->> ").push_bind(name.clone()).push(" END) COLLATE \"C\"");
        }
        (OrderBy::Attribute(name), _) => {
            query.push("CASE WHEN jsonb_typeof(search_attributes -> ").push_bind(name.clone());
            query.push(") IN ('number', 'boolean') THEN search_attributes -> ").push_bind(name.clone()).push(" END");
        }
        (OrderBy::ExecutionDuration, _) => {
            query.push(DURATION);
        }
        (OrderBy::Time(field), _) => {
            query.push(time_column(*field));
        }
        (OrderBy::Name(field), _) => {
            query.push(name_column(*field));
        }
        (OrderBy::HistoryLength, _) => {
            query.push("events");
        }
    }
}

fn push_key(query: &mut QueryBuilder<Postgres>, key: &SortKey, is_column: bool) {
    match key {
        SortKey::Number(number) if is_column => {
            query.push_bind(number.as_i64().unwrap_or(i64::MAX));
        }
        SortKey::Number(number) => {
            query.push_bind(number.to_string()).push("::jsonb");
        }
        SortKey::Bool(is) => {
            query.push_bind(is.to_string()).push("::jsonb");
        }
        SortKey::Text(text) => {
            query.push_bind(text.clone());
        }
        SortKey::Time(at) => {
            query.push_bind(PgTime(*at));
        }
        SortKey::Length(length) => {
            query.push_bind(interval(length.0));
        }
        SortKey::Missing => {
            query.push("NULL");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(expression: &str) -> String {
        let mut query = QueryBuilder::new("");
        push_condition(&mut query, &dacapo_core::filter::parse(expression).unwrap().condition);
        query.sql().as_str().to_owned()
    }

    #[test]
    fn no_value_and_no_name_of_a_filter_is_part_of_the_sql() {
        let evil = "x''; DROP TABLE dacapo.runs_open; --";
        for expression in [
            format!("WorkflowId = '{evil}' OR WorkflowType STARTS_WITH '{evil}'"),
            format!("`{evil}` = '{evil}' OR `{evil}` > '{evil}' OR `{evil}` STARTS_WITH '{evil}'"),
            format!(
                "`{evil}` < 5 OR `{evil}` IS NULL OR `{evil}` > '2026-01-01T00:00:00Z' OR NOT `{evil}` IN (1, true)"
            ),
        ] {
            assert!(!sql(&expression).contains("DROP"), "{}", sql(&expression));
        }
        assert_eq!(sql("Customer = 'x'"), "(false OR search_attributes @> $1::jsonb)");
        assert_eq!(sql("NOT Status = 'Running'"), "(status = ANY($1)) IS NOT TRUE");
    }

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        assert_eq!(end_of_prefix("order-").as_deref(), Some("order."));
        assert_eq!(end_of_prefix("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(end_of_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(end_of_prefix("\u{10ffff}"), None);
        assert_eq!(end_of_prefix(""), None);
    }
}
