-- What `leadctl stats` shows of any database; every block reads estimates and sizes only.

-- name: database
-- what: Which server is this, how big is the database, who is connected?
-- versions: 15-
SELECT current_database() AS name,
       current_setting('server_version') AS server_version,
       pg_database_size(current_database()) AS size_bytes,
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
       current_setting('max_connections')::int AS max_connections,
       pg_postmaster_start_time() AS started_at,
       s.blks_hit::float8 / nullif(s.blks_hit + s.blks_read, 0) AS cache_hit
FROM pg_stat_database s WHERE s.datname = current_database()

-- name: tables
-- what: How many rows and bytes does each table of the schema have?
--       Partitions count with their table; `unknown`: a part of it was never analysed.
-- versions: 15-
SELECT quote_ident(c.relname) AS name,
       coalesce(sum(l.reltuples) FILTER (WHERE l.relkind = 'r' AND l.reltuples >= 0), 0)::bigint AS rows,
       coalesce(bool_or(l.relkind = 'r' AND l.reltuples < 0), false) AS unknown,
       sum(pg_relation_size(l.oid))::bigint AS heap_bytes,
       sum(pg_table_size(l.oid))::bigint AS table_bytes,
       sum(pg_indexes_size(l.oid))::bigint AS index_bytes
FROM pg_class c
LEFT JOIN LATERAL pg_partition_tree(c.oid) AS p ON true
JOIN pg_class l ON l.oid = coalesce(p.relid, c.oid)
WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition AND c.relname <> 'alembic_version'
GROUP BY c.oid, c.relname
ORDER BY sum(pg_table_size(l.oid) + pg_indexes_size(l.oid)) DESC, c.relname
