-- The flushes of the write path.
--
-- Each is a function because under READ COMMITTED every statement of a volatile function takes a snapshot of its own: the
-- rules "lock first, act in the next statement" then cost one round trip and no explicit transaction. Items come as
-- parallel arrays, sorted by (shard, run_id); rows that belong to an item name it by its place, from 1.
--
-- Look-ups are LATERAL with a lock or OFFSET 0, and changes go by ctid: whatever a plan was made on (an empty table, say),
-- it can only be one index probe per item. A ctid is good for the statement that found it only where nobody else updates
-- the row meanwhile; where somebody may, the rows are locked a statement before, or the conditions are repeated.
-- A column that an index of its own holds (owner, claimed_by) is compared with IS NOT DISTINCT FROM, which no index answers.
-- OFFSET 0 also keeps EXISTS from being answered by reading the other table once from end to end.
--
-- A function is never changed once released; a newer binary brings a newer one beside it (v2), so that old and new binaries
-- can run side by side.

-- Writes what belongs to items that were let through (passed[item]). Gives the queues of attempts that a request to cancel
-- has made visible.
CREATE FUNCTION dacapo.rows_v1(
    i_shard smallint[], i_run uuid[], i_owner uuid[], passed boolean[],
    a_item integer[], a_id bigint[], a_attempt integer[], a_namespace text[], a_queue text[], a_type text[],
    a_priority smallint[], a_visible timestamptz[], a_kept boolean[], a_deadline timestamptz[],
    a_start_to_close_ms bigint[], a_heartbeat_ms bigint[], a_close_at timestamptz[], a_task bytea[], a_failure bytea[],
    a_details bytea[],
    d_item integer[], d_id bigint[],
    x_item integer[], x_id bigint[],
    t_item integer[], t_id bigint[], t_fire timestamptz[],
    u_item integer[], u_id bigint[],
    p_item integer[], p_name text[], p_value bytea[]
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    woken text[];
BEGIN
    IF cardinality(a_item) + cardinality(d_item) + cardinality(x_item) > 0 THEN
        -- All activity rows that follow are locked in one order here, because heartbeats and claims take many at once.
        PERFORM FROM (SELECT i_shard[k.item] AS shard, i_run[k.item] AS run_id, k.id
                        FROM unnest(a_item || d_item || x_item, a_id || d_id || x_id) k (item, id)
                       WHERE passed[k.item] ORDER BY 1, 2, 3) k,
              LATERAL (SELECT FROM dacapo.activities a
                        WHERE a.shard = k.shard AND a.run_id = k.run_id AND a.activity_id = k.id FOR UPDATE) l;
    END IF;
    IF cardinality(a_item) > 0 THEN
        INSERT INTO dacapo.activities AS old (shard, run_id, activity_id, attempt, namespace, task_queue, activity_type,
               priority, visible_at, claimed_by, claimed_at, heard_at, deadline, start_to_close_ms, heartbeat_ms,
               schedule_to_close_at, task, last_failure, last_heartbeat)
        SELECT i_shard[n.item], i_run[n.item], n.id, n.attempt, n.namespace, n.queue, n.type, n.priority, n.visible_at,
               CASE WHEN n.kept THEN i_owner[n.item] END, CASE WHEN n.kept THEN clock_timestamp() END,
               CASE WHEN n.kept THEN clock_timestamp() END,
               -- The owner watches what it keeps for itself.
               CASE WHEN NOT n.kept THEN n.deadline END,
               n.start_to_close_ms, n.heartbeat_ms, n.close_at, n.task, n.failure, n.details
          FROM unnest(a_item, a_id, a_attempt, a_namespace, a_queue, a_type, a_priority, a_visible, a_kept, a_deadline,
                      a_start_to_close_ms, a_heartbeat_ms, a_close_at, a_task, a_failure, a_details)
               n (item, id, attempt, namespace, queue, type, priority, visible_at, kept, deadline, start_to_close_ms,
                  heartbeat_ms, close_at, task, failure, details)
         WHERE passed[n.item]
        ON CONFLICT (shard, run_id, activity_id) DO UPDATE
           SET attempt = excluded.attempt, namespace = excluded.namespace, task_queue = excluded.task_queue,
               activity_type = excluded.activity_type, priority = excluded.priority, visible_at = excluded.visible_at,
               claimed_by = excluded.claimed_by, claimed_at = excluded.claimed_at, heard_at = excluded.heard_at,
               deadline = excluded.deadline, start_to_close_ms = excluded.start_to_close_ms,
               heartbeat_ms = excluded.heartbeat_ms, schedule_to_close_at = excluded.schedule_to_close_at,
               task = excluded.task, last_failure = excluded.last_failure,
               -- The run may not have seen the last heartbeat of an attempt that ran elsewhere.
               last_heartbeat = COALESCE(excluded.last_heartbeat, old.last_heartbeat),
               -- Token 0 is the owner's own; any other row gets one that no earlier claim has.
               claim_token = CASE WHEN excluded.claimed_by IS NULL THEN old.claim_token + 1 ELSE 0 END,
               reported = false, cancel_requested = false;
    END IF;
    IF cardinality(d_item) > 0 THEN
        DELETE FROM dacapo.activities WHERE ctid = ANY (ARRAY(
            SELECT l.tid FROM unnest(d_item, d_id) k (item, id),
                   LATERAL (SELECT a.ctid AS tid FROM dacapo.activities a WHERE a.shard = i_shard[k.item]
                               AND a.run_id = i_run[k.item] AND a.activity_id = k.id OFFSET 0) l
             WHERE passed[k.item]));
    END IF;
    IF cardinality(x_item) > 0 THEN
        -- An attempt that nobody has claimed is shown at once: whoever takes it finds the request.
        WITH told AS (
            UPDATE dacapo.activities
               SET cancel_requested = true,
                   visible_at = CASE WHEN claimed_by IS NULL THEN LEAST(visible_at, clock_timestamp()) ELSE visible_at END
             WHERE ctid = ANY (ARRAY(
                   SELECT l.tid FROM unnest(x_item, x_id) k (item, id),
                          LATERAL (SELECT a.ctid AS tid FROM dacapo.activities a WHERE a.shard = i_shard[k.item]
                                      AND a.run_id = i_run[k.item] AND a.activity_id = k.id OFFSET 0) l
                    WHERE passed[k.item]))
            RETURNING task_queue, claimed_by, reported
        )
        SELECT array_agg(DISTINCT t.task_queue) INTO woken FROM told t WHERE t.claimed_by IS NULL AND NOT t.reported;
    END IF;
    IF cardinality(t_item) > 0 THEN
        INSERT INTO dacapo.timers (shard, run_id, timer_id, fire_at)
        SELECT i_shard[n.item], i_run[n.item], n.id, n.fire_at FROM unnest(t_item, t_id, t_fire) n (item, id, fire_at)
         WHERE passed[n.item]
        ON CONFLICT (shard, run_id, timer_id) DO UPDATE SET fire_at = excluded.fire_at;
    END IF;
    IF cardinality(u_item) > 0 THEN
        DELETE FROM dacapo.timers WHERE ctid = ANY (ARRAY(
            SELECT l.tid FROM unnest(u_item, u_id) k (item, id),
                   LATERAL (SELECT t.ctid AS tid FROM dacapo.timers t WHERE t.shard = i_shard[k.item]
                               AND t.run_id = i_run[k.item] AND t.timer_id = k.id OFFSET 0) l
             WHERE passed[k.item]));
    END IF;
    IF cardinality(p_item) > 0 THEN
        INSERT INTO dacapo.published (shard, run_id, name, value)
        SELECT i_shard[n.item], i_run[n.item], n.name, n.value FROM unnest(p_item, p_name, p_value) n (item, name, value)
         WHERE passed[n.item]
        ON CONFLICT (shard, run_id, name) DO UPDATE SET value = excluded.value, published_at = clock_timestamp();
    END IF;
    RETURN woken;
END
$$;

-- Appends to runs under their fences and closes those that end. Gives the items that were let through, and those that
-- were not closed because their inboxes hold messages that they do not consume.
CREATE FUNCTION dacapo.append_v1(
    i_shard smallint[], i_run uuid[], i_owner uuid[], i_epoch integer[], i_expected bigint[], i_next bigint[],
    i_signals bigint[], i_events bytea[], i_problem_change smallint[], i_problem bytea[], i_closes boolean[],
    c_item integer[], c_status text[], c_result bytea[], c_failure bytea[],
    k_item integer[], k_message uuid[],
    a_item integer[], a_id bigint[], a_attempt integer[], a_namespace text[], a_queue text[], a_type text[],
    a_priority smallint[], a_visible timestamptz[], a_kept boolean[], a_deadline timestamptz[],
    a_start_to_close_ms bigint[], a_heartbeat_ms bigint[], a_close_at timestamptz[], a_task bytea[], a_failure bytea[],
    a_details bytea[],
    d_item integer[], d_id bigint[],
    x_item integer[], x_id bigint[],
    t_item integer[], t_id bigint[], t_fire timestamptz[],
    u_item integer[], u_id bigint[],
    p_item integer[], p_name text[], p_value bytea[],
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
        PERFORM FROM unnest(c_item) k (item),
              LATERAL (SELECT FROM dacapo.runs_open r WHERE r.shard = i_shard[k.item] AND r.run_id = i_run[k.item]
                          AND r.owner IS NOT DISTINCT FROM i_owner[k.item] AND r.owner_epoch = i_epoch[k.item]
                          AND r.next_event_id = i_expected[k.item] FOR UPDATE) l;
        -- From here no sender can reach these runs, and the next snapshot holds what all senders before have written.
        SELECT array_agg(k.item) INTO suspect FROM unnest(c_item) k (item)
         WHERE EXISTS (SELECT FROM dacapo.inbox b WHERE b.shard = i_shard[k.item] AND b.run_id = i_run[k.item] OFFSET 0);
        IF suspect IS NOT NULL THEN
            SELECT COALESCE(array_agg(s.item), '{}') INTO unconsumed FROM unnest(suspect) s (item)
             WHERE (SELECT count(*) FROM dacapo.inbox b WHERE b.shard = i_shard[s.item] AND b.run_id = i_run[s.item])
                 -- Distinct, because a message that was read twice is consumed twice, and must not stand for another.
                 > (SELECT count(DISTINCT k.message) FROM unnest(k_item, k_message) k (item, message),
                           LATERAL (SELECT FROM dacapo.inbox b WHERE b.shard = i_shard[k.item]
                                       AND b.run_id = i_run[k.item] AND b.message = k.message OFFSET 0) l
                     WHERE k.item = s.item)
               -- An item that is fenced out is that and nothing else.
               AND EXISTS (SELECT FROM dacapo.runs_open r WHERE r.shard = i_shard[s.item] AND r.run_id = i_run[s.item]
                              AND r.owner IS NOT DISTINCT FROM i_owner[s.item] AND r.owner_epoch = i_epoch[s.item]
                              AND r.next_event_id = i_expected[s.item] OFFSET 0);
        END IF;
        WITH gone AS (
            DELETE FROM dacapo.runs_open r
             USING (SELECT k.item, k.place, l.tid FROM unnest(c_item) WITH ORDINALITY k (item, place),
                           LATERAL (SELECT o.ctid AS tid FROM dacapo.runs_open o
                                     WHERE o.shard = i_shard[k.item] AND o.run_id = i_run[k.item]
                                       AND o.owner IS NOT DISTINCT FROM i_owner[k.item]
                                       AND o.owner_epoch = i_epoch[k.item] AND o.next_event_id = i_expected[k.item]
                                    OFFSET 0) l
                     WHERE k.item <> ALL (unconsumed)) k
             WHERE r.ctid = k.tid
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

-- Starts runs, owned by one worker or ready for anyone. Gives whether the owner may own, and the items that were not
-- started: somebody has the workflow id, or the run or its request was there before.
CREATE FUNCTION dacapo.start_v1(
    new_owner uuid,
    i_shard smallint[], i_run uuid[], i_namespace text[], i_workflow_id text[], i_type text[], i_queue text[],
    i_priority smallint[], i_next bigint[], i_signals bigint[], i_events bytea[], i_started timestamptz[], i_memo bytea[],
    i_attributes text[], i_problem bytea[], i_request text[], i_reuse smallint[], i_ready timestamptz[],
    a_item integer[], a_id bigint[], a_attempt integer[], a_namespace text[], a_queue text[], a_type text[],
    a_priority smallint[], a_visible timestamptz[], a_kept boolean[], a_deadline timestamptz[],
    a_start_to_close_ms bigint[], a_heartbeat_ms bigint[], a_close_at timestamptz[], a_task bytea[], a_failure bytea[],
    a_details bytea[],
    d_item integer[], d_id bigint[],
    x_item integer[], x_id bigint[],
    t_item integer[], t_id bigint[], t_fire timestamptz[],
    u_item integer[], u_id bigint[],
    p_item integer[], p_name text[], p_value bytea[],
    OUT may_own boolean, OUT refused integer[]
) LANGUAGE plpgsql AS $$
DECLARE
    items  integer := cardinality(i_run);
    made   uuid[];
    asked  uuid[];
    passed boolean[];
BEGIN
    refused := '{}';
    may_own := true;
    IF new_owner IS NOT NULL THEN
        PERFORM FROM dacapo.workers w
          WHERE w.worker = new_owner AND NOT w.dead AND w.lease_until > clock_timestamp() FOR KEY SHARE;
        IF NOT FOUND THEN
            may_own := false;
            RETURN;
        END IF;
    END IF;
    WITH fresh AS (
        INSERT INTO dacapo.runs_open (shard, run_id, namespace, workflow_id, workflow_type, task_queue, priority,
               next_event_id, signals, started_at, memo, search_attributes, problem, owner, owner_epoch)
        SELECT n.shard, n.run_id, n.namespace, n.workflow_id, n.type, n.queue, n.priority, n.next, n.signals, n.started,
               n.memo, n.attributes::jsonb, n.problem, new_owner, CASE WHEN new_owner IS NULL THEN 0 ELSE 1 END
          FROM unnest(i_shard, i_run, i_namespace, i_workflow_id, i_type, i_queue, i_priority, i_next, i_signals,
                      i_started, i_memo, i_attributes, i_problem)
               n (shard, run_id, namespace, workflow_id, type, queue, priority, next, signals, started, memo, attributes,
                  problem)
        ON CONFLICT DO NOTHING
        RETURNING run_id
    )
    SELECT COALESCE(array_agg(f.run_id), '{}') INTO made FROM fresh f;
    IF cardinality(made) = items THEN
        passed := array_fill(true, ARRAY[items]);
    ELSE
        SELECT array_agg(n.run_id = ANY (made) ORDER BY n.item) INTO passed
          FROM unnest(i_run) WITH ORDINALITY n (run_id, item);
    END IF;
    -- The workflow ids are held now, so that nobody closes or starts a run of theirs beside this look at closed runs.
    SELECT COALESCE(array_agg(n.item::integer), '{}') INTO refused
      FROM unnest(i_reuse) WITH ORDINALITY n (reuse, item)
     WHERE passed[n.item]
       AND (EXISTS (SELECT FROM dacapo.runs_closed c
                     WHERE c.shard = i_shard[n.item] AND c.run_id = i_run[n.item] OFFSET 0)
            OR (n.reuse > 0 AND (SELECT n.reuse = 2 OR c.status = 'Completed' FROM dacapo.runs_closed c
                                  WHERE c.namespace = i_namespace[n.item] AND c.workflow_id = i_workflow_id[n.item]
                                  ORDER BY c.started_at DESC LIMIT 1)));
    IF cardinality(array_remove(i_request, NULL)) > 0 THEN
        WITH fresh AS (
            INSERT INTO dacapo.start_requests (shard, namespace, workflow_id, request_id, run_id)
            SELECT i_shard[n.item], i_namespace[n.item], i_workflow_id[n.item], n.request, i_run[n.item]
              FROM unnest(i_request) WITH ORDINALITY n (request, item)
             WHERE n.request IS NOT NULL AND passed[n.item] AND n.item <> ALL (refused)
            ON CONFLICT DO NOTHING
            RETURNING run_id
        )
        SELECT COALESCE(array_agg(f.run_id), '{}') INTO asked FROM fresh f;
        SELECT refused || COALESCE(array_agg(n.item::integer), '{}') INTO refused
          FROM unnest(i_request) WITH ORDINALITY n (request, item)
         WHERE n.request IS NOT NULL AND passed[n.item] AND n.item <> ALL (refused) AND i_run[n.item] <> ALL (asked);
    END IF;
    IF cardinality(refused) > 0 THEN
        DELETE FROM dacapo.runs_open WHERE ctid = ANY (ARRAY(
            SELECT l.tid FROM unnest(refused) k (item),
                   LATERAL (SELECT r.ctid AS tid FROM dacapo.runs_open r
                             WHERE r.shard = i_shard[k.item] AND r.run_id = i_run[k.item] OFFSET 0) l));
    END IF;
    IF cardinality(refused) > 0 OR cardinality(made) < items THEN
        SELECT array_agg(passed[n] AND n <> ALL (refused) ORDER BY n) INTO passed FROM generate_series(1, items) n;
        SELECT array_agg(n) INTO refused FROM generate_series(1, items) n WHERE NOT passed[n];
    END IF;
    INSERT INTO dacapo.history (shard, run_id, first_event_id, owner_epoch, events)
    SELECT i_shard[n.item], i_run[n.item], 1, CASE WHEN new_owner IS NULL THEN 0 ELSE 1 END, n.events
      FROM unnest(i_events) WITH ORDINALITY n (events, item) WHERE passed[n.item];
    IF new_owner IS NULL THEN
        INSERT INTO dacapo.ready (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
        SELECT i_shard[n.item], i_run[n.item], i_namespace[n.item], i_queue[n.item], i_type[n.item], i_priority[n.item],
               GREATEST(n.ready_at, clock_timestamp())
          FROM unnest(i_ready) WITH ORDINALITY n (ready_at, item) WHERE passed[n.item];
    END IF;
    IF cardinality(a_item) + cardinality(d_item) + cardinality(x_item) + cardinality(t_item) + cardinality(u_item)
       + cardinality(p_item) > 0 THEN
        PERFORM dacapo.rows_v1(i_shard, i_run, array_fill(new_owner, ARRAY[items]), passed, a_item, a_id, a_attempt,
            a_namespace, a_queue, a_type, a_priority, a_visible, a_kept, a_deadline, a_start_to_close_ms, a_heartbeat_ms,
            a_close_at, a_task, a_failure, a_details, d_item, d_id, x_item, x_id, t_item, t_id, t_fire, u_item, u_id,
            p_item, p_name, p_value);
    END IF;
END
$$;

-- Puts messages into the inboxes of open runs. r_* are the runs, once each and sorted; m_run is a message's place among
-- them. Gives for each run whether it is open, its owner and its queue, and the messages that were one signal too many.
CREATE FUNCTION dacapo.send_v1(
    signals_max bigint,
    r_shard smallint[], r_run uuid[],
    m_run integer[], m_id uuid[], m_body bytea[], m_signal boolean[],
    OUT is_open boolean[], OUT owners uuid[], OUT queues text[], OUT too_many integer[]
) LANGUAGE plpgsql AS $$
DECLARE
    full_runs integer[];
BEGIN
    too_many := '{}';
    -- KEY SHARE holds off release and close, not appends: the owner keeps its speed while many send.
    SELECT array_agg(l.workflow_type IS NOT NULL), array_agg(l.owner), array_agg(l.task_queue),
           array_agg(k.place::integer) FILTER (WHERE l.signals >= signals_max)
      INTO is_open, owners, queues, full_runs
      FROM unnest(r_shard, r_run) WITH ORDINALITY k (shard, run_id, place)
      LEFT JOIN LATERAL (SELECT o.workflow_type, o.owner, o.task_queue, o.signals + CASE WHEN true = ANY (m_signal) THEN
                                (SELECT count(*) FROM (SELECT FROM dacapo.inbox b WHERE b.shard = k.shard
                                                          AND b.run_id = k.run_id LIMIT signals_max) b) ELSE 0 END AS signals
                           FROM dacapo.runs_open o WHERE o.shard = k.shard AND o.run_id = k.run_id
                            FOR KEY SHARE) l ON true;
    IF full_runs IS NOT NULL THEN
        SELECT COALESCE(array_agg(m.place::integer), '{}') INTO too_many
          FROM unnest(m_run, m_signal) WITH ORDINALITY m (run, signal, place)
         WHERE m.signal AND m.run = ANY (full_runs);
    END IF;
    INSERT INTO dacapo.inbox (shard, run_id, message, body)
    SELECT r_shard[m.run], r_run[m.run], m.id, m.body
      FROM unnest(m_run, m_id, m_body) WITH ORDINALITY m (run, id, body, place)
     WHERE is_open[m.run] AND m.place <> ALL (too_many)
    ON CONFLICT DO NOTHING;
    IF array_position(owners, NULL) IS NOT NULL THEN
        INSERT INTO dacapo.ready AS y (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
        SELECT o.shard, o.run_id, o.namespace, o.task_queue, o.workflow_type, o.priority, clock_timestamp()
          FROM unnest(owners) WITH ORDINALITY k (owner, place),
               LATERAL (SELECT * FROM dacapo.runs_open o
                         WHERE o.shard = r_shard[k.place] AND o.run_id = r_run[k.place] OFFSET 0) o
         WHERE k.owner IS NULL AND is_open[k.place]
        ON CONFLICT (shard, run_id) DO UPDATE SET visible_at = excluded.visible_at
         WHERE y.visible_at > excluded.visible_at;
    END IF;
END
$$;

-- Takes reports of claimed attempts: the row is marked, the outcome goes into the run's inbox. r_* as in send_v1; m_silent
-- says that an outcome mentions no heartbeat. Gives the reports whose claim held, beside what send_v1 gives.
CREATE FUNCTION dacapo.report_v1(
    r_shard smallint[], r_run uuid[],
    m_run integer[], m_id uuid[], m_body bytea[],
    m_activity bigint[], m_attempt integer[], m_token bigint[], m_worker uuid[], m_silent boolean[],
    OUT taken integer[], OUT owners uuid[], OUT queues text[]
) LANGUAGE plpgsql AS $$
DECLARE
    sent  record;
    heard bytea[];
BEGIN
    taken := '{}';
    PERFORM FROM unnest(r_shard, r_run) k (shard, run_id),
          LATERAL (SELECT FROM dacapo.runs_open o WHERE o.shard = k.shard AND o.run_id = k.run_id FOR KEY SHARE) l;
    PERFORM FROM (SELECT r_shard[m.run] AS shard, r_run[m.run] AS run_id, m.activity FROM unnest(m_run, m_activity)
                         m (run, activity) ORDER BY 1, 2, 3) k,
          LATERAL (SELECT FROM dacapo.activities a
                    WHERE a.shard = k.shard AND a.run_id = k.run_id AND a.activity_id = k.activity FOR UPDATE) l;
    WITH marked AS (
        UPDATE dacapo.activities a SET reported = true, claimed_by = NULL, deadline = NULL
          FROM (SELECT m.place, l.tid
                  FROM unnest(m_run, m_activity, m_attempt, m_token, m_worker) WITH ORDINALITY
                       m (run, activity, attempt, token, worker, place),
                       LATERAL (SELECT x.ctid AS tid FROM dacapo.activities x
                                 WHERE x.shard = r_shard[m.run] AND x.run_id = r_run[m.run]
                                   AND x.activity_id = m.activity AND x.attempt = m.attempt
                                   AND x.claim_token = m.token
                                   AND x.claimed_by IS NOT DISTINCT FROM m.worker OFFSET 0) l) k
         WHERE a.ctid = k.tid
        RETURNING k.place::integer AS place, a.last_heartbeat AS details
    )
    SELECT COALESCE(array_agg(k.place), '{}'), COALESCE(array_agg(k.details), '{}') INTO taken, heard FROM marked k;
    IF cardinality(taken) > 0 THEN
        SELECT s.* INTO sent FROM
            (SELECT array_agg(k.run ORDER BY k.run, k.id) AS run, array_agg(k.id ORDER BY k.run, k.id) AS id,
                    array_agg(k.body ORDER BY k.run, k.id) AS body, array_agg(false) AS signal
               FROM (SELECT m_run[t.place] AS run, m_id[t.place] AS id,
                            CASE WHEN m_silent[t.place] AND t.details IS NOT NULL
                                 -- The row knows a heartbeat that the report does not mention.
                                 THEN '{"ActivityOutcome":{"last_heartbeat":'::bytea || t.details || ','::bytea
                                      || substr(m_body[t.place], length('{"ActivityOutcome":{') + 1)
                                 ELSE m_body[t.place] END AS body
                       FROM unnest(taken, heard) t (place, details)) k) m,
            LATERAL dacapo.send_v1(0, r_shard, r_run, m.run, m.id, m.body, m.signal) s;
        owners := sent.owners;
        queues := sent.queues;
    END IF;
END
$$;

-- Takes unowned runs from one queue, by priority and age. Gives whether the claimer lives, what it owns now, and ready rows
-- of runs that have an owner: they go, their owners are to look. Who owns a run is what the lock returned; the change is a
-- statement of its own, because the row may have moved since the snapshot of the one that locked it.
CREATE FUNCTION dacapo.claim_v1(
    claimer uuid, of_namespace text, of_queue text, of_types text[], at_most bigint,
    OUT lives boolean, OUT shards smallint[], OUT runs uuid[], OUT epochs integer[], OUT nexts bigint[],
    OUT stale_shards smallint[], OUT stale_runs uuid[], OUT stale_owners uuid[]
) LANGUAGE plpgsql AS $$
DECLARE
    l_shards smallint[];
    l_runs   uuid[];
    l_owners uuid[];
BEGIN
    PERFORM FROM dacapo.workers w
      WHERE w.worker = claimer AND NOT w.dead AND w.lease_until > clock_timestamp() FOR KEY SHARE;
    lives := FOUND;
    IF NOT lives THEN
        RETURN;
    END IF;
    SELECT array_agg(l.shard), array_agg(l.run_id), array_agg(l.owner) INTO l_shards, l_runs, l_owners
      FROM (SELECT y.shard, y.run_id, r.owner
              FROM dacapo.ready y,
                   LATERAL (SELECT o.owner FROM dacapo.runs_open o
                             WHERE o.shard = y.shard AND o.run_id = y.run_id FOR NO KEY UPDATE SKIP LOCKED) r
             WHERE y.namespace = of_namespace AND y.task_queue = of_queue AND y.visible_at <= statement_timestamp()
               AND y.workflow_type = ANY (of_types)
             ORDER BY y.namespace, y.task_queue, y.priority, y.visible_at LIMIT at_most
               FOR UPDATE OF y SKIP LOCKED) l;
    IF l_runs IS NULL THEN
        RETURN;
    END IF;
    WITH taken AS (
        UPDATE dacapo.runs_open r SET owner = claimer, owner_epoch = r.owner_epoch + 1, parked = false
          FROM (SELECT l.tid FROM unnest(l_shards, l_runs, l_owners) k (shard, run_id, owner),
                       LATERAL (SELECT o.ctid AS tid FROM dacapo.runs_open o
                                 WHERE o.shard = k.shard AND o.run_id = k.run_id OFFSET 0) l
                 WHERE k.owner IS NULL) k
         WHERE r.ctid = k.tid
        RETURNING r.shard, r.run_id, r.owner_epoch, r.next_event_id
    )
    SELECT array_agg(t.shard), array_agg(t.run_id), array_agg(t.owner_epoch), array_agg(t.next_event_id)
      INTO shards, runs, epochs, nexts FROM taken t;
    DELETE FROM dacapo.ready WHERE ctid = ANY (ARRAY(
        SELECT l.tid FROM unnest(l_shards, l_runs) k (shard, run_id),
               LATERAL (SELECT y.ctid AS tid FROM dacapo.ready y
                         WHERE y.shard = k.shard AND y.run_id = k.run_id OFFSET 0) l));
    SELECT array_agg(k.shard), array_agg(k.run_id), array_agg(k.owner) INTO stale_shards, stale_runs, stale_owners
      FROM unnest(l_shards, l_runs, l_owners) k (shard, run_id, owner) WHERE k.owner IS NOT NULL;
END
$$;
