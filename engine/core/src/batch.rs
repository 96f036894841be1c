//! The stored form of a transition's events: one row of history, as JSON that people can read.
//!
//! A row is an array that begins with the number of its format, as text; rows of the first format, which are read as ever, begin
//! without. A number is a time, the first in microseconds since 1970, a later one in microseconds after the one before it; it
//! holds for all events up to the next number. Everything else is an event, its id implied by its place: an object with the
//! event's type and attributes, or the type alone when no attribute is left to write. Types and attributes have short names.
//!
//! Some attributes are *carried*: written only where their value is not the one that the row holds at that place. The
//! rule goes by the attribute's name and not by the event, so that a new event needs nothing here. What is read is what
//! was written, whatever the events are; that the events make sense is for the fold to say. `docs/history-format.md`
//! shows rows and says how another format would be told apart.

mod names;
mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::{event::Event, ids::RunId};

/// What rows begin with. In those of the first format names are spelled out.
const FORMAT: &str = "2";

/// Whether the name is that of a type of event, the name, and how rows write it; names that are missing are written as they are.
pub fn short_names() -> impl Iterator<Item = (bool, &'static str, &'static str)> {
    let of = |types: bool, all: &'static [(&'static str, &'static str)]| {
        all.iter().map(move |(long, short)| (types, *long, *short))
    };
    of(true, names::types::ALL).chain(of(false, names::attributes::ALL))
}

/// Writes the events of one transition of a run.
///
/// # Panics
/// When the ids of the events are not dense from `first_event_id` on: the row would say something else than they do.
pub fn encode(run_id: RunId, first_event_id: i64, events: &[Event]) -> Vec<u8> {
    write::row(run_id, first_event_id, events)
}

/// Reads what [`encode`] wrote, given the key of the row.
///
/// # Errors
/// When the bytes are no row of a history.
pub fn decode(run_id: RunId, first_event_id: i64, bytes: &[u8]) -> Result<Vec<Event>, serde_json::Error> {
    read::row(run_id, first_event_id, bytes)
}

/// An attribute that a row writes only where its value changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    Attempt,
    SemanticsVersion,
    Namespace,
    RunId,
    WorkflowId,
    CorrelationId,
    Identity,
    ActivityId,
    ScheduledEventId,
    StartedEventId,
}

impl Carried {
    const ALL: [Self; 10] = [
        Self::Attempt,
        Self::SemanticsVersion,
        Self::Namespace,
        Self::RunId,
        Self::WorkflowId,
        Self::CorrelationId,
        Self::Identity,
        Self::ActivityId,
        Self::ScheduledEventId,
        Self::StartedEventId,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::SemanticsVersion => "semantics_version",
            Self::Namespace => "namespace",
            Self::RunId => "run_id",
            Self::WorkflowId => "workflow_id",
            Self::CorrelationId => "correlation_id",
            Self::Identity => "identity",
            Self::ActivityId => "activity_id",
            Self::ScheduledEventId => "scheduled_event_id",
            Self::StartedEventId => "started_event_id",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "attempt" => Self::Attempt,
            "semantics_version" => Self::SemanticsVersion,
            "namespace" => Self::Namespace,
            "run_id" => Self::RunId,
            "workflow_id" => Self::WorkflowId,
            "correlation_id" => Self::CorrelationId,
            "identity" => Self::Identity,
            "activity_id" => Self::ActivityId,
            "scheduled_event_id" => Self::ScheduledEventId,
            "started_event_id" => Self::StartedEventId,
            _ => return None,
        })
    }

    /// The attribute's bit in a set of attributes.
    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// The value that an attribute has at a place of a row, as long as none is written there.
#[derive(Clone, Copy, Debug)]
enum Value<T> {
    /// None: it must be written.
    Unknown,
    /// A number.
    Number(i64),
    /// A text.
    Text(&'static str),
    /// The id of the row's run.
    OfRun,
    /// JSON that was written before, in the form in which whoever writes or reads the row holds on to it.
    Written(T),
}

/// A row at one place: what the next event has if nothing else is written. The writer and the reader go through the
/// same states, which is why a value can be left out.
#[derive(Debug)]
struct Place<T> {
    values: [Value<T>; Carried::ALL.len()],
    event_id: i64,
}

impl<T: Copy> Place<T> {
    /// The first place of a row. The values are part of the stored format and never change.
    fn first(first_event_id: i64) -> Self {
        let mut values = [Value::Unknown; Carried::ALL.len()];
        values[Carried::Attempt as usize] = Value::Number(1);
        values[Carried::SemanticsVersion as usize] = Value::Number(1);
        values[Carried::Namespace as usize] = Value::Text("default");
        values[Carried::RunId as usize] = Value::OfRun;
        // What it is called when its caller gives it no other name.
        values[Carried::WorkflowId as usize] = Value::OfRun;
        values[Carried::CorrelationId as usize] = Value::OfRun;
        Self { values, event_id: first_event_id }
    }

    fn value(&self, carried: Carried) -> Value<T> {
        self.values[carried as usize]
    }

    /// Takes note of an attribute that is written here.
    fn note(&mut self, carried: Carried, json: T) {
        self.values[carried as usize] = Value::Written(json);
    }

    /// Goes on to the next place, after an event of this type.
    fn next(&mut self, event_type: &str) {
        if event_type.ends_with("Scheduled") {
            self.values[Carried::ScheduledEventId as usize] = Value::Number(self.event_id);
        } else if event_type.ends_with("Started") {
            self.values[Carried::StartedEventId as usize] = Value::Number(self.event_id);
        }
        self.event_id += 1;
    }
}

/// The text of a run's id, without allocating.
#[derive(Clone, Copy)]
struct RunIdText([u8; uuid::fmt::Hyphenated::LENGTH]);

impl RunIdText {
    fn new(run_id: RunId) -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        run_id.0.hyphenated().encode_lower(&mut text);
        Self(text)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the text of a uuid is ASCII")
    }
}
