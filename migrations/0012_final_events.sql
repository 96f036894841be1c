-- The last transition of a run lies in the row that says it is closed: a row and an entry in an index less for every run.

ALTER TABLE dacapo.runs_closed ADD final_event_id bigint, ADD final_events bytea;
DO $$
BEGIN
    ALTER TABLE dacapo.runs_closed ALTER COLUMN final_events SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this server was built without lz4; the ends of histories are compressed with pglz';
END
$$;
COMMENT ON COLUMN dacapo.runs_closed.final_events IS
    'the events from final_event_id on, as in dacapo.history.events; NULL where they are in dacapo.history';
-- What they said the last event says, and always has.
ALTER TABLE dacapo.runs_closed DROP result, DROP failure;

-- Every transition of every run, wherever its row is.
CREATE VIEW dacapo.transitions AS
    SELECT shard, run_id, first_event_id, owner_epoch, written_at, events FROM dacapo.history
    UNION ALL
    SELECT shard, run_id, final_event_id, owner_epoch, closed_at, final_events FROM dacapo.runs_closed
     WHERE final_events IS NOT NULL;

-- As before, of all transitions.
CREATE OR REPLACE VIEW dacapo.events AS
    SELECT h.shard, h.run_id, h.first_event_id + e.place - 1 AS event_id,
           to_timestamp(e.micros / 1000000) AS event_time, k.key AS event_type,
           k.value AS attributes, h.owner_epoch, h.written_at
      FROM dacapo.transitions h
     CROSS JOIN LATERAL (
           SELECT n.value, json_typeof(n.value) AS shape,
                  sum((n.value #>> '{}')::numeric) FILTER (WHERE json_typeof(n.value) = 'number') OVER so_far AS micros,
                  count(*) FILTER (WHERE json_typeof(n.value) <> 'number') OVER so_far AS place
             FROM json_array_elements(convert_from(h.events, 'UTF8')::json) WITH ORDINALITY n (value, at)
           WINDOW so_far AS (ORDER BY n.at)) e
     CROSS JOIN LATERAL json_each(CASE e.shape WHEN 'object' THEN e.value
                                               WHEN 'string' THEN json_build_object(e.value #>> '{}', '{}'::json)
                                               ELSE '{}' END) k;

-- Nothing that was released calls these.
DROP FUNCTION dacapo.append_v1, dacapo.append_v2, dacapo.claim_v1, dacapo.claim_v2, dacapo.claim_v3;

-- As append_v2, which it replaces; the last transition of a run goes into the row that says it is closed, and rows that go
-- are not locked before.
CREATE FUNCTION dacapo.append_v3(
    i_shard smallint[], i_run uuid[], i_owner uuid[], i_epoch integer[], i_expected bigint[], i_next bigint[],
    i_signals bigint[], i_events bytea[], i_problem_change smallint[], i_problem bytea[], i_closes boolean[],
    c_item integer[], c_status text[],
    k_item integer[], k_message uuid[],
    a_item integer[] = '{}', a_id bigint[] = '{}', a_attempt integer[] = '{}', a_namespace text[] = '{}', a_queue text[] = '{}', a_type text[] = '{}',
    a_priority smallint[] = '{}', a_visible timestamptz[] = '{}', a_kept boolean[] = '{}', a_deadline timestamptz[] = '{}',
    a_start_to_close_ms bigint[] = '{}', a_heartbeat_ms bigint[] = '{}', a_close_at timestamptz[] = '{}', a_task bytea[] = '{}', a_failure bytea[] = '{}',
    a_details bytea[] = '{}',
    d_item integer[] = '{}', d_id bigint[] = '{}',
    x_item integer[] = '{}', x_id bigint[] = '{}',
    t_item integer[] = '{}', t_id bigint[] = '{}', t_fire timestamptz[] = '{}',
    u_item integer[] = '{}', u_id bigint[] = '{}',
    p_item integer[] = '{}', p_name text[] = '{}', p_value bytea[] = '{}',
    OUT applied integer[], OUT unconsumed integer[], OUT woken text[]
) LANGUAGE plpgsql AS $$
DECLARE
    items   integer   := cardinality(i_run);
    closed  integer[] := '{}';
    passed  boolean[];
    suspect integer[];
BEGIN
    applied := '{}';
    unconsumed := '{}';
    IF cardinality(c_item) > 0 THEN
        LOOP
            BEGIN
                WITH gone AS (
                    DELETE FROM dacapo.runs_open r
                     USING (SELECT k.item, k.place, l.tid
                              FROM unnest(c_item) WITH ORDINALITY k (item, place),
                                   LATERAL (SELECT o.ctid AS tid FROM dacapo.runs_open o
                                             WHERE o.shard = i_shard[k.item] AND o.run_id = i_run[k.item]
                                               AND o.owner IS NOT DISTINCT FROM i_owner[k.item]
                                               AND o.owner_epoch = i_epoch[k.item]
                                               AND o.next_event_id = i_expected[k.item] OFFSET 0) l
                             WHERE k.item <> ALL (unconsumed)) k
                     WHERE r.ctid = k.tid AND r.owner IS NOT DISTINCT FROM i_owner[k.item]
                       AND r.owner_epoch = i_epoch[k.item] AND r.next_event_id = i_expected[k.item]
                    RETURNING k.item, k.place, r.shard, r.run_id, r.namespace, r.workflow_id, r.workflow_type,
                              r.task_queue, r.priority, r.owner_epoch, r.started_at, r.memo, r.search_attributes
                ), filed AS (
                    INSERT INTO dacapo.runs_closed (shard, run_id, namespace, workflow_id, workflow_type, task_queue,
                           priority, owner_epoch, started_at, memo, search_attributes, closed_at, events, signals, status,
                           final_event_id, final_events)
                    SELECT g.shard, g.run_id, g.namespace, g.workflow_id, g.workflow_type, g.task_queue, g.priority,
                           g.owner_epoch, g.started_at, g.memo, g.search_attributes, clock_timestamp(),
                           i_next[g.item] - 1, i_signals[g.item], c_status[g.place], i_expected[g.item], i_events[g.item]
                      FROM gone g
                )
                SELECT COALESCE(array_agg(g.item), '{}') INTO closed FROM gone g;
                -- From here no sender can reach these runs, and the next snapshot holds what all senders before have
                -- written. Where that is more than the close knows of, all closes are taken back, and made again without
                -- those that met it. Looking before the rows are gone would mean to lock each of them first.
                SELECT array_agg(k.item) INTO suspect FROM unnest(closed) k (item)
                 WHERE EXISTS (SELECT FROM dacapo.inbox b
                                WHERE b.shard = i_shard[k.item] AND b.run_id = i_run[k.item] OFFSET 0);
                EXIT WHEN suspect IS NULL;
                SELECT array_agg(s.item) INTO suspect FROM unnest(suspect) s (item)
                 WHERE (SELECT count(*) FROM dacapo.inbox b WHERE b.shard = i_shard[s.item] AND b.run_id = i_run[s.item])
                     -- Distinct, because a message that was read twice is consumed twice, and must not stand for another.
                     > (SELECT count(DISTINCT k.message) FROM unnest(k_item, k_message) k (item, message),
                               LATERAL (SELECT FROM dacapo.inbox b WHERE b.shard = i_shard[k.item]
                                           AND b.run_id = i_run[k.item] AND b.message = k.message OFFSET 0) l
                         WHERE k.item = s.item);
                EXIT WHEN suspect IS NULL;
                RAISE SQLSTATE 'DC001';
            EXCEPTION WHEN SQLSTATE 'DC001' THEN
                unconsumed := unconsumed || suspect;
            END;
        END LOOP;
        DELETE FROM dacapo.ready WHERE ctid = ANY (ARRAY(
            SELECT l.tid FROM unnest(closed) k (item),
                   LATERAL (SELECT y.ctid AS tid FROM dacapo.ready y
                             WHERE y.shard = i_shard[k.item] AND y.run_id = i_run[k.item] OFFSET 0) l));
    END IF;
    IF cardinality(c_item) < items THEN
        -- The fence is asked of the row itself once more: where the update waits for somebody who changes the row, the
        -- newer row is held against these conditions, and against no ctid.
        WITH moved AS (
            UPDATE dacapo.runs_open r
               SET next_event_id = i_next[k.item], signals = i_signals[k.item],
                   problem = CASE i_problem_change[k.item] WHEN 0 THEN r.problem ELSE i_problem[k.item] END
              FROM (SELECT k.item, l.tid
                      FROM unnest(i_closes) WITH ORDINALITY k (closes, item),
                           LATERAL (SELECT o.ctid AS tid FROM dacapo.runs_open o
                                     WHERE o.shard = i_shard[k.item] AND o.run_id = i_run[k.item]
                                       AND o.owner IS NOT DISTINCT FROM i_owner[k.item]
                                       AND o.owner_epoch = i_epoch[k.item] AND o.next_event_id = i_expected[k.item]
                                    OFFSET 0) l
                     WHERE NOT k.closes) k
             WHERE r.ctid = k.tid AND r.owner IS NOT DISTINCT FROM i_owner[k.item]
               AND r.owner_epoch = i_epoch[k.item] AND r.next_event_id = i_expected[k.item]
            RETURNING k.item
        )
        SELECT COALESCE(array_agg(m.item::integer), '{}') INTO applied FROM moved m;
    END IF;
    applied := applied || closed;
    IF cardinality(applied) = items THEN
        passed := array_fill(true, ARRAY[items]);
    ELSE
        SELECT array_agg(n = ANY (applied) ORDER BY n) INTO passed FROM generate_series(1, items) n;
    END IF;
    IF cardinality(c_item) < items THEN
        INSERT INTO dacapo.history (shard, run_id, first_event_id, owner_epoch, events)
        SELECT i_shard[n.item], i_run[n.item], i_expected[n.item], i_epoch[n.item], n.events
          FROM unnest(i_events, i_closes) WITH ORDINALITY n (events, closes, item)
         WHERE NOT n.closes AND n.events IS NOT NULL AND passed[n.item];
    END IF;
    IF cardinality(k_item) > 0 THEN
        DELETE FROM dacapo.inbox WHERE ctid = ANY (ARRAY(
            SELECT l.tid FROM unnest(k_item, k_message) k (item, message),
                   LATERAL (SELECT b.ctid AS tid FROM dacapo.inbox b WHERE b.shard = i_shard[k.item]
                               AND b.run_id = i_run[k.item] AND b.message = k.message OFFSET 0) l
             WHERE passed[k.item]));
    END IF;
    IF cardinality(a_item) + cardinality(d_item) + cardinality(x_item) + cardinality(t_item) + cardinality(u_item)
       + cardinality(p_item) > 0 THEN
        woken := dacapo.rows_v1(i_shard, i_run, i_owner, passed, a_item, a_id, a_attempt, a_namespace, a_queue, a_type,
            a_priority, a_visible, a_kept, a_deadline, a_start_to_close_ms, a_heartbeat_ms, a_close_at, a_task,
            a_failure, a_details, d_item, d_id, x_item, x_id, t_item, t_id, t_fire, u_item, u_id, p_item, p_name,
            p_value);
    END IF;
END
$$;
