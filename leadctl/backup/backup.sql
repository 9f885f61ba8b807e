-- What a backup records of the database, read in the snapshot that is dumped.

-- name: snapshot
-- what: Which snapshot is this, when was it taken, and where is the WAL?
-- versions: 15-
SELECT pg_export_snapshot() AS name, now() AS taken_at,
    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
          ELSE pg_current_wal_lsn() END)::text AS lsn,
    pg_is_in_recovery() AS standby,
    pg_database_size(current_database()) AS database_bytes

-- name: system_identifier
-- what: Which cluster is this?
-- versions: 15-
SELECT system_identifier::text FROM pg_control_system()

-- name: tables
-- what: Which tables does a dump hold rows of, and how large are they?  Partitions, not their
--   parents; not what an extension makes, and on a standby nothing that is unlogged.
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
    coalesce(pg_total_relation_size(c.oid), 0) AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass
                  AND d.objid = n.oid AND d.deptype = 'e')
ORDER BY 1

-- name: materialized_views
-- what: Which materialized views have rows, so that they are refreshed after a restore?
-- versions: 15-
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND c.relispopulated
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
UNION ALL
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid
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
-- what: Which roles own something here, or were granted something?
-- versions: 15-
SELECT DISTINCT r.rolname FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass
  AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1

-- name: database
-- what: How was the database made, and what is set for it?
-- versions: 15-16
SELECT pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding,
    CASE d.datlocprovider WHEN 'i' THEN 'icu' ELSE 'libc' END AS locale_provider,
    d.datcollate AS collate, d.datctype AS ctype, d.daticulocale AS locale,
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

-- name: database
-- what: How was the database made, and what is set for it?
-- versions: 17-
SELECT pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding,
    CASE d.datlocprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END
        AS locale_provider,
    d.datcollate AS collate, d.datctype AS ctype, d.datlocale AS locale,
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
