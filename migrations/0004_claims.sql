-- Fewer looks into indexes for each run: claims that change no indexed column and bring the run's state along, closes that
-- use the rows that they have locked, starts that ask no index before they insert.

-- The owner changes with every claim. As long as an index held it, each claim wrote a new entry into every index of the
-- table; whoever looks for the runs of one worker, which is rare, reads the table.
DROP INDEX dacapo.runs_open_owner;

-- Names are compared byte by byte: nothing here is sorted for people, and the collation of a language costs a multiple for
-- every step down an index.
DROP VIEW dacapo.runs;
ALTER TABLE dacapo.runs_open
    ALTER namespace TYPE text COLLATE "C", ALTER workflow_id TYPE text COLLATE "C",
    ALTER workflow_type TYPE text COLLATE "C", ALTER task_queue TYPE text COLLATE "C";
ALTER TABLE dacapo.runs_closed
    ALTER namespace TYPE text COLLATE "C", ALTER workflow_id TYPE text COLLATE "C",
    ALTER workflow_type TYPE text COLLATE "C", ALTER task_queue TYPE text COLLATE "C",
    ALTER status TYPE text COLLATE "C";
ALTER TABLE dacapo.start_requests
    ALTER namespace TYPE text COLLATE "C", ALTER workflow_id TYPE text COLLATE "C",
    ALTER request_id TYPE text COLLATE "C";
ALTER TABLE dacapo.published ALTER name TYPE text COLLATE "C";
ALTER TABLE dacapo.ready
    ALTER namespace TYPE text COLLATE "C", ALTER task_queue TYPE text COLLATE "C",
    ALTER workflow_type TYPE text COLLATE "C";
ALTER TABLE dacapo.activities
    ALTER namespace TYPE text COLLATE "C", ALTER task_queue TYPE text COLLATE "C",
    ALTER activity_type TYPE text COLLATE "C";
CREATE VIEW dacapo.runs AS
    SELECT shard, run_id, namespace, workflow_id, workflow_type, task_queue, 'Running'::text COLLATE "C" AS status,
           started_at, NULL::timestamptz AS closed_at, next_event_id - 1 AS events, owner, owner_epoch, parked, memo,
           search_attributes
      FROM dacapo.runs_open
    UNION ALL
    SELECT shard, run_id, namespace, workflow_id, workflow_type, task_queue, status, started_at,
           closed_at, events, NULL::uuid, owner_epoch, false, memo, search_attributes
      FROM dacapo.runs_closed;

-- The workflow id leads: it decides, where the namespace is the same for nearly all.
DROP INDEX dacapo.runs_open_workflow;
CREATE UNIQUE INDEX runs_open_workflow ON dacapo.runs_open (workflow_id, namespace);
DROP INDEX dacapo.runs_closed_workflow;
CREATE INDEX runs_closed_workflow ON dacapo.runs_closed (workflow_id, namespace, started_at);

-- The conditions are read and prepared anew by every statement that inserts: a quarter of the time of one that inserts a
-- single row. `dacapo db verify` looks for the same and more.
ALTER TABLE dacapo.runs_open
    DROP CONSTRAINT runs_open_next_event_id_check, DROP CONSTRAINT runs_open_priority_check,
    DROP CONSTRAINT runs_open_check;
ALTER TABLE dacapo.runs_closed
    DROP CONSTRAINT runs_closed_events_check, DROP CONSTRAINT runs_closed_status_check;
ALTER TABLE dacapo.history DROP CONSTRAINT history_first_event_id_check;
ALTER TABLE dacapo.activities
    DROP CONSTRAINT activities_attempt_check, DROP CONSTRAINT activities_check, DROP CONSTRAINT activities_check1;

-- Takes unowned runs from one queue, by priority and age, and reads them. Gives a row for each run that the claimer owns
-- now, with everything that belongs to it, and a row without events for each ready row of a run that has an owner: it goes,
-- its owner is to look. No row at all: there is nothing to claim. One row whose `lives` is false: the claimer may not own.
--
-- A claim that a crash of the server takes back was told to nobody but its claimer, whose writes then meet the fence, and a
-- write that is kept keeps the claim before it: so the commit waits for no disk.
--
-- Who owns a run is what the lock returned. From the lock on nobody can write the run's history, so the read, which is a
-- statement of its own and sees what was committed when it began, misses no transition. A message that is sent meanwhile
-- is missed as one that comes later: its sender saw no owner and leaves a ready row, by which the owner is found.
CREATE FUNCTION dacapo.claim_v2(
    claimer uuid, of_namespace text, of_queue text, of_types text[], at_most bigint
) RETURNS TABLE (
    lives boolean, shard smallint, run_id uuid, owner uuid, owner_epoch integer, next_event_id bigint, events bytea[],
    messages uuid[], bodies bytea[], ids bigint[], attempts integer[], visible timestamptz[], claimers uuid[], tasks bytea[],
    failures bytea[], details bytea[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    l_shards smallint[];
    l_runs   uuid[];
    l_owners uuid[];
    l_epochs integer[];
    l_nexts  bigint[];
    l_ready  tid[];
    l_free   tid[];
    changed  bigint;
BEGIN
    PERFORM FROM dacapo.workers w
      WHERE w.worker = claimer AND NOT w.dead AND w.lease_until > clock_timestamp() FOR KEY SHARE;
    IF NOT FOUND THEN
        lives := false;
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT array_agg(l.shard), array_agg(l.run_id), array_agg(l.owner), array_agg(l.owner_epoch + 1),
           array_agg(l.next_event_id), array_agg(l.ready_tid), array_agg(l.run_tid) FILTER (WHERE l.owner IS NULL)
      INTO l_shards, l_runs, l_owners, l_epochs, l_nexts, l_ready, l_free
      FROM (SELECT y.shard, y.run_id, y.ctid AS ready_tid, r.owner, r.owner_epoch, r.next_event_id, r.run_tid
              FROM dacapo.ready y,
                   LATERAL (SELECT o.owner, o.owner_epoch, o.next_event_id, o.ctid AS run_tid FROM dacapo.runs_open o
                             WHERE o.shard = y.shard AND o.run_id = y.run_id FOR NO KEY UPDATE SKIP LOCKED) r
             WHERE y.namespace = of_namespace AND y.task_queue = of_queue AND y.visible_at <= statement_timestamp()
               AND y.workflow_type = ANY (of_types)
             ORDER BY y.namespace, y.task_queue, y.priority, y.visible_at LIMIT at_most
               FOR UPDATE OF y SKIP LOCKED) l;
    IF l_runs IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    -- Both kinds of rows are locked: they stay where the lock found them.
    UPDATE dacapo.runs_open r SET owner = claimer, owner_epoch = r.owner_epoch + 1, parked = false
     WHERE r.ctid = ANY (l_free);
    GET DIAGNOSTICS changed = ROW_COUNT;
    DELETE FROM dacapo.ready WHERE ctid = ANY (l_ready);
    IF changed <> COALESCE(cardinality(l_free), 0) THEN
        RAISE serialization_failure USING MESSAGE = 'a locked run has moved';
    END IF;
    RETURN QUERY
    SELECT true, k.shard, k.run_id, COALESCE(k.owner, claimer), k.epoch, k.next,
           CASE WHEN k.owner IS NULL THEN ARRAY(SELECT h.events FROM dacapo.history h
               WHERE h.shard = k.shard AND h.run_id = k.run_id ORDER BY h.first_event_id) END,
           b.messages, b.bodies, a.ids, a.attempts, a.visible, a.claimers, a.tasks, a.failures, a.details
      FROM unnest(l_shards, l_runs, l_owners, l_epochs, l_nexts) k (shard, run_id, owner, epoch, next),
           LATERAL (SELECT array_agg(b.message) AS messages, array_agg(b.body) AS bodies
                      FROM (SELECT b.message, b.body FROM dacapo.inbox b
                             WHERE b.shard = k.shard AND b.run_id = k.run_id AND k.owner IS NULL
                             ORDER BY b.message) b) b,
           -- Only owners schedule activities, and epoch 1 is the first owner's.
           LATERAL (SELECT array_agg(a.activity_id) AS ids, array_agg(a.attempt) AS attempts,
                           array_agg(a.visible_at) AS visible, array_agg(a.claimed_by) AS claimers,
                           array_agg(a.task) AS tasks, array_agg(a.last_failure) AS failures,
                           array_agg(a.last_heartbeat) AS details
                      FROM dacapo.activities a WHERE a.shard = k.shard AND a.run_id = k.run_id
                       AND k.owner IS NULL AND k.epoch > 1) a;
END
$$;
-- As append_v1; what closes is deleted where the lock found it.
CREATE FUNCTION dacapo.append_v2(
    i_shard smallint[], i_run uuid[], i_owner uuid[], i_epoch integer[], i_expected bigint[], i_next bigint[],
    i_signals bigint[], i_events bytea[], i_problem_change smallint[], i_problem bytea[], i_closes boolean[],
    c_item integer[], c_status text[], c_result bytea[], c_failure bytea[],
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
    -- The items that close and whose fences hold, their places among the closes, and their rows.
    l_items  integer[];
    l_places bigint[];
    l_tids   tid[];
BEGIN
    applied := '{}';
    unconsumed := '{}';
    IF cardinality(c_item) > 0 THEN
        SELECT array_agg(k.item), array_agg(k.place), array_agg(l.tid) INTO l_items, l_places, l_tids
          FROM unnest(c_item) WITH ORDINALITY k (item, place),
               LATERAL (SELECT r.ctid AS tid FROM dacapo.runs_open r
                         WHERE r.shard = i_shard[k.item] AND r.run_id = i_run[k.item]
                           AND r.owner IS NOT DISTINCT FROM i_owner[k.item] AND r.owner_epoch = i_epoch[k.item]
                           AND r.next_event_id = i_expected[k.item] FOR UPDATE) l;
    END IF;
    IF l_items IS NOT NULL THEN
        -- From here no sender can reach these runs, and the next snapshot holds what all senders before have written.
        SELECT array_agg(k.item) INTO suspect FROM unnest(l_items) k (item)
         WHERE EXISTS (SELECT FROM dacapo.inbox b WHERE b.shard = i_shard[k.item] AND b.run_id = i_run[k.item] OFFSET 0);
        IF suspect IS NOT NULL THEN
            SELECT COALESCE(array_agg(s.item), '{}') INTO unconsumed FROM unnest(suspect) s (item)
             WHERE (SELECT count(*) FROM dacapo.inbox b WHERE b.shard = i_shard[s.item] AND b.run_id = i_run[s.item])
                 -- Distinct, because a message that was read twice is consumed twice, and must not stand for another.
                 > (SELECT count(DISTINCT k.message) FROM unnest(k_item, k_message) k (item, message),
                           LATERAL (SELECT FROM dacapo.inbox b WHERE b.shard = i_shard[k.item]
                                       AND b.run_id = i_run[k.item] AND b.message = k.message OFFSET 0) l
                     WHERE k.item = s.item);
        END IF;
        -- A locked row stays where the lock found it.
        WITH gone AS (
            DELETE FROM dacapo.runs_open r USING unnest(l_items, l_places, l_tids) k (item, place, tid)
             WHERE r.ctid = k.tid AND k.item <> ALL (unconsumed)
            RETURNING k.item, k.place, r.shard, r.run_id, r.namespace, r.workflow_id, r.workflow_type, r.task_queue,
                      r.priority, r.owner_epoch, r.started_at, r.memo, r.search_attributes
        ), filed AS (
            INSERT INTO dacapo.runs_closed (shard, run_id, namespace, workflow_id, workflow_type, task_queue, priority,
                   owner_epoch, started_at, memo, search_attributes, closed_at, events, signals, status, result, failure)
            SELECT g.shard, g.run_id, g.namespace, g.workflow_id, g.workflow_type, g.task_queue, g.priority,
                   g.owner_epoch, g.started_at, g.memo, g.search_attributes, clock_timestamp(), i_next[g.item] - 1,
                   i_signals[g.item], c_status[g.place], c_result[g.place], c_failure[g.place] FROM gone g
        )
        SELECT COALESCE(array_agg(g.item), '{}') INTO closed FROM gone g;
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
    INSERT INTO dacapo.history (shard, run_id, first_event_id, owner_epoch, events)
    SELECT i_shard[n.item], i_run[n.item], i_expected[n.item], i_epoch[n.item], n.events
      FROM unnest(i_events) WITH ORDINALITY n (events, item) WHERE n.events IS NOT NULL AND passed[n.item];
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

-- As start_v1, and first without asking: what is new, which is nearly everything, is inserted and needs no look before.
-- Where a key is taken, all is undone and start_v1 finds out which. Optimism is the caller's to drop for a while where it
-- was wrong, because what was undone stays behind as dead rows.
CREATE FUNCTION dacapo.start_v2(
    optimistic boolean, new_owner uuid,
    i_shard smallint[], i_run uuid[], i_namespace text[], i_workflow_id text[], i_type text[], i_queue text[],
    i_priority smallint[], i_next bigint[], i_signals bigint[], i_events bytea[], i_started timestamptz[], i_memo bytea[],
    i_attributes text[], i_problem bytea[], i_request text[], i_reuse smallint[], i_ready timestamptz[],
    a_item integer[] = '{}', a_id bigint[] = '{}', a_attempt integer[] = '{}', a_namespace text[] = '{}', a_queue text[] = '{}', a_type text[] = '{}',
    a_priority smallint[] = '{}', a_visible timestamptz[] = '{}', a_kept boolean[] = '{}', a_deadline timestamptz[] = '{}',
    a_start_to_close_ms bigint[] = '{}', a_heartbeat_ms bigint[] = '{}', a_close_at timestamptz[] = '{}', a_task bytea[] = '{}', a_failure bytea[] = '{}',
    a_details bytea[] = '{}',
    d_item integer[] = '{}', d_id bigint[] = '{}',
    x_item integer[] = '{}', x_id bigint[] = '{}',
    t_item integer[] = '{}', t_id bigint[] = '{}', t_fire timestamptz[] = '{}',
    u_item integer[] = '{}', u_id bigint[] = '{}',
    p_item integer[] = '{}', p_name text[] = '{}', p_value bytea[] = '{}',
    OUT may_own boolean, OUT refused integer[]
) LANGUAGE plpgsql AS $$
BEGIN
    IF new_owner IS NULL AND cardinality(a_item) > 0 THEN
        RAISE EXCEPTION 'a run that nobody owns has no activities';
    END IF;
    IF optimistic THEN
        may_own := true;
        refused := '{}';
        IF new_owner IS NOT NULL THEN
            PERFORM FROM dacapo.workers w
              WHERE w.worker = new_owner AND NOT w.dead AND w.lease_until > clock_timestamp() FOR KEY SHARE;
            IF NOT FOUND THEN
                may_own := false;
                RETURN;
            END IF;
        END IF;
        BEGIN
            INSERT INTO dacapo.runs_open (shard, run_id, namespace, workflow_id, workflow_type, task_queue, priority,
                   next_event_id, signals, started_at, memo, search_attributes, problem, owner, owner_epoch)
            SELECT n.shard, n.run_id, n.namespace, n.workflow_id, n.type, n.queue, n.priority, n.next, n.signals,
                   n.started, n.memo, n.attributes::jsonb, n.problem, new_owner,
                   CASE WHEN new_owner IS NULL THEN 0 ELSE 1 END
              FROM unnest(i_shard, i_run, i_namespace, i_workflow_id, i_type, i_queue, i_priority, i_next, i_signals,
                          i_started, i_memo, i_attributes, i_problem)
                   n (shard, run_id, namespace, workflow_id, type, queue, priority, next, signals, started, memo,
                      attributes, problem);
            -- The history of a run stays when it closes: its key refuses a run that was there before.
            INSERT INTO dacapo.history (shard, run_id, first_event_id, owner_epoch, events)
            SELECT n.shard, n.run_id, 1, CASE WHEN new_owner IS NULL THEN 0 ELSE 1 END, n.events
              FROM unnest(i_shard, i_run, i_events) n (shard, run_id, events);
            IF cardinality(array_remove(i_request, NULL)) > 0 THEN
                INSERT INTO dacapo.start_requests (shard, namespace, workflow_id, request_id, run_id)
                SELECT n.shard, n.namespace, n.workflow_id, n.request, n.run_id
                  FROM unnest(i_shard, i_namespace, i_workflow_id, i_request, i_run)
                       n (shard, namespace, workflow_id, request, run_id)
                 WHERE n.request IS NOT NULL;
            END IF;
        EXCEPTION WHEN unique_violation THEN
            optimistic := false;
        END;
    END IF;
    IF NOT optimistic THEN
        SELECT s.may_own, s.refused INTO may_own, refused FROM dacapo.start_v1(new_owner, i_shard, i_run, i_namespace, i_workflow_id, i_type, i_queue, i_priority, i_next,
        i_signals, i_events, i_started, i_memo, i_attributes, i_problem, i_request, i_reuse, i_ready, a_item, a_id, a_attempt,
        a_namespace, a_queue, a_type, a_priority, a_visible, a_kept, a_deadline, a_start_to_close_ms, a_heartbeat_ms,
        a_close_at, a_task, a_failure, a_details, d_item, d_id, x_item, x_id, t_item, t_id, t_fire, u_item, u_id, p_item,
        p_name, p_value) s;
        RETURN;
    END IF;
    IF new_owner IS NULL THEN
        INSERT INTO dacapo.ready (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
        SELECT n.shard, n.run_id, n.namespace, n.queue, n.type, n.priority, GREATEST(n.ready_at, clock_timestamp())
          FROM unnest(i_shard, i_run, i_namespace, i_queue, i_type, i_priority, i_ready)
               n (shard, run_id, namespace, queue, type, priority, ready_at);
    END IF;
    IF cardinality(a_item) + cardinality(d_item) + cardinality(x_item) + cardinality(t_item) + cardinality(u_item)
       + cardinality(p_item) > 0 THEN
        PERFORM dacapo.rows_v1(i_shard, i_run, array_fill(new_owner, ARRAY[cardinality(i_run)]),
            array_fill(true, ARRAY[cardinality(i_run)]), a_item, a_id, a_attempt, a_namespace, a_queue, a_type,
            a_priority, a_visible, a_kept, a_deadline, a_start_to_close_ms, a_heartbeat_ms, a_close_at, a_task, a_failure,
            a_details, d_item, d_id, x_item, x_id, t_item, t_id, t_fire, u_item, u_id, p_item, p_name, p_value);
    END IF;
END
$$;
