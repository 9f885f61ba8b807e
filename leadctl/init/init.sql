-- name: extensions
-- what: Which extensions are in the schema itself?
-- versions: 15-
SELECT extname
FROM pg_extension
WHERE extnamespace = %(schema)s::regnamespace
ORDER BY oid

-- name: other_schemas
-- what: Which other schemas have tables of their own?
-- versions: 15-
SELECT n.nspname
FROM pg_namespace n
JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
WHERE n.oid <> %(schema)s::regnamespace
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'leadctl')
  AND n.nspname NOT LIKE 'pg\_%%'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                  AND e.objid = c.oid AND e.deptype = 'e')
GROUP BY 1
ORDER BY 1

-- name: is_baseline
-- what: Did init record this revision, rather than migrate apply it?
-- versions: 15-
SELECT 1 FROM leadctl.run
WHERE command = 'init' AND app = %(app)s AND summary ->> 'baseline' = %(revision)s

-- name: references_elsewhere
-- what: What of a schema's tables and views refers to another schema that is no extension's?
-- versions: 15-
WITH elsewhere AS (
    SELECT n.oid FROM pg_namespace n
    WHERE n.oid <> %(schema)s::regnamespace
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_%%'
), found AS (
    SELECT 'foreign key' AS kind, c.conrelid::regclass || '.' || quote_ident(c.conname) AS name,
        'pg_class'::regclass AS class, r.oid AS object, r.oid::regclass::text AS referred
    FROM pg_constraint c JOIN pg_class r ON r.oid = c.confrelid
    WHERE c.contype = 'f' AND c.connamespace = %(schema)s::regnamespace
      AND r.relnamespace IN (SELECT oid FROM elsewhere)
    UNION ALL
    SELECT 'type of column', a.attrelid::regclass || '.' || quote_ident(a.attname),
        'pg_type'::regclass, t.oid, t.oid::regtype::text
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
    JOIN pg_type own ON own.oid = a.atttypid
    JOIN pg_type t ON t.oid = CASE WHEN own.typcategory = 'A' THEN own.typelem ELSE own.oid END
    WHERE c.relnamespace = %(schema)s::regnamespace AND a.attnum > 0
      AND t.typnamespace IN (SELECT oid FROM elsewhere)
    UNION ALL
    SELECT DISTINCT 'view', w.ev_class::regclass::text, 'pg_class'::regclass, r.oid,
        r.oid::regclass::text
    FROM pg_depend d
    JOIN pg_rewrite w ON w.oid = d.objid
    JOIN pg_class v ON v.oid = w.ev_class AND v.relnamespace = %(schema)s::regnamespace
    JOIN pg_class r ON r.oid = d.refobjid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
      AND r.relnamespace IN (SELECT oid FROM elsewhere)
)
SELECT kind, name, referred FROM found
WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = found.class
                  AND e.objid = found.object AND e.deptype = 'e')
ORDER BY kind, name, referred
