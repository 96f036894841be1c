//! The fields of spans as JSON, written straight into their buffer.
//!
//! Every workflow task and every activity has a span with its ids, whether or not anything is logged in it; the formatter
//! that comes with the JSON lines builds a tree for each, which cost a tenth of a short workflow's processor time.

use std::fmt::{self, Write};

use tracing::{
    field::{Field, Visit},
    span::Record,
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, FormattedFields, format::Writer},
};

/// Writes the fields of a span as one JSON object.
#[derive(Debug)]
pub(super) struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut object = Object(String::with_capacity(ROOM));
        object.0.push('{');
        fields.record(&mut object);
        object.0.push('}');
        writer.write_str(&object.0)
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let mut object = Object(current.fields.strip_suffix('}').unwrap_or("{").to_owned());
        fields.record(&mut object);
        object.0.push('}');
        current.fields = object.0;
        Ok(())
    }
}

/// The bytes that the ids of an attempt usually take.
const ROOM: usize = 320;

/// An object whose members are being written; its last brace is not there yet.
struct Object(String);

impl Object {
    fn key(&mut self, field: &Field) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(field.name());
        self.0.push_str("\":");
    }

    /// Writes a member whose value needs no quotes.
    fn bare(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.key(field);
        self.0.write_fmt(value).expect("memory takes all writes");
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.key(field);
        self.0.push('"');
        Escaped(&mut self.0).write_fmt(value).expect("memory takes all writes");
        self.0.push('"');
    }
}

impl Visit for Object {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for the others.
        match value.is_finite() {
            true => self.bare(field, format_args!("{value}")),
            false => self.text(field, format_args!("{value}")),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.key(field);
        self.0.push('"');
        Escaped(&mut self.0).push(value);
        self.0.push('"');
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }
}

/// Escapes what may not stand in a JSON string.
struct Escaped<'s>(&'s mut String);

impl Escaped<'_> {
    fn push(&mut self, text: &str) {
        let mut plain_from = 0;
        for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
            self.0.push_str(&text[plain_from..at]);
            match byte {
                b'"' => self.0.push_str("\\\""),
                b'\\' => self.0.push_str("\\\\"),
                _ => write!(self.0, "\\u{byte:04x}").expect("memory takes all writes"),
            }
            plain_from = at + 1;
        }
        self.0.push_str(&text[plain_from..]);
    }
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{fmt, prelude::*};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_fields_of_a_span_stand_in_the_json_line_of_an_event() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer().json().flatten_event(true).fmt_fields(SpanFields).with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let id = "a \"quoted\" \\ id\n";
            let span =
                tracing::error_span!("activity", workflow_id = %id, attempt = 3_u32, late = tracing::field::Empty);
            span.record("late", true);
            let _entered = span.enter();
            tracing::info!("hello");
            let _bare = tracing::error_span!("bare").entered();
            tracing::info!("again");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let seen: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(seen[0]["span"]["workflow_id"], "a \"quoted\" \\ id\n");
        assert_eq!(seen[0]["span"]["attempt"], 3);
        assert_eq!(seen[0]["span"]["late"], true);
        assert_eq!(seen[1]["span"]["name"], "bare");
        assert_eq!(seen[1]["spans"].as_array().unwrap().len(), 2);
    }
}
