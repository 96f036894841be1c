//! What filters mean, and what is said about those that mean nothing.

use super::*;
use crate::{
    Namespace, Payload, RunKey, Shard,
    limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_VALUES_MAX},
    store::{RunFilter, RunInfo},
};

/// A closed run of 90 s with attributes of every kind.
fn closed() -> RunInfo {
    let attributes = r#"{"Customer":"acme","Amount":12.5,"Count":3,"Paid":true,"Due":"2026-03-01T12:00:00+02:00","Gone":null,"status":"x"}"#;
    RunInfo {
        key: RunKey { shard: Shard(1), run_id: "0199d5f2-0000-7000-8000-000000000001".parse().unwrap() },
        namespace: Namespace::default_namespace(),
        workflow_id: "order-42".into(),
        workflow_type: "checkout".into(),
        task_queue: "default".into(),
        status: RunStatus::Completed,
        started_at: Timestamp::parse_rfc3339("2026-01-31T08:00:00Z").unwrap(),
        closed_at: Timestamp::parse_rfc3339("2026-01-31T08:01:30Z"),
        events: 11,
        memo: None,
        search_attributes: Some(Payload::from_json("attributes", attributes.to_owned()).unwrap()),
    }
}

/// The same, open and without attributes.
fn open() -> RunInfo {
    RunInfo { status: RunStatus::Running, closed_at: None, search_attributes: None, ..closed() }
}

/// Says for which of the closed and the open run an expression holds.
fn holds(expression: &str) -> (bool, bool) {
    let condition = parse(expression).unwrap_or_else(|error| panic!("{error}\n{}", error.pointer())).condition;
    (condition.matches(&closed()), condition.matches(&open()))
}

#[test]
fn conditions_mean_what_they_say() {
    let cases = [
        ("", (true, true)),
        ("Status = 'Running'", (false, true)),
        ("ExecutionStatus in ('completed', 'failed')", (true, false)),
        ("Status != \"Running\"", (true, false)),
        ("WorkflowId = 'order-42' AND WorkflowType = 'checkout'", (true, true)),
        ("WorkflowId STARTS_WITH 'order_'", (false, false)),
        ("WorkflowId NOT STARTS_WITH 'task-' and TaskQueue > 'a'", (true, true)),
        ("RunId = '0199d5f2-0000-7000-8000-000000000001'", (true, true)),
        ("StartTime >= '2026-01-31' AND StartTime < '2026-02-01T00:00:00+00:00'", (true, true)),
        ("CloseTime > '2020-01-01'", (true, false)),
        ("NOT CloseTime > '2020-01-01'", (false, true)),
        ("CloseTime != '2020-01-01'", (true, false)),
        ("CloseTime IS NULL", (false, true)),
        ("CloseTime is not null", (true, false)),
        ("StartTime IS NULL", (false, false)),
        ("ExecutionDuration >= '1m 30s' AND ExecutionDuration < '90001ms'", (true, false)),
        ("HistoryLength BETWEEN 5 AND 11", (true, true)),
        ("HistoryLength NOT BETWEEN 5 AND 10", (true, true)),
        ("Customer = 'acme'", (true, false)),
        ("Customer != 'other'", (true, false)),
        ("NOT Customer = 'other'", (true, true)),
        ("Customer NOT IN ('a', 'b')", (true, false)),
        ("Customer STARTS_WITH 'ac' AND Customer < 'b'", (true, false)),
        ("Customer = 5 OR Customer > 5", (false, false)),
        ("Amount > 12 AND Amount <= 12.50 AND Amount = 1.25e1", (true, false)),
        ("Count = 3.0 AND Count != '3'", (true, false)),
        ("Paid = TRUE AND Paid > false", (true, false)),
        ("Due = '2026-03-01T10:00:00Z' AND Due < '2026-03-01T10:00:01Z'", (true, false)),
        ("Due STARTS_WITH '2026-03'", (true, false)),
        ("Gone IS NULL AND Never IS NULL", (true, true)),
        ("Customer IS NOT NULL", (true, false)),
        ("`status` = 'x'", (true, false)),
        ("Status = 'Failed' OR Customer = 'acme' AND Count = 3", (true, false)),
        ("(Status = 'Running' OR Customer = 'acme') AND NOT (Count = 3)", (false, true)),
        ("NOT NOT Status == 'Running'", (false, true)),
        ("Customer <> 'it''s'", (true, false)),
    ];
    for (expression, expected) in cases {
        assert_eq!(holds(expression), expected, "{expression}");
    }
}

#[test]
fn a_slip_is_shown_with_its_column_and_the_way_out() {
    let cases = [
        ("Statsu", 7, "=, !=, <, <=, >, >=, IN"),
        ("status = 'Running'", 1, "write `Status`, or `status` in backticks"),
        ("Status = Running", 10, "a text needs quotes, such as 'Running'"),
        ("Status = 'Runing'", 10, "one of 'Running', 'Completed'"),
        ("Status < 'Running'", 10, "it has no order"),
        ("RunId = '7'", 9, "a run id in quotes"),
        ("WorkflowId = 7", 14, "a text in quotes"),
        ("StartTime > 'yesterday'", 13, "'2026-01-31T08:00:00Z' or '2026-01-31'"),
        ("ExecutionDuration > 5", 21, "'2h 30m'"),
        ("HistoryLength = 1.5", 17, "a whole number"),
        ("HistoryLength STARTS_WITH '1'", 15, "STARTS_WITH goes with"),
        ("Customer = NULL", 12, "IS NULL"),
        ("Customer = 'x", 12, "no ' that ends"),
        ("Customer = 1x", 12, "`1x` is no number"),
        ("Customer = 1e999", 12, "`1e999` is no number"),
        ("Customer IS 'x'", 13, "NULL must stand here, not the text 'x'"),
        ("Customer NOT = 'x'", 10, "may follow a field, not `NOT`"),
        ("Customer IN 'x'", 13, "`(` must stand here"),
        ("Customer IN ('x'", 17, "`)` must stand here, not the end"),
        ("Customer BETWEEN 1 OR 2", 20, "AND must stand here, not `OR`"),
        ("Customer = 'x' Status = 'Running'", 16, "AND, OR, ORDER BY or the end"),
        ("(Customer = 'x'", 16, "`)` must stand here"),
        ("AND", 1, "a field must stand here, not `AND`"),
        ("Customer = 'x' AND", 19, "not the end"),
        ("Customer = 'x'; DROP", 15, "`;` has no meaning here"),
        ("é = 'x' ORDER BY Status", 18, "a list is not ordered by it"),
        ("ORDER BY StartTime, CloseTime", 19, "ordered by one field"),
        ("ORDER StartTime", 7, "BY must stand here"),
        ("a = 'x\0'", 5, "NUL"),
    ];
    for (expression, column, wanted) in cases {
        let error = parse(expression).map(|it| it.condition).unwrap_err();
        assert_eq!(error.column, column, "{expression}: {error}");
        assert!(error.problem.contains(wanted), "{expression}: {error}");
    }
    let error = parse("a =\t7 OR ?").unwrap_err();
    assert_eq!(error.pointer(), "a = 7 OR ?\n         ^");
}

#[test]
fn a_filter_has_limits() {
    let problem = |expression: &str| parse(expression).unwrap_err().problem;
    let long = format!("a = '{}'", "x".repeat(FILTER_BYTES_MAX));
    assert!(problem(&long).contains("the limit is 16384"));
    let values = vec!["1"; FILTER_VALUES_MAX + 1].join(",");
    assert!(problem(&format!("a IN ({values})")).contains("more than 500 values"));
    assert!(parse(&format!("a IN ({})", &values[2..])).is_ok());
    let deep = |depth| format!("{}a = 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(problem(&deep(FILTER_DEPTH_MAX + 1)).contains("flatter"));
    assert!(parse(&deep(FILTER_DEPTH_MAX)).is_ok());
    assert!(problem(&format!("{}a = 1", "NOT ".repeat(FILTER_DEPTH_MAX + 1))).contains("flatter"));
}

#[test]
fn an_order_is_read_and_runs_without_the_value_come_last() {
    let order = |expression: &str| RunFilter::parse(expression).unwrap().order;
    assert_eq!(order(""), Order { by: OrderBy::Time(TimeField::StartTime), descending: true });
    assert_eq!(order("ORDER BY CloseTime"), Order { by: OrderBy::Time(TimeField::CloseTime), descending: false });
    for direction in ["ASC", "DESC"] {
        let order = order(&format!("a = 1 ORDER BY CloseTime {direction}"));
        assert!(order.compare(&order.cursor(&closed()), &order.cursor(&open())).is_lt(), "{direction}");
    }
    let by = order("ORDER BY Customer DESC");
    assert_eq!(by.cursor(&closed()).key, SortKey::Text("acme".to_owned()));
    assert_eq!(by.cursor(&open()).key, SortKey::Missing);
}

#[test]
fn short_forms_and_an_expression_hold_together() {
    let short = RunFilter { workflow_id_prefix: Some("order-".to_owned()), ..RunFilter::default() };
    let both = short.clone().and_expression("Customer = 'acme'").unwrap();
    assert!(both.whole_condition().matches(&closed()) && !both.whole_condition().matches(&open()));
    assert!(short.whole_condition().matches(&open()));
    let either = short.and_expression("Customer = 'acme' OR Status = 'Running'").unwrap();
    let either = either.and_expression("CloseTime IS NULL").unwrap().whole_condition();
    assert!(either.matches(&open()) && !either.matches(&closed()));
    let attribute = |value: serde_json::Value| Condition::attribute_is("Count", &value);
    assert!(attribute(3.into()).matches(&closed()) && !attribute("3".into()).matches(&closed()));
    assert!(
        attribute(serde_json::Value::Null).matches(&open()) && !attribute(serde_json::json!([3])).matches(&closed())
    );
}
