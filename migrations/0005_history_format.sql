-- Events are stored densely (docs/history-format.md); the view shows them as before, one on a line, for people.
--
-- A number in a row is a time, the first absolute, the others relative, so their sum up to an event is the event's time.
-- Everything else is an event, an object or a bare type. Attributes are shown as they are written; those that a row
-- leaves out because they follow from its neighbourhood are missing here.
CREATE OR REPLACE VIEW dacapo.events AS
    SELECT h.shard, h.run_id, h.first_event_id + e.place - 1 AS event_id,
           to_timestamp(e.micros / 1000000) AS event_time, k.key AS event_type,
           k.value AS attributes, h.owner_epoch, h.written_at
      FROM dacapo.history h
     CROSS JOIN LATERAL (
           SELECT n.value, json_typeof(n.value) AS shape,
                  sum((n.value #>> '{}')::numeric) FILTER (WHERE json_typeof(n.value) = 'number') OVER so_far AS micros,
                  count(*) FILTER (WHERE json_typeof(n.value) <> 'number') OVER so_far AS place
             FROM json_array_elements(convert_from(h.events, 'UTF8')::json) WITH ORDINALITY n (value, at)
           WINDOW so_far AS (ORDER BY n.at)) e
     CROSS JOIN LATERAL json_each(CASE e.shape WHEN 'object' THEN e.value
                                               WHEN 'string' THEN json_build_object(e.value #>> '{}', '{}'::json)
                                               ELSE '{}' END) k;

COMMENT ON COLUMN dacapo.history.events IS
    'JSON as bytes, which Postgres does not look into; docs/history-format.md says how to read it, dacapo.events shows it';
