-- Flushes of one item. Where little goes on nearly every flush is one, and what it costs is not the rows but the arrays that
-- could hold hundreds: each is copied and unfolded for its single value.

-- One item of start_v2, optimistic, without rows of activities, timers or published values. Where a key is taken nothing
-- stays, and the caller asks start_v1.
CREATE FUNCTION dacapo.start_one_v1(
    new_owner uuid, i_shard smallint, i_run uuid, i_namespace text, i_workflow_id text, i_type text, i_queue text,
    i_priority smallint, i_next bigint, i_signals bigint, i_events bytea, i_started timestamptz, i_memo bytea,
    i_attributes text, i_problem bytea, i_request text, i_ready timestamptz,
    OUT may_own boolean, OUT started boolean
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
    EXCEPTION WHEN unique_violation THEN
        started := false;
    END;
END
$$;

-- One item of append_v3 that does not close its run and has no rows beside history.
CREATE FUNCTION dacapo.append_one_v1(
    i_shard smallint, i_run uuid, i_owner uuid, i_epoch integer, i_expected bigint, i_next bigint, i_signals bigint,
    i_events bytea, i_problem_change smallint, i_problem bytea, i_messages uuid[],
    OUT applied boolean
) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE dacapo.runs_open r
       SET next_event_id = i_next, signals = i_signals,
           problem = CASE i_problem_change WHEN 0 THEN r.problem ELSE i_problem END
     WHERE r.shard = i_shard AND r.run_id = i_run AND r.owner IS NOT DISTINCT FROM i_owner
       AND r.owner_epoch = i_epoch AND r.next_event_id = i_expected;
    applied := FOUND;
    IF NOT applied THEN
        RETURN;
    END IF;
    IF i_events IS NOT NULL THEN
        INSERT INTO dacapo.history (shard, run_id, first_event_id, owner_epoch, events)
        VALUES (i_shard, i_run, i_expected, i_epoch, i_events);
    END IF;
    IF cardinality(i_messages) > 0 THEN
        DELETE FROM dacapo.inbox b WHERE b.shard = i_shard AND b.run_id = i_run AND b.message = ANY (i_messages);
    END IF;
END
$$;

-- One item of append_v3 that closes its run and has no rows beside history.
CREATE FUNCTION dacapo.close_one_v1(
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
           AND r.owner_epoch = i_epoch AND r.next_event_id = i_expected
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
