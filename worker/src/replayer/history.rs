//! A history on disk: JSON with one event a line, so that two of them can be compared by eye and by `diff`.
//!
//! Attributes are written as they are stored, byte for byte where they hold data of users. Reading takes that form and
//! the one of `dacapo show --json`, which writes every point in time as RFC 3339.

use std::fmt::Write;

use dacapo_core::{Event, EventKind, Timestamp};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::time;

/// The fields of attributes that hold data of users, which may look like anything.
const USER_DATA: [&str; 6] = ["input", "result", "details", "last_heartbeat", "memo", "search_attributes"];

/// An event on disk.
#[derive(Deserialize)]
struct Line {
    event_id: i64,
    event_type: String,
    event_time: String,
    attributes: Box<RawValue>,
}

/// A run on disk.
#[derive(Deserialize)]
struct File {
    events: Vec<Line>,
}

/// Reads a history from JSON: what `dacapo export` and `dacapo show --json` write, or the array of events alone.
///
/// # Errors
/// In words, where the text is no history.
pub(super) fn read(json: &str) -> Result<Vec<Event>, String> {
    let lines = if json.trim_start().starts_with('[') {
        serde_json::from_str(json)
    } else {
        serde_json::from_str(json).map(|file: File| file.events)
    };
    let lines: Vec<Line> = lines.map_err(|error| format!("it is no JSON of a history: {error}"))?;
    lines.into_iter().map(Line::into_event).collect()
}

/// Writes a history as JSON under what there is to say of its run.
///
/// ```
/// # use dacapo_worker::history_to_json;
/// assert_eq!(history_to_json(&serde_json::json!({"workflow_id": "order-42"}), &[]), "\
/// {\"run\":{\"workflow_id\":\"order-42\"},\"events\":[
/// ]}
/// ");
/// ```
pub fn history_to_json(run: &Value, events: &[Event]) -> String {
    let mut text = format!("{{\"run\":{run},\"events\":[\n");
    for (index, event) in events.iter().enumerate() {
        let separator = if index + 1 < events.len() { ",\n" } else { "\n" };
        // Writing to a string never fails.
        let _ = write!(
            text,
            "{{\"event_id\":{},\"event_type\":\"{}\",\"event_time\":\"{}\",\"attributes\":{}}}{separator}",
            event.event_id,
            event.event.name(),
            time::write(event.event_time),
            attributes(&event.event)
        );
    }
    text.push_str("]}\n");
    text
}

/// Writes what an event holds, without its name.
fn attributes(event: &EventKind) -> String {
    #[derive(Deserialize)]
    struct Tagged<'a>(#[serde(borrow)] std::collections::BTreeMap<String, &'a RawValue>);
    let tagged = serde_json::to_string(event).unwrap_or_default();
    let tagged: Option<Tagged<'_>> = serde_json::from_str(&tagged).ok();
    // Every event is a struct under its name.
    tagged.and_then(|Tagged(tagged)| Some(tagged.values().next()?.get().to_owned())).unwrap_or_else(|| "{}".to_owned())
}

impl Line {
    fn into_event(self) -> Result<Event, String> {
        let problem = |what: &str| format!("event {} {}: {what}", self.event_id, self.event_type);
        let event_time = time::read(&self.event_time).ok_or_else(|| problem("its time is not RFC 3339 in UTC"))?;
        let parsed = parse(&self.event_type, self.attributes.get()).or_else(|_| {
            let mut attributes: Value = serde_json::from_str(self.attributes.get())?;
            read_times(&mut attributes);
            parse(&self.event_type, &attributes.to_string())
        });
        let event = parsed.map_err(|error: serde_json::Error| problem(&error.to_string()))?;
        Ok(Event { event_id: self.event_id, event_time, event })
    }
}

fn parse(event_type: &str, attributes: &str) -> Result<EventKind, serde_json::Error> {
    serde_json::from_str(&format!("{{{}:{attributes}}}", Value::from(event_type)))
}

/// Turns points in time that are written for people into stored ones, leaving data of users alone.
fn read_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (_, field) in fields.iter_mut().filter(|(name, _)| !USER_DATA.contains(&name.as_str())) {
                match field.as_str().and_then(time::read) {
                    Some(Timestamp(micros)) => *field = micros.into(),
                    None => read_times(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(read_times),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use dacapo_core::{Payload, StartWorkflow, event::TimerStarted};

    use super::*;

    fn events() -> Vec<Event> {
        let input =
            Payload::from_json("input", "{\"z\": 1, \"a\": 340282366920938463463374607431768211455}".to_owned());
        let run_id = dacapo_runtime::Client::new_run_id();
        let start = StartWorkflow::new(run_id, "id".into(), "type".into(), "queue".into(), input.unwrap());
        let mut events = start.transition(Timestamp(1_577_836_800_000_001)).events;
        let started = TimerStarted { timer_id: 1, fire_at: Timestamp(1_577_836_801_000_000) };
        let event = EventKind::TimerStarted(started);
        events.push(Event { event_id: 2, event_time: Timestamp(1_577_836_800_000_002), event });
        events
    }

    #[test]
    fn what_is_written_is_read_and_data_of_users_stays_byte_for_byte() {
        let json = history_to_json(&Value::Null, &events());
        assert!(json.contains("{\"z\": 1, \"a\": 340282366920938463463374607431768211455}"), "{json}");
        assert_eq!(read(&json).unwrap(), events_like(&json));
        let array = &json[json.find('[').unwrap()..json.rfind(']').unwrap() + 1];
        assert_eq!(read(array).unwrap(), read(&json).unwrap());
    }

    fn events_like(json: &str) -> Vec<Event> {
        let mut expected = events();
        let read = read(json).unwrap();
        // The run's id is a fresh one each time.
        expected[0].event.clone_from(&read[0].event);
        expected
    }

    #[test]
    fn points_in_time_may_be_written_for_people() {
        let json =
            history_to_json(&Value::Null, &events()).replace("1577836801000000", "\"2020-01-01T00:00:01.000000Z\"");
        assert_eq!(read(&json).unwrap()[1], events()[1]);
    }

    #[test]
    fn what_is_no_history_is_said() {
        for (json, says) in [
            ("", "no JSON of a history"),
            ("{}", "missing field `events`"),
            (
                "[{\"event_id\":1,\"event_type\":\"Flown\",\"event_time\":\"2020-01-01T00:00:00Z\",\"attributes\":{}}]",
                "Flown",
            ),
            ("[{\"event_id\":1,\"event_type\":\"TimerFired\",\"event_time\":\"noon\",\"attributes\":{}}]", "RFC 3339"),
        ] {
            let problem = read(json).unwrap_err();
            assert!(problem.contains(says), "{problem}");
        }
    }
}
