-- Starts that go to a worker at once (docs/ownership-protocol.md). Of what a short run costs the database, a fifth was the
-- row that says it is ready, its removal, and the change of owner by the claim; and of several workers that hear of ready
-- rows all but one look in vain.

-- Until when a worker takes starts; it says so anew with each renewal of its lease.
ALTER TABLE dacapo.workers ADD COLUMN takes_until timestamptz;

-- Runs that were started for a worker which has not taken them yet: one row for each flush of starts. That the worker owns
-- them is said by their rows alone; this one tells it which they are, and others which it leaves lying.
CREATE TABLE dacapo.handed (
    handed_id bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    worker    uuid        NOT NULL,
    handed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    shards    smallint[]  NOT NULL,
    runs      uuid[]      NOT NULL,
    -- The next event of each run: who finds another there is too late to give it back.
    nexts     bigint[]    NOT NULL,
    PRIMARY KEY (worker, handed_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0.5);

-- A flush of 200 runs fits into a page; compressing random ids is for nothing.
ALTER TABLE dacapo.handed ALTER shards SET STORAGE PLAIN, ALTER runs SET STORAGE PLAIN, ALTER nexts SET STORAGE PLAIN;

-- A worker that takes starts of all these queues and types, drawn by lot and held against being marked dead; none if nobody
-- does.
CREATE FUNCTION dacapo.taker_v1(of_namespace text, of_queues text[], of_types text[]) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    chosen uuid;
BEGIN
    SELECT w.worker INTO chosen FROM dacapo.workers w
     WHERE w.takes_until > clock_timestamp() AND NOT w.dead AND w.lease_until > clock_timestamp()
       AND w.namespace = of_namespace AND w.queues @> of_queues AND w.workflow_types @> of_types
     ORDER BY random() LIMIT 1 FOR KEY SHARE SKIP LOCKED;
    RETURN chosen;
END
$$;

-- Notes what a flush of starts hands to a worker; nothing where none was chosen, or all were refused.
CREATE FUNCTION dacapo.hand_v1(
    taker uuid, may_own boolean, refused integer[], i_shard smallint[], i_run uuid[], i_next bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    handed bigint;
BEGIN
    IF taker IS NULL OR NOT may_own THEN
        RETURN NULL;
    END IF;
    IF cardinality(refused) > 0 THEN
        SELECT array_agg(n.shard), array_agg(n.run), array_agg(n.next) INTO i_shard, i_run, i_next
          FROM unnest(i_shard, i_run, i_next) WITH ORDINALITY n (shard, run, next, place)
         WHERE n.place <> ALL (refused);
    END IF;
    INSERT INTO dacapo.handed (worker, shards, runs, nexts)
    SELECT taker, i_shard, i_run, i_next WHERE i_run IS NOT NULL RETURNING handed_id INTO handed;
    RETURN handed;
END
$$;

-- As start_one_v1, which stays for processes of the build before, and hands a run that is for anyone (with a namespace in `of_namespace`) to a worker that takes it.
CREATE FUNCTION dacapo.start_one_v2(
    new_owner uuid, of_namespace text, i_shard smallint, i_run uuid, i_namespace text, i_workflow_id text, i_type text,
    i_queue text, i_priority smallint, i_next bigint, i_signals bigint, i_events bytea, i_started timestamptz, i_memo bytea,
    i_attributes text, i_problem bytea, i_request text, i_ready timestamptz,
    OUT may_own boolean, OUT started boolean, OUT taker uuid, OUT handed bigint
) LANGUAGE plpgsql AS $$
BEGIN
    may_own := true;
    started := true;
    IF new_owner IS NOT NULL THEN
        PERFORM FROM dacapo.workers w
          WHERE w.worker = new_owner AND NOT w.dead AND w.lease_until > clock_timestamp() FOR KEY SHARE;
        IF NOT FOUND THEN
            may_own := false;
            RETURN;
        END IF;
    ELSIF of_namespace IS NOT NULL THEN
        taker := dacapo.taker_v1(of_namespace, ARRAY[i_queue], ARRAY[i_type]);
        new_owner := taker;
    END IF;
    BEGIN
        INSERT INTO dacapo.runs_open (shard, run_id, namespace, workflow_id, workflow_type, task_queue, priority,
               next_event_id, signals, started_at, memo, search_attributes, problem, owner, owner_epoch)
        VALUES (i_shard, i_run, i_namespace, i_workflow_id, i_type, i_queue, i_priority, i_next, i_signals, i_started,
                i_memo, i_attributes::jsonb, i_problem, new_owner, CASE WHEN new_owner IS NULL THEN 0 ELSE 1 END);
        -- The history of a run stays when it closes: its key refuses a run that was there before.
        INSERT INTO dacapo.history (shard, run_id, first_event_id, owner_epoch, events)
        VALUES (i_shard, i_run, 1, CASE WHEN new_owner IS NULL THEN 0 ELSE 1 END, i_events);
        IF i_request IS NOT NULL THEN
            INSERT INTO dacapo.start_requests (shard, namespace, workflow_id, request_id, run_id)
            VALUES (i_shard, i_namespace, i_workflow_id, i_request, i_run);
        END IF;
        IF new_owner IS NULL THEN
            INSERT INTO dacapo.ready (shard, run_id, namespace, task_queue, workflow_type, priority, visible_at)
            VALUES (i_shard, i_run, i_namespace, i_queue, i_type, i_priority, GREATEST(i_ready, clock_timestamp()));
        END IF;
        IF taker IS NOT NULL THEN
            INSERT INTO dacapo.handed (worker, shards, runs, nexts)
            VALUES (taker, ARRAY[i_shard], ARRAY[i_run], ARRAY[i_next]) RETURNING handed_id INTO handed;
        END IF;
    EXCEPTION WHEN unique_violation THEN
        started := false;
        taker := NULL;
        handed := NULL;
    END;
END
$$;
