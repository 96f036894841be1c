//! Writing a row: straight into its bytes. An attribute is written first and taken back when it says nothing new.

use serde::{
    Serialize, Serializer,
    ser::{Error as _, Impossible, SerializeStruct},
};
use serde_json::Error;

use super::{
    Carried, FORMAT, Place, RunIdText, Value,
    names::{attributes, types},
};
use crate::{event::Event, ids::RunId};

/// Where a value stands in the bytes of the row.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

struct Writer {
    out: Vec<u8>,
    run_id: RunIdText,
    place: Place<Span>,
}

pub(super) fn row(run_id: RunId, first_event_id: i64, events: &[Event]) -> Vec<u8> {
    let bytes: u64 = events.iter().map(|event| event.event.stored_bytes()).sum();
    let mut writer = Writer {
        out: Vec::with_capacity(bytes as usize),
        run_id: RunIdText::new(run_id),
        place: Place::first(first_event_id),
    };
    let mut time = 0_i64;
    writer.out.extend_from_slice(b"[\"");
    writer.out.extend_from_slice(FORMAT.as_bytes());
    writer.out.push(b'"');
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event.event_id, writer.place.event_id, "the ids of a row's events are dense");
        writer.out.push(b',');
        if at == 0 || event.event_time.0 != time {
            // Wraps, and wraps back when it is read: whether a time is possible is not decided here.
            writer.number(event.event_time.0.wrapping_sub(time));
            writer.out.push(b',');
            time = event.event_time.0;
        }
        event.event.serialize(&mut writer).expect("an event has string keys and finite numbers");
        writer.place.next(event.event.name());
    }
    writer.out.push(b']');
    writer.out
}

impl Writer {
    fn number(&mut self, number: i64) {
        serde_json::to_writer(&mut self.out, &number).expect("a number is JSON, and memory takes all writes");
    }

    /// Says whether the JSON from `start` on is what is read when it is left out.
    fn is_implied(&self, carried: Carried, start: usize) -> bool {
        let json = &self.out[start..];
        match self.place.value(carried) {
            Value::Unknown => false,
            Value::Number(number) => std::str::from_utf8(json).is_ok_and(|json| json.parse() == Ok(number)),
            Value::Text(text) => is_string(json, text),
            Value::OfRun => is_string(json, self.run_id.as_str()),
            Value::Written(span) => *json == self.out[span.start..span.end],
        }
    }
}

/// Says whether JSON is the string of a text that needs no escapes.
fn is_string(json: &[u8], text: &str) -> bool {
    json.strip_prefix(b"\"").and_then(|json| json.strip_suffix(b"\"")) == Some(text.as_bytes())
}

/// The attributes of the event that is being written.
struct Attributes<'a> {
    writer: &'a mut Writer,
}

impl Attributes<'_> {
    fn key(&mut self, key: &'static str) {
        let out = &mut self.writer.out;
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(attributes::short(key).as_bytes());
        out.extend_from_slice(b"\":");
    }
}

impl SerializeStruct for Attributes<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<V: Serialize + ?Sized>(&mut self, key: &'static str, value: &V) -> Result<(), Error> {
        let before = self.writer.out.len();
        self.key(key);
        let start = self.writer.out.len();
        value.serialize(&mut serde_json::Serializer::new(&mut self.writer.out))?;
        let Some(carried) = Carried::named(key) else { return Ok(()) };
        if self.writer.is_implied(carried, start) {
            self.writer.out.truncate(before);
        } else if self.writer.out[start..] != *b"null" {
            let span = Span { start, end: self.writer.out.len() };
            self.writer.place.note(carried, span);
        }
        Ok(())
    }

    /// An event without an attribute that the row holds says so, or it would be read as having it.
    fn skip_field(&mut self, key: &'static str) -> Result<(), Error> {
        let value = Carried::named(key).map(|carried| self.writer.place.value(carried));
        if value.is_some_and(|value| !matches!(value, Value::Unknown)) {
            self.key(key);
            self.writer.out.extend_from_slice(b"null");
        }
        Ok(())
    }

    fn end(self) -> Result<(), Error> {
        self.writer.out.push(b'}');
        Ok(())
    }
}

/// Refuses what an event is not.
macro_rules! refuse {
    ($($method:ident($($argument:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$ok, Error> {
            Err(Error::custom("an event is a type with a struct of attributes"))
        })*
    };
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Impossible<(), Error>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStruct = Attributes<'a>;
    type SerializeStructVariant = Impossible<(), Error>;

    fn serialize_newtype_variant<V: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        event_type: &'static str,
        attributes: &V,
    ) -> Result<(), Error> {
        let event_type = types::short(event_type);
        let start = self.out.len();
        self.out.extend_from_slice(b"{\"");
        self.out.extend_from_slice(event_type.as_bytes());
        self.out.extend_from_slice(b"\":");
        attributes.serialize(&mut *self)?;
        if self.out.ends_with(b"\":{}") && self.out.len() == start + event_type.len() + 6 {
            self.out.truncate(self.out.len() - 3);
            self.out.remove(start);
        } else {
            self.out.push(b'}');
        }
        Ok(())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Attributes<'a>, Error> {
        self.out.push(b'{');
        Ok(Attributes { writer: self })
    }

    fn serialize_some<V: Serialize + ?Sized>(self, _: &V) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_newtype_struct<V: Serialize + ?Sized>(self, _: &'static str, _: &V) -> Result<(), Error> {
        self.serialize_none()
    }

    refuse! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}
