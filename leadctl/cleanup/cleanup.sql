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

-- name: relation
-- what: Which table is this, of what kind, and partitioned by which columns?
-- versions: 15-
SELECT c.oid::bigint AS oid, c.oid::regclass::text AS name, c.relkind::text AS kind,
       p.partstrat::text AS strategy,
       (SELECT array_agg(a.attname::text ORDER BY k.n)
        FROM unnest(p.partattrs::int2[]) WITH ORDINALITY AS k (attnum, n)
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum) AS partition_key
FROM pg_class c
LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
WHERE c.oid = to_regclass(%(table)s)

-- name: primary_key
-- what: Which columns has a table's primary key?
-- versions: 15-
SELECT a.attname::text
FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, n), pg_attribute a
WHERE i.indrelid = %(oid)s::bigint::oid AND i.indisprimary
  AND a.attrelid = i.indrelid AND a.attnum = k.attnum
ORDER BY k.n

-- name: column_type
-- what: What type has a column, beneath its domain?
-- versions: 15-
SELECT coalesce(nullif(t.typbasetype, 0), t.oid)::regtype::text
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %(oid)s::bigint::oid AND a.attname = %(column)s
  AND a.attnum > 0 AND NOT a.attisdropped

-- name: columns
-- what: Which columns has a table, of which types, and which of them can be written?
-- versions: 15-
SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attgenerated <> '' AS generated
FROM pg_attribute a
WHERE a.attrelid = %(oid)s::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: references
-- what: Which foreign keys refer to a table, what do they do, does an index serve them?
--       An index on the columns in any order does, also one of the rows that refer at all.
-- versions: 15-
SELECT n.conname::text AS name, n.conrelid::bigint AS child, n.confrelid::bigint AS parent,
       n.conrelid::regclass::text AS child_name,
       n.confrelid::regclass::text AS parent_name,
       n.confdeltype::text AS action,
       (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(n.conkey) WITH ORDINALITY AS k (attnum, n)
        JOIN pg_attribute a ON a.attrelid = n.conrelid AND a.attnum = k.attnum) AS columns,
       (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(n.confkey) WITH ORDINALITY AS k (attnum, n)
        JOIN pg_attribute a ON a.attrelid = n.confrelid AND a.attnum = k.attnum) AS referred,
       EXISTS (
           SELECT FROM pg_index i
           WHERE i.indrelid = n.conrelid AND i.indisvalid AND i.indisready
             AND (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(n.conkey)] @> n.conkey
             AND n.conkey @> (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(n.conkey)]
             AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = (
                  SELECT '(' || quote_ident(a.attname) || ' IS NOT NULL)' FROM pg_attribute a
                  WHERE a.attrelid = n.conrelid AND a.attnum = n.conkey[1]
                    AND cardinality(n.conkey) = 1))
       ) AS indexed
FROM pg_constraint n
WHERE n.contype = 'f' AND n.conparentid = 0 AND n.confrelid = %(oid)s::bigint::oid
ORDER BY n.conrelid::regclass::text, n.conname

-- name: leaves
-- what: Which tables hold a table's rows: itself, or its partitions?
-- versions: 15-
SELECT c.oid::bigint AS oid, c.oid::regclass::text AS name
FROM pg_class c
WHERE c.relkind = 'r' AND (c.oid = %(oid)s::bigint::oid
    OR c.oid IN (SELECT relid FROM pg_partition_tree(%(oid)s::bigint::oid::regclass) WHERE isleaf))
ORDER BY c.relname

-- name: rows
-- what: How many rows may a table have, on how many pages?  As dense as when somebody looked last.
-- versions: 15-
SELECT coalesce(sum(CASE WHEN c.relpages > 0 THEN c.reltuples / c.relpages * (pg_relation_size(c.oid) / 8192)
                ELSE pg_relation_size(c.oid) / 100 END), 0)::bigint,
       coalesce(sum(pg_relation_size(c.oid) / 8192), 0)::bigint
FROM pg_class c
WHERE c.oid = %(oid)s::bigint::oid
   OR c.oid IN (SELECT relid FROM pg_partition_tree(%(oid)s::bigint::oid::regclass) WHERE isleaf)

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

-- name: holders
-- what: Which relations hold the rows of tables: they themselves, or their partitions?
-- versions: 15-
SELECT c.oid::bigint, t.oid
FROM unnest(%(oids)s::bigint[]) AS t (oid)
JOIN pg_class c ON c.relkind = 'r' AND (c.oid = t.oid::oid
    OR c.oid IN (SELECT relid FROM pg_partition_tree(t.oid::oid::regclass) WHERE isleaf))

-- name: deleted
-- what: How many rows of each relation has this session deleted, its transaction too; when, and by
--       which transaction?  What cascades and triggers delete is in it.  The server forgets between
--       transactions.
-- versions: 15-
SELECT oid, pg_stat_get_xact_tuples_deleted(oid::oid), clock_timestamp(),
       pg_current_xact_id_if_assigned()::text::bigint
FROM unnest(%(oids)s::bigint[]) AS t (oid)

-- name: flush
-- what: Lets the server's statistics have what this session did, as soon as this has ended.
-- versions: 15-
SELECT pg_stat_force_next_flush()

-- name: with_dead_rows
-- what: Which tables, or partitions of tables, have dead rows, and will autovacuum come for them?
--       It comes where there are more of them than a threshold, which a table may set for itself.
-- versions: 15-
SELECT c.oid::regclass::text,
       now.dead > now.threshold AND current_setting('autovacuum')::boolean AND coalesce(own.enabled, true)
FROM unnest(%(oids)s::bigint[]) AS t (oid)
JOIN pg_class c ON c.relkind = 'r' AND (c.oid = t.oid::oid
    OR c.oid IN (SELECT relid FROM pg_partition_tree(t.oid::oid::regclass) WHERE isleaf))
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
-- what: What did the last runs of cleanup do, the newest first?
-- versions: 15-
SELECT coalesce(ended_at, started_at) AS at, outcome, summary -> 'rules' AS rules
FROM leadctl.run
WHERE command = 'cleanup' AND app = %(app)s AND schema = %(schema)s AND summary ? 'rules'
ORDER BY id DESC LIMIT %(limit)s

-- name: place
-- what: Which database of which cluster is this, so that its transaction ids mean something?
-- versions: 15-
SELECT (SELECT system_identifier FROM pg_control_system())::text || '.' || oid::text
FROM pg_database WHERE datname = current_database()

-- name: outcome
-- what: Did a transaction commit?  Null where it is too old for the server to know.
-- versions: 15-
SELECT pg_xact_status(%(xid)s::text::xid8)

-- name: bounds
-- what: Which partitions has a range-partitioned table, from when to when?
--       Without an end or a beginning is infinite; the DEFAULT partition has neither.
-- versions: 15-
SELECT substring(b.bound FROM 'FROM \(''([^'']*)''\)'),
       substring(b.bound FROM 'TO \(''([^'']*)''\)')
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS b (bound)
WHERE i.inhparent = %(oid)s::bigint::oid AND NOT i.inhdetachpending

-- name: whole
-- what: Which partitions end before a moment, the oldest first, and about how many rows have they?
-- versions: 15-
SELECT oid, name, rows FROM (
    SELECT c.oid::bigint AS oid, c.oid::regclass::text AS name,
           (CASE WHEN c.relpages > 0 THEN c.reltuples / c.relpages * (pg_relation_size(c.oid) / 8192)
                ELSE pg_relation_size(c.oid) / 100 END)::bigint AS rows,
           substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']*)''\)')::timestamptz AS ends
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = %(oid)s::bigint::oid AND NOT i.inhdetachpending AND c.relkind = 'r'
) AS partition
WHERE ends <= %(cutoff)s::timestamptz ORDER BY ends

-- name: pending_detach
-- what: Which partitions were being detached when somebody was interrupted?
-- versions: 15-
SELECT i.inhrelid::regclass::text FROM pg_inherits i
WHERE i.inhparent = %(oid)s::bigint::oid AND i.inhdetachpending

-- name: left_over
-- what: Which tables were detached to be dropped, and are still there?
-- versions: 15-
SELECT c.oid::regclass::text, greatest(c.reltuples, 0)::bigint FROM pg_class c
WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relkind = 'r'
  AND NOT c.relispartition AND obj_description(c.oid, 'pg_class') = %(mark)s

-- name: marked
-- what: Which partitions are marked to be dropped, but were never detached?
-- versions: 15-
SELECT c.oid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = %(oid)s::bigint::oid AND obj_description(c.oid, 'pg_class') = %(mark)s
