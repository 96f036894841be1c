//! Flushes of one item without arrays: the functions of the database that take one value for each column.

use std::sync::LazyLock;

use dacapo_core::{
    Timestamp,
    transition::{ProblemChange, Transition},
};
use sqlx::{
    Arguments, PgConnection, Row,
    error::BoxDynError,
    postgres::{PgArguments, PgRow},
};

use super::{
    append::{Encoded, Verdict},
    between::parameters,
    hand::Handed,
    start::EncodedStart,
};
use crate::{
    hints::{Notification, notify_brought},
    time::PgTime,
};

const START: &str =
    "SELECT may_own, started FROM dacapo.start_one_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17)";

/// [`START`] for the worker that `dacapo.taker_v1` chooses, or for nobody if there is none.
static HAND: LazyLock<String> = LazyLock::new(|| hand("NULL"));

/// [`HAND`], and its news if the run was started: to the worker that takes it, or to all.
static HAND_SAYING: LazyLock<String> = LazyLock::new(|| {
    let to_taker = notify_brought("t.taker", "h.handed", "$20");
    hand(&format!(
        "CASE WHEN h.handed IS NOT NULL THEN {to_taker} WHEN s.may_own AND s.started THEN pg_notify($18, $19) END"
    ))
});

fn hand(news: &str) -> String {
    format!(
        "SELECT s.may_own, s.started, t.taker, h.handed, {news}
           FROM dacapo.taker_v1($4, ARRAY[$7], ARRAY[$6]) t (taker),
                LATERAL dacapo.start_one_v1(COALESCE($1, t.taker), {rest}) s,
                LATERAL dacapo.hand_v1(t.taker, s.may_own AND s.started, '{{}}', ARRAY[$2], ARRAY[$3], ARRAY[$9]) h (handed)",
        rest = parameters(2, 16)
    )
}

const APPEND: &str =
    "SELECT applied, false AS unconsumed FROM dacapo.append_one_v2($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)";

const CLOSE: &str = "SELECT applied, unconsumed FROM dacapo.close_one_v2($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)";

/// [`CLOSE`], and its news if the run closes.
const CLOSE_SAYING: &str = "SELECT c.applied, c.unconsumed, CASE WHEN c.applied THEN pg_notify($11, $12) END
    FROM dacapo.close_one_v2($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) c";

/// What became of a start.
pub(super) enum Begun {
    /// The run is there, and with the worker to which it was handed.
    Started(Option<Handed>),
    /// A key is taken; nothing was written.
    Taken,
    /// The owner may not own.
    OwnerLost,
}

/// Starts one run that is thought to be new, with the owner that it asks for.
pub(super) async fn start(connection: &mut PgConnection, start: &EncodedStart) -> Result<Begun, sqlx::Error> {
    let arguments = start_arguments(start, None).map_err(sqlx::Error::Encode)?;
    let row = sqlx::query_with(START, arguments).fetch_one(connection).await?;
    begun(&row, None)
}

/// As [`start`], of one that is for any worker: hands it to one that takes it.
pub(super) async fn start_for_any(
    connection: &mut PgConnection,
    start: &EncodedStart,
    news: Option<Notification>,
) -> Result<Begun, sqlx::Error> {
    let statement: &'static str = if news.is_some() { &HAND_SAYING } else { &HAND };
    let arguments = start_arguments(start, news).map_err(sqlx::Error::Encode)?;
    let row = sqlx::query_with(statement, arguments).fetch_one(connection).await?;
    begun(&row, Handed::read(&row)?)
}

fn begun(row: &PgRow, handed: Option<Handed>) -> Result<Begun, sqlx::Error> {
    Ok(match (row.try_get("may_own")?, row.try_get("started")?) {
        (false, _) => Begun::OwnerLost,
        (true, true) => Begun::Started(handed),
        (true, false) => Begun::Taken,
    })
}

fn start_arguments(item: &EncodedStart, news: Option<Notification>) -> Result<PgArguments, BoxDynError> {
    let (request, transition) = (&item.start.request, &item.start.transition);
    let started = transition.events.first().map_or(Timestamp(0), |event| event.event_time);
    let mut arguments = PgArguments::default();
    arguments.reserve(20, 2 * item.events.len() + 512);
    arguments.add(item.start.owner.map(|owner| owner.0))?;
    arguments.add(transition.key.shard.0)?;
    arguments.add(transition.key.run_id.0)?;
    arguments.add(request.namespace.as_str())?;
    arguments.add(request.workflow_id.as_str())?;
    arguments.add(request.workflow_type.as_str())?;
    arguments.add(request.task_queue.as_str())?;
    arguments.add(i16::from(request.priority))?;
    arguments.add(transition.next_event_id())?;
    arguments.add(transition.signals as i64)?;
    arguments.add(item.events.as_slice())?;
    arguments.add(PgTime(started))?;
    arguments.add(request.memo.as_ref().map(|memo| memo.as_json().as_bytes()))?;
    arguments.add(request.search_attributes.as_ref().map(|attributes| attributes.as_json()))?;
    arguments.add(item.problem.as_deref())?;
    arguments.add(item.request.as_deref())?;
    arguments.add(PgTime(item.start.ready_at))?;
    if news.is_some() {
        add_news(&mut arguments, news)?;
        arguments.add(item.brought())?;
    }
    Ok(arguments)
}

/// Writes one transition without rows beside history; news only of one that closes its run.
pub(super) async fn append(
    connection: &mut PgConnection,
    item: &Encoded,
    news: Option<Notification>,
) -> Result<Verdict, sqlx::Error> {
    let statement = match (item.transition.closes, &news) {
        (None, _) => APPEND,
        (Some(_), None) => CLOSE,
        (Some(_), Some(_)) => CLOSE_SAYING,
    };
    let arguments = append_arguments(item, news).map_err(sqlx::Error::Encode)?;
    let row = sqlx::query_with(statement, arguments).fetch_one(connection).await?;
    verdict(&row)
}

fn append_arguments(item: &Encoded, news: Option<Notification>) -> Result<PgArguments, BoxDynError> {
    let Encoded { transition, owner, owner_epoch, next_event_id, events, problem, .. } = item;
    let mut arguments = PgArguments::default();
    arguments.reserve(12, events.as_ref().map_or(0, Vec::len) + 256);
    arguments.add(transition.key.shard.0)?;
    arguments.add(transition.key.run_id.0)?;
    arguments.add(owner.map(|owner| owner.0))?;
    arguments.add(owner_epoch)?;
    arguments.add(transition.first_event_id)?;
    arguments.add(next_event_id)?;
    arguments.add(transition.signals as i64)?;
    arguments.add(events.as_deref())?;
    match transition.closes {
        Some(status) => arguments.add(status.as_str())?,
        None => {
            arguments.add(i16::from(transition.problem != ProblemChange::Keep))?;
            arguments.add(problem.as_deref())?;
        }
    }
    arguments.add(consumed(transition))?;
    add_news(&mut arguments, news)?;
    Ok(arguments)
}

fn consumed(transition: &Transition) -> Vec<uuid::Uuid> {
    transition.consumed.iter().map(|message| message.0).collect()
}

fn add_news(arguments: &mut PgArguments, news: Option<Notification>) -> Result<(), BoxDynError> {
    let Some((channel, payload)) = news else { return Ok(()) };
    arguments.add(channel)?;
    arguments.add(payload)
}

fn verdict(row: &PgRow) -> Result<Verdict, sqlx::Error> {
    Ok(if row.try_get("applied")? {
        Verdict::Applied
    } else if row.try_get("unconsumed")? {
        Verdict::Unconsumed
    } else {
        Verdict::Fenced
    })
}
