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

-- name: needed_first
-- what: What must be there before a schema's objects can be made: of other schemas, servers, roles?
-- versions: 15-
WITH own (class, oid) AS (
    SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_constraint'::regclass, oid FROM pg_constraint
    WHERE connamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid
    WHERE c.relnamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_rewrite'::regclass, w.oid FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class
    WHERE c.relnamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_trigger'::regclass, t.oid FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_policy'::regclass, y.oid FROM pg_policy y JOIN pg_class c ON c.oid = y.polrelid
    WHERE c.relnamespace = %(schema)s::regnamespace
    UNION ALL
    -- Operators, text search objects, statistics and the like.
    SELECT classid, objid FROM pg_depend
    WHERE refclassid = 'pg_namespace'::regclass AND refobjid = %(schema)s::regnamespace
      AND classid NOT IN ('pg_class'::regclass, 'pg_type'::regclass, 'pg_proc'::regclass)
    UNION ALL
    SELECT 'pg_namespace'::regclass, %(schema)s::regnamespace::oid
), mine AS (
    SELECT class, oid FROM own
    EXCEPT
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), used AS (
    SELECT DISTINCT d.refclassid AS class, d.refobjid AS oid
    FROM mine JOIN pg_depend d ON d.classid = mine.class AND d.objid = mine.oid
    WHERE d.refobjid >= 16384 AND d.deptype <> 'e'
      AND d.refclassid NOT IN ('pg_namespace'::regclass, 'pg_constraint'::regclass)
    EXCEPT
    SELECT class, oid FROM own
), outside AS (
    SELECT DISTINCT coalesce(e.refclassid, u.class) AS class, coalesce(e.refobjid, u.oid) AS oid
    FROM used u
    LEFT JOIN pg_class c ON u.class = 'pg_class'::regclass AND c.oid = u.oid
    LEFT JOIN pg_depend e ON e.classid = u.class AND e.objid = u.oid AND e.deptype = 'e'
    LEFT JOIN pg_extension x ON x.oid = e.refobjid
    WHERE c.relkind IS DISTINCT FROM 'i' AND c.relkind IS DISTINCT FROM 'I'
      AND x.extnamespace IS DISTINCT FROM %(schema)s::regnamespace
)
SELECT i.type || ' ' || rtrim(i.identity, '[]') || coalesce(' in ' || n.nspname, '')
FROM outside o
CROSS JOIN pg_identify_object(o.class, o.oid, 0) i
LEFT JOIN pg_extension x ON o.class = 'pg_extension'::regclass AND x.oid = o.oid
LEFT JOIN pg_namespace n ON n.oid = x.extnamespace
UNION
SELECT 'role ' || quote_ident(r.rolname)
FROM mine
JOIN pg_shdepend s ON s.classid = mine.class AND s.objid = mine.oid AND s.deptype IN ('a', 'r')
JOIN pg_database b ON b.oid = s.dbid AND b.datname = current_database()
JOIN pg_roles r ON s.refclassid = 'pg_authid'::regclass AND r.oid = s.refobjid
ORDER BY 1
