-- A step of a run locks its row instead of changing it (docs/ownership-protocol.md): of what a step cost the database, a third
-- was the new version of a row in which nothing but the number of the next event was new.

-- What comes after the events of a row; NULL in the first rows of runs, and in those of older schemas, after which the row of
-- the run says it.
ALTER TABLE dacapo.history ADD next_event_id bigint;

-- The next event of an open run whose row says that it is this one at least.
CREATE FUNCTION dacapo.next_event_v1(of_shard smallint, of_run uuid, at_least bigint) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT GREATEST(at_least, (SELECT h.next_event_id FROM dacapo.history h
                                WHERE h.shard = of_shard AND h.run_id = of_run ORDER BY h.first_event_id DESC LIMIT 1))
$$;

COMMENT ON COLUMN dacapo.runs_open.next_event_id IS
    'the next event of a run without an owner; of one that has an owner, the history alone says it, and this may lag behind';

-- As before, with the events that the history has, which is a look for each open run of which they are wanted. A list takes
-- the last column, and looks for those that it shows.
CREATE OR REPLACE VIEW dacapo.runs AS
    SELECT shard, run_id, namespace, workflow_id, workflow_type, task_queue, 'Running'::text AS status, started_at,
           NULL::timestamptz AS closed_at,
           dacapo.next_event_v1(shard, run_id, next_event_id) - 1 AS events, owner, owner_epoch, parked, memo,
           search_attributes, next_event_id - 1 AS events_at_least
      FROM dacapo.runs_open
    UNION ALL
    SELECT shard, run_id, namespace, workflow_id, workflow_type, task_queue, status, started_at,
           closed_at, events, NULL::uuid, owner_epoch, false, memo, search_attributes, events
      FROM dacapo.runs_closed;

-- Nothing that was released calls these.
DROP FUNCTION dacapo.append_v3, dacapo.append_one_v1, dacapo.close_one_v1;

-- As append_v3, which it replaces; the row of a run that stays open is locked, and changes only where signals were received or
-- its problem is another. Whoever gives a run back or takes it over waits for the lock or passes by, and then asks the
-- history in a statement of its own.
CREATE FUNCTION dacapo.append_v4(
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
    changed integer[];
    places  tid[];
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
                                               AND o.next_event_id <= i_expected[k.item] OFFSET 0) l
                             WHERE k.item <> ALL (unconsumed)
                               -- What closes a run lies beside history, whose key would refuse a place that is taken.
                               AND NOT EXISTS (SELECT FROM dacapo.history h
                                                WHERE h.shard = i_shard[k.item] AND h.run_id = i_run[k.item]
                                                  AND h.first_event_id >= i_expected[k.item] OFFSET 0)) k
                     WHERE r.ctid = k.tid AND r.owner IS NOT DISTINCT FROM i_owner[k.item]
                       AND r.owner_epoch = i_epoch[k.item] AND r.next_event_id <= i_expected[k.item]
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
        SELECT COALESCE(array_agg(k.item::integer), '{}'), array_agg(k.item::integer) FILTER (WHERE k.changes),
               array_agg(k.tid) FILTER (WHERE k.changes) INTO applied, changed, places
          FROM (SELECT k.item, l.tid, l.signals <> i_signals[k.item] OR i_problem_change[k.item] <> 0 AS changes
                  FROM unnest(i_closes) WITH ORDINALITY k (closes, item),
                       LATERAL (SELECT o.ctid AS tid, o.signals FROM dacapo.runs_open o
                                 WHERE o.shard = i_shard[k.item] AND o.run_id = i_run[k.item]
                                   AND o.owner IS NOT DISTINCT FROM i_owner[k.item]
                                   AND o.owner_epoch = i_epoch[k.item] AND o.next_event_id <= i_expected[k.item]
                                   FOR NO KEY UPDATE) l
                 WHERE NOT k.closes) k;
        IF changed IS NOT NULL THEN
            -- What is locked stays where the lock found it.
            UPDATE dacapo.runs_open r
               SET next_event_id = i_next[k.item], signals = i_signals[k.item],
                   problem = CASE i_problem_change[k.item] WHEN 0 THEN r.problem ELSE i_problem[k.item] END
              FROM unnest(changed, places) k (item, tid) WHERE r.ctid = k.tid;
        END IF;
    END IF;
    applied := applied || closed;
    IF cardinality(applied) = items THEN
        passed := array_fill(true, ARRAY[items]);
    ELSE
        SELECT array_agg(n = ANY (applied) ORDER BY n) INTO passed FROM generate_series(1, items) n;
    END IF;
    IF cardinality(c_item) < items THEN
        INSERT INTO dacapo.history (shard, run_id, first_event_id, owner_epoch, events, next_event_id)
        SELECT i_shard[n.item], i_run[n.item], i_expected[n.item], i_epoch[n.item], n.events, i_next[n.item]
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

-- One item of append_v4 that does not close its run and has no rows beside history.
CREATE FUNCTION dacapo.append_one_v2(
    i_shard smallint, i_run uuid, i_owner uuid, i_epoch integer, i_expected bigint, i_next bigint, i_signals bigint,
    i_events bytea, i_problem_change smallint, i_problem bytea, i_messages uuid[],
    OUT applied boolean
) LANGUAGE plpgsql AS $$
DECLARE
    changes boolean;
BEGIN
    SELECT r.signals <> i_signals OR i_problem_change <> 0 INTO changes FROM dacapo.runs_open r
     WHERE r.shard = i_shard AND r.run_id = i_run AND r.owner IS NOT DISTINCT FROM i_owner
       AND r.owner_epoch = i_epoch AND r.next_event_id <= i_expected FOR NO KEY UPDATE;
    applied := FOUND;
    IF NOT applied THEN
        RETURN;
    END IF;
    IF changes THEN
        UPDATE dacapo.runs_open r
           SET next_event_id = i_next, signals = i_signals,
               problem = CASE i_problem_change WHEN 0 THEN r.problem ELSE i_problem END
         WHERE r.shard = i_shard AND r.run_id = i_run;
    END IF;
    IF i_events IS NOT NULL THEN
        INSERT INTO dacapo.history (shard, run_id, first_event_id, owner_epoch, events, next_event_id)
        VALUES (i_shard, i_run, i_expected, i_epoch, i_events, i_next);
    END IF;
    IF cardinality(i_messages) > 0 THEN
        DELETE FROM dacapo.inbox b WHERE b.shard = i_shard AND b.run_id = i_run AND b.message = ANY (i_messages);
    END IF;
END
$$;

-- One item of append_v4 that closes its run and has no rows beside history.
CREATE FUNCTION dacapo.close_one_v2(
    i_shard smallint, i_run uuid, i_owner uuid, i_epoch integer, i_expected bigint, i_next bigint, i_signals bigint,
    i_events bytea, i_status text, i_messages uuid[],
    OUT applied boolean, OUT unconsumed boolean
) LANGUAGE plpgsql AS $$
BEGIN
    applied := false;
    unconsumed := false;
    WITH gone AS (
        DELETE FROM dacapo.runs_open r
         WHERE r.shard = i_shard AND r.run_id = i_run AND r.owner IS NOT DISTINCT FROM i_owner
           AND r.owner_epoch = i_epoch AND r.next_event_id <= i_expected
           AND NOT EXISTS (SELECT FROM dacapo.history h
                            WHERE h.shard = i_shard AND h.run_id = i_run AND h.first_event_id >= i_expected OFFSET 0)
        RETURNING r.shard, r.run_id, r.namespace, r.workflow_id, r.workflow_type, r.task_queue, r.priority, r.owner_epoch,
                  r.started_at, r.memo, r.search_attributes
    )
    INSERT INTO dacapo.runs_closed (shard, run_id, namespace, workflow_id, workflow_type, task_queue, priority, owner_epoch,
           started_at, memo, search_attributes, closed_at, events, signals, status, final_event_id, final_events)
    SELECT g.shard, g.run_id, g.namespace, g.workflow_id, g.workflow_type, g.task_queue, g.priority, g.owner_epoch,
           g.started_at, g.memo, g.search_attributes, clock_timestamp(), i_next - 1, i_signals, i_status, i_expected,
           i_events FROM gone g;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- From here no sender can reach the run, and the next snapshot holds what all senders before have written.
    IF EXISTS (SELECT FROM dacapo.inbox b WHERE b.shard = i_shard AND b.run_id = i_run) THEN
        unconsumed := (SELECT count(*) FROM dacapo.inbox b WHERE b.shard = i_shard AND b.run_id = i_run)
                    > (SELECT count(*) FROM dacapo.inbox b
                        WHERE b.shard = i_shard AND b.run_id = i_run AND b.message = ANY (i_messages));
        IF unconsumed THEN
            RAISE SQLSTATE 'DC001';
        END IF;
        DELETE FROM dacapo.inbox b WHERE b.shard = i_shard AND b.run_id = i_run AND b.message = ANY (i_messages);
    END IF;
    DELETE FROM dacapo.ready y WHERE y.shard = i_shard AND y.run_id = i_run;
    applied := true;
EXCEPTION WHEN SQLSTATE 'DC001' THEN
    -- Nothing of it stays.
    NULL;
END
$$;

-- Takes runs from a dead worker. Without an order: what waits for no lock needs none. No index knows owners, so this reads
-- the table up to as many runs as it is to take; a death is rare, an index that every claim changes is not.
CREATE FUNCTION dacapo.take_over_v1(dead uuid, at_most bigint, takeovers_max integer)
RETURNS TABLE (shard smallint, run_id uuid, task_queue text, parked boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    places tid[];
    nexts  bigint[];
BEGIN
    SELECT array_agg(l.tid) INTO places
      FROM (SELECT r.ctid AS tid FROM dacapo.runs_open r WHERE r.owner = dead LIMIT at_most
               FOR NO KEY UPDATE SKIP LOCKED) l;
    IF places IS NULL THEN
        RETURN;
    END IF;
    -- What the dead worker had written before the locks is in this snapshot, and it writes nothing after them.
    SELECT array_agg(dacapo.next_event_v1(r.shard, r.run_id, r.next_event_id)), array_agg(r.ctid)
      INTO nexts, places FROM dacapo.runs_open r WHERE r.ctid = ANY (places);
    RETURN QUERY
    WITH taken AS (
        UPDATE dacapo.runs_open r
           SET owner = NULL, owner_epoch = r.owner_epoch + 1, next_event_id = k.next, progress_event_id = k.next,
               takeovers = CASE WHEN k.next > r.progress_event_id THEN 1 ELSE r.takeovers + 1 END,
               parked = k.next <= r.progress_event_id AND r.takeovers + 1 >= takeovers_max,
               parked_at = CASE WHEN k.next <= r.progress_event_id AND r.takeovers + 1 >= takeovers_max
                                THEN clock_timestamp() END
          FROM unnest(places, nexts) k (tid, next) WHERE r.ctid = k.tid
        RETURNING r.shard, r.run_id, r.namespace, r.task_queue, r.workflow_type, r.priority, r.parked
    ), marked AS (
        INSERT INTO dacapo.ready AS y (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
        SELECT t.shard, t.run_id, t.namespace, t.task_queue, t.workflow_type, t.priority, clock_timestamp() FROM taken t
         WHERE NOT t.parked ORDER BY t.shard, t.run_id
        ON CONFLICT ON CONSTRAINT ready_pkey DO UPDATE SET visible_at = LEAST(y.visible_at, excluded.visible_at)
    )
    SELECT t.shard, t.run_id, t.task_queue, t.parked FROM taken t;
END
$$;

-- Gives back starts that were handed to a worker and not taken: some flushes of them, of one worker or of all. The owner, the
-- epoch and the next event must be what the start wrote. The lock waits for an owner that writes, and keeps the order of
-- the runs; whether the owner has written, the statement after it asks of the history.
CREATE FUNCTION dacapo.give_back_v1(of_worker uuid, age_ms bigint, at_most bigint)
RETURNS TABLE (flushes bigint, task_queue text, runs bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    l_flushes bigint;
    l_places  tid[];
    l_nexts   bigint[];
BEGIN
    WITH gone AS (
        DELETE FROM dacapo.handed h WHERE h.ctid = ANY (ARRAY(
            SELECT o.ctid FROM dacapo.handed o
             WHERE (of_worker IS NULL OR o.worker = of_worker) AND o.handed_at <= clock_timestamp() - age_ms * interval '1 ms'
             ORDER BY o.handed_id LIMIT at_most FOR UPDATE SKIP LOCKED))
        RETURNING h.worker, h.shards, h.runs, h.nexts
    ), locked AS MATERIALIZED (
        SELECT l.tid, k.next FROM (SELECT g.worker, k.shard, k.run_id, k.next
                             FROM gone g, unnest(g.shards, g.runs, g.nexts) k (shard, run_id, next)
                            ORDER BY k.shard, k.run_id) k,
               LATERAL (SELECT r.ctid AS tid FROM dacapo.runs_open r
                         WHERE r.shard = k.shard AND r.run_id = k.run_id AND r.owner = k.worker AND r.owner_epoch = 1
                           AND r.next_event_id = k.next FOR NO KEY UPDATE) l
    )
    SELECT (SELECT count(*) FROM gone), array_agg(l.tid), array_agg(l.next) INTO l_flushes, l_places, l_nexts FROM locked l;
    RETURN QUERY
    WITH back AS (
        UPDATE dacapo.runs_open r SET owner = NULL, owner_epoch = r.owner_epoch + 1
          FROM unnest(l_places, l_nexts) k (tid, next)
         WHERE r.ctid = k.tid
           AND NOT EXISTS (SELECT FROM dacapo.history h WHERE h.shard = r.shard AND h.run_id = r.run_id
                              AND h.first_event_id >= k.next OFFSET 0)
        RETURNING r.shard, r.run_id, r.namespace, r.task_queue, r.workflow_type, r.priority
    ), marked AS (
        INSERT INTO dacapo.ready AS y (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
        SELECT b.shard, b.run_id, b.namespace, b.task_queue, b.workflow_type, b.priority, clock_timestamp() FROM back b
         ORDER BY b.shard, b.run_id
        ON CONFLICT ON CONSTRAINT ready_pkey DO UPDATE SET visible_at = LEAST(y.visible_at, excluded.visible_at)
    ), queues AS (
        SELECT b.task_queue, count(*) AS runs FROM back b GROUP BY b.task_queue
    )
    SELECT l_flushes, q.task_queue, q.runs FROM (SELECT) one LEFT JOIN queues q ON true;
END
$$;
