-- name: columns
-- what: In which order do the tables have their columns?
-- versions: 15-
SELECT quote_ident(c.relname), quote_ident(a.attname)
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p')
ORDER BY c.relname, a.attnum

-- name: functions
-- what: How are the schema's functions and procedures made? Aggregates have no such text.
-- versions: 15-
SELECT quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')',
       pg_get_functiondef(p.oid)
FROM pg_proc p
WHERE p.pronamespace = %(schema)s::regnamespace AND p.prokind IN ('f', 'p', 'w')
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass
                  AND e.objid = p.oid AND e.deptype = 'e')
ORDER BY p.oid

-- name: views
-- what: In which order were the views made?
-- versions: 15-
SELECT quote_ident(relname)
FROM pg_class
WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('v', 'm')
ORDER BY oid

-- name: extensions
-- what: Which extensions are there, and in which schema?
-- versions: 15-
SELECT e.extname, n.nspname
FROM pg_extension e
JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE n.nspname <> 'pg_catalog'
ORDER BY e.oid

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
