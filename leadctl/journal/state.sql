-- The schema "leadctl" in a target: what leadctl knows about the database, inside the database.

-- name: create
-- what: Creates what is missing of the schema leadctl, as of state version 1, and an identity.
-- versions: 15-
CREATE SCHEMA IF NOT EXISTS leadctl;
COMMENT ON SCHEMA leadctl IS 'leadctl: identity, migrations and journal of this database';
CREATE TABLE IF NOT EXISTS leadctl.identity (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    state_version integer NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    environment text,
    protected boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS leadctl.migration (
    app text NOT NULL,
    schema text NOT NULL,
    revision text NOT NULL,
    checksum text NOT NULL,
    sql text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL,
    duration_ms integer NOT NULL,
    made text[] NOT NULL,
    fingerprint jsonb,
    PRIMARY KEY (schema, app, revision)
);
COMMENT ON COLUMN leadctl.migration.made IS
    'what the revision made that stands for itself, as "kind name": what reset may drop';
COMMENT ON COLUMN leadctl.migration.fingerprint IS
    'what the schema should look like after this revision; kept for the last one only';
CREATE TABLE IF NOT EXISTS leadctl.run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    command text NOT NULL,
    app text,
    schema text,
    run_by text NOT NULL,
    session integer NOT NULL,
    session_start timestamptz NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    outcome text,
    summary jsonb
);
CREATE INDEX IF NOT EXISTS run_started_at ON leadctl.run (started_at);
INSERT INTO leadctl.identity (state_version, environment, protected)
VALUES (1, %(environment)s, %(protected)s)

-- name: make_local
-- what: Lets Citus keep a schema that this transaction makes on this node: what leadctl records is of
--   the coordinator.
-- versions: 15-
SELECT set_config('citus.enable_schema_based_sharding', 'off', true)
WHERE current_setting('citus.enable_schema_based_sharding', true) IS NOT NULL

-- name: state_version
-- what: Is the schema leadctl there, and of which version?
-- versions: 15-
SELECT state_version FROM leadctl.identity

-- name: identity
-- what: Which database is this, and is it protected?  There should be one row.
-- versions: 15-
SELECT id, environment, protected, created_at FROM leadctl.identity LIMIT 2

-- name: owned
-- what: What has the identity's name, with its columns?  And what in the schema leadctl is of an
--   owner whom this role has no reason to trust, or is not as leadctl makes it: a table with columns
--   of these types, with defaults that call nothing else, without triggers, rules, policies, checks
--   and heirs?  Columns of a newer leadctl are of the server's own types.
-- versions: 15-
WITH me AS MATERIALIZED (
    SELECT oid, rolsuper FROM pg_roles WHERE rolname = current_user
), trusted AS MATERIALIZED (
    SELECT r.oid FROM pg_roles r, me WHERE r.rolsuper OR r.oid = me.oid
    UNION ALL SELECT datdba FROM pg_database WHERE datname = current_database()
    UNION ALL
    -- What a role may hand out itself is no reason; nor is anything for a superuser.
    SELECT m.roleid FROM pg_auth_members m JOIN me ON m.member = me.oid
    JOIN pg_roles g ON g.oid = m.grantor WHERE NOT me.rolsuper AND (g.rolsuper OR g.oid = me.oid)
), made (tab, col, type) AS (VALUES
    ('identity', 'only_row', 'boolean'), ('identity', 'state_version', 'integer'), ('identity', 'id', 'uuid'),
    ('identity', 'environment', 'text'), ('identity', 'protected', 'boolean'),
    ('identity', 'created_at', 'timestamp with time zone'),
    ('migration', 'app', 'text'), ('migration', 'schema', 'text'), ('migration', 'revision', 'text'),
    ('migration', 'checksum', 'text'), ('migration', 'sql', 'text'),
    ('migration', 'applied_at', 'timestamp with time zone'), ('migration', 'applied_by', 'text'),
    ('migration', 'duration_ms', 'integer'), ('migration', 'made', 'text[]'), ('migration', 'fingerprint', 'jsonb'),
    ('run', 'id', 'bigint'), ('run', 'command', 'text'), ('run', 'app', 'text'), ('run', 'schema', 'text'),
    ('run', 'run_by', 'text'), ('run', 'session', 'integer'), ('run', 'session_start', 'timestamp with time zone'),
    ('run', 'started_at', 'timestamp with time zone'), ('run', 'ended_at', 'timestamp with time zone'),
    ('run', 'outcome', 'text'), ('run', 'summary', 'jsonb'),
    ('seed_file', 'app', 'text'), ('seed_file', 'schema', 'text'), ('seed_file', 'file', 'text'),
    ('seed_file', 'checksum', 'text'), ('seed_file', 'seeded_at', 'timestamp with time zone'),
    ('backfill', 'schema', 'text'), ('backfill', 'work', 'text'), ('backfill', 'after_key', 'text[]'),
    ('backfill', 'rows', 'bigint'), ('backfill', 'updated_at', 'timestamp with time zone'),
    ('tenant_move', 'schema', 'text'), ('tenant_move', 'phase', 'text'), ('tenant_move', 'other', 'text'),
    ('tenant_move', 'place', 'text'), ('tenant_move', 'held_as', 'text'), ('tenant_move', 'grants', 'jsonb'),
    ('tenant_move', 'since', 'timestamp with time zone'),
    ('kept_schema', 'schema', 'text'), ('kept_schema', 'was', 'text'),
    ('kept_schema', 'since', 'timestamp with time zone'),
    ('script', 'app', 'text'), ('script', 'revision', 'text'), ('script', 'checksum', 'text'),
    ('script', 'version', 'text'), ('script', 'statements', 'text[]'), ('script', 'transactional', 'boolean'),
    ('script', 'recorded', 'text')
), own AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relkind, c.relowner, c.relrowsecurity
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'leadctl' AND c.relname IN (SELECT tab FROM made)
), part (class, object, place, owner, tab) AS (
    SELECT 'pg_namespace'::regclass, oid, 0, nspowner, NULL::oid FROM pg_namespace
    WHERE nspname = 'leadctl' AND nspowner NOT IN (SELECT oid FROM trusted)
    UNION ALL
    SELECT d.classid, d.objid, 0, s.refobjid, NULL
    FROM pg_namespace n
    JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
    JOIN pg_shdepend s ON s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o'
        AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    WHERE n.nspname = 'leadctl' AND s.refobjid NOT IN (SELECT oid FROM trusted)
    UNION ALL
    SELECT 'pg_class'::regclass, oid, 0, relowner, oid FROM own
    WHERE relkind <> 'r' OR relrowsecurity
       OR EXISTS (SELECT FROM pg_inherits i WHERE own.oid IN (i.inhrelid, i.inhparent))
    UNION ALL
    SELECT 'pg_trigger'::regclass, t.oid, 0, own.relowner, own.oid
    FROM own JOIN pg_trigger t ON t.tgrelid = own.oid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'pg_rewrite'::regclass, r.oid, 0, own.relowner, own.oid
    FROM own JOIN pg_rewrite r ON r.ev_class = own.oid WHERE own.relkind = 'r'
    UNION ALL
    SELECT 'pg_policy'::regclass, p.oid, 0, own.relowner, own.oid
    FROM own JOIN pg_policy p ON p.polrelid = own.oid
    UNION ALL
    SELECT 'pg_constraint'::regclass, k.oid, 0, own.relowner, own.oid
    FROM own JOIN pg_constraint k ON k.conrelid = own.oid
    WHERE k.contype IN ('c', 'f', 'x', 't')
      AND NOT (own.relname = 'identity' AND pg_get_constraintdef(k.oid) = 'CHECK (only_row)')
    UNION ALL
    SELECT 'pg_class'::regclass, x.indexrelid, 0, own.relowner, own.oid
    FROM own JOIN pg_index x ON x.indrelid = own.oid WHERE x.indexprs IS NOT NULL OR x.indpred IS NOT NULL
    UNION ALL
    SELECT 'pg_class'::regclass, own.oid, a.attnum, own.relowner, own.oid
    FROM own
    JOIN pg_attribute a ON a.attrelid = own.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN made m ON m.tab = own.relname AND m.col = a.attname
    LEFT JOIN pg_attrdef f ON f.adrelid = own.oid AND f.adnum = a.attnum
    WHERE own.relkind = 'r' AND (
        t.typnamespace <> 'pg_catalog'::regnamespace OR format_type(a.atttypid, NULL) <> m.type
        OR a.attgenerated <> '' OR NOT (
            pg_get_expr(f.adbin, f.adrelid) IN ('gen_random_uuid()', 'now()', 'clock_timestamp()')
            OR pg_get_expr(f.adbin, f.adrelid) !~ '[(]'))
)
SELECT c.relkind::text, (SELECT count(*) = 6 FROM pg_attribute a
        WHERE a.attrelid = c.oid AND NOT a.attisdropped
          AND a.attname IN (SELECT col FROM made WHERE tab = 'identity'))
        AND NOT EXISTS (SELECT FROM part WHERE tab = c.oid),
    s.name, s.owner
FROM me LEFT JOIN pg_class c ON c.oid = to_regclass('leadctl.identity')
LEFT JOIN (
    SELECT pg_describe_object(class, object, place) AS name, pg_get_userbyid(owner) AS owner FROM part
    WHERE coalesce(tab, 0::oid) <> coalesce(to_regclass('leadctl.identity')::oid, 1::oid)
    ORDER BY tab IS NOT NULL, 1 LIMIT 1) AS s ON true

-- name: version_tables
-- what: Which of these version tables exist, by number, and which role reads each, where not this one?
-- versions: 15-
SELECT w.number::int - 1, (SELECT r.rolname FROM pg_roles r WHERE r.oid = c.relowner AND NOT r.rolsuper
        AND current_setting('is_superuser') = 'on' AND NOT c.relforcerowsecurity)
FROM unnest(%(names)s::text[]) WITH ORDINALITY AS w (name, number)
JOIN pg_class c ON c.oid = to_regclass(w.name)

-- name: moved_identity
-- what: Which table looks like the identity, and has another name or schema?
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (n.nspname, c.relname) <> ('leadctl', 'identity')
  AND 2 = (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
           AND a.attname IN ('only_row', 'state_version'))
ORDER BY c.oid DESC LIMIT 1

-- name: any_table
-- what: Has the database a table?  Those of the server and of extensions do not count.
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_class c
    WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't' AND c.oid >= 16384
      -- Asked of one after another, until one is found.
      AND (SELECT count(*) FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
           AND d.objid = c.oid AND d.deptype = 'e') = 0)

-- name: any_journal
-- what: Has leadctl recorded anything here: runs, or migrations?
-- versions: 15-
SELECT coalesce(to_regclass('leadctl.run'), to_regclass('leadctl.migration')) IS NOT NULL

-- name: forget_identity
-- what: Takes away what is no identity, or more than one.
-- versions: 15-
DELETE FROM leadctl.identity

-- name: set_identity
-- what: Sets the environment and the protection of this database, where they are what was read.
-- versions: 15-
UPDATE leadctl.identity SET environment = %(environment)s, protected = %(protected)s
WHERE environment IS NOT DISTINCT FROM %(read_environment)s AND protected = %(read_protected)s

-- name: run_begin
-- what: Journals that a run begins, with the session by which one can see whether it goes on.
-- versions: 15-
INSERT INTO leadctl.run (command, app, schema, run_by, session, session_start, summary)
SELECT %(command)s, %(app)s, %(schema)s, current_user || ', ' || %(who)s, pid, backend_start, %(summary)s::jsonb
FROM pg_stat_activity WHERE pid = pg_backend_pid()
RETURNING id

-- name: run_note
-- what: Adds to what a run has to say of itself; a null takes away.
-- versions: 15-
UPDATE leadctl.run SET summary = jsonb_strip_nulls(coalesce(summary, '{}') || %(facts)s) WHERE id = %(id)s

-- name: run_end
-- what: Journals how a run ended.  Citus takes no volatile function in an UPDATE, so the time is the
--   statement's.
-- versions: 15-
UPDATE leadctl.run SET ended_at = statement_timestamp(), outcome = %(outcome)s WHERE id = %(id)s

-- name: last_attempt
-- what: Which revision was being applied when the newest run that applied any ended badly?
-- versions: 15-
SELECT summary ->> 'applying' FROM leadctl.run
WHERE app = %(app)s AND schema = %(schema)s AND command IN ('migrate', 'reset')
  AND outcome IS DISTINCT FROM 'done'
  AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = run.session
                  AND coalesce(a.backend_start, run.session_start) = run.session_start)
  AND id = (SELECT max(id) FROM leadctl.run r WHERE r.app = %(app)s AND r.schema = %(schema)s
            AND r.command IN ('migrate', 'reset'))

-- name: runs
-- what: What ran here, the newest first?  A run whose session is gone without an end was killed.
-- versions: 15-
SELECT r.id, r.command, r.app, r.schema, r.run_by, r.started_at, r.ended_at,
    CASE WHEN r.ended_at IS NOT NULL THEN r.outcome
         WHEN EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = r.session
                      AND coalesce(a.backend_start, r.session_start) = r.session_start)
         THEN 'running' ELSE 'killed' END AS outcome,
    coalesce(r.summary, '{}') AS summary
FROM leadctl.run r ORDER BY r.id DESC LIMIT %(limit)s

-- name: migrations
-- what: Which revisions were applied to a schema, by which app, when, by whom?
-- versions: 15-
SELECT app, revision, checksum, applied_at, applied_by, duration_ms
FROM leadctl.migration WHERE schema = %(schema)s ORDER BY applied_at, revision

-- name: fingerprint
-- what: What should a schema look like that is at this revision?
-- versions: 15-
SELECT fingerprint, revision, applied_at FROM leadctl.migration
WHERE schema = %(schema)s AND (app = %(app)s OR %(app)s = '') AND revision = ANY (%(revisions)s)
  AND fingerprint IS NOT NULL
ORDER BY applied_at DESC LIMIT 1

-- name: made
-- what: What did an app's revisions make in a schema?
-- versions: 15-
SELECT DISTINCT unnest(made) FROM leadctl.migration
WHERE schema = %(schema)s AND app = %(app)s

-- name: record_migration
-- what: Records that a revision was applied.
-- versions: 15-
INSERT INTO leadctl.migration
    (app, schema, revision, checksum, sql, applied_by, duration_ms, made)
VALUES (%(app)s, %(schema)s, %(revision)s, %(checksum)s, %(sql)s,
        current_user || ', ' || %(who)s, %(duration_ms)s, %(made)s)
ON CONFLICT (schema, app, revision) DO UPDATE SET
    checksum = excluded.checksum, sql = excluded.sql, applied_at = excluded.applied_at,
    applied_by = excluded.applied_by, duration_ms = excluded.duration_ms, made = excluded.made

-- name: forget_migration
-- what: Records that a revision is no longer applied.
-- versions: 15-
DELETE FROM leadctl.migration
WHERE app = %(app)s AND schema = %(schema)s AND revision = %(revision)s

-- name: accept_edit
-- what: Records the checksum of a revision's file as it is now.
-- versions: 15-
UPDATE leadctl.migration SET checksum = %(checksum)s
WHERE app = %(app)s AND schema = %(schema)s AND revision = %(revision)s

-- name: applied_sql
-- what: What did a revision execute when it was applied?
-- versions: 15-
SELECT sql FROM leadctl.migration
WHERE app = %(app)s AND schema = %(schema)s AND revision = %(revision)s

-- name: renumber
-- what: Records a revision under another id.
-- versions: 15-
UPDATE leadctl.migration SET revision = %(now)s, checksum = %(checksum)s
WHERE app = %(app)s AND schema = %(schema)s AND revision = %(revision)s

-- name: forget_app
-- what: Records that nothing of an app is applied to a schema any more.
-- versions: 15-
DELETE FROM leadctl.migration WHERE app = %(app)s AND schema = %(schema)s

-- name: record_fingerprint
-- what: Records what the schema looks like after its newest revision, and only there.
-- versions: 15-
UPDATE leadctl.migration
SET fingerprint = CASE WHEN revision = %(revision)s THEN %(fingerprint)s::jsonb END
WHERE app = %(app)s AND schema = %(schema)s
  AND (revision = %(revision)s OR fingerprint IS NOT NULL)

-- name: create_kept
-- what: Where is it recorded which schemas a restore or a move keeps under another name?
-- versions: 15-
CREATE TABLE IF NOT EXISTS leadctl.kept_schema (
    schema text PRIMARY KEY,
    was text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
)

-- name: keep
-- what: Records that a schema is kept.
-- versions: 15-
INSERT INTO leadctl.kept_schema (schema, was) VALUES (%(name)s, %(was)s)
ON CONFLICT (schema) DO UPDATE SET was = excluded.was, since = excluded.since

-- name: has_kept
-- what: Was a schema ever kept?
-- versions: 15-
SELECT to_regclass('leadctl.kept_schema') IS NOT NULL

-- name: kept
-- what: Which schemas are kept?  Those that were renamed or dropped by hand are not.
-- versions: 15-
SELECT schema FROM leadctl.kept_schema WHERE to_regnamespace(quote_ident(schema)) IS NOT NULL

-- name: room_for_ids
-- what: How long may an id be in Alembic's table, where that is limited?
-- versions: 15-
SELECT nullif(atttypmod, -1) - 4 FROM pg_attribute
WHERE attrelid = to_regclass(%(name)s) AND attname = 'version_num' AND atttypid = 'varchar'::regtype
