//! Branches of runs: a reset ends an open source and begins the new run, a fork only begins it; each is one transaction.
//!
//! The source of a reset is locked like a run that somebody terminates, whoever owns it: from the lock on no owner, sender
//! or claimer can reach it, and the next statement sees what they wrote before. The new run begins under owner epoch 1,
//! without an owner: a claim reads rows of activities only where somebody may have written some, from epoch 2 on.

use dacapo_core::{
    Event, RunId, RunKey, Shard, WorkerId,
    branch::{BranchPlan, BranchRun},
    lineage::BranchKind,
    store::{BranchInfo, BranchOutcome, LoadedRun, StartWrite, StoreError, StoreResult},
    transition::Successor,
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    PgStore,
    committer::{Verdict, flush_transition, start_branch},
    error::{Trouble, store_error, trouble},
    hints::Hints,
    load::{LOAD, read_events, read_loaded},
    time::PgTime,
};

const LOCK: &str = "SELECT owner FROM dacapo.runs_open WHERE shard = $1 AND run_id = $2 FOR UPDATE";

const HISTORY: &str = "SELECT h.first_event_id, h.events FROM dacapo.transitions h
    WHERE h.shard = $1 AND h.run_id = $2 ORDER BY h.first_event_id";

const REQUESTED: &str = "SELECT run_id FROM dacapo.start_requests
    WHERE shard = $1 AND namespace = $2 AND workflow_id = $3 AND request_id = $4";

const REMEMBER: &str = "INSERT INTO dacapo.start_requests (shard, namespace, workflow_id, request_id, run_id)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

const OPEN: &str = "SELECT run_id FROM dacapo.runs_open WHERE namespace = $1 AND workflow_id = $2";

const RECORD: &str = "
WITH begun AS (
    UPDATE dacapo.runs_open SET owner_epoch = 1, first_run_id = $4 WHERE shard = $1 AND run_id = $2
), settled AS (
    DELETE FROM dacapo.dead_activities WHERE shard = $3 AND run_id = $5 AND $6 = 'Reset'
)
INSERT INTO dacapo.branches (shard, run_id, branch, kind, workflow_id, event_id) VALUES ($3, $5, $2, $6, $7, $8)";

const BRANCHES: &str = "SELECT branch, kind, workflow_id, event_id, branched_at FROM dacapo.branches
    WHERE shard = $1 AND run_id = $2 ORDER BY branched_at, branch";

/// How often a branch is tried that finds others in its way who are gone when it looks.
const TRIES_MAX: usize = 20;

/// What became of one try.
enum Tried {
    Done(BranchOutcome),
    /// Somebody was faster; the next try sees what they did.
    Overtaken,
}

/// The run in whose place the new one comes.
struct Replaced {
    run: RunKey,
    owner: Option<WorkerId>,
}

impl PgStore {
    /// Branches a run.
    pub(crate) async fn branch_run(&self, branch: &BranchRun) -> StoreResult<BranchOutcome> {
        for _ in 0..TRIES_MAX {
            match self.try_branch(branch).await {
                Ok(Ok(Tried::Done(outcome))) => return Ok(outcome),
                Ok(Ok(Tried::Overtaken)) => {}
                Ok(Err(error)) => return Err(error),
                Err(error) if trouble(&error) == Trouble::Repeat => {}
                Err(error) => return Err(store_error(error)),
            }
        }
        let problem = format!("run {} is changed by others all the time", branch.source.run_id);
        Err(StoreError::Unavailable { problem })
    }

    async fn try_branch(&self, branch: &BranchRun) -> Result<StoreResult<Tried>, sqlx::Error> {
        let mut transaction = self.hot.begin().await?;
        let source = match read_source(&mut transaction, branch).await? {
            Ok(Some(source)) => source,
            Ok(None) => return Ok(Ok(Tried::Done(BranchOutcome::NotFound))),
            Err(error) => return Ok(Err(error)),
        };
        if let Some(run) = requested(&mut transaction, branch, source.events()).await? {
            return Ok(Ok(Tried::Done(BranchOutcome::Duplicate { run })));
        }
        let mut replaced = None;
        let (now, unsaid) = (self.hints.now(), self.hints.unsaid());
        let successor = match source {
            Source::Open(loaded) => {
                let run = loaded.key;
                let (transition, owner, owner_epoch) = match branch.in_place_of(*loaded, now) {
                    Ok(planned) => planned,
                    Err(refused) => return Ok(Ok(Tried::Done(BranchOutcome::Refused(refused)))),
                };
                let Some(successor) = transition.successor.clone() else { return Ok(Ok(Tried::Overtaken)) };
                let verdict = flush_transition(&mut transaction, transition, owner, owner_epoch, &unsaid).await?;
                if verdict != Verdict::Applied || !remember(&mut transaction, branch, &successor).await? {
                    return Ok(Ok(Tried::Overtaken));
                }
                replaced = Some(Replaced { run, owner });
                successor
            }
            Source::History(events) => {
                let successor = match branch.beside(&events, now) {
                    Ok(planned) => planned,
                    Err(refused) => return Ok(Ok(Tried::Done(BranchOutcome::Refused(refused)))),
                };
                let mut start = start_of(&successor);
                start.request.request_id = Some(branch.remembered_by());
                if !start_branch(&mut transaction, start).await? {
                    transaction.rollback().await?;
                    let open = self.open_under(&successor).await?;
                    let blocked = |run_id| Tried::Done(BranchOutcome::AlreadyOpen { run_id });
                    return Ok(Ok(open.map_or(Tried::Overtaken, blocked)));
                }
                successor
            }
        };
        let event_id = record(&mut transaction, branch, &successor).await?;
        transaction.commit().await?;
        self.hints.say(&unsaid);
        tell(&self.hints, &successor, replaced);
        Ok(Ok(Tried::Done(BranchOutcome::Branched { run: successor.request.key(), event_id })))
    }

    /// The open run that has the new run's workflow id, unless the request itself was carried out meanwhile.
    async fn open_under(&self, successor: &Successor) -> Result<Option<RunId>, sqlx::Error> {
        let request = &successor.request;
        let query = sqlx::query(OPEN).bind(request.namespace.as_str()).bind(request.workflow_id.as_str());
        let row = query.fetch_optional(&self.hot).await?;
        Ok(row.map(|row| RunId(row.get("run_id"))).filter(|open| *open != request.run_id))
    }

    /// Lists what was branched from a run.
    pub(crate) async fn read_branches(&self, run: RunKey) -> StoreResult<Vec<BranchInfo>> {
        let query = sqlx::query(BRANCHES).bind(run.shard.0).bind(run.run_id.0);
        query.fetch_all(&self.read).await.map_err(store_error)?.iter().map(read_branch).collect()
    }
}

/// What is copied.
enum Source {
    /// A run that is reset while it is open, under its lock.
    Open(Box<LoadedRun>),
    /// The history of a run that stays as it is.
    History(Vec<Event>),
}

impl Source {
    fn events(&self) -> &[Event] {
        match self {
            Self::Open(loaded) => &loaded.events,
            Self::History(events) => events,
        }
    }
}

/// Reads the source, and locks it where it is to be replaced. `None`: there is none.
async fn read_source(
    connection: &mut PgConnection,
    branch: &BranchRun,
) -> Result<StoreResult<Option<Source>>, sqlx::Error> {
    let RunKey { shard, run_id } = branch.source;
    if matches!(branch.plan, BranchPlan::Reset(_)) {
        let locked = sqlx::query(LOCK).bind(shard.0).bind(run_id.0).fetch_optional(&mut *connection).await?;
        if locked.is_some() {
            // The next statement: whatever was sent before the lock is in its snapshot.
            let query = sqlx::query(LOAD).bind(vec![shard.0]).bind(vec![run_id.0]);
            let loaded = read_loaded(&query.fetch_one(&mut *connection).await?);
            return Ok(loaded.map(|loaded| Some(Source::Open(Box::new(loaded)))));
        }
    }
    let rows = sqlx::query(HISTORY).bind(shard.0).bind(run_id.0).fetch_all(&mut *connection).await?;
    let mut events = Vec::new();
    for row in rows {
        match read_events(branch.source, row.get("first_event_id"), row.get("events")) {
            Ok(read) => events.extend(read),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok((!events.is_empty()).then_some(Source::History(events))))
}

/// Finds the run that the same request led to before.
async fn requested(
    connection: &mut PgConnection,
    branch: &BranchRun,
    source: &[Event],
) -> Result<Option<RunKey>, sqlx::Error> {
    let Some((namespace, workflow_id)) = branch.new_name(source) else { return Ok(None) };
    let shard = Shard::of(&namespace, &workflow_id);
    let row = sqlx::query(REQUESTED)
        .bind(shard.0)
        .bind(namespace.as_str())
        .bind(workflow_id.as_str())
        .bind(branch.remembered_by())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| RunKey { shard, run_id: RunId(row.get("run_id")) }))
}

/// Remembers the run that a request led to. `false`: it led to another.
async fn remember(
    connection: &mut PgConnection,
    branch: &BranchRun,
    successor: &Successor,
) -> Result<bool, sqlx::Error> {
    let request = &successor.request;
    let done = sqlx::query(REMEMBER)
        .bind(request.key().shard.0)
        .bind(request.namespace.as_str())
        .bind(request.workflow_id.as_str())
        .bind(branch.remembered_by())
        .bind(request.run_id.0)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Completes the rows of a new run and links its source to it. Gives the last event that was copied.
async fn record(connection: &mut PgConnection, branch: &BranchRun, successor: &Successor) -> Result<i64, sqlx::Error> {
    let (request, lineage) = (&successor.request, successor.request.lineage.as_deref());
    let event_id = lineage.and_then(|it| it.branched_from.as_ref()).map_or(0, |from| from.event_id);
    sqlx::query(RECORD)
        .bind(request.key().shard.0)
        .bind(request.run_id.0)
        .bind(branch.source.shard.0)
        .bind(lineage.and_then(|it| it.first_run_id).map(|first| first.0))
        .bind(branch.source.run_id.0)
        .bind(kind_name(branch.kind()))
        .bind(request.workflow_id.as_str())
        .bind(event_id)
        .execute(connection)
        .await?;
    Ok(event_id)
}

fn start_of(successor: &Successor) -> StartWrite {
    let Successor { request, transition, ready_at, .. } = successor.clone();
    StartWrite { request, transition, owner: None, ready_at }
}

/// Tells whoever waits for the old run, owned it, or may take the new one.
fn tell(hints: &Hints, successor: &Successor, replaced: Option<Replaced>) {
    if let Some(Replaced { run, owner }) = replaced {
        hints.closed(run);
        if let Some(owner) = owner {
            hints.replaced(owner, run);
        }
    }
    hints.runs_ready(&successor.request.task_queue, successor.ready_at);
    for row in &successor.transition.activities {
        hints.activities_ready(&row.task.task_queue, row.visible_at);
    }
    hints.send();
}

fn kind_name(kind: BranchKind) -> &'static str {
    match kind {
        BranchKind::Reset => "Reset",
        BranchKind::Fork => "Fork",
    }
}

fn read_branch(row: &PgRow) -> StoreResult<BranchInfo> {
    let kind = match row.get("kind") {
        "Reset" => BranchKind::Reset,
        "Fork" => BranchKind::Fork,
        other => {
            let problem = format!("a branch has the kind `{other}`, which this binary does not know");
            return Err(StoreError::Corrupt { problem });
        }
    };
    Ok(BranchInfo {
        kind,
        workflow_id: row.get::<String, _>("workflow_id").into(),
        run_id: RunId(row.get::<Uuid, _>("branch")),
        event_id: row.get("event_id"),
        at: row.get::<PgTime, _>("branched_at").0,
    })
}
