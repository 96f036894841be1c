-- What runs want of each other, and runs that follow runs.

-- The first run of the chain that a run belongs to; the run itself when absent.
ALTER TABLE dacapo.runs_open ADD first_run_id uuid;
-- The run that goes on with the work of a closed one.
ALTER TABLE dacapo.runs_closed ADD successor uuid;

-- What transitions want of other runs: JSON as bytes. A row is written with the transition that wants it, and removed with
-- its delivery; the order of a run's rows is that of their messages.
CREATE TABLE dacapo.outbox (
    shard   smallint    NOT NULL,
    run_id  uuid        NOT NULL,
    message uuid        NOT NULL,
    wanted  bytea       NOT NULL,
    due_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, run_id, message)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0.5);

-- Deliveries, oldest first.
CREATE INDEX outbox_due ON dacapo.outbox (due_at);

-- What became of updates, for those who wait. Kept after the close. An answer to one request names it; news of everyone who
-- waits for the update have the nil uuid there.
CREATE TABLE dacapo.updates (
    shard      smallint    NOT NULL,
    run_id     uuid        NOT NULL,
    update_id  text        COLLATE "C" NOT NULL,
    message    uuid        NOT NULL,
    stage      bytea       NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, run_id, update_id, message)
) WITH (fillfactor = 70);

COMMENT ON COLUMN dacapo.activities.task IS
    'JSON as bytes; what operators and the attempt itself have made of the activity follows a byte 30, which JSON never has';
COMMENT ON COLUMN dacapo.activities.claimed_by IS
    'the worker that runs the attempt; the nil uuid where it is completed from outside, so that nobody takes it';

-- Writes what only transitions between runs have, in the statement that appends or starts and after it; through says which
-- items were let through. Successors (s_*) come with the end of the item that they name and follow the items in places:
-- passed, for dacapo.rows_v1, holds only theirs. A successor is its writer's where that still lives, and ready where not.
CREATE FUNCTION dacapo.between_v1(
    i_shard smallint[], i_run uuid[], i_owner uuid[], through integer[],
    o_item integer[], o_id uuid[], o_wanted bytea[],
    m_item integer[], m_id uuid[], m_body bytea[],
    h_item integer[], h_id bigint[], h_state bytea[], h_visible timestamptz[],
    y_item integer[], y_id bigint[], y_since timestamptz[],
    g_item integer[], g_memo bytea[], g_attributes text[],
    n_item integer[], n_update text[], n_message uuid[], n_stage bytea[],
    s_item integer[], s_shard smallint[], s_run uuid[], s_namespace text[], s_workflow_id text[], s_type text[],
    s_queue text[], s_priority smallint[], s_next bigint[], s_signals bigint[], s_events bytea[], s_started timestamptz[],
    s_memo bytea[], s_attributes text[], s_first uuid[], s_owned boolean[], s_ready timestamptz[],
    s_m_place integer[], s_m_id uuid[], s_m_body bytea[],
    OUT passed boolean[], OUT owners uuid[], OUT woken text[]
) LANGUAGE plpgsql AS $$
DECLARE
    alive uuid[] := '{}';
BEGIN
    IF cardinality(o_item) > 0 THEN
        INSERT INTO dacapo.outbox (shard, run_id, message, wanted)
        SELECT i_shard[n.item], i_run[n.item], n.id, n.wanted FROM unnest(o_item, o_id, o_wanted) n (item, id, wanted)
         WHERE n.item = ANY (through);
    END IF;
    IF cardinality(m_item) > 0 THEN
        INSERT INTO dacapo.inbox (shard, run_id, message, body)
        SELECT i_shard[n.item], i_run[n.item], n.id, n.body FROM unnest(m_item, m_id, m_body) n (item, id, body)
         WHERE n.item = ANY (through);
    END IF;
    IF cardinality(h_item) + cardinality(y_item) > 0 THEN
        -- In one order, because heartbeats and claims take many at once.
        PERFORM FROM (SELECT i_shard[k.item] AS shard, i_run[k.item] AS run_id, k.id
                        FROM unnest(h_item || y_item, h_id || y_id) k (item, id)
                       WHERE k.item = ANY (through) ORDER BY 1, 2, 3) k,
              LATERAL (SELECT FROM dacapo.activities a
                        WHERE a.shard = k.shard AND a.run_id = k.run_id AND a.activity_id = k.id FOR UPDATE) l;
        WITH told AS (
            UPDATE dacapo.activities a
               SET task = CASE position('\x1e'::bytea IN a.task) WHEN 0 THEN a.task
                              ELSE substring(a.task FOR position('\x1e'::bytea IN a.task) - 1) END
                          || COALESCE('\x1e'::bytea || k.state, ''::bytea),
                   visible_at = CASE WHEN a.claimed_by IS NULL THEN k.visible_at ELSE a.visible_at END
              FROM (SELECT n.state, n.visible_at, l.tid
                      FROM unnest(h_item, h_id, h_state, h_visible) n (item, id, state, visible_at),
                           LATERAL (SELECT x.ctid AS tid FROM dacapo.activities x WHERE x.shard = i_shard[n.item]
                                       AND x.run_id = i_run[n.item] AND x.activity_id = n.id OFFSET 0) l
                     WHERE n.item = ANY (through)) k
             WHERE a.ctid = k.tid
            RETURNING a.task_queue, a.claimed_by, a.reported
        )
        SELECT array_agg(DISTINCT t.task_queue) INTO woken FROM told t WHERE t.claimed_by IS NULL AND NOT t.reported;
        UPDATE dacapo.activities a
           SET claimed_by = '00000000-0000-0000-0000-000000000000', claimed_at = k.since, heard_at = clock_timestamp(),
               deadline = LEAST(k.since + a.start_to_close_ms * interval '1 ms',
                                clock_timestamp() + a.heartbeat_ms * interval '1 ms', a.schedule_to_close_at)
          FROM (SELECT n.since, l.tid FROM unnest(y_item, y_id, y_since) n (item, id, since),
                       LATERAL (SELECT x.ctid AS tid FROM dacapo.activities x WHERE x.shard = i_shard[n.item]
                                   AND x.run_id = i_run[n.item] AND x.activity_id = n.id OFFSET 0) l
                 WHERE n.item = ANY (through)) k
         WHERE a.ctid = k.tid;
    END IF;
    IF cardinality(g_item) > 0 THEN
        UPDATE dacapo.runs_open r SET memo = n.memo, search_attributes = n.attributes::jsonb
          FROM unnest(g_item, g_memo, g_attributes) n (item, memo, attributes)
         WHERE n.item = ANY (through) AND r.shard = i_shard[n.item] AND r.run_id = i_run[n.item];
        UPDATE dacapo.runs_closed c SET memo = n.memo, search_attributes = n.attributes::jsonb
          FROM unnest(g_item, g_memo, g_attributes) n (item, memo, attributes)
         WHERE n.item = ANY (through) AND c.shard = i_shard[n.item] AND c.run_id = i_run[n.item];
    END IF;
    IF cardinality(n_item) > 0 THEN
        INSERT INTO dacapo.updates (shard, run_id, update_id, message, stage)
        SELECT i_shard[n.item], i_run[n.item], n.update_id, n.message, n.stage
          FROM unnest(n_item, n_update, n_message, n_stage) n (item, update_id, message, stage)
         WHERE n.item = ANY (through)
        ON CONFLICT (shard, run_id, update_id, message) DO UPDATE
           SET stage = excluded.stage, written_at = clock_timestamp();
    END IF;
    IF cardinality(s_item) = 0 THEN
        passed := array_fill(false, ARRAY[cardinality(i_run)]);
        owners := i_owner;
        RETURN;
    END IF;
    IF true = ANY (s_owned) THEN
        -- Nobody declares the owner dead from here on without finding the successors afterwards.
        SELECT COALESCE(array_agg(l.worker), '{}') INTO alive
          FROM (SELECT DISTINCT i_owner[n.item] AS worker FROM unnest(s_item, s_owned) n (item, owned)
                 WHERE n.owned AND n.item = ANY (through) ORDER BY 1) k,
               LATERAL (SELECT w.worker FROM dacapo.workers w WHERE w.worker = k.worker AND NOT w.dead
                           AND w.lease_until > clock_timestamp() FOR KEY SHARE) l;
    END IF;
    SELECT array_fill(false, ARRAY[cardinality(i_run)]) || array_agg(n.item = ANY (through) ORDER BY n.place),
           i_owner || array_agg(CASE WHEN n.owned AND i_owner[n.item] = ANY (alive) THEN i_owner[n.item] END
                                ORDER BY n.place)
      INTO passed, owners FROM unnest(s_item, s_owned) WITH ORDINALITY n (item, owned, place);
    -- The workflow id is free: the run that held it was closed by this very statement.
    INSERT INTO dacapo.runs_open (shard, run_id, namespace, workflow_id, workflow_type, task_queue, priority,
           next_event_id, signals, started_at, memo, search_attributes, first_run_id, owner, owner_epoch)
    SELECT n.shard, n.run_id, n.namespace, n.workflow_id, n.type, n.queue, n.priority, n.next, n.signals, n.started,
           n.memo, n.attributes::jsonb, n.first, owners[cardinality(i_run) + n.place],
           CASE WHEN owners[cardinality(i_run) + n.place] IS NULL THEN 0 ELSE 1 END
      FROM unnest(s_shard, s_run, s_namespace, s_workflow_id, s_type, s_queue, s_priority, s_next, s_signals, s_started,
                  s_memo, s_attributes, s_first) WITH ORDINALITY
           n (shard, run_id, namespace, workflow_id, type, queue, priority, next, signals, started, memo, attributes, first,
              place)
     WHERE passed[cardinality(i_run) + n.place];
    INSERT INTO dacapo.history (shard, run_id, first_event_id, owner_epoch, events)
    SELECT s_shard[n.place], s_run[n.place], 1,
           CASE WHEN owners[cardinality(i_run) + n.place] IS NULL THEN 0 ELSE 1 END, n.events
      FROM unnest(s_events) WITH ORDINALITY n (events, place) WHERE passed[cardinality(i_run) + n.place];
    INSERT INTO dacapo.ready (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
    SELECT n.shard, n.run_id, n.namespace, n.queue, n.type, n.priority, GREATEST(n.ready_at, clock_timestamp())
      FROM unnest(s_shard, s_run, s_namespace, s_queue, s_type, s_priority, s_ready) WITH ORDINALITY
           n (shard, run_id, namespace, queue, type, priority, ready_at, place)
     WHERE passed[cardinality(i_run) + n.place] AND owners[cardinality(i_run) + n.place] IS NULL;
    INSERT INTO dacapo.inbox (shard, run_id, message, body)
    SELECT s_shard[n.place], s_run[n.place], n.id, n.body FROM unnest(s_m_place, s_m_id, s_m_body) n (place, id, body)
     WHERE passed[cardinality(i_run) + n.place];
    UPDATE dacapo.runs_closed c SET successor = n.run_id
      FROM unnest(s_item, s_run) n (item, run_id)
     WHERE n.item = ANY (through) AND c.shard = i_shard[n.item] AND c.run_id = i_run[n.item];
END
$$;

-- Takes due rows of the outbox, oldest first, those of one run in order: whoever has locked the first row of a run has all
-- of them, until the transaction ends.
CREATE FUNCTION dacapo.outbox_take_v1(at_most bigint)
RETURNS TABLE (shard smallint, run_id uuid, message uuid, wanted bytea) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    l_shards smallint[];
    l_runs   uuid[];
BEGIN
    SELECT array_agg(k.shard), array_agg(k.run_id) INTO l_shards, l_runs
      FROM (SELECT DISTINCT d.shard, d.run_id
              FROM (SELECT o.shard, o.run_id FROM dacapo.outbox o WHERE o.due_at <= statement_timestamp()
                     ORDER BY o.due_at LIMIT at_most) d) k,
           LATERAL (SELECT o.message FROM dacapo.outbox o WHERE o.shard = k.shard AND o.run_id = k.run_id
                     ORDER BY o.shard, o.run_id, o.message LIMIT 1) h,
           LATERAL (SELECT FROM dacapo.outbox o WHERE o.shard = k.shard AND o.run_id = k.run_id AND o.message = h.message
                       AND o.due_at <= statement_timestamp() FOR UPDATE SKIP LOCKED) l;
    IF l_runs IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT o.shard, o.run_id, o.message, o.wanted
      FROM unnest(l_shards, l_runs) k (shard, run_id),
           LATERAL (SELECT * FROM dacapo.outbox o WHERE o.shard = k.shard AND o.run_id = k.run_id
                     ORDER BY o.message LIMIT at_most) o
     ORDER BY 1, 2, 3 LIMIT at_most;
END
$$;

-- Questions to the code of open runs, and their answers: of use for seconds, so a crash may take them. Whoever asks does so
-- again, and removes what it asked.
CREATE UNLOGGED TABLE dacapo.queries (
    shard    smallint    NOT NULL,
    run_id   uuid        NOT NULL,
    query    uuid        NOT NULL,
    question bytea       NOT NULL,
    answer   bytea,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, run_id, query)
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
