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
