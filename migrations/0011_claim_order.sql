-- Claims that pass by what others are claiming at a low price. Several workers wake for the same news; all but one find
-- every row locked, and looked up the run of each before they knew.

-- As claim_v3, and locks ready rows before their runs. Neither waits for the other: both are skipped where somebody holds
-- them. A ready row whose run somebody holds stays; it is told by a row without an epoch, since it counts towards `at_most`.
CREATE FUNCTION dacapo.claim_v4(
    claimer uuid, of_namespace text, of_queue text, of_types text[], at_most bigint,
    from_priority smallint, from_visible timestamptz
) RETURNS TABLE (
    lives boolean, shard smallint, run_id uuid, owner uuid, owner_epoch integer, next_event_id bigint, events bytea[],
    messages uuid[], bodies bytea[], ids bigint[], attempts integer[], visible timestamptz[], claimers uuid[], tasks bytea[],
    failures bytea[], details bytea[],
    ready_priority smallint, ready_visible timestamptz
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    l_shards smallint[];
    l_runs   uuid[];
    l_owners uuid[];
    l_epochs integer[];
    l_nexts  bigint[];
    l_ready  tid[];
    l_free   tid[];
    l_priorities smallint[];
    l_visible    timestamptz[];
    changed  bigint;
BEGIN
    PERFORM FROM dacapo.workers w
      WHERE w.worker = claimer AND NOT w.dead AND w.lease_until > clock_timestamp() FOR KEY SHARE;
    IF NOT FOUND THEN
        lives := false;
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT array_agg(l.shard), array_agg(l.run_id), array_agg(l.owner), array_agg(l.owner_epoch + 1),
           array_agg(l.next_event_id), array_agg(l.ready_tid) FILTER (WHERE l.run_tid IS NOT NULL),
           array_agg(l.run_tid) FILTER (WHERE l.owner IS NULL AND l.run_tid IS NOT NULL),
           array_agg(l.priority), array_agg(l.visible_at)
      INTO l_shards, l_runs, l_owners, l_epochs, l_nexts, l_ready, l_free, l_priorities, l_visible
      FROM (SELECT y.shard, y.run_id, y.priority, y.visible_at, y.ready_tid, r.owner, r.owner_epoch, r.next_event_id, r.run_tid
              FROM (SELECT y.shard, y.run_id, y.priority, y.visible_at, y.ctid AS ready_tid FROM dacapo.ready y
                     WHERE y.namespace = of_namespace AND y.task_queue = of_queue
                       AND (y.priority, y.visible_at) >= (from_priority, from_visible)
                       AND y.visible_at <= statement_timestamp() AND y.workflow_type = ANY (of_types)
                     ORDER BY y.namespace, y.task_queue, y.priority, y.visible_at LIMIT at_most
                       FOR UPDATE SKIP LOCKED) y
                   LEFT JOIN LATERAL (SELECT o.owner, o.owner_epoch, o.next_event_id, o.ctid AS run_tid
                                        FROM dacapo.runs_open o WHERE o.shard = y.shard AND o.run_id = y.run_id
                                         FOR NO KEY UPDATE SKIP LOCKED) r ON true) l;
    IF l_runs IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    -- Both kinds of rows are locked: they stay where the lock found them.
    UPDATE dacapo.runs_open r SET owner = claimer, owner_epoch = r.owner_epoch + 1, parked = false
     WHERE r.ctid = ANY (l_free);
    GET DIAGNOSTICS changed = ROW_COUNT;
    DELETE FROM dacapo.ready WHERE ctid = ANY (l_ready);
    IF changed <> COALESCE(cardinality(l_free), 0) THEN
        RAISE serialization_failure USING MESSAGE = 'a locked run has moved';
    END IF;
    RETURN QUERY
    SELECT true, k.shard, k.run_id, COALESCE(k.owner, claimer), k.epoch, k.next,
           CASE WHEN k.owner IS NULL AND k.epoch IS NOT NULL THEN ARRAY(SELECT h.events FROM dacapo.history h
               WHERE h.shard = k.shard AND h.run_id = k.run_id ORDER BY h.first_event_id) END,
           b.messages, b.bodies, a.ids, a.attempts, a.visible, a.claimers, a.tasks, a.failures, a.details, k.priority, k.visible
      FROM unnest(l_shards, l_runs, l_owners, l_epochs, l_nexts, l_priorities, l_visible)
           k (shard, run_id, owner, epoch, next, priority, visible),
           LATERAL (SELECT array_agg(b.message) AS messages, array_agg(b.body) AS bodies
                      FROM (SELECT b.message, b.body FROM dacapo.inbox b
                             WHERE b.shard = k.shard AND b.run_id = k.run_id AND k.owner IS NULL AND k.epoch IS NOT NULL
                             ORDER BY b.message) b) b,
           -- Only owners schedule activities, and epoch 1 is the first owner's.
           LATERAL (SELECT array_agg(a.activity_id) AS ids, array_agg(a.attempt) AS attempts,
                           array_agg(a.visible_at) AS visible, array_agg(a.claimed_by) AS claimers,
                           array_agg(a.task) AS tasks, array_agg(a.last_failure) AS failures,
                           array_agg(a.last_heartbeat) AS details
                      FROM dacapo.activities a WHERE a.shard = k.shard AND a.run_id = k.run_id
                       AND k.owner IS NULL AND k.epoch > 1) a;
END
$$;
