//! Questions to the code of a run: answered from its state, in no event.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{failure::Failure, payload::Payload};

/// A question that waits for the owner of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Made by whoever asks: the same question may be asked again under it.
    pub id: Uuid,
    /// Which query.
    pub name: String,
    /// Its argument; `null` for none.
    pub input: Payload,
}

/// What the code had to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueryAnswer {
    /// A value.
    Answered(Payload),
    /// It has no such query at this point of its life.
    Unknown {
        /// Those that it has.
        known: Vec<String>,
    },
    /// It could not answer.
    Failed(Box<Failure>),
}
