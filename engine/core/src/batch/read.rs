//! Reading a row: events are built straight from its text, with what was left out put in where the event wants it.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, de,
    de::{
        DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
        value::{BorrowedStrDeserializer, MapDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, value::RawValue};

use super::{
    Carried, FORMAT, Place, RunIdText, Value,
    names::{attributes, types},
};
use crate::{
    event::{Event, EventKind},
    ids::RunId,
    time::Timestamp,
};

pub(super) fn row(run_id: RunId, first_event_id: i64, bytes: &[u8]) -> Result<Vec<Event>, Error> {
    let text = std::str::from_utf8(bytes).map_err(Error::custom)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let mut reader = Reader {
        run_id: RunIdText::new(run_id),
        place: Place::first(first_event_id),
        time: None,
        names: Names::Spelled,
    };
    let events = json.deserialize_seq(Row(&mut reader))?;
    json.end()?;
    Ok(events)
}

/// What is known of the row where it is being read.
struct Reader<'de> {
    run_id: RunIdText,
    place: Place<&'de str>,
    time: Option<i64>,
    names: Names,
}

/// How the names of a row are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// As they are: the first format.
    Spelled,
    /// Short, where there is a short name.
    Short,
}

impl Names {
    fn event_type(self, name: &str) -> &str {
        if self == Self::Short { types::long(name) } else { name }
    }

    fn attribute(self, name: &str) -> &str {
        if self == Self::Short { attributes::long(name) } else { name }
    }
}

/// Reads the array.
struct Row<'a, 'de>(&'a mut Reader<'de>);

impl<'de> Visitor<'de> for Row<'_, 'de> {
    type Value = Vec<Event>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row of history: an array of a time and events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<Event>, A::Error> {
        let mut events = Vec::new();
        loop {
            let event_id = self.0.place.event_id;
            match elements.next_element_seed(Element(self.0))? {
                None => return Ok(events),
                Some(None) => {}
                Some(Some((time, event))) => events.push(Event { event_id, event_time: Timestamp(time), event }),
            }
        }
    }
}

/// Reads one element of the array: an event with its time, or a time, which gives none.
struct Element<'a, 'de>(&'a mut Reader<'de>);

impl<'de> DeserializeSeed<'de> for Element<'_, 'de> {
    type Value = Option<(i64, EventKind)>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_, 'de> {
    type Value = Option<(i64, EventKind)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time in microseconds, an event, or the type of one")
    }

    fn visit_i64<E: de::Error>(self, time: i64) -> Result<Self::Value, E> {
        self.0.time = Some(self.0.time.unwrap_or(0).wrapping_add(time));
        Ok(None)
    }

    fn visit_u64<E: de::Error>(self, time: u64) -> Result<Self::Value, E> {
        let time = i64::try_from(time).map_err(E::custom)?;
        self.visit_i64(time)
    }

    fn visit_borrowed_str<E: de::Error>(self, event_type: &'de str) -> Result<Self::Value, E> {
        if self.0.time.is_none() && self.0.names == Names::Spelled && event_type == FORMAT {
            self.0.names = Names::Short;
            return Ok(None);
        }
        let time = self.time()?;
        let event_type = self.0.names.event_type(event_type);
        let bare = Bare { reader: self.0, event_type, error: PhantomData };
        EventKind::deserialize(EventDeserializer(bare)).map(|event| Some((time, event)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let time = self.time()?;
        let full = Full { reader: self.0, map, event_type: "" };
        EventKind::deserialize(EventDeserializer(full)).map(|event| Some((time, event)))
    }
}

impl Element<'_, '_> {
    fn time<E: de::Error>(&self) -> Result<i64, E> {
        let problem = "a row of history begins with its time, or with its format and its time; this is another format";
        self.0.time.ok_or_else(|| E::custom(problem))
    }
}

/// Presents an event to what serde makes of [`EventKind`].
struct EventDeserializer<A>(A);

impl<'de, A: EnumAccess<'de>> Deserializer<'de> for EventDeserializer<A> {
    type Error = A::Error;

    fn deserialize_any<W: Visitor<'de>>(self, visitor: W) -> Result<W::Value, A::Error> {
        visitor.visit_enum(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// An event of which only the type is written.
struct Bare<'a, 'de, E> {
    reader: &'a mut Reader<'de>,
    event_type: &'de str,
    error: PhantomData<E>,
}

impl<'de, E: de::Error> EnumAccess<'de> for Bare<'_, 'de, E> {
    type Error = E;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), E> {
        seed.deserialize(BorrowedStrDeserializer::new(self.event_type)).map(|event_type| (event_type, self))
    }
}

/// An event with attributes.
struct Full<'a, 'de, A> {
    reader: &'a mut Reader<'de>,
    map: A,
    event_type: &'de str,
}

impl<'de, A: MapAccess<'de>> EnumAccess<'de> for Full<'_, 'de, A> {
    type Error = A::Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<(S::Value, Self), A::Error> {
        let name: &str = self.map.next_key()?.ok_or_else(|| A::Error::custom("an event has a type"))?;
        self.event_type = self.reader.names.event_type(name);
        seed.deserialize(BorrowedStrDeserializer::new(self.event_type)).map(|event_type| (event_type, self))
    }
}

/// Refuses the kinds of variants that [`EventKind`] does not have.
macro_rules! only_newtype_variants {
    ($error:ty) => {
        fn unit_variant(self) -> Result<(), $error> {
            Err(<$error>::custom("an event has attributes"))
        }

        fn tuple_variant<W: Visitor<'de>>(self, _: usize, _: W) -> Result<W::Value, $error> {
            Err(<$error>::custom("the attributes of an event are a struct"))
        }

        fn struct_variant<W: Visitor<'de>>(self, _: &'static [&'static str], _: W) -> Result<W::Value, $error> {
            Err(<$error>::custom("the attributes of an event are a struct with a name"))
        }
    };
}

impl<'de, E: de::Error> VariantAccess<'de> for Bare<'_, 'de, E> {
    type Error = E;

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, E> {
        let json = MapDeserializer::new(std::iter::empty::<(&str, &str)>());
        let attributes = seed.deserialize(AttributesDeserializer { reader: self.reader, json })?;
        self.reader.place.next(self.event_type);
        Ok(attributes)
    }

    only_newtype_variants!(E);
}

impl<'de, A: MapAccess<'de>> VariantAccess<'de> for Full<'_, 'de, A> {
    type Error = A::Error;

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value, A::Error> {
        let attributes = self.map.next_value_seed(Attributes { reader: self.reader, seed })?;
        if self.map.next_key::<&str>()?.is_some() {
            return Err(A::Error::custom("an event has one type"));
        }
        self.reader.place.next(self.event_type);
        Ok(attributes)
    }

    only_newtype_variants!(A::Error);
}

/// Passes the attributes of an event on, so that the struct they belong to is read through [`Complete`].
struct Attributes<'a, 'de, S> {
    reader: &'a mut Reader<'de>,
    seed: S,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Attributes<'_, 'de, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(AttributesDeserializer { reader: self.reader, json })
    }
}

struct AttributesDeserializer<'a, 'de, D> {
    reader: &'a mut Reader<'de>,
    json: D,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for AttributesDeserializer<'_, 'de, D> {
    type Error = D::Error;

    fn deserialize_struct<W: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: W,
    ) -> Result<W::Value, D::Error> {
        self.json.deserialize_struct(name, fields, Struct { reader: self.reader, fields, visitor })
    }

    fn deserialize_any<W: Visitor<'de>>(self, visitor: W) -> Result<W::Value, D::Error> {
        self.json.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Struct<'a, 'de, W> {
    reader: &'a mut Reader<'de>,
    fields: &'static [&'static str],
    visitor: W,
}

impl<'de, W: Visitor<'de>> Visitor<'de> for Struct<'_, 'de, W> {
    type Value = W::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<W::Value, A::Error> {
        let carried = self.fields.iter().filter_map(|field| Carried::named(field));
        let missing = carried.map(Carried::bit).sum();
        self.visitor.visit_map(Complete { reader: self.reader, map, missing, value: None })
    }
}

/// The attributes of an event: first those that are written, then those that are not.
struct Complete<'a, 'de, A> {
    reader: &'a mut Reader<'de>,
    map: A,
    /// The carried attributes that the struct has and that have not been given to it.
    missing: u16,
    /// The value of the key that was given last, unless it is still to be read from the map.
    value: Option<Value<&'de str>>,
}

impl<'de, A: MapAccess<'de>> Complete<'_, 'de, A> {
    /// Gives the key of the next attribute that is written.
    fn written(&mut self) -> Result<Option<&'de str>, A::Error> {
        while let Some(key) = self.map.next_key::<&'de str>()? {
            let key = self.reader.names.attribute(key);
            let Some(carried) = Carried::named(key) else { return Ok(Some(key)) };
            let json = self.map.next_value::<&'de RawValue>()?.get();
            self.missing &= !carried.bit();
            // The event has no such attribute.
            if json != "null" {
                self.reader.place.note(carried, json);
                self.value = Some(Value::Written(json));
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Gives the key of the next attribute that was left out.
    fn left_out(&mut self) -> Option<&'static str> {
        for carried in Carried::ALL {
            let value = self.reader.place.value(carried);
            if self.missing & carried.bit() != 0 && !matches!(value, Value::Unknown) {
                self.missing &= !carried.bit();
                self.value = Some(value);
                return Some(carried.name());
            }
        }
        None
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Complete<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let key = match self.written()? {
            None => self.left_out(),
            written => written,
        };
        key.map(|key| seed.deserialize(BorrowedStrDeserializer::new(key))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        match self.value.take() {
            None => self.map.next_value_seed(seed),
            Some(Value::Written(json)) => {
                seed.deserialize(&mut serde_json::Deserializer::from_str(json)).map_err(A::Error::custom)
            }
            Some(Value::Number(number)) => seed.deserialize(LeftOut(number.into_deserializer())),
            Some(Value::Text(text)) => seed.deserialize(LeftOut(StrDeserializer::new(text))),
            Some(Value::OfRun) => seed.deserialize(LeftOut(StrDeserializer::new(self.reader.run_id.as_str()))),
            Some(Value::Unknown) => Err(A::Error::custom("an attribute without a value")),
        }
    }
}

/// A value that was left out, for attributes of any type: serde's own deserializers of values know no options.
struct LeftOut<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for LeftOut<D> {
    type Error = D::Error;

    fn deserialize_any<W: Visitor<'de>>(self, visitor: W) -> Result<W::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_option<W: Visitor<'de>>(self, visitor: W) -> Result<W::Value, D::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<W: Visitor<'de>>(self, _: &'static str, visitor: W) -> Result<W::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}
