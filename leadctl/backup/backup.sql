-- What a backup records of the database, read in the snapshot that is dumped.

-- name: snapshot
-- what: Which snapshot is this, when was it taken, and where is the WAL?
-- versions: 15-
SELECT pg_export_snapshot() AS name, now() AS taken_at,
    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
          ELSE pg_current_wal_lsn() END)::text AS lsn,
    pg_is_in_recovery() AS standby

-- name: has_large_catalog
-- what: Are there tens of thousands of objects in the database?
-- versions: 15-
SELECT pg_relation_size('pg_depend') > 1024 * 1024

-- name: rows_of_nodes
-- what: Which tables of a tenant, or of all, does a Citus cluster distribute, on which other nodes
--   are rows, and are there some on this one?
-- versions: 15-
-- needs: citus for pg_dist_partition, pg_dist_shard, pg_dist_placement, pg_dist_node
WITH found AS MATERIALIZED (
    SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
        c.oid IN (SELECT logicalrelid FROM pg_dist_partition) AS distributed
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND (n.nspname = %(tenant)s OR %(tenant)s::text IS NULL)
      AND n.nspname !~ '^pg_' AND n.nspname <> ALL ('{information_schema,leadctl}')
), placed AS MATERIALIZED (
    SELECT DISTINCT p.groupid FROM found f JOIN pg_dist_shard s ON s.logicalrelid = f.oid
    JOIN pg_dist_placement p USING (shardid)
)
SELECT array(SELECT name FROM found WHERE distributed ORDER BY name),
    array(SELECT nodename || ':' || nodeport FROM pg_dist_node JOIN placed USING (groupid)
          WHERE noderole = 'primary' AND groupid <> 0 ORDER BY nodeid),
    EXISTS (SELECT FROM placed WHERE groupid = 0) OR EXISTS (SELECT FROM found WHERE NOT distributed)

-- name: global_pid
-- what: What number has the session of a name, or none, in the whole Citus cluster?
-- versions: 15-
-- needs: citus for citus_backend_gpid
SELECT citus_backend_gpid() - pg_backend_pid() + pid FROM pg_stat_activity
WHERE datname = current_database() AND application_name = %(name)s

-- name: dumps_on_node
-- what: Has the session that works here for another node's a snapshot, and has Citus prepared what
--   has not ended?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = %(session)s AND backend_xmin IS NOT NULL) AS dumps,
    EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, 'citus_')) AS prepared

-- name: database_bytes
-- what: How large is the database?
-- versions: 15-
SELECT pg_database_size(current_database())

-- name: system_identifier
-- what: Which cluster is this?
-- versions: 15-
SELECT system_identifier::text FROM pg_control_system()

-- name: tables
-- what: Which tables does a dump hold rows of, and how large are they?  Partitions, not their
--   parents; not what an extension makes, and on a standby nothing that is unlogged.  Of a tenant
--   those of its schema.  Expressions of indexes and statistics, the owner's, may fail when
--   a query is planned.
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
    coalesce(pg_total_relation_size(c.oid), 0) AS bytes,
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid
            AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
    OR EXISTS (SELECT FROM pg_statistic_ext s WHERE s.stxrelid = c.oid AND s.stxexprs IS NOT NULL)
        AS may_fail,
    (SELECT r.rolname FROM pg_roles r WHERE r.oid = c.relowner AND NOT r.rolsuper
     AND current_setting('is_superuser') = 'on') AS owner
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND (n.nspname = %(tenant)s OR %(tenant)s::text IS NULL)
  AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1

-- name: extension_tables
-- what: Of which tables of extensions does a dump hold rows, how large are they, and which are these?
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname),
    coalesce(pg_total_relation_size(c.oid), 0), config.condition
FROM pg_extension e CROSS JOIN unnest(e.extconfig, e.extcondition) AS config (oid, condition)
JOIN pg_class c ON c.oid = config.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
ORDER BY 1

-- name: materialized_views
-- what: Which materialized views have rows, so that they are refreshed after a restore?
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND c.relispopulated
  AND (n.nspname = %(tenant)s OR %(tenant)s::text IS NULL)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.oid

-- name: not_valid
-- what: Which constraints are not validated, and which indexes are not valid?
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) || ': ' || quote_ident(o.conname)
FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT o.convalidated
  AND (n.nspname = %(tenant)s OR %(tenant)s::text IS NULL)
UNION ALL
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid
  AND (n.nspname = %(tenant)s OR %(tenant)s::text IS NULL)
ORDER BY 1

-- name: large_objects
-- what: How many large objects are there?
-- versions: 15-
SELECT count(*) FROM pg_largeobject_metadata

-- name: extensions
-- what: Which extensions does a restore need?
-- versions: 15-
SELECT e.extname AS name, e.extversion AS version, n.nspname AS schema
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY 1

-- name: roles
-- what: Which roles own something here, or were granted something?  What the first superuser owns
--   is recorded nowhere, so it is looked for.
-- versions: 15-
SELECT DISTINCT r.rolname FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass
  AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION
SELECT r.rolname FROM pg_roles r, LATERAL (
    SELECT tableoid, oid, relowner AS owner FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace
    UNION ALL SELECT tableoid, oid, nspowner FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT tableoid, oid, proowner FROM pg_proc
    UNION ALL SELECT tableoid, oid, typowner FROM pg_type
    UNION ALL SELECT tableoid, oid, lomowner FROM pg_largeobject_metadata
    UNION ALL SELECT tableoid, oid, evtowner FROM pg_event_trigger
    UNION ALL SELECT tableoid, oid, pubowner FROM pg_publication
    UNION ALL SELECT tableoid, oid, srvowner FROM pg_foreign_server) o
WHERE r.oid = 10 AND o.owner = r.oid AND o.oid >= 16384
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE (d.classid, d.objid, d.deptype)
                  = (o.tableoid, o.oid, 'e'))
ORDER BY 1

-- name: tenant_roles
-- what: Which roles own something in a schema, or were granted something on it?
-- versions: 15-
WITH held (owner, acl) AS (
    SELECT nspowner, nspacl FROM pg_namespace WHERE nspname = %(tenant)s
    UNION ALL SELECT c.relowner, c.relacl FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(tenant)s
    UNION ALL SELECT c.relowner, a.attacl FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL WHERE n.nspname = %(tenant)s
    UNION ALL SELECT p.proowner, p.proacl FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = %(tenant)s
    UNION ALL SELECT t.typowner, t.typacl FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname = %(tenant)s
    UNION ALL SELECT d.defaclrole, d.defaclacl FROM pg_default_acl d
    JOIN pg_namespace n ON n.oid = d.defaclnamespace WHERE n.nspname = %(tenant)s
)
SELECT r.rolname FROM pg_roles r WHERE r.oid IN (
    SELECT owner FROM held UNION SELECT a.grantee FROM held, aclexplode(held.acl) a) ORDER BY 1

-- name: tenant_bytes
-- what: How large is a schema, with indexes?
-- versions: 15-
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(tenant)s AND c.relkind IN ('r', 'm', 'S')

-- name: migrations_of
-- what: What is recorded of the migrations of a schema?
-- versions: 15-
SELECT to_jsonb(m) FROM leadctl.migration m WHERE schema = %(tenant)s ORDER BY m.applied_at, m.revision

-- name: seed_files_of
-- what: What is recorded of the seed files of a schema?
-- versions: 15-
SELECT to_jsonb(m) FROM leadctl.seed_file m WHERE schema = %(tenant)s ORDER BY m.app, m.file

-- name: has_records
-- what: Is anything recorded of migrations, and of seed files?
-- versions: 15-
SELECT to_regclass('leadctl.migration') IS NOT NULL, to_regclass('leadctl.seed_file') IS NOT NULL

-- name: event_triggers
-- what: Which event triggers does a restore make?
-- versions: 15-
SELECT evtname FROM pg_event_trigger t
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE (d.classid, d.objid, d.deptype)
                  = (t.tableoid, t.oid, 'e')) ORDER BY 1

-- name: subscriptions
-- what: Which subscriptions does a restore make?  pg_dump leaves them out where no superuser runs it.
-- versions: 15-
SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
WHERE d.datname = current_database()
  AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) ORDER BY 1

-- name: tablespaces
-- what: Which tablespaces does the database or something in it have, but for the default one?
-- versions: 15-
SELECT spcname FROM pg_tablespace t WHERE spcname NOT IN ('pg_default', 'pg_global')
  AND (oid IN (SELECT reltablespace FROM pg_class)
       OR oid = (SELECT dattablespace FROM pg_database WHERE datname = current_database()))
ORDER BY 1

-- name: unreadable
-- what: Of which tables and sequences may this role not read all rows, and why?
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
    row_security_active(c.oid) AS hidden
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
  AND (n.nspname = %(tenant)s OR %(tenant)s::text IS NULL)
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
  AND (NOT has_schema_privilege(n.oid, 'USAGE') OR row_security_active(c.oid)
       OR NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                             ELSE has_table_privilege(c.oid, 'SELECT') END)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE (d.classid, d.objid, d.deptype)
                  = ('pg_class'::regclass, c.oid, 'e')
                  AND c.oid NOT IN (SELECT unnest(extconfig) FROM pg_extension))
ORDER BY 1

-- name: with_descendants
-- what: Which table is it that is named, with its partitions, what inherits from it, and the
--   sequences of its columns?
-- versions: 15-
WITH RECURSIVE found AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (n.nspname, c.relname) = (%(schema)s, %(name)s) AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
    UNION SELECT below.oid FROM found f, LATERAL (
        SELECT i.inhrelid AS oid FROM pg_inherits i WHERE i.inhparent = f.oid
        UNION ALL SELECT s.oid FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = f.oid AND d.refobjsubid > 0
          AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')) below)
SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM found JOIN pg_class c ON c.oid = found.oid JOIN pg_namespace n ON n.oid = c.relnamespace

-- name: needs
-- what: What needs these tables, and would lack them, of what is not left out?  Of tables without
--   rows it is the rows that refer to theirs.
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
    'the foreign key ' || quote_ident(k.conname) || ' of it' AS why
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.confrelid = ANY (%(oids)s::oid[] || %(data)s::oid[])
  AND k.conrelid <> ALL (%(oids)s::oid[])
  AND (k.confrelid = ANY (%(oids)s::oid[]) OR k.conrelid <> ALL (%(data)s::oid[]))
UNION
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), 'what it selects'
FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
JOIN pg_class c ON c.oid = w.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (%(oids)s::oid[])
  AND c.oid <> ALL (%(oids)s::oid[])
UNION
SELECT p.oid::regprocedure::text, 'its arguments or its body'
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
LEFT JOIN pg_type t ON t.oid = d.refobjid AND d.refclassid = 'pg_type'::regclass
LEFT JOIN pg_type e ON e.oid = t.typelem
WHERE coalesce(nullif(t.typrelid, 0), nullif(e.typrelid, 0),
               CASE WHEN d.refclassid = 'pg_class'::regclass THEN d.refobjid END)
      = ANY (%(oids)s::oid[])
ORDER BY 1

-- name: free_connections
-- what: How many more connections may this role open to this database?
-- versions: 15-
SELECT least(
    CASE WHEN r.rolsuper OR r.rolconnlimit < 0 THEN 99 ELSE r.rolconnlimit
        - (SELECT count(*) FROM pg_stat_activity WHERE usesysid = r.oid AND backend_type = 'client backend') END,
    CASE WHEN r.rolsuper OR d.datconnlimit < 0 THEN 99 ELSE d.datconnlimit
        - (SELECT count(*) FROM pg_stat_activity WHERE datid = d.oid AND backend_type = 'client backend') END)
FROM pg_database d, pg_roles r
WHERE d.datname = current_database() AND r.rolname = session_user

-- name: database
-- what: How was the database made, and what is set for it?
-- versions: 15-
SELECT pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding,
    CASE d.datlocprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END
        AS locale_provider,
    d.datcollate AS collate, d.datctype AS ctype,
    coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
    coalesce((SELECT setconfig FROM pg_db_role_setting
              WHERE setdatabase = d.oid AND setrole = 0), '{}') AS settings,
    coalesce((SELECT array_agg(pg_get_userbyid(s.setrole) || ': ' || v)
              FROM pg_db_role_setting s, unnest(s.setconfig) v
              WHERE s.setdatabase = d.oid AND s.setrole <> 0), '{}') AS role_settings,
    coalesce((SELECT array_agg(a.privilege_type || ': '
                  || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END)
              FROM aclexplode(d.datacl) a WHERE a.grantee <> d.datdba), '{}') AS grants,
    shobj_description(d.oid, 'pg_database') AS comment
FROM pg_database d WHERE d.datname = current_database()
