//! Random runs and random filters, written as people write them.

use dacapo_core::{Payload, StartWorkflow};
use serde_json::{Map, Value, json};

use super::lab::request;

/// Numbers that look random, the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

/// Texts that sort in different ways in different languages, that escape, and that are nearly points in time.
const TEXTS: [&str; 14] = [
    "a",
    "B",
    "b",
    "ä",
    "Z",
    "",
    "a_",
    "a%",
    "it's",
    "\"\\",
    "5",
    "true",
    "2026-03-01T12:00:00.1234567+02:00",
    "2026-02-30T12:00:00Z",
];
const NUMBERS: [&str; 9] = ["0", "3", "3.0", "-7", "2.5", "1e2", "9007199254740993", "18446744073709551615", "-0.25"];
const TIMES: [&str; 4] =
    ["2026-03-01T10:00:00.123456Z", "2026-03-01T10:00:00Z", "1999-12-31T23:59:59-05:00", "9999-12-31T23:59:59Z"];
const NAMES: [&str; 4] = ["a", "b", "É t", "it's `"];

/// A start with random names and attributes.
pub(crate) fn random_start(dice: &mut Dice, number: usize) -> StartWorkflow {
    let mut attributes = Map::new();
    for name in NAMES {
        let value = match dice.roll(7) {
            0 | 1 => continue,
            2 => Value::Null,
            3 => dice.roll(2).eq(&0).into(),
            4 => serde_json::from_str(dice.pick(&NUMBERS)).unwrap(),
            5 => dice.pick(&TEXTS).into(),
            _ => dice.pick(&TIMES).into(),
        };
        attributes.insert(name.to_owned(), value);
    }
    let attributes = (!attributes.is_empty() || dice.roll(2) == 0).then_some(attributes);
    let mut start = request(&format!("{}-{number}", dice.pick(&["order", "Order", "ö", "task"])));
    start.search_attributes = attributes.map(|it| Payload::encode("attributes", &json!(it)).unwrap());
    start.workflow_type = dice.pick(&["flow", "other"]).into();
    start
}

/// A random filter of a depth.
pub(crate) fn random_filter(dice: &mut Dice, depth: usize, around: &[String]) -> String {
    match dice.roll(if depth == 0 { 1 } else { 5 }) {
        0 => test(dice, around),
        1 => format!("NOT {}", random_filter(dice, 0, around)),
        2 => format!("NOT ({})", random_filter(dice, depth - 1, around)),
        side => {
            let with = if side == 3 { "AND" } else { "or" };
            let (one, other) = (random_filter(dice, depth - 1, around), random_filter(dice, depth - 1, around));
            format!("({one}) {with} {other}")
        }
    }
}

fn test(dice: &mut Dice, times: &[String]) -> String {
    let (field, values): (String, Vec<String>) = match dice.roll(11) {
        0 => return format!("Status {} ('Running', 'Completed')", dice.pick(&["IN", "NOT IN"])),
        1 => return format!("Status {} '{}'", dice.pick(&["=", "!="]), dice.pick(&["Running", "Failed", "completed"])),
        2 => {
            let field = dice.pick(&["WorkflowId", "WorkflowType", "TaskQueue"]);
            (field.to_owned(), ["order-1", "Order-", "flow", "ö", "queue"].map(quoted).to_vec())
        }
        3 => (dice.pick(&["StartTime", "CloseTime"]).to_owned(), times.iter().map(|at| quoted(at)).collect()),
        4 => ("ExecutionDuration".to_owned(), ["0s", "1ms", "5ms", "1h"].map(quoted).to_vec()),
        5 => ("HistoryLength".to_owned(), ["1", "2", "5", "6"].map(str::to_owned).to_vec()),
        _ => {
            let mut values: Vec<String> = TEXTS.iter().chain(&TIMES).map(|text| quoted(text)).collect();
            values.extend(NUMBERS.iter().chain(&["true", "FALSE"]).map(|it| (*it).to_owned()));
            (format!("`{}`", dice.pick(&NAMES).replace('`', "``")), values)
        }
    };
    let mut value = || values[dice.roll(values.len())].clone();
    let (one, other, third) = (value(), value(), value());
    match dice.roll(12) {
        0 => format!("{field} IS NULL"),
        1 => format!("{field} IS NOT NULL"),
        2 => format!("{field} BETWEEN {one} AND {other}"),
        3 => format!("{field} NOT BETWEEN {one} AND {other}"),
        4 => format!("{field} IN ({one}, {other}, {third})"),
        5 => format!("{field} NOT IN ({one}, {other})"),
        6 if (field.starts_with('`') || field.starts_with(['W', 'T'])) && one.starts_with('\'') => {
            format!("{field} {} {}", dice.pick(&["STARTS_WITH", "NOT STARTS_WITH"]), one)
        }
        _ => format!("{field} {} {one}", dice.pick(&["=", "!=", "<", "<=", ">", ">="])),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A random order.
pub(crate) fn random_order(dice: &mut Dice) -> String {
    let by = dice.pick(&[
        "StartTime",
        "CloseTime",
        "ExecutionDuration",
        "HistoryLength",
        "WorkflowId",
        "WorkflowType",
        "TaskQueue",
        "a",
        "b",
        "`É t`",
    ]);
    format!("ORDER BY {by} {}", dice.pick(&["", "ASC", "DESC"]))
}
