//! Messages into the inboxes of runs, in the order in which they were handed over.

use std::collections::{BTreeMap, VecDeque};

use dacapo_core::{
    Message, MessageBody, MessageId, RunKey, TaskQueue, WorkerId,
    limits::{FLUSH_ITEMS_MAX, SIGNALS_MAX},
    store::{SendMessage, SendOutcome, StoreError, StoreResult},
};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{
    lane::{Entry, Flush},
    rows::json,
};
use crate::hints::Hints;

const SEND: &str = "SELECT is_open, owners, queues, too_many FROM dacapo.send_v1($1, $2, $3, $4, $5, $6, $7)";

/// A closed run holds a message when its history names it; an open one may also have it in its inbox.
const RECORDED: &str = "
SELECT EXISTS (SELECT FROM dacapo.inbox b WHERE b.shard = $1 AND b.run_id = $2 AND b.message = $3)
    OR EXISTS (SELECT FROM dacapo.transitions h WHERE h.shard = $1 AND h.run_id = $2
                AND position(convert_to('\"message_id\":\"' || $3::text || '\"', 'UTF8') IN h.events) > 0) AS recorded";

/// A message with its JSON.
#[derive(Debug)]
pub(super) struct EncodedMessage {
    send: SendMessage,
    body: Vec<u8>,
}

impl EncodedMessage {
    /// Writes the JSON of a message, on the caller's thread.
    pub(super) fn new(send: SendMessage) -> Self {
        let body = json(&send.message.body);
        Self { send, body }
    }
}

/// The lane of messages.
#[derive(Debug)]
pub(super) struct Send {
    hints: Hints,
}

impl Send {
    pub(super) fn new(hints: Hints) -> Self {
        Self { hints }
    }
}

impl Flush for Send {
    type Work = EncodedMessage;
    type Answer = SendOutcome;
    type Outcome = StoreResult<SendOutcome>;
    const LANE: &'static str = "send";
    const MAY_BE_OVERTAKEN: bool = false;

    fn take(&self, queue: &mut VecDeque<Entry<Self>>) -> Vec<Entry<Self>> {
        let count = queue.len().min(FLUSH_ITEMS_MAX);
        queue.drain(..count).collect()
    }

    async fn flush(
        &self,
        connection: &mut PgConnection,
        works: &[&EncodedMessage],
    ) -> Result<Vec<SendOutcome>, sqlx::Error> {
        let letters: Vec<Letter<'_>> = works.iter().map(|work| Letter::from(*work)).collect();
        let delivery = write(connection, &letters).await?;
        let mut outcomes = vec![SendOutcome::Accepted; works.len()];
        for place in delivery.not_open.iter().chain(&delivery.too_many) {
            let send = &works[*place].send;
            // Before a message is refused, its run is searched for it: this may be a resend.
            outcomes[*place] = if recorded(connection, send.run, send.message.id).await? {
                SendOutcome::Accepted
            } else if delivery.too_many.contains(place) {
                SendOutcome::TooManySignals
            } else {
                SendOutcome::NotOpen
            };
        }
        delivery.hint(&self.hints);
        Ok(outcomes)
    }

    fn answer(&self, answered: Vec<(Entry<Self>, SendOutcome)>) {
        answered.into_iter().for_each(|(entry, outcome)| entry.answer(Ok(outcome)));
    }

    fn refusal(&self, error: StoreError) -> StoreResult<SendOutcome> {
        Err(error)
    }

    fn lost(&self, _: &mut EncodedMessage) -> Option<StoreResult<SendOutcome>> {
        None
    }
}

/// A message as it goes into an inbox.
struct Letter<'a> {
    run: RunKey,
    id: MessageId,
    body: std::borrow::Cow<'a, [u8]>,
    is_signal: bool,
}

impl<'a> From<&'a EncodedMessage> for Letter<'a> {
    fn from(item: &'a EncodedMessage) -> Self {
        let SendMessage { run, message } = &item.send;
        let is_signal = matches!(message.body, MessageBody::Signal { .. });
        Self { run: *run, id: message.id, body: item.body.as_slice().into(), is_signal }
    }
}

/// What became of messages; places count from 0.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// Messages whose run is not open.
    pub(crate) not_open: Vec<usize>,
    /// Signals above the limit.
    pub(crate) too_many: Vec<usize>,
    /// Owners to wake, with the run.
    owned: Vec<(WorkerId, RunKey)>,
    /// Queues to wake.
    queues: Vec<TaskQueue>,
}

impl Delivery {
    /// Wakes those who should look; to be called after the commit.
    pub(crate) fn hint(&self, hints: &Hints) {
        for (owner, run) in &self.owned {
            hints.inbox(*owner, *run);
        }
        for queue in &self.queues {
            hints.runs_ready(queue, hints.now());
        }
        hints.send();
    }
}

/// Puts messages into inboxes, in a transaction of the caller's.
pub(crate) async fn deliver(
    connection: &mut PgConnection,
    messages: &[(RunKey, &Message)],
) -> Result<Delivery, sqlx::Error> {
    let letters = messages.iter().map(|(run, message)| {
        let is_signal = matches!(message.body, MessageBody::Signal { .. });
        Letter { run: *run, id: message.id, body: json(&message.body).into(), is_signal }
    });
    write(connection, &letters.collect::<Vec<_>>()).await
}

async fn write(connection: &mut PgConnection, letters: &[Letter<'_>]) -> Result<Delivery, sqlx::Error> {
    let (runs, places) = distinct_runs(letters.iter().map(|letter| letter.run));
    // Inserted in the order of the runs, and within a run in the order in which they came.
    let mut order: Vec<usize> = (0..letters.len()).collect();
    order.sort_by_key(|at| places[*at]);
    let row = sqlx::query(SEND)
        .bind(SIGNALS_MAX as i64)
        .bind(runs.iter().map(|run| run.shard.0).collect::<Vec<_>>())
        .bind(runs.iter().map(|run| run.run_id.0).collect::<Vec<_>>())
        .bind(order.iter().map(|at| places[*at]).collect::<Vec<_>>())
        .bind(order.iter().map(|at| letters[*at].id.0).collect::<Vec<_>>())
        .bind(order.iter().map(|at| &*letters[*at].body).collect::<Vec<_>>())
        .bind(order.iter().map(|at| letters[*at].is_signal).collect::<Vec<_>>())
        .fetch_one(connection)
        .await?;
    let open: Vec<bool> = row.try_get("is_open")?;
    let owners: Vec<Option<Uuid>> = row.try_get("owners")?;
    let queues: Vec<Option<String>> = row.try_get("queues")?;
    let too_many: Vec<i32> = row.try_get("too_many")?;
    let not_open = (0..letters.len()).filter(|at| !open[places[*at] as usize - 1]).collect();
    let too_many = too_many.into_iter().map(|place| order[place as usize - 1]).collect();
    Ok(Delivery { not_open, too_many, ..wake(&runs, owners, queues) })
}

/// Gives the runs once each, sorted, and for each of the given ones its place among them, from 1.
pub(super) fn distinct_runs(given: impl Iterator<Item = RunKey> + Clone) -> (Vec<RunKey>, Vec<i32>) {
    let mut places: BTreeMap<RunKey, i32> = given.clone().map(|run| (run, 0)).collect();
    for (place, slot) in (1..).zip(places.values_mut()) {
        *slot = place;
    }
    let of_given = given.map(|run| places[&run]).collect();
    (places.into_keys().collect(), of_given)
}

/// Says whom to wake: owners of runs, and the queues of unowned ones.
pub(crate) fn wake(runs: &[RunKey], owners: Vec<Option<Uuid>>, queues: Vec<Option<String>>) -> Delivery {
    let owned = runs.iter().zip(&owners).filter_map(|(run, owner)| owner.map(|owner| (WorkerId(owner), *run)));
    let owned = owned.collect();
    let unowned = owners.iter().zip(queues).filter(|(owner, _)| owner.is_none());
    let queues = unowned.filter_map(|(_, queue)| queue.map(TaskQueue::from)).collect();
    Delivery { owned, queues, ..Delivery::default() }
}

/// Says whether a run holds a message, in its inbox or in its history.
pub(crate) async fn recorded(
    connection: &mut PgConnection,
    run: RunKey,
    message: MessageId,
) -> Result<bool, sqlx::Error> {
    let query = sqlx::query(RECORDED).bind(run.shard.0).bind(run.run_id.0).bind(message.0);
    query.fetch_one(connection).await?.try_get("recorded")
}
