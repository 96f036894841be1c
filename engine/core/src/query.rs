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

/// The query that every workflow answers: what its code awaits, as a [`Stack`].
pub const STACK_QUERY: &str = "__stack";

/// What the code of a run awaits, in the order in which it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Each call without an outcome; empty when the code waits for nothing that an event can bring.
    pub awaits: Vec<Awaited>,
}

/// A call of workflow code that has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// What it waits for.
    pub kind: AwaitedKind,
    /// The workflow's number for it, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The name of a signal, update or local activity, the workflow id of a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it was asked to stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub canceling: bool,
    /// The place in the code, `file:line:column`.
    pub position: String,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AwaitedKind {
    /// The outcome of an activity.
    Activity,
    /// The outcome of an activity that runs beside the code.
    LocalActivity,
    /// A timer.
    Timer,
    /// A child.
    Child,
    /// The delivery of a signal, or of a request to cancel, to another run.
    Delivery,
    /// A signal.
    Signal,
    /// A request for an update.
    Update,
    /// A cancellation.
    Cancellation,
}

impl AwaitedKind {
    /// The kind in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activity => "activity",
            Self::LocalActivity => "local activity",
            Self::Timer => "timer",
            Self::Child => "child",
            Self::Delivery => "delivery",
            Self::Signal => "signal",
            Self::Update => "update",
            Self::Cancellation => "cancellation",
        }
    }
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
