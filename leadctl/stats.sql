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
