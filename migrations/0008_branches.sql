-- Runs that begin with a part of another's history.

-- One row for each branch, under its source: the way from a run to what was made of it. The other way stands in the first
-- event of the branch. Nothing but branches writes here.
CREATE TABLE dacapo.branches (
    shard       smallint    NOT NULL,
    run_id      uuid        NOT NULL,
    branch      uuid        NOT NULL,
    kind        text        NOT NULL,
    workflow_id text        COLLATE "C" NOT NULL,
    event_id    bigint      NOT NULL,
    branched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, run_id, branch)
);

-- What waits for somebody: dead letters.

-- Open runs whose workflow task fails, or that killed their workers. No other run has an entry, and no change of another
-- run touches the index.
ALTER TABLE dacapo.runs_open ADD parked_at timestamptz;
CREATE INDEX runs_open_stuck ON dacapo.runs_open (run_id) WHERE problem IS NOT NULL OR parked;

-- Activities that have used up their attempts, until their run ends otherwise than by a failure, or is reset.
CREATE TABLE dacapo.dead_activities (
    shard         smallint    NOT NULL,
    run_id        uuid        NOT NULL,
    activity_id   bigint      NOT NULL,
    activity_type text        COLLATE "C" NOT NULL,
    attempts      integer     NOT NULL,
    died_at       timestamptz NOT NULL,
    failure       bytea       NOT NULL,
    PRIMARY KEY (shard, run_id, activity_id)
);

-- Lists, in the order of the runs' ids.
CREATE INDEX dead_activities_run ON dacapo.dead_activities (run_id, activity_id);

-- Writes activities that have used up their attempts, in the statement that appends and after it; through says which items
-- were let through.
CREATE FUNCTION dacapo.bury_v1(
    i_shard smallint[], i_run uuid[], through integer[],
    d_item integer[], d_id bigint[], d_type text[], d_attempts integer[], d_died timestamptz[], d_failure bytea[],
    OUT buried bigint
) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO dacapo.dead_activities (shard, run_id, activity_id, activity_type, attempts, died_at, failure)
    SELECT i_shard[n.item], i_run[n.item], n.id, n.type, n.attempts, n.died_at, n.failure
      FROM unnest(d_item, d_id, d_type, d_attempts, d_died, d_failure) n (item, id, type, attempts, died_at, failure)
     WHERE n.item = ANY (through)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS buried = ROW_COUNT;
END
$$;
