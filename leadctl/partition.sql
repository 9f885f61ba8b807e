-- What `partition` asks of the catalog about the table that is to be partitioned.

-- name: views
-- what: Which views read a table?
-- versions: 15-
SELECT DISTINCT v.oid::regclass::text
FROM pg_depend d
JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.refobjid = %(oid)s::bigint::oid

-- name: indexes
-- what: How are the indexes of a table made that are not of its constraints?
-- versions: 15-
SELECT i.relname, pg_get_indexdef(i.oid, 0, true)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = %(oid)s::bigint::oid
  AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = x.indrelid
                  AND n.conindid = i.oid AND n.contype IN ('p', 'u', 'x'))
ORDER BY i.relname
