-- Which schemas are tenants, and what a tenant has.

-- name: tenants
-- what: Which schemas hold an app: they have its version table, or its migrations are recorded?
--   How many tables have they, and how many bytes and rows, about?  Nobody waits for what is locked.
-- versions: 15-
WITH recorded AS MATERIALIZED (
    SELECT DISTINCT r.schema FROM unnest(%(recorded)s::text[]) AS r (schema)
), locked AS MATERIALIZED (
    SELECT coalesce(i.indrelid, l.relation) AS oid
    FROM pg_locks l LEFT JOIN pg_index i ON i.indexrelid = l.relation
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
), found AS MATERIALIZED (
    SELECT n.oid, n.nspname, n.nspowner, v.oid AS versions
    FROM pg_namespace n
    LEFT JOIN pg_class v ON v.relnamespace = n.oid AND v.relname = %(version_table)s AND v.relkind IN ('r', 'p')
    WHERE n.nspname !~ '^pg_' AND n.nspname <> ALL ('{information_schema,leadctl}' || %(shared)s::text[])
      AND (n.nspname = %(name)s OR %(name)s::text IS NULL)
      AND (v.oid IS NOT NULL OR n.nspname IN (SELECT schema FROM recorded))
)
SELECT f.nspname AS name, pg_get_userbyid(f.nspowner) AS owner,
    CASE WHEN f.versions IS NULL THEN false
         WHEN has_schema_privilege(f.oid, 'USAGE') THEN has_table_privilege(f.versions, 'SELECT')
         ELSE false END AS readable,
    f.versions IS NOT NULL AS versioned,
    count(c.oid) FILTER (WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition) AS tables,
    coalesce(sum(CASE WHEN c.oid IN (SELECT oid FROM locked)
                      THEN c.relpages::bigint * current_setting('block_size')::bigint
                      ELSE pg_total_relation_size(c.oid) END)
             FILTER (WHERE c.relkind IN ('r', 'm')), 0)::bigint AS bytes,
    coalesce(sum(greatest(c.reltuples, 0)) FILTER (WHERE c.relkind = 'r'), 0)::bigint AS rows
FROM found f LEFT JOIN pg_class c ON c.relnamespace = f.oid AND c.relkind IN ('r', 'p', 'm')
GROUP BY f.oid, f.nspname, f.nspowner, f.versions ORDER BY f.nspname

-- name: database
-- what: Whose is the database, and how large is it?
-- versions: 15-
SELECT pg_get_userbyid(datdba), pg_database_size(oid) FROM pg_database WHERE datname = current_database()

-- name: recorded
-- what: Into which schemas were migrations of an app recorded?
-- versions: 15-
SELECT DISTINCT schema FROM leadctl.migration WHERE app = %(app)s

-- name: schema_owner
-- what: Whose is a schema? No row where there is none.
-- versions: 15-
SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = %(name)s

-- name: role
-- what: Is there a role of this name, and may this role make it an owner?
-- versions: 15-
SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = %(name)s

-- name: last_change
-- what: Which run was the last that made or dropped a schema as a tenant, and how did it end?
-- versions: 15-
SELECT command, outcome FROM leadctl.run
WHERE schema = %(name)s AND command IN ('tenants create', 'tenants drop', 'tenants rename')
ORDER BY id DESC LIMIT 1

-- name: grants_like
-- what: By which statements has a schema, with what is in it, the grants that another one has?
--   Objects are told by their names. Default privileges of the other one come along.
-- versions: 15-
WITH pair AS MATERIALIZED (
    SELECT l.oid AS old, n.oid AS new, l.nspname AS old_name, n.nspname AS new_name, l.nspowner, l.nspacl
    FROM pg_namespace l, pg_namespace n WHERE l.nspname = %(like)s AND n.nspname = %(name)s
), acl (place, object, owner, given) AS (
    SELECT 1, format('SCHEMA %%I', new_name), nspowner, nspacl FROM pair
    UNION ALL
    SELECT 2, format('%%s %%I.%%I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, p.new_name, c.relname),
        c.relowner, c.relacl
    FROM pair p JOIN pg_class c ON c.relnamespace = p.old AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    JOIN pg_class k ON k.relnamespace = p.new AND k.relname = c.relname AND (k.relkind = 'S') = (c.relkind = 'S')
    UNION ALL
    SELECT 4, format('ROUTINE %%s', kn.identity), f.proowner, f.proacl
    FROM pair p JOIN pg_proc f ON f.pronamespace = p.old
    CROSS JOIN LATERAL pg_identify_object('pg_proc'::regclass, f.oid, 0) fn
    JOIN pg_proc k ON k.pronamespace = p.new AND k.proname = f.proname
    CROSS JOIN LATERAL pg_identify_object('pg_proc'::regclass, k.oid, 0) kn
    WHERE replace(kn.identity, quote_ident(p.new_name) || '.', '')
        = replace(fn.identity, quote_ident(p.old_name) || '.', '')
    UNION ALL
    SELECT 5, format('TYPE %%I.%%I', p.new_name, t.typname), t.typowner, t.typacl
    FROM pair p JOIN pg_type t ON t.typnamespace = p.old AND t.typtype IN ('e', 'd', 'r')
    JOIN pg_type k ON k.typnamespace = p.new AND k.typname = t.typname AND k.typtype = t.typtype
)
SELECT place, format('GRANT %%s ON %%s TO %%s%%s', a.privilege_type, acl.object,
        CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
FROM acl, aclexplode(acl.given) a WHERE a.grantee <> acl.owner
UNION ALL
SELECT 0, format('REVOKE ALL ON %%s FROM PUBLIC', acl.object)
FROM acl WHERE acl.place IN (4, 5) AND acl.given IS NOT NULL
UNION ALL
SELECT 3, format('GRANT %%s (%%I) ON %%I.%%I TO %%s', a.privilege_type, o.attname, p.new_name, c.relname,
        CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
        || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
FROM pair p JOIN pg_class c ON c.relnamespace = p.old JOIN pg_attribute o ON o.attrelid = c.oid AND o.attacl IS NOT NULL
JOIN pg_class k ON k.relnamespace = p.new AND k.relname = c.relname
JOIN pg_attribute ko ON ko.attrelid = k.oid AND ko.attname = o.attname AND NOT ko.attisdropped
CROSS JOIN aclexplode(o.attacl) a WHERE a.grantee <> c.relowner
UNION ALL
SELECT 6, format('ALTER DEFAULT PRIVILEGES FOR ROLE %%I IN SCHEMA %%I GRANT %%s ON %%s TO %%s',
        pg_get_userbyid(d.defaclrole), p.new_name, a.privilege_type,
        CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES'
                             WHEN 'T' THEN 'TYPES' END,
        CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
        || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
FROM pair p JOIN pg_default_acl d ON d.defaclnamespace = p.old CROSS JOIN aclexplode(d.defaclacl) a
WHERE d.defaclobjtype IN ('r', 'S', 'f', 'T')
ORDER BY 1, 2

-- name: search_paths
-- what: For which roles and databases is a search path set?  Those of a role in this database, of
--   this database, of a role anywhere, and of all roles anywhere.
-- versions: 15-
SELECT CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END AS role, s.setdatabase <> 0 AS here,
    substr(c.setting, length('search_path=') + 1) AS path
FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS c (setting)
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND starts_with(c.setting, 'search_path=')
ORDER BY 1 NULLS FIRST, 2

-- name: paths_of_routines
-- what: Which functions and procedures set a search path?
-- versions: 15-
SELECT (pg_identify_object('pg_proc'::regclass, p.oid, 0)).identity, substr(c.setting, length('search_path=') + 1)
FROM pg_proc p CROSS JOIN unnest(p.proconfig) AS c (setting)
WHERE starts_with(c.setting, 'search_path=') ORDER BY 1

-- name: mentions
-- what: Which functions and procedures name a schema in their text, which the server does not follow?
-- versions: 15-
SELECT (pg_identify_object('pg_proc'::regclass, p.oid, 0)).identity FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal') AND p.prosqlbody IS NULL
  AND (position(quote_ident(%(name)s) || '.' IN p.prosrc) > 0
       OR position(quote_literal(%(name)s) IN p.prosrc) > 0)
ORDER BY 1

-- name: role_of_the_name
-- what: Is there a role that finds this schema by "$user"?
-- versions: 15-
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %(name)s)

-- name: move_migration
-- what: Records what was applied to a schema as applied to it under another name.
-- versions: 15-
UPDATE leadctl.migration SET schema = %(new)s WHERE schema = %(name)s

-- name: forget_migration
-- what: Forgets what was applied to a schema.
-- versions: 15-
DELETE FROM leadctl.migration WHERE schema = %(name)s

-- name: move_seed_file
-- what: Records what was seeded into a schema as seeded into it under another name.
-- versions: 15-
UPDATE leadctl.seed_file SET schema = %(new)s WHERE schema = %(name)s

-- name: forget_seed_file
-- what: Forgets what was seeded into a schema.
-- versions: 15-
DELETE FROM leadctl.seed_file WHERE schema = %(name)s

-- name: move_backfill
-- what: Records how far fills of a schema came under another name.
-- versions: 15-
UPDATE leadctl.backfill SET schema = %(new)s WHERE schema = %(name)s

-- name: forget_backfill
-- what: Forgets how far fills of a schema came.
-- versions: 15-
DELETE FROM leadctl.backfill WHERE schema = %(name)s

-- name: kept_records
-- what: Which of the tables of records are there?
-- versions: 15-
SELECT t.name FROM unnest('{migration,seed_file,backfill}'::text[]) AS t (name)
WHERE to_regclass('leadctl.' || t.name) IS NOT NULL

-- name: tables_of
-- what: Which tables hold rows in a schema, or in all but the server's and leadctl's?
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname = %(name)s OR (%(name)s::text IS NULL AND n.nspname !~ '^pg_'
                                AND n.nspname <> ALL ('{information_schema,leadctl}')))
  AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1

-- name: put_migrations
-- what: Records a migration as a backup has it.
-- versions: 15-
INSERT INTO leadctl.migration SELECT r.* FROM jsonb_populate_record(NULL::leadctl.migration, %(record)s::jsonb) r

-- name: put_seed_files
-- what: Records a seed file as a backup has it.
-- versions: 15-
INSERT INTO leadctl.seed_file SELECT r.* FROM jsonb_populate_record(NULL::leadctl.seed_file, %(record)s::jsonb) r

-- name: needed_elsewhere
-- what: What in other schemas needs something in this one: views, foreign keys, columns of its types,
--   functions, triggers, memberships in publications?
-- versions: 15-
WITH own (class, oid) AS MATERIALIZED (
    SELECT 'pg_class'::regclass::oid, c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(name)s
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname = %(name)s
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = %(name)s
), needing AS MATERIALIZED (
    SELECT DISTINCT d.classid, d.objid, d.objsubid
    FROM own JOIN pg_depend d ON d.refclassid = own.class AND d.refobjid = own.oid
    WHERE d.deptype IN ('n', 'a', 'P', 'S') AND (d.classid, d.objid) NOT IN (SELECT class, oid FROM own)
), placed AS (
    SELECT e.*, coalesce(w.ev_class, f.adrelid, g.tgrelid, p.polrelid, nullif(k.conrelid, 0)) AS relation,
        coalesce(k.connamespace, o.oprnamespace, s.stxnamespace) AS namespace
    FROM needing e
    LEFT JOIN pg_rewrite w ON e.classid = 'pg_rewrite'::regclass AND w.oid = e.objid
    LEFT JOIN pg_attrdef f ON e.classid = 'pg_attrdef'::regclass AND f.oid = e.objid
    LEFT JOIN pg_trigger g ON e.classid = 'pg_trigger'::regclass AND g.oid = e.objid
    LEFT JOIN pg_policy p ON e.classid = 'pg_policy'::regclass AND p.oid = e.objid
    LEFT JOIN pg_constraint k ON e.classid = 'pg_constraint'::regclass AND k.oid = e.objid
    LEFT JOIN pg_operator o ON e.classid = 'pg_operator'::regclass AND o.oid = e.objid
    LEFT JOIN pg_statistic_ext s ON e.classid = 'pg_statistic_ext'::regclass AND s.oid = e.objid
)
SELECT DISTINCT pg_describe_object(classid, objid, objsubid) FROM placed
WHERE NOT coalesce(
    (SELECT n.nspname = %(name)s FROM pg_namespace n WHERE n.oid = coalesce(placed.namespace,
        (SELECT c.relnamespace FROM pg_class c WHERE c.oid = placed.relation))), false)
  AND relation IS DISTINCT FROM objid
  AND NOT (classid = ANY (ARRAY['pg_amproc'::regclass, 'pg_amop'::regclass, 'pg_opclass'::regclass,
                                'pg_opfamily'::regclass, 'pg_ts_config'::regclass, 'pg_ts_dict'::regclass,
                                'pg_cast'::regclass, 'pg_conversion'::regclass]::oid[])
           AND (pg_identify_object(classid, objid, objsubid)).schema IS NOT DISTINCT FROM %(name)s)
ORDER BY 1

-- name: nodes_of
-- what: On which nodes of a Citus cluster is a schema?
-- versions: 15-
-- needs: citus for citus_shards
SELECT DISTINCT s.nodename || ':' || s.nodeport
FROM citus_shards s JOIN pg_class c ON c.oid = s.table_name JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(name)s ORDER BY 1

-- name: move_schema
-- what: Moves a distributed schema to another node; writers wait for a moment.
-- versions: 15-
-- needs: citus for citus_schema_move
SELECT citus_schema_move(quote_ident(%(name)s)::regnamespace, %(host)s, %(port)s)
