//! Runs, events, results and workers as JSON for programs. Times are RFC 3339; user data stays as it is.

use dacapo_core::{
    Event, Failure, Payload, RunId, Timestamp,
    lineage::BranchedFrom,
    store::{BranchInfo, RunInfo, RunResult, WorkerInfo},
};
use dacapo_runtime::describe::{ActivityState, Description};
use serde_json::{Map, Value, json};

use super::time::rfc3339;

/// The fields of events that hold user data, which is never changed.
const USER_DATA: [&str; 6] = ["input", "result", "details", "last_heartbeat", "memo", "search_attributes"];

/// The fields of events that hold points in time.
const TIMES: [&str; 4] = ["started_at", "fire_at", "event_time", "until"];

/// Writes user data as JSON.
pub(crate) fn payload(payload: &Payload) -> Value {
    // A payload is JSON by construction; as text it would still be shown whole.
    serde_json::from_str(payload.as_json()).unwrap_or_else(|_| Value::from(payload.as_json()))
}

fn optional(value: Option<&Payload>) -> Value {
    value.map_or(Value::Null, payload)
}

fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| rfc3339(at).into())
}

fn failure(failure: Option<&Failure>) -> Value {
    failure.and_then(|failure| serde_json::to_value(failure).ok()).unwrap_or(Value::Null)
}

/// Writes a run as `ls` lists it.
pub(crate) fn run(info: &RunInfo) -> Value {
    json!({
        "workflow_id": info.workflow_id,
        "run_id": info.key.run_id,
        "namespace": info.namespace,
        "workflow_type": info.workflow_type,
        "task_queue": info.task_queue,
        "status": info.status.as_str(),
        "started_at": rfc3339(info.started_at),
        "closed_at": time(info.closed_at),
        "events": info.events,
        "memo": optional(info.memo.as_ref()),
        "search_attributes": optional(info.search_attributes.as_ref()),
    })
}

/// Writes an event.
pub(crate) fn event(event: &Event) -> Value {
    let kind = serde_json::to_value(&event.event).unwrap_or(Value::Null);
    let mut attributes = match kind {
        Value::Object(tagged) => tagged.into_iter().next().map_or(Value::Null, |(_, attributes)| attributes),
        other => other,
    };
    write_times(&mut attributes);
    json!({
        "event_id": event.event_id,
        "event_type": event.event.name(),
        "event_time": rfc3339(event.event_time),
        "attributes": attributes,
    })
}

/// Turns stored points in time into RFC 3339, leaving user data alone.
fn write_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut().filter(|(name, _)| !USER_DATA.contains(&name.as_str())) {
                let is_time = TIMES.contains(&name.as_str()) || name.ends_with("_at");
                match field.as_i64().filter(|_| is_time) {
                    Some(micros) => *field = rfc3339(Timestamp(micros)).into(),
                    None => write_times(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_times),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Writes the end of a run.
pub(crate) fn result(workflow_id: &str, run_id: RunId, result: &RunResult) -> Value {
    json!({
        "workflow_id": workflow_id,
        "run_id": run_id,
        "status": result.status.as_str(),
        "result": optional(result.result.as_ref()),
        "failure": failure(result.failure.as_ref()),
        "closed_at": rfc3339(result.closed_at),
    })
}

/// Writes a worker of the fleet.
pub(crate) fn worker(worker: &WorkerInfo) -> Value {
    json!({
        "worker_id": worker.worker,
        "identity": worker.identity,
        "build_id": worker.build_id,
        "queues": worker.queues,
        "workflow_types": worker.workflow_types,
        "activity_types": worker.activity_types,
        "started_at": rfc3339(worker.started_at),
        "lease_until": rfc3339(worker.lease_until),
        "slots": worker.slots,
        "busy": worker.busy,
        "owned_runs": worker.owned,
        "takes_starts": worker.takes_starts,
    })
}

/// Writes the run whose history another begins with.
fn branched_from(from: Option<&BranchedFrom>) -> Value {
    from.map_or(Value::Null, |from| {
        json!({
            "kind": from.kind,
            "workflow_id": from.workflow_id,
            "run_id": from.run_id,
            "event_id": from.event_id,
            "at": rfc3339(from.at),
            "reason": from.reason,
        })
    })
}

/// Writes a run that begins with another's history.
fn branch(branch: &BranchInfo) -> Value {
    json!({
        "kind": branch.kind,
        "workflow_id": branch.workflow_id,
        "run_id": branch.run_id,
        "event_id": branch.event_id,
        "at": rfc3339(branch.at),
    })
}

/// Writes what a run waits for.
pub(crate) fn description(description: &Description) -> Value {
    let stored = &description.run;
    let mut value = run(&stored.info);
    let more = json!({
        "owner": description.owner.as_ref().map(worker),
        "owner_epoch": stored.owner_epoch,
        "ready_at": time(stored.ready_at),
        "inbox": stored.inbox,
        "parked": stored.parked,
        "branched_from": branched_from(description.branched_from.as_ref()),
        "branches": stored.branches.iter().map(branch).collect::<Vec<_>>(),
        "deadline": time(description.deadline),
        "pending_activities": description.activities.iter().map(activity).collect::<Vec<_>>(),
        "timers": description.timers.iter()
            .map(|(id, at)| json!({"timer_id": id, "fire_at": rfc3339(*at)}))
            .collect::<Vec<_>>(),
        "waits_for": description.reasons.iter().map(|reason| {
            let mut value = serde_json::to_value(reason).unwrap_or(Value::Null);
            write_times(&mut value);
            if let Value::Object(fields) = &mut value {
                fields.insert("text".to_owned(), reason.sentence(&rfc3339).into());
            }
            value
        }).collect::<Vec<_>>(),
        "result": stored.result.as_ref().map(|end| result(stored.info.workflow_id.as_str(), stored.info.key.run_id, end)),
        "now": rfc3339(stored.now),
    });
    if let (Value::Object(fields), Value::Object(more)) = (&mut value, more) {
        fields.extend::<Map<String, Value>>(more);
    }
    value
}

fn activity(activity: &ActivityState) -> Value {
    json!({
        "activity_id": activity.activity_id,
        "activity_type": activity.activity_type,
        "task_queue": activity.task_queue,
        "attempt": activity.attempt,
        "scheduled_at": rfc3339(activity.scheduled_at),
        "next_attempt_at": time(activity.next_attempt_at),
        "started_at": time(activity.started_at),
        "worker": activity.worker,
        "last_failure": failure(activity.last_failure.as_ref()),
        "last_heartbeat": optional(activity.last_heartbeat.as_ref()),
        "cancel_requested": activity.cancel_requested,
        "paused": activity.paused,
        "asynchronous": activity.asynchronous,
    })
}

#[cfg(test)]
mod tests {
    use dacapo_core::{EventKind, event::TimerStarted};
    use expect_test::expect;

    use super::*;

    #[test]
    fn an_event_has_rfc3339_times() {
        let timer = TimerStarted { timer_id: 2, fire_at: Timestamp(1_767_225_600_000_000) };
        let stored =
            Event { event_id: 5, event_time: Timestamp(1_767_225_599_000_000), event: EventKind::TimerStarted(timer) };
        expect![[r#"
            {
              "attributes": {
                "fire_at": "2026-01-01T00:00:00.000000Z",
                "timer_id": 2
              },
              "event_id": 5,
              "event_time": "2025-12-31T23:59:59.000000Z",
              "event_type": "TimerStarted"
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&event(&stored)).unwrap());
    }

    #[test]
    fn user_data_is_never_taken_for_a_time() {
        let mut value = json!({"started_at": 0, "input": {"started_at": 0}, "failure": {"details": {"fire_at": 1}}});
        write_times(&mut value);
        assert_eq!(
            value,
            json!({"started_at": "1970-01-01T00:00:00.000000Z", "input": {"started_at": 0},
                   "failure": {"details": {"fire_at": 1}}})
        );
    }
}
