//! What only transitions between runs have, as the parallel arrays that `dacapo.between_v1` takes: rows for other runs,
//! successors, news of updates, changes to rows of activities.

use dacapo_core::{
    Message, Timestamp, Transition,
    transition::{ActivityRowChange, AttemptState, Successor},
    update::UpdateProgress,
};
use sqlx::{Arguments, error::BoxDynError, postgres::PgArguments};
use uuid::Uuid;

use super::rows::{EncodedRows, RowArrays, bind_runs, history_row, json};
use crate::time::PgTime;

/// The arrays of `dacapo.between_v1`.
pub(super) const ARRAYS: usize = 40;

/// The place of the successors' shards among them, from 0.
pub(super) const SUCCESSOR_SHARDS: usize = 21;

/// The place of the successors' run ids among them, from 0.
pub(super) const SUCCESSOR_RUNS: usize = 22;

/// A run that follows another, with its JSON.
#[derive(Debug)]
struct EncodedSuccessor {
    successor: Box<Successor>,
    events: Vec<u8>,
    messages: Vec<(Uuid, Vec<u8>)>,
    rows: EncodedRows,
}

/// What an item has for `dacapo.between_v1`, with its JSON written on the caller's thread.
#[derive(Debug, Default)]
pub(super) struct EncodedBetween {
    outbox: Vec<(Uuid, Vec<u8>)>,
    messages: Vec<(Uuid, Vec<u8>)>,
    changes: Vec<(i64, Option<Vec<u8>>, Timestamp)>,
    asynchronous: Vec<(i64, Timestamp)>,
    updates: Vec<(String, Uuid, Vec<u8>)>,
    successor: Option<EncodedSuccessor>,
}

impl EncodedBetween {
    /// Takes out of a transition what few have. `None`: it has nothing of the kind, and pays nothing.
    pub(super) fn new(transition: &mut Transition) -> Option<Box<Self>> {
        let asynchronous: Vec<(i64, Timestamp)> = transition
            .activities
            .iter()
            .filter(|row| !row.claimed_by_owner)
            .filter_map(|row| Some((row.activity_id as i64, row.state.asynchronous_since?)))
            .collect();
        if transition.part_between_runs().is_none() && asynchronous.is_empty() {
            return None;
        }
        let messages = |messages: &[Message]| messages.iter().map(|it| (it.id.0, json(&it.body))).collect::<Vec<_>>();
        Some(Box::new(Self {
            outbox: transition.outbox.iter().map(|row| (row.id.0, json(row))).collect(),
            messages: messages(&transition.inbox),
            changes: transition.activity_changes.iter().map(change).collect(),
            asynchronous,
            updates: news(&transition.updates),
            successor: transition.successor.take().map(|mut successor| {
                let rows = EncodedRows::new(&mut successor.transition);
                let events = history_row(&successor.transition);
                let messages = messages(&successor.transition.inbox);
                EncodedSuccessor { successor, events, messages, rows }
            }),
        }))
    }

    /// The successor, if there is one.
    pub(super) fn successor(&self) -> Option<&Successor> {
        self.successor.as_ref().map(|encoded| &*encoded.successor)
    }
}

/// The state of an activity as the row of its task holds it; none for one that nobody has touched.
pub(super) fn state_json(state: AttemptState) -> Option<Vec<u8>> {
    (state != AttemptState::default()).then(|| json(&state))
}

fn change(change: &ActivityRowChange) -> (i64, Option<Vec<u8>>, Timestamp) {
    (change.activity_id as i64, state_json(change.state), change.visible_at)
}

/// The last news of each update for each of those who wait: a statement may touch a row only once.
fn news(updates: &[UpdateProgress]) -> Vec<(String, Uuid, Vec<u8>)> {
    let mut last: Vec<(String, Uuid, Vec<u8>)> = Vec::new();
    for news in updates {
        let message = news.message_id.map_or(Uuid::nil(), |id| id.0);
        last.retain(|(update_id, of, _)| *update_id != news.update_id || *of != message);
        last.push((news.update_id.clone(), message, json(&news.stage)));
    }
    last
}

type Bytes<'a> = Vec<&'a [u8]>;
type MaybeBytes<'a> = Vec<Option<&'a [u8]>>;
type Texts<'a> = Vec<&'a str>;
type MaybeTexts<'a> = Vec<Option<&'a str>>;

/// The arrays of all items of a flush; `*_item` is the place of the item, from 1.
#[derive(Debug, Default)]
pub(super) struct BetweenArrays<'a> {
    o: (Vec<i32>, Vec<Uuid>, Bytes<'a>),
    m: (Vec<i32>, Vec<Uuid>, Bytes<'a>),
    h: (Vec<i32>, Vec<i64>, MaybeBytes<'a>, Vec<PgTime>),
    y: (Vec<i32>, Vec<i64>, Vec<PgTime>),
    g: (Vec<i32>, MaybeBytes<'a>, MaybeTexts<'a>),
    n: (Vec<i32>, Texts<'a>, Vec<Uuid>, Bytes<'a>),
    successors: Vec<(i32, &'a EncodedSuccessor)>,
}

impl<'a> BetweenArrays<'a> {
    /// Gathers what the items of a flush have. `None`: nothing.
    pub(super) fn gather(
        items: impl Iterator<Item = (&'a Transition, Option<&'a EncodedBetween>)> + Clone,
    ) -> Option<Self> {
        if items.clone().all(|(_, encoded)| encoded.is_none()) {
            return None;
        }
        let mut arrays = Self::default();
        for (item, (transition, encoded)) in (1_i32..).zip(items) {
            if let Some(encoded) = encoded {
                arrays.add(item, transition, encoded);
            }
        }
        Some(arrays)
    }

    fn add(&mut self, item: i32, transition: &'a Transition, encoded: &'a EncodedBetween) {
        for (id, row) in &encoded.outbox {
            self.o.0.push(item);
            self.o.1.push(*id);
            self.o.2.push(row);
        }
        for (id, body) in &encoded.messages {
            self.m.0.push(item);
            self.m.1.push(*id);
            self.m.2.push(body);
        }
        for (id, state, visible_at) in &encoded.changes {
            self.h.0.push(item);
            self.h.1.push(*id);
            self.h.2.push(state.as_deref());
            self.h.3.push(PgTime(*visible_at));
        }
        for (id, since) in &encoded.asynchronous {
            self.y.0.push(item);
            self.y.1.push(*id);
            self.y.2.push(PgTime(*since));
        }
        if let Some(attributes) = &transition.attributes {
            self.g.0.push(item);
            self.g.1.push(attributes.memo.as_ref().map(|memo| memo.as_json().as_bytes()));
            self.g.2.push(attributes.search_attributes.as_ref().map(|it| it.as_json()));
        }
        for (update_id, message, stage) in &encoded.updates {
            self.n.0.push(item);
            self.n.1.push(update_id);
            self.n.2.push(*message);
            self.n.3.push(stage);
        }
        self.successors.extend(encoded.successor.as_ref().map(|successor| (item, successor)));
    }

    /// Adds the first rows of successors, which come behind the `items` of the flush.
    pub(super) fn add_rows(&self, items: usize, rows: &mut RowArrays<'a>) {
        for (place, (_, encoded)) in (1..).zip(&self.successors) {
            rows.add(items as i32 + place, &encoded.successor.transition, &encoded.rows);
        }
    }

    /// Adds all arrays to a statement's arguments, in the order of the function's parameters.
    pub(super) fn bind(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        arguments.add(&self.o.0)?;
        arguments.add(&self.o.1)?;
        arguments.add(&self.o.2)?;
        arguments.add(&self.m.0)?;
        arguments.add(&self.m.1)?;
        arguments.add(&self.m.2)?;
        arguments.add(&self.h.0)?;
        arguments.add(&self.h.1)?;
        arguments.add(&self.h.2)?;
        arguments.add(&self.h.3)?;
        arguments.add(&self.y.0)?;
        arguments.add(&self.y.1)?;
        arguments.add(&self.y.2)?;
        arguments.add(&self.g.0)?;
        arguments.add(&self.g.1)?;
        arguments.add(&self.g.2)?;
        arguments.add(&self.n.0)?;
        arguments.add(&self.n.1)?;
        arguments.add(&self.n.2)?;
        arguments.add(&self.n.3)?;
        self.bind_successors(arguments)
    }

    fn bind_successors(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        let all = || self.successors.iter().map(|(_, encoded)| *encoded);
        let requests = || all().map(|encoded| &encoded.successor.request);
        arguments.add(self.successors.iter().map(|(item, _)| *item).collect::<Vec<_>>())?;
        let rows = || {
            self.successors
                .iter()
                .map(|(_, it)| (&it.successor.request, &it.successor.transition, it.events.as_slice()))
        };
        bind_runs(arguments, rows)?;
        let first = requests().map(|it| it.lineage.as_ref().and_then(|lineage| lineage.first_run_id).map(|id| id.0));
        arguments.add(first.collect::<Vec<_>>())?;
        arguments.add(all().map(|it| it.successor.owned).collect::<Vec<_>>())?;
        arguments.add(all().map(|it| PgTime(it.successor.ready_at)).collect::<Vec<_>>())?;
        let messages = || (1_i32..).zip(all()).flat_map(|(place, it)| it.messages.iter().map(move |m| (place, m)));
        arguments.add(messages().map(|(place, _)| place).collect::<Vec<_>>())?;
        arguments.add(messages().map(|(_, (id, _))| *id).collect::<Vec<_>>())?;
        arguments.add(messages().map(|(_, (_, body))| body.as_slice()).collect::<Vec<_>>())
    }
}

/// Lists parameters of a statement, from `$first` on.
pub(super) fn parameters(first: usize, count: usize) -> String {
    (first..first + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(",")
}
