//! Identifiers, each a type of its own, so that one can never stand where another belongs.
//!
//! Names chosen by users are shared strings (cloning is a counter); ids made by the engine are uuids of version 7,
//! whose order in time keeps inserts at the right edge of an index.

use std::{cmp::Ordering, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{limits, time::Timestamp};

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name as it is; [`validate`] checks it where it enters the engine.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// Gives the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self::new(name)
            }
        }
    };
}

name_type!(
    /// The space in which workflow ids are unique; `default` when nobody says otherwise.
    Namespace
);
name_type!(
    /// The caller's name for a piece of work; at most one open run has it in a namespace.
    WorkflowId
);
name_type!(
    /// The stored name of a workflow function.
    WorkflowType
);
name_type!(
    /// The stored name of an activity.
    ActivityType
);
name_type!(
    /// The name under which workers and tasks find each other.
    TaskQueue
);

impl Namespace {
    /// The namespace of those who name none.
    pub fn default_namespace() -> Self {
        Self::new("default")
    }
}

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_type!(
    /// One execution of a workflow; a version 7 uuid made by whoever starts it.
    RunId
);
uuid_type!(
    /// One registration of a process in the fleet; a process that lost its lease gets a new one.
    WorkerId
);
uuid_type!(
    /// The identity of a message to a run: a resend carries the same id and is recorded once.
    MessageId
);

/// The name space of what the engine derives from runs and their events; a constant of the stored format.
const DERIVED: Uuid = Uuid::from_u128(0xdaca_9000_0000_4000_8000_0000_0000_0002);

impl RunId {
    /// Makes the id of a run that event `event_id` of run `source` starts: the same however often it is derived, in the
    /// order of time like any other.
    #[must_use]
    pub fn derived(source: Self, event_id: i64, at: Timestamp) -> Self {
        Self(version_7(at, hashed(source, event_id, u32::MAX)))
    }
}

impl MessageId {
    /// Makes the id of what run `source` sends because of its event `event_id`, as number `place` of a transition: the
    /// same however often it is derived. The ids of one run are in the order of its events.
    #[must_use]
    pub fn of_event(source: RunId, event_id: i64, at: Timestamp, place: u32) -> Self {
        let mut bytes = hashed(source, event_id, place);
        // Of the ten bytes that follow the time, version and variant take six bits: 12 and 14 bits are left of the first four.
        let number = event_id.cast_unsigned() as u32 & 0x03ff_ffff;
        bytes[..2].copy_from_slice(&((number >> 14) as u16).to_be_bytes());
        bytes[2..4].copy_from_slice(&((number & 0x3fff) as u16).to_be_bytes());
        Self(version_7(at, bytes))
    }
}

fn hashed(source: RunId, event_id: i64, place: u32) -> [u8; 10] {
    let mut name = source.0.as_bytes().to_vec();
    name.extend_from_slice(&event_id.to_be_bytes());
    name.extend_from_slice(&place.to_be_bytes());
    let hash = Uuid::new_v5(&DERIVED, &name);
    let mut bytes = [0; 10];
    // Bytes 6 and 8 of a uuid hold version and variant; the others are the hash.
    bytes[..6].copy_from_slice(&hash.as_bytes()[..6]);
    bytes[6] = hash.as_bytes()[7];
    bytes[7..].copy_from_slice(&hash.as_bytes()[9..12]);
    bytes
}

fn version_7(at: Timestamp, bytes: [u8; 10]) -> Uuid {
    let millis = u64::try_from(at.0 / 1_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
}

/// The number that a workflow gives an activity, a timer or another durable future when it is created; dense in
/// program order, the same at every replay.
pub type Sequence = u64;

/// The sequence number of an activity inside its run.
pub type ActivityId = Sequence;

/// The sequence number of a timer inside its run. Number 0 is the run's own timeout.
pub type TimerId = Sequence;

/// The sequence number of a child workflow inside its parent's run.
pub type ChildId = Sequence;

/// The sequence number of a signal or a request to cancel that a run sends to another.
pub type ExternalId = Sequence;

/// The timer that ends a run at its run or execution timeout; workflow code counts from 1.
pub const RUN_TIMEOUT_TIMER: TimerId = 0;

/// The part of the key space that a workflow id falls into.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(pub i16);

impl Shard {
    /// Places a workflow id: FNV-1a of namespace, a zero byte, and id, modulo [`limits::SHARDS`]. The function is part
    /// of the stored format and never changes.
    pub fn of(namespace: &Namespace, workflow_id: &WorkflowId) -> Self {
        // Offset basis and prime of 64-bit FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in namespace.as_str().bytes().chain([0]).chain(workflow_id.as_str().bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self((hash % u64::from(limits::SHARDS)) as i16)
    }
}

/// The address of a run's rows: its shard and its id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RunKey {
    /// The shard that all rows of the run share.
    pub shard: Shard,
    /// The run.
    pub run_id: RunId,
}

// By the run, as the keys of tables are: runs that were started one after the other lie beside each other.
impl Ord for RunKey {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.run_id, self.shard).cmp(&(other.run_id, other.shard))
    }
}

impl PartialOrd for RunKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Why a name chosen by a user is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct InvalidName {
    /// The field, as the user knows it: `workflow id`, `task queue`, …
    pub field: &'static str,
    /// What is wrong, the limit, and the way out.
    pub problem: String,
}

/// Checks a name chosen by a user: not empty, at most [`limits::ID_BYTES_MAX`] bytes, no control characters.
///
/// # Errors
/// [`InvalidName`] names the field, the limit and what to do.
pub fn validate(field: &'static str, name: &str) -> Result<(), InvalidName> {
    let problem = if name.is_empty() {
        "is empty: give it at least one character".to_owned()
    } else if name.len() > limits::ID_BYTES_MAX {
        format!(
            "has {} bytes, the limit is {}: shorten it, for example to a hash of the long form",
            name.len(),
            limits::ID_BYTES_MAX
        )
    } else if let Some(character) = name.chars().find(|c| c.is_control()) {
        format!("contains the control character {character:?}: remove it")
    } else {
        return Ok(());
    };
    Err(InvalidName { field, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_of_an_id_never_changes() {
        let shards: Vec<i16> =
            ["order-42", "task:a", ""].map(|id| Shard::of(&Namespace::default_namespace(), &id.into()).0).to_vec();
        expect_test::expect!["[11, 34, 26]"].assert_eq(&format!("{shards:?}"));
    }

    #[test]
    fn what_a_run_sends_has_ids_in_the_order_of_its_events() {
        let run = RunId(Uuid::from_u128(7));
        let at = Timestamp(1_700_000_000_000_000);
        let ids: Vec<MessageId> = (1..60_000).map(|event_id| MessageId::of_event(run, event_id, at, 0)).collect();
        assert!(ids.is_sorted() && ids.iter().collect::<std::collections::BTreeSet<_>>().len() == ids.len());
        assert!(MessageId::of_event(run, 1, Timestamp(at.0 + 1_000), 0) > ids[59_998]);
        assert_ne!(MessageId::of_event(run, 1, at, 1), ids[0]);
        assert_ne!(RunId::derived(run, 1, at), RunId::derived(run, 2, at));
        assert_eq!(RunId::derived(run, 1, at), RunId::derived(run, 1, at));
        assert_eq!((RunId::derived(run, 1, at).0.get_version_num(), ids[0].0.get_version_num()), (7, 7));
    }

    #[test]
    fn a_bad_name_is_refused_with_field_limit_and_way_out() {
        let error = validate("workflow id", &"x".repeat(1001)).unwrap_err().to_string();
        assert!(error.contains("workflow id has 1001 bytes, the limit is 1000"), "{error}");
        assert!(validate("workflow id", "").unwrap_err().to_string().contains("is empty"));
        assert!(validate("task queue", "a\nb").unwrap_err().to_string().contains("control character"));
        assert_eq!(validate("workflow id", "größer/4"), Ok(()));
    }
}
