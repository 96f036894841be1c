-- Rows of history begin with the number of their format, as text, and name types and attributes of events by a letter or two
-- (docs/history-format.md): each byte of a row is written four times, and names were a quarter of it. Rows from before stay
-- as they are. The view shows both alike, with the names spelled out.

-- The short names, as `engine/core/src/batch/names.rs` has them.
CREATE FUNCTION dacapo.short_names_v1() RETURNS TABLE (of_type boolean, name text, short text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    VALUES
    (true, 'WorkflowExecutionStarted', 'Wb'),
    (true, 'WorkflowExecutionSignaled', 'Wg'),
    (true, 'WorkflowExecutionCancelRequested', 'Wr'),
    (true, 'WorkflowExecutionCompleted', 'Wc'),
    (true, 'WorkflowExecutionFailed', 'Wf'),
    (true, 'WorkflowTaskScheduled', 'Ts'),
    (true, 'WorkflowTaskStarted', 'Tb'),
    (true, 'WorkflowTaskCompleted', 'Tc'),
    (true, 'WorkflowTaskFailed', 'Tf'),
    (true, 'WorkflowTaskTimedOut', 'Tt'),
    (true, 'ActivityTaskScheduled', 'As'),
    (true, 'ActivityTaskStarted', 'Ab'),
    (true, 'ActivityTaskCompleted', 'Ac'),
    (true, 'ActivityTaskFailed', 'Af'),
    (true, 'ActivityTaskTimedOut', 'At'),
    (true, 'ActivityTaskCancelRequested', 'Ar'),
    (true, 'ActivityTaskCanceled', 'Ax'),
    (true, 'TimerStarted', 'Mb'),
    (true, 'TimerFired', 'Mf'),
    (true, 'TimerCanceled', 'Mx'),
    (true, 'StartChildWorkflowExecutionInitiated', 'Ci'),
    (true, 'ChildWorkflowExecutionStarted', 'Cb'),
    (true, 'ChildWorkflowExecutionCompleted', 'Cc'),
    (true, 'ChildWorkflowExecutionFailed', 'Cf'),
    (true, 'SignalExternalWorkflowExecutionInitiated', 'Gi'),
    (true, 'ExternalWorkflowExecutionSignaled', 'Gg'),
    (true, 'WorkflowExecutionUpdateAccepted', 'Ua'),
    (true, 'WorkflowExecutionUpdateCompleted', 'Uc'),
    (true, 'MarkerRecorded', 'K'),
    (false, 'activity_id', 'a'),
    (false, 'started_event_id', 'b'),
    (false, 'child_id', 'c'),
    (false, 'fire_at', 'd'),
    (false, 'attempt', 'e'),
    (false, 'failure', 'f'),
    (false, 'signal_name', 'g'),
    (false, 'input', 'i'),
    (false, 'workflow_type', 'k'),
    (false, 'timer_id', 'm'),
    (false, 'workflow_id', 'n'),
    (false, 'options', 'o'),
    (false, 'task_queue', 'q'),
    (false, 'result', 'r'),
    (false, 'scheduled_event_id', 's'),
    (false, 'started_at', 't'),
    (false, 'initiated_event_id', 'v'),
    (false, 'identity', 'w'),
    (false, 'activity_type', 'y')
$$;

CREATE OR REPLACE VIEW dacapo.events AS
    SELECT h.shard, h.run_id, h.first_event_id + e.place - 1 AS event_id,
           to_timestamp(e.micros / 1000000) AS event_time, COALESCE(t.name, k.key) AS event_type,
           CASE WHEN e.is_short THEN (
               SELECT COALESCE(json_object_agg(COALESCE(n.name, v.key), v.value ORDER BY v.at), '{}')
                 FROM json_each(k.value) WITH ORDINALITY v (key, value, at)
                      LEFT JOIN dacapo.short_names_v1() n ON NOT n.of_type AND n.short = v.key)
           ELSE k.value END AS attributes, h.owner_epoch, h.written_at
      FROM dacapo.transitions h
     CROSS JOIN LATERAL (
           SELECT n.value, json_typeof(n.value) AS shape, n.at > 1 OR json_typeof(n.value) <> 'string' AS is_event,
                  first_value(json_typeof(n.value)) OVER so_far = 'string' AS is_short,
                  sum((n.value #>> '{}')::numeric) FILTER (WHERE json_typeof(n.value) = 'number') OVER so_far AS micros,
                  count(*) FILTER (WHERE json_typeof(n.value) <> 'number' AND NOT (n.at = 1 AND json_typeof(n.value) = 'string'))
                      OVER so_far AS place
             FROM json_array_elements(convert_from(h.events, 'UTF8')::json) WITH ORDINALITY n (value, at)
           WINDOW so_far AS (ORDER BY n.at)) e
     CROSS JOIN LATERAL json_each(CASE WHEN NOT e.is_event THEN '{}'
                                       WHEN e.shape = 'object' THEN e.value
                                       WHEN e.shape = 'string' THEN json_build_object(e.value #>> '{}', '{}'::json)
                                       ELSE '{}' END) k
      LEFT JOIN LATERAL (SELECT n.name FROM dacapo.short_names_v1() n
                          WHERE e.is_short AND n.of_type AND n.short = k.key) t ON true;
