-- What a fleet's run asks of a database, for all of its targets at once.

-- name: schemas
-- what: Which schemas are there that are not the server's, an extension's or leadctl's own?
-- versions: 15-
SELECT n.nspname FROM pg_namespace n
WHERE n.nspname !~ '^(pg_|leadctl)' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass
                  AND d.objid = n.oid AND d.deptype = 'e')
ORDER BY n.nspname

-- name: databases
-- what: Which databases of the server may be connected to?  leadctl's own are none.
-- versions: 15-
SELECT datname FROM pg_database
WHERE datallowconn AND datconnlimit <> -2 AND NOT datistemplate AND datname !~ '^leadctl_' ORDER BY datname

-- name: recorded
-- what: Which revisions were applied to these schemas, by which app, when, by whom?
-- versions: 15-
SELECT schema, app, revision, checksum, applied_at, applied_by, duration_ms
FROM leadctl.migration WHERE schema = ANY (%(schemas)s) ORDER BY applied_at, revision

-- name: applied_sql
-- what: What did these revisions execute when they were applied to a schema?
-- versions: 15-
SELECT revision, sql FROM leadctl.migration
WHERE schema = %(schema)s AND app = %(app)s AND revision = ANY (%(revisions)s)

-- name: create_scripts
-- what: Where is the SQL of revisions kept that do the same in every schema?
-- versions: 15-
CREATE TABLE IF NOT EXISTS leadctl.script (
    app text NOT NULL,
    revision text NOT NULL,
    checksum text NOT NULL,
    version text NOT NULL,
    statements text[],
    transactional boolean,
    recorded text,
    PRIMARY KEY (app, revision)
)

-- name: has_scripts
-- what: Is there such SQL, and is it this role's own, or a superuser's, which nobody else may write?
-- versions: 15-
SELECT EXISTS (
    SELECT FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner
    WHERE c.oid = to_regclass('leadctl.script') AND (o.rolsuper OR o.rolname = current_user)
      AND NOT EXISTS (
        SELECT FROM aclexplode(c.relacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
        WHERE a.privilege_type <> 'SELECT' AND a.grantee <> c.relowner
          AND NOT coalesce(g.rolsuper OR g.rolname = current_user, false)
        UNION ALL
        SELECT FROM pg_attribute t, aclexplode(t.attacl) a
        WHERE t.attrelid = c.oid AND a.privilege_type <> 'SELECT' AND a.grantee <> c.relowner))

-- name: scripts
-- what: What do these revisions send to every schema?  Nothing is recorded of other versions of leadctl.
-- versions: 15-
SELECT revision, checksum, statements, transactional, recorded FROM leadctl.script
WHERE app = %(app)s AND revision = ANY (%(revisions)s) AND version = %(version)s

-- name: record_script
-- what: Records what a revision sends to every schema; nulls where that is not the same in each.
-- versions: 15-
INSERT INTO leadctl.script (app, revision, checksum, version, statements, transactional, recorded)
VALUES (%(app)s, %(revision)s, %(checksum)s, %(version)s, %(statements)s, %(transactional)s, %(recorded)s)
ON CONFLICT (app, revision) DO UPDATE SET
    checksum = excluded.checksum, version = excluded.version, statements = excluded.statements,
    transactional = excluded.transactional, recorded = excluded.recorded

-- name: claim
-- what: Is the lock on a schema free?  Takes it, and looks along the schema's path from now on.  Is the schema there, and
--   has it an index that is not valid?  What does the database say of itself?
-- versions: 15-
SELECT pg_try_advisory_lock(%(lock_class)s, %(lock_key)s), to_regnamespace(%(schema)s) IS NOT NULL, EXISTS (
    SELECT FROM pg_index WHERE NOT indisvalid AND indrelid = ANY (ARRAY(
        SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace(%(schema)s)))),
    (SELECT string_agg(i::text, ' ') FROM leadctl.identity i),
    set_config('leadctl.seen_from', %(schema)s, false), set_config('leadctl.app_path', %(path)s, false)

-- name: fingerprint
-- what: What is a schema recorded to look like, and in short?
-- versions: 15-
SELECT fingerprint::text, md5(fingerprint::text) FROM leadctl.migration
WHERE schema = %(schema)s AND app = %(app)s AND fingerprint IS NOT NULL

-- name: event_triggers
-- what: Does anything run at what is made or changed, which may do otherwise for another schema?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_event_trigger WHERE evtenabled <> 'D')
