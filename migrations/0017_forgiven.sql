-- A worker that has lived with a run for a while is not killed by it. Its death counts against those runs alone that it had
-- taken shortly before; a run that waits or works for hours, and whose workers die for other reasons, is never parked.

-- When its owner took it; null for one whose owner had it from its start.
ALTER TABLE dacapo.runs_open ADD COLUMN taken_at timestamptz;
-- When the worker last renewed its lease: until then it lived. How long its lease is says nothing about that.
ALTER TABLE dacapo.workers ADD COLUMN heard_at timestamptz;

-- The function is the one that there was, and notes the time in the row that it writes anyway.
DO $$
DECLARE
    before text;
    after  text;
BEGIN
    SELECT pg_get_functiondef(p.oid) INTO STRICT before
      FROM pg_proc p WHERE p.pronamespace = 'dacapo'::regnamespace AND p.proname = 'claim_v4';
    after := replace(before, 'owner_epoch = r.owner_epoch + 1, parked = false',
                             'owner_epoch = r.owner_epoch + 1, parked = false, taken_at = clock_timestamp()');
    IF after = before THEN
        RAISE EXCEPTION 'dacapo.claim_v4 is not the one of migration 0011';
    END IF;
    EXECUTE after;
END
$$;

-- As take_over_v1, and lets a death count only where the worker had taken the run within the `innocent_ms` before it was last
-- heard of. One that was never heard of by this name counts.
CREATE FUNCTION dacapo.take_over_v2(dead uuid, at_most bigint, takeovers_max integer, innocent_ms bigint)
RETURNS TABLE (shard smallint, run_id uuid, task_queue text, parked boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    places  tid[];
    nexts   bigint[];
    suspect timestamptz;
BEGIN
    SELECT array_agg(l.tid) INTO places
      FROM (SELECT r.ctid AS tid FROM dacapo.runs_open r WHERE r.owner = dead LIMIT at_most
               FOR NO KEY UPDATE SKIP LOCKED) l;
    IF places IS NULL THEN
        RETURN;
    END IF;
    SELECT w.heard_at - innocent_ms * interval '1 ms' INTO suspect
      FROM dacapo.workers w WHERE w.worker = take_over_v2.dead;
    -- What the dead worker had written before the locks is in this snapshot, and it writes nothing after them.
    SELECT array_agg(dacapo.next_event_v1(r.shard, r.run_id, r.next_event_id)), array_agg(r.ctid)
      INTO nexts, places FROM dacapo.runs_open r WHERE r.ctid = ANY (places);
    RETURN QUERY
    WITH counted AS (
        SELECT k.tid, k.next, c.takeovers
          FROM unnest(places, nexts) k (tid, next)
               JOIN dacapo.runs_open r ON r.ctid = k.tid,
               LATERAL (SELECT CASE WHEN k.next > r.progress_event_id OR COALESCE(r.taken_at, r.started_at) <= suspect
                                    THEN 1 ELSE r.takeovers + 1 END AS takeovers) c
    ), taken AS (
        UPDATE dacapo.runs_open r
           SET owner = NULL, owner_epoch = r.owner_epoch + 1, next_event_id = k.next, progress_event_id = k.next,
               takeovers = k.takeovers, parked = k.takeovers >= takeovers_max,
               parked_at = CASE WHEN k.takeovers >= takeovers_max THEN clock_timestamp() END
          FROM counted k WHERE r.ctid = k.tid
        RETURNING r.shard, r.run_id, r.namespace, r.task_queue, r.workflow_type, r.priority, r.parked
    ), marked AS (
        INSERT INTO dacapo.ready AS y (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
        SELECT t.shard, t.run_id, t.namespace, t.task_queue, t.workflow_type, t.priority, clock_timestamp() FROM taken t
         WHERE NOT t.parked ORDER BY t.run_id, t.shard
        ON CONFLICT ON CONSTRAINT ready_pkey DO UPDATE SET visible_at = LEAST(y.visible_at, excluded.visible_at)
    )
    SELECT t.shard, t.run_id, t.task_queue, t.parked FROM taken t;
END
$$;
