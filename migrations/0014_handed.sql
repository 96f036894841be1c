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
