//! Loads of runs: everything that belongs to a run, in one snapshot, after its claim has committed.

use dacapo_core::{
    Event, Failure, Message, MessageBody, MessageId, RunId, RunKey, Shard, WorkerId, batch,
    store::{LoadedRun, StoreError, StoreResult},
    transition::{ActivityRow, ActivityTask, AttemptState},
};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    PgStore,
    error::{corrupt, store_error},
    results::payload,
    time::PgTime,
};

/// One statement, so one snapshot: separate reads would see a message neither in the inbox nor in the history.
pub(crate) const LOAD: &str = "
SELECT r.shard, r.run_id, r.owner, r.owner_epoch, r.next_event_id,
       ARRAY(SELECT h.events FROM dacapo.history h WHERE h.shard = r.shard AND h.run_id = r.run_id
              ORDER BY h.first_event_id) AS events,
       b.messages, b.bodies,
       a.ids, a.attempts, a.visible, a.claimers, a.tasks, a.failures, a.details
  FROM unnest($1::int2[], $2::uuid[]) k (shard, run_id),
       LATERAL (SELECT * FROM dacapo.runs_open o WHERE o.shard = k.shard AND o.run_id = k.run_id OFFSET 0) r,
       LATERAL (SELECT array_agg(b.message ORDER BY b.message) AS messages, array_agg(b.body ORDER BY b.message) AS bodies
                  FROM dacapo.inbox b WHERE b.shard = k.shard AND b.run_id = k.run_id) b,
       LATERAL (SELECT array_agg(a.activity_id) AS ids, array_agg(a.attempt) AS attempts,
                       array_agg(a.visible_at) AS visible, array_agg(a.claimed_by) AS claimers,
                       array_agg(a.task) AS tasks, array_agg(a.last_failure) AS failures,
                       array_agg(a.last_heartbeat) AS details
                  FROM dacapo.activities a WHERE a.shard = k.shard AND a.run_id = k.run_id) a";

impl PgStore {
    /// Reads runs; those that are gone are missing in the answer, and so are those that cannot be read, unless there is
    /// no other: one that is corrupt is reported, and does not keep the others from going on.
    pub(crate) async fn load_runs(&self, runs: &[RunKey]) -> StoreResult<Vec<LoadedRun>> {
        let rows = sqlx::query(LOAD)
            .bind(runs.iter().map(|run| run.shard.0).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| run.run_id.0).collect::<Vec<_>>())
            .fetch_all(&self.hot)
            .await
            .map_err(store_error)?;
        let (mut loaded, mut corrupt) = (Vec::with_capacity(rows.len()), None);
        for row in &rows {
            match read_loaded(row) {
                Ok(run) => loaded.push(run),
                Err(error) => {
                    tracing::error!(%error, "a run cannot be loaded");
                    corrupt = Some(error);
                }
            }
        }
        match corrupt {
            Some(error) if loaded.is_empty() => Err(error),
            _ => Ok(loaded),
        }
    }
}

/// Reads a row of [`LOAD`].
pub(crate) fn read_loaded(row: &PgRow) -> StoreResult<LoadedRun> {
    let key = RunKey { shard: Shard(row.get("shard")), run_id: RunId(row.get("run_id")) };
    let mut events = Vec::new();
    for bytes in row.get::<Vec<Vec<u8>>, _>("events") {
        events.extend(read_events(key, events.len() as i64 + 1, &bytes)?);
    }
    let owner_epoch: i32 = row.get("owner_epoch");
    let next_event_id: i64 = row.get("next_event_id");
    // Of a run that has an owner the row lags behind (docs/ownership-protocol.md); no row is ahead.
    if (events.len() as i64 + 1) < next_event_id {
        let problem = format!("run {} has {} events, its row says {}", key.run_id, events.len(), next_event_id - 1);
        return Err(StoreError::Corrupt { problem });
    }
    let owner = row.get::<Option<Uuid>, _>("owner").map(WorkerId);
    Ok(LoadedRun {
        key,
        owner,
        owner_epoch,
        events,
        inbox: read_messages(key, row)?,
        activities: activities(key, row)?,
    })
}

/// Reads the events of one row of history.
pub(crate) fn read_events(run: RunKey, first_event_id: i64, bytes: &[u8]) -> StoreResult<Vec<Event>> {
    batch::decode(run.run_id, first_event_id, bytes)
        .map_err(|error| corrupt(&format!("the history of run {}", run.run_id), &error))
}

/// Reads a message of an inbox.
pub(crate) fn read_message(run: RunKey, id: Uuid, body: &[u8]) -> StoreResult<Message> {
    let body: MessageBody = serde_json::from_slice(body)
        .map_err(|error| corrupt(&format!("message {id} to run {}", run.run_id), &error))?;
    Ok(Message { id: MessageId(id), body })
}

/// Stands between the JSON of an attempt and that of its state, if it has one: JSON never has this byte.
pub(crate) const STATE_MARK: u8 = 0x1e;

/// Reads the JSON of an attempt.
pub(crate) fn read_task(run: RunKey, bytes: &[u8]) -> StoreResult<ActivityTask> {
    let task = bytes.split(|byte| *byte == STATE_MARK).next().unwrap_or_default();
    serde_json::from_slice(task).map_err(|error| corrupt(&format!("an activity task of run {}", run.run_id), &error))
}

/// Reads what operators and the attempt itself have made of an activity, behind the JSON of the attempt.
pub(crate) fn read_state(run: RunKey, bytes: &[u8]) -> StoreResult<AttemptState> {
    let Some(state) = bytes.split(|byte| *byte == STATE_MARK).nth(1) else { return Ok(AttemptState::default()) };
    serde_json::from_slice(state)
        .map_err(|error| corrupt(&format!("the state of an activity of run {}", run.run_id), &error))
}

/// Reads the JSON of a failure.
pub(crate) fn read_failure(run: RunKey, bytes: &[u8]) -> StoreResult<Failure> {
    serde_json::from_slice(bytes).map_err(|error| corrupt(&format!("a failure of run {}", run.run_id), &error))
}

fn read_messages(run: RunKey, row: &PgRow) -> StoreResult<Vec<Message>> {
    let ids: Option<Vec<Uuid>> = row.get("messages");
    let bodies: Option<Vec<Vec<u8>>> = row.get("bodies");
    let pairs = ids.into_iter().flatten().zip(bodies.into_iter().flatten());
    pairs.map(|(id, body)| read_message(run, id, &body)).collect()
}

fn activities(run: RunKey, row: &PgRow) -> StoreResult<Vec<(ActivityRow, Option<WorkerId>)>> {
    let Some(ids) = row.get::<Option<Vec<i64>>, _>("ids") else { return Ok(Vec::new()) };
    let attempts: Vec<i32> = row.get("attempts");
    let visible: Vec<PgTime> = row.get("visible");
    let claimers: Vec<Option<Uuid>> = row.get("claimers");
    let tasks: Vec<Vec<u8>> = row.get("tasks");
    let failures: Vec<Option<Vec<u8>>> = row.get("failures");
    let details: Vec<Option<Vec<u8>>> = row.get("details");
    let mut activities = Vec::with_capacity(ids.len());
    for (at, id) in ids.into_iter().enumerate() {
        let task = read_task(run, &tasks[at])?;
        let activity = ActivityRow {
            activity_id: id as u64,
            attempt: attempts[at] as u32,
            visible_at: visible[at].0,
            claimed_by_owner: claimers[at].is_some() && claimers[at] == row.get::<Option<Uuid>, _>("owner"),
            last_failure: failures[at].as_deref().map(|bytes| read_failure(run, bytes)).transpose()?,
            last_heartbeat: details[at].as_deref().map(payload).transpose()?,
            state: read_state(run, &tasks[at])?,
            task: Box::new(task),
        };
        activities.push((activity, claimers[at].map(WorkerId)));
    }
    Ok(activities)
}
