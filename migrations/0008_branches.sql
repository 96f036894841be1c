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
