-- Keys lead with the run instead of the shard (docs/write-path.md, "Plans"): the run decides, and runs that were started one
-- after the other lie beside each other, where their rows were spread over 64 places of each index. The constraints are what
-- they were: the same columns in another order, so that tables can still be divided by shard.

ALTER TABLE dacapo.runs_open DROP CONSTRAINT runs_open_pkey, ADD CONSTRAINT runs_open_pkey PRIMARY KEY (run_id, shard);
ALTER TABLE dacapo.runs_closed DROP CONSTRAINT runs_closed_pkey, ADD CONSTRAINT runs_closed_pkey PRIMARY KEY (run_id, shard);
ALTER TABLE dacapo.history
    DROP CONSTRAINT history_pkey, ADD CONSTRAINT history_pkey PRIMARY KEY (run_id, shard, first_event_id);
ALTER TABLE dacapo.published DROP CONSTRAINT published_pkey, ADD CONSTRAINT published_pkey PRIMARY KEY (run_id, shard, name);
ALTER TABLE dacapo.inbox DROP CONSTRAINT inbox_pkey, ADD CONSTRAINT inbox_pkey PRIMARY KEY (run_id, shard, message);
ALTER TABLE dacapo.outbox DROP CONSTRAINT outbox_pkey, ADD CONSTRAINT outbox_pkey PRIMARY KEY (run_id, shard, message);
ALTER TABLE dacapo.ready DROP CONSTRAINT ready_pkey, ADD CONSTRAINT ready_pkey PRIMARY KEY (run_id, shard);
ALTER TABLE dacapo.activities
    DROP CONSTRAINT activities_pkey, ADD CONSTRAINT activities_pkey PRIMARY KEY (run_id, shard, activity_id);
ALTER TABLE dacapo.timers DROP CONSTRAINT timers_pkey, ADD CONSTRAINT timers_pkey PRIMARY KEY (run_id, shard, timer_id);
ALTER TABLE dacapo.updates
    DROP CONSTRAINT updates_pkey, ADD CONSTRAINT updates_pkey PRIMARY KEY (run_id, shard, update_id, message);
ALTER TABLE dacapo.queries DROP CONSTRAINT queries_pkey, ADD CONSTRAINT queries_pkey PRIMARY KEY (run_id, shard, query);
ALTER TABLE dacapo.branches DROP CONSTRAINT branches_pkey, ADD CONSTRAINT branches_pkey PRIMARY KEY (run_id, shard, branch);
ALTER TABLE dacapo.dead_activities
    DROP CONSTRAINT dead_activities_pkey, ADD CONSTRAINT dead_activities_pkey PRIMARY KEY (run_id, shard, activity_id);

-- The key answers it now.
DROP INDEX dacapo.dead_activities_run;

-- Locks are taken in the order of the keys: by run, then by shard. The functions are those that there were, with that order; what
-- an older process sorts by shard may wait in a circle with a newer one until the server ends that, and is repeated.
DO $$
DECLARE
    change record;
    before text;
    after  text;
BEGIN
    FOR change IN
        SELECT * FROM (VALUES
            ('rows_v1', 'ORDER BY 1, 2, 3) k,', 'ORDER BY 2, 1, 3) k,'),
            ('between_v1', 'ORDER BY 1, 2, 3) k,', 'ORDER BY 2, 1, 3) k,'),
            ('report_v1', 'ORDER BY 1, 2, 3) k,', 'ORDER BY 2, 1, 3) k,'),
            ('give_back_v1', 'ORDER BY k.shard, k.run_id) k,', 'ORDER BY k.run_id, k.shard) k,'),
            ('give_back_v1', 'ORDER BY b.shard, b.run_id', 'ORDER BY b.run_id, b.shard'),
            ('take_over_v1', 'ORDER BY t.shard, t.run_id', 'ORDER BY t.run_id, t.shard')
        ) c (name, was, becomes)
    LOOP
        SELECT pg_get_functiondef(p.oid) INTO STRICT before
          FROM pg_proc p WHERE p.pronamespace = 'dacapo'::regnamespace AND p.proname = change.name;
        after := replace(before, change.was, change.becomes);
        IF after = before THEN
            RAISE EXCEPTION 'dacapo.% has no "%"', change.name, change.was;
        END IF;
        EXECUTE after;
    END LOOP;
END
$$;
