//! Activities that have used up their attempts, as the parallel arrays that `dacapo.bury_v1` takes.

use dacapo_core::Transition;
use sqlx::{Arguments, error::BoxDynError, postgres::PgArguments};

use super::rows::json;
use crate::time::PgTime;

/// The arrays of `dacapo.bury_v1`.
pub(super) const GRAVES: usize = 6;

/// The dead activities of all items of a flush.
#[derive(Debug, Default)]
pub(super) struct Graves<'a> {
    item: Vec<i32>,
    id: Vec<i64>,
    activity_type: Vec<&'a str>,
    attempts: Vec<i32>,
    died: Vec<PgTime>,
    failure: Vec<Vec<u8>>,
}

impl<'a> Graves<'a> {
    /// Gathers what the items of a flush have. `None`: nothing, as nearly always.
    pub(super) fn gather(transitions: impl Iterator<Item = &'a Transition> + Clone) -> Option<Self> {
        if transitions.clone().all(|transition| transition.dead_activities.is_empty()) {
            return None;
        }
        let mut graves = Self::default();
        for (item, transition) in (1_i32..).zip(transitions) {
            for dead in &transition.dead_activities {
                graves.item.push(item);
                graves.id.push(dead.activity_id as i64);
                graves.activity_type.push(dead.activity_type.as_str());
                graves.attempts.push(i32::try_from(dead.attempts).unwrap_or(i32::MAX));
                graves.died.push(PgTime(dead.died_at));
                graves.failure.push(json(&dead.failure));
            }
        }
        Some(graves)
    }

    /// Adds all arrays to a statement's arguments, in the order of the function's parameters.
    pub(super) fn bind(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        arguments.add(&self.item)?;
        arguments.add(&self.id)?;
        arguments.add(&self.activity_type)?;
        arguments.add(&self.attempts)?;
        arguments.add(&self.died)?;
        arguments.add(&self.failure)
    }
}
