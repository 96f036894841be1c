//! What the tables must say of each other. Each statement gives a line of text for every case that breaks the rule.

/// A rule about rows.
pub(super) struct Check {
    pub(super) invariant: u8,
    pub(super) name: &'static str,
    pub(super) statement: &'static str,
}

/// The rules, in the order of the invariants.
pub(super) const CHECKS: &[Check] = &[
    Check {
        invariant: 1,
        name: "one open run per workflow id",
        statement: "
            SELECT format('workflow %s in namespace %s has %s open runs', workflow_id, namespace, count(*)) AS detail
              FROM dacapo.runs_open GROUP BY namespace, workflow_id HAVING count(*) > 1",
    },
    Check {
        invariant: 1,
        name: "a run exists once",
        statement: "
            SELECT format('run %s is open and closed', o.run_id) AS detail
              FROM dacapo.runs_open o JOIN dacapo.runs_closed c USING (shard, run_id)",
    },
    Check {
        invariant: 1,
        name: "a request led to a run",
        statement: "
            SELECT format('request %s of workflow %s names run %s, which is not there', q.request_id, q.workflow_id,
                          q.run_id) AS detail
              FROM dacapo.start_requests q
             WHERE NOT EXISTS (SELECT FROM dacapo.runs r WHERE r.shard = q.shard AND r.run_id = q.run_id)",
    },
    Check {
        invariant: 2,
        name: "history rows never change",
        statement: "
            SELECT format('%s rows of history were changed since statistics began', n_tup_upd) AS detail
              FROM pg_stat_user_tables WHERE schemaname = 'dacapo' AND relname = 'history' AND n_tup_upd > 0",
    },
    Check {
        invariant: 2,
        name: "history belongs to a run",
        statement: "
            SELECT format('history of run %s from event %s on belongs to no run', h.run_id, h.first_event_id) AS detail
              FROM dacapo.history h
             WHERE NOT EXISTS (SELECT FROM dacapo.runs_open o WHERE o.shard = h.shard AND o.run_id = h.run_id)
               AND NOT EXISTS (SELECT FROM dacapo.runs_closed c WHERE c.shard = h.shard AND c.run_id = h.run_id)",
    },
    Check {
        invariant: 7,
        name: "an owner is known",
        statement: "
            SELECT format('run %s is owned by worker %s, which has no row', o.run_id, o.owner) AS detail
              FROM dacapo.runs_open o
             WHERE o.owner IS NOT NULL AND NOT EXISTS (SELECT FROM dacapo.workers w WHERE w.worker = o.owner)",
    },
    Check {
        invariant: 7,
        name: "a claimer is known",
        statement: "
            SELECT format('activity %s of run %s is claimed by worker %s, which has no row', a.activity_id, a.run_id,
                          a.claimed_by) AS detail
              FROM dacapo.activities a
             WHERE a.claimed_by <> '00000000-0000-0000-0000-000000000000' AND NOT EXISTS (SELECT FROM dacapo.workers w WHERE w.worker = a.claimed_by)",
    },
    Check {
        invariant: 7,
        name: "a message to an unowned run wakes it",
        statement: "
            SELECT format('run %s has %s messages, no owner and no ready row', b.run_id, count(*)) AS detail
              FROM dacapo.inbox b JOIN dacapo.runs_open o USING (shard, run_id)
             WHERE o.owner IS NULL AND NOT o.parked
               AND NOT EXISTS (SELECT FROM dacapo.ready y WHERE y.shard = o.shard AND y.run_id = o.run_id)
             GROUP BY b.run_id",
    },
    Check {
        invariant: 7,
        name: "a reported attempt has its message",
        statement: "
            SELECT format('activity %s of run %s is reported and its outcome is nowhere', a.activity_id, a.run_id) AS detail
              FROM dacapo.activities a
             WHERE a.reported
               AND NOT EXISTS (SELECT FROM dacapo.inbox b WHERE b.shard = a.shard AND b.run_id = a.run_id)",
    },
    Check {
        invariant: 8,
        name: "a message points at an open run",
        statement: "
            SELECT format('message %s points at run %s, which is not open', b.message, b.run_id) AS detail
              FROM dacapo.inbox b
             WHERE NOT EXISTS (SELECT FROM dacapo.runs_open o WHERE o.shard = b.shard AND o.run_id = b.run_id)",
    },
    Check {
        invariant: 8,
        name: "a ready row points at an open run",
        statement: "
            SELECT format('run %s is ready and not open', y.run_id) AS detail FROM dacapo.ready y
             WHERE NOT EXISTS (SELECT FROM dacapo.runs_open o WHERE o.shard = y.shard AND o.run_id = y.run_id)",
    },
    Check {
        invariant: 8,
        name: "an activity points at an open run",
        statement: "
            SELECT format('activity %s points at run %s, which is not open', a.activity_id, a.run_id) AS detail
              FROM dacapo.activities a
             WHERE NOT EXISTS (SELECT FROM dacapo.runs_open o WHERE o.shard = a.shard AND o.run_id = a.run_id)",
    },
    Check {
        invariant: 8,
        name: "a timer points at an open run",
        statement: "
            SELECT format('timer %s points at run %s, which is not open', t.timer_id, t.run_id) AS detail
              FROM dacapo.timers t
             WHERE NOT EXISTS (SELECT FROM dacapo.runs_open o WHERE o.shard = t.shard AND o.run_id = t.run_id)",
    },
    Check {
        invariant: 8,
        name: "an outbox row comes from a run",
        statement: "
            SELECT format('row %s of the outbox comes from run %s, which is not there', o.message, o.run_id) AS detail
              FROM dacapo.outbox o
             WHERE NOT o.enlisted AND NOT EXISTS (SELECT FROM dacapo.runs r WHERE r.shard = o.shard AND r.run_id = o.run_id)",
    },
    Check {
        invariant: 8,
        name: "a run that continued has its successor",
        statement: "
            SELECT format('run %s ended as %s and its successor %s is not there', c.run_id, c.status,
                          COALESCE(c.successor::text, 'of no name')) AS detail
              FROM dacapo.runs_closed c
             WHERE (c.status = 'ContinuedAsNew' OR c.successor IS NOT NULL)
               AND NOT EXISTS (SELECT FROM dacapo.runs r WHERE r.shard = c.shard AND r.run_id = c.successor)",
    },
    Check {
        invariant: 11,
        name: "lists agree with the tables",
        statement: "
            SELECT format('the list has %s runs, the tables have %s', listed, kept) AS detail
              FROM (SELECT (SELECT count(*) FROM dacapo.runs) AS listed,
                           (SELECT count(*) FROM dacapo.runs_open) + (SELECT count(*) FROM dacapo.runs_closed) AS kept) counts
             WHERE listed <> kept",
    },
];
