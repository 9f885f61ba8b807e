-- What a role may see of the server, which decides how the reports are to be read.

-- name: server_facts
-- what: What is this server, what may this role see of it, since when does it count?
-- versions: 15-
SELECT current_user::text AS role, pg_is_in_recovery() AS in_recovery,
       pg_has_role('pg_read_all_stats', 'USAGE') AS sees_sessions,
       (SELECT count(*) FROM pg_stat_get_activity(NULL)
        WHERE state = 'disabled' AND datid = d.oid AND pid <> pg_backend_pid()) AS untracked,
       clock_timestamp() AS now,
       current_setting('track_counts')::boolean AS counts,
       pg_stat_get_db_stat_reset_time(d.oid) AS counted_since,
       (SELECT coalesce(jsonb_object_agg(e.extname, n.nspname), '{}')
        FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace) AS extensions
FROM pg_database d WHERE d.datname = current_database()
