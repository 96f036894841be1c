//! Starts that are handed to a worker at once: it owns them from their first moment, and is told which they are.

use std::{collections::BTreeSet, sync::LazyLock};

use dacapo_core::{Timestamp, WorkerId, store::HandedId};
use sqlx::{
    Arguments, PgConnection, Row,
    error::BoxDynError,
    postgres::{PgArguments, PgRow},
};
use uuid::Uuid;

use super::{
    between::parameters,
    start::{EncodedStart, START_LEAN_PARAMETERS, START_PARAMETERS, refused, start_arguments},
};

/// A flush of starts for the worker that `dacapo.taker_v1` chooses; for nobody if there is none.
fn hand(start_parameters: usize) -> String {
    let first = start_parameters + 1;
    let (taker, rest) = (parameters(first, 3), parameters(3, start_parameters - 2));
    format!(
        "SELECT s.may_own, s.refused, t.taker, h.handed
           FROM dacapo.taker_v1({taker}) t (taker),
                LATERAL dacapo.start_v2($1, COALESCE($2, t.taker), {rest}) s,
                LATERAL dacapo.hand_v1(t.taker, s.may_own, s.refused, $3, $4, $10) h (handed)"
    )
}

static HAND: LazyLock<String> = LazyLock::new(|| hand(START_PARAMETERS));
static HAND_LEAN: LazyLock<String> = LazyLock::new(|| hand(START_LEAN_PARAMETERS));

/// The worker to which a flush of starts was handed, and the number by which it takes them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handed {
    pub(super) worker: WorkerId,
    pub(super) number: HandedId,
}

impl Handed {
    /// Reads the columns `taker` and `handed`.
    pub(super) fn read(row: &PgRow) -> Result<Option<Self>, sqlx::Error> {
        let worker = row.try_get::<Option<Uuid>, _>("taker")?.map(WorkerId);
        let number: Option<HandedId> = row.try_get("handed")?;
        Ok(worker.zip(number).map(|(worker, number)| Self { worker, number }))
    }
}

/// What a worker must serve to take all starts of a flush.
pub(super) struct Wanted<'a> {
    namespace: &'a str,
    queues: BTreeSet<&'a str>,
    types: BTreeSet<&'a str>,
}

impl<'a> Wanted<'a> {
    /// `None` where one of the starts has an owner, is for later or has rows for other runs, and where they are of several
    /// namespaces, which no worker serves.
    pub(super) fn of(works: &[&'a EncodedStart], now: Timestamp) -> Option<Self> {
        let requests = || works.iter().map(|work| &work.start.request);
        let namespace = requests().next()?.namespace.as_str();
        let may = works.iter().all(|work| work.waits(now) && !work.has_between())
            && requests().all(|request| request.namespace.as_str() == namespace);
        may.then(|| Self {
            namespace,
            queues: requests().map(|request| request.task_queue.as_str()).collect(),
            types: requests().map(|request| request.workflow_type.as_str()).collect(),
        })
    }

    fn bind(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        arguments.add(self.namespace)?;
        arguments.add(self.queues.iter().copied().collect::<Vec<_>>())?;
        arguments.add(self.types.iter().copied().collect::<Vec<_>>())
    }
}

/// Writes starts, for a worker that takes all of them if there is one. Gives the places of those that were not started, and
/// with whom the others are; `None` where the worker died in this moment and nothing was written.
pub(super) async fn hand_starts(
    connection: &mut PgConnection,
    items: &[&EncodedStart],
    optimistic: bool,
    wanted: &Wanted<'_>,
) -> Result<Option<(Vec<usize>, Option<Handed>)>, sqlx::Error> {
    let (is_lean, mut arguments) = start_arguments(items, None, optimistic).map_err(sqlx::Error::Encode)?;
    wanted.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
    let statement: &'static str = if is_lean { &HAND_LEAN } else { &HAND };
    let row = sqlx::query_with(statement, arguments).fetch_one(connection).await?;
    Ok(match refused(&row)? {
        Some(refused) => Some((refused, Handed::read(&row)?)),
        None => None,
    })
}
