//! The rows that come with a transition, as the parallel arrays that `dacapo.rows_v1` takes.

use std::collections::HashSet;

use dacapo_core::{StartWorkflow, Timestamp, Transition, batch, transition::ActivityRow};
use sqlx::{Arguments, error::BoxDynError, postgres::PgArguments};

use super::between::state_json;
use crate::{load::STATE_MARK, time::PgTime};

/// The longest span that the database adds to a time (100 years), so that no sum leaves the range of its type.
const SPAN_MS_MAX: u64 = 100 * 365 * 24 * 3_600 * 1_000;

/// The JSON of a row of `activities`, written once, on the caller's thread.
#[derive(Debug)]
struct EncodedActivity {
    task: Vec<u8>,
    failure: Option<Vec<u8>>,
}

/// What a transition's rows look like on the wire, as far as it takes work to find out.
#[derive(Debug, Default)]
pub(super) struct EncodedRows {
    activities: Vec<EncodedActivity>,
}

impl EncodedRows {
    /// Writes the JSON of a transition's rows, after dropping rows that later ones of the same transition replace.
    pub(super) fn new(transition: &mut Transition) -> Self {
        keep_last(&mut transition.activities, |row| row.activity_id);
        keep_last(&mut transition.timers, |row| row.timer_id);
        keep_last(&mut transition.published, |(name, _)| name.clone());
        Self { activities: transition.activities.iter().map(EncodedActivity::new).collect() }
    }
}

impl EncodedActivity {
    fn new(row: &ActivityRow) -> Self {
        let mut task = json(&row.task);
        if let Some(state) = state_json(row.state) {
            task.push(STATE_MARK);
            task.extend_from_slice(&state);
        }
        Self { task, failure: row.last_failure.as_ref().map(json) }
    }
}

/// Writes the row of history of a transition.
pub(super) fn history_row(transition: &Transition) -> Vec<u8> {
    batch::encode(transition.key.run_id, transition.first_event_id, &transition.events)
}

/// Binds the arrays of new rows of `runs_open` and of their first rows of history, from the key to the search attributes.
pub(super) fn bind_runs<'a, R: Iterator<Item = (&'a StartWorkflow, &'a Transition, &'a [u8])>>(
    arguments: &mut PgArguments,
    runs: impl Fn() -> R,
) -> Result<(), BoxDynError> {
    let requests = || runs().map(|(request, ..)| request);
    let transitions = || runs().map(|(_, transition, _)| transition);
    let started = |it: &Transition| PgTime(it.events.first().map_or(Timestamp(0), |event| event.event_time));
    let memo = |it: &'a StartWorkflow| it.memo.as_ref().map(|memo| memo.as_json().as_bytes());
    arguments.add(transitions().map(|it| it.key.shard.0).collect::<Vec<_>>())?;
    arguments.add(transitions().map(|it| it.key.run_id.0).collect::<Vec<_>>())?;
    arguments.add(requests().map(|it| it.namespace.as_str()).collect::<Vec<_>>())?;
    arguments.add(requests().map(|it| it.workflow_id.as_str()).collect::<Vec<_>>())?;
    arguments.add(requests().map(|it| it.workflow_type.as_str()).collect::<Vec<_>>())?;
    arguments.add(requests().map(|it| it.task_queue.as_str()).collect::<Vec<_>>())?;
    arguments.add(requests().map(|it| i16::from(it.priority)).collect::<Vec<_>>())?;
    arguments.add(transitions().map(Transition::next_event_id).collect::<Vec<_>>())?;
    arguments.add(transitions().map(|it| it.signals as i64).collect::<Vec<_>>())?;
    arguments.add(runs().map(|(.., events)| events).collect::<Vec<_>>())?;
    arguments.add(transitions().map(started).collect::<Vec<_>>())?;
    arguments.add(requests().map(memo).collect::<Vec<_>>())?;
    arguments.add(requests().map(|it| it.search_attributes.as_ref().map(|a| a.as_json())).collect::<Vec<_>>())
}

/// Writes what the engine itself defines as JSON.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("the engine's own types have string keys and finite numbers")
}

/// Removes every row that a later one with the same key replaces; a statement may touch a row only once.
fn keep_last<T, K: std::hash::Hash + Eq>(rows: &mut Vec<T>, key: impl Fn(&T) -> K) {
    if rows.len() > 1 {
        let mut seen = HashSet::with_capacity(rows.len());
        rows.reverse();
        rows.retain(|row| seen.insert(key(row)));
        rows.reverse();
    }
}

/// Says whether a transition comes with rows that [`RowArrays`] hold.
pub(super) fn has_rows(transition: &Transition) -> bool {
    let Transition { activities, dropped_activities, canceled_activities, timers, dropped_timers, published, .. } =
        transition;
    !(activities.is_empty()
        && dropped_activities.is_empty()
        && canceled_activities.is_empty()
        && timers.is_empty()
        && dropped_timers.is_empty()
        && published.is_empty())
}

/// The rows of all items of a flush; `*_item` is the place of the item, from 1.
#[derive(Debug, Default)]
pub(super) struct RowArrays<'a> {
    a_item: Vec<i32>,
    a_id: Vec<i64>,
    a_attempt: Vec<i32>,
    a_namespace: Vec<&'a str>,
    a_queue: Vec<&'a str>,
    a_type: Vec<&'a str>,
    a_priority: Vec<i16>,
    a_visible: Vec<PgTime>,
    a_kept: Vec<bool>,
    a_deadline: Vec<Option<PgTime>>,
    a_start_to_close_ms: Vec<Option<i64>>,
    a_heartbeat_ms: Vec<Option<i64>>,
    a_close_at: Vec<Option<PgTime>>,
    a_task: Vec<&'a [u8]>,
    a_failure: Vec<Option<&'a [u8]>>,
    a_details: Vec<Option<&'a [u8]>>,
    d_item: Vec<i32>,
    d_id: Vec<i64>,
    x_item: Vec<i32>,
    x_id: Vec<i64>,
    t_item: Vec<i32>,
    t_id: Vec<i64>,
    t_fire: Vec<PgTime>,
    u_item: Vec<i32>,
    u_id: Vec<i64>,
    p_item: Vec<i32>,
    p_name: Vec<&'a str>,
    p_value: Vec<&'a [u8]>,
}

impl<'a> RowArrays<'a> {
    /// Adds the rows of the item at a place.
    pub(super) fn add(&mut self, item: i32, transition: &'a Transition, encoded: &'a EncodedRows) {
        for (row, encoded) in transition.activities.iter().zip(&encoded.activities) {
            self.add_activity(item, row, encoded);
        }
        for id in &transition.dropped_activities {
            self.d_item.push(item);
            self.d_id.push(*id as i64);
        }
        for id in &transition.canceled_activities {
            self.x_item.push(item);
            self.x_id.push(*id as i64);
        }
        for timer in &transition.timers {
            self.t_item.push(item);
            self.t_id.push(timer.timer_id as i64);
            self.t_fire.push(PgTime(timer.fire_at));
        }
        for id in &transition.dropped_timers {
            self.u_item.push(item);
            self.u_id.push(*id as i64);
        }
        for (name, value) in &transition.published {
            self.p_item.push(item);
            self.p_name.push(name);
            self.p_value.push(value.as_json().as_bytes());
        }
    }

    fn add_activity(&mut self, item: i32, row: &'a ActivityRow, encoded: &'a EncodedActivity) {
        let task = &row.task;
        self.a_item.push(item);
        self.a_id.push(row.activity_id as i64);
        self.a_attempt.push(i32::try_from(row.attempt).unwrap_or(i32::MAX));
        self.a_namespace.push(task.namespace.as_str());
        self.a_queue.push(task.task_queue.as_str());
        self.a_type.push(task.activity_type.as_str());
        self.a_priority.push(i16::from(task.priority));
        self.a_visible.push(PgTime(row.visible_at));
        self.a_kept.push(row.claimed_by_owner);
        self.a_deadline.push(task.waiting_deadline().map(|(at, _)| PgTime(at)));
        self.a_start_to_close_ms.push(task.start_to_close_ms.map(span));
        self.a_heartbeat_ms.push(task.heartbeat_ms.map(span));
        self.a_close_at.push(task.schedule_to_close_at.map(PgTime));
        self.a_task.push(&encoded.task);
        self.a_failure.push(encoded.failure.as_deref());
        self.a_details.push(row.last_heartbeat.as_ref().map(|details| details.as_json().as_bytes()));
    }

    /// Says whether no item has a row.
    pub(super) fn is_empty(&self) -> bool {
        [&self.a_item, &self.d_item, &self.x_item, &self.t_item, &self.u_item, &self.p_item]
            .into_iter()
            .all(Vec::is_empty)
    }

    /// Adds all arrays to a statement's arguments, in the order of the function's parameters.
    pub(super) fn bind(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        arguments.add(&self.a_item)?;
        arguments.add(&self.a_id)?;
        arguments.add(&self.a_attempt)?;
        arguments.add(&self.a_namespace)?;
        arguments.add(&self.a_queue)?;
        arguments.add(&self.a_type)?;
        arguments.add(&self.a_priority)?;
        arguments.add(&self.a_visible)?;
        arguments.add(&self.a_kept)?;
        arguments.add(&self.a_deadline)?;
        arguments.add(&self.a_start_to_close_ms)?;
        arguments.add(&self.a_heartbeat_ms)?;
        arguments.add(&self.a_close_at)?;
        arguments.add(&self.a_task)?;
        arguments.add(&self.a_failure)?;
        arguments.add(&self.a_details)?;
        arguments.add(&self.d_item)?;
        arguments.add(&self.d_id)?;
        arguments.add(&self.x_item)?;
        arguments.add(&self.x_id)?;
        arguments.add(&self.t_item)?;
        arguments.add(&self.t_id)?;
        arguments.add(&self.t_fire)?;
        arguments.add(&self.u_item)?;
        arguments.add(&self.u_id)?;
        arguments.add(&self.p_item)?;
        arguments.add(&self.p_name)?;
        arguments.add(&self.p_value)
    }
}

fn span(ms: u64) -> i64 {
    ms.min(SPAN_MS_MAX) as i64
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_last_of_several_rows_with_one_key_stays_in_its_place() {
        let mut rows = vec![(1, "a"), (2, "b"), (1, "c"), (3, "d")];
        super::keep_last(&mut rows, |row| row.0);
        assert_eq!(rows, [(2, "b"), (1, "c"), (3, "d")]);
    }
}
