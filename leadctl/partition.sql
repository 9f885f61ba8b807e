-- What `partition` asks of the catalog about the table that is to be partitioned.

-- name: table
-- what: Which table is this, of what kind, and does it have what cannot be taken along?
-- versions: 15-
SELECT c.oid::bigint AS oid, c.relkind::text AS kind, c.relispartition AS is_partition,
       EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid OR i.inhparent = c.oid) AS inherits,
       c.relrowsecurity AS row_security,
       (SELECT array_agg(t.tgname::text) FROM pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) AS triggers,
       (SELECT array_agg(a.attname::text) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND (a.attidentity <> '' OR EXISTS (
            SELECT FROM pg_depend d JOIN pg_class q ON q.oid = d.objid AND q.relkind = 'S'
            WHERE d.refobjid = c.oid AND d.refobjsubid = a.attnum
              AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'))) AS sequences,
       (SELECT array_agg(DISTINCT v.oid::regclass::text) FROM pg_depend d
        JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = c.oid) AS views,
       (SELECT array_agg(n.conrelid::regclass || '.' || n.conname) FROM pg_constraint n
        WHERE n.contype = 'f' AND n.confrelid = c.oid) AS referring,
       (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attgenerated = '') AS columns
FROM pg_class c WHERE c.oid = to_regclass(%(table)s)

-- name: column
-- what: Of which type is a column, and may it be NULL?
-- versions: 15-
SELECT format_type(a.atttypid, NULL) AS type, a.attnotnull AS required
FROM pg_attribute a
WHERE a.attrelid = %(oid)s::bigint::oid AND a.attname = %(column)s AND NOT a.attisdropped

-- name: constraints
-- what: Which keys, uniques, exclusions and foreign keys has a table, on which columns?
-- versions: 15-
SELECT n.conname::text AS name, n.contype::text AS kind,
       pg_get_constraintdef(n.oid, true) AS definition,
       (SELECT array_agg(a.attname::text ORDER BY k.n)
        FROM unnest(n.conkey) WITH ORDINALITY AS k (attnum, n)
        JOIN pg_attribute a ON a.attrelid = n.conrelid AND a.attnum = k.attnum) AS columns
FROM pg_constraint n
WHERE n.conrelid = %(oid)s::bigint::oid AND n.contype IN ('p', 'u', 'x', 'f')
ORDER BY n.conname

-- name: indexes
-- what: Which indexes has a table beside those of its constraints?
-- versions: 15-
SELECT i.relname::text AS name, pg_get_indexdef(i.oid, 0, true) AS definition,
       x.indisunique AS is_unique
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = %(oid)s::bigint::oid
  AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conindid = i.oid AND n.contype IN ('p', 'u', 'x'))
ORDER BY i.relname
