-- What open runs wait for, and the fleet that serves them. All of these tables churn: rows live for milliseconds to days,
-- so vacuum comes early and does not pause, and statistics (which make cached plans be made again) come late.

-- One row per process. Its lease is what owns runs and claims; presence says that the process also holds a session
-- advisory lock, whose absence tells sooner than the lease that it is gone.
CREATE TABLE dacapo.workers (
    worker         uuid        NOT NULL PRIMARY KEY,
    identity       text        NOT NULL,
    build_id       text,
    namespace      text        NOT NULL,
    queues         text[]      NOT NULL,
    workflow_types text[]      NOT NULL,
    activity_types text[]      NOT NULL,
    started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until    timestamptz NOT NULL,
    presence       boolean     NOT NULL DEFAULT false,
    dead           boolean     NOT NULL DEFAULT false,
    slots          bigint      NOT NULL,
    busy           bigint      NOT NULL DEFAULT 0,
    owned          bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);

-- Messages to a run from outside its owner. The owner moves them into history in the statement that appends.
CREATE TABLE dacapo.inbox (
    shard   smallint    NOT NULL,
    run_id  uuid        NOT NULL,
    message uuid        NOT NULL,
    body    bytea       NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, run_id, message)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0.5);

-- Unowned runs with something to do.
CREATE TABLE dacapo.ready (
    run_id        uuid        NOT NULL,
    visible_at    timestamptz NOT NULL,
    shard         smallint    NOT NULL,
    priority      smallint    NOT NULL,
    namespace     text        NOT NULL,
    task_queue    text        NOT NULL,
    workflow_type text        NOT NULL,
    PRIMARY KEY (shard, run_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0.5);

-- Claims of runs: one queue, by priority, then oldest first.
CREATE INDEX ready_claim ON dacapo.ready (namespace, task_queue, priority, visible_at);

-- Attempts of activities that wait for a worker or for their time, that a worker has claimed, or whose outcome is in the
-- run's inbox (reported). The row is the only place that knows which attempt it is, so it stays until the run has taken
-- the outcome in.
CREATE TABLE dacapo.activities (
    run_id               uuid        NOT NULL,
    activity_id          bigint      NOT NULL,
    visible_at           timestamptz NOT NULL,
    deadline             timestamptz,
    claim_token          bigint      NOT NULL DEFAULT 0,
    claimed_at           timestamptz,
    heard_at             timestamptz,
    schedule_to_close_at timestamptz,
    start_to_close_ms    bigint,
    heartbeat_ms         bigint,
    claimed_by           uuid,
    attempt              integer     NOT NULL CHECK (attempt > 0),
    shard                smallint    NOT NULL,
    priority             smallint    NOT NULL,
    cancel_requested     boolean     NOT NULL DEFAULT false,
    reported             boolean     NOT NULL DEFAULT false,
    namespace            text        NOT NULL,
    task_queue           text        NOT NULL,
    activity_type        text        NOT NULL,
    task                 bytea       NOT NULL,
    last_failure         bytea,
    last_heartbeat       bytea,
    PRIMARY KEY (shard, run_id, activity_id),
    CHECK (claimed_by IS NULL OR claimed_at IS NOT NULL),
    CHECK (NOT reported OR (claimed_by IS NULL AND deadline IS NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5);

-- Claims of activities: one queue, by priority, then oldest first.
CREATE INDEX activities_claim ON dacapo.activities (namespace, task_queue, priority, visible_at)
    WHERE claimed_by IS NULL AND NOT reported;
-- Take-over of what a dead worker had claimed.
CREATE INDEX activities_claimed ON dacapo.activities (claimed_by) WHERE claimed_by IS NOT NULL;
-- Attempts whose time has passed.
CREATE INDEX activities_deadline ON dacapo.activities (deadline) WHERE deadline IS NOT NULL;

-- Durable timers. The owner of a run fires its own; due ones of unowned runs become messages.
CREATE TABLE dacapo.timers (
    run_id   uuid        NOT NULL,
    timer_id bigint      NOT NULL,
    fire_at  timestamptz NOT NULL,
    shard    smallint    NOT NULL,
    PRIMARY KEY (shard, run_id, timer_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0.5);

-- Due timers, earliest first.
CREATE INDEX timers_due ON dacapo.timers (fire_at);
