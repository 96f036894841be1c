-- Starts, signals and cancels in transactions of users, and attempts whose outcome commits with the user's rows.

-- Which database this is: a transaction on another one must not be taken for one on this.
CREATE TABLE dacapo.home (
    id uuid NOT NULL PRIMARY KEY DEFAULT gen_random_uuid()
);
INSERT INTO dacapo.home DEFAULT VALUES;

CREATE FUNCTION dacapo.home_v1() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS
    $$ SELECT h.id || '/' || current_database() FROM dacapo.home h $$;

-- A row that a transaction of a user's wrote; its run_id is derived from the workflow id that it is for and names no run.
ALTER TABLE dacapo.outbox ADD enlisted boolean NOT NULL DEFAULT false;

-- What committed transactions wanted and could not have.
CREATE TABLE dacapo.undelivered (
    shard       smallint    NOT NULL,
    source      uuid        NOT NULL,
    message     uuid        NOT NULL,
    namespace   text        COLLATE "C" NOT NULL,
    workflow_id text        COLLATE "C" NOT NULL,
    run_id      uuid,
    problem     text        NOT NULL,
    other_run   uuid,
    wanted      bytea       NOT NULL,
    written_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, source, message)
);

COMMENT ON COLUMN dacapo.undelivered.run_id IS
    'of a start, the run that was not started; of a message, the run that it was for, where it named one';
COMMENT ON COLUMN dacapo.undelivered.other_run IS 'the run that was in the way';

-- Writes a row of the outbox in the caller's transaction, which locks nothing else and reads only what it wrote itself:
-- earlier has, where wanted, the rows for the same workflow id before this one.
CREATE FUNCTION dacapo.enlist_v1(
    of_home text, of_shard smallint, of_source uuid, of_message uuid, of_wanted bytea, of_channel text, looks boolean,
    OUT at_home boolean, OUT earlier bytea[]
) LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    at_home := of_home = dacapo.home_v1();
    IF NOT at_home THEN
        RETURN;
    END IF;
    IF looks THEN
        SELECT array_agg(o.wanted ORDER BY o.message) INTO earlier
          FROM dacapo.outbox o WHERE o.shard = of_shard AND o.run_id = of_source;
    END IF;
    INSERT INTO dacapo.outbox (shard, run_id, message, wanted, enlisted)
    VALUES (of_shard, of_source, of_message, of_wanted, true);
    PERFORM pg_notify(of_channel, '');
END
$$;

-- Takes the due rows of one source, as outbox_take_v1 does, and waits for whoever delivers them at the moment.
CREATE FUNCTION dacapo.outbox_take_of_v1(of_shard smallint, of_source uuid, at_most bigint)
RETURNS TABLE (shard smallint, run_id uuid, message uuid, wanted bytea) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    first uuid;
BEGIN
    LOOP
        SELECT o.message INTO first FROM dacapo.outbox o WHERE o.shard = of_shard AND o.run_id = of_source
         ORDER BY o.shard, o.run_id, o.message LIMIT 1;
        IF first IS NULL THEN
            RETURN;
        END IF;
        PERFORM FROM dacapo.outbox o WHERE o.shard = of_shard AND o.run_id = of_source AND o.message = first FOR UPDATE;
        -- A row that is not found any more was delivered while this waited.
        EXIT WHEN FOUND;
    END LOOP;
    RETURN QUERY
    SELECT o.shard, o.run_id, o.message, o.wanted FROM dacapo.outbox o
     WHERE o.shard = of_shard AND o.run_id = of_source AND o.due_at <= statement_timestamp()
     ORDER BY o.message LIMIT at_most;
END
$$;

-- Takes the report of one claimed attempt in the transaction of the attempt's own, or refuses it with an error, so that
-- what follows in the same message is not carried out. Gives whom to wake.
CREATE FUNCTION dacapo.report_in_transaction_v1(
    of_home text, of_shard smallint, of_run uuid, of_message uuid, of_body bytea, of_activity bigint, of_attempt integer,
    of_token bigint, of_worker uuid, is_silent boolean, OUT owner uuid, OUT queue text
) LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    reported record;
BEGIN
    IF of_home <> dacapo.home_v1() THEN
        RAISE EXCEPTION 'this is another database than the one that holds the run' USING ERRCODE = 'DC001';
    END IF;
    SELECT r.* INTO reported FROM dacapo.report_v1(ARRAY[of_shard], ARRAY[of_run], ARRAY[1], ARRAY[of_message],
        ARRAY[of_body], ARRAY[of_activity], ARRAY[of_attempt], ARRAY[of_token], ARRAY[of_worker], ARRAY[is_silent]) r;
    IF cardinality(reported.taken) = 0 THEN
        RAISE EXCEPTION 'attempt % of activity % of run % is not this worker''s any more', of_attempt, of_activity, of_run
            USING ERRCODE = 'DC002';
    END IF;
    owner := reported.owners[1];
    queue := reported.queues[1];
END
$$;
