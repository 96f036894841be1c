//! Starts within a transaction of the caller's. Nobody may hear of them before it commits.

use std::{
    collections::HashMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use dacapo_core::{
    RunKey,
    store::{StartOutcome, StartWrite, StoreResult},
};
use sqlx::{PgConnection, Row};

use super::{
    between::{ARRAYS, BetweenArrays, parameters},
    hand::Handed,
    resolve::resolve,
    start::{Care, EncodedStart, START_PARAMETERS, arguments, order, start_together},
};
use crate::hints::Hints;

/// Handing over that is committed within this time counts from its statement.
const SHORT: Duration = Duration::from_millis(100);

const HAND_NOW: &str = "UPDATE dacapo.handed SET handed_at = clock_timestamp() WHERE worker = $1 AND handed_id = $2";

/// As a start with what only transitions between runs have, for a run that nobody owns and that has activities all the same.
static START_BRANCH: LazyLock<String> = LazyLock::new(|| {
    let start = parameters(2, START_PARAMETERS - 1);
    let between = parameters(START_PARAMETERS + 1, ARRAYS);
    format!(
        "SELECT s.may_own, s.refused, $1::boolean AS optimistic
           FROM dacapo.start_v1({start}) s,
                LATERAL (SELECT ARRAY(SELECT n::integer FROM generate_subscripts($4, 1) n
                                       WHERE n <> ALL (s.refused)) AS through) t,
                LATERAL dacapo.between_v1($3, $4, array_fill($2, ARRAY[cardinality($4)]), t.through, {between}) b"
    )
});

/// What became of starts.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    pub(crate) outcomes: HashMap<RunKey, StoreResult<StartOutcome>>,
    /// With whom they are, and since when.
    handed: Option<(Handed, Instant)>,
}

impl Begun {
    /// To be called before the commit. How long a start lies is counted from when its worker could see it: it tells whether
    /// that one is late, and whether others are to have it.
    pub(crate) async fn hand_over(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Some((Handed { worker, number }, since)) = self.handed else { return Ok(()) };
        if since.elapsed() < SHORT {
            return Ok(());
        }
        sqlx::query(HAND_NOW).bind(worker.0).bind(number).execute(connection).await.map(drop)
    }
}

/// Starts runs without an owner: for a worker that takes all of them, or for whoever claims them. Whom the caller has to tell
/// after the commit is in `unsaid`.
pub(crate) async fn start_all(
    connection: &mut PgConnection,
    starts: Vec<StartWrite>,
    care: &Care,
    unsaid: &Hints,
) -> Result<Begun, sqlx::Error> {
    if starts.is_empty() {
        return Ok(Begun::default());
    }
    let mut items: Vec<EncodedStart> = starts.into_iter().map(EncodedStart::new).collect();
    items.sort_unstable_by(|a, b| order(&a.start).cmp(&order(&b.start)));
    let works: Vec<&EncodedStart> = items.iter().collect();
    let optimistic = care.is_optimistic(&works);
    let (refused, handed) = start_together(connection, &works, unsaid.now(), optimistic).await?.unwrap_or_default();
    care.refused(&refused);
    let mut begun = Begun { handed: handed.map(|handed| (handed, Instant::now())), ..Begun::default() };
    for (place, work) in works.iter().enumerate() {
        let stood_in_the_way = refused.contains(&place);
        let outcome = match stood_in_the_way {
            true => resolve(connection, work, unsaid).await?,
            false => Ok(StartOutcome::Started),
        };
        if let Ok(StartOutcome::Started) = outcome
            && (stood_in_the_way || handed.is_none())
        {
            unsaid.runs_ready(&work.start.request.task_queue, work.start.ready_at);
        }
        begun.outcomes.insert(work.start.transition.key, outcome);
    }
    if let Some(Handed { worker, number }) = handed {
        let there = |(place, item): (usize, EncodedStart)| (!refused.contains(&place)).then_some(item);
        let started = items.into_iter().enumerate().filter_map(there);
        unsaid.handed(worker, number, started.map(|mut item| item.take_brought()).collect());
    }
    Ok(begun)
}

/// Starts a branch. `false`: something stands in its way.
pub(crate) async fn start_branch(connection: &mut PgConnection, start: StartWrite) -> Result<bool, sqlx::Error> {
    let item = EncodedStart::new(start);
    let works = [&item];
    let gathered = BetweenArrays::gather([(&item.start.transition, item.between.as_deref())].into_iter());
    let between = gathered.unwrap_or_default();
    let (_, arguments) = arguments(&works, None, false, Some(&between)).map_err(sqlx::Error::Encode)?;
    let statement: &'static str = &START_BRANCH;
    let row = sqlx::query_with(statement, arguments).fetch_one(connection).await?;
    Ok(row.try_get::<Vec<i32>, _>("refused")?.is_empty())
}
