-- name: is_volatile
-- what: May a function of this name return something else at each call?
-- versions: 15-
SELECT bool_or(provolatile = 'v') FROM pg_proc WHERE proname = %(name)s

-- name: table_of_index
-- what: Which table is an index on?
-- versions: 15-
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE i.indexrelid = to_regclass(%(name)s)

-- name: has_policies
-- what: Has a table policies of row security?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass(%(table)s))

-- name: holders
-- what: Who else holds a lock on a table, and for how long has the transaction been open?
-- versions: 15-
SELECT l.pid, l.mode, coalesce(nullif(a.application_name, ''), a.usename, a.backend_type), coalesce(a.state, ''),
       extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start))::float8
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = to_regclass(%(table)s)
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.granted AND l.pid <> pg_backend_pid() AND l.mode <> 'SIReadLock'  -- which blocks nobody
ORDER BY 5 DESC NULLS LAST, l.pid

-- name: null_share
-- what: What share of a column's rows is NULL, as the statistics know it?
-- versions: 15-
SELECT s.null_frac FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname
WHERE c.oid = to_regclass(%(table)s) AND s.attname = %(column)s

-- name: index_build
-- what: How far is the index build of a session?
-- versions: 15-
SELECT CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END,
       CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END,
       CASE WHEN tuples_total > 0 THEN 'rows' ELSE 'blocks' END
       || ' for ' || coalesce(nullif(index_relid, 0)::regclass::text, 'an index on ' || relid::regclass)
FROM pg_stat_progress_create_index WHERE pid = %(session)s

-- name: invalid_indexes
-- what: Which indexes are not valid, and are not being built now?
-- versions: 15-
SELECT x.indexrelid::regclass::text FROM pg_index x
WHERE NOT x.indisvalid
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = x.indexrelid)

-- name: invalid_on_table
-- what: Which indexes of a table, or of an index's table, are not valid, and are they being built now?  Of those
--       whose names match a pattern.
-- versions: 15-
SELECT x.indexrelid::regclass::text,
       EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = x.indexrelid)
FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
WHERE NOT x.indisvalid AND c.relname ~ %(pattern)s AND x.indrelid = coalesce(
    (SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = to_regclass(%(name)s)), to_regclass(%(name)s))

-- name: detach_pending
-- what: Was the detaching of a partition begun CONCURRENTLY, and stopped before its end?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_inherits
               WHERE inhrelid = to_regclass(%(name)s) AND inhdetachpending)

-- name: invalid_index
-- what: Is there an index of a name that is not valid, and is it being built now?
-- versions: 15-
SELECT x.indexrelid::regclass::text,
       EXISTS (SELECT FROM pg_stat_progress_create_index p
               WHERE p.index_relid = x.indexrelid AND p.datname = current_database())
FROM pg_index x WHERE x.indexrelid = to_regclass(%(name)s) AND NOT x.indisvalid
