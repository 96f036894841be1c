//! User data in the engine: JSON text that the engine carries and never looks into.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::limits;

/// One value of a user, as JSON text; cloning it is a counter.
#[derive(Clone)]
pub struct Payload(Arc<RawValue>);

/// Why a value cannot become, or cannot be read from, a payload.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The value has no JSON form.
    #[error("{what} cannot be written as JSON: {source}")]
    Encode {
        /// The value, as the user knows it.
        what: String,
        /// What serde said.
        source: serde_json::Error,
    },
    /// The JSON is not of the expected shape.
    #[error("{what} cannot be read as {expected}: {source}; the stored JSON begins with {excerpt}")]
    Decode {
        /// The value, as the user knows it.
        what: String,
        /// The Rust type that was expected.
        expected: &'static str,
        /// The first characters of the JSON.
        excerpt: String,
        /// What serde said.
        source: serde_json::Error,
    },
    /// The value is larger than the engine stores.
    #[error(
        "{what} has {bytes} bytes, the limit is {} ({}): pass a reference to data kept elsewhere",
        limits::PAYLOAD_BYTES_MAX,
        "PAYLOAD_BYTES_MAX"
    )]
    TooLarge {
        /// The value, as the user knows it.
        what: String,
        /// Its size as JSON.
        bytes: usize,
    },
}

/// The number of characters of a payload that an error shows.
const EXCERPT_CHARS: usize = 120;

impl Payload {
    /// Writes a value as JSON.
    ///
    /// # Errors
    /// [`PayloadError::Encode`] where serde cannot, [`PayloadError::TooLarge`] above [`limits::PAYLOAD_BYTES_MAX`];
    /// `what` names the value in both.
    pub fn encode<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<Self, PayloadError> {
        let json = serde_json::value::to_raw_value(value)
            .map_err(|source| PayloadError::Encode { what: what.to_owned(), source })?;
        Self(Arc::from(json)).within_limit(what)
    }

    /// Takes JSON text.
    ///
    /// # Errors
    /// [`PayloadError::Decode`] when it is no JSON, [`PayloadError::TooLarge`] above the limit.
    pub fn from_json(what: &str, json: String) -> Result<Self, PayloadError> {
        if json.len() > limits::PAYLOAD_BYTES_MAX {
            return Err(PayloadError::TooLarge { what: what.to_owned(), bytes: json.len() });
        }
        let excerpt = json.chars().take(EXCERPT_CHARS).collect();
        RawValue::from_string(json).map(|raw| Self(Arc::from(raw))).map_err(|source| PayloadError::Decode {
            what: what.to_owned(),
            expected: "JSON",
            excerpt,
            source,
        })
    }

    /// The JSON `null`: the input and the result of those that have none.
    pub fn null() -> Self {
        Self(Arc::from(RawValue::NULL.to_owned()))
    }

    /// Reads the value back.
    ///
    /// # Errors
    /// [`PayloadError::Decode`] says what was expected and shows the beginning of what is stored.
    pub fn decode<T: DeserializeOwned>(&self, what: &str) -> Result<T, PayloadError> {
        serde_json::from_str(self.0.get()).map_err(|source| PayloadError::Decode {
            what: what.to_owned(),
            expected: std::any::type_name::<T>(),
            excerpt: self.0.get().chars().take(EXCERPT_CHARS).collect(),
            source,
        })
    }

    /// Gives the JSON text.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    fn within_limit(self, what: &str) -> Result<Self, PayloadError> {
        let bytes = self.0.get().len();
        if bytes > limits::PAYLOAD_BYTES_MAX {
            return Err(PayloadError::TooLarge { what: what.to_owned(), bytes });
        }
        Ok(self)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(Arc::from(raw)))
    }
}

/// Reads the value of an attribute that may be missing. Where it is there it is a value, even when the value is `null`.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Payload>, D::Error> {
    Payload::deserialize(deserializer).map(Some)
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Payload {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oversized_value_is_refused_before_anything_is_stored() {
        let error = Payload::encode("input of workflow `big`", &"x".repeat(limits::PAYLOAD_BYTES_MAX)).unwrap_err();
        assert!(
            error.to_string().contains("input of workflow `big` has 2097154 bytes, the limit is 2097152"),
            "{error}"
        );
    }

    #[test]
    fn a_value_of_another_shape_is_refused_with_what_is_stored() {
        let error = Payload::encode("input", "text").unwrap().decode::<u32>("input").unwrap_err().to_string();
        assert!(error.contains("input cannot be read as u32") && error.contains("\"text\""), "{error}");
    }
}
