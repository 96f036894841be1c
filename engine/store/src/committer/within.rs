//! Starts within a transaction of the caller's. Nobody may hear of them before it commits.

use std::{collections::HashMap, sync::LazyLock};

use dacapo_core::{
    RunKey, TaskQueue, Timestamp,
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

/// What became of starts, and who is to hear of them once their transaction has committed.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    pub(crate) outcomes: HashMap<RunKey, StoreResult<StartOutcome>>,
    /// With whom those are that were started.
    handed: Option<Handed>,
    /// Where they wait if they are with nobody, and from when on.
    ready: Vec<(TaskQueue, Timestamp)>,
}

impl Begun {
    /// Notes for the next hints who is to look.
    pub(crate) fn hint(&self, hints: &Hints) {
        if let Some(Handed { worker, number }) = self.handed {
            hints.handed(worker, number);
        }
        self.ready.iter().for_each(|(queue, ready_at)| hints.runs_ready(queue, *ready_at));
    }
}

/// Starts runs without an owner: for a worker that takes all of them, or for whoever claims them.
pub(crate) async fn start_all(
    connection: &mut PgConnection,
    starts: Vec<StartWrite>,
    care: &Care,
    hints: &Hints,
) -> Result<Begun, sqlx::Error> {
    if starts.is_empty() {
        return Ok(Begun::default());
    }
    let mut items: Vec<EncodedStart> = starts.into_iter().map(EncodedStart::new).collect();
    items.sort_unstable_by(|a, b| order(&a.start).cmp(&order(&b.start)));
    let works: Vec<&EncodedStart> = items.iter().collect();
    let optimistic = care.is_optimistic(&works);
    let (refused, handed) = start_together(connection, &works, hints.now(), optimistic).await?.unwrap_or_default();
    care.refused(&refused);
    let mut begun = Begun { handed, ..Begun::default() };
    for (place, work) in works.iter().enumerate() {
        let outcome = match refused.contains(&place) {
            true => resolve(connection, work, hints).await?,
            false => Ok(StartOutcome::Started),
        };
        if let (Ok(StartOutcome::Started), None) = (&outcome, handed) {
            begun.ready.push((work.start.request.task_queue.clone(), work.start.ready_at));
        }
        begun.outcomes.insert(work.start.transition.key, outcome);
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
