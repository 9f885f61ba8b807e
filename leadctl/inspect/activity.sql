-- What goes on now in this database: sessions, locks, queries.

-- name: blocking
-- what: Who waits for whom?  A session that waits stands once, below one that it waits for.
--       A queue of N sessions has N * N / 2 edges, since each waits for all before it: one of them
--       is taken, to a session that does not wait itself where there is one, else to the first that
--       asked for the lock.  Of more than 1,000 that wait, those that wait longest.  Workers of a parallel
--       query wait as their session; a deferrable transaction waits for those that write, without a lock.
-- versions: 15-
WITH RECURSIVE sessions AS MATERIALIZED (
    SELECT pid, coalesce(leader_pid, pid) AS leader, datname, usename::text AS "user",
           application_name AS application, state, xact_start, query_start, wait_event,
           left(query, 500) AS query
    FROM pg_stat_activity
), wanted AS MATERIALIZED (
    SELECT DISTINCT ON (1) coalesce(s.leader, l.pid) AS pid, l.pid AS asks, l.waitstart, l.mode, l.relation
    FROM pg_locks l LEFT JOIN sessions s ON s.pid = l.pid
    WHERE NOT l.granted AND l.pid IS NOT NULL ORDER BY 1, l.waitstart
), queued AS MATERIALIZED (
    SELECT * FROM wanted
    UNION ALL
    SELECT pid, pid, query_start, wait_event, NULL FROM sessions WHERE wait_event = 'SafeSnapshot'
), asked AS MATERIALIZED (
    SELECT pid, CASE WHEN mode = 'SafeSnapshot' THEN pg_safe_snapshot_blocking_pids(asks)
                     WHEN datname IS NOT NULL THEN array_remove(pg_blocking_pids(asks), pid)
                     ELSE ARRAY(
               SELECT h.pid FROM pg_locks h WHERE h.granted AND h.relation = longest.relation AND h.pid <> longest.pid
                 AND h.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
           END AS blockers
    FROM (SELECT w.pid, w.asks, w.mode, w.relation, s.datname FROM queued w JOIN sessions s ON s.pid = w.asks
          -- What replays on a standby is of no database, no session, and wants tables for itself alone.
          WHERE coalesce(s.datname, current_database()) = current_database()
          ORDER BY w.waitstart NULLS LAST, w.pid LIMIT 1000) AS longest
), waiting AS MATERIALIZED (
    SELECT pid, coalesce((SELECT b.pid FROM unnest(blockers) WITH ORDINALITY AS b (pid, place)
                          WHERE b.pid NOT IN (SELECT pid FROM queued) ORDER BY b.place LIMIT 1),
                         blockers[1]) AS blocker
    FROM asked WHERE cardinality(blockers) > 0
), tree AS (
    SELECT DISTINCT blocker AS pid, NULL::int AS blocked_by, ARRAY[blocker] AS path
    FROM waiting WHERE blocker NOT IN (SELECT pid FROM waiting)
    UNION ALL
    SELECT w.pid, w.blocker, t.path || w.pid FROM waiting w JOIN tree t ON t.pid = w.blocker
), everybody AS (
    SELECT * FROM tree
    UNION ALL  -- in a deadlock nobody is the first
    SELECT pid, blocker, ARRAY[pid] FROM waiting WHERE pid NOT IN (SELECT pid FROM tree)
)
SELECT repeat('  ', least(cardinality(e.path), 20) - 1)
       || CASE e.pid WHEN 0 THEN 'prepared transaction' ELSE e.pid::text END AS session,
       e.blocked_by, s."user", s.application, s.state,
       extract(epoch FROM clock_timestamp() - w.waitstart)::float8 AS waiting_seconds,
       extract(epoch FROM clock_timestamp() - s.xact_start)::float8 AS transaction_seconds,
       w.mode AS wants, w.relation::regclass::text AS relation, s.query
FROM everybody e
LEFT JOIN sessions s ON s.pid = e.pid
LEFT JOIN queued w ON w.pid = e.pid
ORDER BY e.path

-- name: locks
-- what: Which locks on tables and indexes of this database are held or wanted, stronger than a read's?
-- versions: 15-
SELECT l.pid, a.usename::text AS "user", a.application_name AS application,
       l.relation::regclass::text AS relation, l.mode, l.granted,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_seconds,
       extract(epoch FROM clock_timestamp() - l.waitstart)::float8 AS waiting_seconds,
       left(a.query, 500) AS query
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.pid <> pg_backend_pid() AND l.mode <> 'AccessShareLock'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY l.granted, a.xact_start NULLS LAST, l.pid, relation, l.mode

-- name: long_queries
-- what: Which statements run, the longest first?
-- versions: 15-
SELECT pid, usename::text AS "user", application_name AS application,
       extract(epoch FROM clock_timestamp() - query_start)::float8 AS seconds,
       concat_ws(': ', wait_event_type, wait_event) AS waits_for, left(query, 500) AS query
FROM pg_stat_activity
WHERE state IN ('active', 'fastpath function call') AND backend_type = 'client backend'
  AND pid <> pg_backend_pid()
  AND datname = current_database()
ORDER BY query_start, pid

-- name: idle_in_transaction
-- what: Which sessions hold a transaction open and do nothing in it, the longest first?
-- versions: 15-
SELECT pid, usename::text AS "user", application_name AS application,
       extract(epoch FROM clock_timestamp() - state_change)::float8 AS idle_seconds,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_seconds,
       left(query, 500) AS last_query
FROM pg_stat_activity
WHERE state IN ('idle in transaction', 'idle in transaction (aborted)')
  AND datname = current_database()
ORDER BY state_change, pid

-- name: transactions
-- what: Which transactions are open, and what keeps VACUUM from removing dead rows, the oldest first?
--       Sessions of this database, standbys by their feedback, replication slots, prepared transactions.
--       An age is counted in transaction ids: rows that died since must stay.
-- versions: 15-
SELECT kind, pid, name, "user", application, state, transaction_seconds, age, query FROM (
    SELECT CASE backend_type WHEN 'walsender' THEN 'standby' ELSE 'session' END AS kind, pid, NULL AS name,
           usename::text AS "user", application_name AS application, state,
           extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_seconds,
           greatest(age(backend_xid), age(backend_xmin)) AS age, left(query, 500) AS query
    FROM pg_stat_activity
    -- Whoever is connecting has a transaction and no database yet.
    WHERE (datname = current_database() OR datname IS NULL AND backend_type = 'walsender')
      AND pid <> pg_backend_pid()
      AND (xact_start IS NOT NULL OR backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
      -- What VACUUM sees of the table, no other one waits for; workers are as old as their leader.
      AND backend_type NOT IN ('autovacuum worker', 'autovacuum launcher') AND leader_pid IS NULL
      AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
    UNION ALL
    SELECT 'slot', NULL, slot_name::text, NULL, plugin::text, CASE WHEN active THEN 'active' ELSE 'not active' END, NULL,
           greatest(age(xmin), age(catalog_xmin)), NULL
    FROM pg_replication_slots WHERE xmin IS NOT NULL OR catalog_xmin IS NOT NULL
    UNION ALL
    SELECT 'prepared', NULL, gid, owner::text, NULL, 'prepared',
           extract(epoch FROM clock_timestamp() - prepared)::float8, age(transaction), NULL
    FROM pg_prepared_xacts WHERE database = current_database()
) AS holders
ORDER BY age DESC NULLS LAST, transaction_seconds DESC NULLS LAST, pid, name

-- name: connections
-- what: Who is connected to the server, by database, user, application and state?
-- versions: 15-
SELECT datname::text AS database, usename::text AS "user", application_name AS application, state,
       count(*) AS connections,
       extract(epoch FROM clock_timestamp() - min(backend_start))::float8 AS oldest_seconds
FROM pg_stat_activity
WHERE usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
GROUP BY datname, usename, application_name, state
ORDER BY connections DESC, 1, 2, 3, 4

-- name: prepared_transactions
-- what: Which transactions are prepared and wait for their second phase?
-- versions: 15-
SELECT gid, owner::text, prepared,
       extract(epoch FROM clock_timestamp() - prepared)::float8 AS seconds
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared, gid

-- name: progress
-- what: How far is running maintenance: VACUUM, ANALYZE, index builds, CLUSTER, COPY, base backups?
-- versions: 15-
SELECT pid, 'VACUUM' AS operation, relid::regclass::text AS relation, phase,
       heap_blks_scanned AS done, heap_blks_total AS total, 'blocks' AS unit
FROM pg_stat_progress_vacuum WHERE datname = current_database()
UNION ALL
SELECT pid, 'ANALYZE', relid::regclass::text, phase, sample_blks_scanned, sample_blks_total, 'blocks'
FROM pg_stat_progress_analyze WHERE datname = current_database()
UNION ALL
SELECT pid, command, index_relid::regclass::text, phase,
       CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END,
       CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END,
       CASE WHEN tuples_total > 0 THEN 'rows' ELSE 'blocks' END
FROM pg_stat_progress_create_index WHERE datname = current_database()
UNION ALL
SELECT pid, command, relid::regclass::text, phase, heap_blks_scanned, heap_blks_total, 'blocks'
FROM pg_stat_progress_cluster WHERE datname = current_database()
UNION ALL
SELECT pid, command, relid::regclass::text, type, bytes_processed, nullif(bytes_total, 0), 'bytes'
FROM pg_stat_progress_copy WHERE datname = current_database()
UNION ALL
SELECT pid, 'BASE BACKUP', NULL, phase, backup_streamed, backup_total, 'bytes'
FROM pg_stat_progress_basebackup
ORDER BY 1

-- name: slow_queries
-- what: Which statements of this database took most time, in all and each?
-- versions: 15-
-- needs: pg_stat_statements
SELECT s.calls, round(s.total_exec_time::numeric, 1)::float8 AS total_ms,
       round(s.mean_exec_time::numeric, 2)::float8 AS mean_ms,
       round(s.max_exec_time::numeric, 1)::float8 AS max_ms,
       round((100 * s.total_exec_time / nullif(sum(s.total_exec_time) OVER (), 0))::numeric, 1)::float8
       AS time_percent,
       s.rows, round(100.0 * s.shared_blks_hit / nullif(s.shared_blks_hit + s.shared_blks_read, 0), 1)::float8
       AS cache_percent, left(s.query, 500) AS query
FROM pg_stat_statements s
WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY s.total_exec_time DESC LIMIT 50
