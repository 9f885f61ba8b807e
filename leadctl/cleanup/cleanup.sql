-- What cleanup asks of the catalog and of the server's state.

-- name: clock
-- what: What time is it for the server?
-- versions: 15-
SELECT clock_timestamp()

-- name: cutoff
-- what: Which moment is so many months, days and seconds before another?
-- versions: 15-
SELECT %(now)s::timestamptz
       - make_interval(months => %(months)s, days => %(days)s, secs => %(seconds)s)

-- name: lock
-- what: Takes the lock of a rule in a schema, for this session, unless another has it.
-- versions: 15-
SELECT pg_try_advisory_lock(hashtext('leadctl cleanup'), hashtext(%(name)s))

-- name: unlock
-- what: Gives the lock of a rule back.
-- versions: 15-
SELECT pg_advisory_unlock(hashtext('leadctl cleanup'), hashtext(%(name)s))

-- name: server_load
-- what: How far are replicas behind, how many WAL segments wait for archiving, is the table vacuumed?
-- versions: 15-
SELECT (SELECT extract(epoch FROM max(replay_lag))::float FROM pg_stat_replication
        WHERE state IN ('streaming', 'catchup')) AS replica_lag,
       (SELECT CASE WHEN current_setting('archive_mode') <> 'off'
                     AND length(last_archived_wal) = 24 AND last_archived_wal ~ '^[0-9A-F]{24}$'
               THEN ((pg_current_wal_lsn() - '0/0')
                     / (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size')
                     - (('x' || substr(last_archived_wal, 9, 8))::bit(32)::bigint * 4294967296
                        / (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size')
                        + ('x' || substr(last_archived_wal, 17, 8))::bit(32)::bigint))::bigint END
        FROM pg_stat_archiver) AS unarchived,
       EXISTS (SELECT FROM pg_stat_progress_vacuum v
               WHERE v.relid = ANY (%(oids)s::bigint[]::oid[])
                 AND v.datname = current_database()) AS vacuumed

-- name: counts
-- what: Does the server count what is written?
-- versions: 15-
SELECT current_setting('track_counts')::boolean

-- name: keepers
-- what: May a trigger, a rule or a policy of a table keep a row that is to be deleted, without an
--       error; and is it a policy?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = %(oid)s::bigint::oid AND NOT tgisinternal
               AND tgenabled <> 'D'
               AND tgtype & 11 = 11)  -- for each row, before, delete
    OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = %(oid)s::bigint::oid AND ev_type = '4')
    OR row_security_active(%(oid)s::bigint::oid) AS some,
       row_security_active(%(oid)s::bigint::oid) AS policies

-- name: keeps_silently
-- what: May a trigger or a rule of one of these tables keep a row that is to be deleted, without an error?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = ANY (%(oids)s::bigint[]::oid[]) AND NOT tgisinternal
               AND tgenabled <> 'D' AND tgtype & 11 = 11)
    OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = ANY (%(oids)s::bigint[]::oid[]) AND ev_type = '4')

-- name: row_security
-- what: Do policies restrict what the session's role sees and changes of a table?
-- versions: 15-
SELECT row_security_active(%(oid)s::bigint::oid)

-- name: blocks
-- what: How many blocks has a table?
-- versions: 15-
SELECT pg_relation_size(%(oid)s::bigint::oid) / current_setting('block_size')::bigint

-- name: next_transaction
-- what: Which id will the next transaction that writes have at least?
-- versions: 15-
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint

-- name: has_triggers
-- what: Has one of these tables a trigger of its own, or a rule?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = ANY (%(oids)s::bigint[]::oid[]) AND NOT tgisinternal
               AND tgenabled <> 'D')
    OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = ANY (%(oids)s::bigint[]::oid[]))

-- name: readable
-- what: Which of these tables may a role read, or this session's where none is named?
-- versions: 15-
SELECT c.oid::bigint FROM pg_class c, coalesce(%(role)s::text::name, current_user) AS r (role)
WHERE c.oid = ANY (%(oids)s::bigint[]::oid[]) AND has_table_privilege(r.role, c.oid, 'SELECT')
  AND has_schema_privilege(r.role, c.relnamespace, 'USAGE')

-- name: deletion_runs_code
-- what: Has one of these tables a trigger of its own that a deletion runs, or a rule?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = ANY (%(oids)s::bigint[]::oid[]) AND NOT tgisinternal
               AND tgenabled <> 'D' AND tgtype & 8 = 8)
    OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = ANY (%(oids)s::bigint[]::oid[]))

-- name: deleted
-- what: How many rows of each relation has this session deleted, its transaction too; when, and by
--       which transaction?  What cascades and triggers delete is in it.  The server forgets between
--       transactions.  Bounds how long each further statement of the transaction may take.
-- versions: 15-
SELECT oid, pg_catalog.pg_stat_get_xact_tuples_deleted(oid::oid), pg_catalog.clock_timestamp(),
       pg_catalog.pg_current_xact_id_if_assigned()::text::bigint,
       pg_catalog.set_config('statement_timeout', %(timeout)s::text, true)
FROM pg_catalog.unnest(%(oids)s::bigint[]) AS t (oid)

-- name: flush
-- what: Lets the server's statistics have what this session did, as soon as this has ended.
-- versions: 15-
SELECT pg_stat_force_next_flush()

-- name: with_dead_rows
-- what: Which tables have dead rows, and will autovacuum come for them?
--       It comes where there are more of them than a threshold, which a table may set for itself.
-- versions: 15-
SELECT c.oid::regclass::text,
       now.dead > now.threshold AND current_setting('autovacuum')::boolean AND coalesce(own.enabled, true)
FROM unnest(%(oids)s::bigint[]) AS t (oid)
JOIN pg_class c ON c.oid = t.oid::oid
CROSS JOIN LATERAL (
    SELECT max(option_value) FILTER (WHERE option_name = 'autovacuum_enabled')::boolean,
           max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_threshold')::float8,
           max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_scale_factor')::float8,
           max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_max_threshold')::float8
    FROM pg_options_to_table(c.reloptions)) AS own (enabled, base, scale, most)
CROSS JOIN LATERAL (
    SELECT least(coalesce(own.base, current_setting('autovacuum_vacuum_threshold')::float8)
                 + coalesce(own.scale, current_setting('autovacuum_vacuum_scale_factor')::float8)
                   * greatest(c.reltuples, 0),
                 -- From 18; -1 is none.
                 nullif(coalesce(own.most, current_setting('autovacuum_vacuum_max_threshold', true)::float8), -1)),
           pg_stat_get_dead_tuples(c.oid),
           current_setting('track_counts')::boolean) AS now (threshold, dead, counted)
WHERE now.dead > 0 OR NOT now.counted

-- name: runs
-- what: What did the last runs of each of these rules do, the newest first, and the last one that
--       ended in one of these ways and deleted something if it was stopped, however long ago?  Those
--       with a longer age than the rule's, or beside another run of it, say nothing of it.
-- versions: 15-
SELECT asked.rule, run.at, run.noted
FROM unnest(%(rules)s::text[]) AS asked (rule)
CROSS JOIN LATERAL (
    (SELECT id, at, rules -> asked.rule AS noted
     FROM (SELECT id, coalesce(ended_at, started_at) AS at, summary -> 'rules' AS rules
           FROM leadctl.run
           WHERE command = 'cleanup' AND app = %(app)s AND schema = %(schema)s AND summary ? 'rules'
           ORDER BY id DESC LIMIT 5000) AS newest
     WHERE rules ? asked.rule AND NOT rules -> asked.rule ? 'lenient'
       AND NOT rules -> asked.rule @> '{"status": "overlap"}'
     ORDER BY id DESC LIMIT %(limit)s)
    UNION
    (SELECT id, coalesce(ended_at, started_at), summary -> 'rules' -> asked.rule
     FROM leadctl.run
     WHERE command = 'cleanup' AND app = %(app)s AND schema = %(schema)s
       AND summary -> 'rules' -> asked.rule ->> 'status' = ANY (%(success)s)
       AND NOT summary -> 'rules' -> asked.rule ? 'lenient'
       AND NOT summary -> 'rules' -> asked.rule @> '{"status": "stopped", "rows": 0}'
     ORDER BY id DESC LIMIT 1)
) AS run
ORDER BY asked.rule, run.id DESC

-- name: place
-- what: Which database of which cluster is this, so that its transaction ids mean something?
-- versions: 15-
SELECT (SELECT system_identifier FROM pg_control_system())::text || '.' || oid::text
FROM pg_database WHERE datname = current_database()

-- name: outcome
-- what: Did a transaction commit?  Null where it is too old for the server to know.
-- versions: 15-
SELECT pg_xact_status(%(xid)s::text::xid8)
