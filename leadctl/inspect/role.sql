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
       -- What a role has set for itself says nothing of the others.
       coalesce((SELECT split_part(line, '=', 2)::boolean
                 FROM pg_db_role_setting s, unnest(s.setconfig) AS line
                 WHERE s.setrole = 0 AND s.setdatabase IN (0, d.oid)
                   AND starts_with(line, 'default_transaction_read_only=')
                 ORDER BY s.setdatabase DESC LIMIT 1),
                (SELECT reset_val = 'on' FROM pg_settings
                 WHERE name = 'default_transaction_read_only' AND NOT EXISTS (
                     SELECT FROM pg_db_role_setting s, unnest(s.setconfig) AS line
                     WHERE s.setrole = to_regrole(quote_ident(session_user))
                       AND starts_with(line, 'default_transaction_read_only='))),
                false) AS read_only,
       (SELECT coalesce(jsonb_object_agg(e.extname, n.nspname), '{}')
        FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace) AS extensions
FROM pg_database d WHERE d.datname = current_database()
