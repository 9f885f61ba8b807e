-- What the archive of a server wants to know of it.

-- name: facts
-- what: Which server is this, and is it set to be archived?
-- versions: 15-
SELECT system_identifier::text,
       pg_is_in_recovery() AS standby,
       current_setting('wal_level') AS wal_level,
       current_setting('max_slot_wal_keep_size') AS keeps,
       pg_get_userbyid(10) AS superuser
FROM pg_control_system()

-- name: lacking
-- what: Which statements give this role what archiving needs, and does not have?
-- versions: 15-
SELECT w.statement FROM pg_roles r CROSS JOIN LATERAL (VALUES
    (NOT r.rolreplication, format('ALTER ROLE %%I REPLICATION', r.rolname)),
    (NOT pg_has_role(r.oid, 'pg_monitor', 'USAGE'), format('GRANT pg_monitor TO %%I', r.rolname)),
    (NOT has_function_privilege(r.oid, 'pg_backup_start(text,bool)', 'EXECUTE'),
     format('GRANT EXECUTE ON FUNCTION pg_backup_start(text, bool) TO %%I', r.rolname)),
    (NOT has_function_privilege(r.oid, 'pg_backup_stop(bool)', 'EXECUTE'),
     format('GRANT EXECUTE ON FUNCTION pg_backup_stop(bool) TO %%I', r.rolname)),
    (NOT has_function_privilege(r.oid, 'pg_switch_wal()', 'EXECUTE'),
     format('GRANT EXECUTE ON FUNCTION pg_switch_wal() TO %%I', r.rolname)),
    (NOT has_function_privilege(r.oid, 'pg_create_restore_point(text)', 'EXECUTE'),
     format('GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO %%I', r.rolname))
) AS w (needed, statement)
WHERE r.rolname = current_user AND NOT r.rolsuper AND w.needed

-- name: extensions
-- what: Which extensions does this database have?
-- versions: 15-
SELECT extname FROM pg_extension ORDER BY 1

-- name: slot
-- what: Does the slot's reader read, how far behind is it, and how much WAL does the server keep?
-- versions: 15-
SELECT s.active,
       s.wal_status,
       pg_wal_lsn_diff(w.now, s.restart_lsn)::bigint AS retained_bytes,
       CASE WHEN r.pid IS NOT NULL THEN greatest(0, pg_wal_lsn_diff(w.now, r.write_lsn))::bigint END AS lag_bytes,
       extract(epoch FROM clock_timestamp() - r.reply_time)::float AS silent_seconds
FROM pg_replication_slots s
CROSS JOIN (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                        ELSE pg_current_wal_lsn() END AS now) w
LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
WHERE s.slot_name = %(slot)s

-- name: tablespaces
-- what: Which tablespaces were made here, besides those that every server has?
-- versions: 15-
SELECT oid::bigint, spcname FROM pg_tablespace WHERE oid >= 16384 ORDER BY spcname

-- name: marked
-- what: Which transaction is this one, which commits, and what time is it?
-- versions: 15-
SELECT pg_current_xact_id()::text, clock_timestamp()

-- name: is_committed
-- what: Has a transaction committed here?
-- versions: 15-
SELECT pg_xact_status(%(xid)s::text::xid8) IS NOT DISTINCT FROM 'committed'

-- name: databases
-- what: Which databases are there?
-- versions: 15-
SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1

-- name: superuser
-- what: Which role may read all, and connect?
-- versions: 15-
SELECT rolname FROM pg_roles WHERE rolsuper AND rolcanlogin ORDER BY oid LIMIT 1

-- name: run_began
-- what: When did a run begin, and is it one that is journaled when it is done?  Those are restores of
--   a whole database, and of tables that were gone.
-- versions: 15-
SELECT started_at,
       command = 'restore'
       AND (summary -> 'rows' IS NOT NULL OR summary -> 'made_again' IS NOT NULL) AS when_done
FROM leadctl.run WHERE id = %(id)s
