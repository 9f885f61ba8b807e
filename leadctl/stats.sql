-- What `leadctl stats` shows of any database; every block reads estimates and sizes only.

-- name: database
-- what: Which server is this, how big is the database, who is connected?
--   In passing the size is not read where the database has so many relations that it takes long.
-- versions: 15-
SELECT datname AS name,
       split_part(current_setting('server_version'), ' ', 1) AS server_version, pg_is_in_recovery() AS standby,
       CASE WHEN %(whole)s OR (SELECT reltuples FROM pg_class WHERE oid = 'pg_class'::regclass) < 50000
            THEN pg_database_size(oid) END AS size_bytes, pg_stat_get_db_numbackends(oid) AS connections,
       current_setting('max_connections')::int AS max_connections,
       pg_postmaster_start_time() AS started_at,
       pg_stat_get_db_blocks_hit(oid)::float8 / nullif(pg_stat_get_db_blocks_fetched(oid), 0) AS cache_hit
FROM pg_database WHERE datname = current_database()
