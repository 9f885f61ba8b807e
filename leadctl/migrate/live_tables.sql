-- name: size
-- what: How big is a table, with its indexes, and how many rows has it about?
-- versions: 15-
SELECT pg_total_relation_size(c.oid),
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint
            WHEN pg_relation_size(c.oid) = 0 THEN 0 END
FROM pg_class c WHERE c.oid = to_regclass(%(table)s)

-- name: partitions
-- what: How big is a partitioned table in all, and how many rows has it about?
-- versions: 15-
SELECT sum(pg_total_relation_size(c.oid))::bigint,
       sum(greatest(c.reltuples, 0))::bigint
FROM pg_partition_tree(to_regclass(%(table)s)) t JOIN pg_class c ON c.oid = t.relid
WHERE t.isleaf

-- name: holders
-- what: Who else holds a lock on a table, and for how long has the transaction been open?
-- versions: 15-
SELECT l.pid, upper(regexp_replace(regexp_replace(l.mode, 'Lock$', ''), '(?<=[a-z])([A-Z])', ' \1', 'g')),
       coalesce(nullif(a.application_name, ''), a.usename, a.backend_type), coalesce(a.state, ''),
       extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start))::float8
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = to_regclass(%(table)s)
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.granted AND l.pid <> pg_backend_pid()
ORDER BY 5 DESC NULLS LAST, l.pid

-- name: null_share
-- what: What share of a column's rows is NULL, as the statistics know it?
-- versions: 15-
SELECT null_frac FROM pg_stats
WHERE (quote_ident(schemaname) || '.' || quote_ident(tablename))::regclass = to_regclass(%(table)s)
  AND attname = %(column)s

-- name: index_build
-- what: How far is the index build of a session?
-- versions: 15-
SELECT CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END,
       CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END,
       CASE WHEN tuples_total > 0 THEN 'rows' ELSE 'blocks' END
       || ' for ' || coalesce(nullif(index_relid, 0)::regclass::text, 'an index on ' || relid::regclass)
FROM pg_stat_progress_create_index WHERE pid = %(session)s
