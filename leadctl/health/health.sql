-- What the health checks ask; every block is cheap and reads the catalog only.

-- name: tables
-- what: How many tables does the schema have?
-- versions: 15-
SELECT count(*) FROM pg_class
WHERE oid = ANY (ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace(quote_ident(%(schema)s))))
  AND relkind IN ('r', 'p')
  AND relname <> 'alembic_version'

-- name: schema
-- what: Is the schema there?
-- versions: 15-
SELECT to_regnamespace(quote_ident(%(schema)s)) IS NOT NULL

-- name: largest
-- what: How many bytes has the largest table, TOAST table or index of the app's schemas?
--       An index, and what somebody holds an exclusive lock on, is as of its last VACUUM or ANALYZE.
-- versions: 15-
WITH own AS MATERIALIZED (
    SELECT d.objid AS oid FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass
      AND (n.nspname = %(schema)s OR n.nspname = ANY (%(schemas)s))
), locked AS (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT coalesce(max(bytes), 0)::bigint FROM (
    SELECT i.relpages * current_setting('block_size')::bigint
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = ANY (ARRAY(SELECT oid FROM own))
    UNION ALL
    SELECT greatest(r.relpages * current_setting('block_size')::bigint,
                    CASE WHEN c.oid NOT IN (SELECT relation FROM locked) THEN pg_relation_size(r.oid) END)
    FROM pg_class c JOIN pg_class r ON r.oid IN (c.oid, c.reltoastrelid)
    WHERE c.oid = ANY (ARRAY(SELECT oid FROM own)) AND c.relkind IN ('r', 'm')
) AS sizes (bytes)

-- name: connections
-- what: How many client connections are there, and how many may ordinary roles make?
-- versions: 15-
SELECT (SELECT count(*) FROM pg_stat_activity WHERE usesysid IS NOT NULL
        AND coalesce(backend_type, 'client backend') = 'client backend'),
       current_setting('max_connections')::int
       - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true)::int, 0)

-- name: relations
-- what: Which tables do the app's schemas have?
-- versions: 15-
SELECT CASE WHEN n.nspname <> %(schema)s THEN quote_ident(n.nspname) || '.' ELSE '' END
         || quote_ident(c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace o ON o.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass
          AND (o.nspname = %(schema)s OR o.nspname = ANY (%(schemas)s))))
  AND c.relkind IN ('r', 'p', 'f')

-- name: indexes
-- what: Which indexes do the app's schemas have, is each valid, is it being built now?  Where this
--       role does not see what others do, it may be if they work on its table.
-- versions: 15-
SELECT CASE WHEN n.nspname <> %(schema)s THEN quote_ident(n.nspname) || '.' ELSE '' END
         || quote_ident(i.relname) AS name, x.indisvalid AND x.indisready AS valid,
       EXISTS (SELECT FROM pg_stat_progress_create_index p
               WHERE p.index_relid = i.oid AND p.datname = current_database())
       OR NOT pg_has_role('pg_read_all_stats', 'USAGE')
          AND EXISTS (SELECT FROM pg_locks l
                      WHERE l.relation = x.indrelid AND l.mode = 'ShareUpdateExclusiveLock'
                        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
       AS being_built
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE x.indrelid = ANY (ARRAY(
        SELECT d.objid FROM pg_depend d JOIN pg_namespace o ON o.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_namespace'::regclass
          AND (o.nspname = %(schema)s OR o.nspname = ANY (%(schemas)s))))

-- name: is_invalid
-- what: Is this, by its quoted name, an invalid index?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(%(name)s) AND NOT indisvalid)

-- name: detaching
-- what: Is this table, by its quoted name, a partition that is being detached, or does it have one?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending AND to_regclass(%(name)s) IN (inhrelid, inhparent))

-- name: blockers
-- what: For which sessions does a session wait?
-- versions: 15-
SELECT pg_blocking_pids(%(session)s)

-- name: autovacuum
-- what: Does the server vacuum by itself, does it count what is written, and of which roles does it not?
-- versions: 15-
SELECT current_setting('autovacuum')::boolean, current_setting('track_counts')::boolean,
       ARRAY(SELECT DISTINCT quote_ident(r.rolname)
             FROM pg_db_role_setting s
             JOIN pg_roles r ON r.oid = s.setrole
             CROSS JOIN unnest(s.setconfig) AS config (item)
             WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
               AND item LIKE 'track\_counts=%%' AND NOT split_part(item, '=', 2)::boolean
               AND (r.rolsuper OR s.setdatabase <> 0 OR EXISTS (
                   SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass
                     AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                     AND pg_has_role(r.oid, d.refobjid, 'MEMBER')))
             ORDER BY 1)

-- name: connection_limits
-- what: Which role of this database, or it itself, is nearest to a connection limit of its own,
--       without this session?  A role counts its sessions in all databases; superusers have none.
-- versions: 15-
WITH those(role) AS (
    SELECT refobjid FROM pg_shdepend
    WHERE refclassid = 'pg_authid'::regclass AND (
        dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        OR classid = 'pg_database'::regclass
        AND objid = (SELECT oid FROM pg_database WHERE datname = current_database()))
), sessions AS MATERIALIZED (  -- workers of a parallel query take none of the number
    SELECT datid, usesysid FROM pg_stat_activity
    WHERE usesysid IS NOT NULL AND pid <> pg_backend_pid()
      AND coalesce(backend_type, 'client backend') IN ('client backend', 'walsender')
)
SELECT name, used, most FROM (
    SELECT 'role ' || quote_ident(r.rolname),
           (SELECT count(*) FROM sessions a WHERE a.usesysid = r.oid), r.rolconnlimit
    FROM pg_roles r WHERE r.rolconnlimit > 0 AND NOT r.rolsuper AND (
        EXISTS (SELECT FROM those WHERE pg_has_role(r.oid, those.role, 'MEMBER'))
        OR EXISTS (SELECT FROM pg_stat_activity a
                   WHERE a.usesysid = r.oid AND a.datname = current_database()))
    UNION ALL
    SELECT 'database ' || quote_ident(d.datname),
           (SELECT count(*) FROM sessions a WHERE a.datid = d.oid), d.datconnlimit
    FROM pg_database d WHERE d.datconnlimit >= 0 AND d.datname = current_database()
) AS limits (name, used, most)
ORDER BY used / nullif(most, 0)::float8 DESC NULLS FIRST, name LIMIT 1

-- name: oldest_ids
-- what: How old are the oldest transaction and multixact ids of each database?
-- versions: 15-
SELECT datname::text, age(datfrozenxid), mxid_age(datminmxid) FROM pg_database

-- name: synchronous
-- what: Which standbys does a commit wait for?
-- versions: 15-
SELECT current_setting('synchronous_standby_names')

-- name: replayed
-- what: Is what was received up to a place replayed, up to which is it, and does the rest of a record lack?
--       A record that is larger than the page that it begins on comes in parts.
-- versions: 15-
SELECT pg_last_wal_replay_lsn() >= %(received)s::pg_lsn, pg_last_wal_replay_lsn()::text,
       (pg_last_wal_receive_lsn() - '0/0') %% current_setting('wal_block_size')::int = 0
       AND pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn() < 65536

-- name: ready
-- what: How many segments of WAL wait for the archive?  Only a monitor may ask.
-- versions: 15-
SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%%.ready'
