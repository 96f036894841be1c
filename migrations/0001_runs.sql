-- Runs, their histories, and what is kept of them.
--
-- A run is open by having a row in runs_open and closed by having one in runs_closed; it is never in both. Every key leads
-- with the shard, shard = hash(namespace, workflow_id) mod 64, which all rows of a run share.

CREATE SCHEMA dacapo;

-- No column that an index holds changes between claim and close, so that every append is a HOT update; the free half of
-- each page is where the next version of a row goes.
CREATE TABLE dacapo.runs_open (
    run_id            uuid        NOT NULL,
    owner             uuid,
    next_event_id     bigint      NOT NULL CHECK (next_event_id > 1),
    signals           bigint      NOT NULL DEFAULT 0,
    progress_event_id bigint      NOT NULL DEFAULT 0,
    started_at        timestamptz NOT NULL,
    owner_epoch       integer     NOT NULL DEFAULT 0,
    takeovers         integer     NOT NULL DEFAULT 0,
    shard             smallint    NOT NULL,
    priority          smallint    NOT NULL CHECK (priority BETWEEN 1 AND 5),
    parked            boolean     NOT NULL DEFAULT false,
    namespace         text        NOT NULL,
    workflow_id       text        NOT NULL,
    workflow_type     text        NOT NULL,
    task_queue        text        NOT NULL,
    problem           bytea,
    memo              bytea,
    search_attributes jsonb,
    PRIMARY KEY (shard, run_id),
    CHECK (owner IS NULL OR owner_epoch > 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 1, autovacuum_analyze_scale_factor = 0.5);

-- At most one open run per workflow id; starts and look-ups by workflow id. Without the shard, which the id decides: were
-- it in here, a plan for a look-up by run that was made on a small table, where all indexes cost the same, could be to read
-- this index, and would be kept. (A database that is spread over machines by shard needs it in, as the last column.)
CREATE UNIQUE INDEX runs_open_workflow ON dacapo.runs_open (namespace, workflow_id);
-- Take-over, and the comparison of a worker's memory with the table.
CREATE INDEX runs_open_owner ON dacapo.runs_open (owner) WHERE owner IS NOT NULL;
-- Lists by search attribute.
CREATE INDEX runs_open_attributes ON dacapo.runs_open USING gin (search_attributes jsonb_path_ops)
    WHERE search_attributes IS NOT NULL;

CREATE TABLE dacapo.runs_closed (
    run_id            uuid        NOT NULL,
    events            bigint      NOT NULL CHECK (events > 1),
    signals           bigint      NOT NULL,
    started_at        timestamptz NOT NULL,
    closed_at         timestamptz NOT NULL,
    owner_epoch       integer     NOT NULL,
    shard             smallint    NOT NULL,
    priority          smallint    NOT NULL,
    namespace         text        NOT NULL,
    workflow_id       text        NOT NULL,
    workflow_type     text        NOT NULL,
    task_queue        text        NOT NULL,
    status            text        NOT NULL
        CHECK (status IN ('Completed', 'Failed', 'TimedOut', 'Canceled', 'Terminated')),
    -- The value and the failure as JSON. Large ones are not kept twice: both are then NULL and the last event says it.
    result            bytea,
    failure           bytea,
    memo              bytea,
    search_attributes jsonb,
    PRIMARY KEY (shard, run_id)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.2);

-- Id reuse policies, and the newest run of a workflow id.
CREATE INDEX runs_closed_workflow ON dacapo.runs_closed (namespace, workflow_id, started_at);
-- Lists, newest start first.
CREATE INDEX runs_closed_started ON dacapo.runs_closed (namespace, started_at);
-- Lists by search attribute.
CREATE INDEX runs_closed_attributes ON dacapo.runs_closed USING gin (search_attributes jsonb_path_ops)
    WHERE search_attributes IS NOT NULL;

-- One row per transition; never updated. The events are a JSON array as bytes, which Postgres does not look into.
CREATE TABLE dacapo.history (
    run_id         uuid        NOT NULL,
    first_event_id bigint      NOT NULL CHECK (first_event_id > 0),
    written_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    owner_epoch    integer     NOT NULL,
    shard          smallint    NOT NULL,
    events         bytea       NOT NULL,
    PRIMARY KEY (shard, run_id, first_event_id)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.2);

DO $$
BEGIN
    ALTER TABLE dacapo.history ALTER COLUMN events SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this server was built without lz4; histories are compressed with pglz';
END
$$;

-- Request ids of starts, and the run that each led to.
CREATE TABLE dacapo.start_requests (
    shard        smallint    NOT NULL,
    namespace    text        NOT NULL,
    workflow_id  text        NOT NULL,
    request_id   text        NOT NULL,
    run_id       uuid        NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, namespace, workflow_id, request_id)
);

-- What workflows publish for queries; kept after the close.
CREATE TABLE dacapo.published (
    shard        smallint    NOT NULL,
    run_id       uuid        NOT NULL,
    name         text        NOT NULL,
    value        bytea       NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, run_id, name)
) WITH (fillfactor = 70);

-- Bytes under their SHA-256 in lower-case hex.
CREATE TABLE dacapo.blobs (
    sha256    text        NOT NULL PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    bytes     bytea       NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Every run, open or closed, for lists and for people.
CREATE VIEW dacapo.runs AS
    SELECT shard, run_id, namespace, workflow_id, workflow_type, task_queue, 'Running'::text AS status, started_at,
           NULL::timestamptz AS closed_at, next_event_id - 1 AS events, owner, owner_epoch, parked, memo,
           search_attributes
      FROM dacapo.runs_open
    UNION ALL
    SELECT shard, run_id, namespace, workflow_id, workflow_type, task_queue, status, started_at,
           closed_at, events, NULL::uuid, owner_epoch, false, memo, search_attributes
      FROM dacapo.runs_closed;

-- Every event on a line of its own, for people.
CREATE VIEW dacapo.events AS
    SELECT h.shard, h.run_id, (e.value ->> 'event_id')::bigint AS event_id,
           to_timestamp((e.value ->> 'event_time')::numeric / 1000000) AS event_time, k.key AS event_type,
           k.value AS attributes, h.owner_epoch, h.written_at
      FROM dacapo.history h
     CROSS JOIN LATERAL json_array_elements(convert_from(h.events, 'UTF8')::json) e
     CROSS JOIN LATERAL json_each(e.value -> 'event') k;
