-- What a move of a tenant to another database needs to know, and to keep.

-- name: create_moves
-- what: Where is it kept which tenants are closed for a move, and how they are opened again?
-- versions: 15-
CREATE TABLE IF NOT EXISTS leadctl.tenant_move (
    schema text PRIMARY KEY,
    phase text NOT NULL,
    other text NOT NULL,
    place text NOT NULL,
    held_as text NOT NULL,
    grants jsonb NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
)

-- name: has_moves
-- what: Was a tenant ever moved from here or to here?
-- versions: 15-
SELECT to_regclass('leadctl.tenant_move') IS NOT NULL

-- name: move
-- what: What is kept of a tenant's move that did not end?
-- versions: 15-
SELECT schema, phase, other, place, held_as, grants, since FROM leadctl.tenant_move WHERE schema = %(name)s

-- name: moves
-- what: Which tenants are closed, or are arriving?
-- versions: 15-
SELECT schema, phase, held_as FROM leadctl.tenant_move

-- name: begin_move
-- what: Keeps that a tenant is closed, or has arrived and is not open yet.
-- versions: 15-
INSERT INTO leadctl.tenant_move (schema, phase, other, place, held_as, grants)
VALUES (%(name)s, %(phase)s, %(other)s, %(place)s, %(held_as)s, %(grants)s)
ON CONFLICT (schema) DO UPDATE SET phase = excluded.phase, other = excluded.other, place = excluded.place,
    held_as = excluded.held_as, grants = excluded.grants, since = excluded.since

-- name: hand_over
-- what: Keeps that the other copy is the tenant from now on, and under which name this one is kept.
-- versions: 15-
UPDATE leadctl.tenant_move SET phase = 'handed over', held_as = %(held_as)s WHERE schema = %(name)s

-- name: end_move
-- what: Forgets a move that has ended.
-- versions: 15-
DELETE FROM leadctl.tenant_move WHERE schema = %(name)s

-- name: writing_grants
-- what: Who may write in which relation of a schema, its owners among them?  Superusers, and who may
--   write all data, are not in it.
-- versions: 15-
WITH held AS (
    SELECT c.relname, c.relkind = 'S' AS is_sequence, NULL::name AS attname, a.*
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL aclexplode(coalesce(c.relacl,
        acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
    WHERE n.nspname = %(name)s AND c.relkind IN ('r', 'p', 'v', 'f', 'S')
      AND a.privilege_type = ANY (CASE c.relkind WHEN 'S' THEN '{USAGE,UPDATE}'
                                  ELSE '{INSERT,UPDATE,DELETE,TRUNCATE}' END::text[])
    UNION ALL
    SELECT c.relname, false, o.attname, a.*
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute o ON o.attrelid = c.oid AND o.attacl IS NOT NULL
    CROSS JOIN LATERAL aclexplode(o.attacl) a
    WHERE n.nspname = %(name)s AND c.relkind IN ('r', 'p', 'v', 'f') AND a.privilege_type IN ('INSERT', 'UPDATE')
)
SELECT privilege_type AS privilege, is_sequence, relname AS relation, attname AS column,
    CASE WHEN grantee <> 0 THEN pg_get_userbyid(grantee) END AS grantee, bool_or(is_grantable) AND grantee <> 0 AS again
FROM held GROUP BY privilege_type, is_sequence, relname, attname, grantee
ORDER BY relname, attname, privilege_type, grantee

-- name: writers
-- what: Which other sessions, or prepared transactions, hold a lock on a schema by which they have
--   written there?
-- versions: 15-
SELECT DISTINCT l.pid, a.usename, x.gid
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_prepared_xacts x ON l.pid IS NULL AND l.virtualtransaction = '-1/' || x.transaction
WHERE n.nspname = %(name)s AND l.locktype = 'relation' AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                 'ExclusiveLock', 'AccessExclusiveLock')
  AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND coalesce(a.backend_type, 'client backend') = 'client backend'

-- name: end_session
-- what: Ends a session.
-- versions: 15-
SELECT pg_terminate_backend(%(pid)s, 2000)

-- name: sequences_of
-- what: Which sequences are in a schema, or in all but the server's and leadctl's?
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname = %(name)s OR (%(name)s::text IS NULL AND n.nspname !~ '^pg_'
                                AND n.nspname <> ALL ('{information_schema,leadctl}')))
  AND c.relkind = 'S' ORDER BY 1

-- name: database_identity
-- what: Which database is this: by its identity, its number and name, of which server?
-- versions: 15-
SELECT (SELECT id::text FROM leadctl.identity), d.oid::bigint, d.datname,
    (SELECT system_identifier FROM pg_control_system())
FROM pg_database d WHERE d.datname = current_database()

-- name: missing_roles
-- what: Which of these roles does this server not have?
-- versions: 15-
SELECT unnest(%(names)s::text[]) EXCEPT SELECT rolname FROM pg_roles ORDER BY 1

-- name: databases_of
-- what: Which databases has a tenant under its own name, or as moves have kept it?  The newest first.
-- versions: 15-
SELECT datname FROM pg_database WHERE datname = %(name)s OR starts_with(datname, %(prefix)s) ORDER BY 1 DESC

-- name: connecting
-- what: Who may connect to the database, and may grant that?  And is it set to be read only?
-- versions: 15-
SELECT CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END AS grantee,
    bool_or(a.is_grantable) AND a.grantee <> 0 AS again, NULL AS read_only
FROM pg_database d CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
WHERE d.datname = current_database() AND a.privilege_type = 'CONNECT' GROUP BY a.grantee
UNION ALL
SELECT NULL, false, split_part(setting, '=', 2)
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase AND s.setrole = 0
CROSS JOIN LATERAL unnest(s.setconfig) setting
WHERE d.datname = current_database() AND starts_with(setting, 'default_transaction_read_only=')
