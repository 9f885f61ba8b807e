-- What `leadctl stats` shows of any database; every block reads estimates and sizes only.

-- name: database
-- what: Which server is this, how big is the database, who is connected?
-- versions: 15-
SELECT current_database() AS name,
       split_part(current_setting('server_version'), ' ', 1) AS server_version, pg_is_in_recovery() AS standby,
       pg_database_size(current_database()) AS size_bytes,
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
       current_setting('max_connections')::int AS max_connections,
       pg_postmaster_start_time() AS started_at,
       s.blks_hit::float8 / nullif(s.blks_hit + s.blks_read, 0) AS cache_hit
FROM pg_stat_database s WHERE s.datname = current_database()

-- name: tables
-- what: How many rows and bytes does each table of the schema have, how many dead rows, when was it
--       last vacuumed?  Partitions count with their table; `unknown`: a part of it was never
--       analysed.  Nobody waits for a table that is `locked`: its sizes are of the last VACUUM.
-- versions: 15-
WITH locked AS (
    SELECT coalesce(i.indrelid, l.relation) AS oid
    FROM pg_locks l LEFT JOIN pg_index i ON i.indexrelid = l.relation
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
), leaves AS (
    SELECT c.oid AS root, c.relname, l.oid, l.relkind, l.reltuples, l.relpages::bigint,
           l.oid IN (SELECT oid FROM locked) OR c.oid IN (SELECT oid FROM locked) AS is_locked
    FROM pg_class c
    LEFT JOIN LATERAL pg_partition_tree(c.oid) AS p ON true
    JOIN pg_class l ON l.oid = coalesce(p.relid, c.oid)
    WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relkind IN ('r', 'p')
      AND NOT c.relispartition AND c.relname <> 'alembic_version'
), measured AS (
    SELECT l.*, current_setting('block_size')::bigint AS block,
           CASE WHEN NOT is_locked THEN pg_relation_size(oid) END AS heap,
           CASE WHEN NOT is_locked THEN pg_table_size(oid) END AS whole,
           CASE WHEN NOT is_locked THEN pg_indexes_size(oid)
                ELSE (SELECT coalesce(sum(i.relpages), 0) FROM pg_index x
                      JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = l.oid)
                     * current_setting('block_size')::bigint END::bigint AS indexes
    FROM leaves l
)
SELECT quote_ident(relname) AS name,
       coalesce(sum(reltuples) FILTER (WHERE relkind = 'r' AND reltuples >= 0), 0)::bigint AS rows,
       coalesce(bool_or(relkind = 'r' AND reltuples < 0), false) AS unknown, bool_or(is_locked) AS locked,
       sum(coalesce(heap, relpages * block))::bigint AS heap_bytes,
       sum(coalesce(whole, relpages * block))::bigint AS table_bytes, sum(indexes)::bigint AS index_bytes,
       coalesce(sum(pg_stat_get_dead_tuples(oid)), 0)::bigint AS dead_rows,
       max(greatest(pg_stat_get_last_vacuum_time(oid), pg_stat_get_last_autovacuum_time(oid)))
       AS last_vacuum
FROM measured
GROUP BY root, relname
ORDER BY sum(coalesce(whole, relpages * block) + indexes) DESC, relname
